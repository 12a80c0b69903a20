//! Statements other than DDL. T-SQL needs no semicolons: a statement ends where the next one's first word stands.

use super::ast::{Delete, Expr, Insert, InsertSource, Isolation, OutputItem, SetOption, Stmt, StmtKind, Update};
use super::lexer::Tok;
use super::parse_query::compound;
use super::parser::Parser;
use crate::error::{SqlError, SqlResult};

/// SETs that only name what this server does anyway, with the one value that is true of it.
const INERT_ON: &[&str] =
    &["ANSI_NULLS", "ANSI_PADDING", "ANSI_WARNINGS", "ANSI_NULL_DFLT_ON", "ARITHABORT", "QUOTED_IDENTIFIER", "CONCAT_NULL_YIELDS_NULL"];
const INERT_OFF: &[&str] = &[
    "FMTONLY",
    "NOEXEC",
    "PARSEONLY",
    "NUMERIC_ROUNDABORT",
    "CURSOR_CLOSE_ON_COMMIT",
    "ROWCOUNT",
    "SHOWPLAN_ALL",
    "SHOWPLAN_TEXT",
    "SHOWPLAN_XML",
    "ARITHIGNORE",
    "REMOTE_PROC_TRANSACTIONS",
    "ANSI_NULL_DFLT_OFF",
    "ANSI_DEFAULTS",
    "FORCEPLAN",
];

impl Parser<'_> {
    pub(super) fn stmt(&mut self) -> SqlResult<Stmt> {
        let line = self.line();
        let kind = self.nest(Self::stmt_kind).map_err(|e| e.at(line))?;
        Ok(Stmt { line, kind })
    }

    fn stmt_kind(&mut self) -> SqlResult<StmtKind> {
        let Tok::Word(w) = self.peek().clone() else {
            if self.is_op("(") {
                return self.query().map(StmtKind::Select);
            }
            return Err(self.err());
        };
        let w = w.to_uppercase();
        if matches!(w.as_str(), "SELECT" | "WITH") {
            return self.select_or_cte();
        }
        self.at += 1;
        match w.as_str() {
            "INSERT" => self.insert(),
            "UPDATE" => self.update(),
            "DELETE" => self.delete(),
            "CREATE" => self.create(),
            "DROP" => self.drop(),
            "ALTER" => self.alter(),
            "TRUNCATE" => {
                self.need_kw("TABLE")?;
                Ok(StmtKind::Truncate(self.obj()?))
            }
            "USE" => Ok(StmtKind::Use(self.ident()?)),
            "DECLARE" => self.declare(),
            "SET" => self.set(),
            "IF" => {
                let c = self.expr()?;
                let then = Box::new(self.stmt()?);
                let mark = self.at;
                while self.op(";") {}
                if self.kw("ELSE") {
                    return Ok(StmtKind::If(c, then, Some(Box::new(self.stmt()?))));
                }
                self.at = mark;
                Ok(StmtKind::If(c, then, None))
            }
            "WHILE" => {
                let c = self.expr()?;
                Ok(StmtKind::While(c, Box::new(self.stmt()?)))
            }
            "BEGIN" => self.begin(),
            "BREAK" => Ok(StmtKind::Break),
            "CONTINUE" => Ok(StmtKind::Continue),
            "PRINT" => Ok(StmtKind::Print(self.expr()?)),
            "RAISERROR" => {
                self.need("(")?;
                let args = self.expr_list()?;
                self.need(")")?;
                if self.kw("WITH") && !(self.kw("NOWAIT") || self.kw("SETERROR") || self.kw("LOG")) {
                    return Err(self.err());
                }
                Ok(StmtKind::Raiserror(args))
            }
            "THROW" => {
                if matches!(self.peek(), Tok::Int(_) | Tok::Var(_)) {
                    let n = self.expr()?;
                    self.need(",")?;
                    let m = self.expr()?;
                    self.need(",")?;
                    return Ok(StmtKind::Throw(Some((n, m, self.expr()?))));
                }
                Ok(StmtKind::Throw(None))
            }
            "WAITFOR" => {
                self.need_kw("DELAY")?;
                Ok(StmtKind::WaitFor(self.expr()?))
            }
            "COMMIT" | "ROLLBACK" | "SAVE" => self.end_tran(&w),
            "RETURN" => {
                if matches!(self.peek(), Tok::Int(_) | Tok::Var(_) | Tok::Op("-" | "(")) {
                    return Err(SqlError::new(178, "A RETURN statement with a return value cannot be used in this context.")
                        .class(15)
                        .at(self.line()));
                }
                Ok(StmtKind::Return)
            }
            "DBCC" => self.dbcc(),
            "EXEC" | "EXECUTE" => self.exec(),
            "CHECKPOINT" => Ok(StmtKind::Checkpoint),
            "MERGE" | "GRANT" | "REVOKE" | "DENY" | "BACKUP" | "RESTORE" | "GOTO" | "KILL" | "OPEN" | "CLOSE" | "FETCH" | "DEALLOCATE"
            | "BULK" | "SHUTDOWN" | "RECONFIGURE" | "REVERT" | "WRITETEXT" | "UPDATETEXT" | "READTEXT" => Err(SqlError::unsupported(w)),
            _ if self.at == 1 && self.is_known_proc(&w) => {
                self.at -= 1;
                self.exec()
            }
            _ => Err(self.err_prev()),
        }
    }

    fn is_known_proc(&self, w: &str) -> bool {
        w.starts_with("SP_") || w.starts_with("XP_")
    }

    fn select_or_cte(&mut self) -> SqlResult<StmtKind> {
        match self.query() {
            Ok(q) => Ok(StmtKind::Select(q)),
            Err(e) if ["INSERT", "UPDATE", "DELETE", "MERGE"].iter().any(|w| self.is_kw(w)) => {
                Err(SqlError::unsupported("WITH … INSERT/UPDATE/DELETE/MERGE").at(e.line))
            }
            Err(e) => Err(e),
        }
    }

    fn begin(&mut self) -> SqlResult<StmtKind> {
        if self.kw("TRAN") || self.kw("TRANSACTION") {
            if self.is_ident() || matches!(self.peek(), Tok::Var(_)) {
                self.next();
            }
            if self.kw("WITH") {
                return Err(SqlError::unsupported("BEGIN TRAN … WITH MARK"));
            }
            return Ok(StmtKind::Begin);
        }
        if self.is_kw("DISTRIBUTED") || self.is_kw("DIALOG") || self.is_kw("CONVERSATION") {
            return Err(SqlError::unsupported("BEGIN DISTRIBUTED/DIALOG/CONVERSATION"));
        }
        if self.kw("TRY") {
            let body = self.until_end()?;
            self.need_kw("TRY")?;
            while self.op(";") {}
            self.need_kw("BEGIN")?;
            self.need_kw("CATCH")?;
            let handler = self.until_end()?;
            self.need_kw("CATCH")?;
            return Ok(StmtKind::Try(body, handler));
        }
        let body = self.until_end()?;
        if body.is_empty() {
            return Err(self.err_prev());
        }
        Ok(StmtKind::Block(body))
    }

    fn until_end(&mut self) -> SqlResult<Vec<Stmt>> {
        let mut out = Vec::new();
        loop {
            while self.op(";") {}
            if self.kw("END") {
                return Ok(out);
            }
            out.push(self.stmt()?);
        }
    }

    fn end_tran(&mut self, w: &str) -> SqlResult<StmtKind> {
        if w == "COMMIT" || w == "ROLLBACK" {
            let named = self.kw("TRAN") || self.kw("TRANSACTION");
            if !named {
                self.kw("WORK");
            }
            let mut name = None;
            if named && (self.is_ident() || matches!(self.peek(), Tok::Var(_))) && !self.is_kw("THROW") {
                name = match self.next() {
                    Tok::Word(s) | Tok::Quoted(s) => Some(s),
                    _ => return Err(SqlError::unsupported("transaction name in a variable")),
                };
            }
            return Ok(if w == "COMMIT" { StmtKind::Commit } else { StmtKind::Rollback(name) });
        }
        if !self.kw("TRAN") {
            self.need_kw("TRANSACTION")?;
        }
        Ok(StmtKind::Save(self.ident()?))
    }

    fn declare(&mut self) -> SqlResult<StmtKind> {
        let mut out = Vec::new();
        loop {
            let Tok::Var(name) = self.next() else { return Err(self.err_prev()) };
            self.kw("AS");
            let ty = self.ty()?;
            let init = if self.op("=") { Some(self.expr()?) } else { None };
            out.push((name, ty, init));
            if !self.op(",") {
                return Ok(StmtKind::Declare(out));
            }
        }
    }

    fn set(&mut self) -> SqlResult<StmtKind> {
        if let Tok::Var(v) = self.peek().clone() {
            self.at += 1;
            let op = self.take_assign()?;
            let e = self.expr()?;
            return Ok(StmtKind::SetVar(v.clone(), compound(op, Expr::Var(v), e)));
        }
        let line = self.line();
        let Tok::Word(w) = self.next() else { return Err(self.err_prev()) };
        let mut names = vec![w.to_uppercase()];
        while self.op(",") {
            let Tok::Word(w) = self.next() else { return Err(self.err_prev()) };
            names.push(w.to_uppercase());
        }
        match names[0].as_str() {
            "TRANSACTION" => return self.isolation(),
            "LOCK_TIMEOUT" => return Ok(StmtKind::SetOption(SetOption::LockTimeout(self.expr()?))),
            "DEADLOCK_PRIORITY" => return self.deadlock_priority(),
            "TEXTSIZE" | "LANGUAGE" | "DATEFORMAT" | "DATEFIRST" | "ROWCOUNT" | "CONTEXT_INFO" | "QUERY_GOVERNOR_COST_LIMIT" => {
                return self.set_value(&names[0], line);
            }
            _ => {}
        }
        let on = if self.kw("ON") {
            true
        } else {
            self.need_kw("OFF")?;
            false
        };
        let mut list = Vec::new();
        for name in &names {
            let option = match name.as_str() {
                "NOCOUNT" => SetOption::NoCount(on),
                "XACT_ABORT" => SetOption::XactAbort(on),
                "IMPLICIT_TRANSACTIONS" => SetOption::ImplicitTransactions(on),
                // Of what this stands for, only this is not so anyway.
                "ANSI_DEFAULTS" if on => SetOption::ImplicitTransactions(true),
                n if on && INERT_ON.contains(&n) => SetOption::Inert,
                n if !on && INERT_OFF.contains(&n) => SetOption::Inert,
                // Clients send these at login for the legacy default.
                "CURSOR_CLOSE_ON_COMMIT" | "QUOTED_IDENTIFIER" | "ANSI_NULL_DFLT_ON" | "ANSI_PADDING" | "ARITHABORT" => SetOption::Inert,
                n => return Err(SqlError::unsupported(format!("SET {n} {}", if on { "ON" } else { "OFF" })).at(line)),
            };
            list.push(Stmt { line, kind: StmtKind::SetOption(option) });
        }
        Ok(StmtKind::Block(list))
    }

    fn deadlock_priority(&mut self) -> SqlResult<StmtKind> {
        let level = if self.kw("LOW") {
            Expr::Int(-5)
        } else if self.kw("NORMAL") {
            Expr::Int(0)
        } else if self.kw("HIGH") {
            Expr::Int(5)
        } else {
            self.expr()?
        };
        Ok(StmtKind::SetOption(SetOption::DeadlockPriority(level)))
    }

    /// SETs with a value: accepted where the value is what this server does.
    fn set_value(&mut self, name: &str, line: u32) -> SqlResult<StmtKind> {
        let neg = self.op("-");
        let value = match self.next() {
            Tok::Int(s) | Tok::Str(s, _) | Tok::Word(s) => s.to_lowercase(),
            _ => return Err(self.err_prev()),
        };
        let ok = match name {
            "TEXTSIZE" => {
                neg || value.parse::<i64>().is_ok_and(|n| n == 0 || n >= i64::from(i32::MAX) - 1) || value == "64512" || value == "4096"
            }
            "LANGUAGE" => matches!(value.as_str(), "us_english" | "english"),
            "DATEFORMAT" => value == "mdy",
            "DATEFIRST" => value == "7",
            "ROWCOUNT" => value == "0",
            _ => false,
        };
        if ok { Ok(StmtKind::SetOption(SetOption::Inert)) } else { Err(SqlError::unsupported(format!("SET {name} {value}")).at(line)) }
    }

    fn isolation(&mut self) -> SqlResult<StmtKind> {
        self.need_kw("ISOLATION")?;
        self.need_kw("LEVEL")?;
        let level = if self.kws(&["READ", "UNCOMMITTED"]) {
            Isolation::ReadUncommitted
        } else if self.kws(&["READ", "COMMITTED"]) {
            Isolation::ReadCommitted
        } else if self.kws(&["REPEATABLE", "READ"]) {
            Isolation::RepeatableRead
        } else if self.kw("SERIALIZABLE") {
            Isolation::Serializable
        } else if self.kw("SNAPSHOT") {
            Isolation::Snapshot
        } else {
            return Err(self.err());
        };
        Ok(StmtKind::SetOption(SetOption::Isolation(level)))
    }

    fn dbcc(&mut self) -> SqlResult<StmtKind> {
        let Tok::Word(name) = self.next() else { return Err(self.err_prev()) };
        let mut args = Vec::new();
        if self.op("(") && !self.op(")") {
            loop {
                args.push(if self.is_ident() { Expr::Str(self.ident()?, true) } else { self.expr()? });
                if !self.op(",") {
                    break;
                }
            }
            self.need(")")?;
        }
        if self.kw("WITH") {
            loop {
                let Tok::Word(w) = self.next() else { return Err(self.err_prev()) };
                if !matches!(w.to_uppercase().as_str(), "NO_INFOMSGS" | "ALL_ERRORMSGS" | "PHYSICAL_ONLY" | "TABLOCK" | "DATA_PURITY") {
                    return Err(SqlError::unsupported(format!("DBCC … WITH {w}")));
                }
                if !self.op(",") {
                    break;
                }
            }
        }
        Ok(StmtKind::Dbcc(name.to_uppercase(), args))
    }

    fn exec(&mut self) -> SqlResult<StmtKind> {
        if self.op("(") {
            let e = self.expr()?;
            self.need(")")?;
            return Ok(StmtKind::ExecText(e));
        }
        if let (Tok::Var(_), Tok::Op("=")) = (self.peek(), self.peek_at(1)) {
            return Err(SqlError::unsupported("EXEC @status = …"));
        }
        let name = self.obj()?;
        let mut args = Vec::new();
        if matches!(
            self.peek(),
            Tok::Var(_) | Tok::SysVar(_) | Tok::Str(..) | Tok::Int(_) | Tok::Dec(_) | Tok::Float(_) | Tok::Hex(_) | Tok::Op("-")
        ) || self.is_kw("NULL")
        {
            loop {
                let mut label = None;
                if let (Tok::Var(v), Tok::Op("=")) = (self.peek().clone(), self.peek_at(1)) {
                    self.at += 2;
                    label = Some(v);
                }
                args.push((label, self.expr()?));
                if self.kw("OUTPUT") || self.kw("OUT") {
                    return Err(SqlError::unsupported("EXEC … OUTPUT"));
                }
                if !self.op(",") {
                    break;
                }
            }
        }
        Ok(StmtKind::Exec(name, args))
    }

    fn output(&mut self) -> SqlResult<Vec<OutputItem>> {
        let mut out = Vec::new();
        if !self.kw("OUTPUT") {
            return Ok(out);
        }
        loop {
            let deleted = if self.kw("INSERTED") {
                false
            } else if self.kw("DELETED") {
                true
            } else {
                return Err(SqlError::unsupported("OUTPUT of anything but inserted and deleted columns").at(self.line()));
            };
            self.need(".")?;
            let column = if self.op("*") { None } else { Some(self.ident()?) };
            let alias = if self.kw("AS") { Some(self.ident()?) } else { None };
            out.push(OutputItem { deleted, column, alias });
            if !self.op(",") {
                break;
            }
        }
        if self.is_kw("INTO") {
            return Err(SqlError::unsupported("OUTPUT … INTO").at(self.line()));
        }
        Ok(out)
    }

    fn insert(&mut self) -> SqlResult<StmtKind> {
        if self.is_kw("TOP") {
            return Err(SqlError::unsupported("INSERT TOP"));
        }
        if self.is_kw("BULK") {
            return Err(SqlError::unsupported("INSERT BULK"));
        }
        self.kw("INTO");
        let table = self.obj()?;
        self.hints()?;
        let columns = if self.is_op("(") && !matches!(self.peek_at(1), Tok::Word(w) if w.eq_ignore_ascii_case("SELECT")) {
            self.idents()?
        } else {
            vec![]
        };
        let output = self.output()?;
        let source = if self.kw("VALUES") {
            InsertSource::Values(self.rows()?)
        } else if self.kws(&["DEFAULT", "VALUES"]) {
            InsertSource::Defaults
        } else if self.is_kw("SELECT") || self.is_kw("WITH") || self.is_op("(") {
            InsertSource::Query(Box::new(self.query()?))
        } else if self.is_kw("EXEC") || self.is_kw("EXECUTE") {
            return Err(SqlError::unsupported("INSERT … EXEC"));
        } else {
            return Err(self.err());
        };
        Ok(StmtKind::Insert(Insert { table, columns, output, source }))
    }

    fn update(&mut self) -> SqlResult<StmtKind> {
        let top = self.top()?;
        let table = self.obj()?;
        self.hints()?;
        self.need_kw("SET")?;
        let mut sets = Vec::new();
        loop {
            let (name, target) = if let Tok::Var(v) = self.peek().clone() {
                return Err(SqlError::unsupported(format!("UPDATE … SET {v} = …")).at(self.line()));
            } else {
                let mut name = self.ident()?;
                while self.op(".") {
                    name = self.ident()?;
                }
                (name.clone(), Expr::Col(vec![name]))
            };
            let op = self.take_assign()?;
            let e = self.expr()?;
            sets.push((name, compound(op, target, e)));
            if !self.op(",") {
                break;
            }
        }
        let output = self.output()?;
        let from = if self.kw("FROM") { self.table_list()? } else { vec![] };
        let filter = self.where_clause()?;
        Ok(StmtKind::Update(Update { table, top, sets, output, from, filter }))
    }

    fn where_clause(&mut self) -> SqlResult<Option<Expr>> {
        if !self.kw("WHERE") {
            return Ok(None);
        }
        if self.is_kw("CURRENT") {
            return Err(SqlError::unsupported("WHERE CURRENT OF"));
        }
        self.expr().map(Some)
    }

    fn delete(&mut self) -> SqlResult<StmtKind> {
        let top = self.top()?;
        self.kw("FROM");
        let table = self.obj()?;
        self.hints()?;
        let output = self.output()?;
        let from = if self.kw("FROM") { self.table_list()? } else { vec![] };
        let filter = self.where_clause()?;
        Ok(StmtKind::Delete(Delete { table, top, output, from, filter }))
    }
}
