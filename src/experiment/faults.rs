//! How each fault is written in an experiment file, and what every fault can decide and reveal. Adding a fault adds a row here.

use std::time::Duration;

use crate::model::{Claim, format_duration};

use super::form::{Absent, Key, Kind, Section, Span};
use super::mistake::At;
use super::plan::{FaultSpec, Grace, Touch};
use super::reader::{Fields, Log};
use super::yaml::{Node, Value};

/// One fault as the file knows it.
pub(super) struct FaultForm {
    /// The key.
    pub kind: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// Its parameters. All have defaults, so that `pod-kill:` alone is enough.
    pub parameters: &'static Section,
    /// The class of durability bug that it can reveal.
    pub reach: &'static str,
    /// The claims that it can decide, beside those that every fault can.
    pub decides: &'static [Claim],
    /// Builds it from its parameters.
    pub read: fn(&Fields<'_>) -> FaultSpec,
}

/// What every fault can decide: the Service leads to the database again, nothing is lost, clients are back in time.
const DECIDED_BY_ALL: [Claim; 3] = [Claim::Ha5, Claim::Ha6, Claim::Ha7];

const PAGE_CACHE_KEPT: &str = "process death: the kernel's page cache survives, so a missing fsync stays hidden";
const NODE_LOST: &str = "node loss: on kind and k3d all nodes share one kernel and its page cache, so a missing fsync stays hidden there";

/// The parameters of a fault that has none.
static NONE: Section = Section { doc: "It has no parameters.", keys: &[] };

/// The parameters of a fault that lasts.
macro_rules! lasting {
    ($doc:literal, $default:literal) => {
        &Section {
            doc: $doc,
            keys: &[Key {
                name: "for",
                doc: "How long it lasts before it is healed.",
                kind: Kind::Duration(Span::Positive),
                absent: Absent::Default($default),
            }],
        }
    };
}

/// Every fault, in the order in which they are listed.
pub(super) static FAULTS: &[FaultForm] = &[
    FaultForm {
        kind: "pod-kill",
        doc: "Deletes the pod, with a grace period or by force.",
        parameters: &Section {
            doc: "Parameters of pod-kill.",
            keys: &[Key {
                name: "grace",
                doc: "The grace period of the deletion: `pod` for the pod's own, or whole seconds; 0s is a forced deletion.",
                kind: Kind::Grace,
                absent: Absent::Default("pod"),
            }],
        },
        reach: PAGE_CACHE_KEPT,
        decides: &[Claim::Ha2, Claim::Ha3],
        read: |parameters| FaultSpec::PodKill { grace: parameters.grace("grace").value },
    },
    FaultForm {
        kind: "pod-evict",
        doc: "Evicts the pod through policy/v1, so that PodDisruptionBudgets are asked; a refusal is retried.",
        parameters: &NONE,
        reach: PAGE_CACHE_KEPT,
        decides: &[Claim::Ha2, Claim::Ha3],
        read: |_| FaultSpec::PodEvict,
    },
    FaultForm {
        kind: "container-crash",
        doc: "Kills the container's first process with SIGKILL, sent from the node; the kubelet starts it again in the same pod.",
        parameters: &NONE,
        reach: PAGE_CACHE_KEPT,
        decides: &[Claim::Ha1, Claim::Ha3],
        read: |_| FaultSpec::ContainerCrash,
    },
    FaultForm {
        kind: "process-crash",
        doc: "Kills the process in the container that serves the database with SIGKILL; where the first process has no child, that one.",
        parameters: &NONE,
        reach: PAGE_CACHE_KEPT,
        decides: &[Claim::Ha1, Claim::Ha3],
        read: |_| FaultSpec::ProcessCrash,
    },
    FaultForm {
        kind: "oom-kill",
        doc: "Uses up the container's memory until the kernel ends it; the kubelet reports OOMKilled and starts it again.",
        parameters: &NONE,
        reach: PAGE_CACHE_KEPT,
        decides: &[Claim::Ha1, Claim::Ha3],
        read: |_| FaultSpec::OomKill,
    },
    FaultForm {
        kind: "process-hang",
        doc: "Stops the container's first process with SIGSTOP for a time: connections are accepted and never answered.",
        parameters: lasting!("Parameters of process-hang.", "10s"),
        reach: "nothing is lost: shows how long clients wait for a server that stands still",
        decides: &[],
        read: |parameters| FaultSpec::ProcessHang { lasts: parameters.duration("for").value },
    },
    FaultForm {
        kind: "service-cut",
        doc: "Drops what clients send to the pod for a time, while the pod is well and ready.",
        parameters: lasting!("Parameters of service-cut.", "10s"),
        reach: "nothing is lost: shows how long clients wait when nobody answers, and whether they come back",
        decides: &[],
        read: |parameters| FaultSpec::ServiceCut { lasts: parameters.duration("for").value },
    },
    FaultForm {
        kind: "disk-full",
        doc: "Fills the claim's volume to its last byte for a time; refused where the volume is not a filesystem of its own.",
        parameters: lasting!("Parameters of disk-full.", "20s"),
        reach: "commits that an engine acknowledges although it could not write them",
        decides: &[],
        read: |parameters| FaultSpec::DiskFull { lasts: parameters.duration("for").value },
    },
    FaultForm {
        kind: "rollout-restart",
        doc: "Restarts the pod through its Deployment or StatefulSet, as kubectl rollout restart does.",
        parameters: &NONE,
        reach: PAGE_CACHE_KEPT,
        decides: &[Claim::Ha3],
        read: |_| FaultSpec::RolloutRestart,
    },
    FaultForm {
        kind: "scale-zero",
        doc: "Scales the Deployment or StatefulSet to nothing for a time, and back.",
        parameters: lasting!("Parameters of scale-zero.", "10s"),
        reach: PAGE_CACHE_KEPT,
        decides: &[Claim::Ha3],
        read: |parameters| FaultSpec::ScaleZero { lasts: parameters.duration("for").value },
    },
    FaultForm {
        kind: "node-cordon",
        doc: "Marks the pod's node unschedulable for a time; what runs there runs on.",
        parameters: lasting!("Parameters of node-cordon.", "20s"),
        reach: "nothing is lost: shows that a cordon alone does not disturb clients",
        decides: &[],
        read: |parameters| FaultSpec::NodeCordon { lasts: parameters.duration("for").value },
    },
    FaultForm {
        kind: "node-drain",
        doc: "Cordons the pod's node and evicts the pod, as kubectl drain does; uncordons it afterwards.",
        parameters: &NONE,
        reach: PAGE_CACHE_KEPT,
        decides: &[Claim::Ha2, Claim::Ha3, Claim::Ha4],
        read: |_| FaultSpec::NodeDrain,
    },
    FaultForm {
        kind: "node-taint",
        doc: "Gives the pod's node a NoExecute taint until the target serves elsewhere: every pod there that does not tolerate it is removed.",
        parameters: &NONE,
        reach: PAGE_CACHE_KEPT,
        decides: &[Claim::Ha2, Claim::Ha3, Claim::Ha4],
        read: |_| FaultSpec::NodeTaint,
    },
    FaultForm {
        kind: "kubelet-stop",
        doc: "Stops the kubelet of the pod's node for a time: the database runs on, and the cluster takes it for lost.",
        parameters: lasting!("Parameters of kubelet-stop.", "70s"),
        reach: "nothing is lost: shows how the cluster treats a database that it hears nothing of",
        decides: &[],
        read: |parameters| FaultSpec::KubeletStop { lasts: parameters.duration("for").value },
    },
    FaultForm {
        kind: "node-freeze",
        doc: "Freezes the pod's node for a time and lets it go on.",
        parameters: lasting!("Parameters of node-freeze.", "90s"),
        reach: NODE_LOST,
        decides: &[],
        read: |parameters| FaultSpec::NodeFreeze { lasts: parameters.duration("for").value },
    },
    FaultForm {
        kind: "node-power-off",
        doc: "Cuts the power of the pod's node for a time and gives it back.",
        parameters: &Section {
            doc: "Parameters of node-power-off.",
            keys: &[
                Key {
                    name: "for",
                    doc: "How long it lasts before it is healed.",
                    kind: Kind::Duration(Span::Positive),
                    absent: Absent::Default("90s"),
                },
                Key {
                    name: "outOfService",
                    doc: "Whether the node gets the out-of-service taint once it is lost, which lets its pods and volumes go; it stays off until the target serves elsewhere.",
                    kind: Kind::Switch,
                    absent: Absent::Default("false"),
                },
            ],
        },
        reach: NODE_LOST,
        decides: &[Claim::Ha1, Claim::Ha3],
        read: |parameters| {
            let out_of_service = parameters.switch("outOfService").value;
            if out_of_service && let Some(entry) = parameters.entry("for") {
                let path = format!("{}.for", parameters.path());
                parameters.note(
                    entry.key_at,
                    &path,
                    "has no effect beside `outOfService: true`: the node stays off until the target serves elsewhere",
                );
            }
            FaultSpec::NodePowerOff { lasts: parameters.duration("for").value, out_of_service }
        },
    },
];

impl FaultSpec {
    /// Every fault with its default parameters, in the order in which they are listed.
    pub fn all() -> Vec<FaultSpec> {
        let log = Log::default();
        let empty = Node { at: At { line: 1, column: 1 }, value: Value::Mapping(Vec::new()) };
        let read = |form: &FaultForm| {
            let parameters = Fields::open(&log, form.parameters, &empty, form.kind, &[]);
            let spec = (form.read)(&parameters);
            parameters.close();
            spec
        };
        FAULTS.iter().map(read).collect()
    }

    fn form(&self) -> &'static FaultForm {
        FAULTS.iter().find(|form| form.kind == self.kind()).expect("every fault has a row in the table")
    }

    /// Its key in an experiment file, such as `pod-kill`.
    pub fn kind(&self) -> &'static str {
        match self {
            FaultSpec::PodKill { .. } => "pod-kill",
            FaultSpec::PodEvict => "pod-evict",
            FaultSpec::ContainerCrash => "container-crash",
            FaultSpec::ProcessHang { .. } => "process-hang",
            FaultSpec::NodeDrain => "node-drain",
            FaultSpec::NodeFreeze { .. } => "node-freeze",
            FaultSpec::NodePowerOff { .. } => "node-power-off",
            FaultSpec::KubeletStop { .. } => "kubelet-stop",
            FaultSpec::NodeTaint => "node-taint",
            FaultSpec::NodeCordon { .. } => "node-cordon",
            FaultSpec::ProcessCrash => "process-crash",
            FaultSpec::OomKill => "oom-kill",
            FaultSpec::ServiceCut { .. } => "service-cut",
            FaultSpec::DiskFull { .. } => "disk-full",
            FaultSpec::RolloutRestart => "rollout-restart",
            FaultSpec::ScaleZero { .. } => "scale-zero",
        }
    }

    /// The class of durability bug that it can reveal.
    pub fn reach(&self) -> &'static str {
        self.form().reach
    }

    /// The claims that it can decide, in order.
    pub fn decides(&self) -> Vec<Claim> {
        let mut claims = DECIDED_BY_ALL.to_vec();
        match self {
            // The pod is replaced on another node, in place of being started again on its own.
            FaultSpec::NodePowerOff { out_of_service: true, .. } => claims.extend([Claim::Ha2, Claim::Ha3, Claim::Ha4]),
            _ => claims.extend(self.form().decides),
        }
        claims.sort_unstable();
        claims
    }

    /// What it is aimed at, in words.
    pub fn aim(&self) -> &'static str {
        match self {
            FaultSpec::PodKill { .. } | FaultSpec::PodEvict | FaultSpec::RolloutRestart | FaultSpec::ServiceCut { .. } => {
                "the pod of the target"
            }
            FaultSpec::ContainerCrash | FaultSpec::ProcessCrash | FaultSpec::OomKill | FaultSpec::ProcessHang { .. } => {
                "the database container"
            }
            FaultSpec::DiskFull { .. } => "the volume of the database container",
            FaultSpec::ScaleZero { .. } => "the controller of the pod",
            FaultSpec::NodeDrain | FaultSpec::NodeTaint | FaultSpec::NodeCordon { .. } => "the node that runs the pod",
            FaultSpec::NodeFreeze { .. } | FaultSpec::NodePowerOff { .. } | FaultSpec::KubeletStop { .. } => "the node that runs the pod",
        }
    }

    /// What of a deployment it touches.
    pub fn touch(&self) -> Touch {
        match self {
            FaultSpec::PodKill { .. } | FaultSpec::PodEvict => Touch::Pod,
            FaultSpec::ContainerCrash | FaultSpec::ProcessCrash | FaultSpec::OomKill | FaultSpec::ProcessHang { .. } => Touch::Pod,
            FaultSpec::RolloutRestart | FaultSpec::ScaleZero { .. } => Touch::Controller,
            FaultSpec::DiskFull { .. } => Touch::Volume,
            FaultSpec::ServiceCut { .. } => Touch::Network,
            FaultSpec::NodeDrain | FaultSpec::NodeTaint | FaultSpec::NodeCordon { .. } => Touch::Node,
            FaultSpec::NodeFreeze { .. } | FaultSpec::NodePowerOff { .. } | FaultSpec::KubeletStop { .. } => Touch::Node,
        }
    }

    /// What happens to a node, which others may use as well.
    pub fn touches_node(&self) -> Option<&'static str> {
        match self {
            FaultSpec::PodKill { .. } | FaultSpec::PodEvict | FaultSpec::RolloutRestart | FaultSpec::ScaleZero { .. } => None,
            FaultSpec::ContainerCrash | FaultSpec::ProcessCrash | FaultSpec::OomKill | FaultSpec::ProcessHang { .. } => None,
            FaultSpec::DiskFull { .. } => None,
            FaultSpec::ServiceCut { .. } => Some("a rule drops what is forwarded to the pod, and is removed afterwards"),
            FaultSpec::NodeDrain => Some("cordoned, the pods of the target's namespace evicted from it, and uncordoned afterwards"),
            FaultSpec::NodeCordon { .. } => Some("cordoned, and uncordoned afterwards"),
            FaultSpec::NodeTaint => Some("tainted NoExecute, so that every pod without a toleration leaves it, and untainted afterwards"),
            FaultSpec::NodeFreeze { .. } => Some("frozen with everything on it, and set going again"),
            FaultSpec::NodePowerOff { out_of_service: false, .. } => Some("switched off with everything on it, and on again"),
            FaultSpec::NodePowerOff { .. } => Some(
                "switched off with everything on it and tainted out-of-service, and on again and untainted when the target serves elsewhere",
            ),
            FaultSpec::KubeletStop { .. } => Some("its kubelet stopped, and started again"),
        }
    }

    /// Whether the node itself is taken away from its pods, so that it counts among the nodes that may be unavailable.
    pub fn takes_node(&self) -> bool {
        self.touches_node().is_some() && !matches!(self, FaultSpec::ServiceCut { .. })
    }

    /// The grace period with which it has the pod deleted, where it does.
    pub fn deletes_pod_with(&self) -> Option<Grace> {
        match self {
            FaultSpec::PodKill { grace } => Some(*grace),
            FaultSpec::PodEvict | FaultSpec::NodeDrain | FaultSpec::NodeTaint => Some(Grace::Pod),
            // Both wait for the old pod to be gone: a restart because the strategy is Recreate, a scale because it takes a person to scale back.
            FaultSpec::RolloutRestart | FaultSpec::ScaleZero { .. } => None,
            FaultSpec::ContainerCrash | FaultSpec::ProcessCrash | FaultSpec::OomKill | FaultSpec::ProcessHang { .. } => None,
            FaultSpec::ServiceCut { .. } | FaultSpec::DiskFull { .. } | FaultSpec::NodeCordon { .. } => None,
            FaultSpec::NodeFreeze { .. } | FaultSpec::NodePowerOff { .. } | FaultSpec::KubeletStop { .. } => None,
        }
    }

    /// Whether it ends the engine without asking it to stop.
    pub fn kills_unasked(&self) -> bool {
        matches!(self, FaultSpec::ContainerCrash | FaultSpec::ProcessCrash | FaultSpec::OomKill | FaultSpec::NodePowerOff { .. })
    }

    /// How long it lasts before it is healed, where it lasts.
    fn lasts(&self) -> Option<Duration> {
        match self {
            FaultSpec::PodKill { .. } | FaultSpec::PodEvict | FaultSpec::RolloutRestart => None,
            FaultSpec::ContainerCrash | FaultSpec::ProcessCrash | FaultSpec::OomKill => None,
            FaultSpec::NodeDrain | FaultSpec::NodeTaint | FaultSpec::NodePowerOff { out_of_service: true, .. } => None,
            FaultSpec::ProcessHang { lasts }
            | FaultSpec::ServiceCut { lasts }
            | FaultSpec::DiskFull { lasts }
            | FaultSpec::ScaleZero { lasts }
            | FaultSpec::NodeCordon { lasts }
            | FaultSpec::NodeFreeze { lasts }
            | FaultSpec::NodePowerOff { lasts, out_of_service: false }
            | FaultSpec::KubeletStop { lasts } => Some(*lasts),
        }
    }

    /// Its parameters as keys and values of the file.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let own = match self {
            FaultSpec::PodKill { grace } => Some(("grace", grace.to_string())),
            FaultSpec::NodePowerOff { out_of_service: true, .. } => Some(("outOfService", "true".to_owned())),
            _ => None,
        };
        own.into_iter().chain(self.lasts().map(|lasts| ("for", format_duration(lasts)))).collect()
    }

    /// Its parameters in words, such as `grace 0s`.
    pub fn parameters_in_words(&self) -> String {
        self.parameters().into_iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join(", ")
    }
}

impl std::fmt::Display for Grace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Grace::Pod => f.pad("pod"),
            Grace::Of(duration) => f.pad(&format_duration(*duration)),
        }
    }
}
