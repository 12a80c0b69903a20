//! What the checkers of lists and registers cost, in time and memory: 10⁵, 10⁶ and 10⁷ ops each, which shows whether the cost is linear.
//!
//! `cargo bench --bench consistency_check` makes histories op by op and times what the checkers do with them: taking ops in, and judging at the end. Making
//! and scanning a line are not counted. Sizes can be given as arguments. Each run is a process of its own, since the peak of a process never falls. The bound
//! for registers: a million ops under 5 s.

use std::error::Error;
use std::io::Write;
use std::process::Command;

use chaos::check::{Append, Checker, Order, Register};
use chaos::model::{F, Isolation, OpType, Value};
use chaos::workload::Draws;

#[path = "shared/appends.rs"]
mod appends;
#[path = "shared/peak.rs"]
mod peak;
#[path = "shared/timed.rs"]
mod timed;
use appends::{CLIENTS, appends};
use peak::peak_megabytes;
use timed::Timed;

/// The environment variable that tells a child what it measures: `append 1000000`.
const RUN: &str = "CONSISTENCY_CHECK";
const REGISTERS: u64 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    if let Ok(run) = std::env::var(RUN) {
        let (workload, ops) = run.split_once(' ').ok_or("no size")?;
        return measure(workload, ops.parse()?, &mut out);
    }
    let mut sizes: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000, 10_000_000];
    }
    for workload in ["append", "register"] {
        for ops in &sizes {
            let status = Command::new(std::env::current_exe()?).env(RUN, format!("{workload} {ops}")).status()?;
            if !status.success() {
                return Err("a measurement failed".into());
            }
        }
    }
    Ok(())
}

fn measure(workload: &str, ops: u64, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let checker: Box<dyn Checker> = match workload {
        "append" => Box::new(Append::new(Isolation::Serializable, Order::RealTime)),
        _ => Box::new(Register::new(0)),
    };
    let mut timed = Timed::new(checker);
    if workload == "append" {
        appends(ops, &mut |kind, process, mops| timed.take(kind, process, F::Txn, Value::Txn(mops)));
    } else {
        registers(ops, &mut timed);
    }
    let (check, took) = timed.finish();
    writeln!(out, "{workload:<9}{ops:>10} ops  {:>7.2} s  peak {:>7.1} MB  {}", took.as_secs_f64(), peak_megabytes(), check.verdict)?;
    Ok(())
}

fn registers(ops: u64, timed: &mut Timed) {
    let mut draws = Draws::new(1, 2);
    let mut contents = [0_i64; REGISTERS as usize];
    let mut written = 0;
    for _ in 0..ops / CLIENTS {
        let mut results = Vec::new();
        for _ in 0..CLIENTS {
            let key = draws.below(REGISTERS);
            let content = &mut contents[usize::try_from(key).unwrap_or(0)];
            written += 1;
            results.push(match draws.below(4) {
                0 | 1 => (F::RegisterRead, Value::Register { key, value: None }, Value::Register { key, value: Some(*content) }),
                2 => {
                    *content = written;
                    (F::RegisterWrite, Value::Register { key, value: Some(written) }, Value::Register { key, value: Some(written) })
                }
                _ => {
                    let set = Value::Cas { key, expected: std::mem::replace(content, written), new: written };
                    (F::RegisterCas, set.clone(), set)
                }
            });
        }
        for (client, (f, asked, _)) in (0..).zip(&results) {
            timed.take(OpType::Invoke, client, *f, asked.clone());
        }
        for (client, (f, _, done)) in (0..).zip(results) {
            timed.take(OpType::Ok, client, f, done);
        }
    }
}
