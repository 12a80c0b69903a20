//! A queue: items that are put in once and taken out at most once, whoever crashes in between.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::future::BoxFuture;

use super::{Draws, Outcome, Workload};
use crate::measure::OpSink;
use crate::model::{ErrorKind, F, Isolation, OpError, OpType, Value};
use crate::sql::{Param, Sent, Session, SqlError};

/// The place in the queue is the engine's to give, and an item is not unique in the table: a second row of one item must be able to show.
const ENQUEUE: &str = "INSERT INTO dbo.queue (item) VALUES (@P1)";
/// ROWLOCK keeps SQL Server from locking a whole page of other items for one row of them. READPAST takes the next item where another client is about to take the first,
/// in place of waiting for it; SQL Server refuses it at the levels that lock ranges or versions (error 650), where clients wait for each other or conflict.
const DEQUEUE: &str = "DELETE TOP (1) FROM dbo.queue WITH (ROWLOCK) OUTPUT deleted.item";
const DEQUEUE_PAST_LOCKED: &str = "DELETE TOP (1) FROM dbo.queue WITH (ROWLOCK, READPAST) OUTPUT deleted.item";
const LEFT: &str = "SELECT item FROM dbo.queue ORDER BY place";

/// Of so many ops so many put an item in: a few more than take one out, so that something is left at the end.
const ENQUEUES: (u64, u64) = (5, 9);

/// Enqueues and dequeues.
#[derive(Debug)]
pub struct Queue {
    dequeue: &'static str,
    /// Items are handed out densely across all clients.
    items: AtomicU64,
}

impl Queue {
    /// A queue beside transactions of this level, which stays with a session after them.
    pub fn new(isolation: Isolation) -> Self {
        let dequeue = match isolation {
            Isolation::ReadCommitted | Isolation::RepeatableRead => DEQUEUE_PAST_LOCKED,
            Isolation::Snapshot | Isolation::Serializable => DEQUEUE,
        };
        Queue { dequeue, items: AtomicU64::new(0) }
    }

    async fn run(&self, session: &mut Session, value: &Value, limit: Duration) -> Outcome {
        // Each is one statement that is its own commit: once it was sent, only a definite answer tells.
        let of_error = |error: SqlError| Outcome::of_error(&error, Sent::Commit, value.clone());
        if let Value::Key(item) = *value {
            let put = session.execute(ENQUEUE, &[Param::I64(item.cast_signed())], limit).await;
            return put.map_or_else(of_error, |_| Outcome::ok(value.clone()));
        }
        let taken = session.query_rows(self.dequeue, &[], limit).await;
        match taken.and_then(|rows| rows.first().map(|row| row.whole(0)).transpose()) {
            Ok(Some(item)) => Outcome::ok(Value::Key(item.cast_unsigned())),
            Ok(None) => {
                let error = OpError { kind: ErrorKind::Declined, number: None, message: "the queue is empty".to_owned() };
                Outcome { kind: OpType::Fail, value: value.clone(), error: Some(error) }
            }
            Err(error) => of_error(error),
        }
    }
}

/// What is in the queue, first in first.
pub(super) async fn left(session: &mut Session, limit: Duration) -> Result<Vec<i64>, SqlError> {
    session.query_rows(LEFT, &[], limit).await?.iter().map(|row| row.whole(0)).collect()
}

impl Workload for Queue {
    fn draw(&self, draws: &mut Draws, _: &OpSink) -> (F, Value) {
        if draws.below(ENQUEUES.1) < ENQUEUES.0 {
            (F::Enqueue, Value::Key(self.items.fetch_add(1, Relaxed) + 1))
        } else {
            (F::Dequeue, Value::None)
        }
    }

    fn perform<'a>(&'a self, session: &'a mut Session, value: &'a Value, limit: Duration) -> BoxFuture<'a, Outcome> {
        Box::pin(self.run(session, value, limit))
    }
}
