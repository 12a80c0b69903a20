//! Live counts of ops, readable at any time from any thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::model::{F, OpType};

const FS: usize = F::ALL.len();

/// Ops of one kind.
#[derive(Debug, Default)]
struct Cell {
    invoked: AtomicU64,
    ok: AtomicU64,
    fail: AtomicU64,
    info: AtomicU64,
}

/// The counts behind every [`super::OpSink`] of a run. Relaxed atomics: each count is exact, a set of them is not one instant.
#[derive(Debug, Default)]
pub(super) struct Counters {
    cells: [Cell; FS],
    last_ok_ns: AtomicU64,
    /// 0 while there was none since the mark, else the time plus one.
    first_error_ns: AtomicU64,
}

/// What was counted up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Ops begun.
    pub invoked: u64,
    /// Ops that ended ok.
    pub ok: u64,
    /// Ops that ended fail.
    pub fail: u64,
    /// Ops that ended info.
    pub info: u64,
    /// Ops sent and not answered.
    pub in_flight: u64,
}

impl Counters {
    pub(super) fn invoked(&self, f: F) {
        self.cells[f as usize].invoked.fetch_add(1, Relaxed);
    }

    pub(super) fn completed(&self, f: F, kind: OpType, time_ns: u64) {
        let cell = &self.cells[f as usize];
        match kind {
            OpType::Ok => {
                cell.ok.fetch_add(1, Relaxed);
                // Two that end at once may store in either order: off by the nanoseconds between them, at half the price of a `fetch_max`.
                if self.last_ok_ns.load(Relaxed) < time_ns {
                    self.last_ok_ns.store(time_ns, Relaxed);
                }
                return;
            }
            OpType::Fail => cell.fail.fetch_add(1, Relaxed),
            OpType::Info | OpType::Invoke => cell.info.fetch_add(1, Relaxed),
        };
        // Only the first error writes, so that an outage does not contend on this line.
        if self.first_error_ns.load(Relaxed) == 0 {
            let _ = self.first_error_ns.compare_exchange(0, time_ns + 1, Relaxed, Relaxed);
        }
    }

    pub(super) fn counts(&self, fs: &[F]) -> Counts {
        let mut sum = Counts::default();
        for f in fs {
            let cell = &self.cells[*f as usize];
            // Completions before invocations: what is in flight never comes out negative.
            sum.ok += cell.ok.load(Relaxed);
            sum.fail += cell.fail.load(Relaxed);
            sum.info += cell.info.load(Relaxed);
            sum.invoked += cell.invoked.load(Relaxed);
        }
        sum.in_flight = sum.invoked.saturating_sub(sum.ok + sum.fail + sum.info);
        sum
    }

    pub(super) fn last_ok_ns(&self) -> Option<u64> {
        Some(self.last_ok_ns.load(Relaxed)).filter(|&ns| ns > 0)
    }

    pub(super) fn first_error_ns(&self) -> Option<u64> {
        self.first_error_ns.load(Relaxed).checked_sub(1)
    }

    pub(super) fn mark(&self) {
        self.first_error_ns.store(0, Relaxed);
    }
}
