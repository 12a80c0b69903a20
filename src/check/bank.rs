//! Transfers move money and make none: every snapshot holds every account with the total of the opening balances, and no account is below zero. The last snapshot is
//! that of the final read: what a fault tore shows there at the latest.

use indexmap::IndexMap;

use crate::model::{Begun, F, OpType, OpView, ValueView, Verdict};

use super::{Check, Checker, EXAMPLES_MAX, Found};

/// The bank checker.
#[derive(Debug)]
pub struct Bank {
    accounts: usize,
    total: i128,
    transfers: u64,
    snapshots: u64,
    read_at_end: bool,
    wrong_total: u64,
    negative: u64,
    missing: u64,
    examples: Vec<Found>,
    malformed: Option<u64>,
}

impl Bank {
    /// For so many accounts that each opened with this balance.
    pub fn holding(accounts: u32, opening: i64) -> Self {
        Bank {
            accounts: accounts as usize,
            total: i128::from(accounts) * i128::from(opening),
            transfers: 0,
            snapshots: 0,
            read_at_end: false,
            wrong_total: 0,
            negative: 0,
            missing: 0,
            examples: Vec::new(),
            malformed: None,
        }
    }

    fn snapshot(&mut self, index: u64, balances: &[i64]) {
        self.snapshots += 1;
        let total: i128 = balances.iter().map(|&balance| i128::from(balance)).sum();
        let (accounts, expected) = (self.accounts, self.total);
        let mut found = Vec::new();
        if balances.len() != accounts {
            self.missing += 1;
            found.push(("missing", self.missing, format!("{} accounts instead of {accounts}", balances.len())));
        }
        if total != expected {
            self.wrong_total += 1;
            found.push(("wrong-total", self.wrong_total, format!("the total is {total} instead of {expected}")));
        }
        if let Some(account) = balances.iter().position(|&balance| balance < 0) {
            self.negative += 1;
            found.push(("negative", self.negative, format!("account {account} is at {}", balances[account])));
        }
        for (class, nth, detail) in found {
            if nth <= EXAMPLES_MAX as u64 {
                self.examples.push(Found { class, key: None, detail, proof: vec![index], cycle: Vec::new() });
            }
        }
    }
}

impl Checker for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }

    fn op(&mut self, op: &OpView<'_>, _begun: Option<&Begun>) {
        match (op.f, op.kind, op.value) {
            (F::BankTransfer, OpType::Ok, _) => self.transfers += 1,
            (F::BankRead | F::BankFinal, OpType::Ok, ValueView::Numbers(balances)) => {
                self.read_at_end |= op.f == F::BankFinal;
                self.snapshot(op.index, balances);
            }
            (F::BankRead | F::BankFinal, OpType::Ok, _) => {
                self.malformed.get_or_insert(op.index);
            }
            _ => {}
        }
    }

    fn finish(self: Box<Self>) -> Check {
        if let Some(index) = self.malformed {
            return Check::unknown("bank", format!("the history cannot be trusted: op {index} is a snapshot without balances"));
        }
        let mut verdict = Verdict::Valid;
        let mut evidence = Vec::new();
        for (count, what) in [
            (self.wrong_total, "snapshots have another total"),
            (self.negative, "snapshots have a balance below zero"),
            (self.missing, "snapshots have another number of accounts"),
        ] {
            if count > 0 {
                verdict = Verdict::Invalid;
                evidence.push(format!("{count} {what}"));
            }
        }
        if self.transfers == 0 || !self.read_at_end {
            verdict = verdict.merge(Verdict::Unknown);
            let why = if self.transfers == 0 { "nothing was transferred" } else { "the accounts were not read in the end" };
            evidence.push(why.to_owned());
        }
        evidence.push(format!("{} snapshots read, {} transfers acknowledged", self.snapshots, self.transfers));
        Check {
            name: "bank",
            verdict,
            counts: IndexMap::from([
                ("transfers", self.transfers),
                ("snapshots", self.snapshots),
                ("wrongTotal", self.wrong_total),
                ("negative", self.negative),
                ("missing", self.missing),
            ]),
            evidence,
            examples: self.examples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::HistoryBuilder;
    use crate::model::Value;

    fn judge(snapshots: &[&[i64]]) -> Check {
        let mut history = HistoryBuilder::new();
        let process = history.process();
        let transfer = Value::Transfer { from: 0, to: 1, amount: 5 };
        history.push(OpType::Invoke, process, F::BankTransfer, transfer.clone(), None);
        history.push(OpType::Ok, process, F::BankTransfer, transfer, None);
        for (at, snapshot) in snapshots.iter().enumerate() {
            let process = history.process();
            let f = if at + 1 == snapshots.len() { F::BankFinal } else { F::BankRead };
            history.push(OpType::Invoke, process, f, Value::None, None);
            let balances = Value::Numbers(snapshot.to_vec());
            history.push(OpType::Ok, process, f, balances, None);
        }
        let mut bank = Bank::holding(3, 10);
        history.feed(|op, begun| bank.op(op, begun));
        Box::new(bank).finish()
    }

    #[test]
    fn money_that_only_moves_is_valid() {
        let check = judge(&[&[10, 10, 10], &[5, 15, 10], &[0, 20, 10]]);
        assert_eq!(check.verdict, Verdict::Valid);
        assert_eq!(check.counts["snapshots"], 3);
    }

    #[test]
    fn each_anomaly_is_found_and_proved_by_the_snapshot() {
        for (last, class) in [(&[5, 10, 10][..], "wrong-total"), (&[-1, 21, 10][..], "negative"), (&[20, 10][..], "missing")] {
            let check = judge(&[&[10, 10, 10], last]);
            assert_eq!(check.verdict, Verdict::Invalid, "{class}");
            assert_eq!(check.examples[0].class, class);
            assert_eq!(check.examples[0].proof, [5]);
        }
    }

    /// What every account opened with is known, so that the first snapshot can be wrong as well.
    #[test]
    fn money_that_was_gone_before_anybody_looked_is_missed() {
        let check = judge(&[&[5, 10, 10], &[5, 10, 10]]);
        assert_eq!((check.verdict, check.counts["wrongTotal"]), (Verdict::Invalid, 2));
    }

    #[test]
    fn a_bank_that_nobody_read_in_the_end_is_unknown() {
        assert_eq!(judge(&[]).verdict, Verdict::Unknown);
        let mut bank = Bank::holding(3, 10);
        bank.transfers = 1;
        bank.snapshot(0, &[10, 10, 10]);
        assert_eq!(Box::new(bank).finish().verdict, Verdict::Unknown);
    }
}
