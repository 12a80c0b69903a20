use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::experiment;
use crate::report::{self, Judged};

use super::by_checker::ByChecker;
use super::{CommandResult, Exit, Failure, Output, Streams};

/// Judges a recorded run again, from its history and timeline alone; with --checker, any history by that checker alone.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The run's folder, such as reports/latest; with --checker also a history: ours, or one of list-append transactions in EDN or JSON.
    #[arg(value_name = "RUN")]
    folder: PathBuf,
    /// The form of the result on stdout.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Also write the report's files into the folder again, as `chaos report RUN` does.
    #[arg(long, conflicts_with = "checker")]
    write: bool,
    #[command(flatten)]
    by_checker: ByChecker,
}

impl Check {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        if let Some(which) = self.by_checker.checker {
            return self.by_checker.run(which, &self.folder, self.output, streams);
        }
        let judged = judge(&self.folder)?;
        if self.write {
            write(&self.folder, &judged)?;
        }
        let report = &judged.report;
        match self.output {
            Output::Text => {
                let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                write!(streams.out, "{}", report::terminal(report, 80, colour))?;
            }
            Output::Json => {
                serde_json::to_writer(&mut *streams.out, report).map_err(std::io::Error::from)?;
                writeln!(streams.out)?;
            }
        }
        Ok(Exit::from(report.outcome()))
    }
}

/// Writes the report's files into a run's folder.
pub(super) fn write(folder: &Path, judged: &Judged) -> Result<(), Failure> {
    report::write(folder, judged)
        .map_err(|error| Failure::unavailable(format!("{}: the report cannot be written: {error}", folder.display())))
}

/// Judges the run of a folder by its files.
pub(super) fn judge(folder: &Path) -> Result<Judged, Failure> {
    if !folder.is_dir() {
        return Err(Failure::new(Exit::Usage, format!("{}: not a folder, expected the folder of a run", folder.display())));
    }
    if folder.join("bench.json").is_file() {
        let why = "the folder of a capacity search, which has no verdict; what it found is in its bench.json";
        return Err(Failure::new(Exit::Usage, format!("{}: {why}", folder.display())));
    }
    let plan = experiment::load(&folder.join("experiment.yaml"))?;
    report::judge(folder, &plan).map_err(|error| Failure::unavailable(format!("{}: {error}", folder.display())))
}
