//! Folds the timeline into what the report tells of run, faults, schedule and leaks.

use crate::experiment::{Engine, Pace, Plan, hash};
use crate::measure::{Episode, SeenBy, new_connections, phases, sessions};
use crate::model::{Event, EventKind, HarnessInfo, Millis, Provider, RunInfo};

use super::model::{ClockReport, EngineReport, EpisodeReport, FaultReport, Lateness, Leaks, PhaseReport, RunReport, Schedule};

/// The engine's name in the experiment file.
pub(super) fn engine_word(engine: Engine) -> &'static str {
    match engine {
        Engine::AzureSqlEdge => "azure-sql-edge",
        Engine::MssqlServer => "mssql-server",
        Engine::TdsSqlite => "tds-sqlite",
        Engine::Existing => "existing",
    }
}

/// The event that begins a timeline.
pub(super) fn started(events: &[Event]) -> Option<&RunInfo> {
    events.iter().find_map(|event| match &event.kind {
        EventKind::RunStarted { run } => Some(run),
        _ => None,
    })
}

/// Who, what, where, when.
pub(super) fn run(events: &[Event], plan: &Plan) -> RunReport {
    let unknown = RunInfo {
        id: String::new(),
        experiment: plan.name.clone(),
        seed: plan.seed.unwrap_or(0),
        started_at: String::new(),
        provider: Provider::Sandbox,
        cluster: String::new(),
        namespace: String::new(),
        harness: HarnessInfo { version: String::new(), commit: String::new() },
    };
    let info = started(events).cloned().unwrap_or(unknown);
    let mut kubernetes_version = None;
    let mut clock = None;
    let mut engine = EngineReport { name: engine_word(plan.target.engine).to_owned(), version: String::new() };
    for event in events {
        match &event.kind {
            EventKind::KubernetesVersion { version } => {
                kubernetes_version = Some(version.clone());
            }
            EventKind::ClockCompared { offset_ns, within_ns, round_trip_ns } => {
                let size = Millis::from_ns(offset_ns.unsigned_abs()).0;
                clock = Some(ClockReport {
                    offset_ms: if *offset_ns < 0 { -size } else { size },
                    within_ms: Millis::from_ns(*within_ns),
                    round_trip_ms: Millis::from_ns(*round_trip_ns),
                });
            }
            EventKind::EngineSeen { engine: seen } => {
                engine.name.clone_from(&seen.name);
                engine.version.clone_from(&seen.version);
            }
            _ => {}
        }
    }
    RunReport {
        id: info.id,
        experiment: info.experiment,
        description: plan.description.clone(),
        experiment_hash: hash(&Plan { seed: None, cluster: None, ..plan.clone() }),
        seed: info.seed,
        started_at: info.started_at,
        duration_ms: Millis::from_ns(events.last().map_or(0, |event| event.time_ns)),
        provider: info.provider,
        cluster: info.cluster,
        clock,
        namespace: info.namespace,
        kubernetes_version,
        engine,
        harness: info.harness,
    }
}

/// Every fault that was started or refused, in order.
pub(super) fn faults(events: &[Event]) -> Vec<FaultReport> {
    let mut faults: Vec<FaultReport> = Vec::new();
    for event in events {
        let at = Millis::from_ns(event.time_ns);
        match &event.kind {
            EventKind::FaultStarted { fault, kind, target, parameters, reach } => {
                let entry = entry(&mut faults, fault);
                entry.kind.clone_from(kind);
                entry.target = Some(target.clone());
                entry.parameters.clone_from(parameters);
                entry.reach.clone_from(reach);
            }
            EventKind::FaultInjected { fault, in_flight, since_last_ack_ns } => {
                let entry = entry(&mut faults, fault);
                entry.injected_at_ms = Some(at);
                entry.in_flight = Some(*in_flight);
                entry.since_last_ack_ms = since_last_ack_ns.map(Millis::from_ns);
            }
            EventKind::FaultAttested { fault, attested, evidence } => {
                let entry = entry(&mut faults, fault);
                entry.attested = Some(*attested);
                entry.evidence.clone_from(evidence);
            }
            EventKind::FaultRecovered { fault, recovered, detail } => {
                let entry = entry(&mut faults, fault);
                entry.recovered = Some(*recovered);
                entry.last_seen.clone_from(detail);
            }
            EventKind::FaultHealed { fault, .. } => {
                entry(&mut faults, fault).healed_at_ms = Some(at);
            }
            EventKind::FaultRefused { fault, reason } => {
                entry(&mut faults, fault).refused = Some(reason.clone());
            }
            _ => {}
        }
    }
    faults
}

fn entry<'a>(faults: &'a mut Vec<FaultReport>, id: &str) -> &'a mut FaultReport {
    let at = faults.iter().position(|fault| fault.id == id).unwrap_or_else(|| {
        faults.push(FaultReport {
            id: id.to_owned(),
            kind: String::new(),
            target: None,
            parameters: String::new(),
            reach: String::new(),
            injected_at_ms: None,
            in_flight: None,
            since_last_ack_ms: None,
            attested: None,
            evidence: Vec::new(),
            recovered: None,
            last_seen: String::new(),
            healed_at_ms: None,
            refused: None,
        });
        faults.len() - 1
    });
    &mut faults[at]
}

/// One episode a fault.
pub(super) fn episodes(events: &[Event], episodes: &[Episode]) -> Vec<EpisodeReport> {
    episodes
        .iter()
        .map(|episode| {
            let outage = episode.outage;
            let spans = outage.map(|outage| phases(events, &episode.window, &outage)).unwrap_or_default();
            // Both ends are cut to a microsecond before they are subtracted, as in the phases.
            let length_us = outage.map_or(0, |o| o.end_ns / 1_000 - o.start_ns / 1_000);
            EpisodeReport {
                fault_id: episode.window.fault.clone(),
                start_ms: Millis::from_ns(outage.map_or(episode.window.start_ns, |o| o.start_ns)),
                outage_ms: Millis::from_ns(length_us * 1_000),
                ended: outage.is_none_or(|o| o.ended),
                seen_by: match outage.map(|o| o.seen_by) {
                    Some(SeenBy::NewConnections) => "new-connections",
                    Some(SeenBy::Everyone) => "everyone",
                    None => "nobody",
                }
                .to_owned(),
                first_error_ms: outage.and_then(|o| o.first_error_ns).or(episode.first_error_ns).map(Millis::from_ns),
                last_error_ms: episode.last_error_ns.map(Millis::from_ns),
                first_commit_ms: outage.filter(|o| o.ended).map(|o| Millis::from_ns(o.end_ns)),
                largest_gap_ms: Millis::from_ns(episode.largest_gap_ns),
                errors: episode.errors,
                commits: episode.commits,
                phases: spans
                    .into_iter()
                    .map(|span| PhaseReport {
                        name: span.name.to_owned(),
                        start_ms: Millis::from_ns(span.start_us * 1_000),
                        duration_ms: Millis::from_ns(span.duration_us * 1_000),
                        source: span.source.to_owned(),
                        uncertainty_ms: span.uncertainty_us.map(|us| Millis::from_ns(us * 1_000)),
                    })
                    .collect(),
                new_connections: outage.and_then(|outage| new_connections(events, &episode.window, &outage)),
                sessions: sessions(events, &episode.window),
            }
        })
        .collect()
}

/// The steps of the load, each in words and with how long it lasts in ns; none of a closed loop.
pub(super) fn steps(plan: &Plan) -> Vec<(String, Option<u64>)> {
    let Pace::Open(steps) = &plan.workload.rate else { return Vec::new() };
    let ns = |lasts: std::time::Duration| u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX);
    steps.iter().map(|step| (step.to_string(), step.lasts.map(ns))).collect()
}

/// How well the schedule was kept, where the run got so far as to tell.
pub(super) fn schedule(events: &[Event], plan: &Plan) -> Option<Schedule> {
    events.iter().rev().find_map(|event| match &event.kind {
        EventKind::LoadSummary { issued, not_sent, lateness_ns, cpu_per_op_ns } => {
            let [p50, p90, p99, p999, max] = lateness_ns.map(Millis::from_ns);
            Some(Schedule {
                closed_loop: plan.workload.rate == Pace::Closed,
                issued: *issued,
                not_sent: *not_sent,
                lateness: Lateness { p50_ms: p50, p90_ms: p90, p99_ms: p99, p999_ms: p999, max_ms: max },
                // A thousandth of a nanosecond more or less is nobody's concern.
                cpu_per_op_us: Millis::from_ns(cpu_per_op_ns * 1_000).0,
            })
        }
        _ => None,
    })
}

/// What was left in the cluster.
pub(super) fn leaks(events: &[Event]) -> Leaks {
    events
        .iter()
        .rev()
        .find_map(|event| match &event.kind {
            EventKind::LeakCheck { left, kept } => Some(Leaks { left: left.clone(), kept: *kept }),
            _ => None,
        })
        .unwrap_or_default()
}
