//! A checker that is fed as from a recorded history, and how long it was at work.

use std::time::{Duration, Instant};

use chaos::check::{Check, Checker};
use chaos::model::{F, Op, OpType, OpenOps, Scanner, Value};

/// Timed is what the checker does; making and scanning a line are not.
pub struct Timed {
    checker: Box<dyn Checker>,
    scanner: Scanner,
    open: OpenOps,
    line: Vec<u8>,
    index: u64,
    took: Duration,
}

impl Timed {
    pub fn new(checker: Box<dyn Checker>) -> Self {
        Timed { checker, scanner: Scanner::new(), open: OpenOps::default(), line: Vec::new(), index: 0, took: Duration::ZERO }
    }

    /// Takes one more op of the history.
    pub fn take(&mut self, kind: OpType, process: u64, f: F, value: Value) {
        let process = u32::try_from(process).unwrap_or(0);
        let op = Op { index: self.index, time_ns: self.index, kind, process, f, value, error: None, intended_ns: 0 };
        self.index += 1;
        self.line.clear();
        op.write_line(&mut self.line);
        let view = self.scanner.scan(&self.line).1.expect("a written op can be read");
        let begun = self.open.pair(&view).expect("the history is sound");
        let start = Instant::now();
        self.checker.op(&view, begun.as_ref());
        self.took += start.elapsed();
    }

    /// What it found, and how long it took from the first op on.
    pub fn finish(self) -> (Check, Duration) {
        let start = Instant::now();
        let check = self.checker.finish();
        (check, self.took + start.elapsed())
    }
}
