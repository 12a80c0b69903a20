//! The open loop: ops are issued at due times that were fixed at the start, whatever becomes of the ops before them.
//!
//! It has a thread of its own that sleeps until the next due time. The runtime's timer is a millisecond too coarse for it, and spinning would take a core
//! from the server under test.

use std::sync::Arc;
use std::time::Duration;

use super::due::Due;
use super::load::Hall;
use crate::experiment::Step;

/// The longest sleep, so that a stop is noticed even if a wake-up is lost.
const NAP_MAX: Duration = Duration::from_millis(100);

/// When each op is due.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    start_ns: u64,
    legs: Vec<Leg>,
}

/// A part of the schedule, on the scale of ops and on that of time.
#[derive(Debug, Clone, Copy)]
struct Leg {
    /// How many ops are due before it; a fraction where a step ends between two.
    ops_before: f64,
    /// When it begins, in ns since the schedule's start.
    from_ns: f64,
    per_second: f64,
    /// By how much the rate grows a second, in a ramp.
    growth: f64,
}

impl Leg {
    /// When the op with this number is due, in ns since the schedule's start.
    fn due_ns(&self, number: f64) -> f64 {
        let ops = number - self.ops_before;
        if self.growth == 0.0 {
            return self.from_ns + ops * 1e9 / self.per_second;
        }
        // ops = rate · t + growth · t² / 2, solved for t; below 0 only by rounding at the end of a ramp down to almost nothing.
        let root = (self.per_second.powi(2) + 2.0 * self.growth * ops).max(0.0).sqrt();
        self.from_ns + (root - self.per_second) / self.growth * 1e9
    }
}

impl Schedule {
    /// Follows steps one after the other; the last goes on.
    pub(super) fn new(start_ns: u64, steps: &[Step]) -> Self {
        let mut legs = Vec::new();
        let (mut ops_before, mut from_ns) = (0.0, 0.0);
        for step in steps {
            let per_second = step.at.per_second;
            let end = step.to.map_or(per_second, |to| to.per_second);
            let lasts_s = step.lasts.map_or(f64::INFINITY, |lasts| lasts.as_secs_f64());
            let growth = if lasts_s.is_finite() { (end - per_second) / lasts_s } else { 0.0 };
            legs.push(Leg { ops_before, from_ns, per_second, growth });
            ops_before += f64::midpoint(per_second, end) * lasts_s;
            from_ns += lasts_s * 1e9;
        }
        Schedule { start_ns, legs }
    }

    /// When the op with this number, from 0, is due. Computed from the start each time, so that no error adds up.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "53 bits hold a hundred days of ns, and the rate is positive"
    )]
    fn due_ns(&self, number: u64) -> u64 {
        let number = number as f64;
        let begun = self.legs.partition_point(|leg| leg.ops_before <= number);
        let leg = self.legs[begun.max(1) - 1];
        self.start_ns.saturating_add(leg.due_ns(number) as u64)
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
    use crate::model::Rate;

    fn step(lasts_s: Option<u64>, at: f64, to: Option<f64>) -> Step {
        let rate = |per_second| Rate { per_second };
        Step { lasts: lasts_s.map(Duration::from_secs), at: rate(at), to: to.map(rate) }
    }

    #[test]
    fn due_times_do_not_drift() {
        let schedule = Schedule::new(5, &[step(None, 3.0, None)]);
        assert_eq!(schedule.due_ns(0), 5);
        assert_eq!(schedule.due_ns(1), 333_333_338);
        // A day later the third of a second is still in place.
        assert_eq!(schedule.due_ns(3 * 86_400), 86_400_000_000_005);
    }

    #[test]
    fn steps_follow_each_other_and_a_ramp_takes_its_time() {
        const S: u64 = 1_000_000_000;
        // 10 s at 10/s: 100 ops. 10 s from 10/s to 30/s: 200 ops. Then 30/s.
        let schedule = Schedule::new(0, &[step(Some(10), 10.0, None), step(Some(10), 10.0, Some(30.0)), step(None, 30.0, None)]);
        assert_eq!((schedule.due_ns(99), schedule.due_ns(100)), (9_900_000_000, 10 * S));
        // Half way up the ramp the rate is 20/s on average 15/s: 75 ops.
        assert!(schedule.due_ns(175).abs_diff(15 * S) <= 1);
        assert!(schedule.due_ns(300).abs_diff(20 * S) <= 1);
        assert!(schedule.due_ns(330).abs_diff(21 * S) <= 1);
        assert!((0..400).all(|number| schedule.due_ns(number) < schedule.due_ns(number + 1)));
        let down = Schedule::new(0, &[step(Some(10), 30.0, Some(0.001)), step(None, 1.0, None)]);
        assert!((0..200).all(|number| down.due_ns(number) < down.due_ns(number + 1)));
    }
}
