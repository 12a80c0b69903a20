//! One line of the history: an op's transition, in Jepsen's fields.
//!
//! `{"index":7,"time":1200345,"type":"invoke","process":3,"f":"ledger-add","value":[42,"9f86d081884c7d65"],"intended":1200000}`

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A logical client. Retired after an op whose outcome is unknown; its successor has a number never used before.
pub type ProcessId = u32;

/// The four transitions of an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpType {
    /// The op began.
    Invoke,
    /// It happened.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// It may or may not have happened.
    Info,
}

/// What an op does. Jepsen's `f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum F {
    /// Inserts one ledger row; the value is `[key, digest]`.
    LedgerAdd,
    /// The prober's insert of one ledger row through a connection of its own; the value is `[key, digest]`.
    Probe,
    /// Reads one page of the ledger. Invoked with the key after which the page starts; ok carries `[[key, digest], …]` in key order, digests computed from
    /// the payload that was read. An empty page ends the read.
    LedgerRead,
    /// Moves an amount between two accounts; the value is `{"from":…,"to":…,"amount":…}`.
    BankTransfer,
    /// Reads every balance in one snapshot; ok carries the balances in account order.
    BankRead,
    /// Reads every balance after everything has healed; ok carries them in account order.
    BankFinal,
    /// One transaction of appends and reads; the value is `[["append",key,element],["r",key,null],…]`, and ok carries what each read returned.
    Txn,
    /// Reads lists after everything has healed, in the form of a transaction that only reads.
    TxnFinal,
    /// Reads one register; the value is `{"key":…,"value":…}`.
    RegisterRead,
    /// Writes one register; the value is `{"key":…,"value":…}`.
    RegisterWrite,
    /// Writes one register where it holds what is expected; the value is `{"key":…,"expected":…,"new":…}`. Another content is a fail.
    RegisterCas,
    /// Reads one register after everything has healed.
    RegisterFinal,
    /// Puts one item into the queue; the value is the item, a number that no other enqueue has.
    Enqueue,
    /// Takes one item out of the queue; ok carries the item. An empty queue is a fail.
    Dequeue,
    /// Reads what is left in the queue after everything has healed; ok carries the items.
    QueueFinal,
    /// Runs one of the user's own statements; the value is `{"statement":…,"key":…,"client":…}`.
    Sql,
    /// Asks one of the user's own checks; the value is the check's number, and ok carries the keys that it returned, or how many rows.
    SqlCheck,
}

impl F {
    /// Every kind of op.
    pub const ALL: [F; 17] = [
        F::LedgerAdd,
        F::Probe,
        F::LedgerRead,
        F::BankTransfer,
        F::BankRead,
        F::BankFinal,
        F::Txn,
        F::TxnFinal,
        F::RegisterRead,
        F::RegisterWrite,
        F::RegisterCas,
        F::RegisterFinal,
        F::Enqueue,
        F::Dequeue,
        F::QueueFinal,
        F::Sql,
        F::SqlCheck,
    ];

    /// Whether it is an op of the load, as opposed to those of the prober and of the final read.
    pub fn is_load(self) -> bool {
        !matches!(self, F::Probe | F::LedgerRead | F::BankFinal | F::TxnFinal | F::RegisterFinal | F::QueueFinal | F::SqlCheck)
    }

    /// The kind of this word.
    pub fn named(word: &[u8]) -> Option<F> {
        Some(match word {
            b"ledger-add" => F::LedgerAdd,
            b"probe" => F::Probe,
            b"ledger-read" => F::LedgerRead,
            b"bank-transfer" => F::BankTransfer,
            b"bank-read" => F::BankRead,
            b"bank-final" => F::BankFinal,
            b"txn" => F::Txn,
            b"txn-final" => F::TxnFinal,
            b"register-read" => F::RegisterRead,
            b"register-write" => F::RegisterWrite,
            b"register-cas" => F::RegisterCas,
            b"register-final" => F::RegisterFinal,
            b"enqueue" => F::Enqueue,
            b"dequeue" => F::Dequeue,
            b"queue-final" => F::QueueFinal,
            b"sql" => F::Sql,
            b"sql-check" => F::SqlCheck,
            _ => return None,
        })
    }

    /// The word in the history.
    pub fn word(self) -> &'static str {
        match self {
            F::LedgerAdd => "ledger-add",
            F::Probe => "probe",
            F::LedgerRead => "ledger-read",
            F::BankTransfer => "bank-transfer",
            F::BankRead => "bank-read",
            F::BankFinal => "bank-final",
            F::Txn => "txn",
            F::TxnFinal => "txn-final",
            F::RegisterRead => "register-read",
            F::RegisterWrite => "register-write",
            F::RegisterCas => "register-cas",
            F::RegisterFinal => "register-final",
            F::Enqueue => "enqueue",
            F::Dequeue => "dequeue",
            F::QueueFinal => "queue-final",
            F::Sql => "sql",
            F::SqlCheck => "sql-check",
        }
    }
}

impl fmt::Display for F {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The first 64 bits of the SHA-256 of a row's payload; 16 hex digits in the history.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub u64);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Digest)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What an op was asked to do, or what it returned. Which variant belongs to which [`F`] is said there.
pub type Value = ValueOf<Vec<(u64, Digest)>, Vec<i64>, Vec<Mop>>;

/// A value, whatever holds what is long of it: a page of rows, a list of numbers, the micro-operations of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ValueOf<Rows, Numbers, Txn> {
    /// Nothing to say.
    None,
    /// One ledger row.
    Row(u64, Digest),
    /// The key after which a page of the ledger starts; 0 starts at the beginning, since keys start at 1. Or an item of the queue, or the
    /// number of one of the user's own checks.
    Key(u64),
    /// A transfer.
    Transfer {
        /// The account that pays.
        from: u32,
        /// The account that is paid.
        to: u32,
        /// How much, always positive.
        amount: i64,
    },
    /// A page of ledger rows.
    Rows(Rows),
    /// Every balance, in account order; the items of the queue; or what one of the user's own checks returned.
    Numbers(Numbers),
    /// The micro-operations of a transaction, in order.
    Txn(Txn),
    /// One of the user's own statements. Before what it contains: the first variant that fits is read.
    Statement {
        /// Its number in the experiment, from 0.
        statement: u32,
        /// Its key, which no other op has.
        key: u64,
        /// The client that ran it.
        client: u64,
    },
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
}

impl<Rows, Numbers, Txn> ValueOf<Rows, Numbers, Txn> {
    /// The same value with what is long of it held by something else.
    #[inline]
    pub(super) fn map<R, N, T>(
        self,
        rows: impl FnOnce(Rows) -> R,
        numbers: impl FnOnce(Numbers) -> N,
        txn: impl FnOnce(Txn) -> T,
    ) -> ValueOf<R, N, T> {
        match self {
            ValueOf::None => ValueOf::None,
            ValueOf::Row(key, digest) => ValueOf::Row(key, digest),
            ValueOf::Key(key) => ValueOf::Key(key),
            ValueOf::Transfer { from, to, amount } => ValueOf::Transfer { from, to, amount },
            ValueOf::Rows(all) => ValueOf::Rows(rows(all)),
            ValueOf::Numbers(all) => ValueOf::Numbers(numbers(all)),
            ValueOf::Txn(all) => ValueOf::Txn(txn(all)),
            ValueOf::Statement { statement, key, client } => ValueOf::Statement { statement, key, client },
            ValueOf::Cas { key, expected, new } => ValueOf::Cas { key, expected, new },
            ValueOf::Register { key, value } => ValueOf::Register { key, value },
        }
    }
}

/// One micro-operation of a transaction, in Elle's form: `["append",key,element]` or `["r",key,[elements]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mop {
    /// Appends an element to the key's list.
    Append(u64, u64),
    /// Reads the key's list; `None` before it was read.
    Read(u64, Option<Vec<u64>>),
}

/// The third part of a micro-operation.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum MopArgument {
    Unread,
    Element(u64),
    List(Vec<u64>),
}

impl Serialize for Mop {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Mop::Append(key, element) => ("append", key, element).serialize(serializer),
            Mop::Read(key, list) => ("r", key, list).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Mop {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (word, key, argument) = <(std::borrow::Cow<'de, str>, u64, MopArgument)>::deserialize(deserializer)?;
        match (&*word, argument) {
            ("append", MopArgument::Element(element)) => Ok(Mop::Append(key, element)),
            ("r", MopArgument::Unread) => Ok(Mop::Read(key, None)),
            ("r", MopArgument::List(list)) => Ok(Mop::Read(key, Some(list))),
            _ => Err(serde::de::Error::custom("not a micro-operation")),
        }
    }
}

/// The kind of an op's error. It says what was seen, not what it means for the outcome: that is the op's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The TCP connection was refused.
    Refused,
    /// The connection was reset by the other side.
    Reset,
    /// The other side closed the connection (FIN) in the middle of a request or between requests.
    Closed,
    /// A deadline of ours passed.
    Timeout,
    /// The login was refused.
    Login,
    /// The server answered with an error.
    Server,
    /// The answer could not be understood.
    Protocol,
    /// The op's own condition did not hold, or its client rolled it back on purpose: the database did as it was told.
    Declined,
    /// The op was not sent: its client had no connection when it was due, or the run was ending.
    NotSent,
}

/// Why an op did not end in ok.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpError {
    /// What kind of error was seen.
    pub kind: ErrorKind,
    /// The server's error number, where it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The message as seen, shortened to one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One transition of one op.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Dense, from 0, the order of the history.
    pub index: u64,
    /// When the transition was seen, in ns since the run's start. Of an invoke: when the request was sent.
    #[serde(rename = "time")]
    pub time_ns: u64,
    /// Which transition.
    #[serde(rename = "type")]
    pub kind: OpType,
    /// Whose op.
    pub process: ProcessId,
    /// What op.
    pub f: F,
    /// Its argument or its result.
    pub value: Value,
    /// Of fail and info: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<OpError>,
    /// When the op was due, in ns since the run's start; of an op that the schedule did not issue, when it was sent.
    #[serde(rename = "intended")]
    pub intended_ns: u64,
}

/// A line that is not an op.
#[derive(Debug, Error)]
#[error("not an op: {0}")]
pub struct ParseOpError(#[from] serde_json::Error);

impl Op {
    /// Reads one line.
    pub fn parse(line: &[u8]) -> Result<Op, ParseOpError> {
        Ok(serde_json::from_slice(line)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_op_is_found_by_its_word() {
        for f in F::ALL {
            assert_eq!(F::named(f.word().as_bytes()), Some(f));
        }
        assert_eq!(F::named(b"ledger"), None);
    }

    #[test]
    fn an_op_is_one_line_in_jepsens_fields() {
        let op = Op {
            index: 7,
            time_ns: 1_200_345,
            kind: OpType::Invoke,
            process: 3,
            f: F::LedgerAdd,
            value: Value::Row(42, Digest(0x9f86_d081_884c_7d65)),
            error: None,
            intended_ns: 1_200_000,
        };
        let mut line = Vec::new();
        op.write_line(&mut line);
        assert_eq!(
            String::from_utf8_lossy(&line),
            "{\"index\":7,\"time\":1200345,\"type\":\"invoke\",\"process\":3,\"f\":\"ledger-add\",\
             \"value\":[42,\"9f86d081884c7d65\"],\"intended\":1200000}\n"
        );
        assert_eq!(Op::parse(&line).ok(), Some(op));
    }
}
