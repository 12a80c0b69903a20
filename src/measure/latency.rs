//! Response and service time of every op, by outcome.
//!
//! Response time counts from when an op was due, service time from when it was sent. An op that never ended has no time; it is counted as censored and never
//! dropped, since leaving it out would make the worst ops improve the figures. The workload and the prober are kept apart: the prober opens a connection for every op, so
//! its service time is what a new client waits.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::availability::{SATISFIED_NS, Served, TOLERATED_NS};
use super::bootstrap::median_interval;
use super::interval_log::{add, new_histogram};
use super::stages::{Stage, Stages};
use super::tally::{Ended, Tally, response_ns};
use crate::model::{Begun, ErrorKind, F, Millis, OpView};

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
        // The middle one, or the mean of the middle two, as everywhere.
        let middle = |n: usize| sorted.get(n).copied().unwrap_or(0);
        let median_ns = u64::midpoint(middle(sorted.len().saturating_sub(1) / 2), middle(sorted.len() / 2));
        Repeats {
            count: times.len() as u64,
            censored: times.iter().filter(|&&(_, ended)| !ended).count() as u64,
            min_ms: at(0),
            p50_ms: Millis::from_ns(median_ns),
            p99_ms: at(99),
            max_ms: at(100),
            p50_interval_ms: None,
        }
    }

    /// All of it in one line, the number of repeats included. Nothing to tell of none.
    pub fn describe(&self) -> String {
        let interval = match self.p50_interval_ms {
            Some([low, high]) => format!(" (95 % confidence interval {low} to {high})"),
            None => String::new(),
        };
        let open = match self.censored {
            0 => String::new(),
            n => format!(", {n} of them did not end"),
        };
        format!(
            "median {}{interval}, shortest {}, p99 {}, longest {} (n = {}{open})",
            self.p50_ms, self.min_ms, self.p99_ms, self.max_ms, self.count
        )
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

/// Times of one kind of op that ended one way, by the stage of the run in which the ops were due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpLatency {
    /// What op, as the history names it.
    pub f: String,
    /// Where in the run the ops were due.
    pub stage: Stage,
    /// How they ended. Ops that never ended are counted as censored with those that are unknown.
    pub outcome: Ended,
    /// From when they were due.
    pub response: Summary,
    /// From when they were sent; fewer than above where some never were.
    pub service: Summary,
}

/// Times of one kind of op, one stage and one way to end.
#[derive(Debug)]
struct Cell {
    response: Histogram<u64>,
    service: Histogram<u64>,
}

/// The cells of one kind of op, by stage and by how the ops ended; each is made when it is first needed.
type Cells = [[Option<Cell>; Ended::ALL.len()]; Stage::ALL.len()];

/// The histograms of a run.
#[derive(Debug)]
pub struct LatencyRecorder {
    cells: [Cells; F::ALL.len()],
    connect: Histogram<u64>,
    commits: u64,
    stages: Stages,
    /// How many ops of the load were due, and when the first and the last.
    due: u64,
    span_ns: Option<(u64, u64)>,
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        Self::new(Stages::default())
    }
}

impl LatencyRecorder {
    /// Empty histograms.
    pub fn new(stages: Stages) -> Self {
        LatencyRecorder { cells: Default::default(), connect: new_histogram(), commits: 0, stages, due: 0, span_ns: None }
    }

    /// Takes one transition.
    pub fn op(&mut self, op: &OpView<'_>, begun: Option<&Begun>) {
        let Some(begun) = begun else {
            if op.f.is_load() {
                let (first_ns, last_ns) = self.span_ns.unwrap_or((op.intended_ns, op.intended_ns));
                self.span_ns = Some((first_ns.min(op.intended_ns), last_ns.max(op.intended_ns)));
                self.due += 1;
            }
            return;
        };
        let service_ns = op.time_ns.saturating_sub(begun.sent_ns).max(1);
        let ended = Ended::of(op);
        match op.f {
            f if f.is_load() => {
                self.commits += u64::from(op.acknowledges_commit());
                let stage = self.stages.of(begun.intended_ns);
                let cell = self.cells[f as usize][stage as usize][ended as usize]
                    .get_or_insert_with(|| Cell { response: new_histogram(), service: new_histogram() });
                add(&mut cell.response, response_ns(op, begun));
                // An op that was never sent has no service time.
                if op.error.is_none_or(|error| error.kind != ErrorKind::NotSent) {
                    add(&mut cell.service, service_ns);
                }
            }
            F::Probe if ended == Ended::Ok => add(&mut self.connect, service_ns),
            _ => {}
        }
    }

    /// How many commits of the workload were acknowledged.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// How much of the load was served.
    pub fn served(&self) -> Served {
        let answered = self.merged(None, &[Ended::Ok, Ended::Declined], |cell| &cell.response);
        Served {
            span_ns: self.span_ns.unwrap_or_default(),
            due: self.due,
            answered: answered.len(),
            satisfied: answered.count_between(0, SATISFIED_NS),
            tolerated: answered.count_between(0, TOLERATED_NS),
        }
    }

    /// The percentiles. `open` are the ops that never ended.
    pub fn finish<'a>(&self, open: impl Iterator<Item = &'a Begun>, reconnect: Repeats) -> LatencySummary {
        let mut censored_probes = 0;
        let mut open_in = [0; Stage::ALL.len()];
        for begun in open {
            match begun.f {
                f if f.is_load() => open_in[self.stages.of(begun.intended_ns) as usize] += 1,
                F::Probe => censored_probes += 1,
                _ => {}
            }
        }
        let censored = open_in.iter().sum();
        let staged = |stage: Stage| {
            let Tally { answered, failed, unknown } = self.tally(stage);
            StageLatency { response: summary(&answered, open_in[stage as usize]), failed, unknown }
        };
        let by_outcome = |of: fn(&Cell) -> &Histogram<u64>| ByOutcome {
            ok: summary(&self.merged(None, &[Ended::Ok], of), censored),
            fail: summary(&self.merged(None, &[Ended::Declined, Ended::Fail], of), 0),
            info: summary(&self.merged(None, &[Ended::Info], of), 0),
        };
        LatencySummary {
            response: by_outcome(|cell| &cell.response),
            service: by_outcome(|cell| &cell.service),
            connect: summary(&self.connect, censored_probes),
            reconnect,
            stages: ByStage { before: staged(Stage::Before), during: staged(Stage::During), after: staged(Stage::After) },
        }
    }

    /// The times of each kind of op by stage and outcome, where there was any. `open` are the ops that never ended.
    pub fn by_op<'a>(&self, open: impl Iterator<Item = &'a Begun>) -> Vec<OpLatency> {
        let mut open_in = [[0; Stage::ALL.len()]; F::ALL.len()];
        for begun in open.filter(|begun| begun.f.is_load()) {
            open_in[begun.f as usize][self.stages.of(begun.intended_ns) as usize] += 1;
        }
        let none = new_histogram();
        let mut found = Vec::new();
        for f in F::ALL {
            for stage in Stage::ALL {
                for outcome in Ended::ALL {
                    let censored = if outcome == Ended::Info { open_in[f as usize][stage as usize] } else { 0 };
                    let cell = self.cells[f as usize][stage as usize][outcome as usize].as_ref();
                    if cell.is_none() && censored == 0 {
                        continue;
                    }
                    let of = |histogram: Option<&Histogram<u64>>| summary(histogram.unwrap_or(&none), censored);
                    found.push(OpLatency {
                        f: f.word().to_owned(),
                        stage,
                        outcome,
                        response: of(cell.map(|cell| &cell.response)),
                        service: of(cell.map(|cell| &cell.service)),
                    });
                }
            }
        }
        found
    }

    /// The percentile lines of the stages in which anything was due. `summary` is what [`LatencyRecorder::finish`] gave.
    pub fn curves(&self, summary: &LatencySummary) -> Vec<Curve> {
        let curve = |stage: Stage| curve(&self.tally(stage), stage, summary.stages.of(stage).response.censored);
        Stage::ALL.into_iter().map(curve).filter(|curve| curve.due > 0).collect()
    }

    /// How the ops ended that were due in a stage.
    fn tally(&self, stage: Stage) -> Tally {
        let of = |ended: &[Ended]| self.merged(Some(stage), ended, |cell| &cell.response);
        Tally { answered: of(&[Ended::Ok, Ended::Declined]), failed: of(&[Ended::Fail]).len(), unknown: of(&[Ended::Info]).len() }
    }

    /// Every kind of op together; in one stage, or in all.
    fn merged(&self, stage: Option<Stage>, ended: &[Ended], of: fn(&Cell) -> &Histogram<u64>) -> Histogram<u64> {
        let mut sum = new_histogram();
        for cells in &self.cells {
            for (_, row) in Stage::ALL.iter().zip(cells).filter(|(at, _)| stage.is_none_or(|stage| stage == **at)) {
                for cell in ended.iter().filter_map(|&ended| row[ended as usize].as_ref()) {
                    sum.add(of(cell)).expect("a histogram that grows takes every value of another");
                }
            }
        }
        sum
    }
}

fn curve(tally: &Tally, stage: Stage, open: u64) -> Curve {
    /// How many points the line has between two nines.
    const STEPS: u32 = 20;
    let due = tally.ended() + open;
    let mut points = Vec::new();
    for step in 0..=9 * STEPS {
        let nines = f64::from(step) / f64::from(STEPS);
        let Some(value_ns) = tally.at(1.0 - 10_f64.powf(-nines), due) else { break };
        points.push((nines, value_ns));
        if value_ns >= tally.answered.max() {
            break;
        }
    }
    Curve { stage, due, ok: tally.answered.len(), points }
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
    use crate::check::build::{HistoryBuilder, digest, error};
    use crate::model::{OpType, OpenOps, Value};

    /// Also the ops that never ended.
    fn recorded(history: &HistoryBuilder) -> (LatencyRecorder, OpenOps) {
        let (mut recorder, mut open) = (LatencyRecorder::default(), OpenOps::default());
        history.feed(|op, begun| {
            recorder.op(op, begun);
            let _ = open.pair(op);
        });
        (recorder, open)
    }

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
        let (recorder, open) = recorded(&history);
        let latency = recorder.finish(open.still_open(), Repeats::default());
        assert_eq!(latency.response.ok.count, 2);
        assert_eq!(latency.response.ok.censored, 1);
        // Three digits: within a thousandth of 1.401 s.
        assert!((latency.response.ok.max_ms.0 - 1401.0).abs() < 1.5);
        assert!((latency.service.ok.max_ms.0 - 1.0).abs() < 0.002);
    }

    /// An open loop at 100/s against a server that stalls once: what was due during the stall waited for its end. Timed from when it was sent, the 99th
    /// percentile would be that of the other ops, since one client saw one slow answer.
    #[test]
    fn one_stall_of_1400_ms_is_the_99th_percentile_and_not_one_slow_op_in_six_thousand() {
        const MS: u64 = 1_000_000;
        const STALL: std::ops::Range<u64> = 30_000..31_400;
        let mut history = HistoryBuilder::new();
        for due_ms in (0..60_000).step_by(10) {
            let process = history.process();
            let value = Value::Row(due_ms, digest(due_ms));
            // One client: it sends when the answer before has come, 1 ms after the stall's end for the first.
            let sent_ms = if STALL.contains(&due_ms) && due_ms > STALL.start { STALL.end } else { due_ms };
            let done_ms = if STALL.contains(&due_ms) { STALL.end + 1 } else { due_ms + 1 };
            history.now_ns = (sent_ms * MS).saturating_sub(MS);
            history.push(OpType::Invoke, process, F::LedgerAdd, value.clone(), None);
            let at = history.ops.len() - 1;
            history.ops[at].intended_ns = due_ms * MS;
            history.now_ns = (done_ms * MS).saturating_sub(MS);
            history.push(OpType::Ok, process, F::LedgerAdd, value, None);
        }
        let (recorder, open) = recorded(&history);
        let latency = recorder.finish(open.still_open(), Repeats::default());
        assert_eq!(latency.response.ok.count, 6_000);
        // 140 of 6,000 ops were due in the stall, so the slowest hundredth are the first 60 of them: 0.8 s to 1.4 s.
        assert!((latency.response.ok.p99_ms.0 - 801.0).abs() < 12.0, "{}", latency.response.ok.p99_ms);
        assert!((latency.response.ok.max_ms.0 - 1_401.0).abs() < 2.0, "{}", latency.response.ok.max_ms);
        assert!(latency.service.ok.p99_ms.0 < 1.5, "what the usual closed loop would tell: {}", latency.service.ok.p99_ms);
    }

    #[test]
    fn every_kind_of_op_has_its_times_by_stage_and_outcome() {
        let mut history = HistoryBuilder::new();
        history.acked(1);
        let process = history.process();
        history.push(OpType::Invoke, process, F::BankRead, Value::None, None);
        history.push(OpType::Fail, process, F::BankRead, Value::None, Some(error(ErrorKind::Declined, None)));
        let process = history.process();
        history.push(OpType::Invoke, process, F::BankRead, Value::None, None);
        history.push(OpType::Fail, process, F::BankRead, Value::None, Some(error(ErrorKind::NotSent, None)));
        history.begin(F::LedgerAdd, 3);
        let (recorder, open) = recorded(&history);
        let rows = recorder.by_op(open.still_open());
        let told: Vec<(&str, Ended, u64, u64, u64)> =
            rows.iter().map(|row| (row.f.as_str(), row.outcome, row.response.count, row.response.censored, row.service.count)).collect();
        assert_eq!(
            told,
            [
                ("ledger-add", Ended::Ok, 1, 0, 1),
                ("ledger-add", Ended::Info, 0, 1, 0),
                ("bank-read", Ended::Declined, 1, 0, 1),
                ("bank-read", Ended::Fail, 1, 0, 0),
            ]
        );
        assert!(rows.iter().all(|row| row.stage == Stage::Before));
        let latency = recorder.finish(open.still_open(), Repeats::default());
        assert_eq!((latency.response.fail.count, latency.stages.before.response.count, latency.stages.before.failed), (2, 2, 1));
    }

    #[test]
    fn few_repeats_tell_their_longest_as_the_99th_percentile() {
        let times: Vec<(u64, bool)> = (1..=5).map(|s| (s * 1_000_000_000, s != 5)).collect();
        let repeats = Repeats::of(&times);
        assert_eq!((repeats.count, repeats.censored), (5, 1));
        assert_eq!(repeats.min_ms, Millis(1000.0));
        assert_eq!(repeats.p50_ms, Millis(3000.0));
        assert_eq!(repeats.p99_ms, Millis(5000.0));
        assert_eq!(Repeats::of(&times[..4]).p50_ms, Millis(2500.0));
        assert_eq!((Repeats::of(&[]).p50_ms, Repeats::of(&[]).max_ms), (Millis(0.0), Millis(0.0)));
    }
}
