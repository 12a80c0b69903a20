//! What faults do to nodes and containers from outside the Kubernetes API, and which of it a provider can do.

use std::time::Duration;

use super::ClusterError;

/// What a provider can do to nodes and containers from outside the Kubernetes API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Signals to a container's processes.
    SignalContainer,
    /// Using up a container's memory until the kernel ends it.
    ExhaustMemory,
    /// Freezing a whole node and letting it go on.
    FreezeNode,
    /// Cutting a node's power and giving it back.
    PowerNode,
    /// Stopping a node's kubelet and starting it.
    StopKubelet,
    /// Dropping what clients send to a pod.
    CutService,
    /// Filling a volume, and emptying it again.
    FillVolume,
}

impl Capability {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Capability; 7] = [
        Capability::SignalContainer,
        Capability::ExhaustMemory,
        Capability::FreezeNode,
        Capability::PowerNode,
        Capability::StopKubelet,
        Capability::CutService,
        Capability::FillVolume,
    ];

    /// What it is, in words.
    pub fn words(self) -> &'static str {
        match self {
            Capability::SignalContainer => "signals to a container from its node",
            Capability::ExhaustMemory => "using up a container's memory",
            Capability::FreezeNode => "freezing a node",
            Capability::PowerNode => "cutting a node's power",
            Capability::StopKubelet => "stopping a node's kubelet",
            Capability::CutService => "dropping what clients send to a pod",
            Capability::FillVolume => "filling a volume from its node",
        }
    }
}

/// The signals that faults use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ends at once.
    Kill,
    /// Stops until continued.
    Stop,
    /// Goes on.
    Continue,
}

impl Signal {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Kill => "SIGKILL",
            Signal::Stop => "SIGSTOP",
            Signal::Continue => "SIGCONT",
        }
    }
}

/// One thing that is done on a node. Those that undo may be repeated: what is undone already is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeAction {
    /// Sends a signal to a container's first process, from its node: sent from inside its own namespace, the kernel would ignore it.
    SignalContainer {
        /// Which instance.
        container_id: String,
        /// Which signal.
        signal: Signal,
    },
    /// SIGKILL to the process that serves the database: the largest child of the container's first process, else the first process itself.
    KillDatabaseProcess {
        /// Which instance.
        container_id: String,
    },
    /// Uses up the container's memory until the kernel ends its database process for it.
    ExhaustMemory {
        /// Which instance.
        container_id: String,
    },
    /// Everything on the node stands still.
    Freeze,
    /// It goes on.
    Thaw,
    /// Everything on the node ends at once.
    PowerOff,
    /// It starts again.
    PowerOn,
    /// The kubelet ends; what it started runs on.
    StopKubelet {
        /// For how long, where the node must start it again by itself.
        lasts: Duration,
        /// Marks as this run's what does so.
        mark: String,
    },
    /// The kubelet starts; where the node does that by itself, it is waited for.
    StartKubelet {
        /// For how long it was to be stopped.
        lasts: Duration,
        /// The mark.
        mark: String,
    },
    /// Packets that are forwarded to this pod's port are dropped without an answer. The node's own probes still reach it.
    CutService {
        /// The pod's address.
        address: String,
        /// Its port.
        port: u16,
        /// Marks the rule as this run's.
        mark: String,
    },
    /// Removes every rule with this mark.
    RestoreService {
        /// The mark.
        mark: String,
    },
    /// Fills a volume to its last byte with a file of ours.
    FillVolume {
        /// A container that has the volume.
        container_id: String,
        /// Where it has it.
        path: String,
        /// What the claim was given. A filesystem that is much larger is not the claim's own, and is refused.
        capacity_bytes: u64,
        /// Marks the file as this run's.
        mark: String,
    },
    /// Removes the files with this mark from what containers on the node have at that path.
    EmptyVolume {
        /// Where the volume is mounted.
        path: String,
        /// The mark.
        mark: String,
    },
}

impl NodeAction {
    /// What a provider must be able to do for it.
    pub fn needs(&self) -> Capability {
        match self {
            NodeAction::SignalContainer { .. } | NodeAction::KillDatabaseProcess { .. } => Capability::SignalContainer,
            NodeAction::ExhaustMemory { .. } => Capability::ExhaustMemory,
            NodeAction::Freeze | NodeAction::Thaw => Capability::FreezeNode,
            NodeAction::PowerOff | NodeAction::PowerOn => Capability::PowerNode,
            NodeAction::StopKubelet { .. } | NodeAction::StartKubelet { .. } => Capability::StopKubelet,
            NodeAction::CutService { .. } | NodeAction::RestoreService { .. } => Capability::CutService,
            NodeAction::FillVolume { .. } | NodeAction::EmptyVolume { .. } => Capability::FillVolume,
        }
    }
}

/// Where what a provider cannot do is possible.
pub const CAPABLE: &str = "use a kind cluster, --cluster kind, or say with which image a pod may reach the nodes: nodeAccess: { image: … }";

/// The refusal of a provider that has no way of doing something.
pub(super) fn unsupported(capability: Capability) -> ClusterError {
    ClusterError::Unsupported { what: format!("this provider has no way of {}", capability.words()), hint: CAPABLE.to_owned() }
}

/// The runtime's own id of a container: what follows the scheme.
pub(super) fn bare_id(container_id: &str) -> &str {
    container_id.rsplit("://").next().unwrap_or(container_id)
}
