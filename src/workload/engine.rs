//! What the engine says about itself: who it is, and whether it thinks that it is well.

use std::time::Duration;

use super::prepare::DATABASE;
use crate::model::{EngineFact, EngineInfo, FactOutcome};
use crate::sql::{Cause, Deadlines, Row, Session, SqlError, Stage, Target};

const QUICK: Duration = Duration::from_secs(10);
/// `DBCC CHECKDB` reads every page.
const CHECK: Duration = Duration::from_secs(300);
const DEADLINES: Deadlines = Deadlines { connect: Duration::from_secs(5), login: Duration::from_secs(15) };

/// Asks who the engine is. `name` is its name in the experiment file.
///
/// # Errors
/// When it cannot be reached or does not tell its version. A start time that it does not tell is `None`.
pub async fn engine_info(target: &Target, name: &str) -> Result<EngineInfo, SqlError> {
    let mut session = Session::connect(&target.in_database("master"), DEADLINES).await?;
    let version = "SELECT @@VERSION, CAST(SERVERPROPERTY('ProductVersion') AS NVARCHAR(128))";
    let rows = session.query_rows(version, &[], QUICK).await?;
    let text = |column| Ok::<_, SqlError>(rows.first().map(|row| row.text(column)).transpose()?.flatten().unwrap_or_default().to_owned());
    let banner = text(0)?.lines().next().unwrap_or_default().trim().to_owned();
    let version = text(1)?;
    let started = "SELECT CONVERT(NVARCHAR(33), sqlserver_start_time, 126) FROM sys.dm_os_sys_info";
    let started_at = match session.query_rows(started, &[], QUICK).await {
        Ok(rows) => rows.first().and_then(|row| row.text(0).ok().flatten()).map(str::to_owned),
        Err(error) if error.number().is_some() => None,
        Err(error) => return Err(error),
    };
    Ok(EngineInfo { name: name.to_owned(), version, banner, started_at })
}

/// Asks whether the engine finds its data well. `mount` is where the claim is mounted in its container: data files elsewhere are bad.
///
/// Never fails: what could not be asked is a fact with outcome unknown, and what the engine does not know how to answer is unsupported.
pub async fn engine_facts(target: &Target, mount: Option<&str>) -> Vec<EngineFact> {
    let mut facts = Vec::with_capacity(4);
    let mut session = Err(not_asked());
    for question in Question::ALL {
        // A question that broke the session must not take the next ones with it.
        if !matches!(&session, Ok(session) if Session::is_open(session)) {
            session = Session::connect(&target.in_database(DATABASE), DEADLINES).await;
        }
        let answer = match &mut session {
            Ok(session) => question.ask(session).await,
            Err(error) => Err(error.clone()),
        };
        let (outcome, detail) = match answer.and_then(|rows| question.judge(&rows, mount)) {
            Ok(judged) => judged,
            Err(error) => question.judge_error(&error),
        };
        facts.push(EngineFact { name: question.name().to_owned(), outcome, detail });
    }
    facts
}

fn not_asked() -> SqlError {
    SqlError { stage: Stage::Connect, cause: Cause::NotConnected }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    DatabaseState,
    SuspectPages,
    DataFiles,
    CheckDb,
}

impl Question {
    const ALL: [Question; 4] = [Question::DatabaseState, Question::SuspectPages, Question::DataFiles, Question::CheckDb];

    fn name(self) -> &'static str {
        match self {
            Question::DatabaseState => "database-state",
            Question::SuspectPages => "suspect-pages",
            Question::DataFiles => "data-files",
            Question::CheckDb => "dbcc-checkdb",
        }
    }

    async fn ask(self, session: &mut Session) -> Result<Vec<Row>, SqlError> {
        match self {
            Question::DatabaseState => session.query_rows("SELECT state_desc FROM sys.databases WHERE name = N'chaos'", &[], QUICK).await,
            // 1 to 3: an I/O error, a bad checksum, a torn page. 4 and 5 were restored or repaired.
            Question::SuspectPages => {
                let sql = "SELECT COUNT(*) FROM msdb.dbo.suspect_pages WHERE event_type IN (1, 2, 3)";
                session.query_rows(sql, &[], QUICK).await
            }
            Question::DataFiles => {
                let sql = "SELECT physical_name FROM sys.master_files WHERE database_id = DB_ID(N'chaos')";
                session.query_rows(sql, &[], QUICK).await
            }
            Question::CheckDb => session.batch("DBCC CHECKDB (N'chaos') WITH NO_INFOMSGS", CHECK).await,
        }
    }

    fn judge(self, rows: &[Row], mount: Option<&str>) -> Result<(FactOutcome, String), SqlError> {
        Ok(match self {
            Question::DatabaseState => match rows.first().map(|row| row.text(0)).transpose()?.flatten() {
                Some(state) => (good_if(state == "ONLINE"), state.to_owned()),
                None => (FactOutcome::Bad, "the database is not there".to_owned()),
            },
            Question::SuspectPages => {
                let count = rows.first().map(|row| row.whole(0)).transpose()?.unwrap_or(0);
                (good_if(count == 0), format!("{count} suspect pages"))
            }
            Question::DataFiles => {
                let mut files = Vec::new();
                for row in rows {
                    files.push(row.text(0)?.unwrap_or_default().to_owned());
                }
                let elsewhere = |file: &String| mount.is_some_and(|mount| !is_under(file, mount));
                let outcome = if files.is_empty() { FactOutcome::Unsupported } else { good_if(!files.iter().any(elsewhere)) };
                (outcome, files.join(", "))
            }
            Question::CheckDb => (FactOutcome::Good, "no error found".to_owned()),
        })
    }

    fn judge_error(self, error: &SqlError) -> (FactOutcome, String) {
        let detail = error.op_error().message;
        let outcome = match (&error.cause, error.number()) {
            (Cause::Server { .. }, Some(number)) if error.stage == Stage::Request => match number {
                // Syntax, unknown function, column, object, database context or procedure, not supported here, unknown DBCC command.
                102 | 156 | 195 | 207 | 208 | 911 | 2526 | 2812 | 4121 | 40_510 => FactOutcome::Unsupported,
                // Errors of CHECKDB are findings: 2500 to 2599 and 8900 to 8999. 824 and its kin are damage wherever they show.
                823..=825 => FactOutcome::Bad,
                2500..=2599 | 7900..=7999 | 8900..=8999 if self == Question::CheckDb => FactOutcome::Bad,
                _ => FactOutcome::Unknown,
            },
            _ => FactOutcome::Unknown,
        };
        (outcome, detail)
    }
}

fn good_if(good: bool) -> FactOutcome {
    if good { FactOutcome::Good } else { FactOutcome::Bad }
}

/// Whether a path lies under a folder, by whole components.
fn is_under(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u32) -> SqlError {
        SqlError { stage: Stage::Request, cause: Cause::Server { number, class: 16, message: "m".to_owned() } }
    }

    #[test]
    fn an_engine_that_does_not_know_the_question_is_not_damaged() {
        assert_eq!(Question::SuspectPages.judge_error(&server(208)).0, FactOutcome::Unsupported);
        assert_eq!(Question::CheckDb.judge_error(&server(2526)).0, FactOutcome::Unsupported);
        assert_eq!(Question::CheckDb.judge_error(&server(8928)).0, FactOutcome::Bad);
        assert_eq!(Question::DatabaseState.judge_error(&server(8928)).0, FactOutcome::Unknown);
        assert_eq!(Question::DataFiles.judge_error(&server(824)).0, FactOutcome::Bad);
        assert_eq!(Question::CheckDb.judge_error(&not_asked()).0, FactOutcome::Unknown);
    }

    #[test]
    fn a_folder_of_a_similar_name_is_another_folder() {
        assert!(is_under("/var/opt/mssql/data/chaos.mdf", "/var/opt/mssql"));
        assert!(is_under("/var/opt/mssql/data/chaos.mdf", "/var/opt/mssql/"));
        assert!(!is_under("/var/opt/mssql2/chaos.mdf", "/var/opt/mssql"));
    }
}
