//! Which transaction must come before which, and why.

use crate::model::{Isolation, NumberMap, ProcessId};

use super::Order;
use super::collect::{History, KeyView, NONE, TxnId};

/// Why one transaction comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A transaction starts before it commits, and one moment of the real-time chain comes before the next.
    Within,
    /// The next append to the same list.
    Ww,
    /// A read that ends with the append.
    Wr,
    /// An append that the read does not hold.
    Rw,
    /// The order of one process.
    Process,
    /// One ended before the other began.
    RealTime,
}

/// A node of the graph: the starts and the commits of transactions, and the moments of the real-time chain.
pub(super) type Node = u32;

/// One dependency, with the key and the place in its list that show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: Node,
    pub(super) to: Node,
    pub(super) kind: Kind,
    pub(super) key: u32,
    pub(super) place: u32,
}

/// How transactions are laid out as nodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    level: Isolation,
    order: Order,
    txns: u32,
}

/// Of appends that nobody read, how many a read of the whole list is held against: the others would make the graph grow with the square of the history.
const UNOBSERVED_MAX: usize = 64;

impl Layout {
    /// The layout of a level; `None` where the transactions are too many.
    pub(super) fn new(history: &History, level: Isolation, order: Order) -> Option<Self> {
        // Two nodes for a transaction, and at most one moment for each.
        let txns = u32::try_from(history.txns.len()).ok().filter(|txns| txns.checked_mul(3).is_some())?;
        Some(Layout { level, order, txns })
    }

    /// Serializable needs no start apart from the commit.
    fn split(self) -> bool {
        self.level != Isolation::Serializable
    }

    /// How many nodes there are.
    pub(super) fn nodes(self, history: &History) -> usize {
        let moments = if self.order >= Order::RealTime { self.real_time(history, &mut |_| ()) } else { 0 };
        (self.first_moment() + moments) as usize
    }

    fn start(self, txn: TxnId) -> Node {
        if self.split() { 2 * txn } else { txn }
    }

    fn commit(self, txn: TxnId) -> Node {
        if self.split() { 2 * txn + 1 } else { txn }
    }

    fn first_moment(self) -> Node {
        if self.split() { 2 * self.txns } else { self.txns }
    }

    /// The transaction that a node belongs to; `None` for a moment.
    pub(super) fn txn(self, node: Node) -> Option<TxnId> {
        (node < self.first_moment()).then(|| if self.split() { node / 2 } else { node })
    }

    /// Hands on every edge. Returns how many dependencies were left out.
    pub(super) fn each(self, history: &History, give: &mut impl FnMut(Edge)) -> u64 {
        let mut left_out = 0;
        for key in history.keys() {
            left_out += self.of_key(key, give);
        }
        if self.split() {
            for txn in 0..self.txns {
                give(Edge { from: self.start(txn), to: self.commit(txn), kind: Kind::Within, key: NONE, place: 0 });
            }
        }
        if self.order >= Order::Process {
            self.processes(history, give);
        }
        if self.order >= Order::RealTime {
            self.real_time(history, give);
        }
        left_out
    }

    fn of_key(self, key: KeyView<'_>, give: &mut impl FnMut(Edge)) -> u64 {
        let number = key.number();
        let mut edge = |from: TxnId, to: TxnId, kind: Kind, place: usize| {
            if from != to {
                let place = u32::try_from(place).unwrap_or(NONE);
                let (from, to) = self.ends(from, to, kind, place);
                give(Edge { from, to, kind, key: number, place });
            }
        };
        let length = key.order().len();
        // By place: the committed append that stands there or next behind it.
        let mut next = vec![(NONE, NONE); length + 1];
        for place in (0..length).rev() {
            next[place] = key.committer(place).map_or(next[place + 1], |txn| (txn, u32::try_from(place).unwrap_or(NONE)));
        }
        let mut last = NONE;
        for place in 0..length {
            let Some(txn) = key.committer(place) else { continue };
            if last != NONE {
                edge(last, txn, Kind::Ww, place);
            }
            last = txn;
        }
        let unobserved: Vec<TxnId> = key.unobserved().map(|append| append.txn).collect();
        for &txn in unobserved.iter().filter(|_| last != NONE) {
            edge(last, txn, Kind::Ww, length);
        }
        let mut left_out = 0;
        for read in key.reads() {
            let held = read.length as usize;
            if let Some(txn) = held.checked_sub(1).and_then(|place| key.committer(place)) {
                edge(txn, read.txn, Kind::Wr, held - 1);
            }
            match next[held] {
                (NONE, _) => {
                    for &txn in unobserved.iter().take(UNOBSERVED_MAX) {
                        edge(read.txn, txn, Kind::Rw, held);
                    }
                    left_out += unobserved.len().saturating_sub(UNOBSERVED_MAX) as u64;
                }
                (txn, _) => edge(read.txn, txn, Kind::Rw, held),
            }
        }
        left_out
    }

    /// Between which nodes a dependency runs: see the table of the module.
    fn ends(self, from: TxnId, to: TxnId, kind: Kind, place: u32) -> (Node, Node) {
        let from_start = match (self.level, kind) {
            (Isolation::Snapshot | Isolation::ReadCommitted, Kind::Rw) => true,
            (Isolation::RepeatableRead, Kind::Rw) => place == 0,
            _ => false,
        };
        let to_start = match kind {
            Kind::Process | Kind::RealTime => true,
            Kind::Ww | Kind::Wr => self.level == Isolation::Snapshot,
            Kind::Rw | Kind::Within => false,
        };
        (if from_start { self.start(from) } else { self.commit(from) }, if to_start { self.start(to) } else { self.commit(to) })
    }

    fn processes(self, history: &History, give: &mut impl FnMut(Edge)) {
        let mut last: NumberMap<ProcessId, TxnId> = NumberMap::default();
        for (txn, of) in (0..self.txns).zip(&history.txns) {
            if !of.committed() {
                continue;
            }
            if let Some(before) = last.insert(of.process, txn) {
                let (from, to) = self.ends(before, txn, Kind::Process, NONE);
                give(Edge { from, to, kind: Kind::Process, key: NONE, place: NONE });
            }
        }
    }

    /// What was acknowledged before a transaction began leads to a moment, moments follow one another, and the latest leads to the transaction. Returns how
    /// many moments there are.
    fn real_time(self, history: &History, give: &mut impl FnMut(Edge)) -> u32 {
        let edge = |from, to, kind| Edge { from, to, kind, key: NONE, place: NONE };
        let mut moments = 0;
        let mut acknowledged = history.acknowledged.iter().copied().peekable();
        for (txn, of) in (0..self.txns).zip(&history.txns) {
            if !of.committed() {
                continue;
            }
            let mut fresh = false;
            while let Some(done) = acknowledged.next_if(|&done| history.txn(done).completed < of.invoked) {
                give(edge(self.commit(done), self.first_moment() + moments, Kind::RealTime));
                fresh = true;
            }
            if fresh {
                if moments > 0 {
                    give(edge(self.first_moment() + moments - 1, self.first_moment() + moments, Kind::Within));
                }
                moments += 1;
            }
            if moments > 0 {
                give(edge(self.first_moment() + moments - 1, self.start(txn), Kind::RealTime));
            }
        }
        moments
    }
}
