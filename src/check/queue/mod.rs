//! Every acknowledged item is taken out at most once, and is still in the queue where nobody took it (Jepsen's `total-queue`).
//!
//! The order of the items is not judged: under read committed, clients may pass each other's locked rows. What is judged is that some order of the ops in which
//! each takes effect between its beginning and its end explains what was taken and what was left:
//!
//! - an item that was taken or is left was put in by an enqueue that did not fail, and not later than it was taken;
//! - it was taken or is left once;
//! - an acknowledged item that was neither taken nor is left was taken by a dequeue whose outcome is unknown, one each. Such a dequeue is open to the end, so that
//!   it may have taken any of them, and missing items are lost only where there are more of them than such dequeues.
//!
//! An enqueue of unknown outcome may have happened or not, and either is fine. What is left is told by the last read that no other op followed.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::model::{Begun, F, OpType, OpView, ValueView, Verdict};

use super::{Check, Checker, EXAMPLES_MAX, Found};

/// What is known of one item.
#[derive(Debug, Clone, Copy, Default)]
struct Item {
    /// The enqueue's beginning.
    invoked: Option<u64>,
    /// The enqueue's end, and how it ended.
    ended: Option<(u64, OpType)>,
    /// The first dequeue that returned it.
    taken: Option<u64>,
    /// The second one.
    again: Option<u64>,
    /// How often it was returned, and how often it is left.
    times: u64,
    left: u64,
}

impl Item {
    fn acknowledged(&self) -> bool {
        matches!(self.ended, Some((_, OpType::Ok)))
    }

    /// The ops that tell of it, in order.
    fn proof(&self, left: Option<u64>) -> Vec<u64> {
        let end = self.ended.map(|(index, _)| index).or(self.invoked);
        let read = left.filter(|_| self.left > 0 || self.times == 0);
        let mut proof: Vec<u64> = [end, self.taken, self.again, read].into_iter().flatten().collect();
        proof.sort_unstable();
        proof
    }
}

/// The queue checker.
#[derive(Debug, Default)]
pub struct Queue {
    items: BTreeMap<u64, Item>,
    /// What the last read found, and the index of its end.
    left: Option<(u64, Vec<u64>)>,
    enqueued: u64,
    dequeued: u64,
    empty: u64,
    /// Dequeues whose outcome is not known, and which may have taken an item each.
    unknown: u64,
    malformed: Option<String>,
}

impl Queue {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    fn malformed(&mut self, index: u64, what: &str) {
        self.malformed.get_or_insert_with(|| format!("op {index} {what}"));
    }

    fn enqueue(&mut self, op: &OpView<'_>) {
        let ValueView::Key(item) = op.value else { return self.malformed(op.index, "is an enqueue without an item") };
        let item = self.items.entry(item).or_default();
        match op.kind {
            OpType::Invoke if item.invoked.is_some() => self.malformed(op.index, "puts in an item for the second time"),
            OpType::Invoke => item.invoked = Some(op.index),
            kind => {
                item.ended = Some((op.index, kind));
                self.enqueued += u64::from(kind == OpType::Ok);
            }
        }
    }

    fn dequeue(&mut self, op: &OpView<'_>) {
        match (op.kind, op.value) {
            // Open until it ends.
            (OpType::Invoke, _) => self.unknown += 1,
            (OpType::Info, _) => {}
            (OpType::Fail, _) => {
                self.unknown = self.unknown.saturating_sub(1);
                self.empty += 1;
            }
            (OpType::Ok, ValueView::Key(item)) => {
                self.unknown = self.unknown.saturating_sub(1);
                self.dequeued += 1;
                let item = self.items.entry(item).or_default();
                item.times += 1;
                if item.taken.is_none() {
                    item.taken = Some(op.index);
                } else {
                    item.again.get_or_insert(op.index);
                }
            }
            (OpType::Ok, _) => self.malformed(op.index, "is a dequeue without an item"),
        }
    }
}

impl Checker for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn op(&mut self, op: &OpView<'_>, _begun: Option<&Begun>) {
        match op.f {
            F::Enqueue | F::Dequeue => {
                self.left = None;
                if op.f == F::Enqueue { self.enqueue(op) } else { self.dequeue(op) }
            }
            F::QueueFinal if op.kind == OpType::Ok => match op.value {
                ValueView::Numbers(items) => {
                    self.left = Some((op.index, items.iter().map(|item| item.cast_unsigned()).collect()));
                }
                _ => self.malformed(op.index, "is a read of the queue without items"),
            },
            _ => {}
        }
    }

    fn finish(mut self: Box<Self>) -> Check {
        if let Some(malformed) = &self.malformed {
            return Check::unknown("queue", format!("the history cannot be trusted: {malformed}"));
        }
        let left = self.left.take();
        for &item in left.iter().flat_map(|(_, items)| items) {
            self.items.entry(item).or_default().left += 1;
        }
        let mut tally = Tally::default();
        for (&key, item) in &self.items {
            tally.judge(key, item, left.as_ref().map(|(index, _)| *index));
        }
        tally.lost(&self.items, left.as_ref().map(|(index, _)| *index), self.unknown);
        let mut evidence = tally.evidence(self.unknown);
        let mut verdict = if tally.anomalies() > 0 { Verdict::Invalid } else { Verdict::Valid };
        if left.is_none() {
            verdict = verdict.merge(Verdict::Unknown);
            evidence.push("what is left in the queue was not read after the last op, so that a lost item would not show".to_owned());
        }
        if self.dequeued == 0 {
            verdict = verdict.merge(Verdict::Unknown);
            evidence.push("nothing was dequeued, which decides nothing".to_owned());
        }
        let remains = left.map_or(0, |(_, items)| items.len() as u64);
        evidence.push(format!("{} items enqueued, {} dequeued, {remains} left in the queue", self.enqueued, self.dequeued));
        Check {
            name: "queue",
            verdict,
            counts: IndexMap::from([
                ("enqueued", self.enqueued),
                ("dequeued", self.dequeued),
                ("left", remains),
                ("declined", self.empty),
                ("unknownDequeues", self.unknown),
                ("recovered", tally.recovered),
                ("missing", tally.missing.len() as u64),
                ("lost", tally.lost),
                ("duplicated", tally.duplicated),
                ("resurrected", tally.resurrected),
                ("unexpected", tally.unexpected),
            ]),
            evidence,
            examples: tally.examples,
        }
    }
}

/// What was found item by item.
#[derive(Debug, Default)]
struct Tally {
    duplicated: u64,
    resurrected: u64,
    unexpected: u64,
    recovered: u64,
    /// Acknowledged items that were neither taken nor are left.
    missing: Vec<u64>,
    lost: u64,
    examples: Vec<Found>,
}

impl Tally {
    fn judge(&mut self, key: u64, item: &Item, left: Option<u64>) {
        let seen = item.times + item.left;
        if seen == 0 {
            if item.acknowledged() && left.is_some() {
                self.missing.push(key);
            }
            return;
        }
        let ended = item.ended.map(|(_, kind)| kind);
        match (item.invoked, ended) {
            (None, _) => self.found("unexpected", key, item, left, "was never put in".to_owned()),
            (Some(invoked), _) if item.taken.is_some_and(|taken| taken < invoked) => {
                self.found("unexpected", key, item, left, "was taken before it was put in".to_owned());
            }
            (Some(_), Some(OpType::Fail)) => {
                self.found("resurrected", key, item, left, "is there, and its enqueue certainly failed".to_owned());
            }
            (Some(_), Some(OpType::Ok)) => {}
            (Some(_), _) => self.recovered += 1,
        }
        if seen > 1 {
            let Item { times, left: remains, .. } = *item;
            self.found("duplicated", key, item, left, format!("was dequeued {times} times and is left {remains} times"));
        }
    }

    fn found(&mut self, class: &'static str, key: u64, item: &Item, left: Option<u64>, what: String) {
        let count = match class {
            "unexpected" => &mut self.unexpected,
            "resurrected" => &mut self.resurrected,
            "duplicated" => &mut self.duplicated,
            _ => &mut self.lost,
        };
        *count += 1;
        if *count <= EXAMPLES_MAX as u64 {
            self.examples.push(Found {
                class,
                key: Some(key),
                detail: format!("item {key} {what}"),
                proof: item.proof(left),
                cycle: Vec::new(),
            });
        }
    }

    /// Which of the missing items count as lost: all, as soon as they are more than the dequeues that may have taken them.
    fn lost(&mut self, items: &BTreeMap<u64, Item>, left: Option<u64>, unknown: u64) {
        let missing = std::mem::take(&mut self.missing);
        if missing.len() as u64 > unknown {
            let among = match unknown {
                0 => String::new(),
                _ => format!(", one of {} of which dequeues of unknown outcome took {unknown} at the most", missing.len()),
            };
            for &key in &missing {
                let what = format!("was acknowledged and is neither dequeued nor left in the queue{among}");
                self.found("lost", key, &items[&key], left, what);
            }
            self.lost = missing.len() as u64 - unknown;
        }
        self.missing = missing;
    }

    fn anomalies(&self) -> u64 {
        self.lost + self.duplicated + self.resurrected + self.unexpected
    }

    fn evidence(&self, unknown: u64) -> Vec<String> {
        let mut evidence: Vec<String> = [
            (self.lost, "acknowledged items are lost"),
            (self.duplicated, "items were there more than once"),
            (self.resurrected, "items are there whose enqueue failed"),
            (self.unexpected, "items are there that nobody had put in"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        if self.lost == 0 && !self.missing.is_empty() {
            let missing = self.missing.len();
            evidence
                .push(format!("{missing} acknowledged items are missing, and {unknown} dequeues of unknown outcome may have taken them"));
        }
        evidence
    }
}
