//! What the prober's attempts say together: which of them are transitions worth an event.
//!
//! Attempts overlap, so that their ends come in any order. An attempt that fails late, begun before another one succeeded, says nothing new; a success is
//! always news, since it was answered now.

use std::collections::BTreeSet;

use crate::model::{ErrorKind, EventKind, OpError, ProbeStage};

const STAGES: [ProbeStage; 3] = [ProbeStage::Tcp, ProbeStage::Login, ProbeStage::Commit];

/// Pure state; the prober feeds it.
#[derive(Debug, Default)]
pub(super) struct ProbeState {
    /// Whether each stage succeeded since it last failed.
    up: [bool; 3],
    /// When the latest attempt that passed each stage began.
    passed_ns: [Option<u64>; 3],
    /// How attempts failed since the last commit; each way is told once.
    ways: BTreeSet<(ProbeStage, ErrorKind, Option<u32>)>,
}

fn at(stage: ProbeStage) -> usize {
    match stage {
        ProbeStage::Tcp => 0,
        ProbeStage::Login => 1,
        ProbeStage::Commit => 2,
    }
}

impl ProbeState {
    /// Whether a commit succeeded and nothing failed since.
    pub(super) fn is_good(&self) -> bool {
        self.up == [true; 3] && self.ways.is_empty()
    }

    /// An attempt passed a stage.
    pub(super) fn passed(&mut self, stage: ProbeStage, attempt_ns: u64) -> Option<EventKind> {
        let at = at(stage);
        self.passed_ns[at] = self.passed_ns[at].max(Some(attempt_ns));
        if stage == ProbeStage::Commit {
            self.ways.clear();
        }
        let new = !std::mem::replace(&mut self.up[at], true);
        new.then_some(EventKind::Probe { stage, attempt_ns })
    }

    /// An attempt failed at a stage. `None` for the event when it is not news; the second tells whether it counts as a failure at all.
    pub(super) fn failed(&mut self, stage: ProbeStage, attempt_ns: u64, error: OpError) -> (Option<EventKind>, bool) {
        if self.passed_ns[at(stage)].is_some_and(|passed_ns| passed_ns > attempt_ns) {
            return (None, false);
        }
        for later in STAGES.into_iter().filter(|later| *later >= stage) {
            self.up[at(later)] = false;
        }
        let new = self.ways.insert((stage, error.kind, error.number));
        (new.then_some(EventKind::ProbeFailed { stage, attempt_ns, error }), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind) -> OpError {
        OpError { kind, number: None, message: String::new() }
    }

    fn pass(state: &mut ProbeState, attempt_ns: u64) -> usize {
        STAGES.into_iter().filter_map(|stage| state.passed(stage, attempt_ns)).count()
    }

    #[test]
    fn only_transitions_are_told() {
        let mut state = ProbeState::default();
        assert!(!state.is_good());
        assert_eq!(pass(&mut state, 1), 3);
        assert_eq!(pass(&mut state, 2), 0);
        assert!(state.is_good());
        assert!(state.failed(ProbeStage::Tcp, 3, error(ErrorKind::Refused)).0.is_some());
        assert!(state.failed(ProbeStage::Tcp, 4, error(ErrorKind::Refused)).0.is_none());
        assert!(state.failed(ProbeStage::Tcp, 5, error(ErrorKind::Timeout)).0.is_some());
        assert!(!state.is_good());
        assert_eq!(pass(&mut state, 6), 3);
        assert!(state.is_good());
    }

    #[test]
    fn an_attempt_from_before_the_recovery_does_not_undo_it() {
        let mut state = ProbeState::default();
        let _ = state.failed(ProbeStage::Login, 1, error(ErrorKind::Timeout));
        assert_eq!(pass(&mut state, 20), 3);
        assert_eq!(state.failed(ProbeStage::Login, 10, error(ErrorKind::Timeout)), (None, false));
        assert!(state.is_good());
        assert!(state.failed(ProbeStage::Login, 30, error(ErrorKind::Timeout)).1);
    }

    #[test]
    fn a_login_that_fails_leaves_the_connection_up() {
        let mut state = ProbeState::default();
        assert_eq!(pass(&mut state, 1), 3);
        let _ = state.failed(ProbeStage::Login, 2, error(ErrorKind::Login));
        assert_eq!(state.passed(ProbeStage::Tcp, 3), None);
        assert!(state.passed(ProbeStage::Login, 3).is_some());
        assert!(state.passed(ProbeStage::Commit, 3).is_some());
    }
}
