//! Known-bad histories, and the search against brute force.

use super::*;
use crate::check::build::HistoryBuilder;
use crate::model::Value;
use crate::workload::Draws;

const READ: F = F::RegisterRead;
const WRITE: F = F::RegisterWrite;

fn holds(value: Option<i64>) -> Value {
    Value::Register { key: 1, value }
}

#[derive(Default)]
struct Case {
    history: HistoryBuilder,
}

impl Case {
    fn begin(&mut self, f: F, value: Value) -> ProcessId {
        let process = self.history.process();
        self.history.push(OpType::Invoke, process, f, value, None);
        process
    }

    fn end(&mut self, process: ProcessId, f: F, kind: OpType, value: Value) -> u64 {
        self.history.push(kind, process, f, value, None)
    }

    fn write(&mut self, content: i64) -> u64 {
        let process = self.begin(WRITE, holds(Some(content)));
        self.end(process, WRITE, OpType::Ok, holds(Some(content)))
    }

    fn read(&mut self, content: i64) -> u64 {
        let process = self.begin(READ, holds(None));
        self.end(process, READ, OpType::Ok, holds(Some(content)))
    }

    fn judge(&self) -> Check {
        let mut register = Register::new(0);
        self.history.feed(|op, begun| register.op(op, begun));
        Box::new(register).finish()
    }
}

#[test]
fn ops_one_after_the_other_are_linearizable() {
    let mut case = Case::default();
    case.read(0);
    case.write(1);
    case.read(1);
    assert_eq!(case.judge().verdict, Verdict::Valid);
}

#[test]
fn a_stale_read_ends_the_smallest_prefix_that_fails() {
    let mut case = Case::default();
    let old = case.write(1);
    let new = case.write(2);
    let stale = case.read(1);
    case.read(2);
    let check = case.judge();
    assert_eq!(check.verdict, Verdict::Invalid);
    assert_eq!(check.examples[0].proof, [old, new, stale]);
    assert!(check.examples[0].detail.contains("op 5 read 1"), "{}", check.examples[0].detail);
    assert!(check.examples[0].detail.contains("it could hold 2;"), "{}", check.examples[0].detail);
}

#[test]
fn a_read_beside_a_write_may_return_either_and_never_go_back() {
    let mut case = Case::default();
    let writer = case.begin(WRITE, holds(Some(1)));
    case.read(0);
    case.read(1);
    let mut back = Case { history: case.history.clone() };
    case.end(writer, WRITE, OpType::Ok, holds(Some(1)));
    case.read(1);
    assert_eq!(case.judge().verdict, Verdict::Valid);
    back.read(0);
    assert_eq!(back.judge().verdict, Verdict::Invalid);
}

#[test]
fn an_unknown_write_may_take_effect_late_once_or_never() {
    let mut case = Case::default();
    let writer = case.begin(WRITE, holds(Some(1)));
    case.end(writer, WRITE, OpType::Info, holds(Some(1)));
    case.read(0);
    assert_eq!(case.judge().verdict, Verdict::Valid);
    case.write(2);
    case.read(1);
    assert_eq!(case.judge().verdict, Verdict::Valid);
    case.read(2);
    assert_eq!(case.judge().verdict, Verdict::Invalid);
}

#[test]
fn a_compare_and_set_needs_what_it_expects_and_a_failed_one_did_nothing() {
    let mut case = Case::default();
    let set = |expected, new| Value::Cas { key: 1, expected, new };
    let process = case.begin(F::RegisterCas, set(0, 5));
    case.end(process, F::RegisterCas, OpType::Ok, set(0, 5));
    let process = case.begin(F::RegisterCas, set(0, 6));
    case.end(process, F::RegisterCas, OpType::Fail, set(0, 6));
    case.read(5);
    assert_eq!(case.judge().verdict, Verdict::Valid);
    let process = case.begin(F::RegisterCas, set(0, 7));
    case.end(process, F::RegisterCas, OpType::Ok, set(0, 7));
    assert_eq!(case.judge().verdict, Verdict::Invalid);
}

#[test]
fn registers_that_nobody_read_decide_nothing() {
    let mut case = Case::default();
    assert_eq!(case.judge().verdict, Verdict::Unknown);
    case.write(1);
    assert_eq!(case.judge().verdict, Verdict::Unknown);
}

/// Whether some order that keeps real time explains the ops: every order is tried.
fn explained(ops: &[KeyOp], taken: &mut Vec<usize>, content: i64) -> bool {
    let left = |at: &usize| !taken.contains(at);
    let mut remaining = (0..ops.len()).filter(left);
    if remaining.clone().all(|at| ops[at].completed == OPEN) {
        return true;
    }
    let candidates: Vec<usize> = remaining
        .by_ref()
        .filter(|&at| (0..ops.len()).filter(left).all(|other| other == at || ops[other].completed > ops[at].invoked))
        .collect();
    candidates.into_iter().any(|at| {
        let after = match ops[at].action {
            Action::Read(Some(seen)) if seen == content => content,
            Action::Write(new) => new,
            Action::Cas(expected, new) if expected == content => new,
            _ => return false,
        };
        taken.push(at);
        let found = explained(ops, taken, after);
        taken.pop();
        found
    })
}

fn random_ops(draws: &mut Draws) -> Vec<KeyOp> {
    let count = 2 + draws.below(5);
    let mut events: Vec<u64> = (0..2 * count).collect();
    for at in (1..events.len()).rev() {
        events.swap(at, usize::try_from(draws.below(at as u64 + 1)).unwrap_or(0));
    }
    let content = |draws: &mut Draws| draws.below(3).cast_signed();
    let ops = events.chunks_exact(2).map(|ends| {
        let action = match draws.below(4) {
            0 | 1 => Action::Read(Some(content(draws))),
            2 => Action::Write(content(draws)),
            _ => Action::Cas(content(draws), content(draws)),
        };
        let open = draws.below(8) == 0 && !matches!(action, Action::Read(_));
        KeyOp { action, invoked: ends[0].min(ends[1]), completed: if open { OPEN } else { ends[0].max(ends[1]) } }
    });
    ops.collect()
}

/// Judges random histories both ways. Neither verdict may be rare, or the comparison would prove nothing.
fn compare(cases: u64, seed: u64) {
    let mut linearizable = 0;
    for number in 0..cases {
        let mut draws = Draws::new(seed, number);
        let ops = random_ops(&mut draws);
        let judged = key::judge(ops.clone(), 0);
        let expected = explained(&ops, &mut Vec::new(), 0);
        assert_eq!(judged == Judgement::Linearizable, expected, "case {number}: {judged:?}\n{ops:#?}");
        if let Judgement::Fails(failure) = &judged {
            // Up to the op that ends it, exclusive, the history is still explained: the prefix is the smallest one.
            let end = failure.ends;
            let before = |op: &KeyOp| KeyOp { completed: if op.completed < end { op.completed } else { OPEN }, ..*op };
            let prefix: Vec<KeyOp> = ops
                .iter()
                .filter(|op| op.invoked < end)
                .map(before)
                .filter(|op| op.completed != OPEN || !matches!(op.action, Action::Read(_)))
                .collect();
            assert!(explained(&prefix, &mut Vec::new(), 0), "case {number}: not the smallest prefix: {failure:?}\n{ops:#?}");
        }
        linearizable += u64::from(expected);
    }
    assert!((cases / 10..cases * 9 / 10).contains(&linearizable), "{linearizable} of {cases} were linearizable");
}

#[test]
fn every_order_of_the_ops_agrees_with_the_search() {
    compare(5_000, 1);
}

/// `cargo test --release -p sqledge-chaos --lib register -- --ignored`
#[test]
#[ignore = "a minute in a debug build"]
fn every_order_of_the_ops_agrees_with_the_search_100_000_times() {
    compare(100_000, 2);
}
