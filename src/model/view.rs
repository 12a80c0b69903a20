//! Ops as checkers and measurements see them: what is long is borrowed from the buffers that it was read into.

use super::op::{Digest, ErrorKind, F, OpType, ProcessId};

/// One op-transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpView<'a> {
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
    pub value: ValueView<'a>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueView<'a> {
    /// Nothing to say.
    None,
    /// One ledger row.
    Row(u64, Digest),
    /// The key after which a page of the ledger starts, or an item of the queue.
    Key(u64),
    /// A transfer between accounts.
    Transfer {
        /// The account that pays.
        from: u32,
        /// The account that is paid.
        to: u32,
        /// How much.
        amount: i64,
    },
    /// A page of ledger rows.
    Rows(&'a [(u64, Digest)]),
    /// Every balance, in account order; or the items of the queue.
    Numbers(&'a [i64]),
    /// The micro-operations of a transaction.
    Txn(TxnView<'a>),
    /// A compare-and-set.
    Cas {
        /// The register.
        key: u64,
        /// What it must hold.
        expected: i64,
        /// What it holds afterwards.
        new: i64,
    },
    /// A register's content; `None` where it has not been read.
    Register {
        /// The register.
        key: u64,
        /// What it holds.
        value: Option<i64>,
    },
    /// One of the user's own statements.
    Statement {
        /// Its number in the experiment, from 0.
        statement: u32,
        /// Its key, which no other op has.
        key: u64,
        /// The client that ran it.
        client: u64,
    },
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
