//! From the files of a run's folder to its report.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::check::{Append, Bank, Check, Checker, Guarded, Ledger, Link, Order, Own, Queue, Register, guarded, single_writer, volume};
use crate::experiment::{Plan, WorkloadKind, to_yaml};
use crate::measure::{Availability, Curve, Episode, EpisodeRecorder, LatencyRecorder, Repeats, Series, Stages, StepRecorder};
use crate::model::{Claim, Event, Millis, Op, Outcome, Verdict};

use super::accounts;
use super::claims::{Exhibits, claims};
use super::ending;
use super::history::History;
use super::honesty::{Record, reasons};
use super::limits::limits;
use super::model::{CheckReport, ClaimReport, CycleStep, Example, ProofOp, Recorded, Report, SCHEMA_VERSION, Schedule};
use super::timeline::Timeline;
use super::write::Format;
use crate::workload::{ACCOUNTS, OPENING_BALANCE};

/// Why a folder could not be judged at all.
#[derive(Debug, Error)]
pub enum JudgeError {
    /// There is no timeline, so it is not a run's folder.
    #[error("{} holds no timeline.jsonl, so it is not the folder of a run", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A run's report, and what its picture is drawn from: both come from one fold over the run's files.
#[derive(Debug)]
pub struct Judged {
    /// The report.
    pub report: Report,
    pub(super) drawn: Drawn,
}

/// What a picture of a run is drawn from, beside its report.
#[derive(Debug, Clone, Default)]
pub(super) struct Drawn {
    /// The timeline.
    pub(super) events: Vec<Event>,
    /// The load over time.
    pub(super) series: Series,
    /// Percentiles by stage of the run.
    pub(super) curves: Vec<Curve>,
    /// The experiment as resolved.
    pub(super) experiment: String,
}

/// Judges a run that has ended by its `history.jsonl` and `timeline.jsonl`. Call it after the last event was written and flushed.
///
/// # Errors
/// When a file cannot be read. What is wrong with the run itself is in the report.
pub fn judge(dir: &Path, plan: &Plan) -> Result<Judged, JudgeError> {
    judge_with(dir, plan, true)
}

/// Judges what was recorded so far of a run that has not ended, without asking for what only its end records. For the decision
/// whether to keep the target for a look before it is cleaned up.
///
/// # Errors
/// As [`judge`].
pub fn judge_so_far(dir: &Path, plan: &Plan) -> Result<Report, JudgeError> {
    Ok(judge_with(dir, plan, false)?.report)
}

fn judge_with(dir: &Path, plan: &Plan, ended: bool) -> Result<Judged, JudgeError> {
    let timeline = read_timeline(dir)?;
    let events = &timeline.events;
    let history_path = dir.join("history.jsonl");
    let read_error = |source| JudgeError::Read { path: history_path.clone(), source };

    let mut checkers = op_checkers(plan);
    let mut latency = LatencyRecorder::new(Stages::new(events));
    let mut series = Series::default();
    let mut steps = StepRecorder::new(Stages::new(events), accounts::steps(plan));
    let mut recorder = EpisodeRecorder::new(events);
    let history = History::read(&history_path, |op, begun| {
        for checker in &mut checkers {
            checker.op(op, begun);
        }
        latency.op(op, begun);
        recorder.op(op, begun);
        series.op(op, begun);
        steps.op(op, begun);
    })
    .map_err(read_error)?;

    let episodes = recorder.finish();
    let found = checks(checkers, events, plan, history.damage.as_deref());
    let mut faults = accounts::faults(events);
    ending::tell(events, &mut faults);
    let claims = claims(&Exhibits { plan, events, faults: &faults, episodes: &episodes, checks: &found });
    let damage = [("history", &history.damage), ("timeline", &timeline.damage)]
        .into_iter()
        .filter_map(|(what, damage)| {
            let damage = damage.as_ref()?;
            Some(format!("the {what} cannot be trusted: {damage}"))
        })
        .collect();
    let (doubts, mut notes) =
        reasons(&Record { plan, events, faults: &faults, transitions: history.lines, commits: latency.commits(), damage, ended });
    let schedule = accounts::schedule(events, plan);
    notes.extend(schedule.as_ref().and_then(lateness));
    let (verdict, reasons) = verdict(&claims, doubts, found.iter().any(shows_loss));
    let run = accounts::run(events, plan);
    let limits = limits(plan, &run, events, &faults);
    let summary = latency.finish(history.open.still_open(), reconnect(&episodes));
    let curves = latency.curves(&summary);
    let report = Report {
        schema_version: SCHEMA_VERSION,
        run,
        verdict,
        reasons,
        notes,
        claims,
        checks: with_proof(found, &history).map_err(read_error)?,
        episodes: accounts::episodes(events, &episodes),
        faults,
        availability: Availability::of(&latency.served(), episodes.iter().filter_map(|episode| episode.outage)),
        latency: summary,
        latency_by_op: latency.by_op(history.open.still_open()),
        load_steps: steps.finish(history.open.still_open()),
        schedule,
        recorded: Recorded {
            transitions: history.lines,
            unfinished_ops: history.open.still_open().count() as u64,
            torn_bytes: history.torn_bytes,
            events: events.len() as u64,
        },
        limits,
        leaks: accounts::leaks(events),
        artifacts: artifacts(dir),
    };
    Ok(Judged { report, drawn: Drawn { events: timeline.events, series, curves, experiment: to_yaml(plan) } })
}

fn read_timeline(dir: &Path) -> Result<Timeline, JudgeError> {
    let path = dir.join("timeline.jsonl");
    Timeline::read(&path).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            JudgeError::NotARun { path: dir.to_owned() }
        } else {
            JudgeError::Read { path, source }
        }
    })
}

/// The checkers that fold over the ops.
fn op_checkers(plan: &Plan) -> Vec<Guarded> {
    let mut checkers: Vec<Box<dyn Checker>> = vec![Box::new(Ledger::new(plan.expect.lost_commits))];
    let mix = &plan.workload.mix;
    if mix.contains_key(&WorkloadKind::Bank) {
        checkers.push(Box::new(Bank::holding(ACCOUNTS, OPENING_BALANCE)));
    }
    if mix.contains_key(&WorkloadKind::Append) {
        checkers.push(Box::new(Append::new(plan.workload.isolation, Order::RealTime)));
    }
    if mix.contains_key(&WorkloadKind::Register) {
        checkers.push(Box::new(Register::new(0)));
    }
    if mix.contains_key(&WorkloadKind::Queue) {
        checkers.push(Box::new(Queue::new()));
    }
    if let Some(own) = &plan.workload.sql {
        checkers.push(Box::new(Own::new(own)));
    }
    checkers.into_iter().map(Guarded::new).collect()
}

fn checks(checkers: Vec<Guarded>, events: &[Event], plan: &Plan, damage: Option<&str>) -> Vec<Check> {
    let mut checks: Vec<Check> = checkers
        .into_iter()
        .map(Guarded::finish)
        .map(|check| match damage {
            // What was read up to the damage is shown; it decides nothing.
            Some(damage) => {
                Check { verdict: Verdict::Unknown, evidence: vec![format!("the history cannot be trusted: {damage}")], ..check }
            }
            None => check,
        })
        .collect();
    checks.push(guarded("single-writer", || single_writer(events, plan.expect.overlap_allowed)));
    checks.push(guarded("volume", || volume(events)));
    checks
}

/// Whether the history itself shows that what was acknowledged is lost or wrong.
fn shows_loss(check: &Check) -> bool {
    check.verdict == Verdict::Invalid && !matches!(check.name, "single-writer" | "volume")
}

/// The worst of the claims that the experiment expects and of the doubts about the run. No run whose history shows a loss is a pass, whatever its experiment expects.
fn verdict(claims: &[ClaimReport], doubts: Vec<String>, loss: bool) -> (Outcome, Vec<String>) {
    let mut reasons = Vec::new();
    let mut outcome = if doubts.is_empty() { Outcome::Pass } else { Outcome::Inconclusive };
    let mut undecided = Vec::new();
    let decides = |claim: &&ClaimReport| claim.expected || (loss && claim.id == Claim::Ha6);
    for claim in claims.iter().filter(decides) {
        outcome = outcome.max(Outcome::from(claim.verdict));
        let why = claim.evidence.first().map_or("", String::as_str);
        match claim.verdict {
            Verdict::Valid => {}
            Verdict::Unknown => undecided.push(format!("{} is not decided: {why}", claim.id)),
            Verdict::Invalid => reasons.push(format!("{} does not hold: {why}", claim.id)),
        }
    }
    reasons.extend(doubts);
    reasons.extend(undecided);
    (outcome, reasons)
}

fn reconnect(episodes: &[Episode]) -> Repeats {
    let times: Vec<(u64, bool)> =
        episodes.iter().filter_map(|episode| episode.outage).map(|outage| (outage.length_ns(), outage.ended)).collect();
    Repeats::of(&times)
}

/// Reads the ops that prove each anomaly.
fn with_proof(checks: Vec<Check>, history: &History) -> io::Result<Vec<CheckReport>> {
    let wanted: Vec<u64> = checks.iter().flat_map(|check| &check.examples).flat_map(|found| found.proof.iter().copied()).collect();
    let ops: BTreeMap<_, _> = history.lookup(&wanted)?.into_iter().filter_map(|(index, line)| Some((index, proof_op(&line)?))).collect();
    Ok(checks
        .into_iter()
        .map(|check| CheckReport {
            name: check.name.to_owned(),
            decides: if check.name == "volume" { Claim::Ha3 } else { Claim::Ha6 },
            verdict: check.verdict,
            counts: check.counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            evidence: check.evidence,
            examples: check
                .examples
                .into_iter()
                .map(|found| Example {
                    class: found.class.to_owned(),
                    key: found.key,
                    detail: found.detail,
                    ops: found.proof.iter().filter_map(|index| ops.get(index).cloned()).collect(),
                    cycle: found.cycle.iter().map(cycle_step).collect(),
                })
                .collect(),
        })
        .collect())
}

fn cycle_step(link: &Link) -> CycleStep {
    CycleStep { from: link.from, to: link.to, kind: link.why.to_owned(), key: link.key }
}

/// Ops as a reader finds them again.
fn proof_op(line: &[u8]) -> Option<ProofOp> {
    let op = Op::parse(line).ok()?;
    Some(ProofOp { index: op.index, time_ms: Millis::from_ns(op.time_ns), kind: op.kind, process: op.process, f: op.f.word().to_owned() })
}

/// Beyond this the harness itself colours the response times.
const LATE: Millis = Millis(2.0);

/// Says so when the harness could not keep its own schedule.
fn lateness(schedule: &Schedule) -> Option<String> {
    let late = schedule.lateness;
    (late.p99_ms > LATE).then(|| {
        format!(
            "the harness issued ops up to {} late (p99 {}), which response times contain; give it more CPU or a lower rate",
            late.max_ms, late.p99_ms
        )
    })
}

/// What a run's folder may hold beside the report itself.
const RECORDED: [&str; 7] =
    ["experiment.yaml", "history.jsonl", "timeline.jsonl", "journal.jsonl", "kube-events.jsonl", "target.log", "latency.hlog"];

fn artifacts(dir: &Path) -> Vec<String> {
    RECORDED.into_iter().filter(|name| dir.join(name).exists()).chain(Format::ALL.map(Format::file)).map(str::to_owned).collect()
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
