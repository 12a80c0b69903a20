use std::path::PathBuf;

use clap::Args;

use crate::run::{self, Recovery};

use super::run::REPORTS;
use super::{CommandResult, Exit, Failure, Job, Streams};

/// Undoes what a killed harness left.
#[derive(Debug, Args)]
pub(super) struct Recover {
    /// The folder of the runs.
    #[arg(long, value_name = "DIR", default_value = REPORTS)]
    reports: PathBuf,
}

impl Recover {
    pub fn start<'a>(self, streams: &'a mut Streams<'_>) -> Job<'a> {
        Job::Later(Box::pin(self.run(streams)))
    }

    async fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let recoveries = run::recover(&self.reports).await.map_err(|error| Failure::unavailable(run::with_causes(&error)))?;
        let mut exit = Exit::Pass;
        if recoveries.is_empty() {
            writeln!(streams.out, "nothing to recover: every run under {} is closed", self.reports.display())?;
        }
        for recovery in recoveries {
            match recovery {
                Recovery::Alive { journal } => writeln!(streams.out, "{}: its run is alive, nothing touched", journal.display())?,
                Recovery::Undone { journal, done } => {
                    writeln!(streams.out, "{}: recovered", journal.display())?;
                    for line in done {
                        writeln!(streams.out, "  {line}")?;
                    }
                }
                Recovery::Failed { journal, why } => {
                    exit = Exit::LeftBehind;
                    writeln!(streams.err, "{}: not recovered: {why}", journal.display())?;
                }
            }
        }
        Ok(exit)
    }
}
