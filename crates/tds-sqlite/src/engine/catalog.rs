//! What a database contains, with T-SQL's types. Rebuilt at start from the DDL texts that are stored beside the tables.

use crate::error::{SqlError, SqlResult};
use crate::sql::ast::{ColumnDef, ConstraintKind, CreateIndex, CreateTable, Expr, ObjName};
use crate::sql::types::Ty;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Name as created.
    pub name: String,
    /// Type.
    pub ty: Ty,
    /// Whether NULL may be stored.
    pub nullable: bool,
    /// IDENTITY(seed, increment).
    pub identity: Option<(i64, i64)>,
    /// DEFAULT.
    pub default: Option<Expr>,
}

/// PRIMARY KEY, UNIQUE or a unique index.
#[derive(Debug, Clone)]
pub struct Key {
    /// Constraint or index name.
    pub name: String,
    /// Column positions.
    pub columns: Vec<usize>,
    /// PRIMARY KEY.
    pub primary: bool,
    /// True for CREATE UNIQUE INDEX, whose violation is 2601.
    pub index: bool,
}

/// CHECK.
#[derive(Debug, Clone)]
pub struct Check {
    /// Constraint name.
    pub name: String,
    /// Predicate.
    pub expr: Expr,
    /// The column that it stands beside.
    pub column: Option<String>,
}

/// FOREIGN KEY.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// Constraint name.
    pub name: String,
    /// Own columns.
    pub columns: Vec<usize>,
    /// Schema and table referred to.
    pub table: (String, String),
    /// Columns there.
    pub refs: Vec<String>,
}

/// A table.
#[derive(Debug)]
pub struct Table {
    /// object_id.
    pub id: i64,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Columns in order.
    pub columns: Vec<Column>,
    /// Keys.
    pub keys: Vec<Key>,
    /// Checks.
    pub checks: Vec<Check>,
    /// Foreign keys.
    pub foreign: Vec<Foreign>,
    /// Names of all indexes made by CREATE INDEX.
    pub indexes: Vec<String>,
    /// Creation time in ticks.
    pub created: i64,
    /// Last identity value given out; shared by every version of the table.
    pub last_identity: Arc<AtomicI64>,
    /// What `t_identity` knows that by: its object_id, or after a TRUNCATE a negative number of its own.
    pub counter: i64,
}

impl Table {
    /// The name of the SQLite table.
    pub fn sqlite_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The same, quoted.
    pub fn quoted(&self) -> String {
        quote(&self.sqlite_name())
    }

    /// Position of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// The column that aliases SQLite's rowid: a lone integer primary key.
    pub fn rowid_column(&self) -> Option<usize> {
        let key = self.keys.iter().find(|k| k.primary)?;
        match key.columns[..] {
            [c] if matches!(self.columns[c].ty, Ty::Int | Ty::BigInt | Ty::SmallInt | Ty::TinyInt) => Some(c),
            _ => None,
        }
    }

    /// Next identity value.
    pub fn next_identity(&self) -> i64 {
        let inc = self.columns.iter().find_map(|c| c.identity).map_or(1, |(_, inc)| inc);
        self.last_identity.fetch_add(inc, Ordering::SeqCst) + inc
    }
}

/// Double-quotes an identifier for SQLite.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The objects of one database at one version.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Grows with every change.
    pub version: u64,
    tables: BTreeMap<String, Arc<Table>>,
}

fn key_of(schema: &str, name: &str) -> String {
    format!("{}.{}", schema.to_lowercase(), name.to_lowercase())
}

/// A name for a constraint that has none, in SQL Server's form; the same after every restart.
fn generated(prefix: &str, table: &str, n: usize, id: i64) -> String {
    let t: String = table.chars().take(9).collect();
    format!("{prefix}__{t}__{:08X}", (id.unsigned_abs().wrapping_mul(2_654_435_761) ^ (n as u64)) & 0xFFFF_FFFF)
}

/// An object_id that depends on nothing but the object, so that it is the same after every restart (FNV-1a).
fn object_id(name: &str, created: i64) -> i64 {
    let bytes = name.bytes().map(|b| b.to_ascii_lowercase()).chain(created.to_le_bytes());
    let hash = bytes.fold(0x811C_9DC5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    i64::from(hash & 0x7FFF_FFFF) | 1
}

impl Catalog {
    /// Finds a table; the schema defaults to dbo.
    pub fn table(&self, name: &ObjName) -> Option<&Arc<Table>> {
        self.tables.get(&key_of(name.schema.as_deref().unwrap_or("dbo"), &name.name))
    }

    /// All tables, by name.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    /// Adds the table of a CREATE TABLE and returns it.
    ///
    /// # Errors
    /// 2714, 2705, 1911, 8110 and their like.
    pub fn create_table(&mut self, def: &CreateTable, created: i64) -> SqlResult<Arc<Table>> {
        let schema = def.name.schema.clone().unwrap_or_else(|| "dbo".to_owned());
        if !schema.eq_ignore_ascii_case("dbo") {
            return Err(SqlError::new(
                2760,
                format!("The specified schema name \"{schema}\" either does not exist or you do not have permission to use it."),
            ));
        }
        if self.table(&def.name).is_some() {
            return Err(SqlError::new(2714, format!("There is already an object named '{}' in the database.", def.name.name)).state(6));
        }
        let id = object_id(&def.name.name, created);
        let name = &def.name.name;
        let columns = def.columns.iter().map(|c| column(c, name)).collect::<SqlResult<Vec<_>>>()?;
        for (i, c) in columns.iter().enumerate() {
            if columns[..i].iter().any(|d| d.name.eq_ignore_ascii_case(&c.name)) {
                return Err(SqlError::new(
                    2705,
                    format!(
                        "Column names in each table must be unique. Column name '{}' in table '{name}' is specified more than once.",
                        c.name
                    ),
                )
                .state(3));
            }
        }
        if columns.iter().filter(|c| c.identity.is_some()).count() > 1 {
            return Err(SqlError::new(
                2744,
                format!("Multiple identity columns specified for table '{name}'. Only one identity column per table is allowed."),
            )
            .state(2));
        }
        let last_identity = before_seed(&columns);
        let mut t = Table {
            id,
            schema: "dbo".to_owned(),
            name: name.clone(),
            columns,
            keys: vec![],
            checks: vec![],
            foreign: vec![],
            indexes: vec![],
            created,
            last_identity,
            counter: id,
        };
        self.add_constraints(&mut t, def)?;
        let t = Arc::new(t);
        self.tables.insert(key_of(&t.schema, &t.name), t.clone());
        self.version += 1;
        Ok(t)
    }

    fn add_constraints(&self, t: &mut Table, def: &CreateTable) -> SqlResult<()> {
        for (n, c) in def.constraints.iter().enumerate() {
            let positions = |cols: &[String]| -> SqlResult<Vec<usize>> {
                cols.iter()
                    .map(|c| {
                        t.column(c)
                            .ok_or_else(|| SqlError::new(1911, format!("Column name '{c}' does not exist in the target table or view.")))
                    })
                    .collect()
            };
            let named = |prefix: &str| c.name.clone().unwrap_or_else(|| generated(prefix, &t.name, n, t.id));
            match &c.kind {
                ConstraintKind::Primary(cols) => {
                    let columns = positions(cols)?;
                    if t.keys.iter().any(|k| k.primary) {
                        return Err(SqlError::new(8110, format!("Cannot add multiple PRIMARY KEY constraints to table '{}'.", t.name)));
                    }
                    for p in &columns {
                        if def.columns[*p].nullable == Some(true) {
                            return Err(SqlError::new(
                                8111,
                                format!("Cannot define PRIMARY KEY constraint on nullable column in table '{}'.", t.name),
                            ));
                        }
                    }
                    t.keys.push(Key { name: named("PK"), columns: columns.clone(), primary: true, index: false });
                    for p in columns {
                        t.columns[p].nullable = false;
                    }
                }
                ConstraintKind::Unique(cols) => {
                    let key = Key { name: named("UQ"), columns: positions(cols)?, primary: false, index: false };
                    t.keys.push(key);
                }
                ConstraintKind::Check(e, column) => t.checks.push(Check { name: named("CK"), expr: e.clone(), column: column.clone() }),
                ConstraintKind::Foreign(cols, table, refs) => {
                    let columns = positions(cols)?;
                    let name = named("FK");
                    let missing = || SqlError::new(1767, format!("Foreign key '{name}' references invalid table '{}'.", table.shown()));
                    let own = table.name.eq_ignore_ascii_case(&t.name);
                    let refs = if !refs.is_empty() {
                        refs.clone()
                    } else if own {
                        return Err(SqlError::unsupported("self-referencing FOREIGN KEY without columns"));
                    } else {
                        let other = self.table(table).ok_or_else(missing)?;
                        let pk = other.keys.iter().find(|k| k.primary).ok_or_else(missing)?;
                        pk.columns.iter().map(|c| other.columns[*c].name.clone()).collect()
                    };
                    if !own && self.table(table).is_none() {
                        return Err(missing());
                    }
                    t.foreign.push(Foreign { name, columns, table: ("dbo".to_owned(), table.name.clone()), refs });
                }
            }
        }
        Ok(())
    }

    /// Adds an index and returns the table in its new form.
    ///
    /// # Errors
    /// 1088, 1911, 1913.
    pub fn create_index(&mut self, def: &CreateIndex) -> SqlResult<Arc<Table>> {
        let old = self.table(&def.table).cloned().ok_or_else(|| {
            SqlError::new(
                1088,
                format!("Cannot find the object \"{}\" because it does not exist or you do not have permissions.", def.table.shown()),
            )
            .state(12)
        })?;
        if old.indexes.iter().any(|i| i.eq_ignore_ascii_case(&def.name)) {
            return Err(SqlError::new(
                1913,
                format!(
                    "The operation failed because an index or statistics with name '{}' already exists on table '{}'.",
                    def.name,
                    def.table.shown()
                ),
            ));
        }
        let mut columns = Vec::new();
        for (c, _) in &def.columns {
            let at = old
                .column(c)
                .ok_or_else(|| SqlError::new(1911, format!("Column name '{c}' does not exist in the target table or view.")))?;
            columns.push(at);
        }
        let mut t = copy(&old);
        t.indexes.push(def.name.clone());
        if def.unique && def.filter.is_none() {
            t.keys.push(Key { name: def.name.clone(), columns, primary: false, index: true });
        }
        Ok(self.put(t))
    }

    /// Removes an index; `None` when there is none of that name.
    pub fn drop_index(&mut self, name: &str, table: &ObjName) -> Option<Arc<Table>> {
        let mut t = copy(self.table(table)?);
        let at = t.indexes.iter().position(|i| i.eq_ignore_ascii_case(name))?;
        t.indexes.remove(at);
        t.keys.retain(|k| !(k.index && k.name.eq_ignore_ascii_case(name)));
        Some(self.put(t))
    }

    fn put(&mut self, t: Table) -> Arc<Table> {
        let t = Arc::new(t);
        self.tables.insert(key_of(&t.schema, &t.name), t.clone());
        self.version += 1;
        t
    }

    /// Another table whose foreign key references this one.
    pub fn is_referenced(&self, name: &ObjName) -> bool {
        let other = |t: &&Arc<Table>| !t.name.eq_ignore_ascii_case(&name.name);
        self.tables().filter(other).any(|t| t.foreign.iter().any(|f| f.table.1.eq_ignore_ascii_case(&name.name)))
    }

    /// A table that is emptied, in its new form: its identity starts again in a counter of its own, so that a rollback finds the old one as it was.
    ///
    /// # Errors
    /// 4701, 4712.
    pub fn truncate(&mut self, name: &ObjName) -> SqlResult<Arc<Table>> {
        let old = self.table(name).cloned().ok_or_else(|| {
            SqlError::new(
                4701,
                format!("Cannot find the object \"{}\" because it does not exist or you do not have permissions.", name.shown()),
            )
        })?;
        if self.is_referenced(name) {
            let text = format!("Cannot truncate table '{}' because it is being referenced by a FOREIGN KEY constraint.", name.shown());
            return Err(SqlError::new(4712, text));
        }
        if old.columns.iter().all(|c| c.identity.is_none()) {
            return Ok(old);
        }
        let mut t = copy(&old);
        t.last_identity = before_seed(&t.columns);
        t.counter = -i64::try_from(self.version).unwrap_or(i64::MAX) - 1;
        Ok(self.put(t))
    }

    /// Removes a table.
    pub fn drop_table(&mut self, name: &ObjName) -> Option<Arc<Table>> {
        let t = self.tables.remove(&key_of(name.schema.as_deref().unwrap_or("dbo"), &name.name))?;
        self.version += 1;
        Some(t)
    }
}

/// An identity of which nothing has been given out.
fn before_seed(columns: &[Column]) -> Arc<AtomicI64> {
    let start = columns.iter().find_map(|c| c.identity).map_or(0, |(seed, inc)| seed - inc);
    Arc::new(AtomicI64::new(start))
}

fn copy(t: &Table) -> Table {
    Table {
        id: t.id,
        schema: t.schema.clone(),
        name: t.name.clone(),
        columns: t.columns.clone(),
        keys: t.keys.clone(),
        checks: t.checks.clone(),
        foreign: t.foreign.clone(),
        indexes: t.indexes.clone(),
        created: t.created,
        last_identity: t.last_identity.clone(),
        counter: t.counter,
    }
}

fn column(c: &ColumnDef, table: &str) -> SqlResult<Column> {
    if c.identity.is_some() && !(c.ty.is_int() && c.ty != Ty::Bit) {
        return Err(SqlError::new(
            2749,
            format!("Identity column '{}' must be of data type int, bigint, smallint, tinyint, or decimal or numeric with a scale of 0, unencrypted, and constrained to be nonnullable.", c.name),
        )
        .state(2));
    }
    if matches!(c.identity, Some((_, 0))) {
        return Err(SqlError::new(2752, format!("Identity column '{}' in table '{table}' has an increment of 0.", c.name)));
    }
    let nullable = c.nullable.unwrap_or(c.identity.is_none());
    Ok(Column { name: c.name.clone(), ty: c.ty, nullable, identity: c.identity, default: c.default.clone() })
}
