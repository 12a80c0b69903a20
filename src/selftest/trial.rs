//! One trial: an engine with a defect or without one, and what the checkers say.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use thiserror::Error;

use super::engine::Engine;
use crate::check::{Append, Bank, Check, Checker, Guarded, Ledger, Order, Queue, Register};
use crate::experiment::{Pace, Tls, WorkloadKind, WorkloadPlan};
use crate::measure::{Clock, OpSink, Recorder};
use crate::model::{FactOutcome, Isolation, Secret, Verdict};
use crate::report::History;
use crate::sql::{SqlError, Target};
use crate::workload::{self, Load, OPENING_CONTENT, WORKLOAD_FS};

/// What is tried.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The planted defect; none for an engine that must not be accused.
    pub sabotage: Option<String>,
    /// Whether what the engine has not synced is lost when it is killed.
    pub volatile: bool,
    /// The isolation level of the load.
    pub isolation: Isolation,
    /// The seed of the load.
    pub seed: u64,
    /// Ops of the load that are acknowledged before the second kill; the two after it come soon.
    pub ops: u64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Trialed {
    /// The seed.
    pub seed: u64,
    /// By checker.
    pub verdicts: BTreeMap<String, Verdict>,
    /// The classes of anomalies that were found.
    pub classes: Vec<String>,
    /// How many ops had ended when the first anomaly showed; `None` when none did.
    pub ops_to_catch: Option<u64>,
}

/// Why a trial could not be held.
#[derive(Debug, Error)]
pub enum TrialError {
    /// The engine's program could not be started.
    #[error("cannot start the engine")]
    Start(#[source] io::Error),
    /// The engine did not begin to listen.
    #[error("the engine did not begin to listen; its log ended with {last:?}")]
    NotReady {
        /// The last line of its log.
        last: String,
    },
    /// A file of the trial could not be written or read.
    #[error("the trial's folder cannot be used")]
    Folder(#[from] io::Error),
    /// The engine could not be asked.
    #[error("the engine does not answer: {0}")]
    Sql(#[from] SqlError),
    /// The load came to a halt.
    #[error("the load came to a halt at {acknowledged} acknowledged ops")]
    Stalled {
        /// How far it came.
        acknowledged: u64,
    },
    /// The run on the sandbox could not be made.
    #[error("the run on the sandbox could not be made: {0}")]
    Run(String),
    /// The history was not read to its end.
    #[error("the history of the trial cannot be trusted: {0}")]
    History(String),
}

/// Ops of all clients together: more than the engine takes on a small machine, so that its queues are never empty.
const PER_SECOND: f64 = 1_500.0;
const CLIENTS: u32 = 8;
/// A kill shows nothing where what the defect takes away was not acknowledged yet, or is a transfer of the bank, whose loss no total shows. Of trials
/// with two kills about one in a hundred missed the loss of the last commits for that, so two more follow. The first two lives are long, since some defects
/// count up to their turn; the others last for so many acknowledged ops.
const SHORT_LIFE: u64 = 60;
/// No acknowledgement for this long is a halt.
const STALL: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(20);
const READ_WITHIN: Duration = Duration::from_secs(20);
/// The engine is gone in a moment, and so may be its password.
const PASSWORD: &str = "Self-test-1";
const TOKEN: &str = "self-test";

/// Holds a trial.
///
/// # Errors
/// See [`TrialError`]. That the engine is wrong is no error.
pub async fn trial(trial: &Trial) -> Result<Trialed, TrialError> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;
    let engine = Engine::start(&data, trial.sabotage.as_deref(), trial.volatile, PASSWORD).await?;
    let target = Target {
        address: engine.address.to_string(),
        user: "sa".to_owned(),
        password: Secret::new(PASSWORD.to_owned()),
        database: workload::DATABASE.to_owned(),
        tls: Tls::Off,
    };
    let plan = plan(trial.isolation);
    workload::prepare(&plan, &target).await.map_err(|refused| refused.error)?;
    workload::sentinel_write(&target, TOKEN).await?;
    let engine_clock = workload::engine_clock(&target).await?;
    let clock = Clock::start();
    let recorder = Recorder::create(folder.path(), clock)?;
    let sink = recorder.sink();
    let load = Load::start(&plan, trial.seed, target.clone(), sink.clone(), clock, |_| ())?;
    let mut stalled = None;
    for ops in [trial.ops / 2, trial.ops, trial.ops + SHORT_LIFE, trial.ops + 2 * SHORT_LIFE] {
        if let Err(error) = acknowledged(&sink, ops, &engine).await {
            stalled = Some(error);
            break;
        }
        engine.kill().await;
    }
    load.stop(STOP_WITHIN).await;
    let read = workload::final_read(&plan, &target, &sink, clock, READ_WITHIN).await;
    let sentinel = match workload::sentinel_read(&target, TOKEN).await {
        Ok(true) => Verdict::Valid,
        Ok(false) => Verdict::Invalid,
        Err(_) => Verdict::Unknown,
    };
    let time = match workload::clock_fact(engine_clock, &workload::engine_clock(&target).await).outcome {
        FactOutcome::Good => Verdict::Valid,
        FactOutcome::Bad => Verdict::Invalid,
        FactOutcome::Unsupported | FactOutcome::Unknown => Verdict::Unknown,
    };
    recorder.finish()?;
    engine.end().await?;
    // An engine that came back without its database lets nobody in; any other halt is none of the defects.
    if let Some(stalled) = stalled.filter(|_| sentinel != Verdict::Invalid) {
        return Err(stalled);
    }
    let mut checks = judge(folder.path(), trial.isolation)?;
    if !read.complete && sentinel != Verdict::Invalid {
        for check in checks.0.iter_mut().filter(|check| check.verdict == Verdict::Valid) {
            check.verdict = Verdict::Unknown;
        }
    }
    Ok(trialed(trial, &checks.0, checks.1, [("volume", sentinel), ("clock", time)]))
}

fn plan(isolation: Isolation) -> WorkloadPlan {
    use WorkloadKind::{Append, Bank, Ledger, Queue, Register};
    WorkloadPlan {
        mix: BTreeMap::from([(Ledger, 3), (Bank, 2), (Append, 3), (Register, 2), (Queue, 2)]),
        clients: CLIENTS,
        rate: Pace::constant(PER_SECOND),
        warm_up: Duration::ZERO,
        op_timeout: Duration::from_secs(5),
        isolation,
        sql: None,
    }
}

/// Waits until so many ops of the load are acknowledged.
async fn acknowledged(sink: &OpSink, ops: u64, engine: &Engine) -> Result<(), TrialError> {
    let mut seen = (0, Instant::now());
    loop {
        let before = sink.clock().now_ns();
        let acknowledged = sink.counts(&WORKLOAD_FS).ok;
        if acknowledged >= ops {
            return Ok(());
        }
        if acknowledged > seen.0 {
            seen = (acknowledged, Instant::now());
        }
        let left = STALL.saturating_sub(seen.1.elapsed());
        if left.is_zero() || engine.has_failed() {
            return Err(TrialError::Stalled { acknowledged });
        }
        let _ = tokio::time::timeout(left.min(Duration::from_secs(1)), sink.acknowledged_after(before)).await;
    }
}

/// What the checkers say, and how many lines the history has.
fn judge(folder: &Path, isolation: Isolation) -> Result<(Vec<Check>, u64), TrialError> {
    let checkers: [Box<dyn Checker>; 5] = [
        Box::new(Ledger::new(0)),
        Box::new(Bank::holding(workload::ACCOUNTS, workload::OPENING_BALANCE)),
        Box::new(Append::new(isolation, Order::RealTime)),
        Box::new(Register::new(OPENING_CONTENT)),
        Box::new(Queue::new()),
    ];
    let mut checkers = checkers.map(Guarded::new);
    let history = History::read(&folder.join("history.jsonl"), |op, begun| {
        for checker in &mut checkers {
            checker.op(op, begun);
        }
    })?;
    match history.damage {
        Some(damage) => Err(TrialError::History(damage)),
        None => Ok((checkers.map(Guarded::finish).into(), history.lines)),
    }
}

fn trialed(trial: &Trial, checks: &[Check], lines: u64, at_the_end: [(&'static str, Verdict); 2]) -> Trialed {
    let mut verdicts: BTreeMap<String, Verdict> = checks.iter().map(|check| (check.name.to_owned(), check.verdict)).collect();
    verdicts.extend(at_the_end.map(|(checker, verdict)| (checker.to_owned(), verdict)));
    let invalid = checks.iter().filter(|check| check.verdict == Verdict::Invalid);
    let mut classes: Vec<String> = invalid.clone().flat_map(|check| &check.examples).map(|found| found.class.to_owned()).collect();
    for (checker, class) in [("volume", "row-gone"), ("clock", "clock-off")] {
        classes.extend(at_the_end.contains(&(checker, Verdict::Invalid)).then(|| class.to_owned()));
    }
    classes.sort_unstable();
    classes.dedup();
    // A row of the ledger is missed only by the final read, whatever its proof names; the others show as soon as their last op has ended.
    let shown = |check: &Check| match check.name {
        "ledger" => Some(lines),
        _ => check.examples.iter().filter_map(|found| found.proof.iter().max()).min().map(|index| index + 1),
    };
    let at = invalid.filter_map(shown).min().or(at_the_end.iter().any(|(_, verdict)| *verdict == Verdict::Invalid).then_some(lines));
    Trialed { seed: trial.seed, verdicts, classes, ops_to_catch: at.map(|transitions| transitions.div_ceil(2)) }
}
