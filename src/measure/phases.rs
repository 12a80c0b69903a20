//! Splits an outage into phases: contiguous, in the order in which their ends were seen, summing exactly to it.
//!
//! Each phase ends with a boundary that one source saw. A boundary that was not seen is left out, and its time belongs to the next one that was. The order is that of
//! time and not a fixed one, because it differs by what is deployed: a Deployment's replacement is created while the old container still runs, and through a Service
//! nobody connects before the pod is ready; in a fixed order, readiness would get no time and the first connection all of it. What was seen at the same instant stands
//! in the order of cause. Each boundary says by how much what it stands for may have happened before it was seen: a watch tells within a round trip what the API server
//! knows first; what the kubelet knows first is stamped by it to a second, and it may look only once a second; the engine's log names hundredths of a second of a clock
//! that was compared with ours. Times are cut to microseconds before they are subtracted, so that the sum is exact in the report's milliseconds too.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::model::{ContainerSeen, ContainerState, Event, EventKind, PodChange, PodSeen, ProbeStage};

use super::clocks::Clocks;
use super::episodes::{Outage, Window};

/// Between two attempts of the prober while there is no commit: its boundaries are told that exactly.
pub const PROBE_PACE: Duration = Duration::from_millis(5);

/// One phase of an outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseSpan {
    /// The boundary that ends it.
    pub name: &'static str,
    /// When it starts, in µs since the run's start.
    pub start_us: u64,
    /// How long it takes, in µs.
    pub duration_us: u64,
    /// Who saw the boundary.
    pub source: &'static str,
    /// By how much what the boundary stands for may have happened before it was seen, in µs; none where nothing tells.
    pub uncertainty_us: Option<u64>,
}

const HISTORY: &str = "history";
const POD_WATCH: &str = "pod watch";
const KUBELET: &str = "kubelet status";
const ENDPOINT_WATCH: &str = "endpoint watch";
const EVENT_WATCH: &str = "event watch";
const PROBER: &str = "prober";
const DATABASE_LOG: &str = "database log";

/// Kubernetes Events that say that the pod's volumes are in place.
const VOLUME_READY: [&str; 4] = ["SuccessfulAttachVolume", "Pulling", "Pulled", "Created"];

/// The lines of the engine's log between which it recovers: the first of any of the first, the last of any of the second.
const RECOVERY_STARTS: &str = "Starting up database";
const RECOVERY_ENDS: [&str; 2] = ["Recovery completed for database", "Recovery is complete"];
/// ERRORLOG tells hundredths of a second.
const ERRORLOG_GRAIN_NS: u64 = 10_000_000;

/// A boundary as it was seen.
#[derive(Debug, Clone, Copy)]
struct Sight {
    at_ns: u64,
    source: &'static str,
    unsure_ns: Option<u64>,
}

/// A boundary in its place in the order.
struct Boundary {
    name: &'static str,
    seen: Option<Sight>,
}

/// The phases of an outage by the timeline of its window.
pub fn phases(events: &[Event], window: &Window, outage: &Outage) -> Vec<PhaseSpan> {
    let facts = Facts::collect(events, window, outage);
    let first_error = outage.first_error_ns.map(|at_ns| Sight { at_ns, source: HISTORY, unsure_ns: Some(0) });
    let boundary = |name, seen| Boundary { name, seen };
    let mut boundaries = [
        boundary("first-error", first_error),
        boundary("endpoint-removed", facts.endpoint_removed),
        boundary("old-container-gone", facts.old_gone),
        boundary("new-pod-created", facts.created),
        boundary("scheduled", facts.scheduled),
        boundary("volume-ready", facts.volume_ready),
        boundary("container-started", facts.started),
        boundary("recovery-started", facts.recovery_started),
        boundary("recovery-ended", facts.recovery_ended),
        boundary("ready", facts.ready),
        boundary("endpoint-added", facts.endpoint_added),
        boundary("first-tcp", facts.tcp),
        boundary("first-login", facts.login),
    ];
    boundaries.sort_by_key(|boundary| boundary.seen.map(|seen| seen.at_ns / 1_000));
    let last = if outage.ended { "first-commit" } else { "no-commit-yet" };
    split(&boundaries, last, outage.start_ns / 1_000, outage.end_ns / 1_000)
}

fn split(boundaries: &[Boundary], last: &'static str, start_us: u64, end_us: u64) -> Vec<PhaseSpan> {
    let mut spans = Vec::new();
    let mut from_us = start_us;
    for boundary in boundaries {
        // What was seen after the first commit did not hold it up.
        let Some(seen) = boundary.seen.filter(|seen| seen.at_ns / 1_000 <= end_us) else {
            continue;
        };
        let to_us = (seen.at_ns / 1_000).max(from_us);
        spans.push(PhaseSpan {
            name: boundary.name,
            start_us: from_us,
            duration_us: to_us - from_us,
            source: seen.source,
            uncertainty_us: seen.unsure_ns.map(|ns| ns / 1_000),
        });
        from_us = to_us;
    }
    // The first commit is when a client saw it; that there is none yet is certain too.
    spans.push(PhaseSpan {
        name: last,
        start_us: from_us,
        duration_us: end_us.saturating_sub(from_us),
        source: HISTORY,
        uncertainty_us: Some(0),
    });
    spans
}

/// When each boundary was seen.
#[derive(Debug, Default)]
struct Facts {
    clocks: Clocks,
    endpoint_removed: Option<Sight>,
    old_gone: Option<Sight>,
    created: Option<Sight>,
    scheduled: Option<Sight>,
    volume_ready: Option<Sight>,
    started: Option<Sight>,
    recovery_started: Option<Sight>,
    recovery_ended: Option<Sight>,
    tcp: Option<Sight>,
    login: Option<Sight>,
    ready: Option<Sight>,
    endpoint_added: Option<Sight>,
}

impl Facts {
    fn collect(events: &[Event], window: &Window, outage: &Outage) -> Facts {
        let mut facts = Facts { clocks: Clocks::of(events), ..Facts::default() };
        let mut old = Old::default();
        for event in events {
            if event.time_ns < window.start_ns {
                old.before(&event.kind);
            } else if event.time_ns <= outage.end_ns {
                facts.take(event, &old);
            } else if event.time_ns > window.end_ns {
                break;
            } else if let EventKind::EngineLog { container_id, line } = &event.kind {
                // The log's lines are told late, with their own time.
                facts.logged(event.time_ns, container_id, line, &old);
            }
        }
        facts
    }

    /// What the API server itself knows first: we are told of it within about a round trip.
    fn told(&self, at_ns: u64, source: &'static str) -> Sight {
        Sight { at_ns, source, unsure_ns: self.clocks.round_trip_ns() }
    }

    /// What the kubelet knows first and reports when it gets to it; its own stamp says how long ago that was, to a second.
    fn reported(&self, at_ns: u64, stamp: Option<&String>) -> Sight {
        Sight { at_ns, source: KUBELET, unsure_ns: self.clocks.since_stamp(stamp, at_ns) }
    }

    fn take(&mut self, event: &Event, old: &Old) {
        let now = event.time_ns;
        match &event.kind {
            EventKind::Pod { change, pod } => self.pod(now, *change, pod, old),
            EventKind::Endpoints { endpoints } => {
                let told = self.told(now, ENDPOINT_WATCH);
                let ready = endpoints.iter().any(|endpoint| endpoint.ready);
                let ready_old = endpoints.iter().any(|endpoint| endpoint.ready && old.is_ready_pod(endpoint.pod_uid.as_deref()));
                if !ready_old {
                    self.endpoint_removed.get_or_insert(told);
                }
                // Of a pod that stays, the endpoint comes back; of a pod that is replaced, another one comes.
                let added = if self.created.is_some() { ready && !ready_old } else { ready && self.endpoint_removed.is_some() };
                if added {
                    self.endpoint_added.get_or_insert(told);
                }
            }
            EventKind::KubeEvent { uid, reason, .. }
                if self.volume_ready.is_none() && VOLUME_READY.contains(&reason.as_str()) && !old.knows(uid) =>
            {
                self.volume_ready = Some(self.told(now, EVENT_WATCH));
            }
            EventKind::Probe { stage, attempt_ns } => {
                // The attempt before it began a pace earlier and failed.
                let pace_ns = u64::try_from(PROBE_PACE.as_nanos()).unwrap_or(u64::MAX);
                let unsure_ns = Some(now.saturating_sub(*attempt_ns) + pace_ns);
                let seen = Some(Sight { at_ns: now, source: PROBER, unsure_ns });
                match stage {
                    // The last of each stage counts: a port that accepts and then refuses again did not come up yet.
                    ProbeStage::Tcp => self.tcp = seen,
                    ProbeStage::Login => self.login = seen,
                    ProbeStage::Commit => {}
                }
            }
            EventKind::EngineLog { container_id, line } => self.logged(now, container_id, line, old),
            _ => {}
        }
    }

    /// A line of the engine's log counts at the time that it names, as far as the clocks were compared, else at the time that we got it.
    fn logged(&mut self, now: u64, container: &str, line: &str, old: &Old) {
        let starts = line.contains(RECOVERY_STARTS);
        if old.has_container(container) || !(starts || RECOVERY_ENDS.iter().any(|mark| line.contains(mark))) {
            return;
        }
        let own = line_time(line).and_then(|time| self.clocks.ours(time));
        let sight = match own.filter(|&(at_ns, within_ns)| at_ns <= now.saturating_add(within_ns)) {
            Some((at_ns, within_ns)) => {
                Sight { at_ns: at_ns.min(now), source: DATABASE_LOG, unsure_ns: Some(within_ns + ERRORLOG_GRAIN_NS) }
            }
            None => Sight { at_ns: now, source: DATABASE_LOG, unsure_ns: None },
        };
        if starts {
            self.recovery_started.get_or_insert(sight);
        } else {
            self.recovery_ended = Some(sight);
        }
    }

    fn pod(&mut self, now: u64, change: PodChange, pod: &PodSeen, old: &Old) {
        let is_old = old.knows(&pod.uid);
        let told = self.told(now, POD_WATCH);
        if is_old {
            let ended = pod.containers.iter().find_map(|container| old.end_of(container));
            if change == PodChange::Deleted {
                self.old_gone.get_or_insert(told);
            } else if let Some(stamp) = ended {
                let seen = self.reported(now, stamp);
                self.old_gone.get_or_insert(seen);
            }
        } else if change != PodChange::Deleted {
            self.created.get_or_insert(told);
            if pod.node.is_some() {
                self.scheduled.get_or_insert(told);
            }
            if self.volume_ready.is_none() && pod.conditions.iter().any(|condition| condition == "PodReadyToStartContainers") {
                self.volume_ready = Some(told);
            }
        }
        let started = pod.containers.iter().find_map(|container| match &container.state {
            ContainerState::Running { started_at } if old.is_fresh(container) && (!is_old || container.id.is_some()) => Some(started_at),
            _ => None,
        });
        if change == PodChange::Deleted {
            return;
        }
        if let Some(stamp) = started {
            let seen = self.reported(now, stamp.as_ref());
            self.started.get_or_insert(seen);
        }
        if pod.ready && (started.is_some() || !is_old) {
            let seen = self.reported(now, pod.ready_since.as_ref());
            self.ready.get_or_insert(seen);
        }
    }
}

/// The time at the beginning of a line such as `2026-01-31 12:00:00.00 spid7s      Recovery is complete.`; containers keep UTC.
fn line_time(line: &str) -> Option<Timestamp> {
    let time: DateTime = line.get(..22)?.parse().ok()?;
    Offset::UTC.to_timestamp(time).ok()
}

/// What was known before the fault.
#[derive(Debug, Default)]
struct Old {
    pods: Vec<String>,
    containers: Vec<String>,
    ready_pods: Vec<String>,
}

impl Old {
    fn before(&mut self, kind: &EventKind) {
        match kind {
            EventKind::Pod { pod, .. } => {
                if !self.knows(&pod.uid) {
                    self.pods.push(pod.uid.clone());
                }
                for id in pod.containers.iter().filter_map(|c| c.id.as_ref()) {
                    if !self.containers.contains(id) {
                        self.containers.push(id.clone());
                    }
                }
            }
            EventKind::Endpoints { endpoints } => {
                self.ready_pods =
                    endpoints.iter().filter(|endpoint| endpoint.ready).filter_map(|endpoint| endpoint.pod_uid.clone()).collect();
            }
            _ => {}
        }
    }

    fn knows(&self, uid: &str) -> bool {
        self.pods.iter().any(|pod| pod == uid)
    }

    fn has_container(&self, id: &str) -> bool {
        self.containers.iter().any(|known| known == id)
    }

    /// Whether a container's instance is one that was not there before.
    fn is_fresh(&self, container: &ContainerSeen) -> bool {
        container.id.as_deref().is_none_or(|id| !self.has_container(id))
    }

    /// The stamp of the end of the instance that was there before, once it has ended.
    fn end_of<'a>(&self, container: &'a ContainerSeen) -> Option<Option<&'a String>> {
        match (&container.state, &container.last) {
            (ContainerState::Terminated(end), _) => Some(end.finished_at.as_ref()),
            (_, Some(last)) if self.is_fresh(container) => Some(last.finished_at.as_ref()),
            _ => None,
        }
    }

    fn is_ready_pod(&self, uid: Option<&str>) -> bool {
        uid.is_some_and(|uid| self.ready_pods.iter().any(|pod| pod == uid))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    use crate::measure::SeenBy;
    use crate::model::{EndpointSeen, HarnessInfo, Provider, RunInfo};
    use crate::report::build::{pod, running, waiting};

    const MS: u64 = 1_000_000;

    /// Each phase that took time, with its length in ms, of an outage from 100 ms to 1,100 ms.
    fn split_up(events: Vec<(u64, EventKind)>) -> Vec<(&'static str, u64)> {
        let mut all = vec![(1, told(PodChange::Added, pod("p0", running(), true))), (2, endpoints(&["p0"]))];
        all.extend(events);
        let events: Vec<Event> = all.into_iter().map(|(ms, kind)| Event { time_ns: ms * MS, kind }).collect();
        let window = Window { fault: String::new(), start_ns: 95 * MS, end_ns: 5_000 * MS, recovered_ns: None };
        let outage =
            Outage { start_ns: 100 * MS, first_error_ns: Some(110 * MS), end_ns: 1_100 * MS, ended: true, seen_by: SeenBy::Everyone };
        let spans = phases(&events, &window, &outage);
        assert_eq!(spans.iter().map(|span| span.duration_us).sum::<u64>(), 1_000_000);
        spans.iter().filter(|span| span.duration_us > 0).map(|span| (span.name, span.duration_us / 1_000)).collect()
    }

    fn told(change: PodChange, pod: PodSeen) -> EventKind {
        EventKind::Pod { change, pod }
    }

    fn endpoints(ready: &[&str]) -> EventKind {
        let endpoint = |uid: &&str| EndpointSeen {
            address: "10.0.0.1".to_owned(),
            pod_uid: Some((*uid).to_owned()),
            ready: true,
            serving: true,
            terminating: false,
        };
        EventKind::Endpoints { endpoints: ready.iter().map(endpoint).collect() }
    }

    fn probe(stage: ProbeStage) -> EventKind {
        EventKind::Probe { stage, attempt_ns: 0 }
    }

    #[test]
    fn a_replacement_created_beside_the_old_container_comes_before_its_end() {
        let names = split_up(vec![
            (120, told(PodChange::Added, pod("p1", waiting(), false))),
            (130, endpoints(&[])),
            (700, told(PodChange::Deleted, pod("p0", running(), false))),
            (800, told(PodChange::Modified, pod("p1", running(), false))),
            (1_000, told(PodChange::Modified, pod("p1", running(), true))),
            (1_050, endpoints(&["p1"])),
        ]);
        assert_eq!(
            names,
            [
                ("first-error", 10),
                ("new-pod-created", 10),
                ("endpoint-removed", 10),
                ("old-container-gone", 570),
                ("container-started", 100),
                ("ready", 200),
                ("endpoint-added", 50),
                ("first-commit", 50)
            ]
        );
    }

    #[test]
    fn a_container_that_starts_again_in_its_pod_has_no_new_pod() {
        let again = |ready| {
            let mut pod = pod("p0", running(), ready);
            pod.containers[0].id = Some("containerd://again".to_owned());
            pod
        };
        let mut ended = pod("p0", running(), false);
        ended.containers[0].state = ContainerState::Terminated(crate::model::TerminatedSeen {
            id: ended.containers[0].id.clone(),
            exit_code: 137,
            reason: "Error".to_owned(),
            started_at: None,
            finished_at: None,
        });
        let names = split_up(vec![
            (150, told(PodChange::Modified, ended)),
            (160, endpoints(&[])),
            (500, told(PodChange::Modified, again(false))),
            (900, told(PodChange::Modified, again(true))),
            (910, endpoints(&["p0"])),
        ]);
        assert_eq!(
            names,
            [
                ("first-error", 10),
                ("old-container-gone", 40),
                ("endpoint-removed", 10),
                ("container-started", 340),
                ("ready", 400),
                ("endpoint-added", 10),
                ("first-commit", 190)
            ]
        );
    }

    #[test]
    fn the_last_time_a_stage_was_reached_counts_and_what_comes_after_the_commit_does_not() {
        let names = split_up(vec![
            (200, probe(ProbeStage::Tcp)),
            (600, probe(ProbeStage::Tcp)),
            (700, probe(ProbeStage::Login)),
            (1_200, endpoints(&["p1"])),
        ]);
        assert_eq!(names, [("first-error", 10), ("first-tcp", 490), ("first-login", 100), ("first-commit", 400)]);
    }

    fn log(container: &str, line: &str) -> EventKind {
        EventKind::EngineLog { container_id: container.to_owned(), line: line.to_owned() }
    }

    fn spans(events: Vec<(u64, EventKind)>) -> Vec<PhaseSpan> {
        let started_at = "2026-11-24T19:46:00Z".to_owned();
        let harness = HarnessInfo { version: String::new(), commit: String::new() };
        let run = RunInfo {
            id: String::new(),
            experiment: String::new(),
            seed: 1,
            started_at,
            provider: Provider::Kind,
            cluster: String::new(),
            namespace: String::new(),
            harness,
        };
        let mut all = vec![
            (0, EventKind::RunStarted { run }),
            // The cluster's clock is two seconds ahead.
            (1, EventKind::ClockCompared { offset_ns: 2_000_000_000, within_ns: 3_000_000, round_trip_ns: 4_000_000 }),
            (2, told(PodChange::Added, pod("p0", running(), true))),
        ];
        all.extend(events);
        let events: Vec<Event> = all.into_iter().map(|(ms, kind)| Event { time_ns: ms * MS, kind }).collect();
        let window = Window { fault: String::new(), start_ns: 95 * MS, end_ns: 9_000 * MS, recovered_ns: None };
        let outage =
            Outage { start_ns: 100 * MS, first_error_ns: Some(110 * MS), end_ns: 5_000 * MS, ended: true, seen_by: SeenBy::Everyone };
        phases(&events, &window, &outage)
    }

    #[test]
    fn recovery_is_told_by_the_time_that_the_engines_log_names_however_late_its_lines_come() {
        let spans = spans(vec![
            (50, log("containerd://p0", "2026-11-24 19:46:02.05 spid7s      Recovery is complete.")),
            (600, told(PodChange::Added, pod("p1", waiting(), false))),
            (900, told(PodChange::Modified, pod("p1", running(), false))),
            (4_000, log("containerd://p1", "2026-11-24 19:46:03.00 spid9s      Starting up database 'master'.")),
            (4_000, log("containerd://p1", "2026-11-24 19:46:03.20 spid9s      Starting up database 'chaos'.")),
            // Behind the end of the outage, and of a time before it.
            (
                5_100,
                log(
                    "containerd://p1",
                    "2026-11-24 19:46:04.50 spid9s      Recovery completed for database chaos (database ID 5) in 1 second(s)",
                ),
            ),
            (
                5_100,
                log("containerd://p1", "2026-11-24 19:46:04.80 spid9s      Recovery is complete. This is an informational message only."),
            ),
        ]);
        let of = |name: &str| spans.iter().find(|span| span.name == name).expect("the phase is there");
        let end_ms = |name: &str| (of(name).start_us + of(name).duration_us) / 1_000;
        assert_eq!((end_ms("recovery-started"), end_ms("recovery-ended")), (1_000, 2_800));
        assert_eq!((of("recovery-ended").source, of("recovery-ended").uncertainty_us), ("database log", Some(13_000)));
        assert_eq!(spans.iter().map(|span| span.duration_us).sum::<u64>(), 4_900_000);
    }

    #[test]
    fn each_source_has_its_uncertainty() {
        let mut fresh = pod("p1", ContainerState::Running { started_at: Some("2026-11-24T19:46:03Z".to_owned()) }, false);
        let started = told(PodChange::Modified, fresh.clone());
        fresh.ready = true;
        fresh.ready_since = Some("2026-11-24T19:46:05Z".to_owned());
        let spans = spans(vec![
            (600, told(PodChange::Added, pod("p1", waiting(), false))),
            (1_400, started),
            (2_990, EventKind::Probe { stage: ProbeStage::Tcp, attempt_ns: 2_988 * MS }),
            (3_100, told(PodChange::Modified, fresh)),
        ]);
        let told: Vec<(&str, &str, Option<u64>)> = spans.iter().map(|span| (span.name, span.source, span.uncertainty_us)).collect();
        assert_eq!(
            told,
            [
                ("first-error", HISTORY, Some(0)),
                ("new-pod-created", POD_WATCH, Some(4_000)),
                ("scheduled", POD_WATCH, Some(4_000)),
                // It started at 1.0 s by the cluster's stamp, as far as the clocks are known.
                ("container-started", KUBELET, Some(403_000)),
                ("first-tcp", PROBER, Some(7_000)),
                ("ready", KUBELET, Some(103_000)),
                ("first-commit", HISTORY, Some(0)),
            ]
        );
    }

    proptest! {
        /// Whatever was seen whenever, the phases are contiguous and sum exactly to the outage.
        #[test]
        fn phases_are_contiguous_and_sum_to_the_outage(
            start in 0u64..1_000,
            length in 0u64..1_000,
            seen in proptest::collection::vec(proptest::option::of(0u64..2_500), 0..12),
        ) {
            let boundaries: Vec<Boundary> = seen
                .into_iter()
                .map(|seen_us| Boundary {
                    name: "b",
                    seen: seen_us.map(|us| Sight { at_ns: us * 1_000, source: "s", unsure_ns: None }),
                })
                .collect();
            let spans = split(&boundaries, "first-commit", start, start + length);
            let mut at = start;
            for span in &spans {
                prop_assert_eq!(span.start_us, at);
                at += span.duration_us;
            }
            prop_assert_eq!(at, start + length);
        }
    }
}
