//! What must be there before the first op: the database, its tables, the accounts and the sentinel row.

use std::time::Duration;

use thiserror::Error;

use super::bank::{ACCOUNTS, OPENING_BALANCE};
use super::ledger::{digest_as_column, digest_of};
use super::register::{OPENING_CONTENT, REGISTERS};
use super::statements;
use crate::experiment::{OwnSql, WorkloadPlan};
use crate::model::Isolation;
use crate::sql::{Cause, Deadlines, Param, Session, SqlError, Target};

/// The database of every run.
pub const DATABASE: &str = "chaos";

/// Creating a database on a slow volume takes seconds.
const DDL: Duration = Duration::from_secs(60);
const QUICK: Duration = Duration::from_secs(10);
const DEADLINES: Deadlines = Deadlines { connect: Duration::from_secs(5), login: Duration::from_secs(15) };

const CREATE_DATABASE: &str = "IF DB_ID(N'chaos') IS NULL CREATE DATABASE chaos";
/// Readers of a snapshot need row versions, which SQL Server keeps only where it is told to.
const ALLOW_SNAPSHOTS: &str = "ALTER DATABASE chaos SET ALLOW_SNAPSHOT_ISOLATION ON";
const TABLES: [&str; 6] = [
    "IF OBJECT_ID(N'dbo.ledger', N'U') IS NULL \
     CREATE TABLE dbo.ledger (id BIGINT NOT NULL PRIMARY KEY, payload VARBINARY(256) NOT NULL, digest BIGINT NOT NULL)",
    "IF OBJECT_ID(N'dbo.bank', N'U') IS NULL CREATE TABLE dbo.bank (id INT NOT NULL PRIMARY KEY, balance BIGINT NOT NULL)",
    "IF OBJECT_ID(N'dbo.append', N'U') IS NULL CREATE TABLE dbo.append (id BIGINT NOT NULL PRIMARY KEY, list VARCHAR(8000) NOT NULL)",
    "IF OBJECT_ID(N'dbo.register', N'U') IS NULL CREATE TABLE dbo.register (id BIGINT NOT NULL PRIMARY KEY, content BIGINT NOT NULL)",
    "IF OBJECT_ID(N'dbo.queue', N'U') IS NULL \
     CREATE TABLE dbo.queue (place BIGINT IDENTITY(1, 1) NOT NULL PRIMARY KEY, item BIGINT NOT NULL)",
    "IF OBJECT_ID(N'dbo.sentinel', N'U') IS NULL \
     CREATE TABLE dbo.sentinel (id INT NOT NULL PRIMARY KEY, token NVARCHAR(128) NOT NULL, digest BIGINT NOT NULL)",
];

/// Creates database `chaos` and its tables where they are missing, and empties them: what an earlier run or an earlier attempt left would be taken for
/// rows that nobody wrote. Opens every account with [`OPENING_BALANCE`] and every register with [`OPENING_CONTENT`]. May be called again.
///
/// The user's own setup follows, and each of his checks is asked once, so that a query that cannot be run is known before any fault.
///
/// # Errors
/// When the engine cannot be reached or refuses a statement.
pub async fn prepare(plan: &WorkloadPlan, target: &Target) -> Result<(), PrepareError> {
    let mut master = Session::connect(&target.in_database("master"), DEADLINES).await?;
    master.batch(CREATE_DATABASE, DDL).await?;
    drop(master);
    let mut session = Session::connect(&target.in_database(DATABASE), DEADLINES).await?;
    for table in TABLES {
        session.batch(table, DDL).await?;
    }
    if plan.isolation == Isolation::Snapshot {
        session.batch(ALLOW_SNAPSHOTS, DDL).await?;
    }
    for table in ["ledger", "bank", "append", "register", "queue", "sentinel"] {
        session.batch(&format!("DELETE FROM dbo.{table}"), DDL).await?;
    }
    let accounts: Vec<String> = (0..ACCOUNTS).map(|account| format!("({account}, {OPENING_BALANCE})")).collect();
    session.batch(&format!("INSERT INTO dbo.bank (id, balance) VALUES {}", accounts.join(", ")), QUICK).await?;
    let registers: Vec<String> = (0..REGISTERS).map(|register| format!("({register}, {OPENING_CONTENT})")).collect();
    session.batch(&format!("INSERT INTO dbo.register (id, content) VALUES {}", registers.join(", ")), QUICK).await?;
    match &plan.sql {
        Some(own) => set_up(&mut session, own).await,
        None => Ok(()),
    }
}

/// Runs the user's own setup, and asks his checks.
async fn set_up(session: &mut Session, own: &OwnSql) -> Result<(), PrepareError> {
    for (number, batch) in own.setup.iter().enumerate() {
        let at = |error| PrepareError { place: Some(format!("workload.sql.setup[{number}]")), error };
        session.batch(batch, DDL).await.map_err(at)?;
    }
    for (number, check) in own.checks.iter().enumerate() {
        let at = |error| PrepareError { place: Some(format!("workload.sql.checks[{number}]")), error };
        statements::ask(session, check, DDL).await.map_err(at)?;
    }
    Ok(())
}

/// Why the database could not be made ready for the load.
#[derive(Debug, Error)]
#[error("{}{error}", place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
pub struct PrepareError {
    /// The key of the experiment whose statement it was, of the user's own ones.
    pub place: Option<String>,
    /// What was seen.
    pub error: SqlError,
}

impl PrepareError {
    /// Whether another attempt would end the same: the server refuses the user's own statement, or answers what no check can use.
    pub fn is_final(&self) -> bool {
        self.place.is_some() && matches!(self.error.cause, Cause::Server { .. } | Cause::Protocol { .. })
    }
}

impl From<SqlError> for PrepareError {
    fn from(error: SqlError) -> Self {
        PrepareError { place: None, error }
    }
}

/// Whether the engine knows the database, recovering or not.
///
/// # Errors
/// When the engine could not be asked.
pub async fn database_exists(target: &Target) -> Result<bool, SqlError> {
    let mut session = Session::connect(&target.in_database("master"), DEADLINES).await?;
    let rows = session.query_rows("SELECT DB_ID(N'chaos')", &[], QUICK).await?;
    Ok(rows.first().map(|row| row.integer(0)).transpose()?.flatten().is_some())
}

/// Writes the sentinel: a row that is acknowledged before the first fault, with a content that only this run has.
///
/// # Errors
/// When it was not acknowledged.
pub async fn sentinel_write(target: &Target, token: &str) -> Result<(), SqlError> {
    let mut session = Session::connect(&target.in_database(DATABASE), DEADLINES).await?;
    session.batch("DELETE FROM dbo.sentinel", QUICK).await?;
    let digest = digest_as_column(digest_of(token.as_bytes()));
    let params = [Param::Text(token), Param::I64(digest)];
    session.execute("INSERT INTO dbo.sentinel (id, token, digest) VALUES (1, @P1, @P2)", &params, QUICK).await?;
    Ok(())
}

/// Whether the sentinel is there with the content that was written. A missing row, table or database is an answer (`false`): a fresh volume has none.
///
/// # Errors
/// When the engine could not be asked.
pub async fn sentinel_read(target: &Target, token: &str) -> Result<bool, SqlError> {
    const DATABASE_UNAVAILABLE: u32 = 4060;
    const NO_SUCH_OBJECT: u32 = 208;
    let read = async {
        let mut session = Session::connect(&target.in_database(DATABASE), DEADLINES).await?;
        let rows = session.query_rows("SELECT token, digest FROM dbo.sentinel WHERE id = 1", &[], QUICK).await?;
        let Some(row) = rows.first() else { return Ok::<_, SqlError>(false) };
        Ok(row.text(0)? == Some(token) && row.integer(1)? == Some(digest_as_column(digest_of(token.as_bytes()))))
    };
    match read.await {
        Err(error) if matches!(error.number(), Some(DATABASE_UNAVAILABLE | NO_SUCH_OBJECT)) => Ok(false),
        answer => answer,
    }
}
