//! Response times by step of the load: at which rate does the target still answer in time?
//!
//! Ops that were due while a fault was in force are left out, so that a step shows what the target can carry and not what a fault did to it.

use serde::{Deserialize, Serialize};

use super::latency::{Summary, summary};
use super::stages::{Stage, Stages};
use super::tally::Tally;
use crate::model::{Begun, Millis, OpView};

/// One step of the load, and how the target carried it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepLatency {
    /// The step as the experiment says it, such as `100/s for 30s`.
    pub step: String,
    /// When it began.
    pub from_ms: Millis,
    /// Of the ops that were due in it and happened, or were declined by their own condition; those that never ended are censored.
    pub response: Summary,
    /// How many others did not happen.
    pub failed: u64,
    /// How many may have happened.
    pub unknown: u64,
}

/// Sorts ops by the step that they were due in.
#[derive(Debug)]
pub struct StepRecorder {
    stages: Stages,
    /// Each step's words and how long it lasts in ns; the last lasts for ever.
    steps: Vec<(String, u64)>,
    start_ns: Option<u64>,
    counted: Vec<Tally>,
}

impl StepRecorder {
    /// For steps given in words and with how long they last in ns, none for the last. The first begins when the first op is due.
    pub fn new(stages: Stages, steps: Vec<(String, Option<u64>)>) -> Self {
        let counted = steps.iter().map(|_| Tally::new()).collect();
        let steps = steps.into_iter().map(|(words, lasts_ns)| (words, lasts_ns.unwrap_or(u64::MAX))).collect();
        StepRecorder { stages, steps, start_ns: None, counted }
    }

    /// Takes one transition.
    pub fn op(&mut self, op: &OpView<'_>, begun: Option<&Begun>) {
        // One step alone is the whole run, which the other figures tell.
        if self.steps.len() < 2 || !op.f.is_load() {
            return;
        }
        let start_ns = *self.start_ns.get_or_insert(op.intended_ns);
        let Some(begun) = begun else { return };
        let Some(step) = self.step_of(begun.intended_ns, start_ns) else { return };
        self.counted[step].end(op, begun);
    }

    /// The step that an op was due in; none while a fault was in force.
    fn step_of(&self, due_ns: u64, start_ns: u64) -> Option<usize> {
        if self.stages.of(due_ns) == Stage::During {
            return None;
        }
        let mut end_ns = start_ns;
        self.steps.iter().position(|&(_, lasts_ns)| {
            end_ns = end_ns.saturating_add(lasts_ns);
            due_ns < end_ns
        })
    }

    /// The steps in which anything was due. `open` are the ops that never ended.
    pub fn finish<'a>(&self, open: impl Iterator<Item = &'a Begun>) -> Vec<StepLatency> {
        let Some(start_ns) = self.start_ns else { return Vec::new() };
        let mut censored = vec![0; self.steps.len()];
        for begun in open.filter(|begun| begun.f.is_load()) {
            if let Some(step) = self.step_of(begun.intended_ns, start_ns) {
                censored[step] += 1;
            }
        }
        let mut from_ns = start_ns;
        let mut found = Vec::new();
        for (((words, lasts_ns), tally), censored) in self.steps.iter().zip(&self.counted).zip(censored) {
            let step = StepLatency {
                step: words.clone(),
                from_ms: Millis::from_ns(from_ns),
                response: summary(&tally.answered, censored),
                failed: tally.failed,
                unknown: tally.unknown,
            };
            from_ns = from_ns.saturating_add(*lasts_ns);
            if tally.ended() + censored > 0 {
                found.push(step);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ErrorKind, ErrorView, F, OpType, ValueView};

    const S: u64 = 1_000_000_000;

    fn feed(recorder: &mut StepRecorder, due_ns: u64, took_ns: u64, kind: OpType) {
        let view = |time_ns, kind, error| OpView {
            index: 0,
            time_ns,
            kind,
            process: 1,
            f: F::LedgerAdd,
            value: ValueView::None,
            error,
            intended_ns: due_ns,
        };
        let begun = Begun { index: 0, sent_ns: due_ns, intended_ns: due_ns, f: F::LedgerAdd, key: 0 };
        let error = (kind == OpType::Fail).then_some(ErrorView { kind: ErrorKind::Timeout, number: None });
        recorder.op(&view(due_ns, OpType::Invoke, None), None);
        recorder.op(&view(due_ns + took_ns, kind, error), Some(&begun));
    }

    #[test]
    fn ops_belong_to_the_step_that_they_were_due_in() {
        let steps = vec![("10/s for 10s".to_owned(), Some(10 * S)), ("20/s for 5s".to_owned(), Some(5 * S)), ("40/s".to_owned(), None)];
        let mut recorder = StepRecorder::new(Stages::default(), steps.clone());
        for tenth in 0..200 {
            let due_ns = 3 * S + tenth * S / 10;
            let took_ns = if tenth < 150 { 2_000_000 } else { 300_000_000 };
            feed(&mut recorder, due_ns, took_ns, if tenth == 120 { OpType::Fail } else { OpType::Ok });
        }
        let found = recorder.finish(std::iter::empty());
        let counts: Vec<(u64, u64)> = found.iter().map(|step| (step.response.count, step.failed)).collect();
        assert_eq!(counts, [(100, 0), (49, 1), (50, 0)]);
        assert_eq!(found.iter().map(|step| step.from_ms.0).collect::<Vec<_>>(), [3_000.0, 13_000.0, 18_000.0]);
        assert!(found[1].response.p99_ms < Millis(3.0) && found[2].response.p50_ms > Millis(299.0));
        let mut single = StepRecorder::new(Stages::default(), steps[2..].to_vec());
        feed(&mut single, 0, 1, OpType::Ok);
        assert_eq!(single.finish(std::iter::empty()), []);
    }
}
