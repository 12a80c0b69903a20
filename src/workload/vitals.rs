//! Whether the harness itself was in time: what a step of a capacity search needs to know before it blames the target.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use crate::measure::{Clock, add, new_histogram, share};

/// How often the clients' thread is timed.
const BEAT: Duration = Duration::from_millis(10);
/// The runtime's timer rounds up to a millisecond, which is no lateness of the thread.
const TIMER_GRAIN_NS: u64 = 1_000_000;

/// How the harness did since it was last asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Vitals {
    /// How late ops reached a client that was free for them, in ns.
    pub lateness: Histogram<u64>,
    /// How late the clients' thread came back to what it had to do, in ns.
    pub lag: Histogram<u64>,
    /// The share of the time for which the clients' thread held a core.
    pub busy: f64,
}

/// What is counted between two questions.
pub(super) struct Pulse {
    clock: Clock,
    counted: Mutex<Counted>,
    /// CPU time of the clients' thread, as it last told.
    cpu_ns: AtomicU64,
}

struct Counted {
    lateness: Histogram<u64>,
    lag: Histogram<u64>,
    from_ns: u64,
    cpu_from_ns: u64,
}

impl Pulse {
    pub(super) fn new(clock: Clock) -> Self {
        let counted = Counted { lateness: new_histogram(), lag: new_histogram(), from_ns: clock.now_ns(), cpu_from_ns: 0 };
        Pulse { clock, counted: Mutex::new(counted), cpu_ns: AtomicU64::new(0) }
    }

    pub(super) fn late(&self, ns: u64) {
        add(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner).lateness, ns);
    }

    /// Tells what was counted and begins anew.
    pub(super) fn take(&self) -> Vitals {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let (now_ns, cpu_ns) = (self.clock.now_ns(), self.cpu_ns.load(Ordering::Relaxed));
        let busy = share(cpu_ns.saturating_sub(counted.cpu_from_ns), now_ns.saturating_sub(counted.from_ns));
        let fresh = Counted { lateness: new_histogram(), lag: new_histogram(), from_ns: now_ns, cpu_from_ns: cpu_ns };
        let Counted { lateness, lag, .. } = std::mem::replace(&mut *counted, fresh);
        Vitals { lateness, lag, busy }
    }

    /// Times the thread that it runs on; never ends.
    pub(super) async fn beat(&self) {
        loop {
            let due_ns = self.clock.now_ns() + u64::try_from(BEAT.as_nanos()).unwrap_or(u64::MAX);
            tokio::time::sleep(BEAT).await;
            let late_ns = self.clock.now_ns().saturating_sub(due_ns + TIMER_GRAIN_NS);
            add(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner).lag, late_ns);
            self.cpu_ns.store(cpu_ns(ClockId::ThreadCPUTime), Ordering::Relaxed);
        }
    }
}

/// CPU time so far, of this process or of this thread.
pub(super) fn cpu_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
