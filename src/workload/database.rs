//! The run's own database in a server that somebody else deployed: created, marked with the run, and dropped again; one of the same name that is not the
//! run's is left alone.

use std::time::Duration;

use super::prepare::DATABASE;
use crate::cluster::crash_point;
use crate::sql::{Deadlines, Param, Patience, Session, SqlError, Target};

/// Creating or dropping a database on a slow volume takes seconds.
const DDL: Duration = Duration::from_secs(60);
const QUICK: Duration = Duration::from_secs(10);
const DEADLINES: Deadlines = Deadlines { connect: Duration::from_secs(5), login: Duration::from_secs(15) };

/// What is pending is tried again this often, up to a second apart: a server that comes back has nothing that could be watched.
const PAUSE: Duration = Duration::from_millis(100);

/// The server's answer where a table is not there.
const NO_SUCH_OBJECT: u32 = 208;

/// Whose the database called [`DATABASE`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseOwner {
    /// There is none.
    Nobody,
    /// This run's.
    Run,
    /// Without any table, so not marked either: what a harness leaves that ended between creating it and marking it.
    Unmarked,
    /// Somebody else's, which also another run is.
    Other,
}

/// Asks whose it is.
///
/// # Errors
/// When the server cannot be asked.
pub async fn database_owner(target: &Target, run: &str) -> Result<DatabaseOwner, SqlError> {
    let mut master = Session::connect(&target.in_database("master"), DEADLINES).await?;
    let found = master.query_rows("SELECT DB_ID(N'chaos')", &[], QUICK).await?;
    drop(master);
    if found.first().map(|row| row.integer(0)).transpose()?.flatten().is_none() {
        return Ok(DatabaseOwner::Nobody);
    }
    let mut session = Session::connect(&target.in_database(DATABASE), DEADLINES).await?;
    let marked = match session.query_rows("SELECT run FROM dbo.chaos_run", &[], QUICK).await {
        Ok(rows) => rows.first().map(|row| Ok::<_, SqlError>(row.text(0)? == Some(run))).transpose()?,
        Err(error) if error.number() == Some(NO_SUCH_OBJECT) => None,
        Err(error) => return Err(error),
    };
    if let Some(ours) = marked {
        return Ok(if ours { DatabaseOwner::Run } else { DatabaseOwner::Other });
    }
    let tables = session.query_rows("SELECT COUNT(*) FROM sys.tables WHERE name <> 'chaos_run'", &[], QUICK).await?;
    let empty = tables.first().map(|row| row.whole(0)).transpose()? == Some(0);
    Ok(if empty { DatabaseOwner::Unmarked } else { DatabaseOwner::Other })
}

/// Creates it and marks it with the run. The caller has seen that there is none, and has journalled how to undo it.
///
/// # Errors
/// When the server refuses: the login may lack the right, or somebody was faster.
pub async fn create_database(target: &Target, run: &str) -> Result<(), SqlError> {
    let mut master = Session::connect(&target.in_database("master"), DEADLINES).await?;
    crash_point(|| "before CREATE DATABASE".to_owned());
    master.batch("CREATE DATABASE chaos", DDL).await?;
    drop(master);
    crash_point(|| "after CREATE DATABASE".to_owned());
    let mut session = Session::connect(&target.in_database(DATABASE), DEADLINES).await?;
    session.batch("CREATE TABLE dbo.chaos_run (id INT NOT NULL PRIMARY KEY, run NVARCHAR(128) NOT NULL)", DDL).await?;
    session.execute("INSERT INTO dbo.chaos_run (id, run) VALUES (1, @P1)", &[Param::Text(run)], QUICK).await?;
    crash_point(|| "after the database was marked".to_owned());
    Ok(())
}

/// Drops it, if it is the run's, and says whose it was. A server that does not answer, as after a fault, is asked again until `within` is over.
///
/// # Errors
/// The last one, when the server could not be asked in time or goes on refusing.
pub async fn drop_database(target: &Target, run: &str, within: Duration) -> Result<DatabaseOwner, SqlError> {
    let mut patience = Patience::new(PAUSE, within);
    loop {
        let error = match drop_once(target, run).await {
            Err(error) if patience.is_left() => error,
            ended => return ended,
        };
        tracing::debug!(%error, "the database is not dropped yet");
        patience.pause().await;
    }
}

async fn drop_once(target: &Target, run: &str) -> Result<DatabaseOwner, SqlError> {
    /// Somebody is connected to it: clients of the run that the server has not noticed to be gone.
    const IN_USE: u32 = 3702;
    let owner = database_owner(target, run).await?;
    if !matches!(owner, DatabaseOwner::Run | DatabaseOwner::Unmarked) {
        return Ok(owner);
    }
    let mut master = Session::connect(&target.in_database("master"), DEADLINES).await?;
    crash_point(|| "before DROP DATABASE".to_owned());
    match master.batch("DROP DATABASE chaos", DDL).await {
        Ok(_) => {}
        Err(error) if error.number() == Some(IN_USE) => {
            // A server that cannot do this refuses it; the drop that follows tells what counts.
            let _refused = master.batch("ALTER DATABASE chaos SET SINGLE_USER WITH ROLLBACK IMMEDIATE", DDL).await;
            master.batch("DROP DATABASE chaos", DDL).await?;
        }
        Err(error) => return Err(error),
    }
    crash_point(|| "after DROP DATABASE".to_owned());
    Ok(owner)
}
