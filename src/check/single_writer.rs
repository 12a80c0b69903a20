//! No two containers of the target ran on the claim at once.
//!
//! A Deployment's replacement is created as soon as the old pod has a deletion timestamp, and ReadWriteOnce lets any number of pods of one node use the claim, so for a
//! whole grace period two servers can run on the same files. An engine that locks its files refuses the second one; one that does not is
//! a split brain that looks like a perfect recovery.
//!
//! Two clocks tell when a container ran. The kubelet's start and finish times come with the pod's status, in whole seconds; the moments at
//! which the watch delivered them are exact to a millisecond and late by the kubelet's reporting. A pod that was made after the other's end was reported
//! came after it, whatever clocks say. Else the kubelet's times decide where they can and both are of one node, since the clocks of two differ; the arrivals decide
//! the rest. A window that only the arrivals show while the kubelet's times fall into one second is unknown, unless the second engine logged that another process
//! held the files. Of a pod that was deleted by force nobody reports the end: there the engines' logs tell, by their own times and by the lock.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::Timestamp;

use crate::measure::line_time;
use crate::model::{ContainerSeen, ContainerState, Event, EventKind, PodChange, PodSeen, TerminatedSeen, Verdict};

use super::Check;

/// How the second container fared during an overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its engine logged that another process holds the files (5120).
    ByLock,
    /// It exited by itself with an error while the first one ran.
    Exited(i32),
    /// Nothing says that it was refused.
    None,
}

/// Two containers that ran at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlap {
    /// `pod/container` of the one that started first.
    pub first: String,
    /// `pod/container` of the other.
    pub second: String,
    /// From when, in ns since the run's start, by arrival.
    pub start_ns: u64,
    /// How long by arrival, or by the engines' logs where they tell of more, in ns.
    pub arrival_ns: u64,
    /// How long by the kubelet's times, in whole seconds, where both are known.
    pub kubelet_s: Option<i64>,
    /// How it was seen that the first one ended.
    pub first_end: &'static str,
    /// Whether both were ready at once.
    pub both_ready: bool,
    /// How the second one fared.
    pub refusal: Refusal,
    /// False when the two clocks do not decide it.
    pub certain: bool,
}

#[derive(Debug, Clone)]
struct Instance {
    pod_uid: String,
    pod: String,
    name: String,
    id: String,
    start_ns: u64,
    end_ns: Option<u64>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    exit_code: Option<i32>,
    end: &'static str,
    ready_ns: Option<u64>,
    node: Option<String>,
    /// When its pod was first told of.
    pod_ns: u64,
    logged_lock: bool,
    /// The times of the first and the last line of its engine's log, by that engine's clock.
    logged: Option<[Timestamp; 2]>,
}

impl Instance {
    /// For how long at least it lived on beside the second one after its own pod's object was gone, in ns by the engines' own logs.
    fn outlived_ns(&self, second: &Instance) -> Option<u64> {
        let ns = match (self.logged, second.logged) {
            (Some([_, last]), Some([first, _])) => u64::try_from(last.duration_since(first).as_nanos()).unwrap_or(0),
            _ => 0,
        };
        (self.end == OBJECT_GONE && self.finished_at.is_none() && (ns > 0 || second.logged_lock)).then_some(ns)
    }
}

const TERMINATED: &str = "its termination was reported";
const REPLACED: &str = "its successor was reported";
const OBJECT_GONE: &str = "its pod's object was gone, the process may have lived on";
const NEVER_ENDED: &str = "no end of it was seen";

/// Judges the timeline. With `allowed`, overlaps are shown and do not fail the run.
pub fn single_writer(events: &[Event], allowed: bool) -> Check {
    let instances = instances(events);
    if instances.is_empty() {
        return Check::unknown("single-writer", "no container of the target was seen running".to_owned());
    }
    let overlaps = overlaps(events);
    let longest_ms = overlaps.iter().map(|o| o.arrival_ns / 1_000_000).max();
    let mut evidence: Vec<String> = overlaps.iter().map(describe).collect();
    let verdict = if overlaps.is_empty() || allowed {
        Verdict::Valid
    } else if overlaps.iter().any(|overlap| overlap.certain) {
        Verdict::Invalid
    } else {
        Verdict::Unknown
    };
    if overlaps.is_empty() {
        let unseen = match instances.iter().filter(|i| i.end == OBJECT_GONE && i.finished_at.is_none()).count() {
            0 => String::new(),
            gone => format!("; of {gone} nobody reported the end, since their pods were deleted by force"),
        };
        evidence.push(format!("{} container instances were seen, never two at once{unseen}", instances.len()));
    } else if allowed {
        evidence.push("the experiment allows an overlap".to_owned());
    }
    Check {
        name: "single-writer",
        verdict,
        counts: IndexMap::from([
            ("instances", instances.len() as u64),
            ("overlaps", overlaps.len() as u64),
            ("longestMs", longest_ms.unwrap_or(0)),
        ]),
        evidence,
        examples: Vec::new(),
    }
}

fn describe(overlap: &Overlap) -> String {
    let kubelet = match overlap.kubelet_s {
        Some(0) => ", within one second by the kubelet's times".to_owned(),
        Some(seconds) => format!(", {seconds} s by the kubelet's times"),
        None => ", by arrival only".to_owned(),
    };
    let refusal = match overlap.refusal {
        Refusal::ByLock => "; the engine's file lock refused the second (5120)".to_owned(),
        Refusal::Exited(code) => format!("; the second exited by itself with code {code}"),
        Refusal::None if overlap.both_ready => "; both were ready".to_owned(),
        Refusal::None => String::new(),
    };
    format!(
        "{} and {} ran at once for {} ms{kubelet}; the first ended when {}{refusal}",
        overlap.first,
        overlap.second,
        overlap.arrival_ns / 1_000_000,
        overlap.first_end,
    )
}

/// Every pair of containers of different pods that ran at once, in order of time.
pub fn overlaps(events: &[Event]) -> Vec<Overlap> {
    let instances = instances(events);
    let last_ns = events.last().map_or(0, |event| event.time_ns);
    let mut found = Vec::new();
    for (at, a) in instances.iter().enumerate() {
        for b in &instances[at + 1..] {
            if a.pod_uid != b.pod_uid && a.name == b.name {
                let (first, second) = if starts_before(a, b) { (a, b) } else { (b, a) };
                found.extend(overlap(first, second, last_ns));
            }
        }
    }
    found.sort_by_key(|overlap| overlap.start_ns);
    found
}

fn starts_before(a: &Instance, b: &Instance) -> bool {
    match (a.started_at, b.started_at) {
        (Some(a_at), Some(b_at)) if a_at != b_at => a_at < b_at,
        _ => a.start_ns <= b.start_ns,
    }
}

fn overlap(first: &Instance, second: &Instance, last_ns: u64) -> Option<Overlap> {
    let start_ns = first.start_ns.max(second.start_ns);
    let end_ns = first.end_ns.unwrap_or(last_ns).min(second.end_ns.unwrap_or(last_ns));
    let arrival_ns = end_ns.saturating_sub(start_ns);
    let kubelet_s = match (first.finished_at, second.started_at) {
        (Some(finished), Some(started)) => {
            let until = second.finished_at.map_or(finished, |at| at.min(finished));
            Some(until.as_second() - started.as_second())
        }
        _ => None,
    };
    let outlived_ns = first.outlived_ns(second);
    let arrival_ns = arrival_ns.max(outlived_ns.unwrap_or(0));
    let one_clock = first.node.is_some() && first.node == second.node;
    let both_ready = second.ready_ns.is_some_and(|ready| first.ready_ns.is_some() && ready < first.end_ns.unwrap_or(last_ns));
    if first.end != OBJECT_GONE && first.end_ns.is_some_and(|ended| ended < second.pod_ns) {
        return None;
    }
    let certain = match kubelet_s {
        _ if outlived_ns.is_some() => second.logged_lock || one_clock,
        Some(seconds) if seconds < 0 && (one_clock || !both_ready) => return None,
        Some(seconds) if seconds < 0 => false,
        // Starts before the second in which the other ends: no rounding can undo that.
        Some(seconds) if seconds > 0 => one_clock || both_ready,
        // The engine itself found the files in another process's hands.
        Some(_) if arrival_ns > 0 => second.logged_lock,
        None if arrival_ns > 0 => true,
        _ => return None,
    };
    let refusal = match second.exit_code {
        _ if second.logged_lock => Refusal::ByLock,
        Some(code) if code != 0 && second.end_ns <= Some(first.end_ns.unwrap_or(last_ns)) => Refusal::Exited(code),
        _ => Refusal::None,
    };
    let label = |instance: &Instance| format!("{}/{}", instance.pod, instance.name);
    Some(Overlap {
        first: label(first),
        second: label(second),
        start_ns,
        arrival_ns,
        kubelet_s,
        first_end: first.end,
        both_ready,
        refusal,
        certain,
    })
}

/// Every container instance that the watch told of.
fn instances(events: &[Event]) -> Vec<Instance> {
    let mut instances: Vec<Instance> = Vec::new();
    let mut pods: BTreeMap<&str, u64> = BTreeMap::new();
    for event in events {
        if let EventKind::Pod { change, pod } = &event.kind {
            pods.entry(&pod.uid).or_insert(event.time_ns);
            for container in &pod.containers {
                see(&mut instances, event.time_ns, *change, pod, container);
            }
            if *change == PodChange::Deleted {
                let gone = instances.iter_mut().filter(|i| i.pod_uid == pod.uid && i.end_ns.is_none());
                for instance in gone {
                    instance.end_ns = Some(event.time_ns);
                    instance.end = OBJECT_GONE;
                }
            }
        }
    }
    for instance in &mut instances {
        instance.pod_ns = pods.get(instance.pod_uid.as_str()).copied().unwrap_or(instance.start_ns);
    }
    // The log of a container can arrive before the status that first tells of it.
    for event in events {
        if let EventKind::EngineLog { container_id, line } = &event.kind
            && let Some(instance) = instances.iter_mut().find(|i| &i.id == container_id)
        {
            instance.logged_lock |= line.contains("5120");
            if let Some(at) = line_time(line) {
                let [first, last] = instance.logged.unwrap_or([at, at]);
                instance.logged = Some([first.min(at), last.max(at)]);
            }
        }
    }
    instances
}

fn see(instances: &mut Vec<Instance>, time_ns: u64, change: PodChange, pod: &PodSeen, container: &ContainerSeen) {
    if let Some(last) = &container.last
        && last.id.is_some()
    {
        end(instances, time_ns, pod, container, last);
    }
    match &container.state {
        ContainerState::Terminated(terminated) => {
            end(instances, time_ns, pod, container, terminated);
        }
        ContainerState::Running { started_at } if change != PodChange::Deleted => {
            let id = instance_id(pod, container, container.id.as_deref());
            for old in instances.iter_mut().filter(|i| i.pod_uid == pod.uid && i.name == container.name && i.id != id) {
                if old.end_ns.is_none() {
                    old.end_ns = Some(time_ns);
                    old.end = REPLACED;
                }
            }
            let known = instances.iter().position(|instance| instance.id == id);
            let at = known.unwrap_or_else(|| {
                instances.push(Instance { started_at: parse(started_at.as_deref()), ..instance(pod, container, id, time_ns) });
                instances.len() - 1
            });
            if container.ready {
                instances[at].ready_ns.get_or_insert(time_ns);
            }
        }
        ContainerState::Running { .. } | ContainerState::Waiting { .. } => {}
    }
}

fn end(instances: &mut Vec<Instance>, time_ns: u64, pod: &PodSeen, container: &ContainerSeen, terminated: &TerminatedSeen) {
    let id = instance_id(pod, container, terminated.id.as_deref());
    let at = instances.iter().position(|instance| instance.id == id).unwrap_or_else(|| {
        // It started and ended between two reports; only the kubelet's times say when.
        instances.push(instance(pod, container, id, time_ns));
        instances.len() - 1
    });
    let instance = &mut instances[at];
    if instance.finished_at.is_none() {
        instance.finished_at = parse(terminated.finished_at.as_deref());
        instance.started_at = instance.started_at.or_else(|| parse(terminated.started_at.as_deref()));
        instance.exit_code = Some(terminated.exit_code);
    }
    if instance.end_ns.is_none() {
        instance.end_ns = Some(time_ns);
        instance.end = TERMINATED;
    }
}

fn instance(pod: &PodSeen, container: &ContainerSeen, id: String, time_ns: u64) -> Instance {
    Instance {
        pod_uid: pod.uid.clone(),
        pod: pod.name.clone(),
        name: container.name.clone(),
        id,
        start_ns: time_ns,
        end_ns: None,
        started_at: None,
        finished_at: None,
        exit_code: None,
        end: NEVER_ENDED,
        ready_ns: None,
        node: pod.node.clone(),
        pod_ns: time_ns,
        logged_lock: false,
        logged: None,
    }
}

/// The runtime's id, or what stands in for one.
fn instance_id(pod: &PodSeen, container: &ContainerSeen, id: Option<&str>) -> String {
    id.map_or_else(|| format!("{}/{}/{}", pod.uid, container.name, container.restarts), str::to_owned)
}

fn parse(time: Option<&str>) -> Option<Timestamp> {
    time?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::build::{MS, pod, running, waiting};

    fn timeline(pods: Vec<(u64, PodChange, PodSeen)>) -> Vec<Event> {
        pods.into_iter().map(|(ms, change, pod)| Event { time_ns: ms * MS, kind: EventKind::Pod { change, pod } }).collect()
    }

    fn ended(uid: &str, exit_code: i32) -> PodSeen {
        let mut pod = pod(uid, running(), false);
        let id = pod.containers[0].id.clone();
        let reason = "Error".to_owned();
        pod.containers[0].state = ContainerState::Terminated(TerminatedSeen { id, exit_code, reason, started_at: None, finished_at: None });
        pod
    }

    #[test]
    fn one_after_the_other_is_valid() {
        let events = timeline(vec![
            (0, PodChange::Added, pod("a", running(), true)),
            (100, PodChange::Modified, ended("a", 137)),
            (101, PodChange::Added, pod("b", running(), true)),
        ]);
        let check = single_writer(&events, false);
        assert_eq!((check.verdict, check.counts["instances"]), (Verdict::Valid, 2));
    }

    #[test]
    fn a_pod_whose_object_is_gone_no_longer_counts_and_that_is_said() {
        let events = timeline(vec![
            (0, PodChange::Added, pod("a", running(), true)),
            (100, PodChange::Added, pod("b", running(), false)),
            (350, PodChange::Deleted, pod("a", running(), true)),
            (900, PodChange::Modified, pod("b", running(), true)),
        ]);
        let check = single_writer(&events, false);
        assert_eq!((check.verdict, check.counts["longestMs"]), (Verdict::Invalid, 250));
        assert!(check.evidence[0].contains("the process may have lived on"), "{:?}", check.evidence);
        assert!(!check.evidence[0].contains("both were ready"));
    }

    #[test]
    fn a_second_container_that_exits_while_the_first_runs_was_refused() {
        let mut again = pod("b", waiting(), false);
        again.containers[0].restarts = 1;
        let events = timeline(vec![
            (0, PodChange::Added, pod("a", running(), true)),
            (100, PodChange::Added, pod("b", running(), false)),
            (150, PodChange::Modified, ended("b", 1)),
            (160, PodChange::Modified, again),
            (900, PodChange::Deleted, pod("a", running(), true)),
        ]);
        let found = overlaps(&events);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].refusal, found[0].arrival_ns), (Refusal::Exited(1), 50 * MS));
    }

    /// Kubelet's times are whole seconds, so they say nothing of an overlap within one; the log of the engine that was refused does.
    #[test]
    fn within_one_second_of_the_kubelets_times_the_engines_log_decides() {
        let mut refused = ended("b", 1);
        let at = Some("2026-01-01T00:00:05Z".to_owned());
        if let ContainerState::Terminated(terminated) = &mut refused.containers[0].state {
            (terminated.started_at, terminated.finished_at) = (at.clone(), at.clone());
        }
        let mut first = ended("a", 137);
        if let ContainerState::Terminated(terminated) = &mut first.containers[0].state {
            (terminated.started_at, terminated.finished_at) = (Some("2026-01-01T00:00:01Z".to_owned()), at);
        }
        let mut events = timeline(vec![
            (0, PodChange::Added, pod("a", running(), true)),
            (100, PodChange::Added, pod("b", running(), false)),
            (250, PodChange::Modified, refused.clone()),
            (300, PodChange::Modified, first),
        ]);
        assert_eq!(single_writer(&events, false).verdict, Verdict::Unknown);
        let container_id = refused.containers[0].id.clone().expect("a container of the builder has an id");
        events.push(Event { time_ns: 260 * MS, kind: EventKind::EngineLog { container_id, line: "Error: 5120, Severity: 16".to_owned() } });
        assert_eq!(single_writer(&events, false).verdict, Verdict::Invalid);
    }

    fn logged(ms: u64, uid: &str, line: &str) -> Event {
        Event { time_ns: ms * MS, kind: EventKind::EngineLog { container_id: format!("containerd://{uid}"), line: line.to_owned() } }
    }

    /// The object of a pod that is deleted by force goes at once, its process some time later, and no kubelet reports that.
    #[test]
    fn the_logs_tell_that_a_process_outlived_its_pod() {
        let forced = || {
            timeline(vec![
                (0, PodChange::Added, pod("a", running(), true)),
                (100, PodChange::Deleted, pod("a", running(), true)),
                (101, PodChange::Added, pod("b", running(), false)),
            ])
        };
        let check = single_writer(&forced(), false);
        assert_eq!(check.verdict, Verdict::Valid);
        assert!(check.evidence[0].contains("of 1 nobody reported the end"), "{:?}", check.evidence);
        let begins = logged(120, "b", "2026-01-01 00:00:05.38 Server      Microsoft SQL Server");
        for (last, verdict) in [("05.31", Verdict::Valid), ("05.39", Verdict::Invalid)] {
            let ends = logged(130, "a", &format!("2026-01-01 00:00:{last} spid1s      SQL Server is terminating"));
            assert_eq!(single_writer(&[forced(), vec![begins.clone(), ends]].concat(), false).verdict, verdict, "{last}");
        }
        let refused = logged(140, "b", "2026-01-01 00:00:05.40 spid1s      Error: 5120, Severity: 16");
        assert_eq!(single_writer(&[forced(), vec![begins, refused]].concat(), false).verdict, Verdict::Invalid);
    }

    #[test]
    fn the_clocks_of_two_nodes_do_not_decide() {
        let with = |uid: &str, node: &str, finished: Option<&str>, started: &str| {
            let mut pod = if finished.is_some() { ended(uid, 0) } else { pod(uid, running(), true) };
            pod.node = Some(node.to_owned());
            match &mut pod.containers[0].state {
                ContainerState::Terminated(end) => {
                    (end.started_at, end.finished_at) = (Some(started.to_owned()), finished.map(str::to_owned))
                }
                ContainerState::Running { started_at } => *started_at = Some(started.to_owned()),
                ContainerState::Waiting { .. } => {}
            }
            pod
        };
        let first = with("a", "n1", None, "2026-01-01T00:00:01Z");
        let end = |at| with("a", "n1", Some(at), "2026-01-01T00:00:01Z");
        let second = |node| with("b", node, None, "2026-01-01T00:00:07Z");
        // Its pod was made after the first's end was reported, so a finish in the future is a clock that is ahead.
        let events = timeline(vec![
            (0, PodChange::Added, first.clone()),
            (6_000, PodChange::Modified, end("2026-01-01T00:00:12Z")),
            (7_000, PodChange::Added, second("n2")),
        ]);
        assert_eq!(single_writer(&events, false).verdict, Verdict::Valid);
        // Both were ready for five seconds, which the times of one clock could explain by a late report, those of two cannot.
        for (node, verdict) in [("n1", Verdict::Valid), ("n2", Verdict::Unknown)] {
            let events = timeline(vec![
                (0, PodChange::Added, first.clone()),
                (7_000, PodChange::Added, second(node)),
                (12_000, PodChange::Modified, end("2026-01-01T00:00:06Z")),
            ]);
            assert_eq!(single_writer(&events, false).verdict, verdict, "{node}");
        }
    }

    #[test]
    fn a_container_that_is_still_running_at_the_end_overlaps_until_then() {
        let events = timeline(vec![
            (0, PodChange::Added, pod("a", running(), true)),
            (100, PodChange::Added, pod("b", running(), true)),
            (600, PodChange::Modified, pod("b", running(), true)),
        ]);
        let found = overlaps(&events);
        assert_eq!((found[0].arrival_ns, found[0].first_end, found[0].both_ready), (500 * MS, NEVER_ENDED, true));
    }

    #[test]
    fn restarts_in_one_pod_are_one_writer_after_another() {
        let mut again = pod("a", running(), true);
        again.containers[0].id = Some("containerd://a-2".to_owned());
        again.containers[0].restarts = 1;
        let events = timeline(vec![(0, PodChange::Added, pod("a", running(), true)), (50, PodChange::Modified, again)]);
        let check = single_writer(&events, false);
        assert_eq!((check.verdict, check.counts["instances"]), (Verdict::Valid, 2));
    }
}
