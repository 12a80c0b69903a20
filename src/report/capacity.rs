//! `bench.json`, version 1: what a capacity search found; and the same as text.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::model::EngineReport;
use super::paint::wrap;
use crate::measure::{Answer, HarnessSeen, Seen, StepVerdict};
use crate::model::{Millis, Provider};

/// The version of the format. It grows when a reader of the version before could be misled.
pub const CAPACITY_VERSION: u32 = 1;

/// With fewer clients free than this share, the number of clients may be the limit.
const CLIENTS_BUSY_MAX: f64 = 0.9;

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// [`CAPACITY_VERSION`].
    pub schema_version: u32,
    /// The search's id, also its folder's name.
    pub id: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Where the cluster came from.
    pub provider: Provider,
    /// Which one.
    pub cluster: String,
    /// The engine under test.
    pub engine: EngineReport,
    /// Clients, each with a connection of its own.
    pub clients: u32,
    /// What had to hold, such as `p99 ≤ 50.0 ms`.
    pub objective: String,
    /// How long each rate was held.
    pub step_for_ms: Millis,
    /// What was found.
    pub answer: Answer,
    /// Every step, in the order in which they were made.
    pub steps: Vec<CapacityStep>,
    /// Why the search ended early, if it did.
    pub error: Option<String>,
}

/// One rate, held for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityStep {
    /// The rate, in ops a second.
    pub per_second: f64,
    /// When its window began: what is before that is not judged.
    pub from_ms: Millis,
    /// What it says of the target.
    pub verdict: StepVerdict,
    /// What that rests on.
    pub why: String,
    /// How the target answered.
    pub seen: Seen,
    /// How the harness did.
    pub harness: HarnessSeen,
}

impl Capacity {
    /// The answer in one sentence.
    pub fn sentence(&self) -> String {
        let (objective, clients) = (&self.objective, self.clients);
        match self.answer {
            Answer::Between { carried, missed } => {
                format!("{objective} holds at {carried}/s and no longer at {missed}/s, with {clients} clients.")
            }
            Answer::AtLeast { carried } => {
                format!("{objective} holds at {carried}/s, the highest rate that was tried, with {clients} clients; --to looks further.")
            }
            Answer::Below { missed } => {
                format!(
                    "{objective} does not hold at {missed}/s, the lowest rate that was tried, with {clients} clients; --from looks lower."
                )
            }
            Answer::Undecided { carried: Some(carried) } if self.error.is_none() => {
                format!("{objective} holds at {carried}/s, with {clients} clients; from there on the harness was too slow to tell.")
            }
            Answer::Undecided { carried: Some(carried) } => {
                format!("{objective} holds at {carried}/s, with {clients} clients; the search ended before it found the limit.")
            }
            Answer::Undecided { carried: None } => format!("Whether {objective} holds is not known at any rate."),
        }
    }

    /// Whether the clients were what ran out where the target first missed the objective.
    fn clients_ran_out(&self) -> bool {
        let missed = self.steps.iter().filter(|step| step.verdict == StepVerdict::Missed);
        let lowest = missed.min_by(|a, b| a.per_second.total_cmp(&b.per_second));
        lowest.is_some_and(|step| step.seen.clients_busy >= CLIENTS_BUSY_MAX * f64::from(self.clients))
    }
}

/// As `bench.json` holds it.
pub fn capacity_json(capacity: &Capacity) -> String {
    let mut json = serde_json::to_string_pretty(capacity).expect("it has string keys and writing to memory does not fail");
    json.push('\n');
    json
}

/// As text of this width. (Writing to a string does not fail.)
pub fn capacity_text(capacity: &Capacity, width: usize) -> String {
    let mut page = String::new();
    if !capacity.steps.is_empty() {
        let objective = capacity.objective.split(' ').next().unwrap_or_default();
        let _ = writeln!(
            page,
            "{:>9}  {:>7}  {:>8}  {objective:>8}  {:>8}  {:>6}  {:>5}  {:>8}  verdict",
            "rate", "due", "p50", "longest", "not ok", "busy", "harness"
        );
    }
    for step in &capacity.steps {
        let seen = &step.seen;
        let not_ok = seen.failed + seen.unknown + seen.response.censored;
        let _ = writeln!(
            page,
            "{:>9}  {:>7}  {:>8}  {:>8}  {:>8}  {not_ok:>6}  {:>5.1}  {:>8}  {}",
            format!("{}/s", step.per_second),
            seen.due,
            seen.response.p50_ms.to_string(),
            seen.at_objective_ms.map_or("never".to_owned(), |at| at.to_string()),
            seen.response.max_ms.to_string(),
            seen.clients_busy,
            step.harness.late_ms.to_string(),
            step.verdict
        );
    }
    if !capacity.steps.is_empty() {
        page.push_str("busy: clients that waited for an answer, on average; harness: how late it was itself\n\n");
    }
    let mut say = |text: &str| {
        for line in wrap(text, width, 0, 0) {
            let _ = writeln!(page, "{line}");
        }
    };
    say(&capacity.sentence());
    if let Some(step) = capacity.steps.last().filter(|step| step.verdict == StepVerdict::Inconclusive) {
        say(&format!("At {}/s: {}.", step.per_second, step.why));
    }
    if capacity.clients_ran_out() {
        say("Every client was waiting for an answer there: with more clients the target may carry more.");
    }
    if capacity.provider == Provider::Sandbox {
        say("This is the sandbox: the figure is one of this machine and of no Kubernetes.");
    }
    page
}
