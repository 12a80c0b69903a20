//! `report.json`, version 1.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::measure::{Availability, LatencySummary, NewConnections, OpLatency, Sessions, StepLatency};
use crate::model::{Claim, FaultTarget, HarnessInfo, LeakItem, Millis, OpType, Outcome, ProcessId, Provider, Verdict};

/// The version of the format. It grows when a reader of the version before could be misled.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything that a run showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Who, what, where, when.
    pub run: RunReport,
    /// The verdict.
    pub verdict: Outcome,
    /// Why it is not a pass, one sentence each, worst first. Empty for a pass.
    pub reasons: Vec<String>,
    /// What is worth knowing and decides nothing.
    pub notes: Vec<String>,
    /// Every clause of the promise.
    pub claims: Vec<ClaimReport>,
    /// Every check.
    pub checks: Vec<CheckReport>,
    /// Every fault that was started or refused.
    pub faults: Vec<FaultReport>,
    /// One outage a fault.
    pub episodes: Vec<EpisodeReport>,
    /// How much of the load was served; none of a run without load.
    #[serde(default)]
    pub availability: Option<Availability>,
    /// Latencies of the workload and the prober.
    pub latency: LatencySummary,
    /// The same by kind of op, stage of the run and outcome; no row where there was no op.
    #[serde(default)]
    pub latency_by_op: Vec<OpLatency>,
    /// How the target carried each step of the load; empty of a load without steps.
    #[serde(default)]
    pub load_steps: Vec<StepLatency>,
    /// How well the schedule was kept.
    pub schedule: Option<Schedule>,
    /// What was recorded.
    pub recorded: Recorded,
    /// What this run could not show, in words that a manager understands.
    pub limits: Vec<String>,
    /// What of ours was left in the cluster.
    pub leaks: Leaks,
    /// The files of the run's folder.
    pub artifacts: Vec<String>,
}

impl Report {
    /// The verdict of the run.
    pub fn outcome(&self) -> Outcome {
        self.verdict
    }

    /// What of ours is left in the cluster and was not kept on purpose. Not empty means exit code 3.
    pub fn leaks(&self) -> impl Iterator<Item = &LeakItem> {
        // Reports that are older than the items' own `kept` have that of all of them.
        self.leaks.left.iter().filter(|item| !item.kept && !self.leaks.kept)
    }
}

/// Who, what, where, when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// The run's id.
    pub id: String,
    /// The experiment's name.
    pub experiment: String,
    /// What the experiment shows.
    pub description: String,
    /// SHA-256 of the experiment as resolved, but for seed and cluster: equal for runs that can be compared. Empty in reports that are older than it.
    #[serde(default)]
    pub experiment_hash: String,
    /// The seed in force.
    pub seed: u64,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// From the start to the last event.
    pub duration_ms: Millis,
    /// Where the cluster came from.
    pub provider: Provider,
    /// Which one.
    pub cluster: String,
    /// The cluster's clock beside ours; none where they were not compared.
    #[serde(default)]
    pub clock: Option<ClockReport>,
    /// The target's namespace.
    pub namespace: String,
    /// As `/version` tells it, where it was asked.
    pub kubernetes_version: Option<String>,
    /// The engine under test, where it told.
    pub engine: EngineReport,
    /// The harness.
    pub harness: HarnessInfo,
}

/// The API server's clock beside the harness's, which times everything.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockReport {
    /// Its time less ours; below 0 where it is behind.
    pub offset_ms: f64,
    /// How far off that may be.
    pub within_ms: Millis,
    /// The shortest round trip to it.
    pub round_trip_ms: Millis,
}

/// The engine under test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineReport {
    /// Its name in the experiment file.
    pub name: String,
    /// Its product version; empty where it was never asked.
    pub version: String,
}

/// One clause of the promise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimReport {
    /// HA-1 to HA-7.
    pub id: Claim,
    /// The clause as a sentence.
    pub statement: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// Whether the experiment expects it, so that it decides the verdict.
    pub expected: bool,
    /// What decided it, worst first.
    pub evidence: Vec<String>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// The claim that it decides.
    pub decides: Claim,
    /// What it found.
    pub verdict: Verdict,
    /// Its accounting.
    pub counts: IndexMap<String, u64>,
    /// What decided it.
    pub evidence: Vec<String>,
    /// The ops that prove each anomaly, up to 20 of each class.
    pub examples: Vec<Example>,
}

/// One anomaly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// Such as `lost`.
    pub class: String,
    /// The ledger key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
    /// What is wrong.
    pub detail: String,
    /// The ops that prove it.
    pub ops: Vec<ProofOp>,
    /// Of a cycle of transactions: what leads from each to the next, and from the last to the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cycle: Vec<CycleStep>,
}

/// Why one transaction of a cycle comes before the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleStep {
    /// The op that comes before: its line in `history.jsonl`, from 0.
    pub from: u64,
    /// The op that comes after.
    pub to: u64,
    /// `ww`, `wr`, `rw`, `process` or `realtime`.
    pub kind: String,
    /// The list that shows it, of the first three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
}

/// One op-transition of the history that proves something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProofOp {
    /// Its index: also its line in `history.jsonl`, from 0.
    pub index: u64,
    /// When it was seen.
    pub time_ms: Millis,
    /// Which transition.
    #[serde(rename = "type")]
    pub kind: OpType,
    /// Whose.
    pub process: ProcessId,
    /// What op.
    pub f: String,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultReport {
    /// Unique in the run.
    pub id: String,
    /// Such as `pod-kill`.
    pub kind: String,
    /// What it was aimed at; none of a fault that was refused before it had a target.
    pub target: Option<FaultTarget>,
    /// The parameters in force.
    pub parameters: String,
    /// The class of durability bug that it can reveal.
    pub reach: String,
    /// When the mutation was accepted.
    pub injected_at_ms: Option<Millis>,
    /// Ops that were sent and not answered at that instant.
    pub in_flight: Option<u32>,
    /// How long before that instant a commit was last acknowledged.
    pub since_last_ack_ms: Option<Millis>,
    /// Whether it really took effect; none where that was not weighed.
    pub attested: Option<bool>,
    /// What that rests on.
    pub evidence: Vec<String>,
    /// Whether the target became whole again; none where the run ended first.
    pub recovered: Option<bool>,
    /// What was last seen of a target that did not.
    pub last_seen: String,
    /// When it was healed.
    pub healed_at_ms: Option<Millis>,
    /// Why it was not injected.
    pub refused: Option<String>,
}

/// One outage as clients saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EpisodeReport {
    /// The fault.
    pub fault_id: String,
    /// The last acknowledgement before it; of an episode without an outage, the fault's start.
    pub start_ms: Millis,
    /// How long; 0 where no client saw an error.
    pub outage_ms: Millis,
    /// False where it had not ended when the window closed, so that it is longer than told.
    pub ended: bool,
    /// `everyone`, or `new-connections` where sessions that existed went on.
    pub seen_by: String,
    /// The first error in the outage, else in the fault's window.
    pub first_error_ms: Option<Millis>,
    /// The last error that belongs to the fault; later than the outage where an op hung.
    pub last_error_ms: Option<Millis>,
    /// The commit that ended it.
    pub first_commit_ms: Option<Millis>,
    /// The longest time between two commits in the fault's window.
    pub largest_gap_ms: Millis,
    /// Errors that clients saw.
    pub errors: u64,
    /// Commits in the fault's window.
    pub commits: u64,
    /// Where the time went, summing exactly to the outage.
    pub phases: Vec<PhaseReport>,
    /// How far new connections got, and when; none where they were never cut off.
    #[serde(default)]
    pub new_connections: Option<NewConnections>,
    /// How the sessions of the workload's clients fared; none where none was lost.
    #[serde(default)]
    pub sessions: Option<Sessions>,
}

/// One phase of an outage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseReport {
    /// The boundary that ends it.
    pub name: String,
    /// When it starts.
    pub start_ms: Millis,
    /// How long it takes.
    pub duration_ms: Millis,
    /// Who saw the boundary.
    pub source: String,
    /// By how much what the boundary stands for may have happened before it was seen; none where nothing tells.
    #[serde(default)]
    pub uncertainty_ms: Option<Millis>,
}

/// How well the open-loop schedule was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Whether the load was a closed loop, which has no schedule to be late for.
    #[serde(default)]
    pub closed_loop: bool,
    /// Ops issued.
    pub issued: u64,
    /// Ops that were due and could not be sent before the run ended.
    pub not_sent: u64,
    /// How late ops were issued.
    pub lateness: Lateness,
    /// CPU time of the harness over ops issued, in µs.
    pub cpu_per_op_us: f64,
}

/// How late ops were issued.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lateness {
    /// The median.
    pub p50_ms: Millis,
    /// The 90th percentile.
    pub p90_ms: Millis,
    /// The 99th percentile.
    pub p99_ms: Millis,
    /// The 99.9th percentile.
    pub p999_ms: Millis,
    /// The worst.
    pub max_ms: Millis,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// Whole lines of the history.
    pub transitions: u64,
    /// Ops that began and never ended.
    pub unfinished_ops: u64,
    /// Bytes of a last line that was cut off, which happens when the harness is killed.
    pub torn_bytes: u64,
    /// Events of the timeline.
    pub events: u64,
}

/// What of ours was left in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Leaks {
    /// What is left.
    pub left: Vec<LeakItem>,
    /// Whether all of it was kept on purpose.
    pub kept: bool,
}
