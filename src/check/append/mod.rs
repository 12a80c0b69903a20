//! Transactions of appends to lists and reads of lists: which anomalies the history proves, and whether the isolation level allows them.
//!
//! A list shows the order of the appends to it, so what was read gives the order of versions, and that gives the dependencies between transactions
//! (Kingsbury, Alvaro: Elle, VLDB 2020): *ww* to the next append, *wr* from an append to the read that ends with it, *rw* from a read to the next append,
//! and, beside these, the order within a process and in real time. A level holds exactly when a graph of these has no cycle:
//!
//! | level | no cycle of |
//! |---|---|
//! | serializable | all of them (Adya, PL-3) |
//! | repeatable-read | the same without *rw* of a list that was empty: such a read is of a predicate, and locks nothing (PL-2.99) |
//! | snapshot | *ww*, *wr* and order from commit to start, *rw* from start to commit (Cerone, Gotsman: Analysing snapshot isolation, PODC 2016) |
//! | read-committed | *ww*, *wr* from commit to commit, *rw* from start to commit, order from commit to start (PL-2) |
//!
//! A transaction is two nodes, its start and its commit, joined by an edge; a level decides between which of them a dependency runs. Real time costs a chain of
//! nodes instead of an edge for each pair. Building and searching are linear in the operations of the history.
//!
//! What needs no graph is found directly: aborted and intermediate reads (G1a, G1b), updates of aborted appends, reads that contradict their own
//! transaction, lists that are not prefixes of one another, elements that nobody appended or that are there twice, lost updates, and reads that lack
//! what had been acknowledged before they began.
//!
//! What is not proven: appends that nobody read have no order among themselves, so two of them on one key may hide a cycle below serializable.

mod collect;
mod cycles;
mod direct;
mod edges;
mod graph;
#[cfg(test)]
mod serial_orders;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::model::{Begun, F, Isolation, OpType, OpView, ValueView, Verdict};

use super::{Check, Checker, EXAMPLES_MAX, Found, Link};
use collect::{Collector, Status};

/// Which order of transactions the level promises beside its dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// None.
    None,
    /// What one process did, in its order: the session guarantees.
    Process,
    /// What ended before another began comes before it, and so the order within a process: one server on one volume promises no less.
    RealTime,
}

/// The append checker.
#[derive(Debug)]
pub struct Append {
    level: Isolation,
    order: Order,
    collector: Collector,
}

impl Append {
    /// A checker of a level.
    pub fn new(level: Isolation, order: Order) -> Self {
        Append { level, order, collector: Collector::default() }
    }
}

impl Checker for Append {
    fn name(&self) -> &'static str {
        "append"
    }

    fn op(&mut self, op: &OpView<'_>, _begun: Option<&Begun>) {
        if !matches!(op.f, F::Txn | F::TxnFinal) {
            return;
        }
        match (op.kind, op.value) {
            (OpType::Invoke, ValueView::Txn(txn)) => self.collector.begin(op.index, op.process, txn),
            (OpType::Ok, ValueView::Txn(txn)) => self.collector.commit(op.index, op.process, txn),
            (OpType::Fail, _) => {
                self.collector.end(op.index, op.process, Status::Failed);
            }
            (OpType::Info, _) => {
                self.collector.end(op.index, op.process, Status::Unknown);
            }
            _ => self.collector.malformed(op.index, "is not a transaction"),
        }
    }

    fn finish(self: Box<Self>) -> Check {
        let history = match self.collector.finish() {
            Ok(history) => history,
            Err(why) => return Check::unknown("append", format!("the history cannot be trusted: {why}")),
        };
        let mut anomalies = Anomalies::default();
        direct::find(&history, self.level, self.order, &mut anomalies);
        let cycles = cycles::find(&history, self.level, self.order, &mut anomalies);
        let mut verdict = if anomalies.forbidden > 0 { Verdict::Invalid } else { Verdict::Valid };
        let mut evidence = anomalies.sentences(self.level);
        if cycles.edges_left_out > 0 {
            verdict = verdict.merge(Verdict::Unknown);
            evidence.push(format!("{} dependencies on appends that nobody read were left out", cycles.edges_left_out));
        }
        let tally = history.tally();
        if tally.observed == 0 {
            verdict = verdict.merge(Verdict::Unknown);
            evidence.push("no append was read by anyone, which decides nothing".to_owned());
        }
        evidence.push(format!(
            "{} of {} transactions committed, {} appends, {} of them read by someone, {} reads",
            tally.committed, tally.transactions, tally.appends, tally.observed, tally.reads
        ));
        let mut counts = IndexMap::from([
            ("transactions", tally.transactions),
            ("committed", tally.committed),
            ("failed", tally.failed),
            ("unknown", tally.unknown),
            ("appends", tally.appends),
            ("reads", tally.reads),
            ("anomalies", anomalies.forbidden),
        ]);
        counts.extend(anomalies.classes.iter().map(|(class, found)| (*class, found.count)));
        Check { name: "append", verdict, counts, evidence, examples: anomalies.examples }
    }
}

/// What was found of one class.
#[derive(Debug, Default)]
struct Class {
    count: u64,
    allowed: bool,
}

/// Everything that was found.
#[derive(Debug, Default)]
struct Anomalies {
    classes: BTreeMap<&'static str, Class>,
    examples: Vec<Found>,
    /// How many the level forbids.
    forbidden: u64,
}

impl Anomalies {
    /// Counts one anomaly that no level or not this level allows; the example is made only where it is shown.
    fn forbid(&mut self, class: &'static str, example: impl FnOnce() -> Found) {
        self.forbidden += 1;
        let entry = self.classes.entry(class).or_default();
        entry.count += 1;
        if entry.count <= EXAMPLES_MAX as u64 {
            self.examples.push(example());
        }
    }

    /// Counts one that the level allows.
    fn allow(&mut self, class: &'static str, count: u64) {
        if count > 0 {
            let entry = self.classes.entry(class).or_default();
            entry.count += count;
            entry.allowed = true;
        }
    }

    fn sentences(&self, level: Isolation) -> Vec<String> {
        let level = level.sql();
        let mut sentences: Vec<String> = Vec::new();
        for (class, found) in self.classes.iter().filter(|(_, found)| !found.allowed) {
            sentences.push(format!("{} × {class}, which {level} does not allow", found.count));
        }
        for (class, found) in self.classes.iter().filter(|(_, found)| found.allowed) {
            sentences.push(format!("{} × {class}, which {level} allows", found.count));
        }
        sentences
    }
}
