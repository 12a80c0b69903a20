//! Reads, writes and compare-and-sets of a few registers: every read must return the latest content, also after a failover.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use futures::future::BoxFuture;

use super::{Draws, Outcome, Workload};
use crate::measure::OpSink;
use crate::model::{ErrorKind, F, OpError, OpType, Value};
use crate::sql::{Param, Sent, Session, SqlError};

/// How many registers there are, numbered from 0.
pub const REGISTERS: u64 = 5;
/// What each register holds at the start.
pub const OPENING_CONTENT: i64 = 0;
/// A register that is not there reads as this, which nobody writes.
const MISSING: i64 = -1;

const READ: &str = "SELECT content FROM dbo.register WHERE id = @P1";
const WRITE: &str = "UPDATE dbo.register SET content = @P2 WHERE id = @P1";
const CAS: &str = "UPDATE dbo.register SET content = @P3 WHERE id = @P1 AND content = @P2";

/// Reads and writes.
#[derive(Debug, Default)]
pub struct Register {
    /// Contents are handed out densely across all clients, so that each tells who wrote it.
    written: AtomicI64,
    /// What was last seen in each register: a compare-and-set that expects it often succeeds.
    seen: [AtomicI64; REGISTERS as usize],
}

impl Register {
    /// Registers that nobody has written.
    pub fn new() -> Self {
        Self::default()
    }

    fn see(&self, key: u64, content: i64) {
        if let Some(seen) = usize::try_from(key).ok().and_then(|key| self.seen.get(key)) {
            seen.store(content, Relaxed);
        }
    }

    async fn run(&self, session: &mut Session, value: &Value, limit: Duration) -> Outcome {
        match *value {
            Value::Register { key, value: None } => match read(session, key, limit).await {
                Ok(content) => {
                    self.see(key, content);
                    Outcome::ok(Value::Register { key, value: Some(content) })
                }
                // A read changes nothing, so that an unanswered one certainly did not happen.
                Err(error) => Outcome::of_error(&error, Sent::BeforeCommit, value.clone()),
            },
            Value::Register { key, value: Some(content) } => {
                let params = [Param::I64(key.cast_signed()), Param::I64(content)];
                self.write(session, WRITE, &params, value, limit).await
            }
            Value::Cas { key, expected, new } => {
                let params = [Param::I64(key.cast_signed()), Param::I64(expected), Param::I64(new)];
                self.write(session, CAS, &params, value, limit).await
            }
            _ => unreachable!("the workload draws ops on registers"),
        }
    }

    /// One statement that is its own commit.
    async fn write(&self, session: &mut Session, sql: &str, params: &[Param<'_>], value: &Value, limit: Duration) -> Outcome {
        match session.execute(sql, params, limit).await {
            Ok(0) => {
                let message = "the register does not hold what was expected".to_owned();
                let error = OpError { kind: ErrorKind::Declined, number: None, message };
                Outcome { kind: OpType::Fail, value: value.clone(), error: Some(error) }
            }
            Ok(_) => {
                if let Value::Register { key, value: Some(content) } | Value::Cas { key, new: content, .. } = *value {
                    self.see(key, content);
                }
                Outcome::ok(value.clone())
            }
            Err(error) => Outcome::of_error(&error, Sent::Commit, value.clone()),
        }
    }
}

/// What a register holds.
pub(super) async fn read(session: &mut Session, key: u64, limit: Duration) -> Result<i64, SqlError> {
    let rows = session.query_rows(READ, &[Param::I64(key.cast_signed())], limit).await?;
    rows.first().map_or(Ok(MISSING), |row| row.whole(0))
}

impl Workload for Register {
    fn draw(&self, draws: &mut Draws, _: &OpSink) -> (F, Value) {
        let key = draws.below(REGISTERS);
        let content = || self.written.fetch_add(1, Relaxed) + 1;
        match draws.below(4) {
            0 | 1 => (F::RegisterRead, Value::Register { key, value: None }),
            2 => (F::RegisterWrite, Value::Register { key, value: Some(content()) }),
            _ => {
                let expected =
                    usize::try_from(key).ok().and_then(|key| self.seen.get(key)).map_or(OPENING_CONTENT, |seen| seen.load(Relaxed));
                (F::RegisterCas, Value::Cas { key, expected, new: content() })
            }
        }
    }

    fn perform<'a>(&'a self, session: &'a mut Session, value: &'a Value, limit: Duration) -> BoxFuture<'a, Outcome> {
        Box::pin(self.run(session, value, limit))
    }
}
