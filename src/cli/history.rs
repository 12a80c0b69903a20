use std::path::PathBuf;

use clap::Args;

use crate::{compare, report};

use super::compare::load;
use super::run::REPORTS;
use super::{CommandResult, Exit, Failure, Output, Streams, write_json};

/// Shows how the figures of an experiment went over many runs, and where they took another level.
#[derive(Debug, Args)]
pub(super) struct History {
    /// The folder of the runs.
    #[arg(value_name = "DIR", default_value = REPORTS)]
    folder: PathBuf,
    /// Also write an HTML page with the trends.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The form of the result on stdout.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl History {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let trends = compare::history(&load(&self.folder)?);
        if let Some(path) = &self.html {
            // Links work only from beside the runs, which is where the page is then.
            let beside =
                path.parent().and_then(|dir| std::fs::canonicalize(if dir.as_os_str().is_empty() { ".".as_ref() } else { dir }).ok())
                    == std::fs::canonicalize(&self.folder).ok();
            let link = |run: &str| (beside && self.folder.join(run).join("report.html").is_file()).then(|| format!("{run}/report.html"));
            report::replace(path, compare::trend_page(&trends, link).as_bytes())
                .map_err(|error| Failure::unavailable(format!("{}: cannot be written: {error}", path.display())))?;
        }
        match self.output {
            Output::Text => write!(streams.out, "{}", compare::history_text(&trends))?,
            Output::Json => write_json(streams, &trends)?,
        }
        Ok(Exit::Pass)
    }
}
