//! Response and service time of every op, by outcome.
//!
//! Response time counts from when an op was due, service time from when it was sent. An op that never ended has no time; it is counted as censored and never
//! dropped, since leaving it out would make the worst ops improve the figures. The workload and the prober are kept apart: the prober opens a connection for every op, so
//! its service time is what a new client waits.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::bootstrap::median_interval;
use super::stages::{Stage, Stages};
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
    /// The 95 % confidence interval of the median; none where there are too few repeats for one. A repeat that did not end counts as it was last seen, so
    /// with any of them the upper end is too low.
    #[serde(default)]
    pub p50_interval_ms: Option<[Millis; 2]>,
}

impl Repeats {
    /// From each repeat's time in ns and whether it ended, with a confidence interval.
    pub fn of(times: &[(u64, bool)]) -> Self {
        let times_ns: Vec<u64> = times.iter().map(|&(ns, _)| ns).collect();
        Repeats { p50_interval_ms: interval(&times_ns), ..Self::spread(times) }
    }

    /// The same without a confidence interval: for values that are not independent of each other, as those of one fault.
    pub fn spread(times: &[(u64, bool)]) -> Self {
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
            p50_interval_ms: None,
        }
    }
}

fn interval(times_ns: &[u64]) -> Option<[Millis; 2]> {
    let times_ms: Vec<f64> = times_ns.iter().map(|&ns| Millis::from_ns(ns).0).collect();
    // To a microsecond, as all times of a report.
    median_interval(&times_ms).map(|ends| ends.map(|ms| Millis((ms * 1_000.0).round() / 1_000.0)))
}

/// Response times of the ops that were due in one stage of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct StageLatency {
    /// Of those that happened, or were declined by their own condition. Ops that never ended are counted here as censored.
    pub response: Summary,
    /// How many others did not happen.
    pub failed: u64,
    /// How many may have happened.
    pub unknown: u64,
}

/// Response times by stage of the run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ByStage {
    /// Before the first fault: the baseline.
    pub before: StageLatency,
    /// Between the start of a fault and its recovery.
    pub during: StageLatency,
    /// After a recovery.
    pub after: StageLatency,
}

impl ByStage {
    /// Of one stage.
    pub fn of(&self, stage: Stage) -> &StageLatency {
        match stage {
            Stage::Before => &self.before,
            Stage::During => &self.during,
            Stage::After => &self.after,
        }
    }
}

/// The percentiles of one stage as a line. What did not succeed counts as slower than everything, so a line ends where ops stop succeeding.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Whose.
    pub stage: Stage,
    /// Ops that were due.
    pub due: u64,
    /// Ops that ended ok.
    pub ok: u64,
    /// `-log10(1 - quantile)`, so that 2 is the 99th percentile, and the response time in ns.
    pub points: Vec<(f64, u64)>,
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
    /// Response times before, during and after the faults, by when an op was due.
    #[serde(default)]
    pub stages: ByStage,
}

/// The histograms of a run.
#[derive(Debug)]
pub struct LatencyRecorder {
    response: [Histogram<u64>; 3],
    service: [Histogram<u64>; 3],
    connect: Histogram<u64>,
    commits: u64,
    stages: Stages,
    staged: [Staged; 3],
}

/// What is kept of one stage.
#[derive(Debug)]
struct Staged {
    response: Histogram<u64>,
    failed: u64,
    unknown: u64,
}

impl Staged {
    fn new() -> Self {
        Staged { response: histogram(), failed: 0, unknown: 0 }
    }

    fn curve(&self, stage: Stage, open: u64) -> Curve {
        /// How many points the line has between two nines.
        const STEPS: u32 = 20;
        let ok = self.response.len();
        let due = ok + self.failed + self.unknown + open;
        let mut points = Vec::new();
        for step in 0..=9 * STEPS {
            let nines = f64::from(step) / f64::from(STEPS);
            let Some(value_ns) = self.at(1.0 - 10_f64.powf(-nines), due) else { break };
            points.push((nines, value_ns));
            if value_ns >= self.response.max() {
                break;
            }
        }
        Curve { stage, due, ok, points }
    }

    /// The response time at a quantile of all that were due; none where the op at that rank did not succeed.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of ops are far below 2^53"
    )]
    fn at(&self, quantile: f64, due: u64) -> Option<u64> {
        let ok = self.response.len();
        let rank = ((quantile * due as f64).ceil() as u64).max(1);
        (rank <= ok).then(|| self.response.value_at_quantile(rank as f64 / ok as f64))
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("one nanosecond to an hour with three digits are bounds that a histogram can have")
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        Self::new(Stages::default())
    }
}

impl LatencyRecorder {
    /// Empty histograms.
    pub fn new(stages: Stages) -> Self {
        LatencyRecorder {
            response: [histogram(), histogram(), histogram()],
            service: [histogram(), histogram(), histogram()],
            connect: histogram(),
            commits: 0,
            stages,
            staged: std::array::from_fn(|_| Staged::new()),
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
            f if f.is_load() => {
                self.commits += u64::from(op.acknowledges_commit());
                let response_ns = op.time_ns.saturating_sub(begun.intended_ns);
                self.response[outcome].saturating_record(response_ns.max(1));
                let staged = &mut self.staged[self.stages.of(begun.intended_ns) as usize];
                // What an op's own condition declined was answered as it was asked.
                let declined = op.error.is_some_and(|error| error.kind == ErrorKind::Declined);
                match op.kind {
                    OpType::Ok => staged.response.saturating_record(response_ns.max(1)),
                    OpType::Fail if declined => staged.response.saturating_record(response_ns.max(1)),
                    OpType::Fail => staged.failed += 1,
                    OpType::Info | OpType::Invoke => staged.unknown += 1,
                }
                // An op that was never sent has no service time.
                if op.error.is_none_or(|error| error.kind != ErrorKind::NotSent) {
                    self.service[outcome].saturating_record(service_ns.max(1));
                }
            }
            F::Probe if outcome == 0 => self.connect.saturating_record(service_ns.max(1)),
            _ => {}
        }
    }

    /// How many commits of the workload were acknowledged.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// The percentiles. `open` are the ops that never ended.
    pub fn finish<'a>(&self, open: impl Iterator<Item = &'a Begun>, reconnect: Repeats) -> LatencySummary {
        let mut censored_probes = 0;
        let mut open_in = [0; 3];
        for begun in open {
            match begun.f {
                f if f.is_load() => open_in[self.stages.of(begun.intended_ns) as usize] += 1,
                F::Probe => censored_probes += 1,
                _ => {}
            }
        }
        let censored = open_in.iter().sum();
        let staged = |stage: Stage| {
            let Staged { response, failed, unknown } = &self.staged[stage as usize];
            StageLatency { response: summary(response, open_in[stage as usize]), failed: *failed, unknown: *unknown }
        };
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
            stages: ByStage { before: staged(Stage::Before), during: staged(Stage::During), after: staged(Stage::After) },
        }
    }

    /// The percentile lines of the stages in which anything was due. `summary` is what [`LatencyRecorder::finish`] gave.
    pub fn curves(&self, summary: &LatencySummary) -> Vec<Curve> {
        let curve = |stage: Stage| self.staged[stage as usize].curve(stage, summary.stages.of(stage).response.censored);
        Stage::ALL.into_iter().map(curve).filter(|curve| curve.due > 0).collect()
    }
}

pub(super) fn summary(histogram: &Histogram<u64>, censored: u64) -> Summary {
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
        let mut recorder = LatencyRecorder::default();
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
