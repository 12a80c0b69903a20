//! Queries: SELECT with its clauses, set operations, CTEs, FROM items with joins and table hints.

use super::ast::{Expr, Hint, Item, Query, Select, SetExpr, TableRef};
use super::lexer::Tok;
use super::parser::Parser;
use crate::error::{SqlError, SqlResult};

impl Parser<'_> {
    pub(super) fn query(&mut self) -> SqlResult<Query> {
        self.nest(|p| {
            let mut ctes = Vec::new();
            if p.kw("WITH") {
                loop {
                    let name = p.ident()?;
                    let cols = if p.is_op("(") { p.idents()? } else { vec![] };
                    p.need_kw("AS")?;
                    p.need("(")?;
                    let q = p.query()?;
                    p.need(")")?;
                    ctes.push((name, cols, q));
                    if !p.op(",") {
                        break;
                    }
                }
            }
            p.query_after_with(ctes)
        })
    }

    pub(super) fn query_after_with(&mut self, ctes: Vec<(String, Vec<String>, Query)>) -> SqlResult<Query> {
        let body = self.set_expr()?;
        let mut q = Query { ctes, body, order: vec![], offset: None, fetch: None };
        if self.kws(&["ORDER", "BY"]) {
            q.order = self.order_list()?;
            if self.kw("OFFSET") {
                q.offset = Some(self.expr()?);
                if !self.kw("ROWS") {
                    self.need_kw("ROW")?;
                }
                if self.kw("FETCH") {
                    if !self.kw("NEXT") {
                        self.need_kw("FIRST")?;
                    }
                    q.fetch = Some(self.expr()?);
                    if !self.kw("ROWS") {
                        self.need_kw("ROW")?;
                    }
                    self.need_kw("ONLY")?;
                }
            }
        }
        if self.is_kw("FOR") {
            return Err(SqlError::unsupported("SELECT … FOR").at(self.line()));
        }
        if self.kw("OPTION") {
            self.option_clause()?;
        }
        Ok(q)
    }

    /// OPTION (…): only hints that can change a plan and never a result.
    fn option_clause(&mut self) -> SqlResult<()> {
        self.need("(")?;
        let line = self.line();
        let mut words = Vec::new();
        while !self.is_op(")") {
            match self.next() {
                Tok::Word(w) => words.push(w.to_uppercase()),
                Tok::Op(",") | Tok::Int(_) => {}
                _ => return Err(self.err_prev()),
            }
        }
        self.need(")")?;
        match words.first().map(String::as_str) {
            Some(
                "RECOMPILE" | "MAXDOP" | "FAST" | "LOOP" | "HASH" | "MERGE" | "ORDER" | "FORCE" | "KEEP" | "OPTIMIZE" | "MAXRECURSION",
            ) => Ok(()),
            _ => Err(SqlError::unsupported("OPTION").at(line)),
        }
    }

    fn set_expr(&mut self) -> SqlResult<SetExpr> {
        let mut l = self.set_term()?;
        loop {
            let op = if self.kw("UNION") {
                if self.kw("ALL") { "UNION ALL" } else { "UNION" }
            } else if self.kw("EXCEPT") {
                "EXCEPT"
            } else if self.kw("INTERSECT") {
                "INTERSECT"
            } else {
                return Ok(l);
            };
            self.link()?;
            let r = self.set_term()?;
            l = SetExpr::Op(op, Box::new(l), Box::new(r));
        }
    }

    fn set_term(&mut self) -> SqlResult<SetExpr> {
        if self.op("(") {
            let e = self.nest(Self::set_expr)?;
            self.need(")")?;
            return Ok(e);
        }
        if self.kw("VALUES") {
            return Ok(SetExpr::Values(self.rows()?));
        }
        Ok(SetExpr::Select(Box::new(self.select()?)))
    }

    pub(super) fn rows(&mut self) -> SqlResult<Vec<Vec<Expr>>> {
        let mut out: Vec<Vec<Expr>> = Vec::new();
        loop {
            self.need("(")?;
            let row = self.expr_list()?;
            self.need(")")?;
            if out.first().is_some_and(|f| f.len() != row.len()) {
                return Err(SqlError::new(10709, "The number of columns for each row in a table value constructor must be the same.")
                    .class(15)
                    .at(self.line()));
            }
            out.push(row);
            if out.len() > 1000 {
                return Err(SqlError::new(
                    10738,
                    "The number of row value expressions in the INSERT statement exceeds the maximum allowed number of 1000 row values.",
                )
                .class(15)
                .at(self.line()));
            }
            if !self.op(",") {
                return Ok(out);
            }
        }
    }

    pub(super) fn top(&mut self) -> SqlResult<Option<Expr>> {
        if !self.kw("TOP") {
            return Ok(None);
        }
        let line = self.line();
        let e = if self.op("(") {
            let e = self.expr()?;
            self.need(")")?;
            e
        } else {
            match self.next() {
                Tok::Int(s) => Expr::Int(s.parse().map_err(|_| self.err_prev())?),
                _ => return Err(self.err_prev()),
            }
        };
        if self.kw("PERCENT") || self.kws(&["WITH", "TIES"]) {
            return Err(SqlError::unsupported("TOP … PERCENT / WITH TIES").at(line));
        }
        Ok(Some(e))
    }

    fn select(&mut self) -> SqlResult<Select> {
        self.need_kw("SELECT")?;
        let distinct = self.kw("DISTINCT");
        if !distinct {
            self.kw("ALL");
        }
        let top = self.top()?;
        let mut items = vec![self.item()?];
        while self.op(",") {
            items.push(self.item()?);
        }
        if self.is_kw("INTO") {
            return Err(SqlError::unsupported("SELECT … INTO").at(self.line()));
        }
        let mut s = Select { distinct, top, items, from: vec![], filter: None, group: vec![], having: None };
        if self.kw("FROM") {
            s.from = self.table_list()?;
        }
        if self.kw("WHERE") {
            s.filter = Some(self.expr()?);
        }
        if self.kws(&["GROUP", "BY"]) {
            s.group = self.expr_list()?;
        }
        if self.kw("HAVING") {
            s.having = Some(self.expr()?);
        }
        Ok(s)
    }

    fn item(&mut self) -> SqlResult<Item> {
        if self.op("*") {
            return Ok(Item::Star(None));
        }
        if let (Tok::Var(v), Tok::Op(o)) = (self.peek().clone(), self.peek_at(1).clone())
            && let Some(op) = assign_op(Tok::Op(o))
        {
            self.at += 2;
            let e = self.expr()?;
            return Ok(Item::Assign(v.clone(), compound(op, Expr::Var(v), e)));
        }
        if self.is_ident() && matches!(self.peek_at(1), Tok::Op(".")) && matches!(self.peek_at(2), Tok::Op("*")) {
            let t = self.ident()?;
            self.at += 2;
            return Ok(Item::Star(Some(t)));
        }
        if self.is_ident() && matches!(self.peek_at(1), Tok::Op("=")) {
            let alias = self.ident()?;
            self.at += 1;
            return Ok(Item::Expr(self.expr()?, Some(alias)));
        }
        let e = self.expr()?;
        let alias = self.alias()?;
        Ok(Item::Expr(e, alias))
    }

    fn alias(&mut self) -> SqlResult<Option<String>> {
        if self.kw("AS") {
            if let Tok::Str(s, _) = self.peek().clone() {
                self.at += 1;
                return Ok(Some(s));
            }
            return self.ident().map(Some);
        }
        if self.is_ident() && !self.starts_statement() { self.ident().map(Some) } else { Ok(None) }
    }

    /// Unreserved words that begin a statement or a clause: never an alias without AS.
    fn starts_statement(&self) -> bool {
        ["THROW", "OFFSET", "OUTPUT", "GO"].iter().any(|w| self.is_kw(w))
    }

    pub(super) fn table_list(&mut self) -> SqlResult<Vec<TableRef>> {
        let mut out = vec![self.joined()?];
        while self.op(",") {
            out.push(self.joined()?);
        }
        Ok(out)
    }

    fn joined(&mut self) -> SqlResult<TableRef> {
        let mut l = self.table_ref()?;
        loop {
            let kind = if self.kws(&["CROSS", "JOIN"]) {
                "CROSS"
            } else if self.kw("JOIN") || self.kws(&["INNER", "JOIN"]) {
                "INNER"
            } else if self.kws(&["LEFT", "JOIN"]) || self.kws(&["LEFT", "OUTER", "JOIN"]) {
                "LEFT"
            } else if self.kws(&["RIGHT", "JOIN"]) || self.kws(&["RIGHT", "OUTER", "JOIN"]) {
                "RIGHT"
            } else if self.kws(&["FULL", "JOIN"]) || self.kws(&["FULL", "OUTER", "JOIN"]) {
                "FULL"
            } else if self.is_kw("CROSS") || self.is_kw("OUTER") {
                return Err(SqlError::unsupported("APPLY").at(self.line()));
            } else {
                return Ok(l);
            };
            self.link()?;
            let right = self.table_ref()?;
            let on = if kind == "CROSS" {
                None
            } else {
                self.need_kw("ON")?;
                Some(self.expr()?)
            };
            l = TableRef::Join { kind, left: Box::new(l), right: Box::new(right), on };
        }
    }

    fn table_ref(&mut self) -> SqlResult<TableRef> {
        if self.op("(") {
            if !(self.is_kw("SELECT") || self.is_kw("VALUES") || self.is_kw("WITH")) {
                let t = self.nest(Self::joined)?;
                self.need(")")?;
                return Ok(t);
            }
            let query = Box::new(self.query()?);
            self.need(")")?;
            self.kw("AS");
            let alias = self.ident()?;
            let columns = if self.is_op("(") { self.idents()? } else { vec![] };
            return Ok(TableRef::Sub { query, alias, columns });
        }
        let name = self.obj()?;
        if self.is_op("(") {
            return Err(SqlError::unsupported(format!("table-valued function {}", name.shown())).at(self.line()));
        }
        let alias = self.alias()?;
        let hint = self.hints()?;
        Ok(TableRef::Named { name, alias, hint })
    }

    /// WITH (hints).
    pub(super) fn hints(&mut self) -> SqlResult<Hint> {
        if !(self.is_kw("WITH") && matches!(self.peek_at(1), Tok::Op("("))) {
            return Ok(Hint::default());
        }
        self.at += 2;
        let mut hint = Hint::default();
        loop {
            let line = self.line();
            let Tok::Word(w) = self.next() else { return Err(self.err_prev()) };
            match w.to_uppercase().as_str() {
                "UPDLOCK" | "XLOCK" => hint.update = true,
                "HOLDLOCK" | "SERIALIZABLE" | "REPEATABLEREAD" => hint.keep = true,
                "TABLOCKX" => (hint.update, hint.whole) = (true, true),
                "TABLOCK" | "PAGLOCK" => hint.whole = true,
                // Readers that keep nothing wait for nobody: there are no locked rows to read past.
                "READPAST" | "ROWLOCK" | "READCOMMITTED" | "READCOMMITTEDLOCK" | "READUNCOMMITTED" | "NOLOCK" => {}
                other => return Err(SqlError::unsupported(format!("table hint {other}")).at(line)),
            }
            if !self.op(",") && self.is_op(")") {
                self.at += 1;
                return Ok(hint);
            }
        }
    }
}

/// The operator of an assignment: `Some(None)` for plain `=`.
pub(super) fn assign_op(op: Tok) -> Option<Option<char>> {
    match op {
        Tok::Op("=") => Some(None),
        Tok::Op(o @ ("+=" | "-=" | "*=" | "/=" | "%=" | "&=" | "|=" | "^=")) => Some(o.chars().next()),
        _ => None,
    }
}

/// Writes `target op= e` out.
pub(super) fn compound(op: Option<char>, target: Expr, e: Expr) -> Expr {
    match op {
        None => e,
        Some(c) => Expr::Arith(c, Box::new(target), Box::new(e)),
    }
}

impl Parser<'_> {
    /// Takes an assignment operator.
    pub(super) fn take_assign(&mut self) -> SqlResult<Option<char>> {
        let op = assign_op(self.peek().clone()).ok_or_else(|| self.err())?;
        self.at += 1;
        Ok(op)
    }
}
