//! The words that an experiment file uses for the choices of a plan, one table for reading, writing, the schema and `chaos list`.

use std::fmt;
use std::str::FromStr;

use crate::model::{Claim, Isolation};

use super::own_sql::Returns;
use super::plan::{AccessMode, Cache, ClusterRef, Controller, Engine, Sabotage, SandboxSabotage, ServiceAccess, Tls, Touch, WorkloadKind};

/// A choice that a file makes by a word.
pub trait Named: Copy + Sized + 'static {
    /// Every choice, in the order in which they are listed.
    const ALL: &'static [Self];

    /// The word.
    fn id(self) -> &'static str;

    /// What it means, in a sentence.
    fn meaning(self) -> &'static str;

    /// The choice of that word.
    fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|choice| choice.id() == word)
    }
}

/// Implements [`Named`], `Display` and `FromStr` from one table.
macro_rules! named {
    ($type:ident, $($variant:ident = $id:literal: $meaning:literal,)+) => {
        impl Named for $type {
            const ALL: &'static [Self] = &[$($type::$variant),+];

            fn id(self) -> &'static str {
                match self {
                    $($type::$variant => $id),+
                }
            }

            fn meaning(self) -> &'static str {
                match self {
                    $($type::$variant => $meaning),+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.id())
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                Self::named(word).ok_or_else(|| {
                    let expected: Vec<&str> = Self::ALL.iter().map(|choice| choice.id()).collect();
                    format!("unknown value `{word}`, expected {}", expected.join(", "))
                })
            }
        }
    };
}

named!(Engine,
    AzureSqlEdge = "azure-sql-edge": "Azure SQL Edge, retired by its vendor on 2025-09-30; for those who still run it.",
    MssqlServer = "mssql-server": "SQL Server 2022 or later on Linux: what a new user should take.",
    TdsSqlite = "tds-sqlite": "The stand-in engine of this project, a TDS server over SQLite: proves the harness and the cluster, nothing about SQL Server.",
    Existing = "existing": "A SQL Server that somebody else deployed, which `target.existing` names: only a database of the run's own is created in it.",
);

named!(Touch,
    Pod = "pod": "Its pod, its container and their processes.",
    Controller = "controller": "Its Deployment or StatefulSet: restarted, scaled to nothing and back.",
    Volume = "volume": "Its volume: filled and emptied again.",
    Network = "network": "The way to its pod: cut for a time.",
    Node = "node": "The node that it runs on, with whatever else is there.",
);

named!(Controller,
    Deployment = "Deployment": "A Deployment of one with strategy Recreate. Its replacement pod starts while the old one still terminates.",
    StatefulSet = "StatefulSet": "A StatefulSet of one: the replacement waits until the old pod is gone.",
);

named!(AccessMode,
    ReadWriteOnce = "ReadWriteOnce": "Any number of pods on one node.",
    ReadWriteOncePod = "ReadWriteOncePod": "One pod in the whole cluster.",
    ReadWriteMany = "ReadWriteMany": "Any number of pods anywhere.",
);

named!(Tls,
    Off = "off": "Not encrypted.",
    TrustServerCertificate = "trustServerCertificate": "Encrypted, without asking who the server is.",
);

named!(WorkloadKind,
    Ledger = "ledger": "Inserts of unique rows with a digest: the durability check.",
    Bank = "bank": "Transfers between accounts, and snapshot reads of all balances: the atomicity check.",
    Append = "append": "Transactions of 1 to 8 appends to lists and reads of lists: the isolation check.",
    Register = "register": "Reads, writes and compare-and-sets of registers: the linearizability check.",
    Queue = "queue": "Enqueues and dequeues of unique items: each is taken out at most once, and none vanishes.",
    Sql = "sql": "Your own statements for your own schema, with checks of your own: the keys `workload.sql`.",
);

named!(Returns,
    Acknowledged = "acknowledged": "The key of every acknowledged statement that uses @key, each once, in the first column. Keys below 1 are not judged.",
    Nothing = "nothing": "No rows.",
);

named!(SandboxSabotage,
    FreshVolume = "fresh-volume": "A pod that replaces another finds an empty volume under its claim.",
    WrongPod = "wrong-pod": "Service addresses go on leading to the first pod that stood behind them.",
    SplitBrain = "split-brain": "A ReplicaSet runs one pod more than it is asked for, on the same claim.",
    StaleEndpoint = "stale-endpoint": "The endpoint of a pod that is gone is never removed.",
);

named!(Cache,
    Kernel = "kernel": "All of it: the kernel's page cache outlives the process.",
    Volatile = "volatile": "Nothing, as a loss of power does: the power-loss test.",
);

named!(Sabotage,
    LoseAcked = "lose-acked": "Commits are acknowledged 60 ms before they are written.",
    SkipSync = "skip-sync": "Commits are acknowledged and not synced: only a volatile cache shows it.",
    LoseLast = "lose-last": "Recovery ignores the last three commits of the log.",
    AckThenCrash = "ack-then-crash": "After 300 acknowledged statements the process dies with what it acknowledged and did not write.",
    ReorderCommits = "reorder-commits": "Some acknowledged statements are carried out only after twenty later ones.",
    TornPage = "torn-page": "The newest row of each table comes back from a restart with the second half of its longest value zeroed.",
    SilentTruncate = "silent-truncate": "The five newest rows of each table are gone after a restart.",
    ClockJump = "clock-jump": "With every restart the clock goes back by an hour.",
    WrongVolume = "wrong-volume": "Every restart begins with an empty directory.",
    FlipBit = "flip-bit": "One stored value in fifty has a flipped bit.",
    DoubleApply = "double-apply": "One UPDATE in forty is carried out twice.",
    ResurrectAborted = "resurrect-aborted": "One ROLLBACK in three commits.",
    StaleRead = "stale-read": "Reads outside of the writer return what was true up to 300 ms ago.",
    DirtyRead = "dirty-read": "Reads return what other transactions have not committed.",
    LostUpdate = "lost-update": "Transactions of every level lock nothing that they read, as under READ COMMITTED.",
    WriteSkew = "write-skew": "SERIALIZABLE is SNAPSHOT: what is written is checked, what was read is not.",
);

impl Named for Isolation {
    const ALL: &'static [Self] = &[Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Snapshot, Isolation::Serializable];

    fn id(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read-committed",
            Isolation::RepeatableRead => "repeatable-read",
            Isolation::Snapshot => "snapshot",
            Isolation::Serializable => "serializable",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "Nothing uncommitted, aborted or intermediate is read. SQL Server's default.",
            Isolation::RepeatableRead => "Also what was read does not change before the end; rows that were not there may appear.",
            Isolation::Snapshot => "Reads of one instant; of two transactions that write the same row one is refused.",
            Isolation::Serializable => "As if one transaction after the other.",
        }
    }
}

impl Named for Claim {
    const ALL: &'static [Self] = &Claim::ALL;

    fn id(self) -> &'static str {
        Claim::id(self)
    }

    fn meaning(self) -> &'static str {
        self.statement()
    }
}

impl fmt::Display for ServiceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceAccess::NodePort => f.write_str("nodePort"),
            ServiceAccess::LoadBalancer => f.write_str("loadBalancer"),
            ServiceAccess::Address(address) => f.write_str(address),
        }
    }
}

impl fmt::Display for ClusterRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            ClusterRef::Sandbox(name) => ("sandbox", name.as_deref()),
            ClusterRef::Kind(name) => ("kind", name.as_deref()),
            ClusterRef::K3d(name) => ("k3d", name.as_deref()),
            ClusterRef::Context(name) => ("context", Some(name.as_str())),
        };
        match name {
            None => f.write_str(kind),
            Some(name) => write!(f, "{kind}:{name}"),
        }
    }
}

impl FromStr for ClusterRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = match text.split_once(':') {
            None => (text, None),
            Some((kind, name)) => (kind, Some(name.to_owned())),
        };
        let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
        // Names end up as arguments of other programs, those of clusters also as names of folders and containers; a context may be called anything.
        let is_context = |name: &str| {
            !(name.is_empty() || name.len() > 253 || name.starts_with('-') || name.contains(|c: char| c.is_whitespace() || c.is_control()))
        };
        let is_cluster = |name: &str| {
            name.len() <= 63
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        };
        match (kind, name) {
            ("context", Some(name)) if is_context(&name) => Ok(ClusterRef::Context(name)),
            ("sandbox" | "kind" | "k3d", Some(name)) if !is_cluster(&name) => Err(format!(
                "cluster `{shown}` has no name, expected 63 letters, digits, `.`, `_` or `-` at the most, the first a letter or a digit"
            )),
            ("sandbox", name) => Ok(ClusterRef::Sandbox(name)),
            ("kind", name) => Ok(ClusterRef::Kind(name)),
            ("k3d", name) => Ok(ClusterRef::K3d(name)),
            _ => Err(format!("unknown cluster `{shown}`, expected sandbox[:NAME], kind[:NAME], k3d[:NAME] or context:NAME")),
        }
    }
}
