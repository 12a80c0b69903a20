use serde::{Deserialize, Serialize};

/// The isolation level of a run's transactions, which the checkers judge against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Adya's PL-2: nothing uncommitted, aborted or intermediate is read.
    ReadCommitted,
    /// Adya's PL-2.99: also what was read does not change; rows that were not there may appear.
    RepeatableRead,
    /// Snapshot isolation: reads of one instant, and of two transactions that write the same row one is refused.
    Snapshot,
    /// Adya's PL-3: as if one after the other.
    Serializable,
}

impl Isolation {
    /// The level in T-SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "READ COMMITTED",
            Isolation::RepeatableRead => "REPEATABLE READ",
            Isolation::Snapshot => "SNAPSHOT",
            Isolation::Serializable => "SERIALIZABLE",
        }
    }
}
