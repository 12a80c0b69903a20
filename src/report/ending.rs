//! How the engine ended in a fault: asked to stop and in order, asked and not in time, or killed without a word. A forced deletion is not a SIGKILL on
//! every cluster: a kubelet asks first and waits two seconds, which is enough for many an engine to stop in order.

use crate::measure::line_time;
use crate::model::{ContainerState, Event, EventKind, Millis, PodChange, PodSeen, TerminatedSeen};

use super::model::FaultReport;

/// What an engine's log says once it was asked to stop; the last is the stand-in's, told to pay no heed.
const ASKED: [&str; 3] = ["SQL Server is terminating", "SQL Server shutdown", "SIGTERM ignored"];
/// What it says when it has stopped in order.
const DONE: &str = "shutdown has been completed";
/// How an engine ended that lost what was not yet written.
const CUT_SHORT: &str = "the engine was asked to stop (SIGTERM) and ended before it had stopped in order";
const KILLED: &str = "the engine was killed (SIGKILL) without being asked to stop";

/// Whether this fault was seen to end the engine without letting it stop in order, by the evidence that [`tell`] has added.
pub(super) fn was_abrupt(fault: &FaultReport) -> bool {
    fault.evidence.iter().any(|said| said.starts_with(CUT_SHORT) || said.starts_with(KILLED))
}

/// Adds to each fault's evidence how the engine ended that served when it hit.
pub(super) fn tell(events: &[Event], faults: &mut [FaultReport]) {
    for fault in faults {
        let started = |event: &Event| matches!(&event.kind, EventKind::FaultStarted { fault: id, .. } if *id == fault.id);
        let Some(at) = events.iter().position(started) else { continue };
        let next = |event: &Event| matches!(event.kind, EventKind::FaultStarted { .. } | EventKind::PhaseFinished { .. });
        let end = events[at + 1..].iter().position(next).map_or(events.len(), |next| at + 1 + next);
        if let Some(id) = serving(&events[..at]) {
            fault.evidence.extend(ending(&events[at..end], &id));
        }
    }
}

fn pods(events: &[Event]) -> impl DoubleEndedIterator<Item = (PodChange, &PodSeen)> {
    events.iter().filter_map(|event| match &event.kind {
        EventKind::Pod { change, pod } => Some((*change, pod)),
        _ => None,
    })
}

/// The container that ran last in a ready pod.
fn serving(events: &[Event]) -> Option<String> {
    let ready = pods(events).rfind(|(change, pod)| *change != PodChange::Deleted && pod.ready)?;
    let running = ready.1.containers.iter().find(|container| matches!(container.state, ContainerState::Running { .. }))?;
    running.id.clone()
}

/// How that container ended within these events; `None` when it did not.
fn ending(events: &[Event], id: &str) -> Option<String> {
    let ended = pods(events).find_map(|(_, pod)| terminated(pod, id));
    let gone = pods(events).any(|(change, pod)| change == PodChange::Deleted && pod.containers.iter().any(|c| c.id.as_deref() == Some(id)));
    if ended.is_none() && !gone {
        return None;
    }
    let said = |text: &str| {
        events.iter().any(|event| match &event.kind {
            EventKind::EngineLog { container_id, line } => container_id == id && line.contains(text),
            _ => false,
        })
    };
    let code = ended.map_or_else(String::new, |end| format!(" (exit code {}, {})", end.exit_code, end.reason));
    let in_order = said(DONE) || ended.is_some_and(|end| end.exit_code == 0);
    Some(match (ASKED.iter().any(|text| said(text)), in_order, ended) {
        (true, true, _) => format!("the engine was asked to stop (SIGTERM) and stopped in order{code}{}", grace_used(events, id)),
        (true, false, _) => format!("{CUT_SHORT}{code}{}", grace_used(events, id)),
        (false, _, Some(end)) if end.exit_code == 137 => format!("{KILLED}{code}"),
        (false, _, Some(_)) => format!("the engine ended, and its log says nothing of a stop{code}"),
        (false, _, None) => "how the engine ended was not seen: its pod went first, and its log says nothing of a stop".to_owned(),
    })
}

/// How much of its grace period that container used, or nothing where that was not seen: by its own log from the first word of the stop to the last, which is exact to
/// 10 ms, else as the pod's status was told.
fn grace_used(events: &[Event], id: &str) -> String {
    let has = |pod: &PodSeen| pod.containers.iter().any(|container| container.id.as_deref() == Some(id));
    let told = |wanted: &dyn Fn(&PodSeen) -> bool| {
        events.iter().find_map(|event| match &event.kind {
            EventKind::Pod { pod, .. } if wanted(pod) => Some((event.time_ns, pod.grace_s)),
            _ => None,
        })
    };
    let logged = |texts: &[&str]| {
        events.iter().find_map(|event| match &event.kind {
            EventKind::EngineLog { container_id, line } if container_id == id && texts.iter().any(|text| line.contains(text)) => {
                line_time(line)
            }
            _ => None,
        })
    };
    let asked = told(&|pod| pod.terminating && has(pod));
    let by_log = logged(&ASKED).zip(logged(&[DONE])).and_then(|(asked, done)| u64::try_from(done.duration_since(asked).as_nanos()).ok());
    let by_status = || Some(told(&|pod| terminated(pod, id).is_some())?.0.saturating_sub(asked?.0));
    let Some(used) = by_log.or_else(by_status).map(Millis::from_ns) else { return String::new() };
    match asked.and_then(|(_, grace_s)| grace_s).filter(|&grace_s| grace_s > 0) {
        Some(grace_s) => format!(", after {used} of {grace_s} s"),
        None => format!(", after {used}"),
    }
}

fn terminated<'a>(pod: &'a PodSeen, id: &str) -> Option<&'a TerminatedSeen> {
    let ends = pod.containers.iter().flat_map(|container| {
        let now = match &container.state {
            ContainerState::Terminated(end) => Some(end),
            _ => None,
        };
        now.into_iter().chain(&container.last)
    });
    ends.into_iter().find(|end| end.id.as_deref() == Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::build::{MS, pod, running};

    /// A pod that was given 10 s and whose container was told to have ended 2.5 s later.
    fn stopped(log: &[&str]) -> Option<String> {
        let mut terminating = pod("p0", running(), true);
        (terminating.terminating, terminating.grace_s) = (true, Some(10));
        let mut ended = terminating.clone();
        let id = ended.containers[0].id.clone();
        let end = TerminatedSeen { id, exit_code: 0, reason: "Completed".to_owned(), started_at: None, finished_at: None };
        ended.containers[0].state = ContainerState::Terminated(end);
        let told = |ms: u64, pod| Event { time_ns: ms * MS, kind: EventKind::Pod { change: PodChange::Modified, pod } };
        let mut events = vec![told(1_000, terminating), told(3_500, ended)];
        let line = |line: &&str| EventKind::EngineLog { container_id: "containerd://p0".to_owned(), line: (*line).to_owned() };
        events.extend(log.iter().map(line).map(|kind| Event { time_ns: 3_600 * MS, kind }));
        ending(&events, "containerd://p0")
    }

    #[test]
    fn how_much_of_the_grace_period_was_used_is_told_by_the_log_or_else_by_the_status() {
        let asked = "2026-01-01 00:00:05.10 spid1s      SQL Server is terminating because of a system shutdown.";
        let done = "2026-01-01 00:00:05.35 spid1s      SQL Server shutdown has been completed";
        let begins = "the engine was asked to stop (SIGTERM) and stopped in order (exit code 0, Completed), after";
        assert_eq!(stopped(&[asked, done]), Some(format!("{begins} 250 ms of 10 s")));
        assert_eq!(stopped(&[asked]), Some(format!("{begins} 2.50 s of 10 s")));
    }
}
