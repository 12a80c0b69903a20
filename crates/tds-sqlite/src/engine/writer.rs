//! The one writer of a database: a thread that owns the only writing connection.
//!
//! **Group commit.** Autocommit statements that are waiting are run one after the other, each under a savepoint, inside one SQLite transaction, and are
//! acknowledged together after its one fsync. A statement that fails is rolled back to its savepoint and harms no other. **Explicit transactions** own the
//! writer from their first write to their end; the group before them is committed first. One that stays idle for longer than the limit is rolled back.
//!
//! **lose-acked** (`--sabotage`): acknowledgements go out before the commit, which follows [`LOSE_DELAY`] later. A SIGKILL in between loses them.

use super::catalog::Catalog;
use super::conn::{Conn, Done, Failed, Job};
use crate::error::{SqlError, SqlResult};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long `lose-acked` sits on what it acknowledged.
pub const LOSE_DELAY: Duration = Duration::from_millis(60);
/// Statements in one group at most, so that nobody waits for a commit that never comes.
const GROUP_MAX: usize = 512;
/// How long one group may collect.
const GROUP_TIME: Duration = Duration::from_millis(10);

/// A waiting statement's state: who gets there first decides.
pub mod claim {
    /// In the queue.
    pub const QUEUED: u8 = 0;
    /// The writer has it.
    pub const RUNNING: u8 = 1;
    /// The session gave it up.
    pub const GIVEN_UP: u8 = 2;
}

/// Result of a statement.
pub type JobResult = Result<Done, Failed>;

/// An autocommit statement.
pub struct Auto {
    /// The statement.
    pub job: Job,
    /// Version of the catalog that it was translated for.
    pub version: u64,
    /// See [`claim`].
    pub claim: Arc<AtomicU8>,
    /// Answered after the commit.
    pub reply: oneshot::Sender<JobResult>,
}

/// What sessions send to the writer.
pub enum Msg {
    /// Autocommit.
    Auto(Box<Auto>),
    /// Wants the writer; the handle comes back when it is its turn.
    Begin(oneshot::Sender<TxHandle>),
    /// Commit what is pending and end the thread.
    Close,
}

/// What a session sends while it owns the writer.
pub enum TxOp {
    /// A statement.
    Run(Box<Job>, oneshot::Sender<JobResult>),
    /// SQLite statements as they are.
    Script(Vec<String>, oneshot::Sender<SqlResult<()>>),
    /// COMMIT, and the catalog that goes with it.
    Commit(Option<Arc<Catalog>>, oneshot::Sender<SqlResult<()>>),
    /// ROLLBACK.
    Rollback(oneshot::Sender<SqlResult<()>>),
}

/// Ownership of the writer; dropping it rolls back.
#[derive(Debug)]
pub struct TxHandle(Sender<TxOp>);

impl TxHandle {
    /// Sends an operation and waits for its answer.
    ///
    /// # Errors
    /// 1205 when the transaction is gone: it was idle for too long.
    pub async fn call<T>(&self, op: impl FnOnce(oneshot::Sender<T>) -> TxOp) -> SqlResult<T> {
        let (tx, rx) = oneshot::channel();
        self.0.send(op(tx)).map_err(|_| gone())?;
        rx.await.map_err(|_| gone())
    }
}

fn gone() -> SqlError {
    SqlError::new(
        1205,
        "The transaction held its locks without a request for longer than the idle limit, was chosen as the deadlock victim and has been rolled back. Rerun the transaction.",
    )
    .class(13)
    .state(56)
}

/// Settings of a writer.
pub struct Settings {
    /// Longest pause between two requests of an explicit transaction.
    pub idle: Duration,
    /// `--sabotage lose-acked`.
    pub lose_acked: bool,
    /// Told when the storage failed during a commit; the process must end.
    pub fatal: tokio::sync::mpsc::Sender<String>,
    /// The published catalog.
    pub catalog: Arc<RwLock<Arc<Catalog>>>,
}

struct Writer {
    conn: Conn,
    rx: Receiver<Msg>,
    set: Settings,
    open: bool,
    opened: Instant,
    waiting: Vec<(oneshot::Sender<JobResult>, JobResult)>,
    broken: bool,
    /// The last message has come: what is open is committed, and the writer ends.
    closing: bool,
}

/// Runs the writer until [`Msg::Close`] or until every sender is gone.
pub fn run(conn: Conn, rx: Receiver<Msg>, set: Settings) {
    let mut w = Writer { conn, rx, set, open: false, opened: Instant::now(), waiting: vec![], broken: false, closing: false };
    while !w.broken && !w.closing {
        let Some(msg) = w.next() else { break };
        match msg {
            Msg::Auto(a) => w.group(*a),
            Msg::Begin(reply) => w.explicit(reply),
            Msg::Close => break,
        }
    }
    w.commit();
    if !w.broken {
        let _ = w.conn.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    }
}

impl Writer {
    fn next(&mut self) -> Option<Msg> {
        loop {
            if !self.open {
                return self.rx.recv().ok();
            }
            // Only under lose-acked is a transaction open here.
            let due = (self.opened + LOSE_DELAY).saturating_duration_since(Instant::now());
            match self.rx.recv_timeout(due) {
                Ok(m) => return Some(m),
                Err(RecvTimeoutError::Timeout) => self.commit(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn begin(&mut self) -> SqlResult<()> {
        if !self.open {
            self.conn.exec("BEGIN IMMEDIATE")?;
            self.open = true;
            self.opened = Instant::now();
        }
        Ok(())
    }

    /// Commits the open transaction and acknowledges everything in it.
    fn commit(&mut self) {
        if self.open {
            self.open = false;
            if let Err(e) = self.conn.exec("COMMIT") {
                let _ = self.conn.exec("ROLLBACK");
                if e.number != 1105 {
                    self.fail(&e);
                    return;
                }
                for (reply, _) in self.waiting.drain(..) {
                    let _ = reply.send(Err(e.clone().into()));
                }
                return;
            }
        }
        for (reply, result) in self.waiting.drain(..) {
            let _ = reply.send(result);
        }
    }

    /// Whether a commit took place is unknown: nobody is answered, and the process ends.
    fn fail(&mut self, e: &SqlError) {
        self.broken = true;
        self.waiting.clear();
        let _ = self.set.fatal.blocking_send(e.to_string());
    }

    fn group(&mut self, first: Auto) {
        let start = Instant::now();
        self.auto(first);
        while !self.broken && self.waiting.len() < GROUP_MAX && start.elapsed() < GROUP_TIME {
            match self.rx.try_recv() {
                Ok(Msg::Auto(a)) => self.auto(*a),
                Ok(Msg::Begin(reply)) => {
                    self.settle();
                    return self.explicit(reply);
                }
                // Taken here, it is not seen by the loop that hands messages out, so it is remembered.
                Ok(Msg::Close) => {
                    self.closing = true;
                    break;
                }
                Err(_) => break,
            }
        }
        self.settle();
    }

    /// Ends a group: a commit, unless sabotage leaves it for later.
    fn settle(&mut self) {
        if self.set.lose_acked && self.opened.elapsed() < LOSE_DELAY {
            for (reply, result) in self.waiting.drain(..) {
                let _ = reply.send(result);
            }
        } else {
            self.commit();
        }
    }

    fn auto(&mut self, mut a: Auto) {
        if a.claim.compare_exchange(claim::QUEUED, claim::RUNNING, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return;
        }
        let current = self.set.catalog.read().map_or(0, |c| c.version);
        if current != a.version {
            let _ = a.reply.send(Err(Failed { stale: true, ..SqlError::new(0, "stale").into() }));
            return;
        }
        let result = match self.begin().and_then(|()| self.conn.exec("SAVEPOINT a")) {
            Err(e) => Err(e.into()),
            Ok(()) => {
                let r = self.conn.run(&mut a.job);
                self.close_savepoint(r)
            }
        };
        if self.open && self.conn.db.is_autocommit() {
            // SQLite gave the whole transaction up (disk full, I/O error): nothing in it happened, and nobody in it has been answered.
            self.open = false;
            let e = result.as_ref().err().map_or_else(|| SqlError::new(823, "I/O error").class(24), |f| f.error.clone());
            for (reply, _) in self.waiting.drain(..) {
                let _ = reply.send(Err(e.clone().into()));
            }
        }
        self.waiting.push((a.reply, result));
    }

    fn close_savepoint(&mut self, r: JobResult) -> JobResult {
        if r.is_err() {
            if self.conn.db.is_autocommit() {
                return r;
            }
            if let Err(e) = self.conn.exec("ROLLBACK TO a") {
                return Err(e.into());
            }
        }
        match self.conn.exec("RELEASE a") {
            Ok(()) => r,
            Err(e) => Err(e.into()),
        }
    }

    /// Hands the writer to one session until it commits, rolls back, goes away or stays idle.
    fn explicit(&mut self, reply: oneshot::Sender<TxHandle>) {
        let (tx, rx) = channel();
        if self.begin().and_then(|()| self.conn.exec("SAVEPOINT tx")).is_err() {
            return;
        }
        if reply.send(TxHandle(tx)).is_err() {
            return self.end();
        }
        loop {
            match rx.recv_timeout(self.set.idle) {
                Ok(TxOp::Run(mut job, reply)) => {
                    let r = match self.conn.exec("SAVEPOINT a") {
                        Ok(()) => {
                            let r = self.conn.run(&mut job);
                            self.close_savepoint(r)
                        }
                        Err(e) => Err(e.into()),
                    };
                    let lost = self.conn.db.is_autocommit();
                    let _ = reply.send(r);
                    if lost {
                        self.open = false;
                        return;
                    }
                }
                Ok(TxOp::Script(list, reply)) => {
                    let _ = reply.send(list.iter().try_for_each(|s| self.conn.exec(s)));
                }
                Ok(TxOp::Commit(catalog, reply)) => return self.commit_explicit(catalog, reply),
                Ok(TxOp::Rollback(reply)) => {
                    self.end();
                    let _ = reply.send(Ok(()));
                    return;
                }
                Err(_) => return self.end(),
            }
        }
    }

    fn commit_explicit(&mut self, catalog: Option<Arc<Catalog>>, reply: oneshot::Sender<SqlResult<()>>) {
        if let Err(e) = self.conn.exec("RELEASE tx") {
            self.end();
            let _ = reply.send(Err(e));
            return;
        }
        if !self.set.lose_acked {
            self.open = false;
            if let Err(e) = self.conn.exec("COMMIT") {
                let _ = self.conn.exec("ROLLBACK");
                if e.number == 1105 {
                    let _ = reply.send(Err(e));
                } else {
                    self.fail(&e);
                }
                return;
            }
        }
        if let (Some(c), Ok(mut slot)) = (catalog, self.set.catalog.write()) {
            *slot = c;
        }
        let _ = reply.send(Ok(()));
    }

    fn end(&mut self) {
        if self.open {
            let _ = self.conn.exec("ROLLBACK TO tx");
            let _ = self.conn.exec("RELEASE tx");
        }
        if !self.set.lose_acked {
            self.open = false;
            let _ = self.conn.exec("ROLLBACK");
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::sync_channel;

    use super::super::conn::Sink;
    use super::super::functions::Facts;
    use super::*;
    use crate::translate::{Kind, Translated};

    /// A server that knows of nothing.
    struct Nothing;

    impl Facts for Nothing {
        fn db_id(&self, _: &str) -> Option<i64> {
            None
        }
        fn db_name(&self, _: i64) -> Option<String> {
            None
        }
        fn object_id(&self, _: &str, _: &str, _: &str) -> Option<i64> {
            None
        }
        fn object_name(&self, _: &str, _: i64) -> Option<String> {
            None
        }
        fn server_property(&self, _: &str) -> Option<String> {
            None
        }
        fn db_property(&self, _: &str, _: &str) -> Option<String> {
            None
        }
        fn next_identity(&self, _: i64) -> Option<i64> {
            None
        }
    }

    /// A statement that its session has given up: the writer takes it from the queue, which begins a group, and runs nothing.
    fn given_up() -> Msg {
        let stmt = Translated {
            kind: Kind::Insert,
            db: None,
            sql: String::new(),
            params: Vec::new(),
            columns: Vec::new(),
            assigns: Vec::new(),
            cacheable: false,
            lock: false,
            target: None,
            probes: Vec::new(),
            probe_columns: Vec::new(),
        };
        let job = Job { stmt: Arc::new(stmt), values: Vec::new(), sink: Sink::Last, cancel: Arc::new(AtomicBool::new(false)) };
        Msg::Auto(Box::new(Auto { job, version: 0, claim: Arc::new(AtomicU8::new(claim::GIVEN_UP)), reply: oneshot::channel().0 }))
    }

    /// Both messages wait before the writer begins, so the order to end is always taken inside the group. The sender stays, as it does in a server, so that
    /// nothing but the order ends the writer. A writer that missed it waits for ever: ten seconds say no more than that it ended at all.
    #[test]
    fn an_order_to_end_that_arrives_behind_a_statement_is_obeyed() {
        let dir = tempfile::tempdir().unwrap();
        let conn = Conn::open(&dir.path().join("t.mdf"), true, Arc::new(Nothing)).unwrap();
        let set =
            Settings { idle: Duration::from_secs(60), lose_acked: false, fatal: tokio::sync::mpsc::channel(1).0, catalog: Arc::default() };
        let (queue, rx) = channel();
        queue.send(given_up()).unwrap();
        queue.send(Msg::Close).unwrap();
        let (ended, wait) = sync_channel(1);
        std::thread::spawn(move || {
            run(conn, rx, set);
            let _ = ended.send(());
        });
        assert!(wait.recv_timeout(Duration::from_secs(10)).is_ok(), "the writer still waits");
        drop(queue);
    }
}
