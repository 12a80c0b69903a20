//! Reading a history fast. A history of ten million ops has twenty million lines, and a general JSON parser with an untagged value spends more time on
//! each of them than the check has. The scanner reads the one spelling that [`Op::write_line`] produces without allocating; any other spelling of
//! the same JSON goes through [`Op::parse`], so that a history edited by hand or by another tool means the same.

use super::op::{Digest, ErrorKind, F, Mop, Op, OpType, ParseOpError, ProcessId, Value};

/// One op-transition that borrows what is long from the scanner.
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
    mops: &'a [FlatMop],
    elements: &'a [u64],
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
enum FlatMop {
    Append(u64, u64),
    Unread(u64),
    Read(u64, usize),
}

/// The buffers behind a [`TxnView`].
#[derive(Debug, Default)]
struct FlatTxn {
    mops: Vec<FlatMop>,
    elements: Vec<u64>,
}

impl FlatTxn {
    fn clear(&mut self) {
        self.mops.clear();
        self.elements.clear();
    }

    fn keep(&mut self, mops: &[Mop]) {
        self.clear();
        for mop in mops {
            self.mops.push(match mop {
                Mop::Append(key, element) => FlatMop::Append(*key, *element),
                Mop::Read(key, None) => FlatMop::Unread(*key),
                Mop::Read(key, Some(list)) => {
                    self.elements.extend_from_slice(list);
                    FlatMop::Read(*key, list.len())
                }
            });
        }
    }
}

/// Reads lines; owns the buffers that the views borrow.
#[derive(Debug, Default)]
pub struct Scanner {
    rows: Vec<(u64, Digest)>,
    numbers: Vec<i64>,
    txn: FlatTxn,
}

/// A value whose long part lies in the scanner's buffers.
enum Short {
    None,
    Row(u64, Digest),
    Key(u64),
    Transfer(u32, u32, i64),
    Rows,
    Numbers,
    Txn,
    Cas(u64, i64, i64),
    Register(u64, Option<i64>),
    Statement(u32, u64, u64),
}

struct Head {
    index: u64,
    time_ns: u64,
    kind: OpType,
    process: ProcessId,
    f: F,
    value: Short,
    error: Option<ErrorView>,
    intended_ns: u64,
}

impl Scanner {
    /// A scanner with empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the line that `bytes` begin with and tells how many bytes it took, its newline included. A last line without a newline is read too.
    pub fn scan(&mut self, bytes: &[u8]) -> (usize, Result<OpView<'_>, ParseOpError>) {
        let mut cursor = Cursor { bytes, at: 0 };
        if let Some(head) = self.canonical(&mut cursor) {
            let taken = cursor.at;
            return (taken, Ok(self.view(head)));
        }
        let end = bytes.iter().position(|&b| b == b'\n');
        let line = &bytes[..end.unwrap_or(bytes.len())];
        let taken = end.map_or(bytes.len(), |at| at + 1);
        match Op::parse(line) {
            Ok(op) => {
                let head = self.keep(op);
                (taken, Ok(self.view(head)))
            }
            Err(error) => (taken, Err(error)),
        }
    }

    fn view(&self, head: Head) -> OpView<'_> {
        OpView {
            index: head.index,
            time_ns: head.time_ns,
            kind: head.kind,
            process: head.process,
            f: head.f,
            value: match head.value {
                Short::None => ValueView::None,
                Short::Row(key, digest) => ValueView::Row(key, digest),
                Short::Key(key) => ValueView::Key(key),
                Short::Transfer(from, to, amount) => ValueView::Transfer { from, to, amount },
                Short::Rows => ValueView::Rows(&self.rows),
                Short::Numbers => ValueView::Numbers(&self.numbers),
                Short::Txn => ValueView::Txn(TxnView { mops: &self.txn.mops, elements: &self.txn.elements }),
                Short::Cas(key, expected, new) => ValueView::Cas { key, expected, new },
                Short::Register(key, value) => ValueView::Register { key, value },
                Short::Statement(statement, key, client) => ValueView::Statement { statement, key, client },
            },
            error: head.error,
            intended_ns: head.intended_ns,
        }
    }

    /// Moves an op's long parts into the buffers.
    fn keep(&mut self, op: Op) -> Head {
        let value = match op.value {
            Value::None => Short::None,
            Value::Row(key, digest) => Short::Row(key, digest),
            Value::Key(key) => Short::Key(key),
            Value::Transfer { from, to, amount } => Short::Transfer(from, to, amount),
            // An empty list is a page to the untagged parser, whatever the op.
            Value::Rows(rows) if rows.is_empty() && matches!(op.f, F::BankRead | F::QueueFinal | F::SqlCheck) => {
                self.numbers.clear();
                Short::Numbers
            }
            Value::Rows(rows) if rows.is_empty() && matches!(op.f, F::Txn | F::TxnFinal) => {
                self.txn.clear();
                Short::Txn
            }
            Value::Rows(rows) => {
                self.rows = rows;
                Short::Rows
            }
            Value::Numbers(numbers) => {
                self.numbers = numbers;
                Short::Numbers
            }
            Value::Txn(mops) => {
                self.txn.keep(&mops);
                Short::Txn
            }
            Value::Cas { key, expected, new } => Short::Cas(key, expected, new),
            Value::Register { key, value } => Short::Register(key, value),
            Value::Statement { statement, key, client } => Short::Statement(statement, key, client),
        };
        Head {
            index: op.index,
            time_ns: op.time_ns,
            kind: op.kind,
            process: op.process,
            f: op.f,
            value,
            error: op.error.map(|error| ErrorView { kind: error.kind, number: error.number }),
            intended_ns: op.intended_ns,
        }
    }

    fn canonical(&mut self, cursor: &mut Cursor<'_>) -> Option<Head> {
        cursor.literal(b"{\"index\":")?;
        let index = cursor.number()?;
        cursor.literal(b",\"time\":")?;
        let time_ns = cursor.number()?;
        cursor.literal(b",\"type\":\"")?;
        let kind = match cursor.word()? {
            b"invoke" => OpType::Invoke,
            b"ok" => OpType::Ok,
            b"fail" => OpType::Fail,
            b"info" => OpType::Info,
            _ => return None,
        };
        cursor.literal(b",\"process\":")?;
        let process = u32::try_from(cursor.number()?).ok()?;
        cursor.literal(b",\"f\":\"")?;
        let f = F::named(cursor.word()?)?;
        cursor.literal(b",\"value\":")?;
        let value = self.value(cursor, f)?;
        let error = if cursor.literal(b",\"error\":").is_some() { Some(cursor.error()?) } else { None };
        cursor.literal(b",\"intended\":")?;
        let intended_ns = cursor.number()?;
        cursor.literal(b"}")?;
        if cursor.at < cursor.bytes.len() {
            cursor.literal(b"\n")?;
        }
        Some(Head { index, time_ns, kind, process, f, value, error, intended_ns })
    }

    fn value(&mut self, cursor: &mut Cursor<'_>, f: F) -> Option<Short> {
        match cursor.peek()? {
            b'n' => cursor.literal(b"null").map(|()| Short::None),
            b'0'..=b'9' => cursor.number().map(Short::Key),
            b'{' if cursor.literal(b"{\"key\":").is_some() => cursor.register(),
            b'{' if cursor.literal(b"{\"statement\":").is_some() => cursor.statement(),
            b'{' => {
                cursor.literal(b"{\"from\":")?;
                let from = u32::try_from(cursor.number()?).ok()?;
                cursor.literal(b",\"to\":")?;
                let to = u32::try_from(cursor.number()?).ok()?;
                cursor.literal(b",\"amount\":")?;
                let amount = cursor.signed()?;
                cursor.literal(b"}")?;
                Some(Short::Transfer(from, to, amount))
            }
            b'[' if matches!(f, F::BankRead | F::QueueFinal | F::SqlCheck) => self.numbers(cursor),
            b'[' if f == F::LedgerRead => self.rows(cursor),
            b'[' if matches!(f, F::Txn | F::TxnFinal) => self.txn(cursor),
            b'[' => cursor.row().map(|(key, digest)| Short::Row(key, digest)),
            _ => None,
        }
    }

    fn rows(&mut self, cursor: &mut Cursor<'_>) -> Option<Short> {
        self.rows.clear();
        cursor.literal(b"[")?;
        if cursor.literal(b"]").is_some() {
            return Some(Short::Rows);
        }
        loop {
            self.rows.push(cursor.row()?);
            if cursor.literal(b",").is_none() {
                cursor.literal(b"]")?;
                return Some(Short::Rows);
            }
        }
    }

    fn txn(&mut self, cursor: &mut Cursor<'_>) -> Option<Short> {
        self.txn.clear();
        cursor.literal(b"[")?;
        if cursor.literal(b"]").is_some() {
            return Some(Short::Txn);
        }
        loop {
            self.mop(cursor)?;
            if cursor.literal(b",").is_none() {
                cursor.literal(b"]")?;
                return Some(Short::Txn);
            }
        }
    }

    fn mop(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        if cursor.literal(b"[\"append\",").is_some() {
            let key = cursor.number()?;
            cursor.literal(b",")?;
            self.txn.mops.push(FlatMop::Append(key, cursor.number()?));
            return cursor.literal(b"]");
        }
        cursor.literal(b"[\"r\",")?;
        let key = cursor.number()?;
        cursor.literal(b",")?;
        if cursor.literal(b"null]").is_some() {
            self.txn.mops.push(FlatMop::Unread(key));
            return Some(());
        }
        cursor.literal(b"[")?;
        let before = self.txn.elements.len();
        if cursor.literal(b"]").is_none() {
            loop {
                self.txn.elements.push(cursor.number()?);
                if cursor.literal(b",").is_none() {
                    cursor.literal(b"]")?;
                    break;
                }
            }
        }
        self.txn.mops.push(FlatMop::Read(key, self.txn.elements.len() - before));
        cursor.literal(b"]")
    }

    fn numbers(&mut self, cursor: &mut Cursor<'_>) -> Option<Short> {
        self.numbers.clear();
        cursor.literal(b"[")?;
        if cursor.literal(b"]").is_some() {
            return Some(Short::Numbers);
        }
        loop {
            self.numbers.push(cursor.signed()?);
            if cursor.literal(b",").is_none() {
                cursor.literal(b"]")?;
                return Some(Short::Numbers);
            }
        }
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn literal(&mut self, text: &[u8]) -> Option<()> {
        if self.bytes.get(self.at..)?.starts_with(text) {
            self.at += text.len();
            Some(())
        } else {
            None
        }
    }

    /// Digits of at most 19 places, so that no sum can overflow.
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let begin = self.at;
        let mut value: u64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            if self.at - begin == 19 {
                return None;
            }
            value = value * 10 + u64::from(digit - b'0');
            self.at += 1;
        }
        (self.at > begin).then_some(value)
    }

    fn signed(&mut self) -> Option<i64> {
        let negative = self.literal(b"-").is_some();
        let value = i64::try_from(self.number()?).ok()?;
        Some(if negative { -value } else { value })
    }

    /// The rest of a string up to its closing quote; `None` when it holds an escape.
    #[inline]
    fn word(&mut self) -> Option<&'a [u8]> {
        let begin = self.at;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' | b'\n' => return None,
                _ => self.at += 1,
            }
        }
        let word = &self.bytes[begin..self.at];
        self.at += 1;
        Some(word)
    }

    /// `[key,"digest"]`.
    #[inline]
    fn row(&mut self) -> Option<(u64, Digest)> {
        self.literal(b"[")?;
        let key = self.number()?;
        self.literal(b",\"")?;
        let hex = self.bytes.get(self.at..self.at + 16)?;
        let mut digest: u64 = 0;
        for &byte in hex {
            let nibble = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            digest = digest << 4 | u64::from(nibble);
        }
        self.at += 16;
        self.literal(b"\"]")?;
        Some((key, Digest(digest)))
    }

    /// The rest of a register's value behind `{"key":`.
    fn register(&mut self) -> Option<Short> {
        let key = self.number()?;
        let short = if self.literal(b",\"expected\":").is_some() {
            let expected = self.signed()?;
            self.literal(b",\"new\":")?;
            Short::Cas(key, expected, self.signed()?)
        } else {
            self.literal(b",\"value\":")?;
            let value = if self.literal(b"null").is_some() { None } else { Some(self.signed()?) };
            Short::Register(key, value)
        };
        self.literal(b"}")?;
        Some(short)
    }

    /// The rest of an own statement behind `{"statement":`.
    fn statement(&mut self) -> Option<Short> {
        let statement = u32::try_from(self.number()?).ok()?;
        self.literal(b",\"key\":")?;
        let key = self.number()?;
        self.literal(b",\"client\":")?;
        let client = self.number()?;
        self.literal(b"}")?;
        Some(Short::Statement(statement, key, client))
    }

    fn error(&mut self) -> Option<ErrorView> {
        self.literal(b"{\"kind\":\"")?;
        let kind = match self.word()? {
            b"refused" => ErrorKind::Refused,
            b"reset" => ErrorKind::Reset,
            b"closed" => ErrorKind::Closed,
            b"timeout" => ErrorKind::Timeout,
            b"login" => ErrorKind::Login,
            b"server" => ErrorKind::Server,
            b"protocol" => ErrorKind::Protocol,
            b"declined" => ErrorKind::Declined,
            b"not-sent" => ErrorKind::NotSent,
            _ => return None,
        };
        let number = if self.literal(b",\"number\":").is_some() { Some(u32::try_from(self.number()?).ok()?) } else { None };
        if self.literal(b",\"message\":\"").is_some() {
            self.word()?;
        }
        self.literal(b"}")?;
        Some(ErrorView { kind, number })
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
