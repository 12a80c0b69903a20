//! How each fault is written in an experiment file, and what every fault can decide and reveal. Adding a fault adds a row here.

use crate::model::{Claim, format_duration};

use super::form::{Absent, Key, Kind, Section};
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

/// Every fault, in the order in which they are listed.
pub(super) static FAULTS: &[FaultForm] = &[FaultForm {
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
    reach: "process death: the kernel's page cache survives, so a missing fsync stays hidden",
    decides: &[Claim::Ha2, Claim::Ha3],
    read: |parameters| FaultSpec::PodKill {
        grace: parameters.grace("grace").value,
    },
}];

impl FaultSpec {
    fn form(&self) -> &'static FaultForm {
        FAULTS
            .iter()
            .find(|form| form.kind == self.kind())
            .expect("every fault has a row in the table")
    }

    /// Its key in an experiment file, such as `pod-kill`.
    pub fn kind(&self) -> &'static str {
        match self {
            FaultSpec::PodKill { .. } => "pod-kill",
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

    /// Its parameters as keys and values of the file.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        match self {
            FaultSpec::PodKill { grace } => vec![("grace", grace.to_string())],
        }
    }

    /// Its parameters in words, such as `grace 0s`.
    pub fn parameters_in_words(&self) -> String {
        self.parameters()
            .into_iter()
            .map(|(key, value)| format!("{key} {value}"))
            .collect::<Vec<_>>()
            .join(", ")
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
