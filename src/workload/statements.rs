//! The user's own statements, each in a transaction of its own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::future::BoxFuture;

use super::ledger::Payload;
use super::transaction::{Transaction, not_begun};
use super::{Draws, Outcome, Workload};
use crate::experiment::{OwnCheck, OwnSql, Returns};
use crate::measure::OpSink;
use crate::model::{F, Isolation, Value};
use crate::sql::{Param, Session, SqlError};

/// What every statement may use, whether it does or not.
const PARAMETERS: &str = "DECLARE @key BIGINT = @P1, @client INT = @P2, @value BIGINT = @P3, @text NVARCHAR(100) = @P4;\n";

const VALUE_BELOW: u64 = 1_000_000;
const TEXT_LETTERS: usize = 40;

/// Runs the statements by their weights.
#[derive(Debug)]
pub struct Statements {
    /// Each with the upper end of its part of the total.
    statements: Vec<(u64, String)>,
    total: u64,
    isolation: Isolation,
    seed: u64,
    keys: AtomicU64,
}

impl Statements {
    /// The statements of an experiment, in transactions of this level. `@value` and `@text` come from the seed and the key.
    pub fn new(own: &OwnSql, isolation: Isolation, seed: u64) -> Self {
        let mut total = 0;
        let statements = own.statements.iter().map(|statement| {
            total += u64::from(statement.weight);
            (total, format!("{PARAMETERS}{}", statement.run))
        });
        Statements { statements: statements.collect(), total, isolation, seed, keys: AtomicU64::new(0) }
    }

    async fn run(&self, session: &mut Session, value: &Value, limit: Duration) -> Outcome {
        let Value::Statement { statement, key, client } = *value else { unreachable!("the workload draws statements") };
        let (_, text) = &self.statements[statement as usize];
        let mut transaction = match Transaction::begin(session, self.isolation, limit).await {
            Ok(transaction) => transaction,
            Err((error, _)) => return not_begun(&error, value.clone()),
        };
        match self.execute(&mut transaction, text, key, client).await {
            Ok(_) => transaction.commit(value.clone(), value.clone()).await,
            Err(error) => transaction.abandon(error.into(), value.clone()).await,
        }
    }

    async fn execute(&self, transaction: &mut Transaction<'_>, text: &str, key: u64, client: u64) -> Result<u64, SqlError> {
        let payload = Payload::of(self.seed, key);
        let letters = String::from_utf8_lossy(&payload.bytes()[..TEXT_LETTERS]);
        let drawn = Draws::new(self.seed, key).below(VALUE_BELOW);
        let params = [
            Param::I64(key.cast_signed()),
            Param::I32(i32::try_from(client).unwrap_or(i32::MAX)),
            Param::I64(drawn.cast_signed()),
            Param::Text(&letters),
        ];
        let left = transaction.left();
        transaction.session.execute(text, &params, left).await
    }
}

/// What a check's query returns: the keys of its first column, or how many rows there are where there should be none.
pub(super) async fn ask(session: &mut Session, check: &OwnCheck, limit: Duration) -> Result<Vec<i64>, SqlError> {
    let rows = session.query_rows(&check.query, &[], limit).await?;
    match check.returns {
        Returns::Acknowledged => rows.iter().map(|row| row.whole(0)).collect(),
        Returns::Nothing => Ok(vec![i64::try_from(rows.len()).unwrap_or(i64::MAX)]),
    }
}

impl Workload for Statements {
    fn draw(&self, draws: &mut Draws, _: &OpSink) -> (F, Value) {
        let at = draws.below(self.total);
        let statement = self.statements.partition_point(|(end, _)| *end <= at);
        let key = self.keys.fetch_add(1, Relaxed) + 1;
        (F::Sql, Value::Statement { statement: u32::try_from(statement).unwrap_or(u32::MAX), key, client: draws.stream() })
    }

    fn perform<'a>(&'a self, session: &'a mut Session, value: &'a Value, limit: Duration) -> BoxFuture<'a, Outcome> {
        Box::pin(self.run(session, value, limit))
    }
}
