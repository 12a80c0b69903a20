//! CREATE, ALTER and DROP.

use super::ast::{ColumnDef, Constraint, ConstraintKind, CreateIndex, CreateTable, StmtKind};
use super::lexer::Tok;
use super::parser::Parser;
use crate::error::{SqlError, SqlResult};

impl Parser<'_> {
    fn text_from(&self, start: usize) -> String {
        let end = self.toks[self.at.saturating_sub(1)].span.1;
        self.text[self.toks[start].span.0..end].to_owned()
    }

    pub(super) fn create(&mut self) -> SqlResult<StmtKind> {
        let start = self.at - 1;
        if self.kw("DATABASE") {
            let name = self.ident()?;
            if self.is_kw("ON") || self.is_kw("AS") || self.is_kw("COLLATE") || self.is_kw("CONTAINMENT") {
                return Err(SqlError::unsupported("CREATE DATABASE with options"));
            }
            return Ok(StmtKind::CreateDatabase(name));
        }
        if self.kw("TABLE") {
            return self.create_table(start);
        }
        let unique = self.kw("UNIQUE");
        if !self.kw("CLUSTERED") {
            self.kw("NONCLUSTERED");
        }
        if self.kw("INDEX") {
            return self.create_index(start, unique);
        }
        match self.next() {
            Tok::Word(w) => Err(SqlError::unsupported(format!("CREATE {}", w.to_uppercase()))),
            _ => Err(self.err_prev()),
        }
    }

    fn create_index(&mut self, start: usize, unique: bool) -> SqlResult<StmtKind> {
        let name = self.ident()?;
        self.need_kw("ON")?;
        let table = self.obj()?;
        self.need("(")?;
        let mut columns = Vec::new();
        loop {
            let c = self.ident()?;
            columns.push((c, self.kw("DESC")));
            self.kw("ASC");
            if !self.op(",") {
                break;
            }
        }
        self.need(")")?;
        if self.kw("INCLUDE") {
            self.idents()?;
        }
        let filter = if self.kw("WHERE") { Some(self.expr()?) } else { None };
        if self.is_kw("WITH") {
            self.index_options()?;
        }
        let text = self.text_from(start);
        Ok(StmtKind::CreateIndex(CreateIndex { name, table, unique, columns, filter, text }))
    }

    /// WITH (…) of an index: physical hints only, which a B-tree here has no use for; IGNORE_DUP_KEY changes results.
    fn index_options(&mut self) -> SqlResult<()> {
        self.need_kw("WITH")?;
        self.need("(")?;
        loop {
            let Tok::Word(w) = self.next() else { return Err(self.err_prev()) };
            self.need("=")?;
            let value = self.next();
            let on = matches!(&value, Tok::Word(v) if v.eq_ignore_ascii_case("ON"));
            if w.eq_ignore_ascii_case("IGNORE_DUP_KEY") && on {
                return Err(SqlError::unsupported("IGNORE_DUP_KEY = ON"));
            }
            if !self.op(",") {
                return self.need(")");
            }
        }
    }

    fn create_table(&mut self, start: usize) -> SqlResult<StmtKind> {
        let name = self.obj()?;
        if name.name.starts_with('#') {
            return Err(SqlError::unsupported("CREATE TABLE of a temporary table"));
        }
        self.need("(")?;
        let mut columns = Vec::new();
        let mut constraints = Vec::new();
        loop {
            if self.is_kw("CONSTRAINT") || self.is_kw("PRIMARY") || self.is_kw("UNIQUE") || self.is_kw("CHECK") || self.is_kw("FOREIGN") {
                let name = if self.kw("CONSTRAINT") { Some(self.ident()?) } else { None };
                let kind = self.constraint(None)?;
                constraints.push(Constraint { name, kind });
            } else if self.is_kw("INDEX") {
                return Err(SqlError::unsupported("INDEX in CREATE TABLE").at(self.line()));
            } else {
                columns.push(self.column_def(&mut constraints)?);
            }
            if !self.op(",") || self.is_op(")") {
                break;
            }
        }
        self.need(")")?;
        if self.kw("ON") {
            let line = self.line();
            if !self.ident()?.eq_ignore_ascii_case("PRIMARY") {
                return Err(SqlError::unsupported("CREATE TABLE … ON filegroup").at(line));
            }
        }
        if self.is_kw("WITH") {
            return Err(SqlError::unsupported("CREATE TABLE … WITH"));
        }
        let text = self.text_from(start);
        Ok(StmtKind::CreateTable(CreateTable { name, columns, constraints, text }))
    }

    fn clustering(&mut self) {
        if !self.kw("CLUSTERED") {
            self.kw("NONCLUSTERED");
        }
    }

    fn constraint(&mut self, column: Option<&str>) -> SqlResult<ConstraintKind> {
        let key = |p: &mut Self| -> SqlResult<Vec<String>> {
            p.clustering();
            let cols = match column {
                Some(c) => vec![c.to_owned()],
                None => {
                    p.need("(")?;
                    let mut out = Vec::new();
                    loop {
                        out.push(p.ident()?);
                        if !p.kw("ASC") {
                            p.kw("DESC");
                        }
                        if !p.op(",") {
                            break;
                        }
                    }
                    p.need(")")?;
                    out
                }
            };
            if p.is_kw("WITH") {
                p.index_options()?;
            }
            Ok(cols)
        };
        if self.kws(&["PRIMARY", "KEY"]) {
            return Ok(ConstraintKind::Primary(key(self)?));
        }
        if self.kw("UNIQUE") {
            return Ok(ConstraintKind::Unique(key(self)?));
        }
        if self.kw("CHECK") {
            self.need("(")?;
            let e = self.expr()?;
            self.need(")")?;
            return Ok(ConstraintKind::Check(e, column.map(str::to_owned)));
        }
        let mut cols = column.map(|c| vec![c.to_owned()]).unwrap_or_default();
        if self.kws(&["FOREIGN", "KEY"]) && column.is_none() {
            cols = self.idents()?;
        }
        self.need_kw("REFERENCES")?;
        let table = self.obj()?;
        let refs = if self.is_op("(") { self.idents()? } else { vec![] };
        if self.is_kw("ON") {
            return Err(SqlError::unsupported("FOREIGN KEY … ON DELETE/UPDATE").at(self.line()));
        }
        Ok(ConstraintKind::Foreign(cols, table, refs))
    }

    fn column_def(&mut self, constraints: &mut Vec<Constraint>) -> SqlResult<ColumnDef> {
        let name = self.ident()?;
        if self.kw("AS") {
            return Err(SqlError::unsupported("computed column").at(self.line()));
        }
        let ty = self.ty()?;
        let mut def = ColumnDef { name: name.clone(), ty, nullable: None, identity: None, default: None };
        loop {
            if self.kws(&["NOT", "NULL"]) {
                def.nullable = Some(false);
            } else if self.kw("NULL") {
                def.nullable = Some(true);
            } else if self.kw("IDENTITY") {
                def.identity = Some(self.identity()?);
            } else if self.kw("COLLATE") {
                let line = self.line();
                let c = self.ident()?.to_uppercase();
                if !c.contains("_CI_AS") {
                    return Err(SqlError::unsupported(format!("COLLATE {c}")).at(line));
                }
            } else if self.is_kw("CONSTRAINT")
                || self.is_kw("DEFAULT")
                || self.is_kw("PRIMARY")
                || self.is_kw("UNIQUE")
                || self.is_kw("CHECK")
                || self.is_kw("REFERENCES")
                || self.is_kw("FOREIGN")
            {
                let label = if self.kw("CONSTRAINT") { Some(self.ident()?) } else { None };
                if self.kw("DEFAULT") {
                    def.default = Some(self.expr()?);
                } else {
                    let kind = self.constraint(Some(&name))?;
                    constraints.push(Constraint { name: label, kind });
                }
            } else {
                return Ok(def);
            }
        }
    }

    fn identity(&mut self) -> SqlResult<(i64, i64)> {
        if !self.op("(") {
            return Ok((1, 1));
        }
        let mut signed = || -> SqlResult<i64> {
            let neg = self.op("-");
            let Tok::Int(s) = self.next() else { return Err(self.err_prev()) };
            let n: i64 = s.parse().map_err(|_| self.err_prev())?;
            Ok(if neg { -n } else { n })
        };
        let seed = signed()?;
        self.need(",")?;
        let neg = self.op("-");
        let Tok::Int(s) = self.next() else { return Err(self.err_prev()) };
        let inc: i64 = s.parse().map_err(|_| self.err_prev())?;
        self.need(")")?;
        Ok((seed, if neg { -inc } else { inc }))
    }

    pub(super) fn drop(&mut self) -> SqlResult<StmtKind> {
        let Tok::Word(w) = self.next() else { return Err(self.err_prev()) };
        let what = w.to_uppercase();
        if !matches!(what.as_str(), "TABLE" | "DATABASE" | "INDEX") {
            return Err(SqlError::unsupported(format!("DROP {what}")));
        }
        let lenient = self.kws(&["IF", "EXISTS"]);
        match what.as_str() {
            "TABLE" => {
                let mut names = vec![self.obj()?];
                while self.op(",") {
                    names.push(self.obj()?);
                }
                Ok(StmtKind::DropTable(names, lenient))
            }
            "DATABASE" => {
                let mut names = vec![self.ident()?];
                while self.op(",") {
                    names.push(self.ident()?);
                }
                Ok(StmtKind::DropDatabase(names, lenient))
            }
            _ => {
                let name = self.ident()?;
                self.need_kw("ON")?;
                Ok(StmtKind::DropIndex(name, self.obj()?, lenient))
            }
        }
    }

    /// ALTER DATABASE … SET options that are true of this server; every other ALTER is refused.
    pub(super) fn alter(&mut self) -> SqlResult<StmtKind> {
        if !self.kw("DATABASE") {
            return match self.next() {
                Tok::Word(w) => Err(SqlError::unsupported(format!("ALTER {}", w.to_uppercase()))),
                _ => Err(self.err_prev()),
            };
        }
        let name = if self.is_kw("CURRENT") {
            self.at += 1;
            String::new()
        } else {
            self.ident()?
        };
        self.need_kw("SET")?;
        let holds = self.kws(&["ALLOW_SNAPSHOT_ISOLATION", "ON"])
            || self.kws(&["READ_COMMITTED_SNAPSHOT", "ON"])
            || self.kws(&["RECOVERY", "SIMPLE"])
            || self.kws(&["AUTO_CLOSE", "OFF"])
            || self.kws(&["AUTO_SHRINK", "OFF"])
            || self.kws(&["MULTI_USER"])
            || self.kws(&["READ_WRITE"]);
        if !holds {
            return Err(SqlError::unsupported("ALTER DATABASE … SET"));
        }
        if self.kw("WITH") && !(self.kws(&["ROLLBACK", "IMMEDIATE"]) || self.kw("NO_WAIT")) {
            return Err(self.err());
        }
        Ok(StmtKind::AlterDatabase(name))
    }
}
