//! What the planted defects (`--sabotage`) need of the writer.

use super::conn::{Done, Job};
use super::orders::{Auto, Msg, TxOp};
use super::writer::Writer;
use crate::sabotage::Every;
use crate::translate::Kind;
use crate::value::Value;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// What the planted defects remember.
#[derive(Default)]
pub(super) struct Planted {
    /// Messages that came while a transaction owned the writer: under `dirty-read` they are looked through for reads.
    pub(super) backlog: VecDeque<Msg>,
    /// Acknowledged and not carried out, with the number of the statement after which they are.
    pub(super) late: VecDeque<(u64, Job)>,
    pub(super) statements: u64,
    pub(super) acknowledged: u64,
    pub(super) flips: Every,
    pub(super) repeats: Every,
    pub(super) rollbacks: Every,
    pub(super) delays: Every,
}

/// Under `reorder-commits`, how many later statements come first.
const LATE_STATEMENTS: u64 = 20;
/// Under `ack-then-crash`, after how many acknowledgements.
pub(super) const CRASH_AFTER: u64 = 300;
/// Under `dirty-read`, how often a transaction's thread looks for reads of others: many times between two statements of a client that is close by.
const DIRTY_LOOK: Duration = Duration::from_micros(50);

impl Writer {
    pub(super) fn flip(&mut self, job: &mut Job) {
        let blob = job.values.iter_mut().find_map(|value| if let Value::Blob(bytes) = value { bytes.last_mut() } else { None });
        if let Some(byte) = blob
            && self.planted.flips.once_in(50)
        {
            *byte ^= 1;
        }
    }

    /// Under `reorder-commits`: acknowledges a statement that is carried out later, and carries out what is due.
    pub(super) fn reorder(&mut self, a: Auto) -> Option<Auto> {
        self.planted.statements += 1;
        while self.planted.late.front().is_some_and(|(due, _)| *due <= self.planted.statements) {
            let Some((_, mut job)) = self.planted.late.pop_front() else { break };
            let _ = self.begin().and_then(|()| self.conn.run(&mut job).map_err(|failed| failed.error));
        }
        let delayed = a.job.stmt.kind != Kind::Select && a.job.stmt.columns.is_empty() && self.planted.delays.once_in(8);
        if !delayed {
            return Some(a);
        }
        let due = self.planted.statements + LATE_STATEMENTS;
        self.planted.late.push_back((due, a.job));
        let _ = a.reply.send(Ok(Done { rows: 1, ..Done::default() }));
        None
    }

    /// Waits for the transaction's next statement and answers, meanwhile, the reads of others from inside it.
    pub(super) fn answering_dirty_reads(&mut self, rx: &Receiver<TxOp>) -> Option<TxOp> {
        loop {
            match rx.recv_timeout(DIRTY_LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                op => return op.ok(),
            }
            while let Ok(msg) = self.rx.try_recv() {
                match msg {
                    Msg::Auto(a) if a.job.stmt.kind == Kind::Select => self.read_at_once(*a),
                    other => self.planted.backlog.push_back(other),
                }
            }
        }
    }

    /// Answers a read of somebody else from inside the open transaction.
    fn read_at_once(&mut self, mut read: Auto) {
        let _ = read.reply.send(self.conn.run(&mut read.job));
    }
}
