use super::*;
use crate::check::build::{HistoryBuilder, digest, error};
use crate::model::{FaultTarget, OpError, Value};

const MS: u64 = 1_000_000;

/// Pushes a whole op with its times in ms.
fn op(history: &mut HistoryBuilder, f: F, sent_ms: u64, done_ms: u64, kind: OpType) {
    let process = history.process();
    let key = u64::from(process);
    let begun = history.push(OpType::Invoke, process, f, Value::Row(key, digest(key)), None);
    let why = (kind != OpType::Ok).then(|| error(ErrorKind::Reset, None));
    let done = history.push(kind, process, f, Value::Row(key, digest(key)), why);
    let at = |index: u64| usize::try_from(index).expect("a small index");
    history.ops[at(begun)].time_ns = sent_ms * MS;
    history.ops[at(done)].time_ns = done_ms * MS;
}

fn ok(history: &mut HistoryBuilder, f: F, sent_ms: u64, done_ms: u64) {
    op(history, f, sent_ms, done_ms, OpType::Ok);
}

/// A fault's window with its start, its end and its recovery, in ms.
type Span = (u64, u64, Option<u64>);

fn timeline(spans: &[Span]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut at = |ms: u64, kind| events.push(Event { time_ns: ms * MS, kind });
    for (n, &(start_ms, end_ms, recovered_ms)) in spans.iter().enumerate() {
        let fault = format!("pod-kill-{n}");
        let target = FaultTarget { kind: "Pod".to_owned(), name: String::new(), uid: String::new(), node: String::new(), owner: None };
        let (kind, parameters, reach) = (String::new(), String::new(), String::new());
        at(start_ms, EventKind::FaultStarted { fault: fault.clone(), kind, target, parameters, reach });
        if let Some(ms) = recovered_ms {
            at(ms, EventKind::FaultRecovered { fault, recovered: true, detail: String::new() });
        }
        if n + 1 == spans.len() {
            at(end_ms, EventKind::PhaseStarted { phase: Phase::Quiesce });
        }
    }
    events
}

fn record(history: &HistoryBuilder, spans: &[Span]) -> Vec<Episode> {
    record_with(history, &timeline(spans))
}

fn record_with(history: &HistoryBuilder, events: &[Event]) -> Vec<Episode> {
    let mut recorder = EpisodeRecorder::new(events);
    let mut scanner = crate::model::Scanner::new();
    let mut open = crate::model::OpenOps::default();
    for op in &history.ops {
        let mut line = Vec::new();
        op.write_line(&mut line);
        let (_, view) = scanner.scan(&line);
        let view = view.expect("a written op can be read");
        let begun = open.pair(&view).expect("the history is well formed");
        recorder.op(&view, begun.as_ref());
    }
    recorder.finish()
}

/// Commits every 10 ms in the half-open span.
fn steady(history: &mut HistoryBuilder, f: F, from_ms: u64, to_ms: u64) {
    for at in (from_ms..to_ms).step_by(10) {
        ok(history, f, at, at + 2);
    }
}

fn times(episode: &Episode) -> (u64, Option<u64>, u64, bool) {
    let outage = episode.outage.expect("there is an outage");
    (outage.start_ns / MS, outage.first_error_ns.map(|ns| ns / MS), outage.end_ns / MS, outage.ended)
}

#[test]
fn an_outage_runs_from_the_last_acknowledgement_to_the_first_commit() {
    let mut history = HistoryBuilder::new();
    steady(&mut history, F::LedgerAdd, 0, 1000);
    op(&mut history, F::LedgerAdd, 1000, 1005, OpType::Info);
    op(&mut history, F::Probe, 1010, 1011, OpType::Fail);
    op(&mut history, F::Probe, 3010, 3011, OpType::Fail);
    ok(&mut history, F::Probe, 3020, 3025);
    steady(&mut history, F::LedgerAdd, 3030, 4000);
    let episodes = record(&history, &[(999, 4000, Some(3040))]);
    assert_eq!(times(&episodes[0]), (992, Some(1005), 3025, true));
    assert_eq!(episodes[0].errors, 3);
    assert_eq!(episodes[0].last_error_ns, Some(3011 * MS));
}

#[test]
fn an_answer_that_still_arrives_after_the_kill_moves_the_start() {
    let mut history = HistoryBuilder::new();
    steady(&mut history, F::LedgerAdd, 0, 1000);
    op(&mut history, F::LedgerAdd, 1000, 1004, OpType::Info);
    ok(&mut history, F::LedgerAdd, 1001, 1006);
    op(&mut history, F::Probe, 1010, 1011, OpType::Fail);
    steady(&mut history, F::LedgerAdd, 3000, 4000);
    let episodes = record(&history, &[(999, 4000, Some(3040))]);
    assert_eq!(times(&episodes[0]), (1006, Some(1011), 3002, true));
}

#[test]
fn a_hung_op_marks_the_gap_it_was_under_way_in() {
    let mut history = HistoryBuilder::new();
    steady(&mut history, F::LedgerAdd, 0, 1000);
    // Nothing is seen to fail during the gap; two ops hang until long after the others are back.
    let hung = |history: &mut HistoryBuilder| op(history, F::LedgerAdd, 1001, 11_001, OpType::Info);
    steady(&mut history, F::LedgerAdd, 4000, 11_000);
    hung(&mut history);
    steady(&mut history, F::LedgerAdd, 11_010, 12_000);
    let episodes = record(&history, &[(1000, 12_000, Some(4040))]);
    assert_eq!(times(&episodes[0]), (992, None, 4002, true));
    assert_eq!(episodes[0].last_error_ns, Some(11_001 * MS));
}

#[test]
fn a_hung_op_of_one_fault_does_not_mark_the_next() {
    let mut history = HistoryBuilder::new();
    steady(&mut history, F::LedgerAdd, 0, 1000);
    op(&mut history, F::Probe, 1001, 1002, OpType::Fail);
    steady(&mut history, F::LedgerAdd, 2000, 5000);
    op(&mut history, F::LedgerAdd, 1003, 5003, OpType::Info);
    steady(&mut history, F::LedgerAdd, 5010, 6000);
    let windows = [(1000, 4500, Some(2040)), (4500, 6000, Some(4600))];
    let episodes = record(&history, &windows);
    assert_eq!(times(&episodes[0]).2, 2002);
    assert_eq!(episodes[0].last_error_ns, Some(5003 * MS));
    assert_eq!((episodes[1].outage, episodes[1].errors), (None, 0));
}

#[test]
fn new_connections_cut_off_while_old_sessions_go_on_are_an_outage() {
    let mut history = HistoryBuilder::new();
    for at in (0..1000).step_by(10) {
        ok(&mut history, F::LedgerAdd, at, at + 2);
        ok(&mut history, F::Probe, at, at + 3);
    }
    for at in (1000..6000).step_by(10) {
        ok(&mut history, F::LedgerAdd, at, at + 2);
        op(&mut history, F::Probe, at, at + 3, OpType::Fail);
    }
    steady(&mut history, F::Probe, 6000, 7000);
    let episodes = record(&history, &[(995, 7000, Some(6040))]);
    let outage = episodes[0].outage.expect("there is an outage");
    assert_eq!(outage.seen_by, SeenBy::NewConnections);
    assert_eq!(times(&episodes[0]), (1002, Some(1003), 6003 - 1, true));
}

#[test]
fn a_total_outage_is_everyones_even_if_the_prober_is_back_last() {
    let mut history = HistoryBuilder::new();
    for at in (0..1000).step_by(10) {
        ok(&mut history, F::LedgerAdd, at, at + 2);
        ok(&mut history, F::Probe, at, at + 1);
    }
    op(&mut history, F::Probe, 1000, 1001, OpType::Fail);
    ok(&mut history, F::LedgerAdd, 3000, 3002);
    ok(&mut history, F::Probe, 3090, 3100);
    let episodes = record(&history, &[(999, 4000, Some(3100))]);
    assert_eq!(episodes[0].outage.map(|o| o.seen_by), Some(SeenBy::Everyone));
    assert_eq!(times(&episodes[0]), (992, Some(1001), 3002, true));
}

#[test]
fn no_error_is_no_outage_and_the_largest_gap_is_told() {
    let mut history = HistoryBuilder::new();
    steady(&mut history, F::LedgerAdd, 0, 1000);
    steady(&mut history, F::LedgerAdd, 1400, 2000);
    let episodes = record(&history, &[(500, 2000, Some(600))]);
    assert_eq!(episodes[0].outage, None);
    assert_eq!(episodes[0].largest_gap_ns, 410 * MS);
}

#[test]
fn a_deadlock_is_not_an_outage() {
    let mut history = HistoryBuilder::new();
    steady(&mut history, F::LedgerAdd, 0, 1000);
    history.now_ns = 1000 * MS;
    history.failed(9999, Some(1205));
    steady(&mut history, F::LedgerAdd, 1100, 2000);
    let episodes = record(&history, &[(500, 2000, Some(600))]);
    assert_eq!((episodes[0].outage, episodes[0].errors), (None, 0));
}

#[test]
fn an_outage_that_does_not_end_is_told_as_such() {
    let mut history = HistoryBuilder::new();
    steady(&mut history, F::LedgerAdd, 0, 1000);
    for at in (1000..9000).step_by(100) {
        op(&mut history, F::Probe, at, at + 1, OpType::Fail);
    }
    let episodes = record(&history, &[(999, 8000, None)]);
    assert_eq!(times(&episodes[0]), (992, Some(1001), 8000, false));

    // The same, with a fault after it that finds a target that is back.
    steady(&mut history, F::LedgerAdd, 9000, 9500);
    op(&mut history, F::Probe, 9501, 9502, OpType::Fail);
    steady(&mut history, F::LedgerAdd, 9600, 9900);
    let windows = [(999, 8000, None), (8000, 9900, Some(9700))];
    let episodes = record(&history, &windows);
    assert_eq!(times(&episodes[0]), (992, Some(1001), 8000, false));
    assert!(times(&episodes[1]).3);
}

#[test]
fn an_error_while_the_workload_winds_down_is_not_an_outage() {
    let mut history = HistoryBuilder::new();
    steady(&mut history, F::LedgerAdd, 0, 1000);
    op(&mut history, F::Probe, 1001, 1002, OpType::Fail);
    steady(&mut history, F::LedgerAdd, 2000, 3000);
    op(&mut history, F::LedgerAdd, 2995, 2999, OpType::Fail);
    op(&mut history, F::LedgerAdd, 2996, 3100, OpType::Fail);
    let episodes = record(&history, &[(1000, 3000, Some(2010))]);
    assert_eq!(times(&episodes[0]), (992, Some(1002), 2002, true));
}

#[test]
fn a_window_that_no_op_reached_has_an_empty_episode() {
    let history = HistoryBuilder::new();
    let episodes = record(&history, &[(1, 2, None), (2, 3, None)]);
    assert_eq!(episodes.len(), 2);
    assert!(episodes.iter().all(|e| e.outage.is_none() && e.commits == 0));
}

#[test]
fn a_prober_that_gets_no_connection_is_an_error_of_new_connections() {
    // Sessions that exist go on; the prober is calm, commits every 250 ms, and then gets no connection for three seconds.
    let mut history = HistoryBuilder::new();
    for at in (0..8000).step_by(10) {
        ok(&mut history, F::LedgerAdd, at, at + 2);
        if at % 250 == 0 && !(1000..4000).contains(&at) {
            ok(&mut history, F::Probe, at, at + 3);
        }
    }
    let mut events = timeline(&[(995, 8000, Some(4100))]);
    let error = OpError { kind: ErrorKind::Refused, number: None, message: String::new() };
    let failed = EventKind::ProbeFailed { stage: ProbeStage::Tcp, attempt_ns: 1000 * MS, error };
    events.insert(1, Event { time_ns: 1001 * MS, kind: failed });
    let episodes = record_with(&history, &events);
    let outage = episodes[0].outage.expect("there is an outage");
    assert_eq!(outage.seen_by, SeenBy::NewConnections);
    // From the last commit of anyone before the first failure.
    assert_eq!(times(&episodes[0]), (992, Some(1001), 4003, true));
}
