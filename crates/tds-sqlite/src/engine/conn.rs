//! One SQLite connection: opening it as this server needs it, running a translated statement, turning SQLite's errors into SQL Server's.

use super::cache::Gate;
use super::catalog::Table;
use super::changes::{self, RowHash};
use super::functions::{self, Facts};
use crate::error::{SqlError, SqlResult};
use crate::proto::rows;
use crate::translate::{Kind, Translated};
use crate::value::{Value, text_of};
use bytes::Bytes;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, Row};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// Where rows go.
#[derive(Debug)]
pub enum Sink {
    /// Encoded as TDS tokens; full chunks are sent ahead when a sender is there.
    Wire(Option<mpsc::Sender<Bytes>>),
    /// Encoded as TDS tokens, of which there must be less than a chunk.
    Short,
    /// The last row's values come back, for variables and conditions.
    Last,
}

/// A statement with everything that it needs to run.
#[derive(Debug)]
pub struct Job {
    /// The statement.
    pub stmt: Arc<Translated>,
    /// Values of its parameters.
    pub values: Vec<Value>,
    /// Where rows go.
    pub sink: Sink,
    /// Set to make a reading statement stop.
    pub cancel: Arc<AtomicBool>,
}

/// What a statement did.
#[derive(Debug, Default)]
pub struct Done {
    /// Rows returned or changed.
    pub rows: i64,
    /// Tokens not sent ahead.
    pub wire: Vec<u8>,
    /// Last row for [`Sink::Last`].
    pub last: Option<Vec<Value>>,
    /// Identity value that was given out.
    pub identity: Option<i64>,
}

/// Why a statement did nothing.
#[derive(Debug)]
pub struct Failed {
    /// The error.
    pub error: SqlError,
    /// Tokens of rows that came before it.
    pub wire: Vec<u8>,
    /// The schema is not the one that the statement was translated for.
    pub stale: bool,
}

impl From<SqlError> for Failed {
    fn from(error: SqlError) -> Self {
        Self { error, wire: vec![], stale: false }
    }
}

/// Chunk size in bytes for rows that are sent ahead.
const CHUNK: usize = 32 << 10;
/// Most that OUTPUT may hold back until its commit.
const OUTPUT_MAX: usize = 64 << 20;
/// Virtual machine steps between looks at the cancel flag.
const CANCEL_STEPS: i32 = 2000;

/// A connection with its cancel flag and the last identity value.
pub struct Conn {
    /// SQLite's connection.
    pub db: Connection,
    cancel: Arc<Mutex<Option<Arc<AtomicBool>>>>,
    identity: Arc<Mutex<Option<i64>>>,
    /// Of a writer: the rows that were changed since this was last emptied.
    pub changed: Arc<Mutex<Vec<RowHash>>>,
    /// Of a reader: behind it lie the commits that may be told of.
    pub gate: Option<Arc<Gate>>,
}

impl Conn {
    /// Opens a database file.
    ///
    /// # Errors
    /// SQLite's.
    pub fn open(path: &Path, writer: bool, facts: Arc<dyn Facts>) -> rusqlite::Result<Self> {
        let mode =
            if writer { OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
        let mut db = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.set_prepared_statement_cache_capacity(256);
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        if writer {
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "FULL")?;
            db.pragma_update(None, "foreign_keys", true)?;
            db.pragma_update(None, "wal_autocheckpoint", 4000)?;
            db.pragma_update(None, "journal_size_limit", 64 << 20)?;
            db.pragma_update(None, "cache_size", -32_768)?;
        } else {
            db.pragma_update(None, "cache_size", -8192)?;
        }
        db.pragma_update(None, "temp_store", "MEMORY")?;
        let cancel: Arc<Mutex<Option<Arc<AtomicBool>>>> = Arc::default();
        let seen = cancel.clone();
        db.progress_handler(CANCEL_STEPS, Some(move || seen.lock().is_ok_and(|c| c.as_ref().is_some_and(|c| c.load(Ordering::Relaxed)))))?;
        let identity = Arc::default();
        functions::register(&db, facts, Arc::clone(&identity))?;
        let changed: Arc<Mutex<Vec<RowHash>>> = Arc::default();
        if writer {
            let rows = Arc::clone(&changed);
            let note = move |_, _: &str, table: &str, rowid| {
                if let Ok(mut rows) = rows.lock() {
                    rows.push(changes::row(table, rowid));
                }
            };
            db.update_hook(Some(note))?;
        }
        Ok(Self { db, cancel, identity, changed, gate: None })
    }

    /// From now on every statement ends with an error that does not end soon by itself, or finds the database locked.
    ///
    /// # Errors
    /// SQLite's.
    pub fn only_short(&mut self) -> rusqlite::Result<()> {
        self.db.busy_timeout(std::time::Duration::ZERO)?;
        self.db.progress_handler(CANCEL_STEPS, Some(|| true))
    }

    /// Runs one statement outside of the translated kind.
    ///
    /// # Errors
    /// SQLite's, as server errors.
    pub fn exec(&self, sql: &str) -> SqlResult<()> {
        let run = || -> rusqlite::Result<()> {
            let mut s = self.db.prepare_cached(sql)?;
            let mut rows = s.raw_query();
            while rows.next()?.is_some() {}
            Ok(())
        };
        run().map_err(|e| storage_error(&e))
    }

    /// Runs a translated statement.
    ///
    /// # Errors
    /// The statement's own error; its changes may still be there and are the caller's to roll back.
    pub fn run(&self, job: &mut Job) -> Result<Done, Failed> {
        if job.cancel.load(Ordering::Relaxed) {
            return Err(cancelled().into());
        }
        // Interrupting a write would roll back the whole transaction it is part of, so only reads can be stopped.
        if job.stmt.kind == Kind::Select
            && let Ok(mut c) = self.cancel.lock()
        {
            *c = Some(job.cancel.clone());
        }
        if let Ok(mut i) = self.identity.lock() {
            *i = None;
        }
        let mut done = Done::default();
        let result = self.steps(job, &mut done);
        if let Ok(mut c) = self.cancel.lock() {
            *c = None;
        }
        match result {
            Ok(()) => {
                done.identity = self.identity.lock().ok().and_then(|i| *i);
                Ok(done)
            }
            Err(e) => {
                let stale = matches!(&e, Error::SqliteFailure(_, Some(m)) if m.starts_with("no such table") || m.starts_with("no such column"))
                    || matches!(&e, Error::SqlInputError { msg, .. } if msg.starts_with("no such table") || msg.starts_with("no such column"));
                Err(Failed { error: self.explain(&e, job), wire: done.wire, stale })
            }
        }
    }

    fn steps(&self, job: &mut Job, done: &mut Done) -> rusqlite::Result<()> {
        let mut s = self.db.prepare_cached(&job.stmt.sql)?;
        for (i, v) in job.values.iter().enumerate() {
            s.raw_bind_parameter(i + 1, v)?;
        }
        let stmt = job.stmt.clone();
        let columns = &stmt.columns;
        let wire = !matches!(job.sink, Sink::Last) && !columns.is_empty();
        if wire {
            rows::metadata(&mut done.wire, columns);
        }
        let mut rows = s.raw_query();
        let mut next = rows.next()?;
        // The first step has settled which commits this statement sees, and all that it says depends on them.
        if let Some(gate) = &self.gate {
            gate.pass().map_err(|e| functions::raise(&e))?;
        }
        while let Some(row) = next {
            done.rows += 1;
            if wire {
                rows::row(&mut done.wire, columns, row).map_err(|e| functions::raise(&e))?;
                if done.wire.len() >= CHUNK {
                    send_ahead(job, done)?;
                }
            } else {
                done.last = Some(values(row, columns.len())?);
            }
            next = rows.next()?;
        }
        drop(rows);
        if job.stmt.kind != Kind::Select {
            done.rows = i64::try_from(self.db.changes()).unwrap_or(i64::MAX);
        }
        Ok(())
    }

    /// SQL Server's error for SQLite's.
    fn explain(&self, e: &Error, job: &Job) -> SqlError {
        let Error::SqliteFailure(code, Some(msg)) = e else { return storage_error(e) };
        let verb = match job.stmt.kind {
            Kind::Insert => "INSERT",
            Kind::Update => "UPDATE",
            Kind::Delete => "DELETE",
            Kind::Select => "SELECT",
        };
        let db = job.stmt.db.clone().unwrap_or_default();
        let Some(t) = &job.stmt.target else { return storage_error(e) };
        let table = format!("{}.{}", t.schema, t.name);
        match code.extended_code {
            1555 | 2067 | 2579 => self.duplicate(msg, job).unwrap_or_else(|| storage_error(e)),
            1299 => {
                let column = msg.rsplit('.').next().unwrap_or("");
                SqlError::new(515, format!("Cannot insert the value NULL into column '{column}', table '{db}.{table}'; column does not allow nulls. {verb} fails."))
                    .state(2)
            }
            275 => {
                let name = msg.rsplit(": ").next().unwrap_or("");
                let column = t
                    .checks
                    .iter()
                    .find(|c| c.name == name)
                    .and_then(|c| c.column.as_ref())
                    .map_or(String::new(), |c| format!(", column '{c}'"));
                SqlError::new(
                    547,
                    format!("The {verb} statement conflicted with the CHECK constraint \"{name}\". The conflict occurred in database \"{db}\", table \"{table}\"{column}."),
                )
                .state(0)
            }
            787 | 1811 => {
                let (kind, name, other) = match (job.stmt.kind, t.foreign.first()) {
                    (Kind::Insert | Kind::Update, Some(f)) => ("FOREIGN KEY", f.name.clone(), format!("{}.{}", f.table.0, f.table.1)),
                    _ => ("REFERENCE", "FK".to_owned(), table),
                };
                SqlError::new(547, format!("The {verb} statement conflicted with the {kind} constraint \"{name}\". The conflict occurred in database \"{db}\", table \"{other}\"."))
                    .state(0)
            }
            _ => storage_error(e),
        }
    }

    /// 2627 or 2601 with the key's value, which SQLite does not tell: the statement's rows are looked through for the first that is there already.
    fn duplicate(&self, msg: &str, job: &Job) -> Option<SqlError> {
        let t = job.stmt.target.as_ref()?;
        let prefix = format!("{}.", t.sqlite_name());
        let list = msg.strip_prefix("UNIQUE constraint failed: ")?;
        let key = if let Some(name) = list.strip_prefix("index '") {
            let name = name.trim_end_matches('\'').strip_prefix(&prefix)?.strip_suffix(".null")?;
            t.keys.iter().find(|k| k.name == name)?
        } else {
            let columns: Vec<usize> = list.split(", ").filter_map(|c| t.column(c.strip_prefix(&prefix)?)).collect();
            t.keys.iter().find(|k| k.columns == columns)?
        };
        let value = match job.stmt.kind {
            Kind::Update => match self.left_twice(&key.columns, job) {
                Ok(None) => return Some(SqlError::unsupported("UPDATE that gives a row the key that another row is about to give up")),
                Ok(Some(value)) => value,
                Err(_) => String::new(),
            },
            _ => self.duplicate_value(&key.columns, job).unwrap_or_default(),
        };
        let shown = if value.is_empty() { String::new() } else { format!(" The duplicate key value is ({value}).") };
        let table = format!("{}.{}", t.schema, t.name);
        Some(if key.index {
            SqlError::new(2601, format!("Cannot insert duplicate key row in object '{table}' with unique index '{}'.{shown}", key.name))
                .class(14)
        } else {
            let kind = if key.primary { "PRIMARY KEY" } else { "UNIQUE KEY" };
            SqlError::new(
                2627,
                format!("Violation of {kind} constraint '{}'. Cannot insert duplicate key in object '{table}'.{shown}", key.name),
            )
            .class(14)
        })
    }

    /// The value of a key that an UPDATE as a whole would leave twice. SQLite compares each row when it is written, with rows that are yet to change.
    fn left_twice(&self, key: &[usize], job: &Job) -> rusqlite::Result<Option<String>> {
        let (Some(t), Some(probe)) = (&job.stmt.target, job.stmt.probes.first()) else { return Ok(Some(String::new())) };
        let list = |f: &dyn Fn(usize, &usize) -> String| key.iter().enumerate().map(|(i, k)| f(i, k)).collect::<Vec<_>>().join(", ");
        let (changed, kept) = (list(&|i, k| format!("v{k} AS k{i}")), list(&|_, k| super::catalog::quote(&t.columns[*k].name)));
        let groups = list(&|i, k| format!("k{i}{}", if t.columns[*k].ty.is_text() { " COLLATE TSQL" } else { "" }));
        let sql = format!(
            "WITH changed AS MATERIALIZED (SELECT * FROM ({probe}) GROUP BY rid)
             SELECT * FROM (SELECT {changed} FROM changed UNION ALL SELECT {kept} FROM {0} WHERE rowid NOT IN (SELECT rid FROM changed))
             GROUP BY {groups} HAVING count(*) > 1 LIMIT 1",
            t.quoted()
        );
        let mut s = self.db.prepare(&sql)?;
        let n = s.parameter_count();
        for (i, v) in job.values.iter().enumerate().take(n) {
            s.raw_bind_parameter(i + 1, v)?;
        }
        let mut rows = s.raw_query();
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(key_text(t, key, &values(row, key.len())?)))
    }

    fn duplicate_value(&self, key: &[usize], job: &Job) -> Option<String> {
        let t = job.stmt.target.as_ref()?;
        let places: Vec<usize> = key.iter().map(|k| job.stmt.probe_columns.iter().position(|c| c == k)).collect::<Option<_>>()?;
        let tests: Vec<String> =
            key.iter().enumerate().map(|(i, k)| format!("{} IS ?{}", super::catalog::quote(&t.columns[*k].name), i + 1)).collect();
        let exists = format!("SELECT 1 FROM {} WHERE {}", t.quoted(), tests.join(" AND "));
        let mut seen: Vec<Vec<Value>> = Vec::new();
        for probe in &job.stmt.probes {
            let mut s = self.db.prepare(probe).ok()?;
            let n = s.parameter_count();
            for (i, v) in job.values.iter().enumerate().take(n) {
                s.raw_bind_parameter(i + 1, v).ok()?;
            }
            let mut rows = s.raw_query();
            while let Some(row) = rows.next().ok()? {
                let values: Vec<Value> = places.iter().map(|p| row.get(*p)).collect::<Result<_, _>>().ok()?;
                let there = self.db.prepare(&exists).ok()?.exists(rusqlite::params_from_iter(values.iter())).ok()?;
                if there || seen.contains(&values) {
                    return Some(key_text(t, key, &values));
                }
                if seen.len() < 10_000 {
                    seen.push(values);
                }
            }
        }
        None
    }
}

/// A key's value as 2627 shows it.
fn key_text(t: &Table, key: &[usize], values: &[Value]) -> String {
    let shown = |(v, k): (&Value, &usize)| if *v == Value::Null { "<NULL>".to_owned() } else { text_of(v, t.columns[*k].ty) };
    values.iter().zip(key).map(shown).collect::<Vec<_>>().join(", ")
}

fn values(row: &Row<'_>, n: usize) -> rusqlite::Result<Vec<Value>> {
    (0..n).map(|i| row.get(i)).collect()
}

fn send_ahead(job: &mut Job, done: &mut Done) -> rusqlite::Result<()> {
    let sender = match &job.sink {
        Sink::Wire(sender) => sender,
        Sink::Short => return Err(functions::raise(&cancelled())),
        Sink::Last => return Ok(()),
    };
    match sender {
        Some(s) => {
            let chunk = Bytes::from(std::mem::take(&mut done.wire));
            s.blocking_send(chunk).map_err(|_| functions::raise(&cancelled()))
        }
        None if done.wire.len() > OUTPUT_MAX => Err(functions::raise(
            &SqlError::new(701, "There is insufficient system memory in resource pool 'default' to run this query.").class(17),
        )),
        None => Ok(()),
    }
}

/// The client asked to stop; never shown to it.
pub fn cancelled() -> SqlError {
    SqlError::new(3617, "The request was cancelled by the client.").class(15)
}

fn full() -> SqlError {
    SqlError::new(1105, "Could not allocate space for object in database because the 'PRIMARY' filegroup is full due to lack of storage space or database files reaching the maximum allowed size.")
        .class(17)
        .state(2)
}

fn failed_io(why: &impl std::fmt::Display) -> SqlError {
    SqlError::new(823, format!("The operating system returned error {why} to SQL Server during an I/O operation.")).class(24).state(2)
}

/// The error of an I/O operation that is not SQLite's.
pub fn storage_io(e: &std::io::Error) -> SqlError {
    if e.kind() == std::io::ErrorKind::StorageFull {
        return full();
    }
    failed_io(e)
}

/// Errors of the storage itself.
pub fn storage_error(e: &Error) -> SqlError {
    let text = match e {
        Error::SqliteFailure(_, Some(m)) => m.clone(),
        Error::UserFunctionError(m) => m.to_string(),
        e => e.to_string(),
    };
    if let Some(e) = SqlError::decode(&text) {
        return e;
    }
    match e.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => cancelled(),
        Some(ErrorCode::DiskFull) => full(),
        Some(ErrorCode::SystemIoFailure) => failed_io(&text),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            SqlError::new(824, format!("SQL Server detected a logical consistency-based I/O error: {text}.")).class(24).state(2)
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SqlError::lock_timeout(),
        _ => SqlError::new(8624, format!("Internal Query Processor Error: {text}")),
    }
}
