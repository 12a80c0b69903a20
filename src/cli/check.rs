use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use crate::experiment;
use crate::report::{self, Report};

use super::{CommandResult, Exit, Failure, Output, Streams};

/// Judges a recorded run again, from its history and timeline alone.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The run's folder, such as reports/latest.
    #[arg(value_name = "RUN")]
    folder: PathBuf,
    /// The form of the result on stdout.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Also write report.json, report.md and junit.xml into the folder again.
    #[arg(long)]
    write: bool,
}

impl Check {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let report = judge(&self.folder)?;
        if self.write {
            report::write(&self.folder, &report)
                .map_err(|error| Failure::unavailable(format!("{}: the report cannot be written: {error}", self.folder.display())))?;
        }
        match self.output {
            Output::Text => {
                let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                write!(streams.out, "{}", report::terminal(&report, 80, colour))?;
            }
            Output::Json => {
                serde_json::to_writer(&mut *streams.out, &report).map_err(std::io::Error::from)?;
                writeln!(streams.out)?;
            }
        }
        Ok(Exit::from(report.outcome()))
    }
}

fn judge(folder: &std::path::Path) -> Result<Report, Failure> {
    if !folder.is_dir() {
        return Err(Failure::new(Exit::Usage, format!("{}: not a folder, expected the folder of a run", folder.display())));
    }
    let plan = experiment::load(&folder.join("experiment.yaml"))?;
    report::judge(folder, &plan).map_err(|error| Failure::unavailable(format!("{}: {error}", folder.display())))
}
