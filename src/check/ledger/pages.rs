//! Follows the pages of the ledger's reads and keeps what the last complete one saw.

use crate::model::{Begun, Digest};

use super::super::EXAMPLES_MAX;
use super::keys::{Keys, Slot};

const ALTERED: u8 = 0x80;

/// What a read saw of one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) times: u8,
    pub(super) altered: bool,
}

#[derive(Debug, Default)]
struct Chain {
    /// The index of the invoke of its first page.
    begun: u64,
    /// Where the next page must start.
    next_after: u64,
    rows: u64,
    complete: bool,
    /// Whether a page started elsewhere than where the one before it ended, leaving keys unread.
    gap: Option<(u64, u64)>,
    disorder: u64,
    /// `(after, index)` of each page that held rows.
    pages: Vec<(u64, u64)>,
    /// Digests that differ from what was written, or that nobody wrote.
    strange: Vec<(u64, Digest)>,
}

/// The reads of a history: the one that goes on and the last that is complete, on two sides of each slot.
#[derive(Debug, Default)]
pub(super) struct Pages {
    chains: [Chain; 2],
    side: usize,
    active: bool,
    finished: Option<usize>,
    begun_any: bool,
}

impl Pages {
    /// Takes one page that was read.
    pub(super) fn page(&mut self, begun: &Begun, index: u64, rows: &[(u64, Digest)], keys: &mut Keys) {
        let after = begun.key;
        if after == 0 {
            self.restart(begun.index, keys);
        } else if !self.active {
            return;
        }
        let side = self.side;
        let chain = &mut self.chains[side];
        if after > chain.next_after {
            chain.gap.get_or_insert((chain.next_after, after));
        }
        if rows.is_empty() {
            // An empty page that starts before the end of the rows read so far proves nothing about the rest.
            if after >= chain.next_after {
                chain.complete = chain.gap.is_none();
                self.active = false;
                if chain.complete {
                    self.finished = Some(side);
                }
            }
            return;
        }
        chain.pages.push((after, index));
        let mut before = after;
        for &(key, digest) in rows {
            chain.rows += 1;
            if key <= before {
                chain.disorder += 1;
            }
            before = before.max(key);
            let slot = keys.slot(key);
            let seen = &mut slot.seen[side];
            *seen = (*seen & ALTERED) | ((*seen & !ALTERED) + 1).min(2);
            let strange = !slot.attempted() || slot.digest() != digest;
            if strange {
                if slot.attempted() {
                    slot.seen[side] |= ALTERED;
                }
                if chain.strange.len() < 2 * EXAMPLES_MAX {
                    chain.strange.push((key, digest));
                }
            }
        }
        chain.next_after = chain.next_after.max(before);
    }

    fn restart(&mut self, index: u64, keys: &mut Keys) {
        if self.finished == Some(self.side) {
            self.side = 1 - self.side;
        }
        if self.begun_any {
            keys.unsee(self.side);
        }
        self.begun_any = true;
        self.active = true;
        self.chains[self.side] = Chain { begun: index, ..Chain::default() };
    }

    /// The index of the invoke that began the final read, where there is a complete one.
    pub(super) fn finished(&self) -> Option<u64> {
        self.finished.map(|side| self.chains[side].begun)
    }

    fn chain(&self) -> Option<&Chain> {
        self.finished.map(|side| &self.chains[side])
    }

    /// What the final read saw of a key.
    pub(super) fn seen(&self, slot: &Slot) -> Seen {
        let seen = self.finished.map_or(0, |side| slot.seen[side]);
        Seen { times: seen & !ALTERED, altered: seen & ALTERED != 0 }
    }

    /// The page of the final read that held a key, or would have.
    pub(super) fn page_of(&self, key: u64) -> Option<u64> {
        let pages = &self.chain()?.pages;
        let at = pages.partition_point(|&(after, _)| after < key);
        pages.get(at.checked_sub(1)?).map(|&(_, index)| index)
    }

    /// The digest that was read for a key, where it was kept.
    pub(super) fn found(&self, key: u64) -> Option<Digest> {
        self.chain()?.strange.iter().find(|&&(strange, _)| strange == key).map(|&(_, digest)| digest)
    }

    /// How many rows the final read held.
    pub(super) fn rows(&self) -> u64 {
        self.chain().map_or(0, |chain| chain.rows)
    }

    /// Why there is no final read to judge by, and what is odd about the one there is.
    pub(super) fn complaints(&self) -> (Option<String>, Option<String>) {
        let Some(chain) = self.chain() else {
            let last = &self.chains[self.side];
            return (
                Some(match (self.begun_any, last.gap) {
                    (false, _) => "the ledger was not read at the end".to_owned(),
                    (true, Some((end, start))) => {
                        format!("the final read has a gap: a page ended at key {end} and the next one started after {start}")
                    }
                    (true, None) => {
                        format!("the final read did not reach the end; it stopped after {} rows", last.rows)
                    }
                }),
                None,
            );
        };
        let disorder = (chain.disorder > 0).then(|| format!("{} rows of the final read were out of key order", chain.disorder));
        (None, disorder)
    }
}
