use super::*;
use crate::check::build::{HistoryBuilder, digest, error};
use crate::model::{ErrorKind, F, OpType, OpenOps, Value};

const MS: u64 = 1_000_000;

fn objective() -> Objective {
    "p99=50ms".parse().expect("an objective")
}

/// A search against a target that carries up to a rate, with the rates that were tried.
fn search(capacity: f64, from: f64, to: f64) -> (Answer, Vec<f64>) {
    let mut search = Search::new(from, to, 0.05);
    let mut tried = Vec::new();
    while let Some(rate) = search.next_rate() {
        tried.push(rate);
        search.tell(rate, if rate <= capacity { StepVerdict::Carried } else { StepVerdict::Missed });
        assert!(tried.len() < 100, "the search does not end: {tried:?}");
    }
    (search.answer(), tried)
}

#[test]
fn the_search_ends_within_the_precision_of_the_truth_whatever_that_is() {
    for capacity in [1.0, 10.0, 33.0, 100.0, 317.0, 999.0, 4_321.0, 77_777.0] {
        let (answer, tried) = search(capacity, 1.0, 100_000.0);
        let Answer::Between { carried, missed } = answer else { panic!("{capacity}: {answer:?}") };
        assert!(carried <= capacity && capacity < missed, "{capacity}: {answer:?}");
        // Three digits are as fine as a rate is told.
        assert!(missed - carried <= (0.05 * carried).max(0.01 * missed) + 1e-9, "{capacity}: {answer:?} after {tried:?}");
    }
}

#[test]
fn the_ends_of_the_range_are_told_as_such() {
    assert_eq!(search(5.0, 10.0, 80.0).0, Answer::Below { missed: 10.0 });
    let (answer, tried) = search(1e9, 10.0, 70.0);
    assert_eq!((answer, tried), (Answer::AtLeast { carried: 70.0 }, vec![10.0, 20.0, 40.0, 70.0]));
}

#[test]
fn the_second_try_decides_and_a_harness_that_cannot_tell_ends_the_search() {
    use StepVerdict::{Carried, Inconclusive, Missed};
    let mut search = Search::new(10.0, 1_000.0, 0.05);
    search.tell(10.0, Carried);
    search.tell(20.0, Missed);
    assert_eq!(search.next_rate(), Some(20.0), "one hiccup is not a limit");
    search.tell(20.0, Carried);
    assert_eq!(search.next_rate(), Some(40.0));
    search.tell(40.0, Inconclusive);
    search.tell(40.0, Carried);
    search.tell(80.0, Inconclusive);
    assert_eq!(search.answer(), Answer::Undecided { carried: Some(40.0) }, "cut short here it has no answer");
    search.tell(80.0, Inconclusive);
    assert_eq!((search.next_rate(), search.answer()), (None, Answer::Undecided { carried: Some(40.0) }));
}

#[test]
fn objectives_are_read_and_written() {
    assert_eq!(objective(), Objective { quantile: 0.99, limit_ns: 50 * MS });
    assert_eq!("p99.9=1s".parse::<Objective>().map(|o| o.to_string()), Ok("p99.9 ≤ 1.00 s".to_owned()));
    assert_eq!("max=20ms".parse::<Objective>().map(|o| o.quantile), Ok(1.0));
    for wrong in ["p99", "99=50ms", "p0=50ms", "p101=1s", "p99=50", "p99=0s", "mean=5ms"] {
        let why = wrong.parse::<Objective>().expect_err(wrong);
        assert!(why.contains(wrong) && why.contains("p99=50ms"), "{why}");
    }
}

/// Ops due every ms for a second: how many of each hundred are slow, how many fail, and whether the last never ends.
fn seen(slow: u64, failing: u64, open: bool) -> Seen {
    let mut history = HistoryBuilder::new();
    for due_ms in 0..1_000 {
        let process = history.process();
        let value = Value::Row(due_ms, digest(due_ms));
        history.now_ns = due_ms * MS;
        history.push(OpType::Invoke, process, F::LedgerAdd, value.clone(), None);
        let at = history.ops.len() - 1;
        history.ops[at].intended_ns = due_ms * MS;
        if open && due_ms == 999 {
            continue;
        }
        let took_ms = if due_ms % 100 < slow { 80 } else { 5 };
        history.now_ns = (due_ms + took_ms - 1) * MS;
        match due_ms % 100 >= 100 - failing {
            true => history.push(OpType::Fail, process, F::LedgerAdd, value, Some(error(ErrorKind::Refused, None))),
            false => history.push(OpType::Ok, process, F::LedgerAdd, value, None),
        };
    }
    let (mut window, mut open) = (WindowRecorder::new(0, 1_000 * MS), OpenOps::default());
    history.feed(|op, begun| {
        window.op(op, begun);
        let _ = open.pair(op);
    });
    window.finish(open.still_open(), objective())
}

const IN_TIME: HarnessSeen = HarnessSeen { expected: 1_000, late_ms: Millis(0.4), busy: 0.3 };

#[test]
fn what_fails_or_never_ends_is_slower_than_everything() {
    let verdict = |seen: &Seen| judge(objective(), seen, &IN_TIME).0;
    assert_eq!(verdict(&seen(1, 0, false)), StepVerdict::Carried);
    assert_eq!(verdict(&seen(2, 0, false)), StepVerdict::Missed);
    assert_eq!(verdict(&seen(0, 1, false)), StepVerdict::Carried, "one in a hundred may fail");
    let failing = seen(0, 2, false);
    assert_eq!((verdict(&failing), failing.at_objective_ms), (StepVerdict::Missed, None));
    let hanging = seen(0, 1, true);
    assert_eq!((hanging.due, hanging.response.censored), (1_000, 1));
    assert_eq!(verdict(&seen(1, 0, true)), StepVerdict::Missed, "ten slow ones and one that never ended");
}

#[test]
fn a_slow_harness_is_never_taken_for_a_slow_target() {
    let slow = seen(2, 0, false);
    let with = |harness: HarnessSeen| judge(objective(), &slow, &harness);
    assert_eq!(with(IN_TIME).0, StepVerdict::Missed);
    for harness in [
        HarnessSeen { busy: 0.95, ..IN_TIME },
        HarnessSeen { late_ms: Millis(30.0), ..IN_TIME },
        HarnessSeen { expected: 1_100, ..IN_TIME },
    ] {
        let (verdict, why) = with(harness);
        assert_eq!(verdict, StepVerdict::Inconclusive, "{why}");
        assert!(why.contains("harness"), "{why}");
    }
    // Without the harness's 24 ms, 70 would have been 46.
    let close = Seen { at_objective_ms: Some(Millis(70.0)), ..slow };
    assert_eq!(judge(objective(), &close, &HarnessSeen { late_ms: Millis(24.0), ..IN_TIME }).0, StepVerdict::Inconclusive);
    // A step that is carried is carried, however late the harness was: its lateness is in the times.
    let carried = seen(0, 0, false);
    assert_eq!(judge(objective(), &carried, &HarnessSeen { busy: 1.0, late_ms: Millis(40.0), ..IN_TIME }).0, StepVerdict::Carried);
    // But not one whose load was never offered.
    assert_eq!(judge(objective(), &carried, &HarnessSeen { expected: 2_000, ..IN_TIME }).0, StepVerdict::Inconclusive);
}
