//! The durability check: every acknowledged row is there at the end, once, unaltered, and nothing else is.
//!
//! Each op inserts one row under a key of its own, with the digest of its payload. After everything has healed the whole table is read in pages. The final
//! read is the last chain of pages that starts at the beginning and ends with an empty page. Per key, the best known outcome of its
//! attempts (acknowledged > unknown > failed) meets what the final read holds:
//!
//! | | in the final read | not in it |
//! |---|---|---|
//! | acknowledged | ok, **altered**, **duplicated** | **lost** |
//! | unknown | recovered | nothing to say |
//! | failed | **resurrected** | nothing to say |
//! | never attempted | **unexpected** | |
//!
//! The check proves its property only for what was acknowledged before the final read began, hence an acknowledgement after it that the read does not hold makes it unknown.

mod keys;
mod pages;

use indexmap::IndexMap;

use crate::model::{Begun, Digest, F, OpType, OpView, ValueView, Verdict};

use super::{Check, Checker, EXAMPLES_MAX, Found};
use keys::{Fate, Keys, Slot};
use pages::Pages;

/// SQL Server's error for a row whose unique key exists.
const DUPLICATE_KEY: u32 = 2627;

/// The ledger checker.
#[derive(Debug, Default)]
pub struct Ledger {
    lost_max: u64,
    keys: Keys,
    pages: Pages,
    acknowledged: u64,
    failed: u64,
    info: u64,
    attempted: u64,
    malformed: Option<String>,
    /// Keys that were acknowledged more than once, with the second acknowledgement.
    acked_twice: Vec<(u64, u64)>,
}

impl Ledger {
    /// A checker that lets `lost_max` acknowledged commits be lost.
    pub fn new(lost_max: u64) -> Self {
        Ledger { lost_max, ..Self::default() }
    }

    fn malformed(&mut self, index: u64, what: &str) {
        self.malformed.get_or_insert_with(|| format!("op {index} {what}"));
    }

    fn add(&mut self, op: &OpView<'_>, begun: Option<&Begun>) {
        let key = match (op.value, begun) {
            (ValueView::Row(key, _), _) => key,
            (ValueView::None, Some(begun)) => begun.key,
            _ => return self.malformed(op.index, "names no row"),
        };
        let Ok(line) = u32::try_from(op.index) else {
            return self.malformed(op.index, "lies beyond what this checker can hold");
        };
        if op.kind == OpType::Invoke {
            let ValueView::Row(_, digest) = op.value else {
                return self.malformed(op.index, "names no row");
            };
            self.attempted += 1;
            let slot = self.keys.slot(key);
            if slot.attempted() && slot.digest() != digest {
                return self.malformed(op.index, "attempts a key again with another payload");
            }
            slot.begin(digest, line);
            return;
        }
        if begun.is_none_or(|begun| begun.key != key) {
            return self.malformed(op.index, "ends an op that did not begin");
        }
        let slot = self.keys.slot(key);
        match op.kind {
            OpType::Ok => {
                self.acknowledged += 1;
                if slot.acknowledge(line) && self.acked_twice.len() < EXAMPLES_MAX {
                    self.acked_twice.push((key, op.index));
                }
            }
            OpType::Fail => {
                self.failed += 1;
                slot.fail(line, op.error.and_then(|error| error.number) == Some(DUPLICATE_KEY));
            }
            OpType::Info | OpType::Invoke => {
                self.info += 1;
                slot.lose_track(line);
            }
        }
    }
}

impl Checker for Ledger {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn op(&mut self, op: &OpView<'_>, begun: Option<&Begun>) {
        match op.f {
            F::LedgerAdd | F::Probe => self.add(op, begun),
            F::LedgerRead => match (op.kind, op.value, begun) {
                (OpType::Ok, ValueView::Rows(rows), Some(begun)) => {
                    self.pages.page(begun, op.index, rows, &mut self.keys);
                }
                (OpType::Ok, _, _) => self.malformed(op.index, "is a page without rows"),
                _ => {}
            },
            _ => {}
        }
    }

    fn finish(self: Box<Self>) -> Check {
        if let Some(malformed) = self.malformed {
            return Check::unknown("ledger", format!("the history cannot be trusted: {malformed}"));
        }
        let mut tally = Tally::default();
        let read = self.pages.finished();
        for (key, slot) in self.keys.iter() {
            tally.count(key, slot, read, &self.pages);
        }
        for &(key, index) in &self.acked_twice {
            let mut found = Found {
                class: "duplicated",
                key: Some(key),
                detail: "acknowledged twice under one unique key".to_owned(),
                proof: vec![index],
                cycle: Vec::new(),
            };
            if let Some(slot) = self.keys.get(key) {
                found.proof.insert(0, slot.done());
                found.proof.insert(0, slot.invoked());
                found.proof.dedup();
            }
            tally.examples.push(found);
        }
        let counts = IndexMap::from([
            ("attempted", self.attempted),
            ("acknowledged", self.acknowledged),
            ("failed", self.failed),
            ("unknown", self.attempted - (self.acknowledged + self.failed).min(self.attempted)),
            ("ok", tally.ok),
            ("recovered", tally.recovered),
            ("lost", tally.lost),
            ("unexpected", tally.unexpected),
            ("resurrected", tally.resurrected),
            ("duplicated", tally.duplicated),
            ("altered", tally.altered),
        ]);
        let (verdict, evidence) = self.verdict(&tally);
        tally.examples.sort_by_key(|found| (rank(found.class), found.key));
        Check { name: "ledger", verdict, counts, evidence, examples: tally.examples }
    }
}

impl Ledger {
    fn verdict(&self, tally: &Tally) -> (Verdict, Vec<String>) {
        let mut evidence = Vec::new();
        let mut verdict = Verdict::Valid;
        let (never, broken) = self.pages.complaints();
        if let Some(why) = never {
            return (Verdict::Unknown, vec![why]);
        }
        let wrong = [
            ("lost: acknowledged and not there", tally.lost, tally.lost > self.lost_max),
            ("unexpected: there and never attempted", tally.unexpected, tally.unexpected > 0),
            ("resurrected: refused and there", tally.resurrected, tally.resurrected > 0),
            ("duplicated", tally.duplicated, tally.duplicated > 0),
            ("altered: there with another payload", tally.altered, tally.altered > 0),
        ];
        for (what, count, invalid) in wrong {
            if count > 0 {
                let keys = tally.keys(what.split(':').next().unwrap_or(what));
                evidence.push(format!("{count} {what} (keys {keys})"));
            }
            if invalid {
                verdict = verdict.merge(Verdict::Invalid);
            }
        }
        if tally.lost > 0 && tally.lost <= self.lost_max {
            evidence.push(format!("up to {} lost commits are allowed", self.lost_max));
        }
        if self.acknowledged == 0 {
            verdict = verdict.merge(Verdict::Unknown);
            evidence.push("no commit was ever acknowledged, so none could be lost".to_owned());
        }
        if tally.late > 0 {
            verdict = verdict.merge(Verdict::Unknown);
            evidence.push(format!("{} commits were acknowledged after the final read had begun and are not in it", tally.late));
        }
        evidence.extend(broken);
        evidence.push(format!("{} of {} acknowledged commits read back in {} rows", tally.ok, self.acknowledged, self.pages.rows()));
        (verdict, evidence)
    }
}

fn rank(class: &str) -> usize {
    ["lost", "unexpected", "resurrected", "duplicated", "altered", "recovered"]
        .iter()
        .position(|&known| known == class)
        .unwrap_or(usize::MAX)
}

#[derive(Debug, Default)]
struct Tally {
    ok: u64,
    recovered: u64,
    lost: u64,
    unexpected: u64,
    resurrected: u64,
    duplicated: u64,
    altered: u64,
    late: u64,
    examples: Vec<Found>,
}

impl Tally {
    /// Files one key under its class. `read` is the index of the invoke that began the final read.
    fn count(&mut self, key: u64, slot: &Slot, read: Option<u64>, pages: &Pages) {
        let Some(read) = read else {
            return;
        };
        let seen = pages.seen(slot);
        if slot.acknowledged_twice() {
            self.duplicated += 1;
        }
        if seen.times == 0 {
            if slot.fate() == Fate::Acknowledged {
                if slot.done() > read {
                    self.late += 1;
                } else {
                    self.lost += 1;
                    self.example("lost", key, slot, self.lost, None, pages);
                }
            }
            return;
        }
        match slot.fate() {
            Fate::NeverAttempted => {
                self.unexpected += 1;
                let digest = pages.found(key);
                self.example("unexpected", key, slot, self.unexpected, digest, pages);
                return;
            }
            Fate::Failed => {
                self.resurrected += 1;
                self.example("resurrected", key, slot, self.resurrected, None, pages);
            }
            Fate::Acknowledged if seen.times == 1 && !seen.altered => {
                if !slot.acknowledged_twice() {
                    self.ok += 1;
                }
            }
            Fate::Unknown if seen.times == 1 && !seen.altered => {
                self.recovered += 1;
                self.example("recovered", key, slot, self.recovered, None, pages);
            }
            Fate::Acknowledged | Fate::Unknown => {}
        }
        if seen.times > 1 {
            self.duplicated += 1;
            self.example("duplicated", key, slot, self.duplicated, None, pages);
        }
        if seen.altered {
            self.altered += 1;
            let digest = pages.found(key);
            self.example("altered", key, slot, self.altered, digest, pages);
        }
    }

    fn example(&mut self, class: &'static str, key: u64, slot: &Slot, nth: u64, found: Option<Digest>, pages: &Pages) {
        if nth > EXAMPLES_MAX as u64 {
            return;
        }
        let mut proof = Vec::new();
        if slot.attempted() {
            proof.push(slot.invoked());
            proof.extend((slot.done() > slot.invoked()).then(|| slot.done()));
        }
        proof.extend(pages.page_of(key));
        let detail = match (class, found) {
            ("altered", Some(found)) => {
                format!("written with digest {}, read with {found}", slot.digest())
            }
            ("unexpected", Some(found)) => format!("read with digest {found}, never attempted"),
            ("lost", _) => format!("acknowledged with digest {}, absent", slot.digest()),
            ("resurrected", _) => "answered with an error before commit, present".to_owned(),
            ("duplicated", _) => "present more than once".to_owned(),
            ("recovered", _) => "outcome unknown to its client, present".to_owned(),
            _ => String::new(),
        };
        self.examples.push(Found { class, key: Some(key), detail, proof, cycle: Vec::new() });
    }

    fn keys(&self, class: &str) -> String {
        let keys: Vec<String> =
            self.examples.iter().filter(|found| found.class == class).filter_map(|found| found.key).map(|key| key.to_string()).collect();
        let shown = keys[..keys.len().min(5)].join(", ");
        if keys.len() > 5 { format!("{shown}, …") } else { shown }
    }
}

#[cfg(test)]
mod tests;
