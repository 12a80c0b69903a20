//! Splits an outage into phases: contiguous, in the order in which their ends were seen, summing exactly to it.
//!
//! Each phase ends with a boundary that one source saw. A boundary that was not seen is left out, and its time belongs to the next one that was. The order is that of
//! time and not a fixed one, because it differs by what is deployed: a Deployment's replacement is created while the old container still runs, and through a Service
//! nobody connects before the pod is ready; in a fixed order, readiness would get no time and the first connection all of it. What was seen at the same instant stands
//! in the order of cause. Times are cut to microseconds before they are subtracted, so that the sum is exact in the report's milliseconds too.

use crate::model::{ContainerState, Event, EventKind, PodChange, PodSeen, ProbeStage};

use super::episodes::{Outage, Window};

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
}

const HISTORY: &str = "history";
const POD_WATCH: &str = "pod watch";
const ENDPOINT_WATCH: &str = "endpoint watch";
const EVENT_WATCH: &str = "event watch";
const PROBER: &str = "prober";

/// Kubernetes Events that say that the pod's volumes are in place.
const VOLUME_READY: [&str; 4] = ["SuccessfulAttachVolume", "Pulling", "Pulled", "Created"];

/// A boundary in its place in the order.
struct Boundary {
    name: &'static str,
    seen_us: Option<u64>,
    source: &'static str,
}

/// The phases of an outage by the timeline of its window.
pub fn phases(events: &[Event], window: &Window, outage: &Outage) -> Vec<PhaseSpan> {
    let facts = Facts::collect(events, window, outage);
    let boundary = |name, seen_ns: Option<u64>, source| Boundary { name, seen_us: seen_ns.map(|ns| ns / 1_000), source };
    let mut boundaries = [
        boundary("first-error", outage.first_error_ns, HISTORY),
        boundary("endpoint-removed", facts.endpoint_removed, ENDPOINT_WATCH),
        boundary("old-container-gone", facts.old_gone, POD_WATCH),
        boundary("new-pod-created", facts.created, POD_WATCH),
        boundary("scheduled", facts.scheduled, POD_WATCH),
        boundary("volume-ready", facts.volume_ready, facts.volume_source),
        boundary("container-started", facts.started, POD_WATCH),
        boundary("ready", facts.ready, POD_WATCH),
        boundary("endpoint-added", facts.endpoint_added, ENDPOINT_WATCH),
        boundary("first-tcp", facts.tcp, PROBER),
        boundary("first-login", facts.login, PROBER),
    ];
    boundaries.sort_by_key(|boundary| boundary.seen_us);
    let last = if outage.ended { "first-commit" } else { "no-commit-yet" };
    split(&boundaries, last, outage.start_ns / 1_000, outage.end_ns / 1_000)
}

fn split(boundaries: &[Boundary], last: &'static str, start_us: u64, end_us: u64) -> Vec<PhaseSpan> {
    let mut spans = Vec::new();
    let mut from_us = start_us;
    for boundary in boundaries {
        // What was seen after the first commit did not hold it up.
        let Some(seen_us) = boundary.seen_us.filter(|&seen_us| seen_us <= end_us) else {
            continue;
        };
        let to_us = seen_us.max(from_us);
        spans.push(PhaseSpan { name: boundary.name, start_us: from_us, duration_us: to_us - from_us, source: boundary.source });
        from_us = to_us;
    }
    spans.push(PhaseSpan { name: last, start_us: from_us, duration_us: end_us.saturating_sub(from_us), source: HISTORY });
    spans
}

/// When each boundary was seen, in ns since the run's start.
#[derive(Debug, Default)]
struct Facts {
    endpoint_removed: Option<u64>,
    old_gone: Option<u64>,
    created: Option<u64>,
    scheduled: Option<u64>,
    volume_ready: Option<u64>,
    volume_source: &'static str,
    started: Option<u64>,
    tcp: Option<u64>,
    login: Option<u64>,
    ready: Option<u64>,
    endpoint_added: Option<u64>,
}

impl Facts {
    fn collect(events: &[Event], window: &Window, outage: &Outage) -> Facts {
        let mut facts = Facts { volume_source: POD_WATCH, ..Facts::default() };
        let mut old = Old::default();
        for event in events {
            if event.time_ns < window.start_ns {
                old.before(&event.kind);
            } else if event.time_ns <= outage.end_ns {
                facts.take(event, &old);
            } else {
                break;
            }
        }
        facts
    }

    fn take(&mut self, event: &Event, old: &Old) {
        let now = event.time_ns;
        match &event.kind {
            EventKind::Pod { change, pod } => self.pod(now, *change, pod, old),
            EventKind::Endpoints { endpoints } => {
                let ready = endpoints.iter().any(|endpoint| endpoint.ready);
                let ready_old = endpoints.iter().any(|endpoint| endpoint.ready && old.is_ready_pod(endpoint.pod_uid.as_deref()));
                if !ready_old {
                    self.endpoint_removed.get_or_insert(now);
                }
                // Of a pod that stays, the endpoint comes back; of a pod that is replaced, another one comes.
                let added = if self.created.is_some() { ready && !ready_old } else { ready && self.endpoint_removed.is_some() };
                if added {
                    self.endpoint_added.get_or_insert(now);
                }
            }
            EventKind::KubeEvent { uid, reason, .. }
                if self.volume_ready.is_none() && VOLUME_READY.contains(&reason.as_str()) && !old.knows(uid) =>
            {
                self.volume_ready = Some(now);
                self.volume_source = EVENT_WATCH;
            }
            EventKind::Probe { stage, .. } => match stage {
                // The last of each stage counts: a port that accepts and then refuses again did not come up yet.
                ProbeStage::Tcp => self.tcp = Some(now),
                ProbeStage::Login => self.login = Some(now),
                ProbeStage::Commit => {}
            },
            _ => {}
        }
    }

    fn pod(&mut self, now: u64, change: PodChange, pod: &PodSeen, old: &Old) {
        let is_old = old.knows(&pod.uid);
        let fresh = |id: Option<&str>| id.is_none_or(|id| !old.containers.iter().any(|o| o == id));
        if is_old {
            let gone = change == PodChange::Deleted
                || pod.containers.iter().any(|container| {
                    matches!(container.state, ContainerState::Terminated(_)) || (container.last.is_some() && fresh(container.id.as_deref()))
                });
            if gone {
                self.old_gone.get_or_insert(now);
            }
        } else if change != PodChange::Deleted {
            self.created.get_or_insert(now);
            if pod.node.is_some() {
                self.scheduled.get_or_insert(now);
            }
            if self.volume_ready.is_none() && pod.conditions.iter().any(|condition| condition == "PodReadyToStartContainers") {
                self.volume_ready = Some(now);
            }
        }
        let starts = pod.containers.iter().any(|container| {
            matches!(container.state, ContainerState::Running { .. })
                && fresh(container.id.as_deref())
                && (!is_old || container.id.is_some())
        });
        if starts && change != PodChange::Deleted {
            self.started.get_or_insert(now);
        }
        if pod.ready && (starts || !is_old) && change != PodChange::Deleted {
            self.ready.get_or_insert(now);
        }
    }
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

    fn is_ready_pod(&self, uid: Option<&str>) -> bool {
        uid.is_some_and(|uid| self.ready_pods.iter().any(|pod| pod == uid))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    use crate::measure::SeenBy;
    use crate::model::EndpointSeen;
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
                .map(|seen_us| Boundary { name: "b", seen_us, source: "s" })
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
