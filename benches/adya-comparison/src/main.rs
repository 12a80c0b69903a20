//! The append checker of chaos beside the crate `adya`, on the same histories.
//!
//! `cargo run --release` from this folder. First what each costs on sound histories of 10⁵ and 10⁶ transactions (10⁷ for ours alone), each in a process of its own,
//! since the peak of a process never falls. Timed is what each does from its own form of an op on: making ops is not counted. The peak holds what each keeps
//! of the history. Then many small histories of an engine that is wrong now and then, judged by both at every level: every difference of verdict is counted.

mod appends;
mod small;

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use adya::history::{Interner, ReadValue, Scalar};
use adya::{History, Opts, Valid, Workload};
use chaos::check::{Append, Check, Checker, Order};
use chaos::model::{F, Isolation, Mop, Op, OpType, OpenOps, Scanner, Value};

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
            let mut ours = Ours::new(Isolation::Serializable, Order::RealTime);
            appends::appends(transactions, &mut |kind, process, mops| ours.take(kind, process, mops));
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

/// Our checker, fed as from a recorded history.
pub struct Ours {
    checker: Box<Append>,
    scanner: Scanner,
    open: OpenOps,
    line: Vec<u8>,
    index: u64,
    took: Duration,
}

impl Ours {
    pub fn new(level: Isolation, order: Order) -> Self {
        let checker = Box::new(Append::new(level, order));
        Ours { checker, scanner: Scanner::new(), open: OpenOps::default(), line: Vec::new(), index: 0, took: Duration::ZERO }
    }

    pub fn take(&mut self, kind: OpType, process: u64, mops: Vec<Mop>) {
        let process = u32::try_from(process).unwrap_or(0);
        let value = Value::Txn(mops);
        let op = Op { index: self.index, time_ns: self.index, kind, process, f: F::Txn, value, error: None, intended_ns: 0 };
        self.index += 1;
        self.line.clear();
        op.write_line(&mut self.line);
        let view = self.scanner.scan(&self.line).1.expect("a written op can be read");
        let begun = self.open.pair(&view).expect("the history is sound");
        let start = Instant::now();
        self.checker.op(&view, begun.as_ref());
        self.took += start.elapsed();
    }

    pub fn finish(self) -> (Check, Duration) {
        let start = Instant::now();
        let check = self.checker.finish();
        (check, self.took + start.elapsed())
    }
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

/// The peak of this process' resident memory; 0 where the system does not tell.
fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()).unwrap_or(0.0) / 1e3
}
