//! How ops ended, and the response times of those that were answered: one account for a step, a stage or a window of a run.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::interval_log::{add, new_histogram};
use crate::model::{Begun, ErrorKind, OpType, OpView};

/// How an op ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// It happened.
    Ok,
    /// Its own condition declined it: it was answered as it was asked.
    Declined,
    /// It did not happen.
    Fail,
    /// It may have happened.
    Info,
}

impl Ended {
    /// All, in order.
    pub const ALL: [Ended; 4] = [Ended::Ok, Ended::Declined, Ended::Fail, Ended::Info];

    /// Of a transition that ends an op.
    pub fn of(op: &OpView<'_>) -> Ended {
        match op.kind {
            OpType::Ok => Ended::Ok,
            OpType::Fail if op.error.is_some_and(|error| error.kind == ErrorKind::Declined) => Ended::Declined,
            OpType::Fail => Ended::Fail,
            OpType::Info | OpType::Invoke => Ended::Info,
        }
    }

    /// The word in a report.
    pub fn word(self) -> &'static str {
        match self {
            Ended::Ok => "ok",
            Ended::Declined => "declined",
            Ended::Fail => "fail",
            Ended::Info => "info",
        }
    }
}

/// The account.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Response times of those that happened or were declined, in ns.
    pub(super) answered: Histogram<u64>,
    /// How many others did not happen.
    pub(super) failed: u64,
    /// How many may have happened.
    pub(super) unknown: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Tally { answered: new_histogram(), failed: 0, unknown: 0 }
    }

    /// Takes an op's end.
    pub(super) fn end(&mut self, op: &OpView<'_>, begun: &Begun) {
        match Ended::of(op) {
            Ended::Ok | Ended::Declined => add(&mut self.answered, response_ns(op, begun)),
            Ended::Fail => self.failed += 1,
            Ended::Info => self.unknown += 1,
        }
    }

    /// How many ended, one way or another.
    pub(super) fn ended(&self) -> u64 {
        self.answered.len() + self.failed + self.unknown
    }

    /// The response time that this share of `due` ops did not exceed; none where the op at that rank was not answered. What was not answered counts as
    /// slower than everything, so that ops which fail never improve a figure.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of ops are far below 2^53"
    )]
    pub(super) fn at(&self, quantile: f64, due: u64) -> Option<u64> {
        let answered = self.answered.len();
        let rank = ((quantile * due as f64).ceil() as u64).max(1);
        (rank <= answered).then(|| self.answered.value_at_quantile(rank as f64 / answered as f64))
    }
}

/// From when an op was due until it ended, in ns; at least one, which a histogram can count.
pub(super) fn response_ns(op: &OpView<'_>, begun: &Begun) -> u64 {
    op.time_ns.saturating_sub(begun.intended_ns).max(1)
}
