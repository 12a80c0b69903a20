use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::report::{self, Format};

use super::check::{judge, write};
use super::{CommandResult, Exit, Failure, Streams};

/// Renders a recorded run again, in any form. The verdict is computed anew from the run's files, as `chaos check` does; the exit code is 0 whatever it is.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The run's folder, such as reports/latest.
    #[arg(value_name = "RUN")]
    folder: PathBuf,
    /// Write this form to stdout; without it, every file of the folder's report is written again.
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// Write the form to this file instead of stdout.
    #[arg(short, long, value_name = "FILE", requires = "format")]
    output: Option<PathBuf>,
}

/// What a report can look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The summary that ends a run.
    Terminal,
    /// One self-contained page.
    Html,
    /// The whole report, for programs.
    Json,
    /// For the summary page of a build.
    Markdown,
    /// For test reporters.
    Junit,
    /// One line an outage.
    Csv,
    /// The figures, as Prometheus and its kind read them.
    Openmetrics,
    /// The faults as annotations for Grafana.
    Annotations,
}

impl Form {
    /// As a file; none for the terminal.
    fn file(self) -> Option<Format> {
        Some(match self {
            Form::Terminal => return None,
            Form::Html => Format::Html,
            Form::Json => Format::Json,
            Form::Markdown => Format::Markdown,
            Form::Junit => Format::Junit,
            Form::Csv => Format::Csv,
            Form::Openmetrics => Format::OpenMetrics,
            Form::Annotations => Format::Annotations,
        })
    }
}

impl ReportArgs {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let judged = judge(&self.folder)?;
        let Some(form) = self.format else {
            write(&self.folder, &judged)?;
            for format in Format::ALL {
                writeln!(streams.out, "{}", self.folder.join(format.file()).display())?;
            }
            return Ok(Exit::Pass);
        };
        let colour = self.output.is_none() && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let text = match form.file() {
            Some(format) => report::render(&judged, format),
            None => report::terminal(&judged.report, 80, colour),
        };
        match &self.output {
            Some(path) => report::replace(path, text.as_bytes())
                .map_err(|error| Failure::unavailable(format!("{}: cannot be written: {error}", path.display())))?,
            None => write!(streams.out, "{text}")?,
        }
        Ok(Exit::Pass)
    }
}
