//! Builds small histories for the tests of the checkers.

use crate::model::{Begun, Digest, ErrorKind, F, Op, OpError, OpType, OpView, OpenOps, ProcessId, Scanner, Value};

/// The digest that the builder gives to a key's payload.
pub(crate) fn digest(key: u64) -> Digest {
    Digest(key.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A history under construction. Each transition takes a millisecond.
#[derive(Debug, Clone, Default)]
pub(crate) struct HistoryBuilder {
    pub(crate) ops: Vec<Op>,
    pub(crate) now_ns: u64,
    next_process: ProcessId,
}

impl HistoryBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A process that no op has used before.
    pub(crate) fn process(&mut self) -> ProcessId {
        self.next_process += 1;
        self.next_process
    }

    pub(crate) fn push(&mut self, kind: OpType, process: ProcessId, f: F, value: Value, error: Option<OpError>) -> u64 {
        self.now_ns += 1_000_000;
        let index = self.ops.len() as u64;
        self.ops.push(Op { index, time_ns: self.now_ns, kind, process, f, value, error, intended_ns: self.now_ns });
        index
    }

    pub(crate) fn begin(&mut self, f: F, key: u64) -> ProcessId {
        let process = self.process();
        self.push(OpType::Invoke, process, f, Value::Row(key, digest(key)), None);
        process
    }

    pub(crate) fn end(&mut self, process: ProcessId, f: F, key: u64, kind: OpType, error: Option<OpError>) {
        self.push(kind, process, f, Value::Row(key, digest(key)), error);
    }

    pub(crate) fn acked(&mut self, key: u64) {
        let process = self.begin(F::LedgerAdd, key);
        self.end(process, F::LedgerAdd, key, OpType::Ok, None);
    }

    pub(crate) fn failed(&mut self, key: u64, number: Option<u32>) {
        let process = self.begin(F::LedgerAdd, key);
        let kind = if number.is_some() { ErrorKind::Server } else { ErrorKind::Refused };
        self.end(process, F::LedgerAdd, key, OpType::Fail, Some(error(kind, number)));
    }

    pub(crate) fn unknown(&mut self, key: u64) {
        let process = self.begin(F::LedgerAdd, key);
        self.end(process, F::LedgerAdd, key, OpType::Info, Some(error(ErrorKind::Reset, None)));
    }

    /// One page, read by a process of its own.
    pub(crate) fn page(&mut self, after: u64, rows: &[(u64, Digest)]) {
        let process = self.process();
        self.push(OpType::Invoke, process, F::LedgerRead, Value::Key(after), None);
        self.push(OpType::Ok, process, F::LedgerRead, Value::Rows(rows.to_vec()), None);
    }

    /// A whole final read in pages of two rows.
    pub(crate) fn final_read(&mut self, keys: &[u64]) {
        let mut after = 0;
        for page in keys.chunks(2) {
            let rows: Vec<_> = page.iter().map(|&key| (key, digest(key))).collect();
            self.page(after, &rows);
            after = *page.last().expect("a chunk is never empty");
        }
        self.page(after, &[]);
    }

    /// Hands every op to `take` as a recorded history would; an end without a beginning comes with `None`.
    pub(crate) fn feed(&self, mut take: impl FnMut(&OpView<'_>, Option<&Begun>)) {
        let mut scanner = Scanner::new();
        let mut open = OpenOps::default();
        for op in &self.ops {
            let mut line = Vec::new();
            op.write_line(&mut line);
            let (_, view) = scanner.scan(&line);
            let view = view.expect("a written op can be read");
            take(&view, open.pair(&view).ok().flatten().as_ref());
        }
    }

    /// The history as a file holds it.
    pub(crate) fn lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for op in &self.ops {
            op.write_line(&mut lines);
        }
        lines
    }
}

pub(crate) fn error(kind: ErrorKind, number: Option<u32>) -> OpError {
    OpError { kind, number, message: String::new() }
}
