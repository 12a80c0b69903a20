//! How the engine ended in a fault: asked to stop and in order, asked and not in time, or killed without a word. A forced deletion is not a SIGKILL on
//! every cluster: a kubelet asks first and waits two seconds, which is enough for many an engine to stop in order.

use crate::model::{ContainerState, Event, EventKind, PodChange, PodSeen, TerminatedSeen};

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
        (true, true, _) => format!("the engine was asked to stop (SIGTERM) and stopped in order{code}"),
        (true, false, _) => format!("{CUT_SHORT}{code}"),
        (false, _, Some(end)) if end.exit_code == 137 => format!("{KILLED}{code}"),
        (false, _, Some(_)) => format!("the engine ended, and its log says nothing of a stop{code}"),
        (false, _, None) => "how the engine ended was not seen: its pod went first, and its log says nothing of a stop".to_owned(),
    })
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
