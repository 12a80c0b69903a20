use std::fmt;

use serde::{Deserialize, Serialize};

/// What a checker says of a history. The order is from best to worst, so that merging is the maximum: worst wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The property was shown to hold.
    Valid,
    /// The evidence does not decide it.
    Unknown,
    /// The property was shown to be broken.
    Invalid,
}

impl Verdict {
    /// The worse of the two.
    #[must_use]
    pub fn merge(self, other: Verdict) -> Verdict {
        self.max(other)
    }

    /// Merges any number of verdicts. None at all prove nothing, which is [`Verdict::Unknown`].
    pub fn merge_all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        verdicts.into_iter().reduce(Verdict::merge).unwrap_or(Verdict::Unknown)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Valid => "valid",
            Verdict::Unknown => "unknown",
            Verdict::Invalid => "invalid",
        })
    }
}

/// The verdict of a whole run, as exit codes and reports say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Everything that the experiment expects was shown to hold. Exit code 0.
    Pass,
    /// The run does not decide it. Exit code 2.
    Inconclusive,
    /// Something that the experiment expects was shown not to hold. Exit code 1.
    Fail,
}

impl Outcome {
    /// The process exit code of this outcome.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Pass => 0,
            Outcome::Fail => 1,
            Outcome::Inconclusive => 2,
        }
    }
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Valid => Outcome::Pass,
            Verdict::Unknown => Outcome::Inconclusive,
            Verdict::Invalid => Outcome::Fail,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Pass => "PASS",
            Outcome::Inconclusive => "INCONCLUSIVE",
            Outcome::Fail => "FAIL",
        })
    }
}
