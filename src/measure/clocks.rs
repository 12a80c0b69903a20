//! The cluster's clock beside ours.
//!
//! Everything is timed by one monotonic clock. The cluster's stamps (a container's start, a line of the engine's log) are of another clock, and to be put on our axis
//! they need its offset, which the `Date` headers of the API server's answers bound: an answer that says second `d` and came between `sent` and `received` means that the
//! offset lies between `d - received` and `d + 1 s - sent`. A few answers around the turn of a second narrow that down to about a round trip.

use jiff::Timestamp;

use crate::model::{Event, EventKind};

const SECOND_NS: i64 = 1_000_000_000;

/// What answers have shown of the server's clock, as its time less ours, in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OffsetBounds {
    bounds: Option<(i64, i64)>,
    round_trip_ns: Option<u64>,
}

impl OffsetBounds {
    /// Takes an answer: our wall-clock times of sending and receiving in ns, and the second that it names. False when it contradicts those before, as when a clock was
    /// set or several servers with clocks of their own answer.
    #[must_use]
    pub fn answer(&mut self, sent_ns: i64, received_ns: i64, date_s: i64) -> bool {
        let date_ns = date_s.saturating_mul(SECOND_NS);
        let (low, high) = (date_ns.saturating_sub(received_ns), date_ns.saturating_add(SECOND_NS).saturating_sub(sent_ns));
        let (low, high) = self.bounds.map_or((low, high), |(l, h)| (l.max(low), h.min(high)));
        let round_trip_ns = u64::try_from(received_ns.saturating_sub(sent_ns)).unwrap_or(0);
        self.round_trip_ns = Some(self.round_trip_ns.map_or(round_trip_ns, |shortest| shortest.min(round_trip_ns)));
        self.bounds = Some((low, high));
        low <= high
    }

    /// The offset, and how far off it may be; none before the first answer.
    pub fn estimate(&self) -> Option<(i64, u64)> {
        let (low, high) = self.bounds?;
        Some((low.midpoint(high), u64::try_from(high.saturating_sub(low)).unwrap_or(0).div_ceil(2)))
    }

    /// The shortest round trip.
    pub fn round_trip_ns(&self) -> Option<u64> {
        self.round_trip_ns
    }

    /// When an answer would tell the most, by our wall clock: when the server's second turns for the middle of what is possible. The first such time from `now_ns` on.
    pub fn best_time(&self, now_ns: i64) -> i64 {
        let Some((offset_ns, _)) = self.estimate() else { return now_ns };
        let into_second = now_ns.saturating_add(offset_ns).rem_euclid(SECOND_NS);
        now_ns + (SECOND_NS - into_second) % SECOND_NS
    }
}

/// The clocks of a run, by its timeline.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clocks {
    started_ns: Option<i128>,
    /// The server's time less ours, and how far off that may be.
    offset: Option<(i64, u64)>,
    /// How long the API server needs at the least to tell us anything.
    round_trip_ns: Option<u64>,
}

impl Clocks {
    pub(super) fn of(events: &[Event]) -> Clocks {
        let mut clocks = Clocks::default();
        for event in events {
            match &event.kind {
                EventKind::RunStarted { run } => {
                    clocks.started_ns = run.started_at.parse::<Timestamp>().ok().map(Timestamp::as_nanosecond);
                }
                EventKind::ClockCompared { offset_ns, within_ns, round_trip_ns } => {
                    clocks.offset = Some((*offset_ns, *within_ns));
                    clocks.round_trip_ns = Some(*round_trip_ns);
                }
                _ => {}
            }
        }
        clocks
    }

    pub(super) fn round_trip_ns(self) -> Option<u64> {
        self.round_trip_ns
    }

    /// A time of the cluster in ns since the run's start, and how far off that may be because of the clocks; none where they were not compared, or for a time before
    /// the run.
    pub(super) fn ours(self, theirs: Timestamp) -> Option<(u64, u64)> {
        let (offset_ns, within_ns) = self.offset?;
        let ns = theirs.as_nanosecond() - i128::from(offset_ns) - self.started_ns?;
        Some((u64::try_from(ns).ok()?, within_ns))
    }

    /// By how much something may have happened before it was seen, by a stamp of the cluster that is cut to a second; none where that says nothing.
    pub(super) fn since_stamp(self, stamp: Option<&String>, seen_ns: u64) -> Option<u64> {
        let (at_ns, within_ns) = self.ours(stamp?.parse().ok()?)?;
        seen_ns.checked_sub(at_ns.saturating_sub(within_ns))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the offset and however slow the network, it is within the bounds, and a dozen answers at the best times narrow them to about a round trip.
        #[test]
        fn the_offset_is_found(
            offset_ns in -100_000_000_000_i64..100_000_000_000,
            start_ns in 1_700_000_000_000_000_000_i64..1_700_000_009_000_000_000,
            trips in proptest::collection::vec((0_i64..3_000_000, 0_i64..3_000_000), 13),
        ) {
            let mut bounds = OffsetBounds::default();
            let mut now_ns = start_ns;
            for &(there_ns, back_ns) in &trips {
                let sent_ns = bounds.best_time(now_ns);
                let received_ns = sent_ns + there_ns + back_ns;
                prop_assert!(bounds.answer(sent_ns, received_ns, (sent_ns + there_ns + offset_ns).div_euclid(SECOND_NS)));
                now_ns = received_ns;
            }
            let (estimate_ns, within_ns) = bounds.estimate().expect("there were answers");
            prop_assert!(estimate_ns.abs_diff(offset_ns) <= within_ns, "{estimate_ns} ± {within_ns}");
            prop_assert!(within_ns < 8_000_000, "{within_ns}");
        }
    }

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let mut bounds = OffsetBounds::default();
        assert!(bounds.answer(100, 200, 0));
        assert!(!bounds.answer(1_000, 1_100, 7));
    }
}
