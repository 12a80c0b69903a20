use clap::Args;

use super::{CommandResult, Exit, Streams, write_json};

/// Writes the JSON Schema of experiment files.
#[derive(Debug, Args)]
pub(super) struct Schema {}

impl Schema {
    #[expect(clippy::unused_self, reason = "every command runs the same way")]
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        write_json(streams, &crate::experiment::schema())?;
        Ok(Exit::Pass)
    }
}
