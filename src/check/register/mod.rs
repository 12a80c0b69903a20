//! Registers behave as if each op took effect at one instant between its beginning and its end: linearizability (Herlihy, Wing 1990).
//!
//! It is checked key by key, which is enough since linearizability is local (P-compositionality: Horn, Kroening 2015). A key is searched after Wing, Gong
//! and Lowe (Testing for linearizability, 2017), just in time: the set of configurations, each a content of the register and the open ops that have taken effect
//! to make it, is carried along the history; an op is made to take effect no earlier than something needs it. The first end of an op that leaves no
//! configuration ends the smallest prefix that fails. The cost is linear in the history and exponential only in how many writes are open at once.
//!
//! An op that failed did not happen. One whose end is unknown stays open for ever, unless nobody saw what it wrote: then it may as well not have happened.

mod key;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::model::{Begun, F, NumberMap, OpType, OpView, ProcessId, ValueView, Verdict};

use super::{Check, Checker, EXAMPLES_MAX, Found};
use key::{Action, Judgement, KeyOp, OPEN};

/// The register checker.
#[derive(Debug, Default)]
pub struct Register {
    initial: i64,
    keys: BTreeMap<u64, Vec<KeyOp>>,
    open: NumberMap<ProcessId, (u64, usize)>,
    acknowledged: u64,
    failed: u64,
    unknown: u64,
    reads: u64,
    malformed: Option<String>,
}

impl Register {
    /// A checker of registers that hold `initial` at the start.
    pub fn new(initial: i64) -> Self {
        Register { initial, ..Self::default() }
    }

    fn malformed(&mut self, index: u64, what: &str) {
        self.malformed.get_or_insert_with(|| format!("op {index} {what}"));
    }

    fn begin(&mut self, op: &OpView<'_>) {
        let (key, action) = match (op.f, op.value) {
            (F::RegisterRead | F::RegisterFinal, ValueView::Register { key, .. }) => (key, Action::Read(None)),
            (F::RegisterWrite, ValueView::Register { key, value: Some(value) }) => (key, Action::Write(value)),
            (F::RegisterCas, ValueView::Cas { key, expected, new }) => (key, Action::Cas(expected, new)),
            _ => return self.malformed(op.index, "names no register"),
        };
        let ops = self.keys.entry(key).or_default();
        ops.push(KeyOp { action, invoked: op.index, completed: OPEN });
        self.open.insert(op.process, (key, ops.len() - 1));
    }

    fn end(&mut self, op: &OpView<'_>) {
        let Some((key, at)) = self.open.remove(&op.process) else {
            return self.malformed(op.index, "ends without having begun");
        };
        let Some(begun) = self.keys.get_mut(&key).and_then(|ops| ops.get_mut(at)) else { return };
        match op.kind {
            OpType::Ok => {
                self.acknowledged += 1;
                begun.completed = op.index;
                if let Action::Read(seen) = &mut begun.action {
                    let ValueView::Register { value: Some(value), .. } = op.value else {
                        return self.malformed(op.index, "is a read without a content");
                    };
                    *seen = Some(value);
                    self.reads += 1;
                }
            }
            OpType::Fail => {
                self.failed += 1;
                begun.action = Action::Nothing;
            }
            OpType::Info | OpType::Invoke => self.unknown += 1,
        }
    }

    fn judge(&mut self) -> Vec<(u64, Judgement)> {
        let initial = self.initial;
        let keys: Vec<(u64, Vec<KeyOp>)> = std::mem::take(&mut self.keys).into_iter().collect();
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(keys.len()).max(1);
        let share = keys.len().div_ceil(workers).max(1);
        std::thread::scope(|scope| {
            let judge =
                |keys: Vec<(u64, Vec<KeyOp>)>| keys.into_iter().map(|(key, ops)| (key, key::judge(ops, initial))).collect::<Vec<_>>();
            let mut keys = keys;
            let mut running = Vec::new();
            while !keys.is_empty() {
                let part = keys.split_off(keys.len().saturating_sub(share));
                running.push(scope.spawn(move || judge(part)));
            }
            let joined = running.into_iter().rev().flat_map(|worker| match worker.join() {
                Ok(judged) => judged,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.collect()
        })
    }
}

impl Checker for Register {
    fn name(&self) -> &'static str {
        "register"
    }

    fn op(&mut self, op: &OpView<'_>, _begun: Option<&Begun>) {
        if !matches!(op.f, F::RegisterRead | F::RegisterWrite | F::RegisterCas | F::RegisterFinal) {
            return;
        }
        if op.kind == OpType::Invoke { self.begin(op) } else { self.end(op) }
    }

    fn finish(mut self: Box<Self>) -> Check {
        if let Some(malformed) = &self.malformed {
            return Check::unknown("register", format!("the history cannot be trusted: {malformed}"));
        }
        let judged = self.judge();
        let mut verdict = Verdict::Valid;
        let mut evidence = Vec::new();
        let mut examples = Vec::new();
        let (mut failed_keys, mut undecided) = (0, 0);
        for (key, judgement) in &judged {
            match judgement {
                Judgement::Linearizable => {}
                Judgement::TooComplex(why) => {
                    undecided += 1;
                    verdict = verdict.merge(Verdict::Unknown);
                    evidence.push(format!("register {key} was not decided: {why}"));
                }
                Judgement::Fails(failure) => {
                    failed_keys += 1;
                    verdict = Verdict::Invalid;
                    if examples.len() < EXAMPLES_MAX {
                        let (detail, proof) = (failure.sentence(*key), failure.proof.clone());
                        examples.push(Found { class: "not-linearizable", key: Some(*key), detail, proof, cycle: Vec::new() });
                    }
                }
            }
        }
        if failed_keys > 0 {
            evidence.insert(0, format!("{failed_keys} of {} registers are not linearizable", judged.len()));
        }
        if self.reads == 0 {
            verdict = verdict.merge(Verdict::Unknown);
            evidence.push("no register was read, which decides nothing".to_owned());
        }
        evidence.push(format!("{} registers, {} ops acknowledged, {} of them reads", judged.len(), self.acknowledged, self.reads));
        Check {
            name: "register",
            verdict,
            counts: IndexMap::from([
                ("acknowledged", self.acknowledged),
                ("failed", self.failed),
                ("unknown", self.unknown),
                ("registers", judged.len() as u64),
                ("notLinearizable", failed_keys),
                ("undecided", undecided),
            ]),
            evidence,
            examples,
        }
    }
}
