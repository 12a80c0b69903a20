//! What is known of each key. Keys are dense from 1, so they index an array of small slots; a key far beyond the others comes from a foreign hand and lives in a map.

use std::collections::BTreeMap;

use crate::model::Digest;

/// The best known outcome of a key's attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    NeverAttempted,
    Failed,
    Unknown,
    Acknowledged,
}

const ATTEMPTED: u8 = 1;
const FAILED: u8 = 2;
const INFO: u8 = 4;
const ACKED: u8 = 8;
const ACKED_TWICE: u8 = 16;

/// One key: 20 bytes, which is what ten million ops can afford. The digest is split so that the slot needs no padding.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slot {
    digest_high: u32,
    digest_low: u32,
    invoked: u32,
    done: u32,
    flags: u8,
    open: u8,
    /// What either of the two most recent reads saw.
    pub(super) seen: [u8; 2],
}

impl Slot {
    pub(super) fn digest(&self) -> Digest {
        Digest(u64::from(self.digest_high) << 32 | u64::from(self.digest_low))
    }

    pub(super) fn attempted(&self) -> bool {
        self.flags & ATTEMPTED != 0
    }

    pub(super) fn acknowledged_twice(&self) -> bool {
        self.flags & ACKED_TWICE != 0
    }

    /// The index of the first attempt.
    pub(super) fn invoked(&self) -> u64 {
        u64::from(self.invoked)
    }

    /// The index of the transition that decided the key, or 0.
    pub(super) fn done(&self) -> u64 {
        u64::from(self.done)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves are what is stored")]
    pub(super) fn begin(&mut self, digest: Digest, line: u32) {
        if !self.attempted() {
            self.digest_high = (digest.0 >> 32) as u32;
            self.digest_low = digest.0 as u32;
            self.invoked = line;
        }
        self.flags |= ATTEMPTED;
        self.open = self.open.saturating_add(1);
    }

    /// True when the key had been acknowledged before.
    pub(super) fn acknowledge(&mut self, line: u32) -> bool {
        let again = self.flags & ACKED != 0;
        self.close();
        if again {
            self.flags |= ACKED_TWICE;
        } else {
            self.done = line;
        }
        self.flags |= ACKED;
        again
    }

    /// `exists`: the attempt failed because the row is there. Where an earlier attempt of the same key had an unknown outcome, that proves that it happened,
    /// and from then on the row must stay.
    pub(super) fn fail(&mut self, line: u32, exists: bool) {
        self.close();
        if exists && self.flags & (INFO | ACKED) == INFO {
            self.flags |= ACKED;
            self.done = line;
        } else if self.flags & (INFO | ACKED) == 0 {
            self.done = line;
        }
        self.flags |= FAILED;
    }

    pub(super) fn lose_track(&mut self, line: u32) {
        self.close();
        if self.flags & ACKED == 0 {
            self.done = line;
        }
        self.flags |= INFO;
    }

    fn close(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    pub(super) fn fate(&self) -> Fate {
        if self.flags & ACKED != 0 {
            Fate::Acknowledged
        } else if self.flags & INFO != 0 || self.open > 0 {
            Fate::Unknown
        } else if self.flags & FAILED != 0 {
            Fate::Failed
        } else {
            Fate::NeverAttempted
        }
    }
}

/// How far beyond the highest dense key a key may lie and still be dense.
const REACH: u64 = 1 << 20;

/// Every key.
#[derive(Debug, Default)]
pub(super) struct Keys {
    dense: Vec<Slot>,
    sparse: BTreeMap<u64, Slot>,
}

impl Keys {
    pub(super) fn slot(&mut self, key: u64) -> &mut Slot {
        let length = self.dense.len() as u64;
        let sparse = !self.sparse.is_empty() && self.sparse.contains_key(&key);
        if sparse || key >= length + REACH {
            return self.sparse.entry(key).or_default();
        }
        let at = usize::try_from(key).expect("a dense key is smaller than an array that exists");
        if at >= self.dense.len() {
            self.dense.resize(at + 1, Slot::default());
        }
        &mut self.dense[at]
    }

    pub(super) fn get(&self, key: u64) -> Option<&Slot> {
        self.sparse.get(&key).or_else(|| self.dense.get(usize::try_from(key).ok()?))
    }

    /// Forgets what the read on this side has seen.
    pub(super) fn unsee(&mut self, side: usize) {
        for slot in self.dense.iter_mut().chain(self.sparse.values_mut()) {
            slot.seen[side] = 0;
        }
    }

    /// Every key that was attempted or read, dense ones first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Slot)> {
        self.dense.iter().enumerate().map(|(key, slot)| (key as u64, slot)).chain(self.sparse.iter().map(|(&key, slot)| (key, slot)))
    }
}
