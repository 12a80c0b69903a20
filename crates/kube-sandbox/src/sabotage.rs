//! Ways in which this cluster is wrong on purpose, each something that a real one should never do: they show that the checks find them.

/// A planted defect. Never on unless asked for; the server's version and the log name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A pod that replaces another finds an empty volume under its claim.
    FreshVolume,
    /// Service addresses go on leading to the first pod that stood behind them.
    WrongPod,
    /// A `ReplicaSet` runs one pod more than it is asked for, on the same claim.
    SplitBrain,
    /// The endpoint of a pod that is gone is never removed.
    StaleEndpoint,
}

impl Sabotage {
    /// Every defect.
    pub const ALL: [Sabotage; 4] = [Sabotage::FreshVolume, Sabotage::WrongPod, Sabotage::SplitBrain, Sabotage::StaleEndpoint];

    /// The word on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Sabotage::FreshVolume => "fresh-volume",
            Sabotage::WrongPod => "wrong-pod",
            Sabotage::SplitBrain => "split-brain",
            Sabotage::StaleEndpoint => "stale-endpoint",
        }
    }

    /// The defect of this name.
    #[must_use]
    pub fn named(word: &str) -> Option<Sabotage> {
        Sabotage::ALL.into_iter().find(|defect| defect.name() == word)
    }
}
