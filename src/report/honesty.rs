//! The rules that keep a run which tested nothing from passing. Each is a sentence that makes the run inconclusive.

use crate::experiment::Plan;
use crate::model::{Claim, Event, EventKind, Millis, Phase};

use super::accounts::started;
use super::model::FaultReport;

/// What the rules look at.
pub(super) struct Record<'a> {
    pub(super) plan: &'a Plan,
    pub(super) events: &'a [Event],
    pub(super) faults: &'a [FaultReport],
    /// Whole lines of the history.
    pub(super) transitions: u64,
    /// Commits that the workload got acknowledged.
    pub(super) commits: u64,
    /// Why the history or the timeline cannot be trusted.
    pub(super) damage: Vec<String>,
    /// Whether the run has reached its end, so that what its end records must be there.
    pub(super) ended: bool,
}

/// Why the run decides nothing, worst first; and what is merely worth knowing.
pub(super) fn reasons(record: &Record<'_>) -> (Vec<String>, Vec<String>) {
    let mut reasons = record.damage.clone();
    let mut notes = Vec::new();
    if started(record.events).is_none() {
        reasons.push("the timeline does not begin with the run's start".to_owned());
    }
    signals(record, &mut reasons);
    faults(record, &mut reasons, &mut notes);
    workload(record, &mut reasons);
    reading(record, &mut reasons);
    if record.plan.expect.claims.is_empty() {
        reasons.push("the experiment expects no claim, so nothing decides the verdict".to_owned());
    }
    if record.ended && !record.events.iter().any(|event| event.kind == EventKind::RunFinished) {
        reasons.push("the run did not reach its end".to_owned());
    }
    (reasons, notes)
}

fn signals(record: &Record<'_>, reasons: &mut Vec<String>) {
    for event in record.events {
        match &event.kind {
            EventKind::Interrupted { signal } => {
                reasons.push(format!("the run was interrupted by {signal}"));
            }
            EventKind::Aborted { condition, fault } => {
                let during = fault.as_ref().map(|fault| format!(" during {fault}")).unwrap_or_default();
                reasons.push(format!("the run was aborted{during}: abortWhen {condition}"));
            }
            EventKind::HarnessError { message } => {
                reasons.push(format!("the harness failed: {message}"));
            }
            // What is left in the cluster is told by the exit code, not by the verdict.
            EventKind::PhaseFinished { phase, ok: false, detail } if !matches!(phase, Phase::CleanUp | Phase::LeakCheck) => {
                let why = if detail.is_empty() { String::new() } else { format!(": {detail}") };
                reasons.push(format!("{} did not succeed{why}", phase.title()));
            }
            _ => {}
        }
    }
}

fn faults(record: &Record<'_>, reasons: &mut Vec<String>, notes: &mut Vec<String>) {
    let injected: Vec<&FaultReport> = record.faults.iter().filter(|fault| fault.injected_at_ms.is_some()).collect();
    let planned = record.plan.faults.len();
    if injected.is_empty() {
        reasons.push("no fault was injected".to_owned());
    } else if injected.len() < planned {
        reasons.push(format!("{} of {planned} planned faults were injected", injected.len()));
    }
    for fault in record.faults {
        let id = &fault.id;
        if let Some(why) = &fault.refused {
            reasons.push(format!("{id} was refused: {why}"));
        }
        if fault.injected_at_ms.is_none() {
            continue;
        }
        match fault.attested {
            Some(true) => {}
            Some(false) => reasons.push(format!("{id} was injected and did not take effect: {}", fault.evidence.join("; "))),
            None => reasons.push(format!("whether {id} took effect was not attested")),
        }
        match fault.recovered {
            Some(true) => {}
            // With HA-7 expected the claim says so already, and fails.
            Some(false) if record.plan.expect.claims.contains(&Claim::Ha7) => {}
            Some(false) => reasons.push(format!("the target did not recover from {id}; last seen: {}", fault.last_seen)),
            None => reasons.push(format!("whether the target recovered from {id} was not seen")),
        }
        if !at_stake(fault) {
            notes.push(format!("no commit was at stake when {id} hit: none was in flight or acknowledged in the second before"));
        }
    }
    if !injected.is_empty() && !injected.iter().any(|fault| at_stake(fault)) {
        reasons.push("no commit was in flight or just acknowledged when any of the faults hit, so nothing was at stake".to_owned());
        notes.clear();
    }
}

/// Whether a fault could have cost a commit: one was in flight, or one had been acknowledged so shortly before that an engine which acknowledges before it
/// writes would have lost it. At a few hundred short ops a second, no op is in flight at most instants, and much is at stake at all of them.
fn at_stake(fault: &FaultReport) -> bool {
    const JUST_ACKNOWLEDGED: Millis = Millis(1_000.0);
    fault.in_flight.is_some_and(|ops| ops > 0) || fault.since_last_ack_ms.is_some_and(|ago| ago <= JUST_ACKNOWLEDGED)
}

fn workload(record: &Record<'_>, reasons: &mut Vec<String>) {
    if record.transitions == 0 {
        reasons.push("the history is empty".to_owned());
    } else if record.commits == 0 {
        reasons.push("the workload never committed anything".to_owned());
    }
}

fn reading(record: &Record<'_>, reasons: &mut Vec<String>) {
    let closed = record.events.iter().find_map(|event| match event.kind {
        EventKind::HistoryClosed { transitions } => Some(transitions),
        _ => None,
    });
    if let Some(written) = closed.filter(|&written| written != record.transitions) {
        reasons.push(format!(
            "the history was closed with {written} lines and has {}: what is missing could have shown anything",
            record.transitions
        ));
    }
    let finished = |wanted: Phase| {
        record.events.iter().any(|event| matches!(&event.kind, EventKind::PhaseFinished { phase, ok: true, .. } if *phase == wanted))
    };
    if !finished(Phase::FinalRead) {
        reasons.push("the rows were not read to the end".to_owned());
    }
    if record.plan.cold_read && !finished(Phase::ColdRestart) {
        reasons.push("the database was not restarted before the final read, so rows may have come from its memory".to_owned());
    }
}
