//! Reading a history fast. A history of ten million ops has twenty million lines, and a general JSON parser with an untagged value spends more time on
//! each of them than the check has. Here the one spelling that [`Op::write_line`] produces is read without allocating; any other spelling of
//! the same JSON goes through [`Op::parse`], so that a history edited by hand or by another tool means the same.

use super::cursor::Cursor;
use super::op::{Digest, ErrorKind, F, Mop, Op, OpType, ParseOpError, Value, ValueOf};
use super::view::{ErrorView, FlatMop, OpOf, OpView, TxnView};

/// The ops of some lines, in their order. What is long of all of them lies in a few buffers, which are used again once cleared.
#[derive(Debug, Default)]
pub struct Ops {
    heads: Vec<Head>,
    long: Long,
}

/// The long parts of ops, one after the other.
#[derive(Debug, Default)]
struct Long {
    rows: Vec<(u64, Digest)>,
    numbers: Vec<i64>,
    mops: Vec<FlatMop>,
    elements: Vec<u64>,
}

/// A part of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    from: usize,
    to: usize,
}

impl Part {
    fn of<T>(self, buffer: &[T]) -> &[T] {
        &buffer[self.from..self.to]
    }
}

/// A value whose long part lies in the buffers; of a transaction these are its micro-operations, and the elements of their lists.
type Short = ValueOf<Part, Part, (Part, Part)>;
type Head = OpOf<Short>;

impl Ops {
    /// Forgets all ops and keeps the buffers.
    pub fn clear(&mut self) {
        self.heads.clear();
        self.long.rows.clear();
        self.long.numbers.clear();
        self.long.mops.clear();
        self.long.elements.clear();
    }

    /// Reads the line that `bytes` begin with, adds its op, and tells how many bytes the line took, its newline included. A last line without a newline
    /// is read too.
    pub fn scan(&mut self, bytes: &[u8]) -> (usize, Result<(), ParseOpError>) {
        let mut cursor = Cursor::new(bytes);
        if let Some(head) = self.long.canonical(&mut cursor) {
            self.heads.push(head);
            return (bytes.len() - cursor.rest.len(), Ok(()));
        }
        let end = bytes.iter().position(|&b| b == b'\n');
        let line = &bytes[..end.unwrap_or(bytes.len())];
        let taken = end.map_or(bytes.len(), |at| at + 1);
        let read = Op::parse(line).map(|op| self.long.keep(op));
        (taken, read.map(|head| self.heads.push(head)))
    }

    /// The ops, in the order of their lines.
    pub fn iter(&self) -> impl Iterator<Item = OpView<'_>> {
        self.heads.iter().map(|head| self.long.view(head))
    }
}

/// Reads lines one by one.
#[derive(Debug, Default)]
pub struct Scanner {
    ops: Ops,
}

impl Scanner {
    /// A scanner with empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the line that `bytes` begin with and tells how many bytes it took, its newline included. A last line without a newline is read too.
    pub fn scan(&mut self, bytes: &[u8]) -> (usize, Result<OpView<'_>, ParseOpError>) {
        self.ops.clear();
        let (taken, read) = self.ops.scan(bytes);
        (taken, read.map(|()| self.ops.long.view(&self.ops.heads[0])))
    }
}

impl Long {
    #[inline]
    fn view(&self, head: &Head) -> OpView<'_> {
        head.map(|value| {
            value.map(
                |part| part.of(&self.rows),
                |part| part.of(&self.numbers),
                |(mops, elements)| TxnView { mops: mops.of(&self.mops), elements: elements.of(&self.elements) },
            )
        })
    }

    /// Moves an op's long parts into the buffers.
    fn keep(&mut self, op: Op) -> Head {
        let Long { rows, numbers, mops, elements } = self;
        let value = match op.value {
            // An empty list is a page to the untagged parser, whatever the op.
            Value::Rows(all) if all.is_empty() && matches!(op.f, F::BankRead | F::BankFinal | F::QueueFinal | F::SqlCheck) => {
                Short::Numbers(append(numbers, &[]))
            }
            Value::Rows(all) if all.is_empty() && matches!(op.f, F::Txn | F::TxnFinal) => Short::Txn(append_txn(mops, elements, &[])),
            value => value.map(|all| append(rows, &all), |all| append(numbers, &all), |all| append_txn(mops, elements, &all)),
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

    /// Reads a line of our own spelling. Where it is none, parts of it may be left in the buffers, where they do no harm.
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
        let error = if cursor.next_is(b",\"error\":") { Some(error(cursor)?) } else { None };
        cursor.literal(b",\"intended\":")?;
        let intended_ns = cursor.number()?;
        cursor.literal(b"}")?;
        if !cursor.rest.is_empty() {
            cursor.literal(b"\n")?;
        }
        Some(Head { index, time_ns, kind, process, f, value, error, intended_ns })
    }

    #[inline]
    fn value(&mut self, cursor: &mut Cursor<'_>, f: F) -> Option<Short> {
        match cursor.peek()? {
            b'n' => cursor.literal(b"null").map(|()| Short::None),
            b'0'..=b'9' => cursor.number().map(Short::Key),
            b'{' if cursor.next_is(b"{\"key\":") => register(cursor),
            b'{' if cursor.next_is(b"{\"statement\":") => statement(cursor),
            b'{' => {
                cursor.literal(b"{\"from\":")?;
                let from = u32::try_from(cursor.number()?).ok()?;
                cursor.literal(b",\"to\":")?;
                let to = u32::try_from(cursor.number()?).ok()?;
                cursor.literal(b",\"amount\":")?;
                let amount = cursor.signed()?;
                cursor.literal(b"}")?;
                Some(Short::Transfer { from, to, amount })
            }
            b'[' if matches!(f, F::BankRead | F::BankFinal | F::QueueFinal | F::SqlCheck) => {
                list(cursor, &mut self.numbers, Cursor::signed).map(Short::Numbers)
            }
            b'[' if f == F::LedgerRead => list(cursor, &mut self.rows, Cursor::row).map(Short::Rows),
            b'[' if matches!(f, F::Txn | F::TxnFinal) => {
                let elements = self.elements.len();
                let mops = list(cursor, &mut self.mops, |cursor| mop(cursor, &mut self.elements))?;
                Some(Short::Txn((mops, Part { from: elements, to: self.elements.len() })))
            }
            b'[' => cursor.row().map(|(key, digest)| Short::Row(key, digest)),
            _ => None,
        }
    }
}

fn append<T: Copy>(buffer: &mut Vec<T>, items: &[T]) -> Part {
    let from = buffer.len();
    buffer.extend_from_slice(items);
    Part { from, to: buffer.len() }
}

fn append_txn(mops: &mut Vec<FlatMop>, elements: &mut Vec<u64>, txn: &[Mop]) -> (Part, Part) {
    let (first_mop, first_element) = (mops.len(), elements.len());
    for mop in txn {
        mops.push(match mop {
            Mop::Append(key, element) => FlatMop::Append(*key, *element),
            Mop::Read(key, None) => FlatMop::Unread(*key),
            Mop::Read(key, Some(list)) => {
                elements.extend_from_slice(list);
                FlatMop::Read(*key, list.len())
            }
        });
    }
    (Part { from: first_mop, to: mops.len() }, Part { from: first_element, to: elements.len() })
}

/// A list with its brackets and commas, into a buffer.
fn list<'a, T>(cursor: &mut Cursor<'a>, buffer: &mut Vec<T>, mut item: impl FnMut(&mut Cursor<'a>) -> Option<T>) -> Option<Part> {
    let from = buffer.len();
    cursor.literal(b"[")?;
    if !cursor.next_is(b"]") {
        loop {
            buffer.push(item(cursor)?);
            if !cursor.next_is(b",") {
                cursor.literal(b"]")?;
                break;
            }
        }
    }
    Some(Part { from, to: buffer.len() })
}

fn mop(cursor: &mut Cursor<'_>, elements: &mut Vec<u64>) -> Option<FlatMop> {
    let mop = if cursor.next_is(b"[\"append\",") {
        let key = cursor.number()?;
        cursor.literal(b",")?;
        FlatMop::Append(key, cursor.number()?)
    } else {
        cursor.literal(b"[\"r\",")?;
        let key = cursor.number()?;
        cursor.literal(b",")?;
        if cursor.next_is(b"null") {
            FlatMop::Unread(key)
        } else {
            let Part { from, to } = list(cursor, elements, Cursor::number)?;
            FlatMop::Read(key, to - from)
        }
    };
    cursor.literal(b"]")?;
    Some(mop)
}

/// The rest of a register's value behind `{"key":`.
fn register(cursor: &mut Cursor<'_>) -> Option<Short> {
    let key = cursor.number()?;
    let short = if cursor.next_is(b",\"expected\":") {
        let expected = cursor.signed()?;
        cursor.literal(b",\"new\":")?;
        Short::Cas { key, expected, new: cursor.signed()? }
    } else {
        cursor.literal(b",\"value\":")?;
        Short::Register { key, value: if cursor.next_is(b"null") { None } else { Some(cursor.signed()?) } }
    };
    cursor.literal(b"}")?;
    Some(short)
}

/// The rest of an own statement behind `{"statement":`.
fn statement(cursor: &mut Cursor<'_>) -> Option<Short> {
    let statement = u32::try_from(cursor.number()?).ok()?;
    cursor.literal(b",\"key\":")?;
    let key = cursor.number()?;
    cursor.literal(b",\"client\":")?;
    let client = cursor.number()?;
    cursor.literal(b"}")?;
    Some(Short::Statement { statement, key, client })
}

fn error(cursor: &mut Cursor<'_>) -> Option<ErrorView> {
    cursor.literal(b"{\"kind\":\"")?;
    let kind = ErrorKind::named(cursor.word()?)?;
    let number = if cursor.next_is(b",\"number\":") { Some(u32::try_from(cursor.number()?).ok()?) } else { None };
    if cursor.next_is(b",\"message\":\"") {
        cursor.word()?;
    }
    cursor.literal(b"}")?;
    Some(ErrorView { kind, number })
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
