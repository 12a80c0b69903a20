use clap::Args;

use crate::experiment::{Named, SandboxSabotage};
use crate::model::Isolation;
use crate::selftest::{Matrix, Row, Trial, TrialError, Trialed, sandbox_trial, trial};
use crate::target::stand_in;

use super::{CommandResult, Exit, Failure, Output, Streams, write_json};

/// Plants every defect of the stand-in engine and of the sandbox in turn and shows which checker finds it, and that none accuses what has none.
///
/// Exit code 0: every defect was found, and nothing in the engine without one; 1: a defect was missed, or a sound engine accused.
#[derive(Debug, Args)]
pub(super) struct Selftest {
    /// Only these defects. `chaos selftest --list` names all.
    #[arg(value_name = "MODE", value_parser = mode)]
    modes: Vec<String>,
    /// List the defects and what each does.
    #[arg(long, conflicts_with = "modes")]
    list: bool,
    /// Trials of each defect, each with a seed of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// Trials of the engine without a defect.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    sound: u64,
    /// Ops that are acknowledged in each trial before the second of its four kills.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    ops: u64,
    /// The form of the result on stdout.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// The defects of the engine, and then those of the sandbox.
fn modes() -> Vec<(String, String)> {
    let mut modes = stand_in::process::sabotage_modes();
    modes.extend(SandboxSabotage::ALL.iter().map(|defect| (defect.id().to_owned(), defect.meaning().trim_end_matches('.').to_owned())));
    modes
}

fn mode(word: &str) -> Result<String, String> {
    let modes = modes();
    if modes.iter().any(|(name, _)| name == word) {
        return Ok(word.to_owned());
    }
    let names: Vec<&str> = modes.iter().map(|(name, _)| name.as_str()).collect();
    Err(format!("expected {}", names.join(", ")))
}

/// The level at which a defect can show: what a level allows is no defect there.
fn level(mode: Option<&str>, seed: u64) -> Isolation {
    match mode {
        Some("lost-update" | "write-skew") => Isolation::Serializable,
        Some(_) => Isolation::ReadCommitted,
        // A sound engine must be sound at every level.
        None => match seed % 4 {
            0 => Isolation::ReadCommitted,
            1 => Isolation::RepeatableRead,
            2 => Isolation::Snapshot,
            _ => Isolation::Serializable,
        },
    }
}

/// Whether the engine's cache dies with it: without that a missing sync does not show. A sound engine must be sound with and without.
fn volatile(mode: Option<&str>, seed: u64) -> bool {
    match mode {
        Some(mode) => mode == "skip-sync",
        None => (seed + seed / 4) % 2 == 1,
    }
}

impl Selftest {
    pub async fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let all = modes();
        if self.list {
            for (name, about) in &all {
                writeln!(streams.out, "{name:<18}{about}")?;
            }
            return Ok(Exit::Pass);
        }
        let chosen = if self.modes.is_empty() { all.into_iter().map(|(name, _)| name).collect() } else { self.modes.clone() };
        let mut matrix = Matrix::default();
        for mode in &chosen {
            let sandbox = SandboxSabotage::named(mode).is_some();
            matrix.rows.push(self.row(Some(mode.clone()), sandbox, self.seeds, streams).await?);
        }
        if self.sound > 0 {
            matrix.rows.push(self.row(None, false, self.sound, streams).await?);
            if chosen.iter().any(|mode| SandboxSabotage::named(mode).is_some()) {
                matrix.rows.push(self.row(None, true, 1, streams).await?);
            }
        }
        match self.output {
            Output::Text => write!(streams.out, "{matrix}")?,
            Output::Json => write_json(streams, &matrix)?,
        }
        Ok(Exit::from(matrix.outcome()))
    }

    async fn row(&self, mode: Option<String>, sandbox: bool, seeds: u64, streams: &mut Streams<'_>) -> Result<Row, Failure> {
        let name = mode.as_deref().unwrap_or("none").to_owned();
        let mut trials = Vec::new();
        for seed in 0..seeds {
            writeln!(streams.err, "{name}, seed {seed}")?;
            trials.push(self.trial(mode.as_deref(), sandbox, seed).await.map_err(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                Failure::unavailable(format!("the trial of {name} with seed {seed} could not be held: {error}{cause}"))
            })?);
        }
        Ok(Row { mode, sandbox, trials })
    }

    async fn trial(&self, mode: Option<&str>, sandbox: bool, seed: u64) -> Result<Trialed, TrialError> {
        if sandbox {
            return sandbox_trial(mode.and_then(SandboxSabotage::named), seed).await;
        }
        let isolation = level(mode, seed);
        trial(&Trial { sabotage: mode.map(str::to_owned), volatile: volatile(mode, seed), isolation, seed, ops: self.ops }).await
    }
}
