//! Response and service time of every op, by outcome.
//!
//! Response time counts from when an op was due, service time from when it was sent. An op that never ended has no time; it is counted as censored and never
//! dropped, since leaving it out would make the worst ops improve the figures. The workload and the prober are kept apart: the prober opens a connection for every op, so
//! its service time is what a new client waits.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::model::{Begun, ErrorKind, F, Millis, OpType, OpView};

/// The longest time that a histogram tells from a longer one: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Percentiles of a set of times.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How many ended.
    pub count: u64,
    /// How many never did; they are longer than any figure here.
    pub censored: u64,
    /// The median.
    pub p50_ms: Millis,
    /// The 90th percentile.
    pub p90_ms: Millis,
    /// The 99th percentile.
    pub p99_ms: Millis,
    /// The 99.9th percentile.
    pub p999_ms: Millis,
    /// The longest.
    pub max_ms: Millis,
}

/// Percentiles of one kind of time, by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ByOutcome {
    /// Of the ops that happened. Ops that never ended are counted here.
    pub ok: Summary,
    /// Of those that did not.
    pub fail: Summary,
    /// Of those that may have.
    pub info: Summary,
}

/// A few repeats of one figure, which have no percentiles worth the name.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeats {
    /// How many.
    pub count: u64,
    /// How many did not end and are counted with the time after which nobody looked any more.
    pub censored: u64,
    /// The shortest.
    pub min_ms: Millis,
    /// The median.
    pub p50_ms: Millis,
    /// The 99th percentile by nearest rank: the longest, up to 100 repeats.
    pub p99_ms: Millis,
    /// The longest.
    pub max_ms: Millis,
}

impl Repeats {
    /// From each repeat's time in ns and whether it ended.
    pub fn of(times: &[(u64, bool)]) -> Self {
        let mut sorted: Vec<u64> = times.iter().map(|&(ns, _)| ns).collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            Millis::from_ns(sorted.get(rank - 1).copied().unwrap_or(0))
        };
        Repeats {
            count: times.len() as u64,
            censored: times.iter().filter(|&&(_, ended)| !ended).count() as u64,
            min_ms: at(0),
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

/// Every latency of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LatencySummary {
    /// From when an op of the workload was due.
    pub response: ByOutcome,
    /// From when it was sent.
    pub service: ByOutcome,
    /// Connect, login and commit of the prober, where it committed.
    pub connect: Summary,
    /// The outages of the episodes.
    pub reconnect: Repeats,
}

/// The histograms of a run.
#[derive(Debug)]
pub struct LatencyRecorder {
    response: [Histogram<u64>; 3],
    service: [Histogram<u64>; 3],
    connect: Histogram<u64>,
    commits: u64,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("one nanosecond to an hour with three digits are bounds that a histogram can have")
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        Self::new()
    }
}

impl LatencyRecorder {
    /// Empty histograms.
    pub fn new() -> Self {
        LatencyRecorder {
            response: [histogram(), histogram(), histogram()],
            service: [histogram(), histogram(), histogram()],
            connect: histogram(),
            commits: 0,
        }
    }

    /// Takes one transition.
    pub fn op(&mut self, op: &OpView<'_>, begun: Option<&Begun>) {
        let Some(begun) = begun else {
            return;
        };
        let service_ns = op.time_ns.saturating_sub(begun.sent_ns);
        let outcome = match op.kind {
            OpType::Ok => 0,
            OpType::Fail => 1,
            OpType::Info | OpType::Invoke => 2,
        };
        match op.f {
            F::LedgerAdd | F::BankTransfer | F::BankRead => {
                self.commits += u64::from(outcome == 0 && op.f != F::BankRead);
                let response_ns = op.time_ns.saturating_sub(begun.intended_ns);
                self.response[outcome].saturating_record(response_ns.max(1));
                // An op that was never sent has no service time.
                if op.error.is_none_or(|error| error.kind != ErrorKind::NotSent) {
                    self.service[outcome].saturating_record(service_ns.max(1));
                }
            }
            F::Probe if outcome == 0 => self.connect.saturating_record(service_ns.max(1)),
            F::Probe | F::LedgerRead => {}
        }
    }

    /// How many commits of the workload were acknowledged.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// The percentiles. `open` are the ops that never ended.
    pub fn finish<'a>(&self, open: impl Iterator<Item = &'a Begun>, reconnect: Repeats) -> LatencySummary {
        let mut censored = 0;
        let mut censored_probes = 0;
        for begun in open {
            match begun.f {
                F::LedgerAdd | F::BankTransfer | F::BankRead => censored += 1,
                F::Probe => censored_probes += 1,
                F::LedgerRead => {}
            }
        }
        let by_outcome = |histograms: &[Histogram<u64>; 3]| ByOutcome {
            ok: summary(&histograms[0], censored),
            fail: summary(&histograms[1], 0),
            info: summary(&histograms[2], 0),
        };
        LatencySummary {
            response: by_outcome(&self.response),
            service: by_outcome(&self.service),
            connect: summary(&self.connect, censored_probes),
            reconnect,
        }
    }
}

fn summary(histogram: &Histogram<u64>, censored: u64) -> Summary {
    let at = |quantile| Millis::from_ns(histogram.value_at_quantile(quantile));
    Summary {
        count: histogram.len(),
        censored,
        p50_ms: at(0.5),
        p90_ms: at(0.9),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        max_ms: Millis::from_ns(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::{HistoryBuilder, digest};
    use crate::model::Value;

    #[test]
    fn response_counts_from_when_an_op_was_due_and_service_from_when_it_was_sent() {
        let mut history = HistoryBuilder::new();
        history.acked(1);
        history.now_ns += 1_400_000_000;
        let process = history.process();
        let value = Value::Row(2, digest(2));
        history.push(OpType::Invoke, process, F::LedgerAdd, value.clone(), None);
        let at = history.ops.len() - 1;
        history.ops[at].intended_ns -= 1_400_000_000;
        history.push(OpType::Ok, process, F::LedgerAdd, value, None);
        history.begin(F::LedgerAdd, 3);
        let mut recorder = LatencyRecorder::new();
        let mut open = crate::model::OpenOps::default();
        history.feed(|op, begun| {
            recorder.op(op, begun);
            let _ = open.pair(op);
        });
        let latency = recorder.finish(open.still_open(), Repeats::default());
        assert_eq!(latency.response.ok.count, 2);
        assert_eq!(latency.response.ok.censored, 1);
        // Three digits: within a thousandth of 1.401 s.
        assert!((latency.response.ok.max_ms.0 - 1401.0).abs() < 1.5);
        assert!((latency.service.ok.max_ms.0 - 1.0).abs() < 0.002);
    }

    #[test]
    fn few_repeats_tell_their_longest_as_the_99th_percentile() {
        let times: Vec<(u64, bool)> = (1..=5).map(|s| (s * 1_000_000_000, s != 5)).collect();
        let repeats = Repeats::of(&times);
        assert_eq!((repeats.count, repeats.censored), (5, 1));
        assert_eq!(repeats.min_ms, Millis(1000.0));
        assert_eq!(repeats.p50_ms, Millis(3000.0));
        assert_eq!(repeats.p99_ms, Millis(5000.0));
        assert_eq!(Repeats::of(&[]).max_ms, Millis(0.0));
    }
}
