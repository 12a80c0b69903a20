//! How each fault is written in an experiment file, and what every fault can decide and reveal. Adding a fault adds a row here.

use crate::model::{Claim, format_duration};

use super::form::{Absent, Key, Kind, Section, Span};
use super::plan::{FaultSpec, Grace};
use super::reader::Fields;

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
        kind: "process-hang",
        doc: "Stops the container's first process with SIGSTOP for a time: connections are accepted and never answered.",
        parameters: lasting!("Parameters of process-hang.", "10s"),
        reach: "nothing is lost: shows how long clients wait for a server that stands still",
        decides: &[],
        read: |parameters| FaultSpec::ProcessHang { lasts: parameters.duration("for").value },
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
        parameters: lasting!("Parameters of node-power-off.", "90s"),
        reach: NODE_LOST,
        decides: &[Claim::Ha1, Claim::Ha3],
        read: |parameters| FaultSpec::NodePowerOff { lasts: parameters.duration("for").value },
    },
];

impl FaultSpec {
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
        }
    }

    /// The class of durability bug that it can reveal.
    pub fn reach(&self) -> &'static str {
        self.form().reach
    }

    /// The claims that it can decide, in order.
    pub fn decides(&self) -> Vec<Claim> {
        let mut claims = DECIDED_BY_ALL.to_vec();
        claims.extend(self.form().decides);
        claims.sort_unstable();
        claims
    }

    /// What it is aimed at, in words.
    pub fn aim(&self) -> &'static str {
        match self {
            FaultSpec::PodKill { .. } | FaultSpec::PodEvict => "the pod of the target",
            FaultSpec::ContainerCrash | FaultSpec::ProcessHang { .. } => "the database container",
            FaultSpec::NodeDrain | FaultSpec::NodeFreeze { .. } | FaultSpec::NodePowerOff { .. } => "the node that runs the pod",
        }
    }

    /// What happens to a node, which others may use as well.
    pub fn touches_node(&self) -> Option<&'static str> {
        match self {
            FaultSpec::PodKill { .. } | FaultSpec::PodEvict | FaultSpec::ContainerCrash | FaultSpec::ProcessHang { .. } => None,
            FaultSpec::NodeDrain => Some("cordoned, and uncordoned afterwards"),
            FaultSpec::NodeFreeze { .. } => Some("frozen with everything on it, and set going again"),
            FaultSpec::NodePowerOff { .. } => Some("switched off with everything on it, and on again"),
        }
    }

    /// The grace period with which it has the pod deleted, where it does.
    pub fn deletes_pod_with(&self) -> Option<Grace> {
        match self {
            FaultSpec::PodKill { grace } => Some(*grace),
            FaultSpec::PodEvict | FaultSpec::NodeDrain => Some(Grace::Pod),
            FaultSpec::ContainerCrash | FaultSpec::ProcessHang { .. } | FaultSpec::NodeFreeze { .. } | FaultSpec::NodePowerOff { .. } => {
                None
            }
        }
    }

    /// Its parameters as keys and values of the file.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        match self {
            FaultSpec::PodKill { grace } => vec![("grace", grace.to_string())],
            FaultSpec::PodEvict | FaultSpec::ContainerCrash | FaultSpec::NodeDrain => Vec::new(),
            FaultSpec::ProcessHang { lasts } | FaultSpec::NodeFreeze { lasts } | FaultSpec::NodePowerOff { lasts } => {
                vec![("for", format_duration(*lasts))]
            }
        }
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
