//! Transfers between accounts and reads of all balances: the total never changes, whatever is killed when.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use super::{Draws, Outcome, Workload};
use crate::measure::OpSink;
use crate::model::{ErrorKind, F, OpError, OpType, Value};
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
pub struct Bank;

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
            match *value {
                Value::Transfer { from, to, amount } => transfer(session, from, to, amount, limit).await,
                _ => read(session, limit).await,
            }
        })
    }
}

/// The part of a limit that is left.
struct Remaining {
    end: Instant,
}

impl Remaining {
    fn of(limit: Duration) -> Self {
        Remaining { end: Instant::now() + limit }
    }

    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

/// How a transaction stopped before its COMMIT.
enum Stopped {
    Error(SqlError),
    TooPoor,
    /// A row that must be there was not.
    Missing(u32),
}

impl From<SqlError> for Stopped {
    fn from(error: SqlError) -> Self {
        Stopped::Error(error)
    }
}

async fn transfer(session: &mut Session, from: u32, to: u32, amount: i64, limit: Duration) -> Outcome {
    let value = Value::Transfer { from, to, amount };
    let remaining = Remaining::of(limit);
    let fail = |message: String| OpError { kind: ErrorKind::Server, number: None, message };
    let error = match move_money(session, from, to, amount, &remaining).await {
        Ok(()) => {
            return match session.batch("COMMIT TRAN", remaining.left()).await {
                Ok(_) => Outcome::ok(value),
                Err(error) => Outcome::of_error(&error, Sent::Commit, value),
            };
        }
        Err(Stopped::Error(error)) => error.classify(Sent::BeforeCommit).1,
        Err(Stopped::TooPoor) => fail(format!("account {from} holds less than {amount}")),
        Err(Stopped::Missing(account)) => fail(format!("account {account} is missing")),
    };
    // A rollback that fails closes the session, and the server rolls back with it.
    let open = session.is_open();
    if open && session.batch("IF @@TRANCOUNT > 0 ROLLBACK TRAN", remaining.left()).await.is_err() {
        session.close();
    }
    Outcome { kind: OpType::Fail, value, error: Some(error) }
}

/// Everything before the COMMIT.
async fn move_money(session: &mut Session, from: u32, to: u32, amount: i64, remaining: &Remaining) -> Result<(), Stopped> {
    session.batch("BEGIN TRAN", remaining.left()).await?;
    let debit = [Param::I32(from.cast_signed()), Param::I64(amount)];
    if session.execute(DEBIT, &debit, remaining.left()).await? == 0 {
        return Err(Stopped::TooPoor);
    }
    let credit = [Param::I32(to.cast_signed()), Param::I64(amount)];
    if session.execute(CREDIT, &credit, remaining.left()).await? == 0 {
        return Err(Stopped::Missing(to));
    }
    Ok(())
}

async fn read(session: &mut Session, limit: Duration) -> Outcome {
    let balances = async {
        let rows = session.query_rows(READ, &[], limit).await?;
        rows.iter().map(|row| row.whole(1)).collect::<Result<Vec<i64>, SqlError>>()
    };
    match balances.await {
        Ok(balances) => Outcome::ok(Value::Balances(balances)),
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
            (0..500).map(|_| Bank.draw(&mut draws, &recorder.sink())).collect::<Vec<_>>()
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
