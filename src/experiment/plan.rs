//! The experiment after validation: everything resolved, every default filled in, nothing left to interpret.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Claim, Isolation, Rate, format_duration};

use super::own_sql::OwnSql;

/// A validated experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The experiment's name: an RFC 1123 label, since it becomes part of object names.
    pub name: String,
    /// What it shows, in a sentence.
    pub description: String,
    /// Where the file says that it runs, unless the command line says otherwise.
    pub cluster: Option<ClusterRef>,
    /// A defect that the sandbox is told to have; of no other cluster.
    pub sandbox_sabotage: Option<SandboxSabotage>,
    /// What is under test.
    pub target: TargetPlan,
    /// The load.
    pub workload: WorkloadPlan,
    /// Every injection of every fault, in order of time; repeats are expanded.
    pub faults: Vec<PlannedFault>,
    /// What must hold.
    pub expect: Expect,
    /// The time without an acknowledged commit after which the fault phase is cut short.
    pub abort_when_outage: Option<Duration>,
    /// What the faults may touch at the most.
    pub blast_radius: BlastRadius,
    /// The image of the pods through which nodes are reached that are not containers of this machine. `None`: they are not reached.
    pub node_access: Option<String>,
    /// The seed of everything that is random. `None`: one is drawn and recorded.
    pub seed: Option<u64>,
    /// How long the fault phase lasts at the least, from its start: the last injection and the baseline window after it.
    pub duration: Duration,
    /// Whether the database pod is killed once more before the final read.
    pub cold_read: bool,
}

/// Where a cluster comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterRef {
    /// The embedded sandbox; a name means one that `chaos cluster up` left standing.
    Sandbox(Option<String>),
    /// A kind cluster, by default the one called `chaos`.
    Kind(Option<String>),
    /// A k3d cluster, by default the one called `chaos`.
    K3d(Option<String>),
    /// A context of the kubeconfig.
    Context(String),
}

/// What is deployed.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetPlan {
    /// The SQL server under test.
    pub engine: Engine,
    /// Where that stands already, with [`Engine::Existing`] and only then.
    pub existing: Option<ExistingPlan>,
    /// The image, where it is not the engine's own.
    pub image: Option<String>,
    /// What owns the pod.
    pub controller: Controller,
    /// The claim.
    pub storage: Storage,
    /// `terminationGracePeriodSeconds` of the pod.
    pub grace: Duration,
    /// How long the target may take to become ready for the first time.
    pub ready_within: Duration,
    /// How clients reach it.
    pub service: ServiceAccess,
    /// Whether connections are encrypted.
    pub tls: Tls,
    /// Whether the stand-in engine ignores the order to stop.
    pub ignore_sigterm: bool,
    /// What a SIGKILL leaves of what the stand-in engine has written and not synced.
    pub cache: Cache,
    /// A defect that the stand-in engine is told to have, for the harness' own tests.
    pub sabotage: Option<Sabotage>,
}

/// What a SIGKILL leaves of what the stand-in engine has written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// All of it.
    Kernel,
    /// Nothing: the power-loss test.
    Volatile,
}

/// A defect that the stand-in engine is told to have, for the harness' own tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Commits are acknowledged 60 ms before they are written.
    LoseAcked,
    /// Commits are acknowledged and not synced: only a volatile cache shows it.
    SkipSync,
    /// Recovery ignores the last three commits of the log.
    LoseLast,
    /// After 300 acknowledged statements the process dies with what it acknowledged and did not write.
    AckThenCrash,
    /// Some acknowledged statements are carried out only after twenty later ones.
    ReorderCommits,
    /// The newest row of each table comes back from a restart with the second half of its longest value zeroed.
    TornPage,
    /// The five newest rows of each table are gone after a restart.
    SilentTruncate,
    /// With every restart the clock goes back by an hour.
    ClockJump,
    /// Every restart begins with an empty directory.
    WrongVolume,
    /// One stored value in fifty has a flipped bit.
    FlipBit,
    /// One UPDATE in forty is carried out twice.
    DoubleApply,
    /// One ROLLBACK in three commits.
    ResurrectAborted,
    /// Reads outside of the writer return what was true up to 300 ms ago.
    StaleRead,
    /// Reads return what other transactions have not committed.
    DirtyRead,
    /// Transactions of every level lock nothing that they read, as under READ COMMITTED.
    LostUpdate,
    /// SERIALIZABLE is SNAPSHOT: what is written is checked, what was read is not.
    WriteSkew,
}

/// The SQL server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// Azure SQL Edge, retired by its vendor on 2025-09-30.
    AzureSqlEdge,
    /// SQL Server 2022 or later on Linux.
    MssqlServer,
    /// The stand-in engine of this project.
    TdsSqlite,
    /// A SQL Server that somebody else deployed.
    Existing,
}

/// What owns the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// A Deployment with strategy Recreate.
    Deployment,
    /// A StatefulSet of one.
    StatefulSet,
}

/// The claim of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The requested size as a Kubernetes quantity, such as `8Gi`.
    pub size: String,
    /// The access mode.
    pub access_mode: AccessMode,
    /// The storage class, or the cluster's default.
    pub class: Option<String>,
}

/// Access mode of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    /// Any number of pods on one node.
    ReadWriteOnce,
    /// One pod in the whole cluster.
    ReadWriteOncePod,
    /// Any number of pods anywhere.
    ReadWriteMany,
}

/// How clients reach the Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceAccess {
    /// At a node port.
    NodePort,
    /// At the address that the cluster's load balancer gives it.
    LoadBalancer,
    /// At this `host:port`, where something that is not ours leads to the Service.
    Address(String),
}

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tls {
    /// Not at all.
    Off,
    /// Encrypted, without asking who the server is.
    TrustServerCertificate,
}

/// A defect that the sandbox can be told to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SandboxSabotage {
    /// A pod that replaces another finds an empty volume under its claim.
    FreshVolume,
    /// Service addresses go on leading to the first pod that stood behind them.
    WrongPod,
    /// A `ReplicaSet` runs one pod more than it is asked for.
    SplitBrain,
    /// The endpoint of a pod that is gone is never removed.
    StaleEndpoint,
}

/// A workload that can be part of a mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// Inserts of unique rows: the durability check.
    Ledger,
    /// Transfers between accounts, and snapshot reads of all balances.
    Bank,
    /// Transactions of appends to lists and reads of lists.
    Append,
    /// Reads, writes and compare-and-sets of registers.
    Register,
    /// Enqueues and dequeues of items.
    Queue,
    /// The user's own statements.
    Sql,
}

/// The load.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadPlan {
    /// Shares, in any unit; each is positive.
    pub mix: BTreeMap<WorkloadKind, u32>,
    /// Logical clients, each with a connection of its own.
    pub clients: u32,
    /// How ops are issued, all clients together.
    pub rate: Pace,
    /// How long the load runs before the fault phase.
    pub warm_up: Duration,
    /// How long one op may take before its outcome is unknown.
    pub op_timeout: Duration,
    /// The isolation level of the load's transactions.
    pub isolation: Isolation,
    /// The user's own statements, where the mix has them.
    pub sql: Option<OwnSql>,
}

/// How ops are issued.
#[derive(Debug, Clone, PartialEq)]
pub enum Pace {
    /// In an open loop: at due times that were fixed beforehand, whatever becomes of the ops before. One step at the least, and only the last has no end.
    Open(Vec<Step>),
    /// In a closed loop: each client issues its next op when the last has ended, so that a stall holds back the load and hides from the latencies.
    Closed,
}

/// A part of an open loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// How long; none of the last, which goes on to the end.
    pub lasts: Option<Duration>,
    /// The rate, or that at the start of a ramp.
    pub at: Rate,
    /// The rate at the end of a ramp.
    pub to: Option<Rate>,
}

impl Pace {
    /// One rate throughout.
    pub fn constant(per_second: f64) -> Self {
        Pace::Open(vec![Step { lasts: None, at: Rate { per_second }, to: None }])
    }

    /// The highest rate of an open loop, in ops a second; none of a closed one, which goes as fast as it can.
    pub fn highest(&self) -> Option<f64> {
        match self {
            Pace::Open(steps) => {
                Some(steps.iter().map(|step| step.at.per_second.max(step.to.map_or(0.0, |to| to.per_second))).fold(0.0, f64::max))
            }
            Pace::Closed => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at)?;
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        match self.lasts {
            Some(lasts) => write!(f, " for {}", format_duration(lasts)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pace::Closed => f.write_str("closed"),
            Pace::Open(steps) => {
                let steps: Vec<String> = steps.iter().map(Step::to_string).collect();
                f.write_str(&steps.join(", then "))
            }
        }
    }
}

/// One injection.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedFault {
    /// Unique in the run, such as `pod-kill-3`.
    pub id: String,
    /// What is injected.
    pub spec: FaultSpec,
    /// When, from the start of the fault phase. A fault waits for the recovery of the one before it. With [`PlannedFault::after_recovery`] this is the
    /// earliest that it can be.
    pub at: Duration,
    /// How long after the recovery of the injection before it, where that is what it waits for.
    pub after_recovery: Option<Duration>,
    /// It is due up to this much later, by a draw from the run's seed.
    pub jitter: Duration,
    /// How long recovery is awaited.
    pub recover_within: Duration,
}

/// A fault and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultSpec {
    /// Deletes the pod.
    PodKill {
        /// With which grace period.
        grace: Grace,
    },
    /// Evicts the pod.
    PodEvict,
    /// SIGKILL to the container's first process, from the node.
    ContainerCrash,
    /// SIGSTOP to the container's first process.
    ProcessHang {
        /// How long.
        lasts: Duration,
    },
    /// Cordons the pod's node and evicts the pod.
    NodeDrain,
    /// Freezes the pod's node.
    NodeFreeze {
        /// How long.
        lasts: Duration,
    },
    /// Cuts the power of the pod's node.
    NodePowerOff {
        /// How long.
        lasts: Duration,
        /// Declares it out of service once it is lost. It stays off until the target serves elsewhere, however long that takes.
        out_of_service: bool,
    },
    /// Stops the kubelet of the pod's node.
    KubeletStop {
        /// How long.
        lasts: Duration,
    },
    /// Taints the pod's node, so that the pod is removed from it.
    NodeTaint,
    /// Cordons the pod's node.
    NodeCordon {
        /// How long.
        lasts: Duration,
    },
    /// SIGKILL to the process in the container that serves the database.
    ProcessCrash,
    /// The kernel's out-of-memory killer ends the container.
    OomKill,
    /// Drops what clients send to the pod.
    ServiceCut {
        /// How long.
        lasts: Duration,
    },
    /// Fills the claim's volume.
    DiskFull {
        /// How long.
        lasts: Duration,
    },
    /// Restarts the pod through its controller.
    RolloutRestart,
    /// Scales the controller to nothing and back.
    ScaleZero {
        /// How long.
        lasts: Duration,
    },
}

/// The grace period of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// The pod's own.
    Pod,
    /// This long; zero is a forced deletion.
    Of(Duration),
}

/// A target that somebody else deployed, and what the faults may do to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExistingPlan {
    /// The target.
    pub target: ExistingTarget,
    /// What the faults may touch.
    pub may_touch: BTreeSet<Touch>,
}

/// What of a deployment a fault touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touch {
    /// Its pod, its container, its processes.
    Pod,
    /// Its Deployment or StatefulSet.
    Controller,
    /// Its volume.
    Volume,
    /// The way to its pod.
    Network,
    /// The node that it runs on.
    Node,
}

/// A SQL Server that somebody else deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingTarget {
    /// Where it is.
    pub namespace: String,
    /// Its Service.
    pub service: String,
    /// The Secret with its password.
    pub secret: String,
    /// The key in that Secret.
    pub secret_key: String,
    /// The login.
    pub user: String,
}

/// What must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    /// Acknowledged commits that may be lost.
    pub lost_commits: u64,
    /// How soon clients must be back.
    pub reconnect: ReconnectTarget,
    /// The claims that decide the verdict. Others are reported, and do not.
    pub claims: BTreeSet<Claim>,
    /// Whether two instances on the claim at once are expected, and so do not fail the run.
    pub overlap_allowed: bool,
}

/// What the faults may touch at the most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlastRadius {
    /// Nodes that may be cordoned or not ready at once, those that others made so included.
    pub max_unavailable_nodes: u32,
    /// The control-plane node that may be hit all the same.
    pub control_plane_node: Option<String>,
}

impl Default for BlastRadius {
    fn default() -> Self {
        BlastRadius { max_unavailable_nodes: 1, control_plane_node: None }
    }
}

/// How soon clients must be back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconnectTarget {
    /// The 99th percentile of the episodes' outages.
    pub p99: Option<Duration>,
    /// The longest outage.
    pub max: Duration,
}
