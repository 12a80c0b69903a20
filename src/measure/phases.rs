//! Splits an outage into phases: contiguous, in the order in which their ends were seen, summing exactly to it.
//!
//! Each phase ends with a boundary that one source saw. A boundary that was not seen is left out, and its time belongs to the next one that was. The order is that of
//! time and not a fixed one, because it differs by what is deployed: a Deployment's replacement is created while the old container still runs, and through a Service
//! nobody connects before the pod is ready; in a fixed order, readiness would get no time and the first connection all of it. What was seen at the same instant stands
//! in the order of cause, and so does what two watches, or a watch and the prober, told the other way round. Each boundary says by how much what it stands for may have
//! happened before it was seen: a watch tells within a round trip what the API server knows first; what the kubelet knows first is stamped by it to a second, and it may
//! look only once a second; the engine's log names hundredths of a second of a clock that was compared with ours. Times are cut to microseconds before they are subtracted, so that the sum is exact in the report's milliseconds too.

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
/// Clients can get through a new endpoint before our watch tells of it, and commit by then.
const WATCH_LAG_NS: u64 = 50_000_000;
/// ERRORLOG tells hundredths of a second.
const ERRORLOG_GRAIN_NS: u64 = 10_000_000;

/// A boundary as it was seen.
#[derive(Debug, Clone, Copy)]
struct Sight {
    at_ns: u64,
    source: &'static str,
    unsure_ns: Option<u64>,
}

impl Sight {
    /// Takes in that it did not happen before then; returns when it happened at the earliest.
    fn not_before(&mut self, ns: u64) -> u64 {
        let most_ns = self.at_ns.saturating_sub(ns);
        let unsure_ns = self.unsure_ns.map_or(most_ns, |unsure_ns| unsure_ns.min(most_ns));
        self.unsure_ns = Some(unsure_ns);
        self.at_ns - unsure_ns
    }
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
            } else if matches!(event.kind, EventKind::Pod { .. } | EventKind::Endpoints { .. }) {
                if facts.awaits_endpoint() && event.time_ns <= outage.end_ns.saturating_add(WATCH_LAG_NS) {
                    facts.take(event, &old);
                }
            } else if let EventKind::EngineLog { container_id, line } = &event.kind {
                // The log's lines are told late, with their own time.
                facts.logged(event.time_ns, container_id, line, &old);
            }
        }
        facts.in_order_of_cause(window.start_ns);
        facts
    }

    /// Whether clients came through a Service whose new endpoint was not told yet.
    fn awaits_endpoint(&self) -> bool {
        self.tcp.is_some() && self.endpoint_removed.is_some() && self.endpoint_added.is_none()
    }

    /// Two watches tell of cause and effect in any order, a few ms apart, and then the effect would be given all the time that its cause took. So a cause is put no later
    /// than its effect, and an effect can have happened no earlier than its cause, nor anything before the fault.
    fn in_order_of_cause(&mut self, fault_ns: u64) {
        let behind_service = self.tcp.zip(self.endpoint_removed).is_some_and(|(tcp, removed)| tcp.at_ns > removed.at_ns);
        let mut chain = vec![
            &mut self.created,
            &mut self.scheduled,
            &mut self.volume_ready,
            &mut self.started,
            &mut self.ready,
            &mut self.endpoint_added,
        ];
        // Where the Service had no endpoint any more, a connection through it needs the new one.
        chain.extend(behind_service.then_some(&mut self.tcp));
        let mut effect_ns = u64::MAX;
        for seen in chain.iter_mut().rev().filter_map(|seen| seen.as_mut()) {
            if seen.at_ns > effect_ns {
                let early_ns = seen.at_ns - effect_ns;
                seen.unsure_ns = seen.unsure_ns.map(|ns| ns.saturating_sub(early_ns));
            }
            seen.at_ns = seen.at_ns.min(effect_ns);
            effect_ns = seen.at_ns;
        }
        let mut cause_ns = fault_ns;
        for seen in chain.into_iter().filter_map(|seen| seen.as_mut()) {
            cause_ns = seen.not_before(cause_ns);
        }
        for seen in [&mut self.endpoint_removed, &mut self.old_gone].into_iter().filter_map(|seen| seen.as_mut()) {
            seen.not_before(fault_ns);
        }
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
pub fn line_time(line: &str) -> Option<Timestamp> {
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
#[path = "phases_tests.rs"]
mod tests;
