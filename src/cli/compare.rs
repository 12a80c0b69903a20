use std::path::{Path, PathBuf};

use clap::Args;

use crate::compare::{self, Gate};
use crate::model::Outcome;
use crate::report::Report;

use super::{CommandResult, Exit, Failure, Output, Streams, write_json};

/// Compares runs with a base: is anything worse? Exits with 1 when it is, and with 2 when there are too few values to tell.
///
/// Each of BASE and NEW is the folder of a run, a folder of runs, or a report.json. All NEW together are one sample. Outages are compared one value a fault, latencies one
/// value a run: `chaos run --repeat N` makes enough of both.
#[derive(Debug, Args)]
pub(super) struct Compare {
    /// What is compared with.
    #[arg(value_name = "BASE")]
    base: PathBuf,
    /// What is judged.
    #[arg(required = true, value_name = "NEW")]
    new: Vec<PathBuf>,
    /// The least difference that matters, in percent of the base's median.
    #[arg(long, value_name = "PERCENT", default_value = "10", value_parser = percent)]
    min_effect: f64,
    /// Compare also runs of different experiments, engines or kinds of cluster.
    #[arg(long)]
    different: bool,
    /// The form of the result on stdout.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if (0.0..=1_000.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("not a percentage from 0 to 1000".to_owned()),
    }
}

impl Compare {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let base = load(&self.base)?;
        let mut new = Vec::new();
        for path in &self.new {
            new.extend(load(path)?);
        }
        let comparison = compare::compare(&base, &new, Gate { min_effect: self.min_effect }, self.different).map_err(|why| {
            let why = why.join("\n  ");
            Failure::new(Exit::Usage, format!("these runs cannot be compared:\n  {why}\nto compare them all the same: --different"))
        })?;
        match self.output {
            Output::Text => write!(streams.out, "{}", compare::comparison_text(&comparison))?,
            Output::Json => write_json(streams, &comparison)?,
        }
        Ok(match comparison.verdict {
            Outcome::Pass => Exit::Pass,
            Outcome::Fail => Exit::Fail,
            Outcome::Inconclusive => Exit::Inconclusive,
        })
    }
}

/// The reports under a path.
pub(super) fn load(path: &Path) -> Result<Vec<Report>, Failure> {
    compare::load(path).map_err(|error| Failure::new(Exit::Usage, error))
}
