//! Reading threads. Each holds one read-only connection a database; WAL lets them read beside the writer. The pool grows while all are busy, up to a bound.

use super::conn::{Conn, Failed, Job};
use super::orders::JobResult;
use super::store::Database;
use crate::error::SqlError;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Most reading threads.
const THREADS_MAX: usize = 32;
/// Most waiting statements.
const QUEUE_MAX: usize = 10_000;
/// A thread beyond the first that found nothing to do for this long ends.
const IDLE: Duration = Duration::from_secs(5);

struct Read {
    db: Arc<Database>,
    job: Job,
    reply: oneshot::Sender<JobResult>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Read>,
    idle: usize,
    threads: usize,
    closed: bool,
}

/// The pool.
pub struct Readers {
    state: Mutex<State>,
    wake: Condvar,
    /// `--sabotage stale-read`.
    stale: bool,
}

/// How old under `stale-read` a connection's view may become.
const STALE: Duration = Duration::from_millis(300);

/// A thread's connection to one database.
struct Reading {
    db: Arc<Database>,
    conn: Conn,
    /// Under `stale-read`: since when it keeps its view.
    since: Option<Instant>,
}

impl Reading {
    fn run(&mut self, job: &mut Job, stale: bool) -> JobResult {
        if stale && self.since.is_none_or(|since| since.elapsed() > STALE) {
            if self.since.is_some() {
                self.conn.exec("COMMIT")?;
            }
            self.conn.exec("BEGIN")?;
            self.since = Some(Instant::now());
        }
        self.conn.run(job)
    }
}

impl Readers {
    /// An empty pool.
    pub fn new(stale: bool) -> Self {
        Readers { state: Mutex::default(), wake: Condvar::new(), stale }
    }

    /// Whether a read may be run elsewhere: not where what the pool's connections see is wrong on purpose.
    pub fn are_honest(&self) -> bool {
        !self.stale
    }

    /// Runs a reading statement.
    pub async fn run(self: &Arc<Self>, db: &Arc<Database>, job: Job) -> JobResult {
        let (reply, rx) = oneshot::channel();
        self.push(Read { db: db.clone(), job, reply })?;
        rx.await.map_err(|_| shutdown())?
    }

    fn push(self: &Arc<Self>, read: Read) -> Result<(), Failed> {
        let mut s = self.state.lock().map_err(|_| shutdown())?;
        if s.closed {
            return Err(shutdown().into());
        }
        if s.queue.len() >= QUEUE_MAX {
            return Err(SqlError::new(
                8645,
                "A timeout occurred while waiting for memory resources to execute the query in resource pool 'default'. Rerun the query.",
            )
            .class(17)
            .into());
        }
        s.queue.push_back(read);
        if s.idle < s.queue.len() && s.threads < THREADS_MAX {
            let pool = self.clone();
            if std::thread::Builder::new().name("reader".to_owned()).spawn(move || pool.work()).is_ok() {
                s.threads += 1;
            }
        }
        drop(s);
        self.wake.notify_one();
        Ok(())
    }

    /// Ends the threads once the queue is empty.
    pub fn close(&self) {
        if let Ok(mut s) = self.state.lock() {
            s.closed = true;
            s.queue.clear();
        }
        self.wake.notify_all();
    }

    fn take(&self) -> Option<Option<Read>> {
        let mut s = self.state.lock().ok()?;
        loop {
            if let Some(r) = s.queue.pop_front() {
                return Some(Some(r));
            }
            if s.closed {
                s.threads -= 1;
                return None;
            }
            s.idle += 1;
            let (next, timeout) = self.wake.wait_timeout(s, IDLE).ok()?;
            s = next;
            s.idle -= 1;
            if timeout.timed_out() && s.queue.is_empty() {
                if s.threads > 1 {
                    s.threads -= 1;
                    return None;
                }
                return Some(None);
            }
        }
    }

    fn work(&self) {
        let mut conns: HashMap<i64, Reading> = HashMap::new();
        while let Some(read) = self.take() {
            conns.retain(|_, reading| !reading.db.is_dropped());
            let Some(Read { db, mut job, reply }) = read else { continue };
            if reply.is_closed() {
                continue;
            }
            let result = match conns.entry(db.id) {
                Entry::Occupied(mut e) => e.get_mut().run(&mut job, self.stale),
                Entry::Vacant(e) => match db.open_reader() {
                    Ok(conn) => e.insert(Reading { db: db.clone(), conn, since: None }).run(&mut job, self.stale),
                    Err(e) => Err(super::conn::storage_error(&e).into()),
                },
            };
            let _ = reply.send(result);
        }
    }
}

fn shutdown() -> SqlError {
    SqlError::new(6005, "SHUTDOWN is in progress.").class(14)
}
