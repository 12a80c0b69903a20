//! Syntax tree to SQLite text. Types are worked out here, once, so that SQLite's untyped values come out with T-SQL's types, and every implicit
//! conversion, overflow check and rounding that T-SQL makes is written into the SQL as a call of one of the functions in `engine::functions`.

mod ddl;
mod dml;
mod expr;
mod func;
mod query;

pub use ddl::{create_index, create_table, index_name};

use crate::engine::catalog::{Catalog, Table};
use crate::error::{SqlError, SqlResult};
use crate::sql::ast::{Expr, Hint, ObjName, Query, StmtKind};
use crate::sql::types::Ty;
use rusqlite::types::Value;
use std::cell::Cell;
use std::sync::Arc;

/// A value that is filled in when the statement runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// A variable.
    Var(String),
    /// Something that the session knows, by its `@@` or function name.
    Session(&'static str),
    /// A literal that SQLite's syntax cannot carry.
    Lit(Value),
}

/// A result column.
#[derive(Debug, Clone, PartialEq)]
pub struct OutColumn {
    /// Name, empty when it has none.
    pub name: String,
    /// Type.
    pub ty: Ty,
    /// May be NULL.
    pub nullable: bool,
    /// IDENTITY column.
    pub identity: bool,
}

/// What a translated statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reads only.
    Select,
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
}

/// A table that a statement touches.
#[derive(Debug, Clone)]
pub struct Touch {
    /// object_id.
    pub table: i64,
    /// The integer key of the only row that it looks at or changes, where the statement says so.
    pub key: Option<Key>,
    /// What a hint asks for.
    pub hint: Hint,
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A literal.
    Int(i64),
    /// A variable of an integer type.
    Var(String),
}

/// A statement ready for SQLite.
#[derive(Debug)]
pub struct Translated {
    /// Kind.
    pub kind: Kind,
    /// Database whose tables it names; `None` when it names none.
    pub db: Option<String>,
    /// SQLite text.
    pub sql: String,
    /// What ?1, ?2 … stand for.
    pub params: Vec<Param>,
    /// Result columns; for DML those of OUTPUT.
    pub columns: Vec<OutColumn>,
    /// `SELECT @x = …`: variable and the type that the column has.
    pub assigns: Vec<String>,
    /// False when the text holds a snapshot of a system view.
    pub cacheable: bool,
    /// What it must lock where its transaction locks what it touches; the target of DML first.
    pub locks: Vec<Touch>,
    /// Target of DML.
    pub target: Option<Arc<Table>>,
    /// Finds the key value for 2627. For INSERT: one query a row that gives the row's value in each column; for an UPDATE of a key: one
    /// query that gives `rid` and what each column is to be, `v0`, `v1` …, of every row that it changes.
    pub probes: Vec<String>,
    /// For INSERT: the columns that a probe's values belong to.
    pub probe_columns: Vec<usize>,
}

/// The rows of a system view.
#[derive(Debug, Clone)]
pub struct SystemView {
    /// Columns.
    pub columns: Vec<(&'static str, Ty)>,
    /// Rows.
    pub rows: Vec<Vec<Value>>,
}

/// What the translator asks of its surroundings.
pub trait Names {
    /// Name of the current database.
    fn current_db(&self) -> &str;
    /// Catalog of a database.
    fn catalog(&self, db: &str) -> Option<Arc<Catalog>>;
    /// Type of a variable.
    fn variable(&self, name: &str) -> Option<Ty>;
    /// A system view by schema and name, lower case.
    fn system_view(&self, db: &str, schema: &str, name: &str) -> Option<SystemView>;
}

/// Translates SELECT, INSERT, UPDATE and DELETE.
///
/// # Errors
/// Name, type and grouping errors with SQL Server's numbers.
pub fn translate(names: &dyn Names, stmt: &StmtKind) -> SqlResult<Translated> {
    let t = Tr::new(names);
    match stmt {
        StmtKind::Select(q) => t.select_stmt(q),
        StmtKind::Insert(i) => t.insert(i),
        StmtKind::Update(u) => t.update(u),
        StmtKind::Delete(d) => t.delete(d),
        _ => Err(SqlError::unsupported("statement")),
    }
}

/// Translates one scalar expression into a SELECT of one row; for predicates the value is 0 or 1.
///
/// # Errors
/// As [`translate`].
pub fn translate_scalar(names: &dyn Names, e: &Expr, as_type: Option<Ty>) -> SqlResult<Translated> {
    let mut t = Tr::new(names);
    let x = t.value(e)?;
    let ty = as_type.unwrap_or(x.ty);
    let sql = t.conv(&x, ty);
    let column = OutColumn { name: String::new(), ty, nullable: true, identity: false };
    Ok(t.done(Kind::Select, format!("SELECT {sql}"), vec![column]))
}

/// Translates a condition, see [`translate_scalar`].
///
/// # Errors
/// As [`translate`].
pub fn translate_condition(names: &dyn Names, e: &Expr) -> SqlResult<Translated> {
    let mut t = Tr::new(names);
    let p = t.pred(e)?;
    let column = OutColumn { name: String::new(), ty: Ty::Int, nullable: true, identity: false };
    Ok(t.done(Kind::Select, format!("SELECT ({p})"), vec![column]))
}

/// A typed SQLite expression.
#[derive(Debug, Clone)]
struct Tx {
    sql: String,
    ty: Ty,
    nullable: bool,
    /// Column name and identity flag when it is a plain column.
    column: Option<(String, bool)>,
}

impl Tx {
    fn new(sql: impl Into<String>, ty: Ty) -> Self {
        Self { sql: sql.into(), ty, nullable: true, column: None }
    }

    fn not_null(mut self) -> Self {
        self.nullable = false;
        self
    }
}

#[derive(Debug, Clone)]
struct Source {
    /// Names under which columns may be qualified, lower case: alias, or table name.
    alias: String,
    /// Alias in the SQLite text; empty when columns stand bare.
    sql: String,
    columns: Vec<OutColumn>,
    /// Column names in the SQLite text.
    sql_columns: Vec<String>,
}

#[derive(Debug, Default)]
struct Scope {
    sources: Vec<Source>,
    /// In a grouped select: the grouping columns' SQL and the grouping expressions as written.
    grouped: Option<(Vec<String>, Vec<String>)>,
    in_aggregate: bool,
    /// Columns that were resolved while this was the innermost scope: of its own sources, and of scopes around it.
    own_columns: Cell<usize>,
    outer_columns: Cell<usize>,
}

struct Tr<'a> {
    names: &'a dyn Names,
    params: Vec<Param>,
    scopes: Vec<Scope>,
    ctes: Vec<(String, Vec<OutColumn>)>,
    db: Option<String>,
    cacheable: bool,
    locks: Vec<Touch>,
    aliases: usize,
}

impl<'a> Tr<'a> {
    fn new(names: &'a dyn Names) -> Self {
        Self { names, params: vec![], scopes: vec![], ctes: vec![], db: None, cacheable: true, locks: vec![], aliases: 0 }
    }

    fn done(self, kind: Kind, sql: String, columns: Vec<OutColumn>) -> Translated {
        Translated {
            kind,
            db: self.db,
            sql,
            params: self.params,
            columns,
            assigns: vec![],
            cacheable: self.cacheable,
            locks: self.locks,
            target: None,
            probes: vec![],
            probe_columns: vec![],
        }
    }

    fn param(&mut self, p: Param) -> String {
        let at = self.params.iter().position(|q| *q == p).unwrap_or_else(|| {
            self.params.push(p);
            self.params.len() - 1
        });
        format!("?{}", at + 1)
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }

    fn var_ty(&self, name: &str) -> SqlResult<Ty> {
        self.names
            .variable(name)
            .ok_or_else(|| SqlError::new(137, format!("Must declare the scalar variable \"{name}\".")).class(15).state(2))
    }

    /// Settles which database the statement runs in; SQLite runs a statement in one file.
    fn settle_db(&mut self, name: &ObjName) -> SqlResult<(String, Arc<Catalog>)> {
        let db = name.db.clone().unwrap_or_else(|| self.names.current_db().to_owned());
        let catalog = self
            .names
            .catalog(&db)
            .ok_or_else(|| SqlError::new(911, format!("Database '{db}' does not exist. Make sure that the name is entered correctly.")))?;
        Ok((db, catalog))
    }

    fn table(&mut self, name: &ObjName) -> SqlResult<Arc<Table>> {
        let (db, catalog) = self.settle_db(name)?;
        let t = catalog.table(name).cloned().ok_or_else(|| SqlError::no_object(&name.shown()))?;
        match &self.db {
            Some(d) if !d.eq_ignore_ascii_case(&db) => return Err(SqlError::unsupported("query over tables of two databases")),
            _ => self.db = Some(db),
        }
        self.locks.push(Touch { table: t.id, key: None, hint: Hint::default() });
        Ok(t)
    }

    fn resolve(&self, parts: &[String]) -> SqlResult<Tx> {
        let shown = parts.join(".");
        let (qualifier, name) = match parts {
            [n] => (None, n),
            [.., q, n] => (Some(q.to_lowercase()), n),
            [] => return Err(SqlError::syntax(".")),
        };
        for (depth, scope) in self.scopes.iter().rev().enumerate() {
            let mut hit: Option<Tx> = None;
            for s in &scope.sources {
                if qualifier.as_ref().is_some_and(|q| *q != s.alias) {
                    continue;
                }
                for (c, column) in s.columns.iter().zip(&s.sql_columns).filter(|(c, _)| c.name.eq_ignore_ascii_case(name)) {
                    if hit.is_some() {
                        return Err(SqlError::new(209, format!("Ambiguous column name '{shown}'.")));
                    }
                    let sql = if s.sql.is_empty() { column.clone() } else { format!("{}.{column}", s.sql) };
                    hit = Some(Tx { sql, ty: c.ty, nullable: c.nullable, column: Some((c.name.clone(), c.identity)) });
                }
            }
            if let Some(tx) = hit {
                if let Some(inner) = self.scopes.last() {
                    let counter = if depth == 0 { &inner.own_columns } else { &inner.outer_columns };
                    counter.set(counter.get() + 1);
                }
                if let (Some((cols, _)), false, 0) = (&scope.grouped, scope.in_aggregate, depth)
                    && !cols.contains(&tx.sql)
                {
                    return Err(SqlError::new(
                        8120,
                        format!(
                            "Column '{shown}' is invalid in the select list because it is not contained in either an aggregate function or the GROUP BY clause."
                        ),
                    ));
                }
                return Ok(tx);
            }
        }
        if let Some(q) = &qualifier
            && !self.scopes.iter().any(|s| s.sources.iter().any(|s| s.alias == *q))
        {
            return Err(SqlError::new(4104, format!("The multi-part identifier \"{shown}\" could not be bound.")));
        }
        Err(SqlError::new(207, format!("Invalid column name '{name}'.")))
    }

    /// How many columns have been resolved in the innermost scope: of its own sources, and of scopes around it.
    fn columns_seen(&self) -> (usize, usize) {
        self.scopes.last().map_or((0, 0), |scope| (scope.own_columns.get(), scope.outer_columns.get()))
    }

    /// The value that the integer key of a table is compared with, where nothing but that row can be meant.
    fn pinned(&self, t: &Table, alias: &str, filter: Option<&Expr>) -> Option<Key> {
        match filter? {
            Expr::And(l, r) => self.pinned(t, alias, Some(l)).or_else(|| self.pinned(t, alias, Some(r))),
            Expr::Cmp("=", l, r) => {
                let key = &t.columns[t.rowid_column()?].name;
                let is_key = |e: &Expr| match e {
                    Expr::Col(parts) => match &parts[..] {
                        [name] => name.eq_ignore_ascii_case(key),
                        [.., of, name] => of.eq_ignore_ascii_case(alias) && name.eq_ignore_ascii_case(key),
                        [] => false,
                    },
                    _ => false,
                };
                match (is_key(l), is_key(r)) {
                    (true, false) => self.key_value(r),
                    (false, true) => self.key_value(l),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// A value that is known before the statement runs.
    fn key_value(&self, e: &Expr) -> Option<Key> {
        match e {
            Expr::Int(n) => Some(Key::Int(*n)),
            Expr::Var(name) if matches!(self.names.variable(name)?, Ty::TinyInt | Ty::SmallInt | Ty::Int | Ty::BigInt) => {
                Some(Key::Var(name.clone()))
            }
            _ => None,
        }
    }

    fn subquery(&mut self, q: &Query) -> SqlResult<(String, Vec<OutColumn>)> {
        self.query(q)
    }

    /// SQL of `x` as type `to`.
    fn conv(&self, x: &Tx, to: Ty) -> String {
        if x.ty.same_storage(to) || to == Ty::Null { x.sql.clone() } else { format!("t_cv({}, {}, {})", x.sql, x.ty.code(), to.code()) }
    }
}

/// A string literal of SQLite.
fn text_lit(s: &str) -> String {
    format!("'{}'", s.replace('\'', "''"))
}

/// A value as a literal of SQLite.
fn value_lit(v: &Value) -> String {
    match v {
        Value::Null => "NULL".to_owned(),
        Value::Integer(n) => n.to_string(),
        Value::Real(f) => format!("{f:e}"),
        Value::Text(s) => text_lit(s),
        Value::Blob(b) => format!("x'{}'", b.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}
