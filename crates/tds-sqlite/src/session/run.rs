//! The interpreter: walks a program, keeps @@ERROR and friends, decides what an error does to the batch and the transaction.

use super::Session;
use super::program::{Op, Program, Slot};
use crate::engine::conn::cancelled;
use crate::error::{SqlError, SqlResult};
use crate::proto::token::{self, done};
use crate::sql::ast::{Expr, SetOption, StmtKind};
use crate::sql::types::{MAX, Ty};
use crate::value::{Value, text_of};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Values of variables.
pub(super) type Vars = HashMap<String, Value>;

/// Nesting of EXEC.
const DEPTH_MAX: usize = 32;
/// Longest WAITFOR.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// What follows a statement.
pub(super) enum Flow {
    Next,
    Return,
}

impl Session {
    /// Runs a program. What nothing in it catches has been reported, except in dynamic SQL for what is the program's around it: that is returned.
    pub(super) async fn run(&mut self, program: &Arc<Program>, vars: &mut Vars) -> SqlResult<()> {
        let mut at = 0;
        let mut tries: Vec<usize> = Vec::new();
        let caught_before = self.caught.len();
        let guarded_before = self.guarded;
        let mut result = Ok(());
        let mut steps = 0u32;
        while let Some(op) = program.ops.get(at) {
            if self.cancel.is_set() {
                break;
            }
            // A loop that never waits must not keep the thread from other sessions.
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(64) {
                tokio::task::yield_now().await;
            }
            at += 1;
            self.guarded = guarded_before || !tries.is_empty();
            let did = match op {
                Op::Jump(to) => {
                    at = *to;
                    continue;
                }
                Op::Try(handler) => {
                    tries.push(*handler);
                    continue;
                }
                Op::EndTry(after) => {
                    tries.pop();
                    at = *after;
                    continue;
                }
                Op::EndCatch => {
                    self.caught.pop();
                    continue;
                }
                Op::Unless(line, cond, to, slot) => match self.condition(program, vars, cond, slot).await {
                    Ok(true) => Ok(Flow::Next),
                    Ok(false) => {
                        at = *to;
                        Ok(Flow::Next)
                    }
                    Err(e) => Err(e.at(*line)),
                },
                Op::Do(line, kind, slot) => self.step(program, vars, kind, slot).await.map_err(|e| e.at(*line)),
            };
            match did {
                Ok(Flow::Next) => {}
                Ok(Flow::Return) => break,
                Err(e) => match self.failed(e, tries.pop(), guarded_before, &mut at).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(e) => {
                        result = Err(e);
                        break;
                    }
                },
            }
        }
        self.caught.truncate(caught_before);
        self.guarded = guarded_before;
        result
    }

    /// Deals with an error; true when the batch is over, and the error itself when the program around this one is to deal with it.
    async fn failed(&mut self, e: SqlError, handler: Option<usize>, guarded: bool, at: &mut usize) -> SqlResult<bool> {
        if self.cancel.is_set() {
            return Ok(true);
        }
        let raised = e.raised && !e.thrown;
        let fatal_to_tran = !raised && (e.ends_transaction() || (self.set.xact_abort && self.tran.count > 0));
        if let Some(handler) = handler.filter(|_| e.class < 20) {
            self.error = e.number;
            if fatal_to_tran && self.tran.count > 0 {
                // A deadlock victim or a broken snapshot is gone already; every other error leaves the transaction to the handler's ROLLBACK.
                self.tran.doomed = true;
            }
            self.caught.push(e);
            *at = handler;
            return Ok(false);
        }
        let ends = e.ends_batch() || (self.set.xact_abort && !raised) || self.tran.doomed;
        if self.depth > 0 && (guarded || ends) {
            return Err(e);
        }
        self.report(&e);
        if fatal_to_tran {
            let _ = self.rollback_all().await;
        }
        self.out.done(done::ERROR, 0, 0);
        Ok(ends)
    }

    /// One statement.
    async fn step(&mut self, program: &Arc<Program>, vars: &mut Vars, kind: &StmtKind, slot: &Slot) -> SqlResult<Flow> {
        self.now = self.shared.store.now();
        match kind {
            StmtKind::Select(_) | StmtKind::Insert(_) | StmtKind::Update(_) | StmtKind::Delete(_) => {
                self.data(program, vars, kind, slot).await?
            }
            StmtKind::SetVar(name, e) => {
                let ty = *program
                    .vars
                    .get(name)
                    .ok_or_else(|| SqlError::new(137, format!("Must declare the scalar variable \"{name}\".")).class(15).state(2))?;
                let v = self.scalar(program, vars, e, Some(ty), slot).await?.0;
                vars.insert(name.clone(), v);
            }
            StmtKind::SetOption(o) => self.option(program, vars, o, slot).await?,
            StmtKind::Print(e) => {
                let (v, ty) = self.scalar(program, vars, e, Some(Ty::NVarChar(MAX)), slot).await?;
                self.info(&text_of(&v, ty));
            }
            StmtKind::Raiserror(args) => return self.raiserror(program, vars, args).await,
            StmtKind::Throw(args) => return Err(self.throw(program, vars, args.as_ref()).await?),
            StmtKind::WaitFor(e) => self.wait_for(program, vars, e, slot).await?,
            StmtKind::Begin => self.begin(),
            StmtKind::Commit => self.commit().await?,
            StmtKind::Rollback(name) => self.rollback(name.as_deref()).await?,
            StmtKind::Save(name) => self.save(name).await?,
            StmtKind::Return => return Ok(Flow::Return),
            StmtKind::Use(name) => self.use_database(name)?,
            StmtKind::ExecText(e) => {
                let (v, ty) = self.scalar(program, vars, e, Some(Ty::NVarChar(MAX)), slot).await?;
                self.nested(&text_of(&v, ty), "", vec![]).await?;
                // @@ERROR stays what the last statement in there left.
                return Ok(Flow::Next);
            }
            StmtKind::Exec(name, args) => {
                self.exec(program, vars, name, args).await?;
                return Ok(Flow::Next);
            }
            _ => self.definition(program, vars, kind).await?,
        }
        self.error = 0;
        Ok(Flow::Next)
    }

    fn info(&mut self, text: &str) {
        let server = self.shared.name.clone();
        self.out.message(&SqlError::new(0, text).class(0), &server);
    }

    fn use_database(&mut self, name: &str) -> SqlResult<()> {
        let db = self.shared.store.database(name).ok_or_else(|| {
            SqlError::new(911, format!("Database '{name}' does not exist. Make sure that the name is entered correctly."))
        })?;
        let old = std::mem::replace(&mut self.db, db);
        self.out.release(true);
        token::put_env_text(&mut self.out.w.buf, 1, &self.db.name, &old.name);
        let text = format!("Changed database context to '{}'.", self.db.name);
        let server = self.shared.name.clone();
        self.out.message(&SqlError::new(5701, text).class(0).state(2), &server);
        self.shared.update(self.spid, self.db.id, self.set.isolation);
        Ok(())
    }

    async fn option(&mut self, program: &Arc<Program>, vars: &mut Vars, o: &SetOption, slot: &Slot) -> SqlResult<()> {
        match o {
            SetOption::NoCount(b) => self.set.nocount = *b,
            SetOption::XactAbort(b) => self.set.xact_abort = *b,
            SetOption::ImplicitTransactions(b) => self.set.implicit = *b,
            SetOption::LockTimeout(e) => {
                if let (Value::Integer(n), _) = self.scalar(program, vars, e, Some(Ty::Int), slot).await? {
                    self.set.lock_timeout_ms = n.max(-1);
                }
            }
            SetOption::DeadlockPriority(e) => {
                let (value, ty) = self.scalar(program, vars, e, None, slot).await?;
                let text = text_of(&value, ty);
                self.set.deadlock_priority = match text.trim().to_uppercase().as_str() {
                    "LOW" => -5,
                    "NORMAL" => 0,
                    "HIGH" => 5,
                    number => number
                        .parse()
                        .ok()
                        .filter(|n| (-10..=10).contains(n))
                        .ok_or_else(|| SqlError::unsupported(format!("SET DEADLOCK_PRIORITY {text}")))?,
                };
            }
            SetOption::Isolation(l) => self.set_isolation(*l),
            SetOption::Inert => {}
        }
        Ok(())
    }

    async fn raiserror(&mut self, program: &Arc<Program>, vars: &mut Vars, args: &[Expr]) -> SqlResult<Flow> {
        let mut values = Vec::new();
        for a in args {
            values.push(self.scalar(program, vars, a, None, &Slot::default()).await?);
        }
        let [(msg, mty), (sev, _), (state, _), rest @ ..] = &values[..] else {
            return Err(SqlError::syntax("RAISERROR"));
        };
        let number = |v: &Value| match v {
            Value::Integer(n) => *n,
            _ => 0,
        };
        if !mty.is_text() {
            return Err(SqlError::new(
                18_054,
                format!(
                    "Error {}, severity {}, state {} was raised, but no message with that error number was found in sys.messages.",
                    number(msg),
                    number(sev),
                    number(state)
                ),
            ));
        }
        let text = substitute(&text_of(msg, *mty), rest);
        let class = u8::try_from(number(sev).clamp(0, 18)).unwrap_or(16);
        let state = u8::try_from(number(state).clamp(0, 255)).unwrap_or(1);
        if class <= 10 {
            let server = self.shared.name.clone();
            self.out.message(&SqlError::new(50_000, text).class(class).state(state), &server);
            return Ok(Flow::Next);
        }
        let mut e = SqlError::new(50_000, text).class(class).state(state);
        e.raised = true;
        Err(e)
    }

    async fn throw(&mut self, program: &Arc<Program>, vars: &mut Vars, args: Option<&(Expr, Expr, Expr)>) -> SqlResult<SqlError> {
        let Some((n, m, s)) = args else {
            let mut e = self.caught.last().cloned().ok_or_else(|| {
                SqlError::new(10_704, "To rethrow an error, a THROW statement must be used inside a CATCH block. Insert the THROW statement inside a CATCH block, or add error parameters to the THROW statement.")
                    .class(15)
            })?;
            e.thrown = true;
            return Ok(e);
        };
        let n = self.scalar(program, vars, n, Some(Ty::Int), &Slot::default()).await?.0;
        let m = self.scalar(program, vars, m, Some(Ty::NVarChar(2048)), &Slot::default()).await?.0;
        let s = self.scalar(program, vars, s, Some(Ty::Int), &Slot::default()).await?.0;
        let Value::Integer(n) = n else {
            return Err(SqlError::new(35_100, "Error number NULL in the THROW statement is outside the valid range."));
        };
        if !(50_000..=i64::from(i32::MAX)).contains(&n) {
            return Err(SqlError::new(
                35_100,
                format!(
                    "Error number {n} in the THROW statement is outside the valid range. Specify an error number in the valid range of 50000 to 2147483647."
                ),
            ));
        }
        let state = match s {
            Value::Integer(s) => u8::try_from(s.clamp(0, 255)).unwrap_or(1),
            _ => 1,
        };
        let mut e = SqlError::new(i32::try_from(n).unwrap_or(50_000), text_of(&m, Ty::NVarChar(2048))).state(state);
        e.thrown = true;
        Ok(e)
    }

    async fn wait_for(&mut self, program: &Arc<Program>, vars: &mut Vars, e: &Expr, slot: &Slot) -> SqlResult<()> {
        let (v, ty) = self.scalar(program, vars, e, None, slot).await?;
        let text = text_of(&v, ty);
        let bad = || SqlError::new(148, format!("Incorrect time syntax in time string '{text}' used with WAITFOR.")).class(15);
        let (ticks, _) = crate::value::datetime::parse(&text).ok_or_else(bad)?;
        let ticks = u64::try_from(ticks.rem_euclid(crate::value::datetime::DAY)).map_err(|_| bad())?;
        let time = Duration::from_nanos(ticks * 100).min(WAIT_MAX);
        let cancel = self.cancel.clone();
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = cancel.notify.notified() => Err(cancelled()),
        }
    }

    async fn exec(
        &mut self,
        program: &Arc<Program>,
        vars: &mut Vars,
        name: &crate::sql::ast::ObjName,
        args: &[(Option<String>, Expr)],
    ) -> SqlResult<()> {
        let mut values = Vec::new();
        for (label, e) in args {
            values.push((label.clone(), self.scalar(program, vars, e, None, &Slot::default()).await?));
        }
        match name.name.to_lowercase().as_str() {
            "sp_executesql" => {
                let mut it = values.into_iter();
                let text = it.next().map(|(_, (v, t))| text_of(&v, t)).unwrap_or_default();
                let decl = it.next().map(|(_, (v, t))| text_of(&v, t)).unwrap_or_default();
                let params = it
                    .map(|(l, (v, t))| crate::proto::params::RpcParam { name: l.unwrap_or_default(), output: false, ty: t, value: v })
                    .collect();
                self.nested(&text, &decl, params).await
            }
            "sp_set_session_context" | "sp_reset_connection" => Err(SqlError::unsupported(&name.name)),
            _ => Err(SqlError::new(2812, format!("Could not find stored procedure '{}'.", name.shown())).state(62)),
        }
    }

    /// Dynamic SQL: its own variables, the same session. An error that is not the caller's has been reported.
    async fn nested(&mut self, text: &str, decl: &str, given: Vec<crate::proto::params::RpcParam>) -> SqlResult<()> {
        if self.depth >= DEPTH_MAX {
            return Err(SqlError::new(217, "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32)."));
        }
        let result = match self.shared.programs.get(text, decl) {
            Ok(super::Prepared { program, params }) => {
                let mut vars = super::rpc::bind(&params, given)?;
                self.depth += 1;
                let result = Box::pin(self.run(&program, &mut vars)).await;
                self.depth -= 1;
                result
            }
            Err(e) => Err(e),
        };
        match result {
            Err(e) if e.is_of_compiling() && !self.guarded && !self.set.xact_abort && !self.tran.doomed => {
                self.report(&e);
                self.out.done(done::ERROR, 0, 0);
                Ok(())
            }
            result => result,
        }
    }
}

/// RAISERROR's printf: %s, %d, %i, %u, %x, %%.
fn substitute(format: &str, args: &[(Value, Ty)]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        while chars.peek().is_some_and(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '#' | '*' | '.' | 'l' | 'I')) {
            chars.next();
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some('x') => match args.next() {
                Some((Value::Integer(n), _)) => out.push_str(&format!("{n:x}")),
                _ => out.push_str("(null)"),
            },
            Some(_) => match args.next() {
                Some((Value::Null, _)) | None => out.push_str("(null)"),
                Some((v, t)) => out.push_str(&text_of(v, *t)),
            },
            None => {}
        }
    }
    out
}
