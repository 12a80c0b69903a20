//! How much of the load was served, in the two usual ways to say it, and how satisfied clients would have been.

use serde::{Deserialize, Serialize};

use super::episodes::Outage;
use crate::model::Millis;

/// An op that is answered within this time satisfies.
pub const SATISFIED_NS: u64 = 100_000_000;
/// One that is answered within this time is tolerated: four times as long, as Apdex has it.
pub const TOLERATED_NS: u64 = 4 * SATISFIED_NS;

/// How much of the load was served.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// Ops that were due.
    pub due: u64,
    /// Those that happened, or were declined by their own condition.
    pub answered: u64,
    /// The second as a share of the first.
    pub ops_ratio: f64,
    /// The share of the load's time that is in no outage. An outage that did not end is as long as it was looked at.
    pub time_ratio: f64,
    /// Ops that were answered within 100 ms of when they were due, and half of those within 400 ms, as a share of all that were due.
    pub apdex: f64,
}

/// What a run's ops say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// When the first op of the load was due and when the last, in ns since the run's start.
    pub span_ns: (u64, u64),
    /// Ops that were due.
    pub due: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Those that were answered within [`SATISFIED_NS`].
    pub satisfied: u64,
    /// Those that were answered within [`TOLERATED_NS`], the satisfied ones included.
    pub tolerated: u64,
}

impl Availability {
    /// None of a run without load.
    pub fn of(served: &Served, outages: impl Iterator<Item = Outage>) -> Option<Self> {
        if served.due == 0 {
            return None;
        }
        let (from_ns, to_ns) = served.span_ns;
        let out_ns: u64 =
            outages.map(|outage| outage.end_ns.min(to_ns).saturating_sub(outage.start_ns.max(from_ns))).sum::<u64>().min(to_ns - from_ns);
        Some(Availability {
            due: served.due,
            answered: served.answered,
            ops_ratio: ratio(served.answered, served.due),
            time_ratio: if to_ns > from_ns { ratio(to_ns - from_ns - out_ns, to_ns - from_ns) } else { 1.0 },
            // Half a satisfied op for each that is only tolerated.
            apdex: ratio(served.satisfied + served.tolerated, 2 * served.due),
        })
    }

    /// In words.
    pub fn describe(&self) -> String {
        format!(
            "{} of ops answered, no outage for {} of the time; Apdex {:.3} (satisfied within {}, tolerated within {})",
            percent(self.ops_ratio),
            percent(self.time_ratio),
            self.apdex,
            Millis::from_ns(SATISFIED_NS),
            Millis::from_ns(TOLERATED_NS)
        )
    }
}

/// As people read it; never rounded up to a whole that it is not.
pub fn percent(ratio: f64) -> String {
    if ratio >= 1.0 { "100 %".to_owned() } else { format!("{:.3} %", ((ratio * 1e5).floor() / 1e3).max(0.0)) }
}

/// To a millionth, and never rounded up to a whole that it is not.
#[expect(clippy::cast_precision_loss, reason = "counts of ops and ns are below 2^53")]
fn ratio(part: u64, whole: u64) -> f64 {
    (part as f64 / whole.max(1) as f64 * 1e6).floor() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::SeenBy;

    const S: u64 = 1_000_000_000;

    #[test]
    fn an_outage_costs_time_and_slow_ops_cost_half() {
        let served = Served { span_ns: (10 * S, 110 * S), due: 1_000, answered: 990, satisfied: 900, tolerated: 980 };
        let outage = |from, to| Outage { start_ns: from * S, first_error_ns: None, end_ns: to * S, ended: true, seen_by: SeenBy::Everyone };
        let found = Availability::of(&served, [outage(20, 25), outage(105, 120)].into_iter()).expect("there was load");
        assert_eq!((found.ops_ratio, found.time_ratio, found.apdex), (0.99, 0.9, 0.94));
        assert_eq!(Availability::of(&Served::default(), std::iter::empty()), None);
    }

    #[test]
    fn a_single_failure_in_ten_million_is_not_a_hundred_percent() {
        assert_eq!(percent(ratio(9_999_999, 10_000_000)), "99.999 %");
        assert_eq!(percent(ratio(10, 10)), "100 %");
    }
}
