//! Our history in the forms of other tools: EDN for Elle and Jepsen, JSON for Porcupine.

use std::collections::HashMap;
use std::io::{self, Write};

use crate::experiment::WorkloadKind;
use crate::model::{F, MopView, OpType, OpView, ProcessId, ValueView};

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One op-transition a line, as Jepsen's `history.edn`.
    Edn,
    /// Of transactions, Elle's JSON: one op-transition a line. Of registers, what Porcupine's `Operation` holds: one op a line, with call and return.
    Json,
}

/// How much was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Op-transitions of the workload.
    pub transitions: u64,
}

/// Writes the ops of one workload as they come.
pub struct Exporter<W> {
    to: W,
    format: Format,
    workload: WorkloadKind,
    exported: Exported,
    /// Of Porcupine's form: ops that have begun, with their call and input.
    open: HashMap<ProcessId, (u64, String)>,
    last_ns: u64,
}

impl<W: Write> Exporter<W> {
    /// Writes to `to`.
    pub fn new(to: W, format: Format, workload: WorkloadKind) -> Self {
        Exporter { to, format, workload, exported: Exported::default(), open: HashMap::new(), last_ns: 0 }
    }

    /// Takes one transition.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn op(&mut self, op: &OpView<'_>) -> io::Result<()> {
        self.last_ns = self.last_ns.max(op.time_ns);
        if workload_of(op.f) != Some(self.workload) {
            return Ok(());
        }
        self.exported.transitions += 1;
        match (self.format, self.workload) {
            (Format::Json, WorkloadKind::Register) => self.porcupine(op),
            (Format::Json, _) => self.line(op, &Spelling::JSON),
            (Format::Edn, _) => self.line(op, &Spelling::EDN),
        }
    }

    /// Ends it. An op of unknown outcome is one that returns at the very end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<Exported> {
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_unstable();
        for (process, (call, input)) in open {
            porcupine_line(&mut self.to, process, &input, call, "{\"unknown\":true}", self.last_ns + 1)?;
        }
        self.to.flush()?;
        Ok(self.exported)
    }

    /// `{:index 0, :time 1, :type :invoke, :process 3, :f :txn, :value [[:append 1 2] [:r 1 nil]]}`, or the same in JSON.
    fn line(&mut self, op: &OpView<'_>, spelling: &Spelling) -> io::Result<()> {
        let kind = match op.kind {
            OpType::Invoke => "invoke",
            OpType::Ok => "ok",
            OpType::Fail => "fail",
            OpType::Info => "info",
        };
        let f = match op.f {
            F::Txn | F::TxnFinal => "txn",
            F::RegisterRead | F::RegisterFinal => "read",
            F::RegisterWrite => "write",
            F::RegisterCas => "cas",
            // Jepsen's word for a queue that is emptied at the end.
            F::QueueFinal => "drain",
            f => f.word(),
        };
        let (key, word, next) = (|name| spelling.key(name), |word| spelling.word(word), spelling.comma);
        write!(
            self.to,
            "{{{}{}{next}{}{}{next}{}{}{next}{}{}{next}{}{}{next}{}",
            key("index"),
            op.index,
            key("time"),
            op.time_ns,
            key("type"),
            word(kind),
            key("process"),
            op.process,
            key("f"),
            word(f),
            key("value")
        )?;
        self.value(op.value, spelling)?;
        writeln!(self.to, "}}")
    }

    fn value(&mut self, value: ValueView<'_>, spelling: &Spelling) -> io::Result<()> {
        let (to, space, nil) = (&mut self.to, spelling.space, spelling.nil);
        match value {
            ValueView::None => write!(to, "{nil}"),
            ValueView::Row(key, digest) => write!(to, "[{key}{space}\"{digest}\"]"),
            ValueView::Key(key) => write!(to, "{key}"),
            ValueView::Transfer { from, to: paid, amount } => {
                let next = spelling.comma;
                write!(to, "{{{}{from}{next}{}{paid}{next}{}{amount}}}", spelling.key("from"), spelling.key("to"), spelling.key("amount"))
            }
            ValueView::Rows(rows) => list(to, space, rows, |to, (key, digest)| write!(to, "[{key}{space}\"{digest}\"]")),
            ValueView::Numbers(numbers) => list(to, space, numbers, |to, number| write!(to, "{number}")),
            // Jepsen's `independent` tuples.
            ValueView::Register { key, value } => match value {
                Some(value) => write!(to, "[{key}{space}{value}]"),
                None => write!(to, "[{key}{space}{nil}]"),
            },
            ValueView::Statement { statement, key, client } => write!(to, "[{statement}{space}{key}{space}{client}]"),
            ValueView::Cas { key, expected, new } => write!(to, "[{key}{space}[{expected}{space}{new}]]"),
            ValueView::Txn(txn) => list(to, space, txn.mops(), |to, mop| match mop {
                MopView::Append(key, element) => write!(to, "[{}{space}{key}{space}{element}]", spelling.word("append")),
                MopView::Read(key, None) => write!(to, "[{}{space}{key}{space}{nil}]", spelling.word("r")),
                MopView::Read(key, Some(elements)) => {
                    write!(to, "[{}{space}{key}{space}", spelling.word("r"))?;
                    list(to, space, elements, |to, element| write!(to, "{element}"))?;
                    write!(to, "]")
                }
            }),
        }
    }

    /// `{"clientId":3,"input":{"op":"write","key":1,"value":5},"call":10,"output":{},"return":20}`: what did not happen is left out.
    fn porcupine(&mut self, op: &OpView<'_>) -> io::Result<()> {
        if op.kind == OpType::Invoke {
            let input = match (op.f, op.value) {
                (F::RegisterWrite, ValueView::Register { key, value: Some(value) }) => {
                    format!("{{\"op\":\"write\",\"key\":{key},\"value\":{value}}}")
                }
                (_, ValueView::Register { key, .. }) => format!("{{\"op\":\"read\",\"key\":{key}}}"),
                (_, ValueView::Cas { key, expected, new }) => {
                    format!("{{\"op\":\"cas\",\"key\":{key},\"expected\":{expected},\"new\":{new}}}")
                }
                _ => return Ok(()),
            };
            self.open.insert(op.process, (op.time_ns, input));
            return Ok(());
        }
        if op.kind == OpType::Info {
            return Ok(());
        }
        let Some((call, input)) = self.open.remove(&op.process).filter(|_| op.kind == OpType::Ok) else { return Ok(()) };
        let output = match (op.f, op.value) {
            (F::RegisterRead | F::RegisterFinal, ValueView::Register { value: Some(value), .. }) => format!("{{\"value\":{value}}}"),
            _ => "{}".to_owned(),
        };
        porcupine_line(&mut self.to, op.process, &input, call, &output, op.time_ns)
    }
}

fn porcupine_line(to: &mut impl Write, process: ProcessId, input: &str, call: u64, output: &str, returned: u64) -> io::Result<()> {
    writeln!(to, "{{\"clientId\":{process},\"input\":{input},\"call\":{call},\"output\":{output},\"return\":{returned}}}")
}

fn list<W: Write, T>(
    to: &mut W,
    space: &str,
    items: impl IntoIterator<Item = T>,
    mut put: impl FnMut(&mut W, T) -> io::Result<()>,
) -> io::Result<()> {
    write!(to, "[")?;
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            write!(to, "{space}")?;
        }
        put(to, item)?;
    }
    write!(to, "]")
}

fn workload_of(f: F) -> Option<WorkloadKind> {
    match f {
        F::LedgerAdd | F::Probe | F::LedgerRead => Some(WorkloadKind::Ledger),
        F::BankTransfer | F::BankRead | F::BankFinal => Some(WorkloadKind::Bank),
        F::Txn | F::TxnFinal => Some(WorkloadKind::Append),
        F::RegisterRead | F::RegisterWrite | F::RegisterCas | F::RegisterFinal => Some(WorkloadKind::Register),
        F::Enqueue | F::Dequeue | F::QueueFinal => Some(WorkloadKind::Queue),
        F::Sql | F::SqlCheck => Some(WorkloadKind::Sql),
    }
}

/// How a notation spells what both have.
struct Spelling {
    /// Between the entries of a map.
    comma: &'static str,
    /// Between the items of a list.
    space: &'static str,
    nil: &'static str,
    edn: bool,
}

impl Spelling {
    const EDN: Spelling = Spelling { comma: ", ", space: " ", nil: "nil", edn: true };
    const JSON: Spelling = Spelling { comma: ",", space: ",", nil: "null", edn: false };

    fn word(&self, word: &str) -> String {
        if self.edn { format!(":{word}") } else { format!("\"{word}\"") }
    }

    fn key(&self, name: &str) -> String {
        if self.edn { format!(":{name} ") } else { format!("\"{name}\":") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::HistoryBuilder;
    use crate::model::{Mop, Op, Value};

    fn export(history: &HistoryBuilder, format: Format, workload: WorkloadKind) -> String {
        let mut bytes = Vec::new();
        let mut exporter = Exporter::new(&mut bytes, format, workload);
        history.feed(|op, _| exporter.op(op).expect("memory"));
        exporter.finish().expect("memory");
        String::from_utf8(bytes).expect("text")
    }

    fn txn() -> HistoryBuilder {
        let mut history = HistoryBuilder::new();
        let process = history.process();
        history.push(OpType::Invoke, process, F::Txn, Value::Txn(vec![Mop::Append(1, 2), Mop::Read(1, None)]), None);
        history.push(OpType::Ok, process, F::Txn, Value::Txn(vec![Mop::Append(1, 2), Mop::Read(1, Some(vec![2, 3]))]), None);
        history
    }

    #[test]
    fn transactions_are_read_back_as_they_were_written() {
        let history = txn();
        let edn = export(&history, Format::Edn, WorkloadKind::Append);
        assert_eq!(
            edn.lines().nth(1),
            Some("{:index 1, :time 2000000, :type :ok, :process 1, :f :txn, :value [[:append 1 2] [:r 1 [2 3]]]}")
        );
        for text in [edn, export(&history, Format::Json, WorkloadKind::Append)] {
            let read = super::super::read(&text).expect("our own form");
            let same: Vec<Op> = history.ops.iter().map(|op| Op { intended_ns: op.time_ns, ..op.clone() }).collect();
            assert_eq!(read.ops, same);
        }
        assert_eq!(export(&history, Format::Edn, WorkloadKind::Register), "");
    }

    #[test]
    fn registers_are_written_for_jepsen_and_for_porcupine() {
        let mut history = HistoryBuilder::new();
        let mut op = |f, kind, argument: Value, result: Value| {
            let process = history.process();
            history.push(OpType::Invoke, process, f, argument, None);
            history.push(kind, process, f, result, None);
        };
        let holds = |value| Value::Register { key: 1, value };
        let set = Value::Cas { key: 1, expected: 0, new: 7 };
        op(F::RegisterWrite, OpType::Ok, holds(Some(5)), holds(Some(5)));
        op(F::RegisterRead, OpType::Ok, holds(None), holds(Some(5)));
        op(F::RegisterCas, OpType::Fail, set.clone(), set.clone());
        op(F::RegisterCas, OpType::Info, set.clone(), set);
        let edn = export(&history, Format::Edn, WorkloadKind::Register);
        let third: Vec<&str> = edn.lines().skip(3).step_by(2).collect();
        assert_eq!(third[0], "{:index 3, :time 4000000, :type :ok, :process 2, :f :read, :value [1 5]}");
        assert_eq!(third[1], "{:index 5, :time 6000000, :type :fail, :process 3, :f :cas, :value [1 [0 7]]}");
        let json = export(&history, Format::Json, WorkloadKind::Register);
        let lines: Vec<&str> = json.lines().collect();
        assert_eq!(
            lines,
            [
                "{\"clientId\":1,\"input\":{\"op\":\"write\",\"key\":1,\"value\":5},\"call\":1000000,\"output\":{},\"return\":2000000}",
                "{\"clientId\":2,\"input\":{\"op\":\"read\",\"key\":1},\"call\":3000000,\"output\":{\"value\":5},\"return\":4000000}",
                "{\"clientId\":4,\"input\":{\"op\":\"cas\",\"key\":1,\"expected\":0,\"new\":7},\"call\":7000000,\"output\":{\"unknown\":true},\"return\":8000001}",
            ]
        );
    }
}
