use clap::Args;

use super::{CommandResult, Exit, Streams, write_json};

/// Writes the JSON Schema of experiment files, or of report.json.
#[derive(Debug, Args)]
pub(super) struct Schema {
    /// The schema of report.json instead.
    #[arg(long)]
    report: bool,
}

impl Schema {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let schema = if self.report { crate::report::schema() } else { crate::experiment::schema() };
        write_json(streams, &schema)?;
        Ok(Exit::Pass)
    }
}
