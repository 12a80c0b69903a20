//! Takes the transactions in, and keeps of each list that was read only its length: the lists themselves are prefixes of the longest one, or an anomaly.

use crate::model::{MopView, NumberMap, ProcessId, TxnView};

/// The number of a transaction, in the order in which they began.
pub(super) type TxnId = u32;

/// No transaction, no index.
pub(super) const NONE: u32 = u32::MAX;

/// What is known of a transaction's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// It has not ended, or in a way that does not tell.
    Unknown,
    /// It was not acknowledged, and someone read what it appended.
    Observed,
    /// It was acknowledged.
    Acknowledged,
    /// It certainly did not commit.
    Failed,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Txn {
    /// Index of the invoke.
    pub(super) invoked: u32,
    /// Index of the completion, or [`NONE`].
    pub(super) completed: u32,
    pub(super) process: ProcessId,
    pub(super) status: Status,
}

impl Txn {
    pub(super) fn committed(&self) -> bool {
        matches!(self.status, Status::Acknowledged | Status::Observed)
    }

    /// The op that tells of it.
    pub(super) fn op(&self) -> u64 {
        u64::from(if self.completed == NONE { self.invoked } else { self.completed })
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Append {
    pub(super) element: u64,
    /// Which key, by number.
    pub(super) key: u32,
    pub(super) txn: TxnId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Read {
    /// Which key, by number.
    pub(super) key: u32,
    /// How long the list was.
    pub(super) length: u32,
    pub(super) txn: TxnId,
}

/// A contradiction that shows as the history is taken in.
#[derive(Debug)]
pub(super) enum Contradiction {
    /// A read of a transaction that does not hold its own appends as it must.
    Internal { txn: TxnId, key: u32 },
    /// Two lists of which neither is a prefix of the other.
    Incompatible { txn: TxnId, other: TxnId, key: u32 },
}

#[derive(Debug)]
pub(super) struct Key {
    /// As the history calls it.
    pub(super) name: u64,
    /// The longest list that was read.
    pub(super) order: Vec<u64>,
    /// Who read it.
    pub(super) longest: TxnId,
}

/// Everything, as it is taken in.
#[derive(Debug, Default)]
pub(super) struct Collector {
    txns: Vec<Txn>,
    keys: Vec<Key>,
    numbers: NumberMap<u64, u32>,
    open: NumberMap<ProcessId, TxnId>,
    appends: Vec<Append>,
    reads: Vec<Read>,
    /// Transactions in the order in which they were acknowledged.
    acknowledged: Vec<TxnId>,
    contradictions: Vec<Contradiction>,
    malformed: Option<String>,
    /// The appends of the transaction at hand: key and element.
    own: Vec<(u32, u64)>,
}

impl Collector {
    pub(super) fn malformed(&mut self, index: u64, what: &str) {
        self.malformed.get_or_insert_with(|| format!("op {index} {what}"));
    }

    fn number(&mut self, name: u64) -> u32 {
        let keys = &mut self.keys;
        *self.numbers.entry(name).or_insert_with(|| {
            keys.push(Key { name, order: Vec::new(), longest: NONE });
            u32::try_from(keys.len() - 1).unwrap_or(NONE)
        })
    }

    pub(super) fn begin(&mut self, index: u64, process: ProcessId, txn: TxnView<'_>) {
        let (Ok(invoked), Ok(id)) = (u32::try_from(index), u32::try_from(self.txns.len())) else {
            return self.malformed(index, "is beyond the four thousand million ops that are counted");
        };
        self.txns.push(Txn { invoked, completed: NONE, process, status: Status::Unknown });
        for mop in txn.mops() {
            if let MopView::Append(name, element) = mop {
                let key = self.number(name);
                self.appends.push(Append { element, key, txn: id });
            }
        }
        if self.open.insert(process, id).is_some() {
            self.malformed(index, "begins while another op of its process is open");
        }
    }

    pub(super) fn end(&mut self, index: u64, process: ProcessId, status: Status) -> Option<TxnId> {
        let Some(id) = self.open.remove(&process) else {
            self.malformed(index, "ends without having begun");
            return None;
        };
        let txn = &mut self.txns[id as usize];
        txn.status = status;
        txn.completed = u32::try_from(index).unwrap_or(NONE);
        Some(id)
    }

    pub(super) fn commit(&mut self, index: u64, process: ProcessId, txn: TxnView<'_>) {
        let Some(id) = self.end(index, process, Status::Acknowledged) else { return };
        self.acknowledged.push(id);
        self.own.clear();
        for mop in txn.mops() {
            match mop {
                MopView::Append(name, element) => {
                    let key = self.number(name);
                    self.own.push((key, element));
                }
                MopView::Read(_, None) => return self.malformed(index, "is acknowledged with a read that has no list"),
                MopView::Read(name, Some(list)) => {
                    let key = self.number(name);
                    self.read(id, key, list);
                }
            }
        }
        self.reads_of_what_comes(id, txn);
    }

    fn read(&mut self, id: TxnId, key: u32, list: &[u64]) {
        let own = || self.own.iter().rev().filter(|(of, _)| *of == key).map(|(_, element)| element);
        if !own().eq(list.iter().rev().take(own().count())) {
            self.contradictions.push(Contradiction::Internal { txn: id, key });
        }
        let known = &mut self.keys[key as usize];
        let shared = known.order.len().min(list.len());
        if known.order[..shared] != list[..shared] {
            self.contradictions.push(Contradiction::Incompatible { txn: id, other: known.longest, key });
            return;
        }
        if list.len() > shared || known.longest == NONE {
            known.order.extend_from_slice(&list[shared..]);
            known.longest = id;
        }
        self.reads.push(Read { key, length: u32::try_from(list.len()).unwrap_or(NONE), txn: id });
    }

    /// A read that holds what its own transaction appends only later.
    fn reads_of_what_comes(&mut self, id: TxnId, txn: TxnView<'_>) {
        for (at, mop) in txn.mops().enumerate() {
            let MopView::Read(name, Some(list)) = mop else { continue };
            let early = |later| matches!(later, MopView::Append(of, element) if of == name && list.contains(&element));
            if !list.is_empty() && txn.mops().skip(at + 1).any(early) {
                let key = self.number(name);
                self.contradictions.push(Contradiction::Internal { txn: id, key });
            }
        }
    }

    /// Puts everything in order.
    ///
    /// # Errors
    /// In words, when the history contradicts itself in a way that says nothing about the database.
    pub(super) fn finish(mut self) -> Result<History, String> {
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        drop(self.numbers);
        drop(self.open);
        // Of two appends by one transaction the first comes first: elements need not grow, so their order is kept apart.
        let last = last_appends(&self.appends, self.keys.len());
        let mut places: Vec<u32> = (0..u32::try_from(self.appends.len()).map_err(|_| "there are too many appends".to_owned())?).collect();
        let appends = &self.appends;
        places.sort_unstable_by_key(|&at| (appends[at as usize].key, appends[at as usize].element));
        let last = places.iter().map(|&at| last[at as usize]).collect();
        let sorted: Vec<Append> = places.iter().map(|&at| appends[at as usize]).collect();
        drop(places);
        if let Some(twice) = sorted.windows(2).find(|two| (two[0].key, two[0].element) == (two[1].key, two[1].element)) {
            let name = self.keys[twice[0].key as usize].name;
            return Err(format!("{} is appended to key {name} by two ops, so that a read of it tells nothing", twice[0].element));
        }
        self.reads.sort_unstable();
        self.reads.dedup();
        let mut history = History {
            txns: self.txns,
            keys: self.keys,
            appends: sorted,
            last,
            reads: self.reads,
            acknowledged: self.acknowledged,
            contradictions: self.contradictions,
            starts: Starts::default(),
            writers: Vec::new(),
            observed: Vec::new(),
        };
        history.index();
        Ok(history)
    }
}

/// Of each append whether it is the last one of its transaction to its key. They stand in the order of their transactions.
fn last_appends(appends: &[Append], keys: usize) -> Vec<bool> {
    let mut last = vec![true; appends.len()];
    let mut later = vec![NONE; keys];
    for (at, append) in appends.iter().enumerate().rev() {
        last[at] = std::mem::replace(&mut later[append.key as usize], append.txn) != append.txn;
    }
    last
}

/// Where each key's part begins.
#[derive(Debug, Default)]
pub(super) struct Starts {
    appends: Vec<usize>,
    reads: Vec<usize>,
    writers: Vec<usize>,
}

/// A history, in the form in which it is judged.
#[derive(Debug)]
pub(super) struct History {
    pub(super) txns: Vec<Txn>,
    pub(super) keys: Vec<Key>,
    /// By key and element.
    appends: Vec<Append>,
    last: Vec<bool>,
    /// By key and length.
    reads: Vec<Read>,
    pub(super) acknowledged: Vec<TxnId>,
    pub(super) contradictions: Vec<Contradiction>,
    starts: Starts,
    /// For each element of each longest list its place among the appends, or [`NONE`].
    writers: Vec<u32>,
    /// Of each append whether it is in the longest list.
    observed: Vec<bool>,
}

/// How much there was.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) transactions: u64,
    pub(super) committed: u64,
    pub(super) failed: u64,
    pub(super) unknown: u64,
    pub(super) appends: u64,
    pub(super) observed: u64,
    pub(super) reads: u64,
}

/// One key with everything about it.
#[derive(Clone, Copy)]
pub(super) struct KeyView<'a> {
    history: &'a History,
    number: usize,
}

impl History {
    fn index(&mut self) {
        let keys = self.keys.len();
        let starts = |of: &mut dyn Iterator<Item = u32>| {
            let mut starts = vec![0; keys + 1];
            for key in of {
                starts[key as usize + 1] += 1;
            }
            for key in 0..keys {
                starts[key + 1] += starts[key];
            }
            starts
        };
        self.starts.appends = starts(&mut self.appends.iter().map(|append| append.key));
        self.starts.reads = starts(&mut self.reads.iter().map(|read| read.key));
        self.starts.writers = Vec::with_capacity(keys + 1);
        self.observed = vec![false; self.appends.len()];
        for (number, key) in self.keys.iter().enumerate() {
            self.starts.writers.push(self.writers.len());
            let (begin, end) = (self.starts.appends[number], self.starts.appends[number + 1]);
            for element in &key.order {
                let found = self.appends[begin..end].binary_search_by_key(element, |append| append.element);
                let at = found.map_or(usize::MAX, |at| begin + at);
                self.writers.push(u32::try_from(at).unwrap_or(NONE));
                let Some(append) = self.appends.get(at) else { continue };
                self.observed[at] = true;
                let status = &mut self.txns[append.txn as usize].status;
                if *status == Status::Unknown {
                    *status = Status::Observed;
                }
            }
        }
        self.starts.writers.push(self.writers.len());
    }

    pub(super) fn key(&self, number: u32) -> KeyView<'_> {
        KeyView { history: self, number: number as usize }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = KeyView<'_>> {
        (0..self.keys.len()).map(|number| KeyView { history: self, number })
    }

    pub(super) fn txn(&self, id: TxnId) -> &Txn {
        &self.txns[id as usize]
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally {
            transactions: self.txns.len() as u64,
            appends: self.appends.len() as u64,
            observed: self.observed.iter().filter(|&&observed| observed).count() as u64,
            reads: self.reads.len() as u64,
            ..Tally::default()
        };
        for txn in &self.txns {
            match txn.status {
                Status::Acknowledged | Status::Observed => tally.committed += 1,
                Status::Failed => tally.failed += 1,
                Status::Unknown => tally.unknown += 1,
            }
        }
        tally
    }
}

impl<'a> KeyView<'a> {
    /// As the history calls it.
    pub(super) fn name(self) -> u64 {
        self.history.keys[self.number].name
    }

    /// By number.
    pub(super) fn number(self) -> u32 {
        u32::try_from(self.number).unwrap_or(NONE)
    }

    /// The longest list.
    pub(super) fn order(self) -> &'a [u64] {
        &self.history.keys[self.number].order
    }

    /// Who read the longest list.
    pub(super) fn longest(self) -> TxnId {
        self.history.keys[self.number].longest
    }

    /// Everyone who read it, by length.
    pub(super) fn reads(self) -> &'a [Read] {
        let starts = &self.history.starts.reads;
        &self.history.reads[starts[self.number]..starts[self.number + 1]]
    }

    /// Everyone who appended to it, by element.
    pub(super) fn appends(self) -> &'a [Append] {
        let starts = &self.history.starts.appends;
        &self.history.appends[starts[self.number]..starts[self.number + 1]]
    }

    /// Who appended the element at a place of the longest list, and whether it is that one's last append here; `None` when nobody did.
    pub(super) fn writer(self, place: usize) -> Option<(TxnId, bool)> {
        let at = self.history.writers[self.history.starts.writers[self.number] + place];
        let append = self.history.appends.get(at as usize)?;
        Some((append.txn, self.history.last[at as usize]))
    }

    /// Who committed the element at a place of the longest list; `None` when nobody did.
    pub(super) fn committer(self, place: usize) -> Option<TxnId> {
        self.writer(place).map(|(txn, _)| txn).filter(|&txn| self.history.txn(txn).committed())
    }

    /// The appends that committed and that no read holds.
    pub(super) fn unobserved(self) -> impl Iterator<Item = &'a Append> {
        let history = self.history;
        let begin = history.starts.appends[self.number];
        let unread = move |(at, append): &(usize, &Append)| !history.observed[begin + at] && history.txn(append.txn).committed();
        self.appends().iter().enumerate().filter(unread).map(|(_, append)| append)
    }
}
