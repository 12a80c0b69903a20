use super::super::build::{HistoryBuilder, digest};
use super::*;
use crate::model::{ErrorKind, Value};

fn judge_allowing(history: &HistoryBuilder, lost_max: u64) -> Check {
    let mut ledger = Ledger::new(lost_max);
    history.feed(|op, begun| ledger.op(op, begun));
    Box::new(ledger).finish()
}

fn judge(history: &HistoryBuilder) -> Check {
    judge_allowing(history, 0)
}

fn of(check: &Check, class: &str) -> u64 {
    check.counts[class]
}

/// The keys of the examples of a class.
fn keys(check: &Check, class: &str) -> Vec<u64> {
    check.examples.iter().filter(|found| found.class == class).filter_map(|found| found.key).collect()
}

fn acked(count: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new();
    for key in 1..=count {
        history.acked(key);
    }
    history
}

#[test]
fn everything_acknowledged_and_read_back_is_valid() {
    let mut history = acked(5);
    history.final_read(&[1, 2, 3, 4, 5]);
    let check = judge(&history);
    assert_eq!(check.verdict, Verdict::Valid);
    assert_eq!((of(&check, "acknowledged"), of(&check, "ok")), (5, 5));
    assert!(check.examples.is_empty());
}

#[test]
fn an_acknowledged_row_that_is_absent_is_lost() {
    let mut history = acked(5);
    history.final_read(&[1, 2, 4, 5]);
    let check = judge(&history);
    assert_eq!(check.verdict, Verdict::Invalid);
    assert_eq!(of(&check, "lost"), 1);
    assert_eq!(keys(&check, "lost"), [3]);
    // The invoke and the ok of key 3, and the page that should have held it.
    assert_eq!(check.examples[0].proof, [4, 5, 13]);
    assert!(check.evidence[0].contains("keys 3"), "{:?}", check.evidence);
}

#[test]
fn a_lost_row_within_the_allowance_is_shown_and_valid() {
    let mut history = acked(5);
    history.final_read(&[1, 2, 4, 5]);
    let check = judge_allowing(&history, 1);
    assert_eq!(check.verdict, Verdict::Valid);
    assert_eq!(of(&check, "lost"), 1);
    history = acked(5);
    history.final_read(&[1, 2, 5]);
    assert_eq!(judge_allowing(&history, 1).verdict, Verdict::Invalid);
}

#[test]
fn a_row_nobody_attempted_is_unexpected() {
    for foreign in [6, u64::MAX] {
        let mut history = acked(5);
        history.final_read(&[1, 2, 3, 4, 5, foreign]);
        let check = judge(&history);
        assert_eq!(check.verdict, Verdict::Invalid);
        assert_eq!(keys(&check, "unexpected"), [foreign]);
        assert_eq!(of(&check, "unexpected"), 1);
    }
}

#[test]
fn a_refused_row_that_is_present_is_resurrected() {
    let mut history = acked(2);
    history.failed(3, Some(1205));
    history.failed(4, None);
    history.final_read(&[1, 2, 3]);
    let check = judge(&history);
    assert_eq!(check.verdict, Verdict::Invalid);
    assert_eq!(keys(&check, "resurrected"), [3]);
    assert_eq!(of(&check, "failed"), 2);
}

#[test]
fn a_row_that_is_read_twice_is_duplicated() {
    // Twice in one page, and once more where two pages overlap.
    let mut history = acked(3);
    history.page(0, &[(1, digest(1)), (1, digest(1)), (2, digest(2))]);
    history.page(1, &[(2, digest(2)), (3, digest(3))]);
    history.page(3, &[]);
    let check = judge(&history);
    assert_eq!(check.verdict, Verdict::Invalid);
    assert_eq!(keys(&check, "duplicated"), [1, 2]);
    assert_eq!(of(&check, "duplicated"), 2);
    assert_eq!(of(&check, "ok"), 1);
}

#[test]
fn one_key_acknowledged_twice_is_duplicated() {
    let mut history = acked(2);
    history.acked(2);
    history.final_read(&[1, 2]);
    let check = judge(&history);
    assert_eq!(check.verdict, Verdict::Invalid);
    assert_eq!(of(&check, "duplicated"), 1);
    assert_eq!(check.examples[0].proof, [2, 3, 5]);
}

#[test]
fn another_payload_is_altered() {
    let mut history = acked(2);
    history.page(0, &[(1, digest(1)), (2, digest(7))]);
    history.page(2, &[]);
    let check = judge(&history);
    assert_eq!(check.verdict, Verdict::Invalid);
    assert_eq!(keys(&check, "altered"), [2]);
    assert!(check.examples[0].detail.contains(&digest(7).to_string()));
}

#[test]
fn an_unknown_outcome_may_be_either() {
    let mut history = acked(1);
    history.unknown(2);
    history.unknown(3);
    history.begin(F::LedgerAdd, 4);
    history.final_read(&[1, 2, 4]);
    let check = judge(&history);
    assert_eq!(check.verdict, Verdict::Valid);
    assert_eq!((of(&check, "recovered"), of(&check, "unknown")), (2, 3));
    assert_eq!(of(&check, "attempted"), 4);
}

#[test]
fn a_duplicate_key_error_proves_the_earlier_attempt() {
    let mut history = acked(1);
    history.unknown(2);
    history.failed(2, Some(2627));
    history.final_read(&[1]);
    assert_eq!(keys(&judge(&history), "lost"), [2]);

    let mut history = acked(1);
    history.unknown(2);
    history.failed(2, Some(2627));
    history.final_read(&[1, 2]);
    assert_eq!(judge(&history).verdict, Verdict::Valid);
}

#[test]
fn a_failed_retry_does_not_hide_an_unknown_attempt() {
    let mut history = acked(1);
    history.unknown(2);
    history.failed(2, None);
    history.final_read(&[1, 2]);
    let check = judge(&history);
    assert_eq!(check.verdict, Verdict::Valid);
    assert_eq!(of(&check, "recovered"), 1);
}

#[test]
fn probes_count_like_the_workload() {
    let mut history = HistoryBuilder::new();
    let process = history.begin(F::Probe, 1);
    history.end(process, F::Probe, 1, OpType::Ok, None);
    history.acked(2);
    history.final_read(&[2]);
    assert_eq!(keys(&judge(&history), "lost"), [1]);
}

#[test]
fn without_a_complete_final_read_nothing_is_proved() {
    let never = acked(2);
    let mut cut = acked(2);
    cut.page(0, &[(1, digest(1)), (2, digest(2))]);
    let mut gap = acked(3);
    gap.page(0, &[(1, digest(1))]);
    gap.page(2, &[(3, digest(3))]);
    gap.page(3, &[]);
    let mut headless = acked(2);
    headless.page(1, &[(2, digest(2))]);
    headless.page(2, &[]);
    let mut failed = acked(2);
    let process = failed.process();
    failed.push(OpType::Invoke, process, F::LedgerRead, Value::Key(0), None);
    let error = super::super::build::error(ErrorKind::Timeout, None);
    failed.push(OpType::Fail, process, F::LedgerRead, Value::None, Some(error));
    for (history, why) in [(never, "not read"), (cut, "did not reach the end"), (gap, "gap"), (headless, "not read"), (failed, "not read")]
    {
        let check = judge(&history);
        assert_eq!(check.verdict, Verdict::Unknown, "{why}");
        assert!(check.evidence[0].contains(why), "{:?}", check.evidence);
    }
}

#[test]
fn without_an_acknowledged_commit_nothing_is_proved() {
    let mut history = HistoryBuilder::new();
    history.failed(1, None);
    history.final_read(&[]);
    assert_eq!(judge(&history).verdict, Verdict::Unknown);
    assert_eq!(judge(&HistoryBuilder::new()).verdict, Verdict::Unknown);
}

#[test]
fn the_last_complete_read_decides() {
    // The first read misses key 2; the second has it; the third breaks off.
    let mut history = acked(3);
    history.final_read(&[1, 3]);
    history.final_read(&[1, 2, 3]);
    history.page(0, &[(1, digest(1))]);
    assert_eq!(judge(&history).verdict, Verdict::Valid);
    let mut history = acked(3);
    history.final_read(&[1, 2, 3]);
    history.final_read(&[1, 3]);
    assert_eq!(keys(&judge(&history), "lost"), [2]);
}

#[test]
fn a_page_that_is_asked_for_again_continues_the_read() {
    let mut history = acked(3);
    history.page(0, &[(1, digest(1)), (2, digest(2))]);
    let process = history.process();
    history.push(OpType::Invoke, process, F::LedgerRead, Value::Key(2), None);
    let error = super::super::build::error(ErrorKind::Reset, None);
    history.push(OpType::Fail, process, F::LedgerRead, Value::None, Some(error));
    history.page(2, &[(3, digest(3))]);
    history.page(3, &[]);
    assert_eq!(judge(&history).verdict, Verdict::Valid);
}

#[test]
fn a_commit_after_the_final_read_began_is_not_judged_by_it() {
    let mut history = acked(1);
    history.page(0, &[(1, digest(1))]);
    history.acked(2);
    history.page(1, &[]);
    let check = judge(&history);
    assert_eq!(check.verdict, Verdict::Unknown);
    assert_eq!(of(&check, "lost"), 0);
}

#[test]
fn a_history_that_contradicts_itself_proves_nothing() {
    let mut orphan = acked(1);
    orphan.end(99, F::LedgerAdd, 2, OpType::Ok, None);
    orphan.final_read(&[1, 2]);
    let mut two_payloads = acked(1);
    let process = two_payloads.process();
    two_payloads.push(OpType::Invoke, process, F::LedgerAdd, Value::Row(1, digest(9)), None);
    two_payloads.final_read(&[1]);
    for history in [orphan, two_payloads] {
        assert_eq!(judge(&history).verdict, Verdict::Unknown);
    }
}

#[test]
fn no_more_than_twenty_examples_of_a_class_are_kept_and_all_are_counted() {
    let mut history = acked(100);
    history.final_read(&[1]);
    let check = judge(&history);
    assert_eq!(of(&check, "lost"), 99);
    assert_eq!(keys(&check, "lost").len(), EXAMPLES_MAX);
}
