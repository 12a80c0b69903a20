//! SELECT, INSERT, UPDATE, DELETE and scalar expressions.

use super::program::{Cached, Program, Slot};
use super::run::Vars;
use super::{Session, Snapshot};
use crate::engine::catalog::Catalog;
use crate::engine::changes::update_conflict;
use crate::engine::conn::{Done, Failed, Job, Sink, cancelled, storage_error};
use crate::engine::locks::{Thing, mode};
use crate::engine::orders::{JobResult, TxOp};
use crate::engine::store::Database;
use crate::error::{SqlError, SqlResult};
use crate::proto::rows;
use crate::proto::token::{self, command, done};
use crate::sabotage::Sabotage;
use crate::sql::ast::{Expr, Isolation, StmtKind};
use crate::sql::types::Ty;
use crate::translate::{Kind, Names, Param, SystemView, Translated, translate, translate_condition, translate_scalar};
use crate::value::{Value, convert};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// How often a statement is translated again because the schema changed under it.
const RETRIES: usize = 5;

/// What the translator may ask of a session.
struct View<'a> {
    session: &'a Session,
    vars: &'a BTreeMap<String, Ty>,
}

impl Names for View<'_> {
    fn current_db(&self) -> &str {
        &self.session.db.name
    }
    fn catalog(&self, db: &str) -> Option<Arc<Catalog>> {
        let db = self.session.shared.store.database(db)?;
        Some(self.session.catalog_of(&db))
    }
    fn variable(&self, name: &str) -> Option<Ty> {
        self.vars.get(name).copied()
    }
    fn system_view(&self, db: &str, schema: &str, name: &str) -> Option<SystemView> {
        crate::engine::views::find(&self.session.shared.store, &self.session.shared.sessions(), db, schema, name)
    }
}

impl Session {
    /// A database's catalog as this session sees it.
    pub(super) fn catalog_of(&self, db: &Arc<Database>) -> Arc<Catalog> {
        match (&self.tran.catalog, &self.tran.db) {
            (Some(c), Some(d)) if d.id == db.id => c.clone(),
            _ => db.catalog(),
        }
    }

    /// Runs `f` with what the translator may ask.
    pub(super) fn with_names<T>(&self, vars: &BTreeMap<String, Ty>, f: impl FnOnce(&dyn Names) -> T) -> T {
        f(&View { session: self, vars })
    }

    fn translated(
        &self,
        vars: &BTreeMap<String, Ty>,
        slot: &Slot,
        f: impl FnOnce(&dyn Names) -> SqlResult<Translated>,
    ) -> SqlResult<Arc<Cached>> {
        let private = self.tran.catalog.is_some();
        if !private
            && let Some(c) = slot.lock().ok().and_then(|s| s.clone())
            && c.current == self.db.id
            && !c.db.is_dropped()
            && c.version == c.db.catalog().version
        {
            return Ok(c);
        }
        // The version is read first: a change during the translation then makes it stale, never wrongly fresh.
        let stmt = f(&View { session: self, vars })?;
        let db = match &stmt.db {
            Some(name) => self.shared.store.database(name).ok_or_else(|| {
                SqlError::new(911, format!("Database '{name}' does not exist. Make sure that the name is entered correctly."))
            })?,
            None => self.db.clone(),
        };
        let version = self.catalog_of(&db).version;
        let cached = Arc::new(Cached { current: self.db.id, db, version, stmt: Arc::new(stmt), long: AtomicBool::new(false) });
        if !private
            && cached.stmt.cacheable
            && let Ok(mut s) = slot.lock()
        {
            *s = Some(cached.clone());
        }
        Ok(cached)
    }

    fn job(&self, c: &Cached, vars: &Vars, sink: Sink) -> Job {
        let values = c
            .stmt
            .params
            .iter()
            .map(|p| match p {
                Param::Var(v) => vars.get(v).cloned().unwrap_or(Value::Null),
                Param::Session(key) => self.session_value(key),
                Param::Lit(v) => v.clone(),
            })
            .collect();
        Job { stmt: c.stmt.clone(), values, sink, cancel: self.cancel.flag.clone() }
    }

    /// An expression's value, without SQLite where it is plain.
    pub(super) async fn scalar(&mut self, program: &Program, vars: &Vars, e: &Expr, ty: Option<Ty>, slot: &Slot) -> SqlResult<(Value, Ty)> {
        if let Some((v, from)) = plain(e, program, vars) {
            let to = ty.unwrap_or(from);
            return Ok((convert(v, from, to, 0)?, to));
        }
        let (done, c) = self.evaluate(program, vars, slot, |n| translate_scalar(n, e, ty)).await?;
        let to = c.stmt.columns.first().map_or(Ty::Null, |c| c.ty);
        Ok((done.last.and_then(|mut r| r.pop()).unwrap_or(Value::Null), to))
    }

    pub(super) async fn condition(&mut self, program: &Program, vars: &Vars, e: &Expr, slot: &Slot) -> SqlResult<bool> {
        self.now = self.shared.store.now();
        if let Expr::Cmp("=", l, r) = e
            && let (Expr::SysVar(v), Expr::Int(n)) = (&**l, &**r)
            && v == "ROWCOUNT"
        {
            return Ok(self.rowcount == *n);
        }
        let (done, _) = self.evaluate(program, vars, slot, |n| translate_condition(n, e)).await?;
        Ok(matches!(done.last.as_deref(), Some([Value::Integer(n)]) if *n != 0))
    }

    async fn evaluate(
        &mut self,
        program: &Program,
        vars: &Vars,
        slot: &Slot,
        f: impl Fn(&dyn Names) -> SqlResult<Translated>,
    ) -> SqlResult<(Done, Arc<Cached>)> {
        let mut left = RETRIES;
        loop {
            let c = self.translated(&program.vars, slot, &f)?;
            match self.read(&c, vars, false).await {
                Ok(d) => return Ok((d, c)),
                Err(f) if f.stale && left > 0 => left -= 1,
                Err(f) => return Err(f.error),
            }
            if let Ok(mut s) = slot.lock() {
                *s = None;
            }
        }
    }

    /// SELECT and DML.
    pub(super) async fn data(&mut self, program: &Arc<Program>, vars: &mut Vars, kind: &StmtKind, slot: &Slot) -> SqlResult<()> {
        if self.tran.doomed && !matches!(kind, StmtKind::Select(_)) {
            return Err(SqlError::new(
                3930,
                "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.",
            ));
        }
        let mut left = RETRIES;
        loop {
            let c = self.translated(&program.vars, slot, |n| translate(n, kind))?;
            if c.stmt.db.is_some() {
                self.start_implicit();
            }
            let result = if c.stmt.kind == Kind::Select {
                self.select(&c, vars).await
            } else {
                let job = self.job(&c, vars, Sink::Wire(None));
                self.write(&c, vars, job).await
            };
            match result {
                Ok(d) => {
                    self.finish_data(&c, vars, d);
                    return self.out.relieve().await;
                }
                Err(f) if f.stale && left > 0 => {
                    left -= 1;
                    if let Ok(mut s) = slot.lock() {
                        *s = None;
                    }
                }
                Err(f) => {
                    self.out.tokens(&f.wire);
                    self.rowcount = 0;
                    return Err(f.error);
                }
            }
        }
    }

    fn finish_data(&mut self, c: &Cached, vars: &mut Vars, mut d: Done) {
        self.rowcount = d.rows;
        if d.identity.is_some() {
            self.identity = d.identity;
        }
        if !c.stmt.assigns.is_empty() {
            if let Some(row) = d.last.take() {
                for (name, v) in c.stmt.assigns.iter().zip(row) {
                    vars.insert(name.clone(), v);
                }
            }
            return;
        }
        self.out.tokens(&d.wire);
        let command = match c.stmt.kind {
            Kind::Select => command::SELECT,
            Kind::Insert => command::INSERT,
            Kind::Update => command::UPDATE,
            Kind::Delete => command::DELETE,
        };
        let has_rows = !c.stmt.columns.is_empty();
        let count = if self.set.nocount { 0 } else { done::COUNT };
        let inxact = if self.tran.count > 0 { done::INXACT } else { 0 };
        if has_rows || !self.set.nocount {
            self.out.done(count | inxact, command, if self.set.nocount { 0 } else { d.rows });
        }
    }

    async fn select(&mut self, c: &Arc<Cached>, vars: &Vars) -> JobResult {
        self.read(c, vars, c.stmt.assigns.is_empty()).await
    }

    /// A job whose rows are sent ahead, or kept.
    fn reading_job(&self, c: &Cached, vars: &Vars, wire: bool) -> (Job, Option<mpsc::Receiver<bytes::Bytes>>) {
        if !wire {
            return (self.job(c, vars, Sink::Last), None);
        }
        let (tx, rx) = mpsc::channel(4);
        (self.job(c, vars, Sink::Wire(Some(tx))), Some(rx))
    }

    /// Runs a reading statement where this session's transaction must have it run.
    async fn read(&mut self, c: &Arc<Cached>, vars: &Vars, wire: bool) -> JobResult {
        let touches = c.stmt.db.is_some();
        let level = self.level();
        if self.tran.count > 0 && touches && !self.tran.doomed {
            self.check_alive()?;
            let wants = self.wants(c, vars, true);
            if level == Isolation::Snapshot && self.tran.handle.is_none() && wants.is_empty() {
                let (job, rx) = self.reading_job(c, vars, wire);
                return self.read_snapshot(&c.db, job, rx).await;
            }
            // Where readers are to see what is not committed yet, or a snapshot must stay what it is, what is locked is read through the writer.
            if level == Isolation::Snapshot || (!wants.is_empty() && self.shared.store.reads_through_writer()) {
                self.own_writer(&c.db, wants).await?;
            } else {
                self.lock(&wants).await?;
            }
            // The writer sees what was committed since, and this transaction must not.
            if level == Isolation::Snapshot && self.tran.snapshot.as_ref().is_some_and(|seen| seen.commits != c.db.changes.commits()) {
                return Err(update_conflict().into());
            }
        }
        let own = self.tran.handle.is_some() && self.tran.db.as_ref().is_some_and(|d| d.id == c.db.id);
        if own && touches {
            let (job, rx) = self.reading_job(c, vars, wire);
            let Some(handle) = self.tran.handle.take() else { return Err(cancelled().into()) };
            let result = {
                let work = handle.call(|reply| TxOp::Run(Box::new(job), reply));
                self.stream(work, rx).await
            };
            self.tran.handle = Some(handle);
            return self.after_tx(result);
        }
        if self.shared.store.reads_through_writer() && touches {
            let (job, rx) = self.reading_job(c, vars, wire);
            // Dirty reads wait for nobody.
            let dirty = self.shared.store.sabotage() == Some(Sabotage::DirtyRead);
            let wants = if dirty { vec![] } else { vec![(Thing::Writer(c.db.id), mode::GROUP)] };
            let work = self.auto(c, job, wants);
            return self.stream(async { Ok(work.await) }, rx).await;
        }
        let readers = self.shared.store.readers.clone();
        if readers.are_honest() && !c.long.load(Ordering::Relaxed) {
            let mut job = self.job(c, vars, if wire { Sink::Short } else { Sink::Last });
            if let Some(result) = c.db.read_here(&mut job, &c.long) {
                return result;
            }
        }
        let (job, rx) = self.reading_job(c, vars, wire);
        let db = c.db.clone();
        self.stream(async { Ok(readers.run(&db, job).await) }, rx).await
    }

    /// How many commits of a database this SNAPSHOT transaction sees: those before its first statement there.
    fn snapshot_of(&mut self, db: &Arc<Database>) -> SqlResult<u64> {
        let snapshot = self.tran.snapshot.get_or_insert_with(|| Snapshot { db: db.id, commits: db.changes.commits(), conn: None });
        if snapshot.db == db.id { Ok(snapshot.commits) } else { Err(SqlError::unsupported("transaction over two databases")) }
    }

    /// Reads what this transaction's snapshot holds, through a connection that keeps it.
    async fn read_snapshot(&mut self, db: &Arc<Database>, mut job: Job, rx: Option<mpsc::Receiver<bytes::Bytes>>) -> JobResult {
        self.snapshot_of(db)?;
        let conn = self.tran.snapshot.as_ref().and_then(|snapshot| snapshot.conn.clone());
        let db = db.clone();
        let work = tokio::task::spawn_blocking(move || {
            let conn = match conn {
                Some(conn) => conn,
                None => {
                    let conn = db.open_reader().map_err(|e| storage_error(&e))?;
                    conn.exec("BEGIN")?;
                    Arc::new(Mutex::new(conn))
                }
            };
            let result = conn.lock().map_err(|_| db.unavailable())?.run(&mut job)?;
            Ok::<_, Failed>((conn, result))
        });
        let mut kept = None;
        let result = self
            .stream(
                async {
                    let (conn, done) = match work.await {
                        Ok(Ok(read)) => read,
                        Ok(Err(failed)) => return Ok(Err(failed)),
                        Err(_) => return Err(cancelled()),
                    };
                    kept = Some(conn);
                    Ok(Ok(done))
                },
                rx,
            )
            .await;
        if let (Some(snapshot), Some(conn)) = (&mut self.tran.snapshot, kept) {
            snapshot.conn = Some(conn);
        }
        result
    }

    /// Waits for a statement while its rows are sent ahead.
    async fn stream(&mut self, work: impl Future<Output = SqlResult<JobResult>>, rx: Option<mpsc::Receiver<bytes::Bytes>>) -> JobResult {
        tokio::pin!(work);
        let Some(mut rx) = rx else { return work.await? };
        loop {
            tokio::select! {
                biased;
                chunk = rx.recv() => match chunk {
                    Some(chunk) => {
                        self.out.tokens(&chunk);
                        if self.out.relieve().await.is_err() {
                            self.cancel.set();
                            drop(rx);
                            return work.await?;
                        }
                    }
                    None => return work.await?,
                },
                r = &mut work => {
                    while let Ok(chunk) = rx.try_recv() {
                        self.out.tokens(&chunk);
                    }
                    return r?;
                }
            }
        }
    }

    async fn write(&mut self, c: &Arc<Cached>, vars: &Vars, job: Job) -> JobResult {
        if self.tran.count == 0 {
            let mut wants = self.wants(c, vars, false);
            wants.push((Thing::Writer(c.db.id), mode::GROUP));
            return self.auto(c, job, wants).await;
        }
        self.own_writer(&c.db, self.wants(c, vars, true)).await?;
        if self.tran.catalog.is_none() && c.db.catalog().version != c.version {
            return Err(Failed { stale: true, ..SqlError::new(0, "stale").into() });
        }
        let since = if self.level() == Isolation::Snapshot { Some(self.snapshot_of(&c.db)?) } else { None };
        let Some(handle) = &self.tran.handle else { return Err(cancelled().into()) };
        let result = match since {
            Some(commits) => handle.call(|reply| TxOp::RunSince(Box::new(job), commits, reply)).await,
            None => handle.call(|reply| TxOp::Run(Box::new(job), reply)).await,
        };
        let result = result.unwrap_or_else(|e| Err(e.into()));
        if let Ok(done) = &result {
            self.tran.written += 1 + done.rows.unsigned_abs();
        }
        self.after_tx(result)
    }

    /// Output parameters, encoded as RETURNVALUE.
    pub(super) fn return_value(&mut self, ordinal: usize, name: &str, ty: Ty, v: &Value) -> SqlResult<()> {
        let mut typed = Vec::new();
        rows::type_info(&mut typed, ty);
        rows::put(&mut typed, ty, v.into())?;
        self.out.release(true);
        token::put_return_value(&mut self.out.w.buf, u16::try_from(ordinal).unwrap_or(0), name, &typed);
        Ok(())
    }
}

/// Literals and variables need no SQLite.
fn plain(e: &Expr, program: &Program, vars: &Vars) -> Option<(Value, Ty)> {
    match e {
        Expr::Null => Some((Value::Null, Ty::Null)),
        Expr::Int(n) if i32::try_from(*n).is_ok() => Some((Value::Integer(*n), Ty::Int)),
        Expr::Var(v) => Some((vars.get(v).cloned().unwrap_or(Value::Null), *program.vars.get(v)?)),
        Expr::Str(s, true) if s.len() <= 4000 => {
            Some((Value::Text(s.clone()), Ty::NVarChar(u16::try_from(s.encode_utf16().count().max(1)).ok()?)))
        }
        Expr::Str(s, false) if s.len() <= 8000 && s.is_ascii() => {
            Some((Value::Text(s.clone()), Ty::VarChar(u16::try_from(s.len().max(1)).ok()?)))
        }
        _ => None,
    }
}
