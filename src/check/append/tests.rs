//! Known-bad histories: each anomaly is found, named and proved, and forbidden at exactly the levels that forbid it.

use super::*;
use crate::check::build::HistoryBuilder;
use crate::model::{Mop, ProcessId, Value};

pub(super) const LEVELS: [Isolation; 4] =
    [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Snapshot, Isolation::Serializable];

fn a(key: u64, element: u64) -> Mop {
    Mop::Append(key, element)
}

fn r(key: u64, list: &[u64]) -> Mop {
    Mop::Read(key, Some(list.to_vec()))
}

/// The transaction as it was asked for.
pub(super) fn unread(mops: &[Mop]) -> Value {
    let mops = mops.iter().map(|mop| match mop {
        Mop::Append(key, element) => Mop::Append(*key, *element),
        Mop::Read(key, _) => Mop::Read(*key, None),
    });
    Value::Txn(mops.collect())
}

#[derive(Default)]
pub(super) struct Case {
    pub(super) history: HistoryBuilder,
}

impl Case {
    pub(super) fn begin(&mut self, mops: &[Mop]) -> ProcessId {
        let process = self.history.process();
        self.history.push(OpType::Invoke, process, F::Txn, unread(mops), None);
        process
    }

    pub(super) fn end(&mut self, process: ProcessId, kind: OpType, mops: &[Mop]) -> u64 {
        let value = if kind == OpType::Ok { Value::Txn(mops.to_vec()) } else { unread(mops) };
        self.history.push(kind, process, F::Txn, value, None)
    }

    /// One after the other.
    fn txn(&mut self, mops: &[Mop]) -> u64 {
        let process = self.begin(mops);
        self.end(process, OpType::Ok, mops)
    }

    /// All at once: every one begins before any ends.
    fn concurrent(&mut self, txns: &[&[Mop]]) -> Vec<u64> {
        let begun: Vec<ProcessId> = txns.iter().map(|mops| self.begin(mops)).collect();
        begun.into_iter().zip(txns).map(|(process, mops)| self.end(process, OpType::Ok, mops)).collect()
    }

    pub(super) fn judge(&self, level: Isolation, order: Order) -> Check {
        let mut append = Append::new(level, order);
        self.history.feed(|op, begun| append.op(op, begun));
        Box::new(append).finish()
    }

    /// The levels that find the history invalid.
    fn invalid_at(&self) -> Vec<Isolation> {
        LEVELS.into_iter().filter(|level| self.judge(*level, Order::RealTime).verdict == Verdict::Invalid).collect()
    }

    fn class(&self, level: Isolation) -> (String, Vec<u64>) {
        let check = self.judge(level, Order::RealTime);
        let cycle = check.examples.iter().rev().find(|found| found.class.starts_with('G')).or(check.examples.first());
        let found = cycle.unwrap_or_else(|| panic!("an anomaly: {check:?}"));
        (found.class.to_owned(), found.proof.clone())
    }
}

#[test]
fn a_serial_history_is_valid_at_every_level() {
    let mut case = Case::default();
    case.txn(&[a(1, 1), r(1, &[1])]);
    case.txn(&[r(1, &[1]), a(1, 2), a(2, 1), r(1, &[1, 2])]);
    case.concurrent(&[&[r(1, &[1, 2]), a(3, 1)], &[a(1, 3)], &[r(2, &[1])]]);
    case.txn(&[r(1, &[1, 2, 3]), r(2, &[1]), r(3, &[1])]);
    assert_eq!(case.invalid_at(), []);
    let check = case.judge(Isolation::Serializable, Order::RealTime);
    assert_eq!((check.verdict, check.counts["anomalies"], check.counts["committed"]), (Verdict::Valid, 0, 6));
}

#[test]
fn a_history_without_a_read_append_decides_nothing() {
    let mut case = Case::default();
    assert_eq!(case.judge(Isolation::Serializable, Order::RealTime).verdict, Verdict::Unknown);
    case.txn(&[a(1, 1)]);
    assert_eq!(case.judge(Isolation::Serializable, Order::RealTime).verdict, Verdict::Unknown);
}

#[test]
fn write_cycles_are_g0_at_every_level() {
    let mut case = Case::default();
    let proof = case.concurrent(&[&[a(1, 1), a(2, 1)], &[a(1, 2), a(2, 2)]]);
    case.txn(&[r(1, &[1, 2]), r(2, &[2, 1])]);
    assert_eq!(case.invalid_at(), LEVELS);
    assert_eq!(case.class(Isolation::ReadCommitted), ("G0".to_owned(), proof));
}

#[test]
fn circular_information_flow_is_g1c_at_every_level() {
    let mut case = Case::default();
    let proof = case.concurrent(&[&[a(1, 1), r(2, &[1])], &[a(2, 1), r(1, &[1])]]);
    assert_eq!(case.invalid_at(), LEVELS);
    assert_eq!(case.class(Isolation::ReadCommitted), ("G1c".to_owned(), proof));
}

#[test]
fn aborted_and_intermediate_reads_are_found_at_every_level() {
    let mut case = Case::default();
    let process = case.begin(&[a(1, 1)]);
    case.end(process, OpType::Fail, &[a(1, 1)]);
    case.txn(&[r(1, &[1])]);
    assert_eq!(case.invalid_at(), LEVELS);
    assert_eq!(case.class(Isolation::ReadCommitted), ("G1a".to_owned(), vec![1, 3]));
    case.txn(&[a(1, 2)]);
    case.txn(&[r(1, &[1, 2])]);
    assert_eq!(case.judge(Isolation::ReadCommitted, Order::None).counts["dirty-update"], 1);

    let mut case = Case::default();
    let proof = case.concurrent(&[&[a(1, 1), a(1, 2)], &[r(1, &[1])]]);
    case.txn(&[r(1, &[1, 2])]);
    assert_eq!(case.invalid_at(), LEVELS);
    assert_eq!(case.judge(Isolation::ReadCommitted, Order::RealTime).counts["G1b"], 1);
    assert_eq!(case.judge(Isolation::ReadCommitted, Order::RealTime).examples[0].proof, proof);
}

#[test]
fn a_fractured_read_is_g_single_and_allowed_at_read_committed() {
    let mut case = Case::default();
    let proof = case.concurrent(&[&[a(1, 1), a(2, 1)], &[r(1, &[1]), r(2, &[])]]);
    case.txn(&[r(2, &[1])]);
    // A list that is not there cannot be locked, so that repeatable-read allows it too.
    assert_eq!(case.invalid_at(), [Isolation::Snapshot, Isolation::Serializable]);
    assert_eq!(case.class(Isolation::Snapshot), ("G-single".to_owned(), proof));

    let mut case = Case::default();
    case.txn(&[a(2, 1)]);
    case.concurrent(&[&[a(1, 1), a(2, 2)], &[r(1, &[1]), r(2, &[1])]]);
    case.txn(&[r(2, &[1, 2])]);
    assert_eq!(case.invalid_at(), LEVELS[1..]);
    let check = case.judge(Isolation::ReadCommitted, Order::RealTime);
    assert!(check.evidence[0].contains("1 × cycle, which READ COMMITTED allows"), "{:?}", check.evidence);
}

#[test]
fn write_skew_is_g2_item_and_allowed_at_snapshot() {
    let mut case = Case::default();
    case.txn(&[a(1, 1), a(2, 1)]);
    let proof = case.concurrent(&[&[r(1, &[1]), a(2, 2)], &[r(2, &[1]), a(1, 2)]]);
    case.txn(&[r(1, &[1, 2]), r(2, &[1, 2])]);
    assert_eq!(case.invalid_at(), [Isolation::RepeatableRead, Isolation::Serializable]);
    assert_eq!(case.class(Isolation::Serializable), ("G2-item".to_owned(), proof));
}

#[test]
fn the_long_fork_is_g_nonadjacent_and_forbidden_at_snapshot() {
    let mut case = Case::default();
    case.concurrent(&[&[a(1, 1)], &[a(2, 1)], &[r(1, &[1]), r(2, &[])], &[r(1, &[]), r(2, &[1])]]);
    assert_eq!(case.invalid_at(), [Isolation::Snapshot, Isolation::Serializable]);
    assert_eq!(case.class(Isolation::Snapshot).0, "G-nonadjacent");
}

#[test]
fn a_lost_update_is_allowed_at_read_committed() {
    let mut case = Case::default();
    case.txn(&[a(1, 1)]);
    case.concurrent(&[&[r(1, &[1]), a(1, 2)], &[r(1, &[1]), a(1, 3)]]);
    case.txn(&[r(1, &[1, 2, 3])]);
    assert_eq!(case.invalid_at(), LEVELS[1..]);
    let check = case.judge(Isolation::Snapshot, Order::None);
    assert_eq!(check.counts["lost-update"], 1);
    assert_eq!(check.examples[0].proof, [4, 5]);
}

#[test]
fn lists_that_disagree_and_elements_of_nobody_are_found_at_every_level() {
    for (bad, class) in [
        (vec![r(1, &[2, 1])], "incompatible-order"),
        (vec![r(1, &[1, 2, 9])], "unexpected"),
        (vec![r(1, &[1, 2, 2])], "duplicate-elements"),
        (vec![a(1, 3), r(1, &[1, 2])], "internal"),
        (vec![r(1, &[1, 2, 3]), a(1, 3)], "internal"),
    ] {
        let mut case = Case::default();
        case.txn(&[a(1, 1)]);
        case.txn(&[a(1, 2)]);
        case.txn(&[r(1, &[1, 2])]);
        case.txn(&bad);
        assert_eq!(case.invalid_at(), LEVELS, "{class}");
        let check = case.judge(Isolation::ReadCommitted, Order::None);
        let found = check.examples.iter().find(|found| found.class == class).unwrap_or_else(|| panic!("{class}: {check:?}"));
        assert!(found.proof.contains(&7), "{class}: {found:?}");
    }
}

#[test]
fn a_read_that_lacks_what_was_acknowledged_is_stale_or_shows_a_loss() {
    let mut case = Case::default();
    case.txn(&[a(1, 1)]);
    case.txn(&[a(1, 2)]);
    case.txn(&[r(1, &[1])]);
    let check = case.judge(Isolation::ReadCommitted, Order::RealTime);
    assert_eq!((check.counts["lost-append"], check.examples[0].proof.clone()), (1, vec![3, 5]));
    assert_eq!(check.counts["G-single-realtime"], 1);
    case.txn(&[r(1, &[1, 2])]);
    let check = case.judge(Isolation::ReadCommitted, Order::RealTime);
    assert_eq!(check.counts["stale-read"], 1);
    assert_eq!(case.invalid_at(), LEVELS);
    // Each process has one op here, so that without real time the read may as well have come first.
    assert_eq!(case.judge(Isolation::Serializable, Order::Process).verdict, Verdict::Valid);
}

#[test]
fn a_process_that_does_not_see_its_own_past_breaks_the_session() {
    let mut case = Case::default();
    let process = case.begin(&[a(1, 1)]);
    case.end(process, OpType::Ok, &[a(1, 1)]);
    case.history.push(OpType::Invoke, process, F::Txn, unread(&[r(1, &[])]), None);
    case.end(process, OpType::Ok, &[r(1, &[])]);
    case.txn(&[r(1, &[1])]);
    assert_eq!(case.judge(Isolation::Serializable, Order::None).verdict, Verdict::Valid);
    let check = case.judge(Isolation::ReadCommitted, Order::Process);
    assert_eq!((check.verdict, check.counts["G-single-process"]), (Verdict::Invalid, 1));
}

#[test]
fn an_unknown_outcome_that_was_read_is_a_commit_and_otherwise_nothing() {
    let mut case = Case::default();
    let mops = [a(1, 1), a(2, 1)];
    let process = case.begin(&mops);
    case.end(process, OpType::Info, &mops);
    case.txn(&[r(2, &[])]);
    case.txn(&[a(3, 1), r(3, &[1])]);
    assert_eq!(case.invalid_at(), []);
    // Now it happened, and all of it: the reader of the first list saw it, the later reader of the second did not.
    let mut torn = Case { history: case.history.clone() };
    torn.txn(&[r(1, &[1])]);
    torn.txn(&[r(2, &[])]);
    assert_eq!(torn.class(Isolation::Serializable).0, "G-single-realtime");
}

#[test]
fn a_history_that_contradicts_itself_is_unknown() {
    let mut case = Case::default();
    case.txn(&[a(1, 1)]);
    case.txn(&[a(1, 1)]);
    let check = case.judge(Isolation::Serializable, Order::RealTime);
    assert_eq!(check.verdict, Verdict::Unknown);
    assert!(check.evidence[0].contains("appended to key 1 by two ops"), "{:?}", check.evidence);
}

#[test]
fn the_counter_example_is_a_shortest_cycle_told_step_by_step() {
    let mut case = Case::default();
    case.txn(&[a(1, 1), a(2, 1), a(3, 1)]);
    // A cycle of three and, among the same transactions, one of two.
    case.concurrent(&[&[r(1, &[1]), a(2, 2)], &[r(2, &[1]), r(3, &[1]), a(1, 2)], &[r(2, &[1]), a(3, 2)]]);
    case.txn(&[r(1, &[1, 2]), r(2, &[1, 2]), r(3, &[1, 2])]);
    let check = case.judge(Isolation::Serializable, Order::RealTime);
    let found = check.examples.iter().find(|found| found.class == "G2-item").expect("a cycle");
    assert_eq!(found.proof, [5, 6]);
    assert_eq!(found.detail, "op 5 read key 1 without 2 of op 6 (rw); op 6 read key 2 without 2 of op 5 (rw)");
}
