//! The open loop: ops are issued at due times that were fixed at the start, whatever becomes of the ops before them.
//!
//! It has a thread of its own that sleeps until the next due time. The runtime's timer is a millisecond too coarse for it, and spinning would take a core
//! from the server under test.

use std::sync::Arc;
use std::time::Duration;

use super::load::Hall;
use super::queue::Due;

/// The longest sleep, so that a stop is noticed even if a wake-up is lost.
const NAP_MAX: Duration = Duration::from_millis(100);

/// When each op is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    start_ns: u64,
    per_second: f64,
}

impl Schedule {
    pub(super) fn new(start_ns: u64, per_second: f64) -> Self {
        Schedule { start_ns, per_second }
    }

    /// When the op with this number, from 0, is due. Computed from the start each time, so that no error adds up.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "53 bits hold a hundred days of ns, and the rate is positive"
    )]
    fn due_ns(self, number: u64) -> u64 {
        self.start_ns.saturating_add((number as f64 * 1e9 / self.per_second) as u64)
    }

    /// Issues ops until the hall closes.
    pub(super) fn run(self, hall: &Arc<Hall>) {
        let mut number = 0;
        while let Some(issued_ns) = sleep_until(self.due_ns(number), hall) {
            hall.issue(Due { due_ns: self.due_ns(number), issued_ns });
            number += 1;
        }
    }
}

/// Sleeps until then and returns the time; `None` when the hall closes.
fn sleep_until(due_ns: u64, hall: &Hall) -> Option<u64> {
    loop {
        if hall.is_closing() {
            return None;
        }
        let now_ns = hall.clock().now_ns();
        if now_ns >= due_ns {
            return Some(now_ns);
        }
        std::thread::park_timeout(Duration::from_nanos(due_ns - now_ns).min(NAP_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_do_not_drift() {
        let schedule = Schedule::new(5, 3.0);
        assert_eq!(schedule.due_ns(0), 5);
        assert_eq!(schedule.due_ns(1), 333_333_338);
        // A day later the third of a second is still in place.
        assert_eq!(schedule.due_ns(3 * 86_400), 86_400_000_000_005);
    }
}
