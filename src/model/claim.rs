use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One clause of the promise under test, as numbered in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Claim {
    /// A failed process or container is replaced without human help.
    #[serde(rename = "HA-1")]
    Ha1,
    /// A failed pod is replaced by its controller.
    #[serde(rename = "HA-2")]
    Ha2,
    /// After a pod failure the new pod uses the same persistent storage.
    #[serde(rename = "HA-3")]
    Ha3,
    /// After a node failure or drain the new pod starts on a different node.
    #[serde(rename = "HA-4")]
    Ha4,
    /// The Service address stays the same and leads to the new pod.
    #[serde(rename = "HA-5")]
    Ha5,
    /// No acknowledged commit is lost, altered or doubled.
    #[serde(rename = "HA-6")]
    Ha6,
    /// Clients are back within the promised time.
    #[serde(rename = "HA-7")]
    Ha7,
}

impl Claim {
    /// Every claim in the order of the report.
    pub const ALL: [Claim; 7] = [Claim::Ha1, Claim::Ha2, Claim::Ha3, Claim::Ha4, Claim::Ha5, Claim::Ha6, Claim::Ha7];

    /// The stable id that files and reports use.
    pub fn id(self) -> &'static str {
        match self {
            Claim::Ha1 => "HA-1",
            Claim::Ha2 => "HA-2",
            Claim::Ha3 => "HA-3",
            Claim::Ha4 => "HA-4",
            Claim::Ha5 => "HA-5",
            Claim::Ha6 => "HA-6",
            Claim::Ha7 => "HA-7",
        }
    }

    /// The claim as a sentence for a reader of the report.
    pub fn statement(self) -> &'static str {
        match self {
            Claim::Ha1 => "a failed process or container is replaced without human help",
            Claim::Ha2 => "a failed pod is replaced by its controller",
            Claim::Ha3 => "the new pod uses the same persistent storage",
            Claim::Ha4 => "after a node failure or drain the new pod starts on a different node",
            Claim::Ha5 => "the Service address stays the same and leads to the new pod",
            Claim::Ha6 => "no acknowledged commit is lost, altered or doubled",
            Claim::Ha7 => "clients are back within the promised time",
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for Claim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|claim| claim.id() == text).ok_or_else(|| format!("unknown claim `{text}`, expected HA-1 to HA-7"))
    }
}
