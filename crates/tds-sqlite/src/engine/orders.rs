//! What sessions ask of a database's writer, and the handle of the transaction that has it.

use super::catalog::Catalog;
use super::conn::{Done, Failed, Job};
use super::locks::Owner;
use crate::error::{SqlError, SqlResult};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use tokio::sync::oneshot;

/// Result of a statement.
pub type JobResult = Result<Done, Failed>;

/// An autocommit statement.
pub struct Auto {
    /// The statement.
    pub job: Job,
    /// Version of the catalog that it was translated for.
    pub version: u64,
    /// Answered after the commit.
    pub reply: oneshot::Sender<JobResult>,
}

/// What sessions send to the writer.
pub enum Msg {
    /// Autocommit.
    Auto(Box<Auto>),
    /// A transaction whose turn it is takes the writer.
    Begin(oneshot::Sender<TxHandle>),
    /// Commit what is pending and end the thread.
    Close,
}

/// What a session sends while it owns the writer.
pub enum TxOp {
    /// A statement.
    Run(Box<Job>, oneshot::Sender<JobResult>),
    /// A statement of a SNAPSHOT transaction that sees this many commits: it fails with 3960 where it changes a row that was changed since.
    RunSince(Box<Job>, u64, oneshot::Sender<JobResult>),
    /// SQLite statements as they are.
    Script(Vec<String>, oneshot::Sender<SqlResult<()>>),
    /// COMMIT, the catalog that goes with it, and the locks that it ends.
    Commit(Option<Arc<Catalog>>, Option<Owner>, oneshot::Sender<SqlResult<()>>),
    /// ROLLBACK.
    Rollback(oneshot::Sender<SqlResult<()>>),
}

/// Ownership of the writer; dropping it rolls back.
#[derive(Debug)]
pub struct TxHandle(pub Sender<TxOp>);

impl TxHandle {
    /// Sends an operation and waits for its answer.
    ///
    /// # Errors
    /// 1205 when the transaction is gone.
    pub async fn call<T>(&self, op: impl FnOnce(oneshot::Sender<T>) -> TxOp) -> SqlResult<T> {
        let (tx, rx) = oneshot::channel();
        self.0.send(op(tx)).map_err(|_| gone())?;
        rx.await.map_err(|_| gone())
    }
}

/// 1205 of a transaction that was ended behind its session's back.
pub fn gone() -> SqlError {
    SqlError::new(
        1205,
        "The transaction held its locks without a request for longer than the idle limit, was chosen as the deadlock victim and has been rolled back. Rerun the transaction.",
    )
    .class(13)
    .state(56)
}
