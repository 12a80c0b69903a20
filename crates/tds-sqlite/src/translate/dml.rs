//! INSERT, UPDATE, DELETE.

use super::query::table_columns;
use super::{Kind, OutColumn, Tr, Translated, Tx, text_lit};
use crate::engine::catalog::{Table, quote};
use crate::error::{SqlError, SqlResult};
use crate::sql::ast::{Delete, Expr, Hint, Insert, InsertSource, ObjName, OutputItem, TableRef, Update};
use crate::sql::types::Ty;
use std::sync::Arc;

/// Columns to fill, rows of values as SQL, and probes for the duplicate key message.
struct Rows {
    columns: Vec<usize>,
    body: String,
    probes: Vec<String>,
}

impl Tr<'_> {
    /// A value on its way into a column.
    fn store(&mut self, x: &Tx, t: &Table, at: usize) -> SqlResult<String> {
        let c = &t.columns[at];
        let same = x.ty.same_storage(c.ty);
        let full = format!("{}.{}.{}", self.db.clone().unwrap_or_default(), t.sqlite_name(), c.name);
        let allowed = !((x.ty.is_temporal() && (c.ty.is_number() || c.ty.is_binary()))
            || (c.ty.is_temporal() && (x.ty.is_exact() || x.ty.is_float()))
            || (c.ty == Ty::Guid && x.ty.is_number()));
        if !allowed {
            return Err(super::expr::clash(x.ty, c.ty));
        }
        if x.ty.is_text() && c.ty.is_binary() {
            return Err(SqlError::new(
                257,
                format!(
                    "Implicit conversion from data type {} to {} is not allowed. Use the CONVERT function to run this query.",
                    x.ty.name(),
                    c.ty.name()
                ),
            )
            .state(3));
        }
        let sql = if same { x.sql.clone() } else { format!("t_as({}, {}, {}, {})", x.sql, x.ty.code(), c.ty.code(), text_lit(&full)) };
        // SQLite would make up a rowid where T-SQL raises 515.
        Ok(if t.rowid_column() == Some(at) && x.nullable { format!("t_nn({sql}, {})", text_lit(&full)) } else { sql })
    }

    fn default_of(&mut self, t: &Table, at: usize) -> SqlResult<String> {
        let c = &t.columns[at];
        if let Some(d) = &c.default {
            let d = d.clone();
            let x = self.value(&d)?;
            return self.store(&x, t, at);
        }
        if c.identity.is_some() {
            return Ok(format!("t_identity({})", t.counter));
        }
        if c.nullable {
            return Ok("NULL".to_owned());
        }
        Err(SqlError::new(
            515,
            format!(
                "Cannot insert the value NULL into column '{}', table '{}.{}'; column does not allow nulls. INSERT fails.",
                c.name,
                self.db.clone().unwrap_or_default(),
                t.sqlite_name()
            ),
        )
        .state(2))
    }

    pub(super) fn insert(mut self, i: &Insert) -> SqlResult<Translated> {
        let t = self.table(&i.table)?;
        let mut named = Vec::new();
        for c in &i.columns {
            let at = t.column(c).ok_or_else(|| SqlError::new(207, format!("Invalid column name '{c}'.")))?;
            if named.contains(&at) {
                return Err(SqlError::new(
                    264,
                    format!("The column name '{c}' is specified more than once in the SET clause or column list of an INSERT."),
                ));
            }
            named.push(at);
        }
        if i.columns.is_empty() && !matches!(i.source, InsertSource::Defaults) {
            named = (0..t.columns.len()).filter(|c| t.columns[*c].identity.is_none()).collect();
        }
        if named.iter().any(|c| t.columns[*c].identity.is_some()) {
            return Err(SqlError::new(
                544,
                format!("Cannot insert explicit value for identity column in table '{}' when IDENTITY_INSERT is set to OFF.", t.name),
            ));
        }
        if let (InsertSource::Values(rows), Some(key)) = (&i.source, t.rowid_column())
            && let ([row], Some(at)) = (&rows[..], named.iter().position(|c| *c == key))
        {
            self.locks[0].key = row.get(at).and_then(|e| self.key_value(e));
        }
        let rows = self.insert_rows(&t, &i.source, named)?;
        let output = self.output(&t, &i.output, Kind::Insert)?;
        let names: Vec<String> = rows.columns.iter().map(|c| quote(&t.columns[*c].name)).collect();
        let sql = format!("INSERT INTO {}({}) {}{}", t.quoted(), names.join(", "), rows.body, output.0);
        let mut out = self.done(Kind::Insert, sql, output.1);
        out.target = Some(t);
        out.probes = rows.probes;
        out.probe_columns = rows.columns;
        Ok(out)
    }

    fn insert_rows(&mut self, t: &Arc<Table>, source: &InsertSource, named: Vec<usize>) -> SqlResult<Rows> {
        let rest: Vec<usize> = (0..t.columns.len()).filter(|c| !named.contains(c)).collect();
        let mut columns = named.clone();
        columns.extend(&rest);
        let rest_sql = rest.iter().map(|c| self.default_of(t, *c)).collect::<SqlResult<Vec<_>>>()?;
        let count = |have: usize| {
            let (n, s) = if have > named.len() {
                (110, "fewer columns in the INSERT statement than values specified")
            } else {
                (109, "more columns in the INSERT statement than values specified")
            };
            SqlError::new(n, format!("There are {s} in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement."))
                .class(15)
        };
        let mut tuples = Vec::new();
        match source {
            InsertSource::Defaults => tuples.push(rest_sql),
            InsertSource::Values(rows) => {
                for row in rows {
                    if row.len() != named.len() {
                        return Err(if row.len() != named.len() && named.len() == t.columns.len() {
                            SqlError::new(213, "Column name or number of supplied values does not match table definition.")
                        } else {
                            count(row.len())
                        });
                    }
                    let mut tuple = Vec::new();
                    for (e, at) in row.iter().zip(&named) {
                        tuple.push(if matches!(e, Expr::Default) {
                            self.default_of(t, *at)?
                        } else {
                            let x = self.value(e)?;
                            self.store(&x, t, *at)?
                        });
                    }
                    tuple.extend(rest_sql.iter().cloned());
                    tuples.push(tuple);
                }
            }
            InsertSource::Query(q) => {
                let (sql, cols) = self.query(q)?;
                if cols.len() != named.len() {
                    let (n, s) = if cols.len() > named.len() { (121, "more") } else { (120, "fewer") };
                    return Err(SqlError::new(
                        n,
                        format!("The select list for the INSERT statement contains {s} items than the insert list. The number of SELECT values must match the number of INSERT columns."),
                    )
                    .class(15));
                }
                let mut items = Vec::new();
                for (i, (c, at)) in cols.iter().zip(&named).enumerate() {
                    let x = Tx { nullable: c.nullable, ..Tx::new(format!("c{}", i + 1), c.ty) };
                    items.push(self.store(&x, t, *at)?);
                }
                items.extend(rest_sql);
                let body = format!("SELECT {} FROM ({sql})", items.join(", "));
                return Ok(Rows { columns, probes: vec![body.clone()], body });
            }
        }
        let probes =
            tuples.iter().filter(|t| !t.iter().any(|v| v.starts_with("t_identity"))).map(|t| format!("SELECT {}", t.join(", "))).collect();
        let body = format!("VALUES {}", tuples.iter().map(|t| format!("({})", t.join(", "))).collect::<Vec<_>>().join(", "));
        Ok(Rows { columns, body, probes })
    }

    fn output(&mut self, t: &Table, items: &[OutputItem], kind: Kind) -> SqlResult<(String, Vec<OutColumn>)> {
        if items.is_empty() {
            return Ok((String::new(), vec![]));
        }
        let all = table_columns(t);
        let mut sql = Vec::new();
        let mut columns = Vec::new();
        for item in items {
            let wrong = item.deleted != (kind == Kind::Delete);
            if wrong && kind == Kind::Update {
                return Err(SqlError::unsupported("OUTPUT deleted in UPDATE"));
            }
            if wrong {
                let name = if item.deleted { "deleted" } else { "inserted" };
                return Err(SqlError::new(
                    4104,
                    format!("The multi-part identifier \"{name}.{}\" could not be bound.", item.column.as_deref().unwrap_or("*")),
                ));
            }
            match &item.column {
                None => {
                    for c in &all {
                        sql.push(quote(&c.name));
                        columns.push(c.clone());
                    }
                }
                Some(name) => {
                    let at = t.column(name).ok_or_else(|| SqlError::new(207, format!("Invalid column name '{name}'.")))?;
                    let mut c = all[at].clone();
                    sql.push(quote(&c.name));
                    if let Some(a) = &item.alias {
                        c.name.clone_from(a);
                    }
                    columns.push(c);
                }
            }
        }
        Ok((format!(" RETURNING {}", sql.join(", ")), columns))
    }

    /// The table that an UPDATE or DELETE aims at, which its FROM may name by alias, and the SQLite alias it has there.
    fn target(&mut self, name: &ObjName, from: &[TableRef]) -> SqlResult<ObjName> {
        fn find<'a>(list: &'a [TableRef], name: &ObjName, out: &mut Option<&'a ObjName>) {
            for t in list {
                match t {
                    TableRef::Named { name: n, alias: Some(a), .. } if name.schema.is_none() && a.eq_ignore_ascii_case(&name.name) => {
                        *out = Some(n)
                    }
                    TableRef::Join { left, right, .. } => {
                        find(std::slice::from_ref(left), name, out);
                        find(std::slice::from_ref(right), name, out);
                    }
                    _ => {}
                }
            }
        }
        let mut hit = None;
        find(from, name, &mut hit);
        Ok(hit.unwrap_or(name).clone())
    }

    /// `FROM` and `WHERE` of a joined UPDATE or DELETE, and the SQLite alias of the target in them.
    fn joined(&mut self, name: &ObjName, from: &[TableRef], filter: Option<&Expr>) -> SqlResult<(String, String)> {
        let list;
        let from = if from.is_empty() {
            list = [TableRef::Named { name: name.clone(), alias: None, hint: Hint::default() }];
            &list[..]
        } else {
            from
        };
        let from = self.from(from)?;
        let filter = match filter {
            Some(e) => format!(" WHERE {}", self.pred(e)?),
            None => String::new(),
        };
        let alias =
            self.scopes.last().and_then(|s| s.sources.iter().find(|s| s.alias.eq_ignore_ascii_case(&name.name))).map(|s| s.sql.clone());
        let alias = alias.ok_or_else(|| SqlError::unsupported("UPDATE or DELETE whose FROM does not name its target"))?;
        Ok((format!("{from}{filter}"), alias))
    }

    fn top_limit(&mut self, top: Option<&Expr>) -> SqlResult<String> {
        Ok(match top {
            Some(e) => format!(" LIMIT {}", self.limit(e)?),
            None => String::new(),
        })
    }

    pub(super) fn update(mut self, u: &Update) -> SqlResult<Translated> {
        let name = self.target(&u.table, &u.from)?;
        let t = self.table(&name)?;
        self.scopes.push(super::Scope::default());
        let simple = u.from.is_empty() && u.top.is_none();
        let mut source = (String::new(), String::new());
        if simple {
            let moves = t.rowid_column().is_some_and(|key| u.sets.iter().any(|(c, _)| t.column(c) == Some(key)));
            if !moves {
                self.locks[0].key = self.pinned(&t, &u.table.name, u.filter.as_ref());
            }
            let names = t.columns.iter().map(|c| quote(&c.name)).collect();
            let exposed = u.table.name.clone();
            self.add_source(&exposed, "", table_columns(&t), Some(names))?;
        } else {
            source = self.joined(&u.table, &u.from, u.filter.as_ref())?;
        }
        let mut sets = Vec::new();
        let mut picked = Vec::new();
        let from_alias = if simple { String::new() } else { format!("{}.", source.1) };
        let mut after: Vec<String> = t.columns.iter().map(|c| format!("{from_alias}{}", quote(&c.name))).collect();
        let mut moves_key = false;
        for (i, (c, e)) in u.sets.iter().enumerate() {
            let at = t.column(c).ok_or_else(|| SqlError::new(207, format!("Invalid column name '{c}'.")))?;
            if t.columns[at].identity.is_some() {
                return Err(SqlError::new(8102, format!("Cannot update identity column '{}'.", t.columns[at].name)));
            }
            if u.sets[..i].iter().any(|(d, _)| d.eq_ignore_ascii_case(c)) {
                return Err(SqlError::new(
                    264,
                    format!("The column name '{c}' is specified more than once in the SET clause or column list of an INSERT."),
                ));
            }
            let sql = if matches!(e, Expr::Default) {
                self.default_of(&t, at)?
            } else {
                // A compound assignment names the column bare; in a join it means the target's.
                let e = if simple { e.clone() } else { qualify(e, c, &u.table.name) };
                let x = self.value(&e)?;
                self.store(&x, &t, at)?
            };
            after[at].clone_from(&sql);
            moves_key |= t.keys.iter().any(|k| k.columns.contains(&at));
            if simple {
                sets.push(format!("{} = {sql}", quote(&t.columns[at].name)));
            } else {
                sets.push(format!("{} = src.v{i}", quote(&t.columns[at].name)));
                picked.push(format!("{sql} AS v{i}"));
            }
        }
        let (sql, rows) = if simple {
            let filter = match &u.filter {
                Some(e) => format!(" WHERE {}", self.pred(e)?),
                None => String::new(),
            };
            (format!("UPDATE {} SET {}{filter}", t.quoted(), sets.join(", ")), format!(" FROM {}{filter}", t.quoted()))
        } else {
            let limit = self.top_limit(u.top.as_ref())?;
            let (from, alias) = source;
            let sql = format!(
                "UPDATE {} SET {} FROM (SELECT {alias}.rowid AS rid, {}{from}{limit}) AS src WHERE {}.rowid = src.rid",
                t.quoted(),
                sets.join(", "),
                picked.join(", "),
                t.quoted()
            );
            (sql, format!("{from}{limit}"))
        };
        self.scopes.pop();
        let output = self.output(&t, &u.output, Kind::Update)?;
        let mut out = self.done(Kind::Update, format!("{sql}{}", output.0), output.1);
        if moves_key {
            let values: Vec<String> = after.iter().enumerate().map(|(i, v)| format!("{v} AS v{i}")).collect();
            out.probes = vec![format!("SELECT {from_alias}rowid AS rid, {}{rows}", values.join(", "))];
        }
        out.target = Some(t);
        Ok(out)
    }

    pub(super) fn delete(mut self, d: &Delete) -> SqlResult<Translated> {
        let name = self.target(&d.table, &d.from)?;
        let t = self.table(&name)?;
        self.scopes.push(super::Scope::default());
        let sql = if d.from.is_empty() && d.top.is_none() {
            self.locks[0].key = self.pinned(&t, &d.table.name, d.filter.as_ref());
            let names = t.columns.iter().map(|c| quote(&c.name)).collect();
            self.add_source(&d.table.name, "", table_columns(&t), Some(names))?;
            let filter = match &d.filter {
                Some(e) => format!(" WHERE {}", self.pred(e)?),
                None => String::new(),
            };
            format!("DELETE FROM {}{filter}", t.quoted())
        } else {
            let (from, alias) = self.joined(&d.table, &d.from, d.filter.as_ref())?;
            let limit = self.top_limit(d.top.as_ref())?;
            format!("DELETE FROM {} WHERE rowid IN (SELECT {alias}.rowid{from}{limit})", t.quoted())
        };
        self.scopes.pop();
        let output = self.output(&t, &d.output, Kind::Delete)?;
        let mut out = self.done(Kind::Delete, format!("{sql}{}", output.0), output.1);
        out.target = Some(t);
        Ok(out)
    }
}

/// Puts the target's alias before the column that `col op= e` was expanded with.
fn qualify(e: &Expr, column: &str, alias: &str) -> Expr {
    match e {
        Expr::Arith(op, l, r) if matches!(&**l, Expr::Col(p) if p.len() == 1 && p[0] == column) => {
            Expr::Arith(*op, Box::new(Expr::Col(vec![alias.to_owned(), column.to_owned()])), r.clone())
        }
        e => e.clone(),
    }
}
