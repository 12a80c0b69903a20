//! A client's session: its state, its request loop, and the output that it shares with the interpreter.

mod data;
mod ddl;
mod login;
pub mod program;
mod rpc;
mod run;
mod transaction;

pub use login::serve;

use crate::engine::catalog::Catalog;
use crate::engine::conn::Conn;
use crate::engine::locks::Owner;
use crate::engine::orders::TxHandle;
use crate::engine::store::Database;
use crate::engine::views::SessionRow;
use crate::error::{SqlError, SqlResult};
use crate::proto::packet::{Message, Reader, Writer, kind};
use crate::proto::tls::Stream;
use crate::proto::token::{self, done};
use crate::server::Shared;
use crate::sql::ast::Isolation;
use crate::value::{Value, datetime};
use program::Prepared;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::Notify;

/// Lets an attention stop what the session is doing.
#[derive(Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    notify: Notify,
}

impl Cancel {
    fn set(&self) {
        self.flag.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }

    fn is_set(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }
}

/// What a SNAPSHOT transaction sees: a database after so many commits.
struct Snapshot {
    db: i64,
    commits: u64,
    /// A connection that keeps this view; none where the transaction began with a write, and so sees what the writer sees.
    conn: Option<Arc<Mutex<Conn>>>,
}

/// An open transaction.
#[derive(Default)]
struct Tran {
    /// @@TRANCOUNT.
    count: u32,
    /// The writer, once it is needed.
    handle: Option<TxHandle>,
    /// The database that the writer belongs to.
    db: Option<Arc<Database>>,
    /// What it has locked, once it has locked anything.
    locks: Option<Owner>,
    /// It has been rolled back although its session has not asked for it.
    lost: bool,
    /// Statements that wrote, and rows that they wrote.
    written: u64,
    /// The catalog as this transaction changed it.
    catalog: Option<Arc<Catalog>>,
    /// Its savepoints, with the catalog at each.
    saves: Vec<(String, Option<Arc<Catalog>>)>,
    /// Of a SNAPSHOT transaction: what it sees.
    snapshot: Option<Snapshot>,
    /// Only a rollback is possible: XACT_STATE() = -1.
    doomed: bool,
    /// Transaction descriptor.
    id: u64,
}

/// Settings that SET changes and a reset restores.
#[derive(Clone, Copy)]
struct Settings {
    nocount: bool,
    xact_abort: bool,
    implicit: bool,
    lock_timeout_ms: i64,
    deadlock_priority: i8,
    isolation: Isolation,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nocount: false,
            xact_abort: false,
            implicit: false,
            lock_timeout_ms: -1,
            deadlock_priority: 0,
            isolation: Isolation::ReadCommitted,
        }
    }
}

/// Where tokens go, with the last DONE held back until it is known whether more follows.
struct Output {
    w: Writer<WriteHalf<Stream>>,
    held: Option<(u8, u16, u16, i64)>,
    /// Inside a procedure: DONEINPROC.
    in_proc: bool,
    failed: bool,
}

impl Output {
    fn release(&mut self, more: bool) {
        if let Some((token, status, command, rows)) = self.held.take() {
            token::put_done(&mut self.w.buf, token, status | if more { done::MORE } else { 0 }, command, rows);
        }
    }

    fn tokens(&mut self, b: &[u8]) {
        if !b.is_empty() {
            self.release(true);
            self.w.buf.extend_from_slice(b);
        }
    }

    fn message(&mut self, e: &SqlError, server: &str) {
        self.release(true);
        token::put_message(&mut self.w.buf, e, server);
    }

    fn done(&mut self, status: u16, command: u16, rows: i64) {
        self.release(true);
        let token = if self.in_proc { token::DONEINPROC } else { token::DONE };
        self.held = Some((token, status, command, rows));
    }

    async fn relieve(&mut self) -> SqlResult<()> {
        if self.w.relieve().await.is_err() {
            self.failed = true;
            return Err(crate::engine::conn::cancelled());
        }
        Ok(())
    }
}

/// One client.
pub struct Session {
    shared: Arc<Shared>,
    spid: u16,
    row: SessionRow,
    db: Arc<Database>,
    home: Arc<Database>,
    out: Output,
    tran: Tran,
    set: Settings,
    rowcount: i64,
    identity: Option<i64>,
    error: i32,
    caught: Vec<SqlError>,
    cancel: Arc<Cancel>,
    prepared: HashMap<i32, Prepared>,
    next_handle: i32,
    depth: usize,
    /// A TRY is open, in the program that runs or in one around it.
    guarded: bool,
    now: i64,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.leave(self.spid);
    }
}

/// Prepared statements a session may hold.
const PREPARED_MAX: usize = 10_000;

impl Session {
    /// Serves requests until the client goes away.
    async fn requests(&mut self, r: &mut Reader<ReadHalf<Stream>>) -> io::Result<()> {
        let ending = self.shared.ending.clone().cancelled_owned();
        tokio::pin!(ending);
        loop {
            let idle = self.holds().then_some(self.shared.idle_transaction);
            let next = async {
                match idle {
                    Some(idle) => tokio::time::timeout(idle, r.message()).await.ok(),
                    None => Some(r.message().await),
                }
            };
            let message = tokio::select! {
                biased;
                message = next => message,
                () = &mut ending => return Ok(()),
            };
            let Some(message) = message else {
                self.lose().await;
                continue;
            };
            let Some(m) = message? else { return Ok(()) };
            match m.kind {
                kind::ATTENTION => {
                    token::put_done(&mut self.out.w.buf, token::DONE, done::ATTENTION, 0, 0);
                    self.out.w.finish().await?;
                }
                kind::BATCH | kind::RPC | kind::TRANSACTION | kind::BULK => self.request(r, m).await?,
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "unexpected packet type")),
            }
            if self.out.failed {
                return Ok(());
            }
        }
    }

    /// One request, while the socket is watched for an attention or its end.
    async fn request(&mut self, r: &mut Reader<ReadHalf<Stream>>, m: Message) -> io::Result<()> {
        // One that nobody has used is as good as new.
        if self.cancel.is_set() {
            self.cancel = Arc::default();
        }
        let cancel = self.cancel.clone();
        if m.reset {
            self.reset().await;
        }
        let mut attention = false;
        let mut gone = None;
        {
            let work = self.dispatch(&m);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    biased;
                    () = &mut work => break,
                    p = r.packet(), if gone.is_none() && !attention => {
                        match p {
                            Ok(Some(p)) if p.kind == kind::ATTENTION => attention = true,
                            Ok(Some(_)) => gone = Some(Err(io::Error::new(io::ErrorKind::InvalidData, "a request inside a request: MARS is not served"))),
                            Ok(None) => gone = Some(Ok(())),
                            Err(e) => gone = Some(Err(e)),
                        }
                        cancel.set();
                    }
                }
            }
        }
        if let Some(end) = gone {
            self.out.failed = true;
            return end;
        }
        if attention {
            self.out.held = None;
            token::put_done(&mut self.out.w.buf, token::DONE, done::ATTENTION, 0, 0);
        }
        self.out.w.finish().await
    }

    async fn dispatch(&mut self, m: &Message) {
        let result = match m.kind {
            kind::BATCH => self.batch(&m.body).await,
            kind::RPC => self.rpc(&m.body).await,
            kind::TRANSACTION => self.transaction_request(&m.body).await,
            _ => Err(SqlError::unsupported("BULK INSERT")),
        };
        if let Err(e) = result {
            self.report(&e);
            self.out.done(done::ERROR, 0, 0);
        }
        if self.out.held.is_none() {
            self.out.done(0, 0, 0);
        }
        self.out.release(false);
    }

    /// An ERROR token, except for a cancellation, which the attention's acknowledgement tells.
    fn report(&mut self, e: &SqlError) {
        if !self.cancel.is_set() {
            self.error = e.number;
            let server = self.shared.name.clone();
            self.out.message(e, &server);
        }
    }

    async fn batch(&mut self, body: &[u8]) -> SqlResult<()> {
        let text = crate::proto::params::skip_headers(body).ok_or_else(|| {
            SqlError::new(4002, "The incoming tabular data stream (TDS) protocol stream is incorrect. The stream ended unexpectedly.")
        })?;
        let text = crate::proto::utf16(text);
        self.out.in_proc = false;
        let program = self.shared.programs.get(&text, "")?.program;
        let mut vars = HashMap::new();
        self.run(&program, &mut vars).await?;
        if self.tran.doomed {
            self.rollback_all().await?;
            return Err(SqlError::new(
                3998,
                "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back.",
            ));
        }
        Ok(())
    }

    /// RESETCONNECTION: as after login, an open transaction rolled back.
    async fn reset(&mut self) {
        let _ = self.rollback_all().await;
        self.set = Settings::default();
        self.rowcount = 0;
        self.identity = None;
        self.error = 0;
        self.db = self.home.clone();
        token::put_env_reset(&mut self.out.w.buf);
    }

    /// The value of a `@@` variable or a niladic function.
    fn session_value(&self, key: &str) -> Value {
        let text = |s: &str| Value::Text(s.to_owned());
        let caught = self.caught.last();
        match key {
            "ROWCOUNT" => Value::Integer(self.rowcount),
            "TRANCOUNT" => Value::Integer(i64::from(self.tran.count)),
            "ERROR" => Value::Integer(i64::from(self.error)),
            "SPID" => Value::Integer(i64::from(self.spid)),
            "VERSION" => text(&self.shared.version),
            "SERVERNAME" => text(&self.shared.name),
            "SERVICENAME" => text("MSSQLSERVER"),
            "LANGUAGE" => text("us_english"),
            "DATEFIRST" => Value::Integer(7),
            "MAX_PRECISION" => Value::Integer(38),
            "MICROSOFTVERSION" => Value::Integer(0x1000_03E8),
            "NESTLEVEL" => Value::Integer(i64::try_from(self.depth).unwrap_or(0)),
            "TEXTSIZE" => Value::Integer(2_147_483_647),
            "OPTIONS" => Value::Integer(5432),
            "LOCK_TIMEOUT" => Value::Integer(self.set.lock_timeout_ms),
            "IDENTITY" => self.identity.map_or(Value::Null, |n| Value::Blob(crate::value::exact_to_blob(i128::from(n)))),
            "DB_NAME" => text(&self.db.name),
            "DB_ID" => Value::Integer(self.db.id),
            "LOGIN" => text(&self.row.login),
            "USER" => text("dbo"),
            "HOST_NAME" => text(&self.row.host),
            "APP_NAME" => text(&self.row.program),
            "NOW" => Value::Integer(self.now),
            "NOW_DATETIME" => Value::Integer(datetime::round_300(self.now)),
            "NOW_OFFSET" => Value::Blob(datetime::offset_to_blob(self.now, 0)),
            "XACT_STATE" => Value::Integer(match (self.tran.count, self.tran.doomed) {
                (0, _) => 0,
                (_, true) => -1,
                _ => 1,
            }),
            "ERROR_NUMBER" => caught.map_or(Value::Null, |e| Value::Integer(i64::from(e.number))),
            "ERROR_MESSAGE" => caught.map_or(Value::Null, |e| text(&e.message)),
            "ERROR_SEVERITY" => caught.map_or(Value::Null, |e| Value::Integer(i64::from(e.class))),
            "ERROR_STATE" => caught.map_or(Value::Null, |e| Value::Integer(i64::from(e.state))),
            "ERROR_LINE" => caught.map_or(Value::Null, |e| Value::Integer(i64::from(e.line))),
            _ => Value::Null,
        }
    }
}
