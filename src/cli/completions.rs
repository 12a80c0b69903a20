use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CommandResult, Exit, Streams};

/// Writes the completions of a shell.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "chaos", &mut script);
        streams.out.write_all(&script)?;
        Ok(Exit::Pass)
    }
}
