use std::path::PathBuf;

use clap::Args;

use crate::experiment::{self, ClusterRef, Overrides};

use super::{CommandResult, Exit, Output, OverrideArgs, Streams, write_json};

/// Tells what a run would create and touch.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// The experiment file.
    file: PathBuf,
    #[command(flatten)]
    overrides: OverrideArgs,
    /// The form of the output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl PlanArgs {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let mut plan = experiment::load_with(&self.file, &Overrides::from(self.overrides))?;
        plan.cluster.get_or_insert(ClusterRef::Sandbox(None));
        let outline = experiment::outline(&plan);
        match self.output {
            Output::Text => write!(streams.out, "{outline}")?,
            Output::Json => write_json(streams, &outline)?,
        }
        Ok(Exit::Pass)
    }
}
