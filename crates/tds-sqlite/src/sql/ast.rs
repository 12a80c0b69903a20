//! The syntax tree of the T-SQL that this server understands.
//!
//! Predicates and values share [`Expr`]; the translator refuses one where the other is due, as SQL Server does (4145).

use super::types::Ty;

/// A statement with the line it starts on.
#[derive(Debug, Clone)]
pub struct Stmt {
    /// 1-based line.
    pub line: u32,
    /// What it does.
    pub kind: StmtKind,
}

/// `server.db.schema.object`, missing parts empty from the left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjName {
    /// Database, if named.
    pub db: Option<String>,
    /// Schema, if named.
    pub schema: Option<String>,
    /// The object.
    pub name: String,
}

impl ObjName {
    /// As written, for messages.
    pub fn shown(&self) -> String {
        let mut s = String::new();
        if let Some(db) = &self.db {
            s.push_str(db);
            s.push('.');
        }
        if let Some(schema) = &self.schema {
            s.push_str(schema);
        }
        if self.db.is_some() || self.schema.is_some() {
            s.push('.');
        }
        s.push_str(&self.name);
        s
    }
}

/// Statements.
#[derive(Debug, Clone)]
pub enum StmtKind {
    /// SELECT, also the form that assigns variables.
    Select(Query),
    /// INSERT.
    Insert(Insert),
    /// UPDATE.
    Update(Update),
    /// DELETE.
    Delete(Delete),
    /// CREATE TABLE.
    CreateTable(CreateTable),
    /// CREATE INDEX.
    CreateIndex(CreateIndex),
    /// DROP TABLE; true for IF EXISTS.
    DropTable(Vec<ObjName>, bool),
    /// DROP INDEX name ON table.
    DropIndex(String, ObjName, bool),
    /// TRUNCATE TABLE.
    Truncate(ObjName),
    /// CREATE DATABASE.
    CreateDatabase(String),
    /// DROP DATABASE; true for IF EXISTS.
    DropDatabase(Vec<String>, bool),
    /// ALTER DATABASE name SET options that hold here anyway.
    AlterDatabase(String),
    /// USE.
    Use(String),
    /// DECLARE.
    Declare(Vec<(String, Ty, Option<Expr>)>),
    /// SET @x = e.
    SetVar(String, Expr),
    /// SET option.
    SetOption(SetOption),
    /// IF.
    If(Expr, Box<Stmt>, Option<Box<Stmt>>),
    /// WHILE.
    While(Expr, Box<Stmt>),
    /// BEGIN…END.
    Block(Vec<Stmt>),
    /// BREAK.
    Break,
    /// CONTINUE.
    Continue,
    /// PRINT.
    Print(Expr),
    /// RAISERROR(msg, severity, state, args…).
    Raiserror(Vec<Expr>),
    /// THROW, with or without its three arguments.
    Throw(Option<(Expr, Expr, Expr)>),
    /// BEGIN TRY … CATCH.
    Try(Vec<Stmt>, Vec<Stmt>),
    /// WAITFOR DELAY.
    WaitFor(Expr),
    /// BEGIN TRAN.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK, perhaps to a savepoint.
    Rollback(Option<String>),
    /// SAVE TRAN.
    Save(String),
    /// RETURN; its value is for procedures only, which there are none of.
    Return,
    /// DBCC command with its first argument and its options.
    Dbcc(String, Vec<Expr>),
    /// EXEC of a procedure with arguments (name, value).
    Exec(ObjName, Vec<(Option<String>, Expr)>),
    /// EXEC('text').
    ExecText(Expr),
    /// CHECKPOINT.
    Checkpoint,
}

/// SET options with an effect on the session.
#[derive(Debug, Clone)]
pub enum SetOption {
    /// NOCOUNT.
    NoCount(bool),
    /// XACT_ABORT.
    XactAbort(bool),
    /// IMPLICIT_TRANSACTIONS.
    ImplicitTransactions(bool),
    /// LOCK_TIMEOUT in ms, -1 for ever.
    LockTimeout(Expr),
    /// DEADLOCK_PRIORITY, from -10 to 10; a variable may also hold one of its names.
    DeadlockPriority(Expr),
    /// TRANSACTION ISOLATION LEVEL.
    Isolation(Isolation),
    /// FMTONLY and its like when switched off, ANSI settings when on: what this server does anyway.
    Inert,
}

/// Isolation levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Served as READ COMMITTED, which is stronger.
    ReadUncommitted,
    /// Statement snapshots.
    ReadCommitted,
    /// Served as SERIALIZABLE, which is stronger.
    RepeatableRead,
    /// What is read stays, and so does its absence.
    Serializable,
    /// The database as of the transaction's first statement; what would overwrite a later change fails with 3960.
    Snapshot,
}

/// A query with its order and limits.
#[derive(Debug, Clone)]
pub struct Query {
    /// WITH.
    pub ctes: Vec<(String, Vec<String>, Query)>,
    /// The body.
    pub body: SetExpr,
    /// ORDER BY, true for DESC.
    pub order: Vec<(Expr, bool)>,
    /// OFFSET.
    pub offset: Option<Expr>,
    /// FETCH NEXT.
    pub fetch: Option<Expr>,
}

/// A select or a set operation.
#[derive(Debug, Clone)]
pub enum SetExpr {
    /// SELECT.
    Select(Box<Select>),
    /// UNION, UNION ALL, EXCEPT, INTERSECT.
    Op(&'static str, Box<SetExpr>, Box<SetExpr>),
    /// VALUES as a derived table.
    Values(Vec<Vec<Expr>>),
}

/// SELECT.
#[derive(Debug, Clone)]
pub struct Select {
    /// DISTINCT.
    pub distinct: bool,
    /// TOP.
    pub top: Option<Expr>,
    /// Select list.
    pub items: Vec<Item>,
    /// FROM, comma separated.
    pub from: Vec<TableRef>,
    /// WHERE.
    pub filter: Option<Expr>,
    /// GROUP BY.
    pub group: Vec<Expr>,
    /// HAVING.
    pub having: Option<Expr>,
}

/// A select item.
#[derive(Debug, Clone)]
pub enum Item {
    /// `*` or `t.*`.
    Star(Option<String>),
    /// Expression with an alias.
    Expr(Expr, Option<String>),
    /// `@x = e`.
    Assign(String, Expr),
}

/// Hints about locks that outlive the statement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hint {
    /// UPDLOCK, XLOCK, TABLOCKX: what is read is going to be written.
    pub update: bool,
    /// HOLDLOCK, SERIALIZABLE, REPEATABLEREAD: what is read stays.
    pub keep: bool,
    /// TABLOCK, TABLOCKX, PAGLOCK: more than the row.
    pub whole: bool,
}

/// FROM item.
#[derive(Debug, Clone)]
pub enum TableRef {
    /// A table or view.
    Named {
        /// Its name.
        name: ObjName,
        /// Alias.
        alias: Option<String>,
        /// What its hints ask for.
        hint: Hint,
    },
    /// Derived table.
    Sub {
        /// The query.
        query: Box<Query>,
        /// Alias.
        alias: String,
        /// Column names.
        columns: Vec<String>,
    },
    /// Join.
    Join {
        /// `INNER`, `LEFT`, `RIGHT`, `FULL`, `CROSS`.
        kind: &'static str,
        /// Left side.
        left: Box<TableRef>,
        /// Right side.
        right: Box<TableRef>,
        /// ON.
        on: Option<Expr>,
    },
}

/// OVER (PARTITION BY … ORDER BY …).
#[derive(Debug, Clone)]
pub struct Over {
    /// PARTITION BY.
    pub partition: Vec<Expr>,
    /// ORDER BY, true for DESC.
    pub order: Vec<(Expr, bool)>,
}

/// Expressions.
#[derive(Debug, Clone)]
pub enum Expr {
    /// NULL.
    Null,
    /// Integer literal.
    Int(i64),
    /// Decimal literal as written.
    Dec(String),
    /// Float literal.
    Float(f64),
    /// String, true when national.
    Str(String, bool),
    /// Binary literal.
    Bin(Vec<u8>),
    /// Column, qualified or not.
    Col(Vec<String>),
    /// Variable.
    Var(String),
    /// `@@x`.
    SysVar(String),
    /// Unary minus.
    Neg(Box<Expr>),
    /// `~`.
    BitNot(Box<Expr>),
    /// Arithmetic: + - * / % & | ^.
    Arith(char, Box<Expr>, Box<Expr>),
    /// Comparison.
    Cmp(&'static str, Box<Expr>, Box<Expr>),
    /// AND.
    And(Box<Expr>, Box<Expr>),
    /// OR.
    Or(Box<Expr>, Box<Expr>),
    /// NOT.
    Not(Box<Expr>),
    /// IS NULL; true for IS NOT NULL.
    IsNull(Box<Expr>, bool),
    /// BETWEEN; true when negated.
    Between(Box<Expr>, Box<Expr>, Box<Expr>, bool),
    /// IN (list).
    InList(Box<Expr>, Vec<Expr>, bool),
    /// IN (query).
    InQuery(Box<Expr>, Box<Query>, bool),
    /// LIKE.
    Like(Box<Expr>, Box<Expr>, Option<Box<Expr>>, bool),
    /// EXISTS.
    Exists(Box<Query>),
    /// CASE.
    Case(Option<Box<Expr>>, Vec<(Expr, Expr)>, Option<Box<Expr>>),
    /// CAST, CONVERT and their TRY_ forms.
    Cast {
        /// What.
        expr: Box<Expr>,
        /// To.
        ty: Ty,
        /// CONVERT's style.
        style: Option<Box<Expr>>,
        /// NULL in place of an error.
        lenient: bool,
    },
    /// Function call.
    Func {
        /// Upper case name.
        name: String,
        /// Arguments.
        args: Vec<Expr>,
        /// COUNT(*).
        star: bool,
        /// COUNT(DISTINCT x).
        distinct: bool,
        /// OVER (PARTITION BY … ORDER BY …).
        over: Option<Box<Over>>,
    },
    /// Scalar subquery.
    Sub(Box<Query>),
    /// DEFAULT in VALUES or SET.
    Default,
}

/// OUTPUT items: table (`INSERTED` or `DELETED`), column or `*`, alias.
#[derive(Debug, Clone)]
pub struct OutputItem {
    /// True for `deleted`.
    pub deleted: bool,
    /// Column, `None` for `*`.
    pub column: Option<String>,
    /// Alias.
    pub alias: Option<String>,
}

/// Where the rows of an INSERT come from.
#[derive(Debug, Clone)]
pub enum InsertSource {
    /// VALUES.
    Values(Vec<Vec<Expr>>),
    /// SELECT.
    Query(Box<Query>),
    /// DEFAULT VALUES.
    Defaults,
}

/// INSERT.
#[derive(Debug, Clone)]
pub struct Insert {
    /// Target.
    pub table: ObjName,
    /// Columns, empty when not named.
    pub columns: Vec<String>,
    /// OUTPUT.
    pub output: Vec<OutputItem>,
    /// Rows.
    pub source: InsertSource,
}

/// UPDATE.
#[derive(Debug, Clone)]
pub struct Update {
    /// Target, an object or an alias of `from`.
    pub table: ObjName,
    /// TOP.
    pub top: Option<Expr>,
    /// SET: column or variable, value. `col op= e` is expanded.
    pub sets: Vec<(String, Expr)>,
    /// OUTPUT.
    pub output: Vec<OutputItem>,
    /// FROM.
    pub from: Vec<TableRef>,
    /// WHERE.
    pub filter: Option<Expr>,
}

/// DELETE.
#[derive(Debug, Clone)]
pub struct Delete {
    /// Target, an object or an alias of `from`.
    pub table: ObjName,
    /// TOP.
    pub top: Option<Expr>,
    /// OUTPUT.
    pub output: Vec<OutputItem>,
    /// FROM.
    pub from: Vec<TableRef>,
    /// WHERE.
    pub filter: Option<Expr>,
}

/// A column of CREATE TABLE.
#[derive(Debug, Clone)]
pub struct ColumnDef {
    /// Name.
    pub name: String,
    /// Type.
    pub ty: Ty,
    /// NULL / NOT NULL as written.
    pub nullable: Option<bool>,
    /// IDENTITY(seed, increment).
    pub identity: Option<(i64, i64)>,
    /// DEFAULT.
    pub default: Option<Expr>,
}

/// A constraint of CREATE TABLE.
#[derive(Debug, Clone)]
pub struct Constraint {
    /// Name, generated when not given.
    pub name: Option<String>,
    /// What it demands.
    pub kind: ConstraintKind,
}

/// Constraint kinds.
#[derive(Debug, Clone)]
pub enum ConstraintKind {
    /// PRIMARY KEY.
    Primary(Vec<String>),
    /// UNIQUE.
    Unique(Vec<String>),
    /// CHECK, with the one column it stands beside.
    Check(Expr, Option<String>),
    /// FOREIGN KEY.
    Foreign(Vec<String>, ObjName, Vec<String>),
}

/// CREATE TABLE.
#[derive(Debug, Clone)]
pub struct CreateTable {
    /// Name.
    pub name: ObjName,
    /// Columns.
    pub columns: Vec<ColumnDef>,
    /// Constraints.
    pub constraints: Vec<Constraint>,
    /// The statement as written, kept in the catalog.
    pub text: String,
}

/// CREATE INDEX.
#[derive(Debug, Clone)]
pub struct CreateIndex {
    /// Index name.
    pub name: String,
    /// Table.
    pub table: ObjName,
    /// UNIQUE.
    pub unique: bool,
    /// Columns, true for DESC.
    pub columns: Vec<(String, bool)>,
    /// Filter of a filtered index.
    pub filter: Option<Expr>,
    /// The statement as written, kept in the catalog.
    pub text: String,
}
