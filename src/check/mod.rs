//! Pure checkers: history in, verdict and evidence out.
//!
//! A checker sees every op in the order of the history, or the events of the timeline, and says whether one property held. It does no I/O and keeps no
//! clock, so a recorded run is judged the same way as a running one. A checker that panics has shown nothing: its verdict is unknown.

mod append;
mod bank;
mod guard;
mod ledger;
mod own_sql;
mod queue;
mod register;
mod single_writer;
mod volume;

use indexmap::IndexMap;

use crate::model::{Begun, OpView, Verdict};

pub use append::{Append, Order};
pub use bank::Bank;
pub use guard::{Guarded, guarded};
pub use ledger::Ledger;
pub use own_sql::Own;
pub use queue::Queue;
pub use register::Register;
pub use single_writer::{Overlap, Refusal, overlaps, single_writer};
pub use volume::volume;

/// How many examples of one class a checker shows.
pub const EXAMPLES_MAX: usize = 20;

/// A checker that folds over the ops of a history.
pub trait Checker {
    /// The check's stable name.
    fn name(&self) -> &'static str;

    /// Takes one transition. `begun` is the invoke that it ends; `None` for an invoke.
    fn op(&mut self, op: &OpView<'_>, begun: Option<&Begun>);

    /// Says what it found once the history has ended.
    fn finish(self: Box<Self>) -> Check;
}

/// What a checker found.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// The check's stable name.
    pub name: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// The accounting, in the order in which it is read.
    pub counts: IndexMap<&'static str, u64>,
    /// What decided it, one sentence each.
    pub evidence: Vec<String>,
    /// The ops that prove each anomaly.
    pub examples: Vec<Found>,
}

impl Check {
    /// A check that decides nothing, and why.
    pub fn unknown(name: &'static str, why: String) -> Self {
        Check { name, verdict: Verdict::Unknown, counts: IndexMap::new(), evidence: vec![why], examples: Vec::new() }
    }
}

/// One anomaly with its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The class, such as `lost`.
    pub class: &'static str,
    /// The ledger key, where the anomaly is about one.
    pub key: Option<u64>,
    /// What is wrong, in words.
    pub detail: String,
    /// Indices of the ops that prove it, in order.
    pub proof: Vec<u64>,
    /// Of a cycle of transactions: what leads from each to the next, and from the last to the first.
    pub cycle: Vec<Link>,
}

/// Why one transaction of a cycle comes before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The op that comes before.
    pub from: u64,
    /// The op that comes after.
    pub to: u64,
    /// `ww`, `wr`, `rw`, `process` or `realtime`.
    pub why: &'static str,
    /// The list that shows it, of the first three.
    pub key: Option<u64>,
}

#[cfg(test)]
pub(crate) mod build;
