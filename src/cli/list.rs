use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::experiment::catalogue::{self, Entry};

use super::{CommandResult, Exit, Output, Streams, write_json};

/// Lists what an experiment can be made of.
#[derive(Debug, Args)]
pub(super) struct List {
    /// What to list; everything when left out.
    #[arg(value_enum)]
    what: Option<What>,
    /// The form of the output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// What can be injected.
    Faults,
    /// What the clients do.
    Workloads,
    /// What judges the history.
    Checkers,
    /// What can be under test.
    Engines,
}

/// The checkers that judge every run; none is chosen by the experiment.
const CHECKERS: [Entry; 8] = [
    Entry {
        name: "ledger",
        about: "Every acknowledged row is there once with the right content, and no other.",
        reach: "lost, unexpected, resurrected, duplicated and altered rows",
    },
    Entry {
        name: "bank",
        about: "The total never changes, no balance is negative, no account is missing. Runs where the mix has bank.",
        reach: "torn transactions and non-snapshot reads",
    },
    Entry {
        name: "append",
        about: "No anomaly that the isolation level forbids: G0, G1a, G1b, G1c, G-single, G2-item, lost update, dirty update, stale read and their kin. Runs where the mix has append.",
        reach: "every isolation level up to strict serializability, with a shortest cycle as counter-example",
    },
    Entry {
        name: "register",
        about: "Every register is linearizable. Runs where the mix has register.",
        reach: "stale reads and lost writes, with the smallest prefix that fails",
    },
    Entry {
        name: "queue",
        about: "Every acknowledged item was taken out at most once, and is still there where it was not. Runs where the mix has queue.",
        reach: "lost, duplicated, resurrected and unexpected items",
    },
    Entry {
        name: "sql",
        about: "Your own checks hold: every acknowledged key is there once, or a query returns nothing. Runs where the mix has sql.",
        reach: "lost, duplicated, resurrected and unexpected keys of your own tables, violated invariants",
    },
    Entry {
        name: "single-writer",
        about: "No two containers of the target ran on the claim at once.",
        reach: "split brain that looks like a perfect recovery",
    },
    Entry {
        name: "volume",
        about: "Claim, volume and handle stay the same, and the row written before the first fault is still there.",
        reach: "a database that came back empty, or on another volume",
    },
];

#[derive(Serialize)]
struct Listed {
    #[serde(skip_serializing_if = "Option::is_none")]
    faults: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workloads: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkers: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engines: Option<Vec<Entry>>,
}

impl List {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let wanted = |what| self.what.is_none_or(|only| only == what);
        let listed = Listed {
            faults: wanted(What::Faults).then(catalogue::faults),
            workloads: wanted(What::Workloads).then(catalogue::workloads),
            checkers: wanted(What::Checkers).then(|| CHECKERS.to_vec()),
            engines: wanted(What::Engines).then(catalogue::engines),
        };
        if self.output == Output::Json {
            write_json(streams, &listed)?;
            return Ok(Exit::Pass);
        }
        let sections =
            [("faults", listed.faults), ("workloads", listed.workloads), ("checkers", listed.checkers), ("engines", listed.engines)];
        for (title, entries) in sections {
            let Some(entries) = entries else { continue };
            writeln!(streams.out, "{title}:")?;
            for entry in entries {
                writeln!(streams.out, "  {:<16} {}", entry.name, entry.about)?;
                writeln!(streams.out, "  {:<16} reach: {}", "", entry.reach)?;
            }
        }
        Ok(Exit::Pass)
    }
}
