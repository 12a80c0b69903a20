//! What each engine needs in its pod.

use crate::experiment::{Cache, Engine, TargetPlan};

/// Where every engine keeps its data: the mount of the claim.
pub const DATA_MOUNT: &str = "/var/opt/mssql";

/// The TDS port of every engine.
pub const PORT: u16 = 1433;

/// The user of the official images; volumes must belong to its group.
pub const USER: i64 = 10_001;

/// What an engine's container looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The engine's name in the experiment file.
    pub engine: &'static str,
    /// The image.
    pub image: String,
    /// Arguments of the container; empty leaves the image's own.
    pub arguments: Vec<String>,
    /// Environment beside the password.
    pub environment: Vec<(&'static str, String)>,
    /// Memory limit of the container.
    pub memory: &'static str,
    /// Lines of the engine's log that mark a step of its start or stop.
    pub log_marks: &'static [&'static str],
}

/// Lines of an engine's log that mark a step of its start or stop.
pub const LOG_MARKS: &[&str] = &[
    "Starting up database",
    "Recovery is complete",
    "Recovery of database",
    "Recovery completed for database",
    "SQL Server is now ready for client connections",
    "SQL Server is terminating",
    "SQL Server shutdown",
    "SIGTERM ignored",
    "Error: 5120",
    "being used by another process",
    "Error: 17053",
    "Error: 823",
    "Error: 824",
    "Error: 9001",
    "sabotage",
];

impl Profile {
    /// The profile of the plan's engine. `stand_in_image` is what the cluster calls the stand-in engine's image.
    pub fn of(target: &TargetPlan, stand_in_image: &str) -> Profile {
        let own = |image: &str| target.image.clone().unwrap_or_else(|| image.to_owned());
        match target.engine {
            Engine::Existing => unreachable!("a target that exists is not deployed"),
            Engine::AzureSqlEdge => Self::vendor("azure-sql-edge", own("mcr.microsoft.com/azure-sql-edge:latest")),
            Engine::MssqlServer => Self::vendor("mssql-server", own("mcr.microsoft.com/mssql/server:2022-latest")),
            Engine::TdsSqlite => {
                let mut arguments = vec!["--listen".to_owned(), format!("$(POD_IP):{PORT}"), "--data".to_owned(), DATA_MOUNT.to_owned()];
                if target.ignore_sigterm {
                    arguments.push("--ignore-sigterm".to_owned());
                }
                if target.cache != Cache::Kernel {
                    arguments.extend(["--cache".to_owned(), target.cache.to_string()]);
                }
                if let Some(mode) = &target.sabotage {
                    arguments.extend(["--sabotage".to_owned(), mode.to_string()]);
                }
                Profile {
                    engine: "tds-sqlite",
                    image: own(stand_in_image),
                    arguments,
                    environment: vec![("ACCEPT_EULA", "Y".to_owned())],
                    memory: "512Mi",
                    log_marks: LOG_MARKS,
                }
            }
        }
    }

    /// SQL Server on Linux. Under cgroup v2 the server may see the node's memory instead of its limit, so it is told one, well below the limit.
    fn vendor(engine: &'static str, image: String) -> Profile {
        Profile {
            engine,
            image,
            arguments: Vec::new(),
            environment: vec![
                ("ACCEPT_EULA", "Y".to_owned()),
                ("MSSQL_PID", "Developer".to_owned()),
                ("MSSQL_MEMORY_LIMIT_MB", "1536".to_owned()),
            ],
            memory: "2Gi",
            log_marks: LOG_MARKS,
        }
    }
}
