//! The append checker of chaos beside the crate `adya`, on the same histories.
//!
//! `cargo run --release` from this folder. First what each costs on sound histories of 10⁵ and 10⁶ transactions (10⁷ for ours alone), each in a process of its own,
//! since the peak of a process never falls. Timed is what each does from its own form of an op on: making ops is not counted. The peak holds what each keeps
//! of the history. Then many small histories of an engine that is wrong now and then, judged by both at every level: every difference of verdict is counted.

#[path = "../../shared/appends.rs"]
mod appends;
#[path = "../../shared/peak.rs"]
mod peak;
mod small;
#[path = "../../shared/timed.rs"]
mod timed;

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use adya::history::{Interner, ReadValue, Scalar};
use adya::{History, Opts, Valid, Workload};
use chaos::check::{Append, Order};
use chaos::model::{F, Isolation, Mop, OpType, Value};

use peak::peak_megabytes;
use timed::Timed;

/// The environment variable that tells a child what it measures: `ours 1000000`.
const RUN: &str = "ADYA_COMPARISON";
const COSTS: [(&str, u64); 5] = [("ours", 100_000), ("adya", 100_000), ("ours", 1_000_000), ("adya", 1_000_000), ("ours", 10_000_000)];
const SMALL_HISTORIES: u64 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    if let Ok(run) = std::env::var(RUN) {
        let (whose, transactions) = run.split_once(' ').ok_or("no size")?;
        measure(whose, transactions.parse()?);
        return Ok(());
    }
    for (whose, transactions) in COSTS {
        let status = Command::new(std::env::current_exe()?).env(RUN, format!("{whose} {transactions}")).status()?;
        if !status.success() {
            println!("{whose:<5} {transactions:>9} transactions  did not end: {status}");
        }
    }
    small::compare(SMALL_HISTORIES);
    Ok(())
}

fn measure(whose: &str, transactions: u64) {
    let (verdict, took) = match whose {
        "ours" => {
            let mut ours = Timed::new(Box::new(Append::new(Isolation::Serializable, Order::RealTime)));
            appends::appends(transactions, &mut |kind, process, mops| ours.take(kind, process, F::Txn, Value::Txn(mops)));
            let (check, took) = ours.finish();
            (check.verdict.to_string(), took)
        }
        _ => {
            let mut theirs = Theirs::default();
            appends::appends(transactions, &mut |kind, process, mops| theirs.take(kind, process, &mops));
            let (valid, took) = theirs.finish("strict-serializable");
            (format!("{valid:?}"), took)
        }
    };
    println!("{whose:<5} {transactions:>9} transactions  {:>8.2} s  peak {:>8.1} MB  {verdict}", took.as_secs_f64(), peak_megabytes());
}

/// What `adya` judges: a history in memory.
#[derive(Default)]
pub struct Theirs {
    ops: Vec<adya::history::Op>,
    interner: Interner,
}

impl Theirs {
    pub fn take(&mut self, kind: OpType, process: u64, mops: &[Mop]) {
        let mut id = |number: u64| self.interner.intern(Scalar::Int(number.cast_signed()));
        let value = mops
            .iter()
            .map(|mop| match mop {
                Mop::Append(key, element) => adya::history::Mop::Append { key: id(*key), value: id(*element) },
                Mop::Read(key, None) => adya::history::Mop::Read { key: id(*key), value: ReadValue::Nil },
                Mop::Read(key, Some(list)) => {
                    let key = id(*key);
                    adya::history::Mop::Read { key, value: ReadValue::List(list.iter().map(|element| id(*element)).collect()) }
                }
            })
            .collect();
        let kind = match kind {
            OpType::Invoke => adya::history::OpType::Invoke,
            OpType::Ok => adya::history::OpType::Ok,
            OpType::Fail => adya::history::OpType::Fail,
            OpType::Info => adya::history::OpType::Info,
        };
        let index = self.ops.len() as u64;
        self.ops.push(adya::history::Op { index, kind, process: Some(process.cast_signed()), value, time: Some(index.cast_signed()) });
    }

    pub fn finish(self, model: &str) -> (Valid, Duration) {
        let start = Instant::now();
        let history = History::from_ops(self.ops, self.interner);
        let opts = Opts { models: vec![model.to_owned()], ..Opts::default() };
        let report = adya::check(&history, Workload::ListAppend, &opts);
        (report.valid, start.elapsed())
    }
}
