//! Histories of list-append transactions as Elle and Jepsen write them, and our own.

use std::collections::BTreeMap;

use thiserror::Error;

use super::edn::{EdnError, Node, Reader};
use crate::model::{F, Mop, Op, OpType, ProcessId, Value};

/// A history that was read.
#[derive(Debug, Default)]
pub struct Foreign {
    /// Its ops, numbered densely in their order.
    pub ops: Vec<Op>,
    /// The keys that are no numbers, and the numbers that stand for them.
    pub names: BTreeMap<String, u64>,
    /// Ops that ended without having begun in the history: nothing is known of the order in real time.
    pub without_beginning: u64,
    open: BTreeMap<ProcessId, ()>,
    numbered: bool,
}

/// Why a history could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ForeignError {
    /// It is not EDN.
    #[error("{0}")]
    Edn(#[from] EdnError),
    /// It is not JSON.
    #[error("line {line}: {what}")]
    Json {
        /// Where.
        line: usize,
        /// What the parser said.
        what: String,
    },
    /// An op has not the form of one.
    #[error("op {number} of the history {what}")]
    Op {
        /// Counted from 1.
        number: usize,
        /// What is wrong.
        what: String,
    },
}

/// Reads a history: ours, or one of list-append transactions in EDN or JSON, either one op a line or a list of ops. What other processes than clients
/// did, such as the nemesis, is left out.
///
/// # Errors
/// When it is no history.
pub fn read(text: &str) -> Result<Foreign, ForeignError> {
    let mut foreign = Foreign::default();
    let mut number = 0;
    let mut take = |node: &Node| {
        number += 1;
        foreign.take(node).map_err(|what| ForeignError::Op { number, what })
    };
    let mut significant = text.chars().filter(|next| !next.is_whitespace());
    let json = match (significant.next(), significant.next(), significant.next()) {
        (Some('{'), Some('"' | '}'), _) | (Some('['), Some('{'), Some('"')) => true,
        _ => text.trim() == "[]",
    };
    if json {
        for value in serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>() {
            let value = value.map_err(|error| ForeignError::Json { line: error.line(), what: error.to_string() })?;
            each(&value.into(), &mut take)?;
        }
    } else {
        let mut reader = Reader::new(text);
        while let Some(node) = reader.next()? {
            each(&node, &mut take)?;
        }
    }
    Ok(foreign)
}

fn each(node: &Node, take: &mut impl FnMut(&Node) -> Result<(), ForeignError>) -> Result<(), ForeignError> {
    match node {
        Node::List(ops) => ops.iter().try_for_each(take),
        op => take(op),
    }
}

impl Foreign {
    fn take(&mut self, node: &Node) -> Result<(), String> {
        if !matches!(node, Node::Map(_)) {
            return Err("is not a map".to_owned());
        }
        let Some(Node::Integer(process)) = node.get("process") else { return Ok(()) };
        let process = ProcessId::try_from(*process).map_err(|_| format!("has the process {process}"))?;
        let kind = match node.get("type").and_then(Node::word) {
            Some("invoke") => OpType::Invoke,
            Some("ok") => OpType::Ok,
            Some("fail") => OpType::Fail,
            Some("info") => OpType::Info,
            _ => return Err("has no type, expected invoke, ok, fail or info".to_owned()),
        };
        let f = node.get("f").and_then(Node::word).unwrap_or("txn");
        let f = F::named(f.as_bytes()).ok_or_else(|| format!("does {f:?}, expected txn or an op of ours"))?;
        let value = self.value(f, node.get("value").unwrap_or(&Node::Nil))?;
        if kind == OpType::Invoke {
            self.open.insert(process, ());
        } else if self.open.remove(&process).is_none() {
            self.without_beginning += 1;
            self.push(OpType::Invoke, process, f, value.clone(), 0);
        }
        let time = match node.get("time") {
            Some(Node::Integer(time)) => u64::try_from(*time).unwrap_or(0),
            _ => 0,
        };
        self.push(kind, process, f, value, time);
        Ok(())
    }

    fn push(&mut self, kind: OpType, process: ProcessId, f: F, value: Value, time_ns: u64) {
        let index = self.ops.len() as u64;
        self.ops.push(Op { index, time_ns, kind, process, f, value, error: None, intended_ns: time_ns });
    }

    fn value(&mut self, f: F, node: &Node) -> Result<Value, String> {
        if !matches!(f, F::Txn | F::TxnFinal) {
            return Err(format!("is a {f}; of other tools only list-append transactions are read"));
        }
        let mops = match node {
            Node::List(mops) => mops.as_slice(),
            Node::Nil => &[],
            _ => return Err("has a value that is not a list of micro-operations".to_owned()),
        };
        mops.iter().map(|mop| self.mop(mop)).collect::<Result<_, _>>().map(Value::Txn)
    }

    fn mop(&mut self, node: &Node) -> Result<Mop, String> {
        let wrong = || "has a micro-operation that is neither [append key element] nor [r key list]".to_owned();
        let Node::List(parts) = node else { return Err(wrong()) };
        let [word, key, argument] = parts.as_slice() else { return Err(wrong()) };
        let key = self.key(key)?;
        match (word.word(), argument) {
            (Some("append"), element) => Ok(Mop::Append(key, whole(element)?)),
            (Some("r"), Node::Nil) => Ok(Mop::Read(key, None)),
            (Some("r"), Node::List(list)) => Ok(Mop::Read(key, Some(list.iter().map(whole).collect::<Result<_, _>>()?))),
            _ => Err(wrong()),
        }
    }

    /// A key that is a number is itself; a word gets a number.
    fn key(&mut self, node: &Node) -> Result<u64, String> {
        match node {
            Node::Integer(_) if self.names.is_empty() => {
                self.numbered = true;
                whole(node)
            }
            Node::Word(word) if !self.numbered => {
                let next = self.names.len() as u64 + 1;
                Ok(*self.names.entry(word.clone()).or_insert(next))
            }
            _ => Err("has a key of another kind than the ops before it, expected either numbers or words".to_owned()),
        }
    }
}

fn whole(node: &Node) -> Result<u64, String> {
    let wrong = || format!("has the element or key {node:?}, expected a whole number that is not negative");
    if let Node::Integer(number) = node { u64::try_from(*number).map_err(|_| wrong()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edn_and_json_mean_the_same() {
        let edn = "[{:process 0, :type :invoke, :f :txn, :value [[:append 1 2] [:r 1 nil]]}\n\
                    {:process :nemesis, :type :info, :f :kill, :value nil}\n\
                    {:process 0, :type :ok, :f :txn, :value [[:append 1 2] [:r 1 [2]]], :time 5}]";
        let json = "{\"process\":0,\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"append\",1,2],[\"r\",1,null]]}\n\
                    {\"process\":0,\"type\":\"ok\",\"f\":\"txn\",\"value\":[[\"append\",1,2],[\"r\",1,[2]]],\"time\":5}";
        let (edn, json) = (read(edn).expect("EDN"), read(json).expect("JSON"));
        assert_eq!(edn.ops, json.ops);
        assert_eq!(edn.ops[1].value, Value::Txn(vec![Mop::Append(1, 2), Mop::Read(1, Some(vec![2]))]));
        assert_eq!((edn.ops[1].index, edn.ops[1].time_ns, edn.without_beginning), (1, 5, 0));
    }

    #[test]
    fn keys_may_be_words_and_ops_may_lack_their_beginning() {
        let foreign = read("{:process 0 :type :ok :value [[:append :x 1] [:r \"y\" []]]}").expect("EDN");
        assert_eq!(foreign.names, BTreeMap::from([("x".to_owned(), 1), ("y".to_owned(), 2)]));
        assert_eq!((foreign.ops.len(), foreign.without_beginning), (2, 1));
    }

    #[test]
    fn what_is_no_history_is_told_with_its_place() {
        for (text, what) in [
            ("{:process 0 :type :ok :value 5}", "op 1 of the history has a value"),
            (
                "[{:process 0 :type :invoke :value [[:append 1 1]]} {:process 0 :type :ok :value [[:append :x 1]]}]",
                "op 2 of the history has a key",
            ),
            ("{:process 0 :type :ok :value [[:w 1 1]]}", "neither [append key element]"),
            ("{:process 0 :type :ok :value [[:append 1 -1]]}", "not negative"),
            ("{:process 0 :type :maybe}", "has no type"),
            ("{\"process\":0,\n", "line 2"),
            ("(1", "line 1"),
            ("{\"process\":0,\"type\":\"ok\",\"f\":\"delete\"}", "does \"delete\""),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
