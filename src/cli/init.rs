use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::experiment::catalogue;

use super::{CommandResult, Exit, Failure, Streams};

/// Writes an experiment to start from.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The fault that it injects; `chaos list faults` tells which there are.
    #[arg(long, value_name = "KIND", default_value = "pod-kill")]
    fault: String,
    /// Where it is written to, a file that does not exist yet [default: stdout].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Init {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let text = catalogue::example(&self.fault).ok_or_else(|| {
            let kinds: Vec<&str> = catalogue::faults().iter().map(|entry| entry.name).collect();
            Failure::new(
                Exit::Usage,
                format!("--fault: unknown fault `{}`, expected one of {}", self.fault.escape_debug(), kinds.join(", ")),
            )
        })?;
        let Some(path) = self.output else {
            streams.out.write_all(text.as_bytes())?;
            return Ok(Exit::Pass);
        };
        // Somebody's experiment is never overwritten.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", path.display())))?;
        writeln!(streams.err, "{} written; next: chaos validate {0} && chaos plan {0}", path.display())?;
        Ok(Exit::Pass)
    }
}
