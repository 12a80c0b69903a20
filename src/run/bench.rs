//! The capacity search: the target of an experiment under one rate after another, without faults.
//!
//! It stands up, winds down and looks for leaks as every run does. All steps are in one history, and each is judged by what that says of the ops that were due in
//! its window. The window begins when every client is connected and has settled, and the load goes on after it for as long as the objective gives an op, so that for
//! each op of the window it is known whether it was in time.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::phases::Run;
use super::{Options, RunError, with_causes};
use crate::experiment::{Named, Pace, Plan, WorkloadPlan};
use crate::measure::{HarnessSeen, Objective, Search, WindowRecorder, judge};
use crate::model::{EventKind, LeakItem, Millis, Phase};
use crate::report::{self, Capacity, CapacityStep, EngineReport, History};
use crate::workload::{self, Load};

/// How long clients that have just connected are left alone: plans are compiled, caches filled and the backlog of connecting is worked off.
const SETTLE: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// What must hold at a rate that counts as carried.
    pub objective: Objective,
    /// The lowest rate, in ops a second.
    pub from: f64,
    /// The highest, in ops a second.
    pub to: f64,
    /// How close the answer must come, as a share of it.
    pub precision: f64,
    /// How long each rate is held.
    pub step_for: Duration,
}

/// How a search ended.
pub struct Benched {
    /// Its folder.
    pub folder: PathBuf,
    /// What was found, as far as it got.
    pub capacity: Capacity,
    /// Why it ended early, if it did.
    pub error: Option<RunError>,
    /// What of ours is left in the cluster.
    pub left: Vec<LeakItem>,
}

/// Searches, and writes `bench.json` into the folder. An error is one of before anything was created; later ones are in [`Benched`].
///
/// # Errors
/// When the folder cannot be made or there is no such cluster.
pub async fn bench(plan: &Plan, options: Options, question: &Question, cancel: CancellationToken) -> Result<Benched, RunError> {
    let plan = Plan { name: format!("{}-bench", plan.name), faults: Vec::new(), ..plan.clone() };
    let mut run = Run::begin(&plan, options)?;
    let mut capacity = Capacity {
        schema_version: report::CAPACITY_VERSION,
        id: run.id.clone(),
        started_at: run.clock.started_at().to_string(),
        provider: run.provider.provider(),
        cluster: run.provider.name().to_owned(),
        engine: EngineReport { name: plan.target.engine.id().to_owned(), version: String::new() },
        clients: plan.workload.clients,
        objective: question.objective.to_string(),
        step_for_ms: Millis::from_ns(ns(question.step_for)),
        answer: search_of(question).answer(),
        steps: Vec::new(),
        error: None,
    };
    let interrupted = run.interrupted(cancel);
    let searched = tokio::select! {
        searched = run.search(question, &mut capacity) => searched,
        ended = interrupted => ended,
    };
    let mut error = run.unrecorded().or(searched.err());
    let left = run.wind_down(error.as_ref()).await;
    capacity.error = error.as_ref().map(|error| with_causes(error));
    if let Err(why) = report::replace(&run.folder.join("bench.json"), report::capacity_json(&capacity).as_bytes()) {
        error = error.or(Some(RunError::Folder(why)));
    }
    Ok(Benched { folder: run.folder, capacity, error, left })
}

fn search_of(question: &Question) -> Search {
    Search::new(question.from, question.to, question.precision)
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Run<'_> {
    /// The search from the first pod to its answer.
    async fn search(&mut self, question: &Question, capacity: &mut Capacity) -> Result<(), RunError> {
        self.stand_up().await?;
        let engine = workload::engine_info(&self.sql_target()?, &capacity.engine.name).await;
        capacity.engine.version = engine.map_err(|error| RunError::Engine(error.to_string()))?.version;
        self.phase(Phase::Search);
        let result = self.steps(question, capacity).await;
        self.done(Phase::Search, result, |()| capacity.sentence())
    }

    async fn steps(&mut self, question: &Question, capacity: &mut Capacity) -> Result<(), RunError> {
        let mut search = search_of(question);
        while let Some(rate) = search.next_rate() {
            let step = self.step(question, rate).await?;
            self.timeline.emit(EventKind::StepMeasured { per_second: rate, verdict: step.verdict.to_string(), why: step.why.clone() });
            search.tell(rate, step.verdict);
            capacity.steps.push(step);
            capacity.answer = search.answer();
        }
        Ok(())
    }

    /// Holds one rate and judges it. Every step begins with empty tables, so that none inherits the size of those before.
    async fn step(&mut self, question: &Question, rate: f64) -> Result<CapacityStep, RunError> {
        let sql = self.sql_target()?;
        self.site()?.watch.until_serving(self.plan.target.ready_within).await?;
        workload::prepare(&self.plan.workload, &sql).await.map_err(|error| RunError::Engine(error.to_string()))?;
        let plan = WorkloadPlan { rate: Pace::constant(rate), ..self.plan.workload.clone() };
        let timeline = self.timeline.clone();
        let load = self.load.insert(Load::start(&plan, self.seed, sql, self.recorder.sink(), self.clock, move |kind| timeline.emit(kind))?);
        // Clients that cannot connect are not waited for any longer: their ops fail, and that is what the step shows.
        let _ = tokio::time::timeout(plan.op_timeout, load.all_connected()).await;
        tokio::time::sleep(SETTLE).await;
        load.take_vitals();
        let from_ns = self.clock.now_ns();
        let to_ns = from_ns.saturating_add(ns(question.step_for));
        tokio::time::sleep(question.step_for).await;
        let vitals = load.take_vitals();
        tokio::time::sleep(Duration::from_nanos(question.objective.limit_ns)).await;
        self.quiesce(plan.op_timeout).await;
        self.recorder.flush().await;

        let path = self.folder.join("history.jsonl");
        let objective = question.objective;
        let read = move || {
            let mut window = WindowRecorder::new(from_ns, to_ns);
            let history = History::read(&path, |op, begun| window.op(op, begun))?;
            match &history.damage {
                Some(damage) => Err(std::io::Error::other(damage.clone())),
                None => Ok(window.finish(history.open.still_open(), objective)),
            }
        };
        let seen = tokio::task::spawn_blocking(read).await.map_err(|error| RunError::Bug(error.to_string()))??;
        let late_ns = [&vitals.lateness, &vitals.lag].map(|times| times.value_at_quantile(objective.quantile)).into_iter().max();
        let harness =
            HarnessSeen { expected: ops_in(rate, question.step_for), late_ms: Millis::from_ns(late_ns.unwrap_or(0)), busy: vitals.busy };
        let (verdict, why) = judge(objective, &seen, &harness);
        Ok(CapacityStep { per_second: rate, from_ms: Millis::from_ns(from_ns), verdict, why, seen, harness })
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float beyond the range saturates, and rates are positive")]
fn ops_in(rate: f64, time: Duration) -> u64 {
    (rate * time.as_secs_f64()) as u64
}
