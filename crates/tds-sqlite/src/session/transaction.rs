//! The transaction that a session's statements run in: what it locks, how it takes the writer, how it ends.

use super::program::Cached;
use super::run::Vars;
use super::{Session, Tran};
use crate::engine::conn::{Failed, Job, cancelled};
use crate::engine::locks::{Patience, Thing, Verdict, Wants, mode};
use crate::engine::orders::{Auto, JobResult, Msg, TxOp, gone};
use crate::engine::store::Database;
use crate::error::{SqlError, SqlResult};
use crate::proto::token;
use crate::sabotage::Sabotage;
use crate::sql::ast::{Isolation, ObjName};
use crate::translate::{Key, Kind};
use crate::value::Value;
use std::sync::Arc;
use tokio::sync::oneshot;

impl Session {
    /// When the writer gave the transaction up, so does the session.
    pub(super) fn after_tx(&mut self, result: JobResult) -> JobResult {
        if let Err(f) = &result
            && matches!(f.error.number, 1205 | 1105 | 823)
        {
            self.tran.handle = None;
            self.tran.locks = None;
            self.tran.lost = true;
        }
        result
    }

    /// 1205 when the transaction was ended while nobody asked for anything.
    pub(super) fn check_alive(&self) -> SqlResult<()> {
        if self.tran.lost { Err(gone()) } else { Ok(()) }
    }

    /// Whether others may be waiting for this session's transaction.
    pub(super) fn holds(&self) -> bool {
        self.tran.handle.is_some() || self.tran.locks.is_some()
    }

    /// What a statement must lock. In a transaction that has the writer nothing can change under what is read.
    pub(super) fn wants(&self, c: &Cached, vars: &Vars, in_transaction: bool) -> Wants {
        // Under this defect the writer alone keeps transactions apart, and what is changed is all that is looked at.
        if in_transaction && self.shared.store.sabotage() == Some(Sabotage::WriteSkew) {
            return Wants::new();
        }
        let keeps = matches!(self.level(), Isolation::RepeatableRead | Isolation::Serializable);
        let owns = self.tran.handle.is_some() && self.tran.db.as_ref().is_some_and(|db| db.id == c.db.id);
        let mut wants = Wants::new();
        for (at, touch) in c.stmt.locks.iter().enumerate() {
            let written = at == 0 && c.stmt.kind != Kind::Select;
            let how = match (written, in_transaction) {
                (true, true) => mode::WRITE,
                (true, false) => mode::AUTO,
                (false, true) if !owns => {
                    let read = if keeps || touch.hint.keep { mode::READ } else { 0 };
                    read | if touch.hint.update { mode::UPDATE } else { 0 }
                }
                (false, _) => 0,
            };
            if how == 0 {
                continue;
            }
            let row = match &touch.key {
                _ if touch.hint.whole => None,
                Some(Key::Int(key)) => Some(*key),
                Some(Key::Var(name)) => vars.get(name).and_then(|value| if let Value::Integer(key) = value { Some(*key) } else { None }),
                None => None,
            };
            let table = Thing::Table(c.db.id, touch.table);
            match row {
                Some(key) => wants.extend([(table, mode::intent(how)), (Thing::Row(c.db.id, touch.table, key), how)]),
                None => wants.push((table, how)),
            }
        }
        wants
    }

    fn patience(&self) -> Patience<'_> {
        Patience { timeout_ms: self.set.lock_timeout_ms, cancel: &self.cancel.notify }
    }

    /// Takes locks for this transaction, waiting as LOCK_TIMEOUT and the client allow. A victim has been rolled back when it learns of it.
    pub(super) async fn lock(&mut self, wants: &Wants) -> SqlResult<()> {
        if wants.is_empty() {
            return Ok(());
        }
        let owner = match self.tran.locks.take() {
            Some(owner) => owner,
            None => self.shared.store.locks.owner(),
        };
        let verdict = owner.lock(wants, self.set.deadlock_priority, self.tran.written, self.patience()).await;
        self.tran.locks = Some(owner);
        match verdict {
            Verdict::Granted => Ok(()),
            Verdict::TimedOut => Err(SqlError::lock_timeout()),
            Verdict::Cancelled => Err(cancelled()),
            Verdict::Victim => {
                self.lose().await;
                Err(SqlError::deadlock(self.spid))
            }
        }
    }

    /// Rolls back and releases everything; the transaction is over for others, and its session learns of it.
    pub(super) async fn lose(&mut self) {
        if let Some(handle) = self.tran.handle.take() {
            let _ = handle.call(TxOp::Rollback).await;
        }
        self.tran.locks = None;
        self.tran.lost = true;
    }

    /// What a definition that is about a table locks of it, if it is there.
    pub(super) fn wants_table(&self, db: &Arc<Database>, name: Option<&ObjName>) -> Wants {
        let id = name.and_then(|name| self.catalog_of(db).table(name).map(|t| t.id));
        id.map(|id| (Thing::Table(db.id, id), mode::WRITE)).into_iter().collect()
    }

    /// An autocommit statement: waits for its locks as long as LOCK_TIMEOUT and the client allow, then for its commit.
    pub(super) fn auto(&self, c: &Cached, job: Job, wants: Wants) -> impl Future<Output = JobResult> + use<> {
        let (db, version) = (c.db.clone(), c.version);
        let (locks, cancel, timeout_ms) = (self.shared.store.locks.clone(), self.cancel.clone(), self.set.lock_timeout_ms);
        async move {
            let held = match locks.auto(wants, Patience { timeout_ms, cancel: &cancel.notify }).await {
                Ok(held) => held,
                Err(Verdict::TimedOut) => return Err(SqlError::lock_timeout().into()),
                Err(_) => return Err(cancelled().into()),
            };
            let (reply, rx) = oneshot::channel();
            db.send(Msg::Auto(Box::new(Auto { job, version, reply })))?;
            let result = rx.await.map_err(|_| Failed::from(db.unavailable().class(20)))?;
            drop(held);
            result
        }
    }

    /// Takes the writer of a database for this transaction, together with other locks, waiting as LOCK_TIMEOUT allows.
    pub(super) async fn own_writer(&mut self, db: &Arc<Database>, mut wants: Wants) -> SqlResult<()> {
        self.check_alive()?;
        if self.tran.handle.is_some() {
            return match &self.tran.db {
                Some(d) if d.id == db.id => self.lock(&wants).await,
                _ => Err(SqlError::unsupported("transaction over two databases")),
            };
        }
        wants.push((Thing::Writer(db.id), mode::OWN));
        self.lock(&wants).await?;
        let (reply, rx) = oneshot::channel();
        db.send(Msg::Begin(reply))?;
        let handle = rx.await.map_err(|_| db.unavailable().class(20))?;
        self.tran.handle = Some(handle);
        self.tran.db = Some(db.clone());
        Ok(())
    }

    /// The level at which this session's transactions run.
    pub(super) fn level(&self) -> Isolation {
        match (self.shared.store.sabotage(), self.set.isolation) {
            (Some(Sabotage::LostUpdate), _) => Isolation::ReadCommitted,
            (Some(Sabotage::WriteSkew), Isolation::RepeatableRead | Isolation::Serializable) => Isolation::Snapshot,
            (_, level) => level,
        }
    }

    pub(super) fn start_implicit(&mut self) {
        if self.set.implicit && self.tran.count == 0 {
            self.begin();
        }
    }

    pub(super) fn begin(&mut self) {
        self.tran.count += 1;
        if self.tran.count == 1 {
            self.tran.id = self.shared.next_transaction();
            self.out.release(true);
            token::put_env_bytes(&mut self.out.w.buf, 8, &self.tran.id.to_le_bytes(), &[]);
        }
    }

    pub(super) async fn commit(&mut self) -> SqlResult<()> {
        match self.tran.count {
            0 => return Err(SqlError::new(3902, "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.")),
            1 => {}
            _ => {
                self.tran.count -= 1;
                return Ok(());
            }
        }
        if self.tran.doomed {
            return Err(SqlError::new(
                3930,
                "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.",
            ));
        }
        let tran = std::mem::take(&mut self.tran);
        if let Some(h) = &tran.handle {
            let work = h.call(|reply| TxOp::Commit(tran.catalog, tran.locks, reply));
            work.await.and_then(|r| r).inspect_err(|_| self.end_tran(10, tran.id))?;
        } else if tran.lost {
            self.end_tran(10, tran.id);
            return Err(gone());
        }
        self.end_tran(9, tran.id);
        Ok(())
    }

    fn end_tran(&mut self, kind: u8, id: u64) {
        self.out.release(true);
        token::put_env_bytes(&mut self.out.w.buf, kind, &[], &id.to_le_bytes());
    }

    pub(super) async fn rollback(&mut self, name: Option<&str>) -> SqlResult<()> {
        if self.tran.count == 0 {
            return Err(SqlError::new(3903, "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION."));
        }
        if let Some(name) = name
            && let Some(h) = &self.tran.handle
        {
            let missing = || SqlError::new(6401, format!("Cannot roll back {name}. No transaction or savepoint of that name was found."));
            let at = self.tran.saves.iter().rposition(|s| s.0.eq_ignore_ascii_case(name)).ok_or_else(missing)?;
            let sql = format!("ROLLBACK TO {}", crate::engine::catalog::quote(&format!("s.{}", name.to_lowercase())));
            h.call(|reply| TxOp::Script(vec![sql], reply)).await?.map_err(|_| missing())?;
            self.tran.saves.truncate(at + 1);
            self.tran.catalog.clone_from(&self.tran.saves[at].1);
            return Ok(());
        }
        self.rollback_all().await
    }

    /// Ends the transaction, if there is one.
    pub(super) async fn rollback_all(&mut self) -> SqlResult<()> {
        if self.tran.count == 0 {
            return Ok(());
        }
        let tran: Tran = std::mem::take(&mut self.tran);
        if let Some(h) = &tran.handle {
            // A writer that is gone has rolled back.
            let _ = h.call(TxOp::Rollback).await;
        }
        self.end_tran(10, tran.id);
        Ok(())
    }

    pub(super) async fn save(&mut self, name: &str) -> SqlResult<()> {
        if self.tran.count == 0 {
            return Err(SqlError::new(628, "Cannot issue SAVE TRANSACTION when there is no active transaction.").state(0));
        }
        let db = self.tran.db.clone().unwrap_or_else(|| self.db.clone());
        self.own_writer(&db, vec![]).await?;
        let sql = format!("SAVEPOINT {}", crate::engine::catalog::quote(&format!("s.{}", name.to_lowercase())));
        if let Some(h) = &self.tran.handle {
            h.call(|reply| TxOp::Script(vec![sql], reply)).await??;
            self.tran.saves.push((name.to_lowercase(), self.tran.catalog.clone()));
        }
        Ok(())
    }
}
