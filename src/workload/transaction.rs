//! What explicit transactions have in common: their isolation level, the time that is left to them, and how they end without a commit.

use std::time::{Duration, Instant};

use super::Outcome;
use crate::model::{ErrorKind, Isolation, OpError, OpType, Value};
use crate::sql::{Sent, Session, SqlError};

/// A transaction that has begun, and the part of its op's limit that is left.
pub(super) struct Transaction<'a> {
    pub(super) session: &'a mut Session,
    end: Instant,
}

/// How a transaction stopped before its COMMIT.
pub(super) enum Stopped {
    /// The server or the connection.
    Error(SqlError),
    /// The client itself, and why.
    Declined(String),
}

impl From<SqlError> for Stopped {
    fn from(error: SqlError) -> Self {
        Stopped::Error(error)
    }
}

impl<'a> Transaction<'a> {
    /// Begins one. The level stays with the session, and every transaction sets it again, since a session may be new.
    pub(super) async fn begin(
        session: &'a mut Session,
        isolation: Isolation,
        limit: Duration,
    ) -> Result<Self, (SqlError, &'a mut Session)> {
        let end = Instant::now() + limit;
        let sql = match isolation {
            Isolation::ReadCommitted => "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN TRAN",
            Isolation::RepeatableRead => "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; BEGIN TRAN",
            Isolation::Snapshot => "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN",
            Isolation::Serializable => "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; BEGIN TRAN",
        };
        match session.batch(sql, limit).await {
            Ok(_) => Ok(Transaction { session, end }),
            Err(error) => Err((error, session)),
        }
    }

    pub(super) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Commits; once that was sent, only a definite answer tells.
    pub(super) async fn commit(self, value: Value, argument: Value) -> Outcome {
        let left = self.left();
        match self.session.batch("COMMIT TRAN", left).await {
            Ok(_) => Outcome::ok(value),
            Err(error) => {
                let outcome = Outcome::of_error(&error, Sent::Commit, argument);
                self.clear().await;
                outcome
            }
        }
    }

    /// Rolls back, and says why.
    pub(super) async fn abandon(self, stopped: Stopped, argument: Value) -> Outcome {
        let error = match stopped {
            Stopped::Error(error) => error.classify(Sent::BeforeCommit).1,
            Stopped::Declined(message) => OpError { kind: ErrorKind::Declined, number: None, message },
        };
        self.clear().await;
        Outcome { kind: OpType::Fail, value: argument, error: Some(error) }
    }

    /// Leaves the session without a transaction. A rollback that fails closes it, and the server rolls back with it.
    async fn clear(self) {
        let left = self.left();
        if self.session.is_open() && self.session.batch("IF @@TRANCOUNT > 0 ROLLBACK TRAN", left).await.is_err() {
            self.session.close();
        }
    }
}

/// The outcome of a transaction that could not begin: it certainly did not happen.
pub(super) fn not_begun(error: &SqlError, argument: Value) -> Outcome {
    let error = error.classify(Sent::BeforeCommit).1;
    Outcome { kind: OpType::Fail, value: argument, error: Some(error) }
}
