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
/// An op is drawn first and performed afterwards, so that an op that could not be sent is still known. The same generator draws the same sequence but for
/// ledger keys, which are handed out densely across all clients and probes.
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
