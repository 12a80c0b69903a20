//! Ops as checkers and measurements see them: what is long is borrowed from the buffers that it was read into.

use super::op::{Digest, ErrorKind, F, OpType, ProcessId, ValueOf};

/// One op-transition.
pub type OpView<'a> = OpOf<ValueView<'a>>;

/// One op-transition, whatever holds its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpOf<V> {
    /// Dense, from 0, the order of the history.
    pub index: u64,
    /// When the transition was seen, in ns since the run's start. Of an invoke: when the request was sent.
    pub time_ns: u64,
    /// Which transition.
    pub kind: OpType,
    /// Whose op.
    pub process: ProcessId,
    /// What op.
    pub f: F,
    /// Its argument or its result.
    pub value: V,
    /// Of fail and info: why. The message is left out.
    pub error: Option<ErrorView>,
    /// When the op was due, in ns since the run's start.
    pub intended_ns: u64,
}

/// What a checker needs of an op's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorView {
    /// What kind of error was seen.
    pub kind: ErrorKind,
    /// The server's error number, where it answered.
    pub number: Option<u32>,
}

/// An op's value, borrowed where it is long.
pub type ValueView<'a> = ValueOf<&'a [(u64, Digest)], &'a [i64], TxnView<'a>>;

impl<V> OpOf<V> {
    /// The same transition with its value held by something else.
    #[inline]
    pub(super) fn map<W>(self, value: impl FnOnce(V) -> W) -> OpOf<W> {
        OpOf {
            index: self.index,
            time_ns: self.time_ns,
            kind: self.kind,
            process: self.process,
            f: self.f,
            value: value(self.value),
            error: self.error,
            intended_ns: self.intended_ns,
        }
    }
}

impl OpView<'_> {
    /// Whether it is the acknowledgement of a commit of the load that wrote something.
    pub fn acknowledges_commit(&self) -> bool {
        self.kind == OpType::Ok
            && match self.f {
                F::LedgerAdd | F::BankTransfer | F::RegisterWrite | F::RegisterCas | F::Enqueue | F::Dequeue | F::Sql => true,
                F::Txn => matches!(self.value, ValueView::Txn(txn) if txn.mops().any(|mop| matches!(mop, MopView::Append(..)))),
                _ => false,
            }
    }
}

/// A transaction whose lists lie one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnView<'a> {
    pub(super) mops: &'a [FlatMop],
    pub(super) elements: &'a [u64],
}

impl<'a> TxnView<'a> {
    /// Its micro-operations, in order.
    pub fn mops(self) -> impl Iterator<Item = MopView<'a>> + Clone {
        let mut rest = self.elements;
        self.mops.iter().map(move |mop| match *mop {
            FlatMop::Append(key, element) => MopView::Append(key, element),
            FlatMop::Unread(key) => MopView::Read(key, None),
            FlatMop::Read(key, length) => {
                let (list, after) = rest.split_at(length);
                rest = after;
                MopView::Read(key, Some(list))
            }
        })
    }
}

/// One micro-operation, its list borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MopView<'a> {
    /// Appends an element to the key's list.
    Append(u64, u64),
    /// Reads the key's list; `None` before it was read.
    Read(u64, Option<&'a [u64]>),
}

/// A micro-operation with the length of its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlatMop {
    Append(u64, u64),
    Unread(u64),
    Read(u64, usize),
}
