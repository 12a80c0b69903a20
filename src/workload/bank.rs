//! Transfers between accounts and reads of all balances: the total never changes, whatever is killed when.

use std::time::Duration;

use futures::future::BoxFuture;

use super::transaction::{Stopped, Transaction, not_begun};
use super::{Draws, Outcome, Workload};
use crate::measure::OpSink;
use crate::model::{F, Isolation, Value};
use crate::sql::{Param, Sent, Session, SqlError};

/// How many accounts there are, numbered from 0.
pub const ACCOUNTS: u32 = 16;
/// What each account holds at the start.
pub const OPENING_BALANCE: i64 = 1_000;

/// One op in this many is a read.
const READ_EVERY: u64 = 5;
const AMOUNT_MAX: u64 = 20;

const DEBIT: &str = "UPDATE dbo.bank SET balance = balance - @P2 WHERE id = @P1 AND balance >= @P2";
const CREDIT: &str = "UPDATE dbo.bank SET balance = balance + @P2 WHERE id = @P1";
// Shared for the whole statement: under READ COMMITTED without it, a row that was read may change before the last one is.
const READ: &str = "SELECT id, balance FROM dbo.bank WITH (TABLOCK, HOLDLOCK) ORDER BY id";

/// Moves money.
#[derive(Debug, Clone, Copy)]
pub struct Bank {
    isolation: Isolation,
}

impl Bank {
    /// Transfers in transactions of this level.
    pub fn new(isolation: Isolation) -> Self {
        Bank { isolation }
    }
}

impl Workload for Bank {
    fn draw(&self, draws: &mut Draws, _: &OpSink) -> (F, Value) {
        if draws.below(READ_EVERY) == 0 {
            return (F::BankRead, Value::None);
        }
        let account = |number: u64| u32::try_from(number).unwrap_or(0);
        let from = account(draws.below(u64::from(ACCOUNTS)));
        // Another account than the first: one of the others, counted from it.
        let step = 1 + account(draws.below(u64::from(ACCOUNTS) - 1));
        let amount = 1 + draws.below(AMOUNT_MAX).cast_signed();
        (F::BankTransfer, Value::Transfer { from, to: (from + step) % ACCOUNTS, amount })
    }

    fn perform<'a>(&'a self, session: &'a mut Session, value: &'a Value, limit: Duration) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match value {
                Value::Transfer { .. } => transfer(session, self.isolation, value, limit).await,
                _ => read(session, limit).await,
            }
        })
    }
}

/// Moves the amount, unless the account that pays holds less, or an account is missing.
async fn transfer(session: &mut Session, isolation: Isolation, value: &Value, limit: Duration) -> Outcome {
    let Value::Transfer { from, to, amount } = *value else { unreachable!("the bank draws transfers") };
    let mut transaction = match Transaction::begin(session, isolation, limit).await {
        Ok(transaction) => transaction,
        Err((error, _)) => return not_begun(&error, value.clone()),
    };
    match move_money(&mut transaction, from, to, amount).await {
        Ok(()) => transaction.commit(value.clone(), value.clone()).await,
        Err(stopped) => transaction.abandon(stopped, value.clone()).await,
    }
}

/// Everything between BEGIN and COMMIT.
async fn move_money(transaction: &mut Transaction<'_>, from: u32, to: u32, amount: i64) -> Result<(), Stopped> {
    let debit = [Param::I32(from.cast_signed()), Param::I64(amount)];
    let left = transaction.left();
    if transaction.session.execute(DEBIT, &debit, left).await? == 0 {
        return Err(Stopped::Declined(format!("account {from} holds less than {amount}")));
    }
    let credit = [Param::I32(to.cast_signed()), Param::I64(amount)];
    let left = transaction.left();
    if transaction.session.execute(CREDIT, &credit, left).await? == 0 {
        return Err(Stopped::Declined(format!("account {to} is missing")));
    }
    Ok(())
}

/// What every account holds, at one instant.
pub async fn balances(session: &mut Session, limit: Duration) -> Result<Vec<i64>, SqlError> {
    let rows = session.query_rows(READ, &[], limit).await?;
    rows.iter().map(|row| row.whole(1)).collect()
}

async fn read(session: &mut Session, limit: Duration) -> Outcome {
    match balances(session, limit).await {
        Ok(balances) => Outcome::ok(Value::Numbers(balances)),
        // A read changes nothing, so that an unanswered one certainly did not happen.
        Err(error) => Outcome::of_error(&error, Sent::BeforeCommit, Value::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Clock, Recorder};

    #[test]
    fn the_same_seed_draws_the_same_transfers_and_never_to_oneself() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let recorder = Recorder::create(dir.path(), Clock::start()).expect("a writable folder");
        let draw = |seed| {
            let mut draws = Draws::new(seed, 3);
            (0..500).map(|_| Bank::new(Isolation::ReadCommitted).draw(&mut draws, &recorder.sink())).collect::<Vec<_>>()
        };
        let ops = draw(1);
        assert_eq!(ops, draw(1));
        assert_ne!(ops, draw(2));
        let reads = ops.iter().filter(|(f, _)| *f == F::BankRead).count();
        // A fifth of 500 is 100 with a deviation of 9.
        assert!((55..145).contains(&reads), "{reads}");
        for (_, value) in ops {
            if let Value::Transfer { from, to, amount } = value {
                assert!(from != to && from < ACCOUNTS && to < ACCOUNTS && amount > 0);
            }
        }
    }
}
