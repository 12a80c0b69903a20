//! What can be put into an experiment, for `chaos list` and the examples of `chaos init`.

use super::faults::FAULTS;
use super::form::{Absent, EXPERIMENT, Key, Kind, Section};
use super::names::Named;
use super::plan::{Engine, WorkloadKind};

/// Something that an experiment can name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// The word.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// What it can show, and what it cannot.
    pub reach: &'static str,
}

/// Every fault.
pub fn faults() -> Vec<Entry> {
    FAULTS.iter().map(|fault| Entry { name: fault.kind, about: fault.doc, reach: fault.reach }).collect()
}

/// Every workload.
pub fn workloads() -> Vec<Entry> {
    WorkloadKind::ALL
        .iter()
        .map(|kind| Entry {
            name: kind.id(),
            about: kind.meaning(),
            reach: match kind {
                WorkloadKind::Ledger => "lost, altered, doubled, resurrected and unexpected rows",
                WorkloadKind::Bank => "torn transactions: a total that changes, a negative balance, a missing account",
                WorkloadKind::Append => "dirty, aborted, intermediate and stale reads, lost updates, write skew and every other cycle",
                WorkloadKind::Register => "stale reads and writes that are undone, also across a failover",
                WorkloadKind::Sql => {
                    "lost, doubled, resurrected and unexpected keys of your own tables, and whatever your own queries tell"
                }
                WorkloadKind::Queue => "lost, doubled, resurrected and unexpected items, also where a transaction was undone or done twice",
            },
        })
        .collect()
}

/// Every engine.
pub fn engines() -> Vec<Entry> {
    Engine::ALL
        .iter()
        .map(|engine| Entry {
            name: engine.id(),
            about: engine.meaning(),
            reach: match engine {
                Engine::AzureSqlEdge | Engine::MssqlServer | Engine::Existing => {
                    "the engine itself, its recovery and its files on the claim"
                }
                Engine::TdsSqlite => "the cluster, the deployment and the harness; not SQL Server",
            },
        })
        .collect()
}

/// An experiment to start from: every key with its meaning, those that have a default commented out with it.
/// `None` when there is no such fault.
pub fn example(kind: &str) -> Option<String> {
    let fault = FAULTS.iter().find(|fault| fault.kind == kind)?;
    let mut text = String::from(
        "# An experiment to start from. Lines that are commented out show the value in force when they are left out.\n\
         # `chaos validate FILE` checks it, `chaos plan FILE` tells what it would touch, `chaos run FILE` runs it.\n",
    );
    section(&EXPERIMENT, 0, &Example { fault }, &mut text);
    Some(text)
}

/// What the example says where the table has no default.
struct Example {
    fault: &'static super::faults::FaultForm,
}

impl Example {
    fn value(&self, key: &Key) -> Option<String> {
        Some(match key.name {
            "name" => self.fault.kind.to_owned(),
            "description" => format!("What the clients see of a {}.", self.fault.kind),
            "engine" => Engine::TdsSqlite.id().to_owned(),
            _ => return None,
        })
    }
}

fn section(section_: &Section, indent: usize, example: &Example, to: &mut String) {
    let margin = " ".repeat(indent);
    for key in section_.keys {
        comment(key.doc, &margin, to);
        if let Kind::Choice(words) = key.kind {
            for word in words() {
                comment(&format!("  {}: {}", word.id, word.meaning), &margin, to);
            }
        }
        match (&key.kind, key.absent) {
            (Kind::Faults, _) => faults_example(example, to),
            (Kind::Section(inner), _) if has_live_keys(inner, example) => {
                to.push_str(&format!("{margin}{}:\n", key.name));
                section(inner, indent + 2, example, to);
            }
            (Kind::Section(inner), _) => {
                to.push_str(&format!("{margin}# {}:\n", key.name));
                commented(inner, indent, 2, to);
            }
            (_, Absent::Default(default)) => {
                to.push_str(&format!("{margin}# {}: {default}\n", key.name));
            }
            (_, _) => match example.value(key) {
                Some(value) => to.push_str(&format!("{margin}{}: {value}\n", key.name)),
                None => to.push_str(&format!("{margin}# {}:\n", key.name)),
            },
        }
    }
}

fn has_live_keys(section: &Section, example: &Example) -> bool {
    section.keys.iter().any(|key| example.value(key).is_some())
}

/// A section of which everything is left out.
fn commented(section: &Section, margin: usize, indent: usize, to: &mut String) {
    let start = format!("{}#{}", " ".repeat(margin), " ".repeat(indent + 1));
    for key in section.keys {
        match (&key.kind, key.absent) {
            (Kind::Section(inner), _) => {
                to.push_str(&format!("{start}{}:  # {}\n", key.name, key.doc));
                commented(inner, margin, indent + 2, to);
            }
            (_, Absent::Default(default)) => {
                to.push_str(&format!("{start}{}: {default}  # {}\n", key.name, key.doc));
            }
            (_, _) => to.push_str(&format!("{start}{}:  # {}\n", key.name, key.doc)),
        }
    }
}

fn faults_example(example: &Example, to: &mut String) {
    let fault = example.fault;
    to.push_str("faults:\n");
    comment(fault.doc, "  ", to);
    comment(&format!("Reach: {}.", fault.reach), "  ", to);
    to.push_str(&format!("  - {}:\n", fault.kind));
    for key in fault.parameters.keys {
        comment(key.doc, "      ", to);
        if let Absent::Default(default) = key.absent {
            to.push_str(&format!("      {}: {default}\n", key.name));
        }
    }
    for key in super::form::SCHEDULE.keys {
        comment(key.doc, "    ", to);
        match key.name {
            "at" => to.push_str("    at: 10s\n"),
            "repeat" => to.push_str("    repeat: 3\n"),
            "every" => to.push_str("    every: 30s\n"),
            _ => {
                if let Absent::Default(default) = key.absent {
                    to.push_str(&format!("    # {}: {default}\n", key.name));
                }
            }
        }
    }
}

fn comment(text: &str, margin: &str, to: &mut String) {
    to.push_str(&format!("{margin}# {text}\n"));
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test ends where there is no example")]

    use super::*;
    use crate::experiment::parse;

    #[test]
    fn an_example_is_an_experiment() {
        for fault in faults() {
            let text = example(fault.name).unwrap();
            let plan = parse("example.yaml", &text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"));
            assert_eq!(plan.faults.len(), 3);
            assert_eq!(plan.faults[0].spec.kind(), fault.name);
        }
        assert_eq!(example("node-melt"), None);
    }

    #[test]
    fn an_example_shows_every_key() {
        fn names(section: &Section, into: &mut Vec<&'static str>) {
            for key in section.keys {
                into.push(key.name);
                if let Kind::Section(inner) = key.kind {
                    names(inner, into);
                }
            }
        }
        let mut all = Vec::new();
        names(&EXPERIMENT, &mut all);
        names(&super::super::form::SCHEDULE, &mut all);
        let text = example("pod-kill").unwrap();
        for name in all {
            assert!(text.contains(&format!("{name}:")), "{name} is not in\n{text}");
        }
    }
}
