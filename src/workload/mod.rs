//! Generators and clients.
//!
//! [`Load`] issues ops at their due times to a fixed number of clients, [`Prober`] opens new connections beside it, [`prepare`] and [`final_read`] stand
//! before and after. What an op does is a [`Workload`]; the experiment's mix chooses which.

mod append;
mod bank;
mod client;
mod database;
mod draws;
mod due;
mod engine;
mod engine_clock;
mod final_read;
mod ledger;
mod load;
#[cfg(test)]
mod load_tests;
mod prepare;
mod probe_state;
mod prober;
mod queue;
mod register;
mod schedule;
mod statements;
mod transaction;
mod vitals;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::experiment::{WorkloadKind, WorkloadPlan};
use crate::measure::OpSink;
use crate::model::{F, OpError, OpType, Value};
use crate::sql::{Sent, Session, SqlError};

pub use append::Append;
pub use bank::{ACCOUNTS, Bank, OPENING_BALANCE};
pub use database::{DatabaseOwner, create_database, database_owner, drop_database};
pub use draws::Draws;
pub use engine::{engine_facts, engine_info};
pub use engine_clock::{EngineClock, clock_fact, engine_clock};
pub use final_read::{FinalRead, PAGE_ROWS, final_read};
pub use ledger::{Ledger, Payload, digest_of};
pub use load::{Load, LoadSummary, Progress, WORKLOAD_FS};
pub use prepare::{DATABASE, PrepareError, database_exists, prepare, sentinel_read, sentinel_write};
pub use prober::Prober;
pub use queue::Queue;
pub use register::{OPENING_CONTENT, REGISTERS, Register};
pub use statements::Statements;
pub use vitals::Vitals;

/// How an op ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Ok, fail or info.
    pub kind: OpType,
    /// What the completion carries: the result of an ok, else the argument again.
    pub value: Value,
    /// Of fail and info: why.
    pub error: Option<OpError>,
}

impl Outcome {
    fn ok(value: Value) -> Self {
        Outcome { kind: OpType::Ok, value, error: None }
    }

    fn of_error(error: &SqlError, sent: Sent, value: Value) -> Self {
        let (kind, error) = error.classify(sent);
        Outcome { kind, value, error: Some(error) }
    }
}

/// What the ops of one entry of the mix are.
///
/// An op is drawn first and performed afterwards, so that an op that could not be sent is still known. The same generator draws the same kinds, accounts,
/// registers and statements. Keys, items, lists, elements and contents are handed out densely across all clients, and what a compare-and-set expects was seen by any of them.
pub trait Workload: Send + Sync {
    /// Draws the next op of a client.
    fn draw(&self, draws: &mut Draws, sink: &OpSink) -> (F, Value);

    /// Performs a drawn op within the limit. Never retries.
    fn perform<'a>(&'a self, session: &'a mut Session, value: &'a Value, limit: Duration) -> BoxFuture<'a, Outcome>;
}

/// The workloads of an experiment with their shares.
#[derive(Clone)]
struct Mix {
    /// Upper end of each workload's part of the total.
    shares: Vec<(u64, Arc<dyn Workload>)>,
    total: u64,
}

impl Mix {
    fn new(plan: &WorkloadPlan, seed: u64) -> Self {
        let mut total = 0;
        let mut shares: Vec<(u64, Arc<dyn Workload>)> = Vec::new();
        for (kind, share) in &plan.mix {
            let workload: Arc<dyn Workload> = match kind {
                WorkloadKind::Ledger => Arc::new(Ledger::new(seed)),
                WorkloadKind::Bank => Arc::new(Bank::new(plan.isolation)),
                WorkloadKind::Append => Arc::new(Append::new(plan.isolation)),
                WorkloadKind::Register => Arc::new(Register::new()),
                WorkloadKind::Queue => Arc::new(Queue::new(plan.isolation)),
                WorkloadKind::Sql => match &plan.sql {
                    Some(own) => Arc::new(Statements::new(own, plan.isolation, seed)),
                    None => continue,
                },
            };
            total += u64::from(*share);
            shares.push((total, workload));
        }
        Mix { shares, total }
    }

    fn draw(&self, draws: &mut Draws) -> &dyn Workload {
        let at = draws.below(self.total.max(1));
        let found = self.shares.iter().find(|(end, _)| at < *end).or(self.shares.last());
        found.map(|(_, workload)| &**workload).expect("a validated plan has at least one workload")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::experiment::{Named as _, OwnSql, Pace, Statement};
    use crate::measure::{Clock, Recorder};
    use crate::model::{Isolation, Mop};

    /// An op without what is counted or seen across all clients.
    fn fixed((f, value): &(F, Value)) -> String {
        let rest = match value {
            Value::Register { key, .. } | Value::Cas { key, .. } => key.to_string(),
            Value::Transfer { from, to, amount } => format!("{from} {to} {amount}"),
            Value::Txn(mops) => mops.iter().map(|mop| if matches!(mop, Mop::Append(..)) { 'a' } else { 'r' }).collect(),
            Value::Statement { statement, client, .. } => format!("{statement} {client}"),
            _ => String::new(),
        };
        format!("{f:?} {rest}")
    }

    /// What client 3 draws when others draw so many ops between two of its own.
    fn drawn(seed: u64, between: usize) -> Vec<(F, Value)> {
        let statement = |run: &str| Statement { run: run.to_owned(), weight: 1 };
        let plan = WorkloadPlan {
            mix: WorkloadKind::ALL.iter().map(|kind| (*kind, 1)).collect::<BTreeMap<_, _>>(),
            clients: 2,
            rate: Pace::Closed,
            warm_up: Duration::ZERO,
            op_timeout: Duration::from_secs(1),
            isolation: Isolation::Serializable,
            sql: Some(OwnSql { setup: vec![], statements: vec![statement("SELECT 1"), statement("SELECT 2")], checks: vec![] }),
        };
        let dir = tempfile::tempdir().expect("a temporary folder");
        let recorder = Recorder::create(dir.path(), Clock::start()).expect("a writable folder");
        let (mix, sink) = (Mix::new(&plan, seed), recorder.sink());
        let (mut own, mut other) = (Draws::new(seed, 3), Draws::new(seed, 4));
        let ops = (0..2_000).map(|_| {
            for _ in 0..between {
                mix.draw(&mut other).draw(&mut other, &sink);
            }
            mix.draw(&mut own).draw(&mut own, &sink)
        });
        ops.collect()
    }

    #[test]
    fn a_seed_fixes_the_kinds_and_places_of_a_clients_ops_and_not_what_is_counted() {
        let (alone, among) = (drawn(7, 0), drawn(7, 2));
        let strip = |ops: &[(F, Value)]| ops.iter().map(fixed).collect::<Vec<_>>();
        assert_eq!(strip(&alone), strip(&among));
        assert_ne!(alone, among);
        assert_ne!(strip(&alone), strip(&drawn(8, 0)));
        for f in WORKLOAD_FS {
            assert!(alone.iter().any(|(drawn, _)| *drawn == f), "{f:?} was never drawn");
        }
    }
}
