//! Every key of an experiment file: one table that the reader, the JSON Schema and the examples are derived from.

use super::faults::FAULTS;
use super::names::Named;
use super::own_sql::Returns;
use super::plan::{AccessMode, Cache, Controller, Engine, Sabotage, SandboxSabotage, Tls, Touch};
use crate::model::{Claim, Isolation};

/// A mapping with a fixed set of keys.
pub(super) struct Section {
    /// What it is about.
    pub doc: &'static str,
    /// Its keys in the order in which they are written.
    pub keys: &'static [Key],
}

/// One key of a section.
pub(super) struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What it means, for editors and examples.
    pub doc: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What happens when it is left out.
    pub absent: Absent,
}

/// What happens when a key is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// That is a mistake.
    Mistake,
    /// Nothing is put in its place, or something that depends on the rest of the file.
    Nothing,
    /// This is put in its place.
    Default(&'static str),
}

/// A word and its meaning.
pub(super) struct Word {
    pub id: &'static str,
    pub meaning: &'static str,
}

/// The words of a type of the plan.
pub(super) fn words<T: Named>() -> Vec<Word> {
    T::ALL.iter().map(|choice| Word { id: choice.id(), meaning: choice.meaning() }).collect()
}

/// Refused or allowed: whether two instances at once fail the run.
fn overlap_words() -> Vec<Word> {
    vec![
        Word { id: "refused", meaning: "Two instances on the claim at once fail the run." },
        Word { id: "allowed", meaning: "Two instances on the claim at once are reported, and do not fail the run." },
    ]
}

/// From when the times of a fault count.
fn after_words() -> Vec<Word> {
    vec![
        Word { id: "start", meaning: "From the start of the fault phase." },
        Word { id: "recovered", meaning: "From the recovery of the injection before, whichever fault that was." },
    ]
}

/// What a key holds.
pub(super) enum Kind {
    /// An RFC 1123 label.
    Label,
    /// An RFC 1123 subdomain, the name of an object.
    ObjectName,
    /// A sentence.
    Text,
    /// One printable word, such as an image reference.
    Word,
    /// Where a cluster comes from.
    Cluster,
    /// A whole number within bounds.
    Integer { least: u64, most: u64 },
    /// `true` or `false`.
    Switch,
    /// One of some words.
    Choice(fn() -> Vec<Word>),
    /// Some of some words, without repetition and not none.
    Choices(fn() -> Vec<Word>),
    /// A duration up to a day.
    Duration(Span),
    /// `pod`, or a duration in whole seconds.
    Grace,
    /// How clients reach the Service.
    Service,
    /// `outage > DURATION`.
    Outage,
    /// Operations in a time, more than none.
    Rate,
    /// A rate, `closed`, or a list of steps.
    Pace,
    /// A storage quantity, more than nothing.
    Size,
    /// A mapping.
    Section(&'static Section),
    /// T-SQL.
    Statement,
    /// A list of T-SQL.
    Statements,
    /// A list of mappings.
    Items(&'static Section),
    /// The list of faults.
    Faults,
}

/// Which durations are allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// Also none at all.
    AnyLength,
    /// More than none.
    Positive,
    /// Whole seconds, also none, as Kubernetes counts grace periods.
    WholeSeconds,
}

/// No wait of a run is longer than this.
pub(super) const DURATION_S_MAX: u64 = 86_400;

/// No open loop is scheduled faster than this.
pub(super) const RATE_PER_S_MAX: f64 = 100_000.0;

/// The most steps of a load.
pub(super) const STEPS_MAX: usize = 100;

/// The most items of a list.
pub(super) const ITEMS_MAX: usize = 100;

/// The longest piece of T-SQL.
pub(super) const STATEMENT_CHARS_MAX: usize = 8_000;

/// How many injections a run may have, all faults together.
pub(super) const INJECTIONS_MAX: u64 = 1_000;

const fn key(name: &'static str, doc: &'static str, kind: Kind, absent: Absent) -> Key {
    Key { name, doc, kind, absent }
}

/// The experiment.
pub(super) static EXPERIMENT: Section = Section {
    doc: "An experiment of chaos: what is deployed, the load, the faults, and what must hold.",
    keys: &[
        key(
            "name",
            "The experiment's name: lower-case letters, digits and dashes, since it becomes part of object names.",
            Kind::Label,
            Absent::Mistake,
        ),
        key("description", "What it shows, in a sentence.", Kind::Text, Absent::Nothing),
        key(
            "cluster",
            "Where it runs unless the command line says otherwise: sandbox, kind[:NAME], k3d[:NAME] or context:NAME. Left out: the sandbox, so that nothing real is touched by accident.",
            Kind::Cluster,
            Absent::Nothing,
        ),
        key(
            "sandboxSabotage",
            "A defect that the sandbox is told to have, for tests of the harness itself.",
            Kind::Choice(words::<SandboxSabotage>),
            Absent::Nothing,
        ),
        key(
            "seed",
            "The seed of everything that is random. Left out: one is drawn and recorded.",
            Kind::Integer { least: 0, most: u64::MAX },
            Absent::Nothing,
        ),
        key("target", "What is deployed.", Kind::Section(&TARGET), Absent::Nothing),
        key("workload", "The load.", Kind::Section(&WORKLOAD), Absent::Nothing),
        key("faults", "What is injected, and when.", Kind::Faults, Absent::Mistake),
        key("expect", "What must hold.", Kind::Section(&EXPECT), Absent::Nothing),
        key(
            "abortWhen",
            "When the fault phase is cut short and everything is healed: `outage > 120s`, that long without an acknowledged commit. Left out: never.",
            Kind::Outage,
            Absent::Nothing,
        ),
        key("blastRadius", "What the faults may touch at the most.", Kind::Section(&BLAST_RADIUS), Absent::Nothing),
        key(
            "nodeAccess",
            "With cluster context:NAME: lets faults that need it make a privileged pod on a node, for as long as each takes.",
            Kind::Section(&NODE_ACCESS),
            Absent::Nothing,
        ),
        key(
            "duration",
            "How long the fault phase lasts at the least. Left out: 10 s after the last injection.",
            Kind::Duration(Span::Positive),
            Absent::Nothing,
        ),
        key(
            "coldRead",
            "Whether the database pod is killed once more before the final read, so that the rows come from the claim and not from memory.",
            Kind::Switch,
            Absent::Default("true"),
        ),
    ],
};

static TARGET: Section = Section {
    doc: "What is deployed.",
    keys: &[
        key(
            "engine",
            "The SQL server under test. It has no default: what was tested is never a guess.",
            Kind::Choice(words::<Engine>),
            Absent::Mistake,
        ),
        key("existing", "With the engine `existing`: the target that somebody else deployed.", Kind::Section(&EXISTING), Absent::Nothing),
        key("image", "The image, where it is not the engine's own.", Kind::Word, Absent::Nothing),
        key("controller", "What owns the pod.", Kind::Choice(words::<Controller>), Absent::Default("Deployment")),
        key("storage", "The PersistentVolumeClaim.", Kind::Section(&STORAGE), Absent::Nothing),
        key("grace", "The pod's terminationGracePeriodSeconds.", Kind::Duration(Span::WholeSeconds), Absent::Default("30s")),
        key(
            "readyWithin",
            "How long the target may take to become ready for the first time.",
            Kind::Duration(Span::Positive),
            Absent::Default("5m"),
        ),
        key(
            "service",
            "How clients reach it: nodePort, loadBalancer, or HOST:PORT where something of yours leads to its Service.",
            Kind::Service,
            Absent::Default("nodePort"),
        ),
        key("tls", "Whether connections are encrypted.", Kind::Choice(words::<Tls>), Absent::Default("off")),
        key(
            "ignoreSigterm",
            "Whether the stand-in engine ignores the order to stop, as images of SQL Server 2022 from CU18 on are reported to.",
            Kind::Switch,
            Absent::Default("false"),
        ),
        key(
            "cache",
            "What a SIGKILL leaves of what the stand-in engine has written and not synced.",
            Kind::Choice(words::<Cache>),
            Absent::Default("kernel"),
        ),
        key(
            "sabotage",
            "A defect that the stand-in engine is told to have, for tests of the harness itself.",
            Kind::Choice(words::<Sabotage>),
            Absent::Nothing,
        ),
    ],
};

static EXISTING: Section = Section {
    doc: "A SQL Server that somebody else deployed. A database called chaos is created in it and dropped at the end; nothing else of it is deleted.",
    keys: &[
        key("namespace", "Where it is. With the engine `existing` it must be said.", Kind::ObjectName, Absent::Nothing),
        key("service", "Its Service: the pods behind it are the target.", Kind::ObjectName, Absent::Default("mssql")),
        key("secret", "The Secret with the login's password.", Kind::ObjectName, Absent::Default("mssql-sa")),
        key("secretKey", "The key in that Secret.", Kind::Word, Absent::Default("password")),
        key("user", "The login, which must be allowed to create a database.", Kind::Word, Absent::Default("sa")),
        key(
            "mayTouch",
            "What the faults may touch; a fault that touches anything else is a mistake. Left out: the pod alone.",
            Kind::Choices(words::<Touch>),
            Absent::Nothing,
        ),
    ],
};

static STORAGE: Section = Section {
    doc: "The PersistentVolumeClaim.",
    keys: &[
        key("size", "The requested size, such as 8Gi.", Kind::Size, Absent::Default("8Gi")),
        key("accessMode", "The access mode.", Kind::Choice(words::<AccessMode>), Absent::Default("ReadWriteOnce")),
        key("class", "The storage class. Left out: the cluster's default.", Kind::ObjectName, Absent::Nothing),
    ],
};

static WORKLOAD: Section = Section {
    doc: "The load.",
    keys: &[
        key("mix", "Shares of the workloads, in any unit. Left out: the ledger alone.", Kind::Section(&MIX), Absent::Nothing),
        key(
            "clients",
            "Logical clients, each with a connection of its own.",
            Kind::Integer { least: 1, most: 1_000 },
            Absent::Default("8"),
        ),
        key(
            "rate",
            "Ops of all clients together in an open loop, such as 200/s; latency counts from when an op was due. A list makes steps and ramps. `closed`: each \
             client issues its next op when the last has ended.",
            Kind::Pace,
            Absent::Default("200/s"),
        ),
        key("warmUp", "How long the load runs before the fault phase.", Kind::Duration(Span::AnyLength), Absent::Default("10s")),
        key(
            "isolation",
            "The isolation level of the load's transactions, which the append checker judges against.",
            Kind::Choice(words::<Isolation>),
            Absent::Default("read-committed"),
        ),
        key("opTimeout", "How long one op may take before its outcome is unknown.", Kind::Duration(Span::Positive), Absent::Default("5s")),
        key("sql", "Your own statements, where the mix has sql.", Kind::Section(&SQL), Absent::Nothing),
    ],
};

static SQL: Section = Section {
    doc: "Your own statements for your own schema, in database chaos.",
    keys: &[
        key(
            "setup",
            "Batches that make the schema before the load, in order. They may run more than once: CREATE what is missing, DELETE what an earlier attempt left.",
            Kind::Statements,
            Absent::Nothing,
        ),
        key("statements", "What the clients run.", Kind::Items(&STATEMENT), Absent::Nothing),
        key("checks", "What must hold after everything has healed.", Kind::Items(&CHECK), Absent::Nothing),
    ],
};

static STATEMENT: Section = Section {
    doc: "A statement of the load. It runs in a transaction of its own at `workload.isolation`.",
    keys: &[
        key(
            "run",
            "T-SQL. @key is a BIGINT from 1 that no other statement has, @client the client's number, @value a BIGINT below a million, @text 40 letters; \
             the last two come from the seed and the key.",
            Kind::Statement,
            Absent::Mistake,
        ),
        key("weight", "Its share among the statements, in any unit.", SHARE, Absent::Default("1")),
    ],
};

static CHECK: Section = Section {
    doc: "A query after everything has healed, and what it must return.",
    keys: &[
        key("query", "T-SQL that reads.", Kind::Statement, Absent::Mistake),
        key("returns", "What it must return.", Kind::Choice(words::<Returns>), Absent::Mistake),
    ],
};

/// One item of a list that stands as `workload.rate`.
pub(super) static STEP: Section = Section {
    doc: "A part of the load. The last one goes on to the end.",
    keys: &[
        key("at", "The rate, or that at the start of a ramp.", Kind::Rate, Absent::Mistake),
        key("to", "The rate at the end of a ramp.", Kind::Rate, Absent::Nothing),
        key("for", "How long; of every step but the last.", Kind::Duration(Span::Positive), Absent::Nothing),
    ],
};

const SHARE: Kind = Kind::Integer { least: 1, most: 1_000_000 };

pub(super) static MIX: Section = Section {
    doc: "Shares of the workloads, in any unit.",
    keys: &[
        key("ledger", "Inserts of unique rows with a digest: the durability check.", SHARE, Absent::Nothing),
        key("bank", "Transfers between accounts, and snapshot reads of all balances: the atomicity check.", SHARE, Absent::Nothing),
        key("append", "Transactions of 1 to 8 appends to lists and reads of lists: the isolation check.", SHARE, Absent::Nothing),
        key("register", "Reads, writes and compare-and-sets of registers: the linearizability check.", SHARE, Absent::Nothing),
        key("queue", "Enqueues and dequeues of unique items: each is taken out at most once, and none vanishes.", SHARE, Absent::Nothing),
        key("sql", "Your own statements for your own schema, with checks of your own: the keys `workload.sql`.", SHARE, Absent::Nothing),
    ],
};

/// The keys of a list item of `faults` beside the fault itself.
pub(super) static SCHEDULE: Section = Section {
    doc: "One fault, or the same fault several times.",
    keys: &[
        key(
            "at",
            "When, from the start of the fault phase. Left out: 10 s, or 30 s after the last injection of the faults above.",
            Kind::Duration(Span::AnyLength),
            Absent::Nothing,
        ),
        key(
            "after",
            "What `at` and `every` count from: the start of the fault phase, or the recovery of the injection before.",
            Kind::Choice(after_words),
            Absent::Default("start"),
        ),
        key(
            "jitter",
            "Each injection is due up to this much later, by a draw from the seed: the same seed gives the same times.",
            Kind::Duration(Span::AnyLength),
            Absent::Default("0s"),
        ),
        key("repeat", "How often it is injected.", Kind::Integer { least: 1, most: INJECTIONS_MAX }, Absent::Default("1")),
        key(
            "every",
            "How long after one injection the next is due. It waits for the recovery of the one before it.",
            Kind::Duration(Span::Positive),
            Absent::Nothing,
        ),
        key(
            "recoverWithin",
            "How long recovery is awaited before the run goes on without it.",
            Kind::Duration(Span::Positive),
            Absent::Default("2m"),
        ),
    ],
};

static EXPECT: Section = Section {
    doc: "What must hold.",
    keys: &[
        key("lostCommits", "How many acknowledged commits may be lost.", Kind::Integer { least: 0, most: u64::MAX }, Absent::Default("0")),
        key("reconnect", "How soon clients must be back.", Kind::Section(&RECONNECT), Absent::Nothing),
        key(
            "claims",
            "The claims that decide the verdict; others are reported, and do not, but for HA-6 where commits are lost. Left out: all that the faults can decide.",
            Kind::Choices(words::<Claim>),
            Absent::Nothing,
        ),
        key("overlap", "Whether two instances on the claim at once fail the run.", Kind::Choice(overlap_words), Absent::Default("refused")),
    ],
};

static RECONNECT: Section = Section {
    doc: "How soon clients must be back.",
    keys: &[
        key("p99", "The 99th percentile of all outages.", Kind::Duration(Span::Positive), Absent::Nothing),
        key("max", "The longest outage.", Kind::Duration(Span::Positive), Absent::Default("60s")),
    ],
};

static BLAST_RADIUS: Section = Section {
    doc: "What the faults may touch at the most. A fault that would reach further is refused, and the run is inconclusive.",
    keys: &[
        key(
            "maxUnavailableNodes",
            "How many nodes may be cordoned or not ready at once, those that others made so included.",
            Kind::Integer { least: 1, most: 1_000 },
            Absent::Default("1"),
        ),
        key(
            "controlPlaneNode",
            "The control-plane node that a fault may hit all the same. Left out: none may be hit.",
            Kind::ObjectName,
            Absent::Nothing,
        ),
    ],
};

static NODE_ACCESS: Section = Section {
    doc: "How nodes are reached that are not containers of this machine.",
    keys: &[key(
        "image",
        "The pod's image: any with a `chroot`, such as busybox, which the nodes have or can pull.",
        Kind::Word,
        Absent::Nothing,
    )],
};

/// Where a key of that name belongs, for those who put it into the wrong section.
pub(super) fn sections_with(name: &str) -> Vec<String> {
    fn search(section: &Section, path: &str, name: &str, found: &mut Vec<String>) {
        for key in section.keys {
            if key.name == name {
                found.push(if path.is_empty() { "the top level".to_owned() } else { format!("`{path}`") });
            }
            let inner_path = super::yaml::join(path, key.name);
            match key.kind {
                Kind::Section(inner) => search(inner, &inner_path, name, found),
                Kind::Items(inner) => search(inner, &format!("{inner_path}[]"), name, found),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    search(&EXPERIMENT, "", name, &mut found);
    if SCHEDULE.keys.iter().any(|key| key.name == name) || FAULTS.iter().any(|fault| fault.kind == name) {
        found.push("an item of `faults`".to_owned());
    }
    found
}
