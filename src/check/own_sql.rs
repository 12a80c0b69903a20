//! The user's own statements did what they were acknowledged for.
//!
//! A check that returns `acknowledged` is held to the keys: that of every acknowledged statement that uses `@key` is there once, none is there of a statement that
//! certainly failed, none that nobody drew. Keys below 1 are the setup's. A check that returns `nothing` must return no rows. Only the last answer counts, since
//! an earlier one may belong to a final read that began again.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::experiment::{OwnSql, Returns, Statement};
use crate::model::{Begun, F, OpType, OpView, ValueView, Verdict};

use super::{Check, Checker, EXAMPLES_MAX, Found};

/// The checker of own statements.
#[derive(Debug)]
pub struct Own {
    returns: Vec<Returns>,
    uses_key: Vec<bool>,
    /// The last transition of each key that a statement uses.
    keys: BTreeMap<u64, (OpType, u64)>,
    answers: BTreeMap<u64, (u64, Vec<i64>)>,
    acknowledged: u64,
    failed: u64,
    unknown: u64,
    malformed: Option<String>,
}

impl Own {
    /// A checker of these statements.
    pub fn new(own: &OwnSql) -> Self {
        Own {
            returns: own.checks.iter().map(|check| check.returns).collect(),
            uses_key: own.statements.iter().map(Statement::uses_key).collect(),
            keys: BTreeMap::new(),
            answers: BTreeMap::new(),
            acknowledged: 0,
            failed: 0,
            unknown: 0,
            malformed: None,
        }
    }

    fn statement(&mut self, op: &OpView<'_>) {
        let ValueView::Statement { statement, key, .. } = op.value else {
            self.malformed.get_or_insert_with(|| format!("op {} is no statement", op.index));
            return;
        };
        match op.kind {
            OpType::Invoke => {}
            OpType::Ok => self.acknowledged += 1,
            OpType::Fail => self.failed += 1,
            OpType::Info => self.unknown += 1,
        }
        if self.uses_key.get(statement as usize) == Some(&true) {
            self.keys.insert(key, (op.kind, op.index));
        }
    }

    /// Holds the keys that a query returned against those that were written.
    fn judge_keys(&self, check: usize, asked: u64, found: &[i64], tally: &mut Tally) {
        let mut times: BTreeMap<u64, u64> = BTreeMap::new();
        for key in found.iter().filter(|key| **key > 0) {
            *times.entry(key.cast_unsigned()).or_default() += 1;
        }
        for (&key, &(kind, index)) in &self.keys {
            if kind == OpType::Ok && !times.contains_key(&key) {
                tally.found("lost", check, Some(key), "was acknowledged and is not there", &[index, asked]);
            }
        }
        for (&key, &count) in &times {
            match self.keys.get(&key) {
                None => tally.found("unexpected", check, Some(key), "is there and no statement wrote it", &[asked]),
                Some((OpType::Fail, index)) => {
                    tally.found("resurrected", check, Some(key), "is there, and its statement certainly failed", &[*index, asked]);
                }
                Some((_, index)) if count > 1 => {
                    tally.found("duplicated", check, Some(key), &format!("is there {count} times"), &[*index, asked]);
                }
                Some((OpType::Ok, _)) => {}
                Some(_) => tally.recovered += 1,
            }
        }
    }
}

impl Checker for Own {
    fn name(&self) -> &'static str {
        "sql"
    }

    fn op(&mut self, op: &OpView<'_>, begun: Option<&Begun>) {
        match (op.f, op.kind, op.value, begun) {
            (F::Sql, ..) => {
                // What was asked before the last statement does not tell how it ended.
                self.answers.clear();
                self.statement(op);
            }
            (F::SqlCheck, OpType::Ok, ValueView::Numbers(found), Some(begun)) => {
                self.answers.insert(begun.key, (op.index, found.to_vec()));
            }
            (F::SqlCheck, OpType::Ok, ..) => {
                self.malformed.get_or_insert_with(|| format!("op {} is a check without an answer", op.index));
            }
            _ => {}
        }
    }

    fn finish(self: Box<Self>) -> Check {
        if let Some(malformed) = &self.malformed {
            return Check::unknown("sql", format!("the history cannot be trusted: {malformed}"));
        }
        let mut tally = Tally::default();
        let mut unasked = 0_u64;
        for (check, returns) in self.returns.iter().enumerate() {
            match (self.answers.get(&(check as u64)), returns) {
                (None, _) => unasked += 1,
                (Some((asked, found)), Returns::Acknowledged) => self.judge_keys(check, *asked, found, &mut tally),
                (Some((asked, found)), Returns::Nothing) => {
                    let rows = found.first().copied().unwrap_or(0);
                    if rows != 0 {
                        tally.found("violated", check, None, &format!("returned {rows} rows and may return none"), &[*asked]);
                    }
                }
            }
        }
        let mut verdict = if tally.counts.values().any(|count| *count > 0) { Verdict::Invalid } else { Verdict::Valid };
        let mut evidence: Vec<String> = tally.counts.iter().map(|(class, count)| format!("{count} {class}")).collect();
        if unasked > 0 {
            verdict = verdict.merge(Verdict::Unknown);
            evidence.push(format!("{unasked} of {} checks were not asked after the last statement", self.returns.len()));
        }
        if self.acknowledged == 0 {
            verdict = verdict.merge(Verdict::Unknown);
            evidence.push("no statement was acknowledged, which decides nothing".to_owned());
        }
        evidence.push(format!("{} statements acknowledged, {} checks asked", self.acknowledged, self.returns.len() as u64 - unasked));
        let of = |class| tally.counts.get(class).copied().unwrap_or(0);
        Check {
            name: "sql",
            verdict,
            counts: IndexMap::from([
                ("acknowledged", self.acknowledged),
                ("failed", self.failed),
                ("unknown", self.unknown),
                ("recovered", tally.recovered),
                ("lost", of("lost")),
                ("duplicated", of("duplicated")),
                ("resurrected", of("resurrected")),
                ("unexpected", of("unexpected")),
                ("violated", of("violated")),
            ]),
            evidence,
            examples: tally.examples,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Tally {
    recovered: u64,
    counts: IndexMap<&'static str, u64>,
    examples: Vec<Found>,
}

impl Tally {
    fn found(&mut self, class: &'static str, check: usize, key: Option<u64>, what: &str, proof: &[u64]) {
        let count = self.counts.entry(class).or_default();
        *count += 1;
        if *count <= EXAMPLES_MAX as u64 {
            let about = key.map(|key| format!(": key {key}")).unwrap_or_default();
            let detail = format!("workload.sql.checks[{check}]{about} {what}");
            self.examples.push(Found { class, key, detail, proof: proof.to_vec(), cycle: Vec::new() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::HistoryBuilder;
    use crate::experiment::OwnCheck;
    use crate::model::Value;

    /// Statement 0 writes its key, statement 1 does not.
    fn judge(statements: &[(u32, u64, OpType)], keys: Option<&[i64]>, rows: i64) -> Check {
        let statement = |run: &str| Statement { run: run.to_owned(), weight: 1 };
        let check = |returns| OwnCheck { query: String::new(), returns };
        let own = OwnSql {
            setup: Vec::new(),
            statements: vec![statement("INSERT INTO t VALUES (@key)"), statement("UPDATE t SET a = @value")],
            checks: vec![check(Returns::Acknowledged), check(Returns::Nothing)],
        };
        let mut history = HistoryBuilder::new();
        for &(statement, key, kind) in statements {
            let process = history.process();
            let value = Value::Statement { statement, key, client: 1 };
            history.push(OpType::Invoke, process, F::Sql, value.clone(), None);
            history.push(kind, process, F::Sql, value, None);
        }
        let answers = [(0, keys.map(<[i64]>::to_vec)), (1, Some(vec![rows]))];
        for (number, answer) in answers.into_iter().filter_map(|(number, answer)| Some((number, answer?))) {
            let process = history.process();
            history.push(OpType::Invoke, process, F::SqlCheck, Value::Key(number), None);
            history.push(OpType::Ok, process, F::SqlCheck, Value::Numbers(answer), None);
        }
        let mut own = Own::new(&own);
        history.feed(|op, begun| own.op(op, begun));
        Box::new(own).finish()
    }

    #[test]
    fn acknowledged_keys_that_are_there_are_valid_and_those_of_unknown_outcome_may_be() {
        use OpType::{Fail, Info, Ok};
        let ops = [(0, 1, Ok), (1, 2, Ok), (0, 3, Fail), (0, 4, Info), (0, 5, Info)];
        let check = judge(&ops, Some(&[-7, 1, 4]), 0);
        assert_eq!((check.verdict, check.counts["recovered"]), (Verdict::Valid, 1), "{check:?}");
    }

    #[test]
    fn each_anomaly_is_found_and_proved_by_its_ops() {
        use OpType::{Fail, Ok};
        let ops = [(0, 1, Ok), (1, 2, Ok), (0, 3, Fail)];
        for (keys, rows, class, proof) in [
            (&[][..], 0, "lost", &[1, 7][..]),
            (&[1, 1], 0, "duplicated", &[1, 7]),
            (&[1, 2], 0, "unexpected", &[7]),
            (&[1, 3], 0, "resurrected", &[5, 7]),
            (&[1], 2, "violated", &[9]),
        ] {
            let check = judge(&ops, Some(keys), rows);
            assert_eq!((check.verdict, check.counts[class]), (Verdict::Invalid, 1), "{check:?}");
            assert_eq!((check.examples[0].class, check.examples[0].proof.as_slice()), (class, proof));
        }
    }

    #[test]
    fn what_was_not_asked_or_not_acknowledged_decides_nothing() {
        use OpType::{Fail, Ok};
        assert_eq!(judge(&[(0, 1, Ok)], None, 0).verdict, Verdict::Unknown);
        assert_eq!(judge(&[(0, 1, Fail)], Some(&[]), 0).verdict, Verdict::Unknown);
        assert_eq!(judge(&[(0, 1, Ok)], None, 1).verdict, Verdict::Invalid);
    }
}
