//! Pairs each op's end with its beginning.

use super::number_map::NumberMap;
use super::op::{F, OpType, ProcessId};
use super::view::{OpView, ValueView};

/// What an op began with, kept until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// The invoke's index.
    pub index: u64,
    /// When it was sent, in ns since the run's start.
    pub sent_ns: u64,
    /// When it was due, in ns since the run's start.
    pub intended_ns: u64,
    /// What op.
    pub f: F,
    /// The ledger key that it is about, or after which its page starts; 0 where there is none.
    pub key: u64,
}

/// The ops that have begun and not ended. A process has at most one.
#[derive(Debug, Default)]
pub struct OpenOps {
    open: NumberMap<ProcessId, Begun>,
}

impl OpenOps {
    /// Takes one transition in the order of the history and returns the invoke that it ends, `None` for an invoke.
    ///
    /// # Errors
    /// In words, when the transition contradicts the history: a process that begins while its op is open, or an end without a beginning.
    pub fn pair(&mut self, op: &OpView<'_>) -> Result<Option<Begun>, String> {
        if op.kind == OpType::Invoke {
            let key = match op.value {
                ValueView::Row(key, _) | ValueView::Key(key) => key,
                _ => 0,
            };
            let begun = Begun { index: op.index, sent_ns: op.time_ns, intended_ns: op.intended_ns, f: op.f, key };
            return match self.open.insert(op.process, begun) {
                Some(before) => Err(format!("process {} began op {} while its op {} was open", op.process, op.index, before.index)),
                None => Ok(None),
            };
        }
        match self.open.remove(&op.process) {
            Some(begun) if begun.f == op.f => Ok(Some(begun)),
            Some(begun) => Err(format!("op {} ends a {} that began as a {} at {}", op.index, op.f, begun.f, begun.index)),
            None => Err(format!("op {} of process {} ends without having begun", op.index, op.process)),
        }
    }

    /// The ops that never ended.
    pub fn still_open(&self) -> impl Iterator<Item = &Begun> {
        self.open.values()
    }
}
