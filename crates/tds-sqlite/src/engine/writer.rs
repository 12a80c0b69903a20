//! The one writer of a database: a thread that owns the only writing connection.
//!
//! **Group commit.** Autocommit statements that are waiting are run one after the other, each under a savepoint, inside one SQLite transaction, and are
//! acknowledged together after its one fsync. A statement that fails is rolled back to its savepoint and harms no other. **Explicit transactions** own the
//! writer from their first write to their end; the group before them is committed first. Whose turn it is, and what may be written when, `locks` decides.
//!
//! **Planted defects** (`--sabotage`): under those that acknowledge early, acknowledgements go out before the commit, which follows [`LOSE_DELAY`] later;
//! a SIGKILL in between loses them. The others are marked where they change what is done.

use super::cache::VolatileCache;
use super::catalog::Catalog;
use super::changes::{Changes, update_conflict};
use super::conn::{Conn, Failed, Job, storage_io};
use super::locks::Owner;
use super::orders::{Auto, JobResult, Msg, TxHandle, TxOp};
use super::planted::{CRASH_AFTER, Planted};
use crate::error::{SqlError, SqlResult};
use crate::sabotage::Sabotage;
use crate::translate::Kind;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long `lose-acked` and `ack-then-crash` sit on what they acknowledged.
pub const LOSE_DELAY: Duration = Duration::from_millis(60);
/// Statements in one group at most, so that nobody waits for a commit that never comes.
const GROUP_MAX: usize = 512;
/// How long one group may collect.
const GROUP_TIME: Duration = Duration::from_millis(10);

/// Settings of a writer.
pub struct Settings {
    /// The planted defect.
    pub sabotage: Option<Sabotage>,
    /// Told when the storage failed during a commit; the process must end.
    pub fatal: tokio::sync::mpsc::Sender<String>,
    /// The published catalog.
    pub catalog: Arc<RwLock<Arc<Catalog>>>,
    /// The database's commits.
    pub changes: Arc<Changes>,
    /// The cache that dies with the process, where it does.
    pub cache: Option<VolatileCache>,
}

impl Settings {
    fn has(&self, mode: Sabotage) -> bool {
        self.sabotage == Some(mode)
    }

    fn acknowledges_early(&self) -> bool {
        self.sabotage.is_some_and(Sabotage::acknowledges_early)
    }
}

pub(super) struct Writer {
    pub(super) conn: Conn,
    pub(super) rx: Receiver<Msg>,
    set: Settings,
    open: bool,
    opened: Instant,
    waiting: Vec<(oneshot::Sender<JobResult>, JobResult)>,
    broken: bool,
    /// The last message has come: what is open is committed, and the writer ends.
    closing: bool,
    pub(super) planted: Planted,
}

/// Runs the writer until [`Msg::Close`] or until every sender is gone.
pub fn run(conn: Conn, rx: Receiver<Msg>, set: Settings) {
    let mut w = Writer {
        conn,
        rx,
        set,
        open: false,
        opened: Instant::now(),
        waiting: vec![],
        broken: false,
        closing: false,
        planted: Planted::default(),
    };
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
        w.checkpoint_to_end();
    }
}

impl Writer {
    fn next(&mut self) -> Option<Msg> {
        loop {
            if let Some(msg) = self.planted.backlog.pop_front() {
                return Some(msg);
            }
            if !self.open {
                return self.rx.recv().ok();
            }
            // Only where acknowledgements go out early is a transaction open here.
            let due = (self.opened + LOSE_DELAY).saturating_duration_since(Instant::now());
            match self.rx.recv_timeout(due) {
                Ok(m) => return Some(m),
                Err(RecvTimeoutError::Timeout) => self.commit(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// A message that has come already.
    fn waiting_message(&mut self) -> Option<Msg> {
        self.planted.backlog.pop_front().or_else(|| self.rx.try_recv().ok())
    }

    /// Tells which rows the transaction that has just been committed changed.
    fn publish(&self) {
        if let Ok(mut changed) = self.conn.changed.lock() {
            self.set.changes.committed(&mut changed);
        }
    }

    /// Forgets the rows of a transaction that was rolled back.
    fn forget(&self) {
        if let Ok(mut changed) = self.conn.changed.lock() {
            changed.clear();
        }
    }

    pub(super) fn begin(&mut self) -> SqlResult<()> {
        if !self.open {
            self.conn.exec("BEGIN IMMEDIATE")?;
            self.open = true;
            self.opened = Instant::now();
        }
        Ok(())
    }

    /// Commits the open transaction and acknowledges everything in it.
    fn commit(&mut self) {
        if self.open
            && let Err(e) = self.make_durable(false)
        {
            for (reply, _) in self.waiting.drain(..) {
                let _ = reply.send(Err(e.clone().into()));
            }
        }
        for (reply, result) in self.waiting.drain(..) {
            let _ = reply.send(result);
        }
    }

    /// Commits the open transaction so that it outlives the process.
    ///
    /// # Errors
    /// 1105: there was no space, and the transaction will not be found. After any other the transaction may be found, and the writer is broken.
    fn make_durable(&mut self, schema: bool) -> SqlResult<()> {
        self.open = false;
        let gate = self.set.cache.as_ref().map(VolatileCache::gate);
        let mut shut = gate.as_ref().map(|gate| gate.shut());
        if let Err(e) = self.conn.exec("COMMIT") {
            let _ = self.conn.exec("ROLLBACK");
            self.forget();
            if e.number != 1105 {
                self.fail(&e);
            }
            return Err(e);
        }
        let skip = !schema && self.set.has(Sabotage::SkipSync);
        if let Some(cache) = &mut self.set.cache {
            if let Err(e) = if skip { cache.skip() } else { cache.sync() } {
                if let Some(failed) = shut.as_deref_mut() {
                    *failed = true;
                }
                let e = storage_io(&e);
                self.fail(&e);
                return Err(e);
            }
            if cache.is_long() {
                // One that a reader holds up is done after a later commit.
                let _ = self.conn.exec("PRAGMA wal_checkpoint(PASSIVE)");
            }
        }
        self.publish();
        Ok(())
    }

    /// Leaves a database without a log behind.
    fn checkpoint_to_end(&mut self) {
        let synced = self.set.cache.as_mut().map_or(Ok(()), |cache| cache.sync().and_then(|()| cache.checkpoint()));
        if let Err(e) = synced {
            return self.fail(&storage_io(&e));
        }
        let _ = self.conn.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    /// Nothing can be committed any more, and the process ends once those who wait have been answered.
    fn fail(&mut self, e: &SqlError) {
        self.broken = true;
        // Where it is full, another writer has failed before this one.
        let _ = self.set.fatal.try_send(e.to_string());
    }

    fn group(&mut self, first: Auto) {
        let start = Instant::now();
        self.auto(first);
        while !self.broken && self.waiting.len() < GROUP_MAX && start.elapsed() < GROUP_TIME {
            match self.waiting_message() {
                Some(Msg::Auto(a)) => self.auto(*a),
                Some(Msg::Begin(reply)) => {
                    self.settle();
                    return self.explicit(reply);
                }
                // Taken here, it is not seen by the loop that hands messages out, so it is remembered.
                Some(Msg::Close) => {
                    self.closing = true;
                    break;
                }
                None => break,
            }
        }
        self.settle();
    }

    /// Ends a group: a commit, unless sabotage leaves it for later.
    fn settle(&mut self) {
        if !self.set.acknowledges_early() || self.opened.elapsed() >= LOSE_DELAY {
            return self.commit();
        }
        for (reply, result) in self.waiting.drain(..) {
            self.planted.acknowledged += 1;
            let _ = reply.send(result);
        }
        if self.set.has(Sabotage::AckThenCrash) && self.planted.acknowledged > CRASH_AFTER {
            // The answers go out through other threads, which need a moment.
            std::thread::sleep(LOSE_DELAY / 2);
            std::process::abort();
        }
    }

    /// Runs a statement, with the defects that a statement can have.
    fn run_job(&mut self, job: &mut Job) -> JobResult {
        let writes = job.stmt.kind != Kind::Select;
        if self.set.has(Sabotage::FlipBit) && job.stmt.kind == Kind::Insert {
            self.flip(job);
        }
        let done = self.conn.run(job)?;
        if writes && job.stmt.kind == Kind::Update && self.set.has(Sabotage::DoubleApply) && self.planted.repeats.once_in(40) {
            let _ = self.conn.run(job);
        }
        Ok(done)
    }

    fn auto(&mut self, mut a: Auto) {
        if a.reply.is_closed() {
            return;
        }
        let current = self.set.catalog.read().map_or(0, |c| c.version);
        if current != a.version {
            let _ = a.reply.send(Err(Failed { stale: true, ..SqlError::new(0, "stale").into() }));
            return;
        }
        if self.set.has(Sabotage::ReorderCommits) {
            let Some(kept) = self.reorder(a) else { return };
            a = kept;
        }
        let result = match self.begin().and_then(|()| self.conn.exec("SAVEPOINT a")) {
            Err(e) => Err(e.into()),
            Ok(()) => {
                let r = self.run_job(&mut a.job);
                self.close_savepoint(r)
            }
        };
        if self.open && self.conn.db.is_autocommit() {
            // SQLite gave the whole transaction up (disk full, I/O error): nothing in it happened, and nobody in it has been answered.
            self.open = false;
            self.forget();
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

    /// Hands the writer to one session until it commits, rolls back or goes away.
    fn explicit(&mut self, reply: oneshot::Sender<TxHandle>) {
        let (tx, rx) = channel();
        if self.begin().and_then(|()| self.conn.exec("SAVEPOINT tx")).is_err() {
            return;
        }
        if reply.send(TxHandle(tx)).is_err() {
            return self.end();
        }
        loop {
            let op = if self.set.has(Sabotage::DirtyRead) { self.answering_dirty_reads(&rx) } else { rx.recv().ok() };
            match op {
                Some(TxOp::Run(job, reply)) => {
                    if !self.in_transaction(*job, None, reply) {
                        return;
                    }
                }
                Some(TxOp::RunSince(job, since, reply)) => {
                    if !self.in_transaction(*job, Some(since), reply) {
                        return;
                    }
                }
                Some(TxOp::Script(list, reply)) => {
                    let _ = reply.send(list.iter().try_for_each(|s| self.conn.exec(s)));
                }
                Some(TxOp::Commit(catalog, locks, reply)) => return self.commit_explicit(catalog, locks, reply),
                Some(TxOp::Rollback(reply)) => {
                    self.end();
                    let _ = reply.send(Ok(()));
                    return;
                }
                None => return self.end(),
            }
        }
    }

    /// Runs a statement of the transaction that owns the writer. False when SQLite gave the transaction up.
    fn in_transaction(&mut self, mut job: Job, since: Option<u64>, reply: oneshot::Sender<JobResult>) -> bool {
        let before = self.conn.changed.lock().map_or(0, |changed| changed.len());
        let result = match self.conn.exec("SAVEPOINT a") {
            Ok(()) => {
                let mut r = self.run_job(&mut job);
                if let Some(since) = since
                    && r.is_ok()
                    && self.conn.changed.lock().is_ok_and(|changed| self.set.changes.conflict(&changed[before..], since))
                {
                    r = Err(update_conflict().into());
                }
                self.close_savepoint(r)
            }
            Err(e) => Err(e.into()),
        };
        let lost = self.conn.db.is_autocommit();
        let _ = reply.send(result);
        if lost {
            self.open = false;
            self.forget();
        }
        !lost
    }

    fn commit_explicit(&mut self, catalog: Option<Arc<Catalog>>, locks: Option<Owner>, reply: oneshot::Sender<SqlResult<()>>) {
        if let Err(e) = self.conn.exec("RELEASE tx") {
            self.end();
            let _ = reply.send(Err(e));
            return;
        }
        if !self.set.acknowledges_early()
            && let Err(e) = self.make_durable(catalog.is_some())
        {
            let _ = reply.send(Err(e));
            return;
        }
        if let (Some(c), Ok(mut slot)) = (catalog, self.set.catalog.write()) {
            *slot = c;
        }
        // The next one is on its way while this one is answered.
        drop(locks);
        let _ = reply.send(Ok(()));
    }

    fn end(&mut self) {
        if self.open && self.set.has(Sabotage::ResurrectAborted) && self.planted.rollbacks.once_in(3) {
            let _ = self.conn.exec("RELEASE tx");
            return self.commit();
        }
        if self.open {
            let _ = self.conn.exec("ROLLBACK TO tx");
            let _ = self.conn.exec("RELEASE tx");
        }
        if !self.set.acknowledges_early() {
            self.open = false;
            let _ = self.conn.exec("ROLLBACK");
            self.forget();
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
