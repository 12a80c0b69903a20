//! Ways in which this server is wrong on purpose, each a defect that real databases have had: they show that the checks find them.

use clap::ValueEnum as _;

/// A planted defect. Never on unless asked for; the version string and the log name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
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

impl Sabotage {
    /// The word on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether acknowledgements go out before the commit: readers must then see what the writer has not committed.
    pub(crate) fn acknowledges_early(self) -> bool {
        matches!(self, Self::LoseAcked | Self::AckThenCrash)
    }
}

/// Every so-manieth of something, counted from the first.
#[derive(Debug, Default)]
pub(crate) struct Every(u64);

impl Every {
    /// True once in `count` calls.
    pub(crate) fn once_in(&mut self, count: u64) -> bool {
        self.0 += 1;
        self.0.is_multiple_of(count)
    }
}
