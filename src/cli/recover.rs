use std::path::{Path, PathBuf};

use clap::Args;

use crate::fault::journal;
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
        if !self.reports.is_dir() {
            let place = self.reports.display();
            // Without a run nobody has made the folder that runs make; another one is mistyped.
            if self.reports.exists() || self.reports != Path::new(REPORTS) {
                return Err(Failure::new(Exit::Usage, format!("{place} is not a folder, expected that of the runs")));
            }
            writeln!(streams.out, "nothing to recover: there is no folder {place} here")?;
            return Ok(Exit::Pass);
        }
        let recoveries = run::recover(&self.reports).await.map_err(|error| Failure::unavailable(run::with_causes(&error)))?;
        let mut exit = Exit::Pass;
        if recoveries.is_empty() {
            let place = self.reports.display();
            match journal::find(&self.reports)?.len() {
                0 => writeln!(streams.out, "nothing to recover: there is no run under {place}")?,
                1 => writeln!(streams.out, "nothing to recover: the one run under {place} is closed")?,
                runs => writeln!(streams.out, "nothing to recover: all {runs} runs under {place} are closed")?,
            }
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
