use std::path::PathBuf;

use clap::Args;

use crate::experiment::{self, Overrides};
use crate::model::format_duration;

use super::{CommandResult, Exit, Failure, OverrideArgs, Streams};

/// Checks experiment files.
#[derive(Debug, Args)]
pub(super) struct Validate {
    /// The experiment files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    overrides: OverrideArgs,
}

impl Validate {
    /// One line on stdout for each file that is right; every mistake of the others as the failure.
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let overrides = Overrides::from(self.overrides);
        let mut wrong = String::new();
        for file in &self.files {
            match experiment::load_with(file, &overrides) {
                Ok(plan) => {
                    let injections = match plan.faults.len() {
                        1 => "1 injection".to_owned(),
                        count => format!("{count} injections"),
                    };
                    let load = format_duration(plan.workload.warm_up + plan.duration);
                    writeln!(streams.out, "{}: ok: {}, {injections}, at least {load} of load", file.display(), plan.name)?;
                }
                Err(mistakes) => wrong.push_str(&mistakes.to_string()),
            }
        }
        if wrong.is_empty() { Ok(Exit::Pass) } else { Err(Failure::new(Exit::Usage, wrong)) }
    }
}
