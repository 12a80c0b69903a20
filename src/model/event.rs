//! One line of the timeline: everything that happened in a run except the ops. Verdict, episodes, claims and every report are folds over the history and
//! these events, so a recorded run can be judged again from its folder alone.

use serde::{Deserialize, Serialize};

use super::op::OpError;
use super::seen::{EndpointSeen, OwnerSeen, PodChange, PodSeen, TargetIdentity};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When the harness saw it, in ns since the run's start.
    #[serde(rename = "time")]
    pub time_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// Appends the event as one line, newline included.
    pub fn write_line(&self, line: &mut Vec<u8>) {
        serde_json::to_writer(&mut *line, self).expect("an event has string keys and writing to memory does not fail");
        line.push(b'\n');
    }

    /// Reads one line.
    pub fn parse(line: &[u8]) -> Result<Event, serde_json::Error> {
        serde_json::from_slice(line)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum EventKind {
    /// The first line of every timeline.
    RunStarted {
        /// Who, what, where, when.
        run: RunInfo,
    },
    /// A phase of the run began.
    PhaseStarted {
        /// Which.
        phase: Phase,
    },
    /// A phase of the run ended.
    PhaseFinished {
        /// Which.
        phase: Phase,
        /// Whether it did what it is for.
        ok: bool,
        /// What is worth knowing, or why it did not.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// Kubernetes' own version, once known.
    KubernetesVersion {
        /// As `/version` tells it.
        version: String,
    },
    /// The API server's clock was compared with ours.
    ClockCompared {
        /// Its time less ours, in ns, as its answers' `Date` headers tell.
        offset_ns: i64,
        /// How far off that may be, in ns.
        within_ns: u64,
        /// The shortest round trip of those answers, in ns.
        round_trip_ns: u64,
    },
    /// The engine told who it is. Seen again after every restart that the harness asked about.
    EngineSeen {
        /// What it told.
        engine: EngineInfo,
    },
    /// Who and where the target is at one moment.
    TargetIdentified {
        /// Before the first fault, or after the last.
        moment: IdentityMoment,
        /// What was found.
        identity: TargetIdentity,
    },
    /// Whether the row that was written and acknowledged before the first fault is there.
    SentinelRead {
        /// When in the run it was asked.
        moment: IdentityMoment,
        /// True when it was found with the right content.
        found: bool,
    },
    /// A watch told of a pod of the target.
    Pod {
        /// Added, changed or gone.
        change: PodChange,
        /// The pod as it was told.
        pod: PodSeen,
    },
    /// A watch told of the Service's endpoints, all slices together.
    Endpoints {
        /// Every endpoint, in address order.
        endpoints: Vec<EndpointSeen>,
    },
    /// A Kubernetes Event that regards an object of the target or its node.
    KubeEvent {
        /// `Kind/name` of the object.
        object: String,
        /// The object's uid.
        uid: String,
        /// CamelCase reason, such as `Killing`.
        reason: String,
        /// The message.
        message: String,
        /// How often, as the event counts.
        count: u32,
    },
    /// A node of the cluster changed what matters here.
    Node {
        /// Its name.
        name: String,
        /// Its Ready condition.
        ready: bool,
        /// Whether it is cordoned.
        unschedulable: bool,
        /// `key=value:Effect` of each taint.
        taints: Vec<String>,
    },
    /// A line of the engine's own log that marks a step of its start or stop.
    EngineLog {
        /// The container it came from.
        container_id: String,
        /// The line.
        line: String,
    },
    /// The prober got this far for the first time since it last failed.
    Probe {
        /// How far.
        stage: ProbeStage,
        /// When the attempt began, in ns since the run's start.
        attempt_ns: u64,
    },
    /// The prober failed for the first time since it last succeeded, or in a new way.
    ProbeFailed {
        /// The stage that failed.
        stage: ProbeStage,
        /// When the attempt began, in ns since the run's start.
        attempt_ns: u64,
        /// What was seen.
        error: OpError,
    },
    /// A client of the workload noticed that its session is gone.
    SessionLost {
        /// Which client, from 0.
        client: u64,
        /// How it noticed.
        how: OpError,
        /// Whether it waited for nothing at that moment; else an op of its own failed or timed out.
        idle: bool,
    },
    /// A client of the workload had an op acknowledged in a new session, for the first time since it lost one.
    SessionBack {
        /// Which client, from 0.
        client: u64,
        /// When it had noticed the loss, in ns since the run's start.
        noticed_ns: u64,
        /// When the login of the new session was accepted, in ns since the run's start.
        login_ns: u64,
    },
    /// A fault's target was resolved and its undo is in the journal; the mutation is next.
    FaultStarted {
        /// Unique in the run, such as `pod-kill-3`.
        fault: String,
        /// The fault's kind, such as `pod-kill`.
        kind: String,
        /// What it is aimed at.
        target: FaultTarget,
        /// The parameters in force, in words, such as `grace 0s`.
        parameters: String,
        /// The class of durability bug that it can reveal.
        reach: String,
    },
    /// The mutation was accepted.
    FaultInjected {
        /// Which fault.
        fault: String,
        /// Ops that were sent and not answered at that instant.
        in_flight: u32,
        /// How long before that instant a commit was last acknowledged, in ns; none when none ever was.
        since_last_ack_ns: Option<u64>,
    },
    /// Evidence was weighed whether the fault really took effect.
    FaultAttested {
        /// Which fault.
        fault: String,
        /// True when it did.
        attested: bool,
        /// One fact a line.
        evidence: Vec<String>,
    },
    /// The target is whole again after the fault: a ready pod behind the Service and a commit through it.
    FaultRecovered {
        /// Which fault.
        fault: String,
        /// False when the deadline passed first.
        recovered: bool,
        /// What was last seen, when it did not recover.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// What the fault changed was undone, or needed no undoing.
    FaultHealed {
        /// Which fault.
        fault: String,
        /// What was done.
        detail: String,
    },
    /// A fault could not be injected; nothing was changed.
    FaultRefused {
        /// Which fault.
        fault: String,
        /// Why.
        reason: String,
    },
    /// The workload in the second that ended at this event's time.
    Throughput {
        /// Ops that were due.
        due: u64,
        /// Ops that ended ok.
        ok: u64,
        /// Ops that ended fail.
        fail: u64,
        /// Ops that ended info.
        info: u64,
        /// Ops sent and not answered.
        in_flight: u64,
    },
    /// The engine was asked about its own health.
    EngineFact {
        /// What it said.
        fact: EngineFact,
    },
    /// The schedule's own lateness and the harness' cost over the whole workload.
    LoadSummary {
        /// Ops issued.
        issued: u64,
        /// Ops that were due and could not be sent before the run ended.
        not_sent: u64,
        /// Lateness of the issue at the 50th, 90th, 99th, 99.9th percentile and the worst, in ns.
        lateness_ns: [u64; 5],
        /// CPU time of the harness process over ops issued, in ns.
        cpu_per_op_ns: u64,
    },
    /// A step of a capacity search ended.
    StepMeasured {
        /// The rate that was tried, in ops a second.
        per_second: f64,
        /// `carried`, `missed` or `inconclusive`.
        verdict: String,
        /// What that rests on.
        why: String,
    },
    /// Something of the harness itself went wrong.
    HarnessError {
        /// What.
        message: String,
    },
    /// The fault phase was cut short, because the plan's `abortWhen` came true.
    Aborted {
        /// The condition.
        condition: String,
        /// The fault that was active.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
    },
    /// A signal asked the run to end.
    Interrupted {
        /// Its name.
        signal: String,
    },
    /// What of ours was found in the cluster at the end. Empty when clean.
    LeakCheck {
        /// What is left.
        left: Vec<LeakItem>,
        /// Whether all of it was kept on purpose.
        kept: bool,
    },
    /// The history is complete.
    HistoryClosed {
        /// How many lines it has.
        transitions: u64,
    },
    /// The last line of a run that reached its end.
    RunFinished,
}

/// Who, what, where, when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunInfo {
    /// The run's id, also its folder's name.
    pub id: String,
    /// The experiment's name.
    pub experiment: String,
    /// The seed in force.
    pub seed: u64,
    /// Wall-clock time of the run's start (RFC 3339, UTC): the one anchor between the two clocks.
    pub started_at: String,
    /// Where the cluster comes from.
    pub provider: Provider,
    /// Which one of those: the kind cluster's or context's name. Empty for the sandbox.
    pub cluster: String,
    /// The namespace of the target.
    pub namespace: String,
    /// The harness.
    pub harness: HarnessInfo,
}

/// Where the cluster comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The embedded sandbox: not a real Kubernetes.
    Sandbox,
    /// A kind cluster.
    Kind,
    /// A k3d cluster.
    K3d,
    /// A context of a kubeconfig.
    Context,
}

impl Provider {
    /// The word in a report.
    pub fn word(self) -> &'static str {
        match self {
            Provider::Sandbox => "sandbox",
            Provider::Kind => "kind",
            Provider::K3d => "k3d",
            Provider::Context => "context",
        }
    }
}

/// The harness' own identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HarnessInfo {
    /// The package version.
    pub version: String,
    /// The commit it was built from, where known.
    pub commit: String,
}

/// The engine's own identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineInfo {
    /// The engine's name in the experiment file.
    pub name: String,
    /// Its product version.
    pub version: String,
    /// `@@VERSION`, first line.
    pub banner: String,
    /// `sqlserver_start_time`, where it tells.
    pub started_at: Option<String>,
}

/// The phases of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Can it work here?
    Preflight,
    /// The target is created, or an existing one is found.
    Deploy,
    /// The hypothesis must hold before any fault.
    SteadyState,
    /// The workload runs, no fault yet.
    WarmUp,
    /// Of a capacity search, in place of everything up to the end: the load runs at one rate after another.
    Search,
    /// Faults by schedule.
    Faults,
    /// The workload ends and its last ops come back.
    Quiesce,
    /// The database pod is killed once more, so that a fresh process serves the final read.
    ColdRestart,
    /// Every row is read.
    FinalRead,
    /// What this run created is removed.
    CleanUp,
    /// Is anything of ours left?
    LeakCheck,
}

impl Phase {
    /// The phase as people read it.
    pub fn title(self) -> &'static str {
        match self {
            Phase::Preflight => "preflight",
            Phase::Deploy => "deploy",
            Phase::SteadyState => "steady state",
            Phase::WarmUp => "warm-up",
            Phase::Search => "capacity search",
            Phase::Faults => "faults",
            Phase::Quiesce => "quiesce",
            Phase::ColdRestart => "cold restart",
            Phase::FinalRead => "final read",
            Phase::CleanUp => "clean up",
            Phase::LeakCheck => "leak check",
        }
    }
}

/// When the target was identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityMoment {
    /// Before the first fault.
    Before,
    /// After the last fault has healed.
    After,
}

/// How far a probe got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeStage {
    /// The TCP connection was accepted.
    Tcp,
    /// The login was accepted.
    Login,
    /// A commit was acknowledged.
    Commit,
}

/// What a fault is aimed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultTarget {
    /// `Pod`, `Node`, `Container`, `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The node that it is on.
    pub node: String,
    /// Of a pod: its controlling owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerSeen>,
}

/// One answer of the engine about its own health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineFact {
    /// `dbcc-checkdb`, `suspect-pages`, `database-state`, `data-files`, `clock`.
    pub name: String,
    /// What it means.
    pub outcome: FactOutcome,
    /// What was said.
    pub detail: String,
}

/// What an answer of the engine means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FactOutcome {
    /// As it should be.
    Good,
    /// Damage.
    Bad,
    /// This engine does not tell.
    Unsupported,
    /// It could not be asked.
    Unknown,
}

/// Something of ours that was found in the cluster at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakItem {
    /// What it is, such as `namespace/chaos-pod-kill-x7`.
    pub what: String,
    /// The command that mends it.
    pub mend: String,
    /// Whether it was kept on purpose.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
}

impl LeakItem {
    /// What is left against the run's will.
    pub fn of(what: String, mend: impl Into<String>) -> Self {
        LeakItem { what, mend: mend.into(), kept: false }
    }
}
