//! `chaos check --checker`: one checker on any history.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::check::{Append, Bank, Check as Finding, Checker, Found, Guarded, Ledger, Order, Own, Queue, Register};
use crate::exchange::{self, Foreign};
use crate::experiment::{self, OwnSql};
use crate::model::{Isolation, Op, OpenOps, Outcome, Scanner, Verdict};
use crate::report::History;
use crate::workload::{ACCOUNTS, OPENING_BALANCE, OPENING_CONTENT};

use super::{CommandResult, Exit, Failure, Output, Streams, write_json};

/// Which checker, and what the append checker holds the history to.
#[derive(Debug, Args)]
pub(super) struct ByChecker {
    /// Judge by this checker alone.
    #[arg(long, value_enum)]
    pub(super) checker: Option<Which>,
    /// The isolation level that the append checker judges against. Left out: the run's, or serializable for a history without a run.
    #[arg(long, value_name = "LEVEL", requires = "checker", value_parser = level)]
    isolation: Option<Isolation>,
    /// The order that the append checker holds the history to beside its dependencies.
    #[arg(long, value_enum, default_value_t, requires = "checker")]
    order: OrderWord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Which {
    /// Acknowledged rows.
    Ledger,
    /// Snapshots of balances.
    Bank,
    /// List-append transactions.
    Append,
    /// Linearizable registers.
    Register,
    /// Items that are taken out once.
    Queue,
    /// The user's own checks, from the folder of a run.
    Sql,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum OrderWord {
    /// What was acknowledged before another op began comes before it.
    #[default]
    RealTime,
    /// The order within each process.
    Process,
    /// None.
    None,
}

fn level(word: &str) -> Result<Isolation, String> {
    experiment::Named::named(word).ok_or_else(|| {
        let words: Vec<&str> = <Isolation as experiment::Named>::ALL.iter().map(|&level| experiment::Named::id(level)).collect();
        format!("expected {}", words.join(", "))
    })
}

impl ByChecker {
    /// Judges and shows.
    pub(super) fn run(&self, which: Which, path: &Path, output: Output, streams: &mut Streams<'_>) -> CommandResult {
        let unreadable = |error: std::io::Error| Failure::unavailable(format!("{}: {error}", path.display()));
        let plan = path.is_dir().then(|| experiment::load(&path.join("experiment.yaml"))).transpose()?;
        let own = plan.as_ref().and_then(|plan| plan.workload.sql.clone());
        if which == Which::Sql && own.is_none() {
            let message =
                format!("{}: holds no statements of the sql workload, expected the folder of a run that had some", path.display());
            return Err(Failure::new(Exit::Usage, message));
        }
        let (path, level) = match plan {
            Some(plan) => (path.join("history.jsonl"), plan.workload.isolation),
            None => (path.to_owned(), Isolation::Serializable),
        };
        let level = self.isolation.unwrap_or(level);
        let judged = if is_ours(&path).map_err(unreadable)? {
            Self::ours(self.checker(which, level, Order::RealTime, own.as_ref()), &path).map_err(unreadable)?
        } else if which == Which::Append {
            let text = std::fs::read_to_string(&path).map_err(unreadable)?;
            let foreign = exchange::read(&text).map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", path.display())))?;
            self.foreign(level, &foreign)
        } else {
            let message = format!("{}: not a history of ours; of other tools only list-append histories can be read", path.display());
            return Err(Failure::new(Exit::Usage, message));
        };
        match output {
            Output::Text => judged.show(streams)?,
            Output::Json => write_json(streams, &judged)?,
        }
        Ok(Exit::from(Outcome::from(judged.verdict)))
    }

    fn checker(&self, which: Which, level: Isolation, order: Order, own: Option<&OwnSql>) -> Guarded {
        let order = match self.order {
            OrderWord::RealTime => order,
            OrderWord::Process => order.min(Order::Process),
            OrderWord::None => Order::None,
        };
        let checker: Box<dyn Checker> = match which {
            Which::Ledger => Box::new(Ledger::new(0)),
            Which::Bank => Box::new(Bank::holding(ACCOUNTS, OPENING_BALANCE)),
            Which::Append => Box::new(Append::new(level, order)),
            Which::Register => Box::new(Register::new(OPENING_CONTENT)),
            Which::Queue => Box::new(Queue::new()),
            Which::Sql => Box::new(Own::new(own.expect("a run without statements was refused"))),
        };
        Guarded::new(checker)
    }

    fn ours(mut checker: Guarded, path: &Path) -> std::io::Result<Statement> {
        let history = History::read(path, |op, begun| checker.op(op, begun))?;
        let mut finding = checker.finish();
        if let Some(damage) = &history.damage {
            finding.verdict = Verdict::Unknown;
            finding.evidence.insert(0, format!("the history cannot be trusted: {damage}"));
        }
        let wanted: Vec<u64> = finding.examples.iter().flat_map(|found| found.proof.iter().copied()).collect();
        let ops = history.lookup(&wanted)?.into_iter().filter_map(|(index, line)| Some((index, Op::parse(&line).ok()?))).collect();
        Ok(Statement::new(finding, &ops))
    }

    fn foreign(&self, level: Isolation, foreign: &Foreign) -> Statement {
        // Without beginnings nothing ran before anything else for certain.
        let order = if foreign.without_beginning > 0 { Order::Process } else { Order::RealTime };
        let mut checker = self.checker(Which::Append, level, order, None);
        let (mut scanner, mut open, mut line) = (Scanner::new(), OpenOps::default(), Vec::new());
        let mut damage = None;
        for op in &foreign.ops {
            line.clear();
            op.write_line(&mut line);
            let Ok(view) = scanner.scan(&line).1 else { continue };
            match open.pair(&view) {
                Ok(begun) => checker.op(&view, begun.as_ref()),
                Err(why) => {
                    damage = Some(why);
                    break;
                }
            }
        }
        let mut finding = checker.finish();
        if let Some(damage) = damage {
            finding.verdict = Verdict::Unknown;
            finding.evidence.insert(0, format!("the history cannot be trusted: {damage}"));
        }
        if foreign.without_beginning > 0 {
            finding
                .evidence
                .push(format!("{} ops have no beginning, so that the order in real time was not checked", foreign.without_beginning));
        }
        finding.evidence.extend(foreign.names.iter().map(|(name, number)| format!("key {number} is {name}")));
        let ops = foreign.ops.iter().map(|op| (op.index, op.clone())).collect();
        Statement::new(finding, &ops)
    }
}

/// Whether a history is in our own form: its first line is one of our ops with every field.
fn is_ours(path: &Path) -> std::io::Result<bool> {
    let mut first = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(std::fs::File::open(path)?), &mut first).or_else(|error| {
        // Bytes that are no text are not ours either, and the reader of foreign histories says so.
        if error.kind() == std::io::ErrorKind::InvalidData { Ok(0) } else { Err(error) }
    })?;
    Ok(Op::parse(first.as_bytes()).is_ok())
}

/// What one checker said, with the ops that prove it.
#[derive(Debug, Serialize)]
struct Statement {
    checker: &'static str,
    verdict: Verdict,
    counts: BTreeMap<&'static str, u64>,
    evidence: Vec<String>,
    examples: Vec<Proved>,
}

#[derive(Debug, Serialize)]
struct Proved {
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<u64>,
    detail: String,
    ops: Vec<Op>,
}

impl Statement {
    fn new(finding: Finding, ops: &BTreeMap<u64, Op>) -> Self {
        let prove = |found: Found| Proved {
            class: found.class,
            key: found.key,
            detail: found.detail,
            ops: found.proof.iter().filter_map(|index| ops.get(index).cloned()).collect(),
        };
        Statement {
            checker: finding.name,
            verdict: finding.verdict,
            counts: finding.counts.into_iter().collect(),
            evidence: finding.evidence,
            examples: finding.examples.into_iter().map(prove).collect(),
        }
    }

    fn show(&self, streams: &mut Streams<'_>) -> std::io::Result<()> {
        writeln!(streams.out, "{}: {}", self.checker, self.verdict)?;
        for sentence in &self.evidence {
            writeln!(streams.out, "  {sentence}")?;
        }
        for example in &self.examples {
            writeln!(streams.out, "\n{}\n  {}", example.class, example.detail)?;
            for op in &example.ops {
                let mut line = Vec::new();
                op.write_line(&mut line);
                write!(streams.out, "    {}", String::from_utf8_lossy(&line))?;
            }
        }
        Ok(())
    }
}
