//! The load and the prober against a server that can be stalled and killed at a known instant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::experiment::Pace;
use crate::measure::{Clock, Recorder};
use crate::model::{ErrorKind, EventKind, Isolation, Op, ProbeStage};
use crate::sql::Target;
use crate::sql::fake::{FakeServer, target};

const END: Duration = Duration::from_secs(10);

fn plan(clients: u32, per_second: f64, op_timeout: Duration) -> WorkloadPlan {
    WorkloadPlan {
        mix: BTreeMap::from([(WorkloadKind::Ledger, 1)]),
        clients,
        rate: Pace::constant(per_second),
        warm_up: Duration::ZERO,
        op_timeout,
        isolation: Isolation::ReadCommitted,
        sql: None,
    }
}

struct Rig {
    dir: tempfile::TempDir,
    recorder: Recorder,
    clock: Clock,
}

impl Rig {
    fn new() -> Rig {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let clock = Clock::start();
        let recorder = Recorder::create(dir.path(), clock).expect("a writable folder");
        Rig { dir, recorder, clock }
    }

    fn load(&self, plan: &WorkloadPlan, target: Target) -> Load {
        self.load_told(plan, target).0
    }

    /// Also what is told of sessions.
    fn load_told(&self, plan: &WorkloadPlan, target: Target) -> (Load, Arc<Mutex<Vec<EventKind>>>) {
        let told: Arc<Mutex<Vec<EventKind>>> = Arc::default();
        let teller = Arc::clone(&told);
        let load = Load::start(plan, 1, target, self.recorder.sink(), self.clock, move |event| {
            teller.lock().expect("no panic").push(event);
        });
        (load.expect("threads"), told)
    }

    fn finish(self) -> Vec<Op> {
        self.recorder.finish().expect("written");
        read(self.dir.path())
    }
}

fn read(dir: &Path) -> Vec<Op> {
    let text = std::fs::read(dir.join("history.jsonl")).expect("the history is there");
    text.split_inclusive(|&byte| byte == b'\n').map(|line| Op::parse(line).expect("a whole line")).collect()
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn key(op: &Op) -> u64 {
    match op.value {
        Value::Row(key, _) => key,
        _ => panic!("not a ledger op: {op:?}"),
    }
}

/// Each process has at most one op open, none after an info, and every invoke is completed.
fn assert_well_formed(ops: &[Op]) {
    let mut open: BTreeMap<u32, u64> = BTreeMap::new();
    let mut retired = BTreeSet::new();
    for op in ops {
        assert!(!retired.contains(&op.process), "process {} after its info", op.process);
        match op.kind {
            OpType::Invoke => assert_eq!(open.insert(op.process, key(op)), None),
            OpType::Ok | OpType::Fail | OpType::Info => assert_eq!(open.remove(&op.process), Some(key(op))),
        }
        if op.kind == OpType::Info {
            retired.insert(op.process);
        }
    }
    assert_eq!(open, BTreeMap::new(), "ops without an end");
}

fn completions(ops: &[Op], kind: OpType) -> Vec<&Op> {
    ops.iter().filter(|op| op.kind == kind).collect()
}

#[tokio::test]
async fn every_due_op_is_in_the_history_once_with_dense_keys() {
    let server = FakeServer::start().await;
    let rig = Rig::new();
    let load = rig.load(&plan(4, 500.0, END), server.target());
    until("200 ops are acknowledged", || load.progress().counts.ok >= 200).await;
    assert_eq!(load.progress().connected, 4);
    let summary = load.stop(END).await;
    let ops = rig.finish();
    assert_well_formed(&ops);
    let invokes = completions(&ops, OpType::Invoke);
    assert_eq!(invokes.len() as u64, summary.issued);
    let keys: BTreeSet<u64> = invokes.iter().map(|op| key(op)).collect();
    assert_eq!((keys.len() as u64, keys.last()), (summary.issued, Some(&summary.issued)));
    // 2 ms apart, to the nanosecond, whatever became of the ops before.
    let mut due: Vec<u64> = invokes.iter().map(|op| op.intended_ns).collect();
    due.sort_unstable();
    assert!(due.windows(2).all(|pair| pair[1] - pair[0] == 2_000_000));
    assert!(invokes.iter().all(|op| op.time_ns >= op.intended_ns));
    assert_eq!(summary.not_sent, completions(&ops, OpType::Fail).len() as u64);
}

/// In a closed loop each client has one op at a time and the next at once: a stall holds all of them back, so nothing is due in it.
#[tokio::test]
async fn a_closed_loop_issues_nothing_while_the_server_stalls() {
    let server = FakeServer::start().await;
    let rig = Rig::new();
    let load = rig.load(&WorkloadPlan { rate: Pace::Closed, ..plan(4, 1.0, END) }, server.target());
    until("200 ops are acknowledged", || load.progress().counts.ok >= 200).await;
    server.stall();
    until("all clients wait for an answer", || server.behaviour.held.load(Ordering::SeqCst) == 4).await;
    let due = load.progress().due;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(load.progress().due, due);
    server.release();
    until("the clients go on", || load.progress().due >= due + 50).await;
    let summary = load.stop(END).await;
    let ops = rig.finish();
    assert_well_formed(&ops);
    let invokes = completions(&ops, OpType::Invoke);
    assert_eq!((invokes.len() as u64, summary.not_sent), (summary.issued, 0));
    assert!(summary.issued > due);
}

#[tokio::test]
async fn a_stall_is_charged_to_every_op_that_was_due_in_it() {
    let server = FakeServer::start().await;
    let rig = Rig::new();
    let load = rig.load(&plan(4, 200.0, END), server.target());
    until("the load runs", || load.progress().counts.ok >= 50).await;
    server.stall();
    tokio::time::sleep(Duration::from_millis(1_400)).await;
    server.release();
    let due = load.progress().due;
    until("the backlog is worked off", || load.progress().counts.ok >= due + 100).await;
    load.stop(END).await;
    let ops = rig.finish();
    let mut invoked = BTreeMap::new();
    let (mut response, mut service) = (Vec::new(), Vec::new());
    for op in &ops {
        if op.kind == OpType::Invoke {
            invoked.insert(key(op), op.time_ns);
        } else {
            response.push(op.time_ns - op.intended_ns);
            service.push(op.time_ns - invoked[&key(op)]);
        }
    }
    response.sort_unstable();
    service.sort_unstable();
    let at = |times: &[u64], per_mille: usize| times[(times.len() - 1) * per_mille / 1_000];
    // About 280 of at most 1,000 ops were due within the stall: their response times spread evenly up to all of it. Only the 4 in flight have a long
    // service time, which is what a closed loop would have seen: 4 of some 430 are below the 1 % that the 99th percentile leaves out.
    assert!(at(&response, 990) > 1_200_000_000, "response p99 is the stall's: {}", at(&response, 990));
    assert!(at(&service, 980) < 600_000_000, "service p98 is not: {}", at(&service, 980));
    assert!(service[service.len() - 1] > 1_200_000_000);
}

#[tokio::test]
async fn a_killed_server_leaves_unknowns_and_failures_of_the_right_kind() {
    let server = FakeServer::start().await;
    let address = server.address();
    let rig = Rig::new();
    let (load, told) = rig.load_told(&plan(4, 400.0, END), server.target());
    until("the load runs", || load.progress().counts.ok >= 50).await;
    server.stall();
    until("all clients wait for an answer", || server.behaviour.held.load(Ordering::SeqCst) == 4).await;
    drop(server);
    until("the outage shows", || load.progress().counts.fail >= 50).await;
    let during = load.progress();
    assert!(during.first_error_ns.is_some() && during.connected == 0);
    let server = FakeServer::start_at(address).await;
    until("the clients are back", || load.progress().counts.ok >= during.counts.ok + 50).await;
    until("every client has committed again", || {
        let told = told.lock().expect("no panic");
        told.iter().filter(|event| matches!(event, EventKind::SessionBack { .. })).count() == 4
    })
    .await;
    load.stop(END).await;
    drop(server);
    assert_each_session_was_lost_and_regained(&told.lock().expect("no panic"));
    let ops = rig.finish();
    assert_well_formed(&ops);
    let unknown = completions(&ops, OpType::Info);
    assert_eq!(unknown.len(), 4, "one for each op in flight");
    for op in &unknown {
        assert_eq!(op.error.as_ref().map(|error| error.kind), Some(ErrorKind::Reset));
    }
    for op in completions(&ops, OpType::Fail) {
        let kind = op.error.as_ref().map(|error| error.kind);
        assert!(matches!(kind, Some(ErrorKind::Refused | ErrorKind::Reset | ErrorKind::NotSent)), "{op:?}");
    }
    let processes: BTreeSet<u32> = ops.iter().map(|op| op.process).collect();
    // Four retired, four took their place; the load's own for leftovers may be among them.
    assert!(processes.len() >= 8, "{processes:?}");
}

/// Four clients, each with a reset in the middle of an op, and nothing told of the run's own end.
fn assert_each_session_was_lost_and_regained(told: &[EventKind]) {
    let mut noticed = BTreeSet::new();
    let mut regained = BTreeSet::new();
    for event in told {
        match event {
            EventKind::SessionLost { client, how, idle } => {
                assert_eq!((how.kind, *idle), (ErrorKind::Reset, false));
                assert!(noticed.insert(*client), "client {client} lost its session twice");
            }
            EventKind::SessionBack { client, noticed_ns, login_ns } => {
                assert!(noticed.contains(client) && noticed_ns < login_ns);
                regained.insert(*client);
            }
            other => panic!("not a session's event: {other:?}"),
        }
    }
    assert_eq!((noticed.len(), regained), (4, noticed));
}

#[tokio::test]
async fn ops_that_no_client_could_take_are_recorded_as_not_sent() {
    let server = FakeServer::start().await;
    server.stall();
    let rig = Rig::new();
    // One client that never gets an answer, and a queue of 64.
    let load = rig.load(&plan(1, 5.0, END), server.target());
    until("the one client is busy", || load.progress().counts.in_flight == 1).await;
    until("ops wait", || load.progress().waiting >= 2).await;
    let summary = load.stop(Duration::from_millis(50)).await;
    let ops = rig.finish();
    assert_well_formed(&ops);
    let unknown = completions(&ops, OpType::Info);
    assert_eq!(unknown.len(), 1);
    assert_eq!(unknown[0].error.as_ref().map(|error| error.kind), Some(ErrorKind::Timeout));
    let failed = completions(&ops, OpType::Fail);
    assert_eq!(failed.len() as u64, summary.not_sent);
    assert!(summary.not_sent >= 2 && summary.issued == summary.not_sent + 1);
    assert!(failed.iter().all(|op| op.error.as_ref().is_some_and(|error| error.kind == ErrorKind::NotSent)));
}

#[tokio::test]
async fn an_op_that_gets_no_answer_is_unknown_and_its_client_goes_on_as_another_process() {
    let server = FakeServer::start().await;
    let rig = Rig::new();
    let load = rig.load(&plan(1, 100.0, Duration::from_millis(100)), server.target());
    until("the load runs", || load.progress().counts.ok >= 5).await;
    server.stall();
    until("an op times out", || load.progress().counts.info >= 1).await;
    server.release();
    let ok = load.progress().counts.ok;
    until("the client is back", || load.progress().counts.ok >= ok + 5).await;
    load.stop(END).await;
    let ops = rig.finish();
    assert_well_formed(&ops);
    for op in completions(&ops, OpType::Info) {
        assert_eq!(op.error.as_ref().map(|error| error.kind), Some(ErrorKind::Timeout));
    }
}

type Seen = Arc<Mutex<Vec<(Instant, EventKind)>>>;

fn watch(rig: &Rig, target: Target) -> (Prober, Seen) {
    let seen = Seen::default();
    let sink = Arc::clone(&seen);
    let prober = Prober::start(target, rig.recorder.sink(), rig.clock, move |event| {
        sink.lock().expect("no panic").push((Instant::now(), event));
    });
    (prober.expect("a thread"), seen)
}

fn stages(seen: &Seen) -> Vec<(bool, ProbeStage)> {
    let of = |event: &EventKind| match event {
        EventKind::Probe { stage, .. } => (true, *stage),
        EventKind::ProbeFailed { stage, .. } => (false, *stage),
        other => panic!("not a probe's event: {other:?}"),
    };
    seen.lock().expect("no panic").iter().map(|(_, event)| of(event)).collect()
}

#[tokio::test]
async fn the_prober_sees_recovery_within_moments_and_tells_each_transition_once() {
    let server = FakeServer::start().await;
    let address = server.address();
    let rig = Rig::new();
    let (prober, seen) = watch(&rig, target(address));
    until("the first commit", || stages(&seen).len() == 3).await;
    prober.alert();
    drop(server);
    until("the outage is seen", || stages(&seen).contains(&(false, ProbeStage::Tcp))).await;
    let mut delays = Vec::new();
    let mut server = FakeServer::start_at(address).await;
    for round in 0..20 {
        let count = |seen: &Seen| stages(seen).iter().filter(|stage| **stage == (true, ProbeStage::Commit)).count();
        let before = count(&seen);
        drop(server);
        until("the outage is seen again", || stages(&seen).last().is_some_and(|stage| !stage.0)).await;
        let before = before.max(count(&seen));
        // An odd time apart, so that restarts fall on different parts of the prober's beat.
        tokio::time::sleep(Duration::from_micros(7_300 + 613 * round)).await;
        server = FakeServer::start_at(address).await;
        let up = Instant::now();
        until("the recovery is seen", || count(&seen) > before).await;
        let at = seen
            .lock()
            .expect("no panic")
            .iter()
            .rev()
            .find_map(|(at, event)| matches!(event, EventKind::Probe { stage: ProbeStage::Commit, .. }).then_some(*at));
        delays.push(at.expect("just counted").saturating_duration_since(up));
    }
    prober.stop().await;
    drop(server);
    delays.sort_unstable();
    // Within 10 ms is what a quiet machine does. At the calm pace of 250 ms the median would be 125, so that 100 proves the fast one.
    assert!(delays[delays.len() / 2] < Duration::from_millis(100), "{delays:?}");
    let ops = rig.finish();
    assert_well_formed(&ops);
    assert!(ops.iter().all(|op| op.f == F::Probe));
}

#[tokio::test]
async fn a_login_that_is_refused_is_a_failure_at_that_stage_only() {
    let server = FakeServer::start().await;
    server.behaviour.login_error.store(18456, Ordering::SeqCst);
    let rig = Rig::new();
    let (prober, seen) = watch(&rig, server.target());
    until("the failure is told", || stages(&seen).len() >= 2).await;
    server.behaviour.login_error.store(0, Ordering::SeqCst);
    until("the recovery is told", || stages(&seen).len() >= 4).await;
    prober.stop().await;
    assert_eq!(stages(&seen), [(true, ProbeStage::Tcp), (false, ProbeStage::Login), (true, ProbeStage::Login), (true, ProbeStage::Commit)]);
}
