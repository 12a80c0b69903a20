//! Queries. Every query's columns are called c1, c2 … in the SQLite text, whatever T-SQL calls them.

use super::expr::comparable;
use super::{Kind, OutColumn, Scope, Source, Tr, Translated, Tx, value_lit};
use crate::engine::catalog::{Table, quote};
use crate::error::{SqlError, SqlResult};
use crate::sql::ast::{Expr, Item, Query, Select, SetExpr, TableRef};
use crate::sql::types::{MAX, Ty};
use std::fmt::Write as _;

/// The columns of a table as result columns.
pub(super) fn table_columns(t: &Table) -> Vec<OutColumn> {
    t.columns.iter().map(|c| OutColumn { name: c.name.clone(), ty: c.ty, nullable: c.nullable, identity: c.identity.is_some() }).collect()
}

impl Tr<'_> {
    pub(super) fn select_stmt(mut self, q: &Query) -> SqlResult<Translated> {
        let (sql, columns) = self.query(q)?;
        let mut assigns = Vec::new();
        if let SetExpr::Select(s) = &q.body {
            for i in &s.items {
                if let Item::Assign(v, _) = i {
                    assigns.push(v.clone());
                }
            }
            if !assigns.is_empty() && assigns.len() != s.items.len() {
                return Err(SqlError::new(
                    141,
                    "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.",
                )
                .class(15));
            }
        }
        let mut t = self.done(Kind::Select, sql, columns);
        t.assigns = assigns;
        Ok(t)
    }

    /// A query with its CTEs, order and limits.
    pub(super) fn query(&mut self, q: &Query) -> SqlResult<(String, Vec<OutColumn>)> {
        let outer_ctes = self.ctes.len();
        let mut with = String::new();
        for (name, cols, cte) in &q.ctes {
            let (sql, mut columns) = self.query(cte)?;
            rename(&mut columns, cols, name)?;
            let _ = write!(
                with,
                "{}{} AS ({sql})",
                if with.is_empty() { "WITH " } else { ", " },
                quote(&format!("cte.{}", name.to_lowercase()))
            );
            self.ctes.push((name.to_lowercase(), columns));
        }
        if !with.is_empty() {
            with.push(' ');
        }
        let (sql, columns) = match &q.body {
            SetExpr::Select(s) => self.select(s, &q.order)?,
            other => {
                let (sql, columns) = self.set_expr(other)?;
                let order = self.ordinals(&q.order, &columns)?;
                (format!("{sql}{order}"), columns)
            }
        };
        let mut sql = format!("{with}{sql}");
        if let Some(offset) = &q.offset {
            let offset = self.limit(offset)?;
            let fetch = match &q.fetch {
                Some(f) => self.limit(f)?,
                None => "-1".to_owned(),
            };
            let _ = write!(sql, " LIMIT {fetch} OFFSET {offset}");
        }
        self.ctes.truncate(outer_ctes);
        Ok((sql, columns))
    }

    pub(super) fn limit(&mut self, e: &Expr) -> SqlResult<String> {
        let x = self.value(e)?;
        if !x.ty.is_number() {
            return Err(SqlError::new(
                1060,
                "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.",
            )
            .class(15));
        }
        let n = self.conv(&x, Ty::BigInt);
        Ok(if n.bytes().all(|c| c.is_ascii_digit()) { n } else { format!("t_limit({n})") })
    }

    fn set_expr(&mut self, e: &SetExpr) -> SqlResult<(String, Vec<OutColumn>)> {
        match e {
            SetExpr::Select(s) => {
                let (sql, columns) = self.select(s, &[])?;
                Ok(if s.top.is_some() { (format!("SELECT * FROM ({sql})"), columns) } else { (sql, columns) })
            }
            SetExpr::Values(rows) => self.values(rows),
            SetExpr::Op(op, l, r) => {
                let (ls, lc) = self.set_expr(l)?;
                let (rs, rc) = self.set_expr(r)?;
                if lc.len() != rc.len() {
                    return Err(SqlError::new(
                        205,
                        "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.",
                    ));
                }
                let columns: Vec<OutColumn> = lc
                    .iter()
                    .zip(&rc)
                    .map(|(a, b)| OutColumn {
                        name: a.name.clone(),
                        ty: a.ty.unify(b.ty),
                        nullable: a.nullable || b.nullable,
                        identity: false,
                    })
                    .collect();
                if *op != "UNION ALL" {
                    told_apart(op, &columns)?;
                }
                let side = |tr: &Self, sql: &str, from: &[OutColumn]| {
                    let items: Vec<String> = from
                        .iter()
                        .zip(&columns)
                        .enumerate()
                        .map(|(i, (a, to))| {
                            let x = tr.conv(&Tx::new(format!("c{}", i + 1), a.ty), to.ty);
                            let collate = if to.ty.is_text() && *op != "UNION ALL" { " COLLATE TSQL" } else { "" };
                            format!("{x}{collate} AS c{}", i + 1)
                        })
                        .collect();
                    format!("SELECT {} FROM ({sql})", items.join(", "))
                };
                let sql = format!("{} {op} {}", side(self, &ls, &lc), side(self, &rs, &rc));
                Ok((format!("SELECT * FROM ({sql})"), columns))
            }
        }
    }

    fn values(&mut self, rows: &[Vec<Expr>]) -> SqlResult<(String, Vec<OutColumn>)> {
        let mut typed = Vec::new();
        for r in rows {
            typed.push(r.iter().map(|e| self.value(e)).collect::<SqlResult<Vec<_>>>()?);
        }
        let width = rows[0].len();
        let columns: Vec<OutColumn> = (0..width)
            .map(|i| OutColumn {
                name: String::new(),
                ty: typed.iter().fold(Ty::Null, |t, r| t.unify(r[i].ty)),
                nullable: typed.iter().any(|r| r[i].nullable),
                identity: false,
            })
            .collect();
        let rows: Vec<String> = typed
            .iter()
            .map(|r| {
                let items: Vec<String> = r.iter().zip(&columns).map(|(x, c)| self.conv(x, c.ty)).collect();
                format!("({})", items.join(", "))
            })
            .collect();
        Ok((rows_sql(&rows, width), columns))
    }

    fn select(&mut self, s: &Select, order: &[(Expr, bool)]) -> SqlResult<(String, Vec<OutColumn>)> {
        self.scopes.push(Scope::default());
        let out = self.select_in_scope(s, order);
        self.scopes.pop();
        out
    }

    fn select_in_scope(&mut self, s: &Select, order: &[(Expr, bool)]) -> SqlResult<(String, Vec<OutColumn>)> {
        let before = self.locks.len();
        let from = self.from(&s.from)?;
        self.pin(s, before);
        let filter = match &s.filter {
            Some(e) => format!(" WHERE {}", self.pred(e)?),
            None => String::new(),
        };
        let mut groups = Vec::new();
        let mut written = Vec::new();
        for g in &s.group {
            let before = self.columns_seen();
            let x = self.value(g)?;
            if self.columns_seen().0 == before.0 {
                let text = "Each GROUP BY expression must contain at least one column that is not an outer reference.";
                return Err(SqlError::new(164, text).class(15));
            }
            groups.push((x.sql.clone(), comparable(x.sql, x.ty)));
            written.push(format!("{g:?}"));
        }
        let aggregated = !s.group.is_empty()
            || s.having.is_some()
            || s.items.iter().any(|i| matches!(i, Item::Expr(e, _) | Item::Assign(_, e) if has_aggregate(e)));
        if aggregated && let Some(scope) = self.scopes.last_mut() {
            scope.grouped = Some((groups.iter().map(|g| g.0.clone()).collect(), written));
        }
        let mut items = Vec::new();
        let mut columns = Vec::new();
        for item in &s.items {
            self.item(item, &mut items, &mut columns)?;
        }
        let mut sql = String::from("SELECT ");
        if s.distinct {
            told_apart("DISTINCT", &columns)?;
            sql.push_str("DISTINCT ");
        }
        for (i, x) in items.iter().enumerate() {
            let collate = if s.distinct && columns[i].ty.is_text() { " COLLATE TSQL" } else { "" };
            let _ = write!(sql, "{}{x}{collate} AS c{}", if i == 0 { "" } else { ", " }, i + 1);
        }
        sql.push_str(&from);
        sql.push_str(&filter);
        if !groups.is_empty() {
            let list: Vec<&str> = groups.iter().map(|g| g.1.as_str()).collect();
            let _ = write!(sql, " GROUP BY {}", list.join(", "));
        }
        if let Some(h) = &s.having {
            let _ = write!(sql, " HAVING {}", self.pred(h)?);
        }
        sql.push_str(&self.order(order, &columns)?);
        if let Some(top) = &s.top {
            let _ = write!(sql, " LIMIT {}", self.limit(top)?);
        }
        Ok((sql, columns))
    }

    fn item(&mut self, item: &Item, items: &mut Vec<String>, columns: &mut Vec<OutColumn>) -> SqlResult<()> {
        match item {
            Item::Star(q) => {
                let scope = self.scopes.last().map(|s| s.sources.clone()).unwrap_or_default();
                let mut any = false;
                for s in scope.iter().filter(|s| q.as_ref().is_none_or(|q| s.alias.eq_ignore_ascii_case(q))) {
                    any = true;
                    for c in &s.columns {
                        let x = self.resolve(&[s.alias.clone(), c.name.clone()])?;
                        items.push(x.sql);
                        columns.push(c.clone());
                    }
                }
                if !any {
                    return Err(match q {
                        Some(q) => SqlError::new(
                            107,
                            format!("The column prefix '{q}' does not match with a table name or alias name used in the query."),
                        )
                        .class(15),
                        None => SqlError::new(263, "Must specify table to select from."),
                    });
                }
            }
            Item::Expr(e, alias) => {
                let x = self.value(e)?;
                let (name, identity) = match (&alias, &x.column) {
                    (Some(a), c) => ((*a).clone(), c.as_ref().is_some_and(|c| c.1)),
                    (None, Some((n, id))) => (n.clone(), *id),
                    (None, None) => (String::new(), false),
                };
                // A bare NULL is an int on the wire.
                let ty = if x.ty == Ty::Null { Ty::Int } else { x.ty };
                items.push(x.sql);
                columns.push(OutColumn { name, ty, nullable: x.nullable, identity });
            }
            Item::Assign(v, e) => {
                let ty = self.var_ty(v)?;
                let x = self.value(e)?;
                items.push(self.conv(&x, ty));
                columns.push(OutColumn { name: String::new(), ty, nullable: true, identity: false });
            }
        }
        Ok(())
    }

    fn order(&mut self, order: &[(Expr, bool)], columns: &[OutColumn]) -> SqlResult<String> {
        let mut parts = Vec::new();
        for (e, desc) in order {
            let x = match (ordinal(e, columns)?, e) {
                (Some(n), Expr::Int(_)) => Tx::new(format!("c{n}"), columns[n - 1].ty),
                // An alias of the select list comes before a column of the tables.
                (Some(n), _) => Tx::new(format!("c{n}"), columns[n - 1].ty),
                (None, _) => self.value(e)?,
            };
            parts.push(format!("{}{}", comparable(x.sql, x.ty), if *desc { " DESC" } else { "" }));
        }
        Ok(if parts.is_empty() { String::new() } else { format!(" ORDER BY {}", parts.join(", ")) })
    }

    /// ORDER BY of a set operation: output columns only.
    fn ordinals(&mut self, order: &[(Expr, bool)], columns: &[OutColumn]) -> SqlResult<String> {
        for (e, _) in order {
            if ordinal(e, columns)?.is_none() {
                return Err(SqlError::new(
                    104,
                    "ORDER BY items must appear in the select list if the statement contains a UNION, INTERSECT or EXCEPT operator.",
                )
                .class(15));
            }
        }
        self.order(order, columns)
    }

    /// Notes the one row that a query over one table asks for by its key.
    fn pin(&mut self, s: &Select, before: usize) {
        let [TableRef::Named { name, alias, .. }] = &s.from[..] else { return };
        // A name that stands for a common table expression or a view has touched nothing, or something else.
        if self.locks.len() != before + 1 {
            return;
        }
        let Ok((_, catalog)) = self.settle_db(name) else { return };
        let Some(t) = catalog.table(name).filter(|t| t.id == self.locks[before].table) else { return };
        self.locks[before].key = self.pinned(t, alias.as_ref().unwrap_or(&name.name), s.filter.as_ref());
    }

    /// FROM with its leading keyword.
    pub(super) fn from(&mut self, list: &[TableRef]) -> SqlResult<String> {
        let mut parts = Vec::new();
        for t in list {
            let sql = self.table_ref(t)?;
            parts.push(if matches!(t, TableRef::Join { .. }) && list.len() > 1 { format!("({sql})") } else { sql });
        }
        Ok(if parts.is_empty() { String::new() } else { format!(" FROM {}", parts.join(" JOIN ")) })
    }

    fn table_ref(&mut self, t: &TableRef) -> SqlResult<String> {
        match t {
            TableRef::Named { name, alias, hint } => {
                let before = self.locks.len();
                let sql = self.named(name, alias.as_deref())?;
                if let [touch] = &mut self.locks[before..] {
                    touch.hint = *hint;
                }
                Ok(sql)
            }
            TableRef::Sub { query, alias, columns } => {
                // A derived table sees nothing of its neighbours.
                let hidden = self.scopes.last_mut().map(|s| std::mem::take(&mut s.sources)).unwrap_or_default();
                let result = self.query_or_values(query);
                if let Some(s) = self.scopes.last_mut() {
                    s.sources = hidden;
                }
                let (sql, mut cols) = result?;
                rename(&mut cols, columns, alias)?;
                let sql_alias = self.alias();
                self.add_source(alias, &sql_alias, cols, None)?;
                Ok(format!("({sql}) AS {sql_alias}"))
            }
            TableRef::Join { kind, left, right, on } => {
                let before = self.scopes.last().map_or(0, |s| s.sources.len());
                let l = self.table_ref(left)?;
                let middle = self.scopes.last().map_or(0, |s| s.sources.len());
                let r = self.table_ref(right)?;
                let r = if matches!(**right, TableRef::Join { .. }) { format!("({r})") } else { r };
                let on = match on {
                    Some(e) => format!(" ON {}", self.pred(e)?),
                    None => String::new(),
                };
                if let Some(s) = self.scopes.last_mut() {
                    for (i, src) in s.sources.iter_mut().enumerate().skip(before) {
                        let outer = match *kind {
                            "LEFT" => i >= middle,
                            "RIGHT" => i < middle,
                            "FULL" => true,
                            _ => false,
                        };
                        if outer {
                            src.columns.iter_mut().for_each(|c| c.nullable = true);
                        }
                    }
                }
                let word = match *kind {
                    "INNER" | "CROSS" => "JOIN",
                    "LEFT" => "LEFT JOIN",
                    "RIGHT" => "RIGHT JOIN",
                    _ => "FULL JOIN",
                };
                Ok(format!("{l} {word} {r}{on}"))
            }
        }
    }

    fn query_or_values(&mut self, q: &Query) -> SqlResult<(String, Vec<OutColumn>)> {
        self.query(q)
    }

    pub(super) fn add_source(
        &mut self,
        alias: &str,
        sql_alias: &str,
        columns: Vec<OutColumn>,
        sql_columns: Option<Vec<String>>,
    ) -> SqlResult<()> {
        let alias = alias.to_lowercase();
        let sql_columns = sql_columns.unwrap_or_else(|| (1..=columns.len()).map(|i| format!("c{i}")).collect());
        if let Some(s) = self.scopes.last_mut() {
            if s.sources.iter().any(|s| s.alias == alias) {
                return Err(SqlError::new(
                    1013,
                    format!(
                        "The objects \"{alias}\" and \"{alias}\" in the FROM clause have the same exposed names. Use correlation names to distinguish them."
                    ),
                ));
            }
            s.sources.push(Source { alias, sql: sql_alias.to_owned(), columns, sql_columns });
        }
        Ok(())
    }

    fn named(&mut self, name: &crate::sql::ast::ObjName, alias: Option<&str>) -> SqlResult<String> {
        let shown = alias.unwrap_or(&name.name);
        let sql_alias = self.alias();
        if name.schema.is_none() && name.db.is_none() {
            let cte = self.ctes.iter().rev().find(|c| c.0.eq_ignore_ascii_case(&name.name)).cloned();
            if let Some((cte, columns)) = cte {
                self.add_source(shown, &sql_alias, columns, None)?;
                return Ok(format!("{} AS {sql_alias}", quote(&format!("cte.{cte}"))));
            }
        }
        let schema = name.schema.as_deref().unwrap_or("dbo").to_lowercase();
        let db = name.db.clone().unwrap_or_else(|| self.names.current_db().to_owned());
        if let Some(view) = self.names.system_view(&db.to_lowercase(), &schema, &name.name.to_lowercase()) {
            self.cacheable = false;
            let columns: Vec<OutColumn> =
                view.columns.iter().map(|(n, ty)| OutColumn { name: (*n).to_owned(), ty: *ty, nullable: true, identity: false }).collect();
            let rows: Vec<String> =
                view.rows.iter().map(|r| format!("({})", r.iter().map(value_lit).collect::<Vec<_>>().join(", "))).collect();
            let sql = if rows.is_empty() {
                let items: Vec<String> = (1..=columns.len()).map(|i| format!("NULL AS c{i}")).collect();
                format!("SELECT {} WHERE 0", items.join(", "))
            } else {
                rows_sql(&rows, columns.len())
            };
            self.add_source(shown, &sql_alias, columns, None)?;
            return Ok(format!("({sql}) AS {sql_alias}"));
        }
        let t = self.table(name)?;
        let names = t.columns.iter().map(|c| quote(&c.name)).collect();
        self.add_source(shown, &sql_alias, table_columns(&t), Some(names))?;
        Ok(format!("{} AS {sql_alias}", t.quoted()))
    }
}

/// Rows as a query whose columns are c1, c2 …; VALUES, because SQLite bounds the members of a UNION.
fn rows_sql(rows: &[String], width: usize) -> String {
    let items: Vec<String> = (1..=width).map(|i| format!("column{i} AS c{i}")).collect();
    format!("SELECT {} FROM (VALUES {})", items.join(", "), rows.join(", "))
}

fn rename(columns: &mut [OutColumn], names: &[String], alias: &str) -> SqlResult<()> {
    if !names.is_empty() {
        if names.len() != columns.len() {
            return Err(SqlError::new(8158, format!("'{alias}' has more columns than were specified in the column list.")));
        }
        for (c, n) in columns.iter_mut().zip(names) {
            c.name.clone_from(n);
        }
    }
    if let Some(i) = columns.iter().position(|c| c.name.is_empty()) {
        return Err(SqlError::new(8155, format!("No column name was specified for column {} of '{alias}'.", i + 1)));
    }
    Ok(())
}

fn ordinal(e: &Expr, columns: &[OutColumn]) -> SqlResult<Option<usize>> {
    match e {
        Expr::Int(n) => match usize::try_from(*n) {
            Ok(n) if (1..=columns.len()).contains(&n) => Ok(Some(n)),
            _ => Err(SqlError::new(
                108,
                format!("The ORDER BY position number {n} is out of range of the number of items in the select list."),
            )
            .class(15)),
        },
        Expr::Col(parts) if parts.len() == 1 => Ok(columns.iter().position(|c| c.name.eq_ignore_ascii_case(&parts[0])).map(|i| i + 1)),
        _ => Ok(None),
    }
}

/// SQLite tells whole rows apart by what is stored, and the same instant is stored with each offset.
fn told_apart(how: &str, columns: &[OutColumn]) -> SqlResult<()> {
    if columns.iter().any(|c| matches!(c.ty, Ty::DateTimeOffset(_))) {
        return Err(SqlError::unsupported(format!("{how} of datetimeoffset")));
    }
    Ok(())
}

/// Whether an aggregate stands in this expression, outside of subqueries.
pub(super) fn has_aggregate(e: &Expr) -> bool {
    let any = |list: &[Expr]| list.iter().any(has_aggregate);
    match e {
        Expr::Func { name, args, over, .. } => (over.is_none() && super::func::is_aggregate(name)) || any(args),
        Expr::Neg(x) | Expr::BitNot(x) | Expr::Not(x) | Expr::IsNull(x, _) | Expr::InQuery(x, ..) | Expr::Cast { expr: x, .. } => {
            has_aggregate(x)
        }
        Expr::Arith(_, l, r) | Expr::Cmp(_, l, r) | Expr::And(l, r) | Expr::Or(l, r) | Expr::Like(l, r, ..) => {
            has_aggregate(l) || has_aggregate(r)
        }
        Expr::Between(a, b, c, _) => has_aggregate(a) || has_aggregate(b) || has_aggregate(c),
        Expr::InList(x, list, _) => has_aggregate(x) || any(list),
        Expr::Case(o, whens, other) => {
            o.as_deref().is_some_and(has_aggregate)
                || whens.iter().any(|(a, b)| has_aggregate(a) || has_aggregate(b))
                || other.as_deref().is_some_and(has_aggregate)
        }
        _ => false,
    }
}

/// The type of a text that has no better bound.
pub(super) const TEXT: Ty = Ty::NVarChar(MAX);
