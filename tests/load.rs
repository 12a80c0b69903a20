//! The load, the prober and the final read against the stand-in engine, in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chaos::check::{Append, Check, Checker, Order, Own, Queue, Register};
use chaos::experiment::{Named, OwnCheck, OwnSql, Pace, Returns, Statement, Tls, WorkloadKind, WorkloadPlan};
use chaos::measure::{Clock, Recorder};
use chaos::model::{Digest, F, FactOutcome, Isolation, Op, OpType, OpenOps, Scanner, Secret, Value, Verdict};
use chaos::sql::{Deadlines, Session, Target};
use chaos::workload::{self, ACCOUNTS, Load, OPENING_BALANCE, Prober};
use tds_sqlite::{Config, Sabotage, Server};

const PASSWORD: &str = "Pass-word-1";
const WITHIN: Duration = Duration::from_secs(60);

async fn engine(data: &Path) -> Server {
    Server::start(Config::new(data, PASSWORD)).await.expect("a free loopback port")
}

/// The engine as a process of its own, so that it can be killed as a container's is. Killed when dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(data: &Path, listen: SocketAddr) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_chaos"))
            .args(["engine", "tds-sqlite", "--listen", &listen.to_string(), "--data"])
            .arg(data)
            .env("MSSQL_SA_PASSWORD", PASSWORD)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the engine is part of the binary");
        let mut log = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = log
            .by_ref()
            .map(|line| line.expect("the log is text"))
            .find_map(|line| line.split_once("listening on [ 127.0.0.1 <ipv4> ")?.1.split_once(']')?.0.parse().ok())
            .expect("it listens before its log ends");
        // Read to its end, so that the engine never waits for a reader.
        std::thread::spawn(move || log.for_each(drop));
        Process { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// Kills it with SIGKILL.
    fn kill(mut self) -> SocketAddr {
        self.end();
        self.address
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn target(address: SocketAddr, tls: Tls) -> Target {
    Target {
        address: address.to_string(),
        user: "sa".to_owned(),
        password: Secret::new(PASSWORD.to_owned()),
        database: workload::DATABASE.to_owned(),
        tls,
    }
}

fn plan(mix: &[(WorkloadKind, u32)], clients: u32, per_second: f64) -> WorkloadPlan {
    WorkloadPlan {
        mix: mix.iter().copied().collect(),
        clients,
        rate: Pace::constant(per_second),
        warm_up: Duration::ZERO,
        op_timeout: Duration::from_secs(10),
        isolation: Isolation::ReadCommitted,
        sql: None,
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < WITHIN, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn history(dir: &Path) -> Vec<Op> {
    let text = std::fs::read(dir.join("history.jsonl")).expect("the history is there");
    text.split_inclusive(|&byte| byte == b'\n').map(|line| Op::parse(line).expect("a whole line")).collect()
}

/// The ledger's and the prober's rows by how their ops ended, and the rows of the last complete read.
struct Account {
    ended: BTreeMap<Ended, BTreeMap<u64, Digest>>,
    read: BTreeMap<u64, Digest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    Ok,
    Fail,
    Info,
}

fn account(ops: &[Op]) -> Account {
    let mut account = Account { ended: BTreeMap::new(), read: BTreeMap::new() };
    for op in ops {
        let ended = match op.kind {
            OpType::Invoke => {
                if op.value == Value::Key(0) {
                    account.read.clear();
                }
                continue;
            }
            OpType::Ok => Ended::Ok,
            OpType::Fail => Ended::Fail,
            OpType::Info => Ended::Info,
        };
        match &op.value {
            Value::Row(key, digest) => {
                account.ended.entry(ended).or_default().insert(*key, *digest);
            }
            Value::Rows(rows) => account.read.extend(rows.iter().copied()),
            _ => {}
        }
    }
    account
}

impl Account {
    fn of(&self, ended: Ended) -> BTreeMap<u64, Digest> {
        self.ended.get(&ended).cloned().unwrap_or_default()
    }

    /// Everything acknowledged was read with its digest, nothing failed was read, and nothing that was never written.
    fn assert_whole(&self) {
        let (ok, fail, info) = (self.of(Ended::Ok), self.of(Ended::Fail), self.of(Ended::Info));
        for (key, digest) in &ok {
            assert_eq!(self.read.get(key), Some(digest), "acknowledged key {key}");
        }
        for (key, digest) in &self.read {
            assert!(!fail.contains_key(key), "failed key {key} was read");
            assert_eq!(ok.get(key).or(info.get(key)), Some(digest), "key {key} was read");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preparing_twice_leaves_an_empty_ledger_and_the_sentinel_is_told_from_another() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let server = engine(data.path()).await;
    for tls in [Tls::Off, Tls::TrustServerCertificate] {
        let target = target(server.addr(), tls);
        assert_eq!(workload::sentinel_read(&target, "run-1").await, Ok(false), "before there is a database or a row");
        workload::prepare(&plan(&[], 1, 1.0), &target).await.expect("prepared");
        workload::sentinel_write(&target, "run-1").await.expect("acknowledged");
        assert_eq!(workload::sentinel_read(&target, "run-1").await, Ok(true));
        assert_eq!(workload::sentinel_read(&target, "run-2").await, Ok(false));
        workload::prepare(&plan(&[], 1, 1.0), &target).await.expect("prepared again");
        assert_eq!(workload::sentinel_read(&target, "run-1").await, Ok(false));
    }
    let target = target(server.addr(), Tls::Off);
    let info = workload::engine_info(&target, "tds-sqlite").await.expect("it tells who it is");
    assert!(!info.version.is_empty() && info.banner.contains("SQL Server"), "{info:?}");
    let facts = workload::engine_facts(&target, Some(&data.path().display().to_string())).await;
    let names: BTreeSet<&str> = facts.iter().map(|fact| fact.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["database-state", "suspect-pages", "data-files", "dbcc-checkdb"]));
    assert!(facts.iter().all(|fact| matches!(fact.outcome, FactOutcome::Good | FactOutcome::Unsupported)), "{facts:?}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undisturbed_load_is_acknowledged_and_found_whole() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let server = engine(data.path()).await;
    let target = target(server.addr(), Tls::Off);
    workload::prepare(&plan(&[], 1, 1.0), &target).await.expect("prepared");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clock = Clock::start();
    let recorder = Recorder::create(dir.path(), clock).expect("a writable folder");
    let prober = Prober::start(target.clone(), recorder.sink(), clock, |_| {}).expect("a thread");
    prober.alert();
    let mix = [(WorkloadKind::Ledger, 70), (WorkloadKind::Bank, 30)];
    let load = Load::start(&plan(&mix, 8, 1_000.0), 7, target.clone(), recorder.sink(), clock, |_| ()).expect("threads");
    // More than two pages of the final read.
    until("4,100 ops are acknowledged", || recorder.sink().counts(&[F::LedgerAdd]).ok >= 4_100).await;
    prober.stop().await;
    let summary = load.stop(WITHIN).await;
    assert!(summary.issued >= 4_100 && summary.cpu_per_op_ns > 0);
    let read = workload::final_read(&plan(&mix, 8, 1.0), &target, &recorder.sink(), clock, WITHIN).await;
    recorder.finish().expect("written");
    assert_eq!((read.complete, read.attempts), (true, 1), "{read:?}");

    let ops = history(dir.path());
    let account = account(&ops);
    account.assert_whole();
    assert_eq!(account.read.len() as u64, read.rows);
    assert_eq!(account.of(Ended::Info), BTreeMap::new());
    let pages = ops.iter().filter(|op| op.f == F::LedgerRead && op.kind == OpType::Ok).count();
    assert!(pages >= 4, "three pages and the empty one: {pages}");
    let total = i64::from(ACCOUNTS) * OPENING_BALANCE;
    let mut reads = 0;
    for op in &ops {
        if let Value::Numbers(balances) = &op.value {
            assert_eq!((balances.len(), balances.iter().sum::<i64>()), (ACCOUNTS as usize, total));
            reads += 1;
        }
    }
    assert!(reads > 50, "{reads} reads of the balances");
    assert_eq!(ops.iter().filter(|op| op.f == F::BankFinal && op.kind == OpType::Ok).count(), 1);
    let moved = ops.iter().filter(|op| op.f == F::BankTransfer && op.kind == OpType::Ok).count();
    assert!(moved > 200, "{moved} transfers");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_to_either_column_of_a_row_shows_in_the_final_read() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let server = engine(data.path()).await;
    let target = target(server.addr(), Tls::Off);
    let mix = plan(&[(WorkloadKind::Ledger, 1)], 2, 200.0);
    workload::prepare(&mix, &target).await.expect("prepared");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clock = Clock::start();
    let recorder = Recorder::create(dir.path(), clock).expect("a writable folder");
    let load = Load::start(&mix, 7, target.clone(), recorder.sink(), clock, |_| ()).expect("threads");
    until("20 rows are acknowledged", || recorder.sink().counts(&[F::LedgerAdd]).ok >= 20).await;
    load.stop(WITHIN).await;
    let deadlines = Deadlines { connect: WITHIN, login: WITHIN };
    let mut session = Session::connect(&target.in_database(workload::DATABASE), deadlines).await.expect("it serves");
    for damage in ["UPDATE dbo.ledger SET digest = digest + 1 WHERE id = 1", "UPDATE dbo.ledger SET payload = 0x00 WHERE id = 2"] {
        assert_eq!(session.execute(damage, &[], WITHIN).await, Ok(1), "{damage}");
    }
    assert!(workload::final_read(&mix, &target, &recorder.sink(), clock, WITHIN).await.complete);
    recorder.finish().expect("written");
    let account = account(&history(dir.path()));
    let altered: Vec<u64> =
        account.of(Ended::Ok).into_iter().filter(|(key, digest)| account.read[key] != *digest).map(|(key, _)| key).collect();
    assert_eq!(altered, [1, 2]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_in_the_middle_loses_nothing_that_it_acknowledged() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut engine = Process::start(data.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let target = target(engine.address, Tls::Off);
    workload::prepare(&plan(&[], 1, 1.0), &target).await.expect("prepared");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clock = Clock::start();
    let recorder = Recorder::create(dir.path(), clock).expect("a writable folder");
    let mix = [(WorkloadKind::Ledger, 1)];
    let load = Load::start(&plan(&mix, 8, 500.0), 7, target.clone(), recorder.sink(), clock, |_| ()).expect("threads");
    for _ in 0..3 {
        let before = load.progress().counts;
        until("the load runs", || load.progress().counts.ok >= before.ok + 100).await;
        let address = engine.kill();
        until("the outage shows", || load.progress().counts.fail >= before.fail + 20).await;
        engine = Process::start(data.path(), address);
    }
    let before = load.progress().counts;
    until("the load is back", || load.progress().counts.ok >= before.ok + 100).await;
    load.stop(WITHIN).await;
    let read = workload::final_read(&plan(&mix, 8, 1.0), &target, &recorder.sink(), clock, WITHIN).await;
    recorder.finish().expect("written");
    assert!(read.complete, "{read:?}");
    let account = account(&history(dir.path()));
    account.assert_whole();
    assert!(account.of(Ended::Fail).len() >= 60);
}

/// What these checkers say of a recorded history.
fn judged<const N: usize>(dir: &Path, mut checkers: [Box<dyn Checker>; N]) -> [Check; N] {
    let (mut scanner, mut open) = (Scanner::new(), OpenOps::default());
    let text = std::fs::read(dir.join("history.jsonl")).expect("the history is there");
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let op = scanner.scan(line).1.expect("a whole line");
        let begun = open.pair(&op).expect("a sound history");
        for checker in &mut checkers {
            checker.op(&op, begun.as_ref());
        }
    }
    checkers.map(|checker| checker.finish())
}

/// What the checkers of lists, registers and the queue say.
fn consistency(dir: &Path, level: Isolation) -> [Check; 3] {
    let register = Register::new(workload::OPENING_CONTENT);
    judged(dir, [Box::new(Append::new(level, Order::RealTime)), Box::new(register), Box::new(Queue::new())])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_registers_and_queues_keep_every_isolation_level() {
    for isolation in Isolation::ALL.iter().copied() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let server = engine(data.path()).await;
        let target = target(server.addr(), Tls::Off);
        let mix = [(WorkloadKind::Append, 1), (WorkloadKind::Register, 1), (WorkloadKind::Bank, 1), (WorkloadKind::Queue, 1)];
        let plan = WorkloadPlan { isolation, ..plan(&mix, 8, 600.0) };
        workload::prepare(&plan, &target).await.expect("prepared");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let clock = Clock::start();
        let recorder = Recorder::create(dir.path(), clock).expect("a writable folder");
        let load = Load::start(&plan, 7, target.clone(), recorder.sink(), clock, |_| ()).expect("threads");
        // Some six lists are filled by then, and eight transactions run at once all the time.
        until("200 transactions are acknowledged", || recorder.sink().counts(&[F::Txn]).ok >= 200).await;
        load.stop(WITHIN).await;
        let read = workload::final_read(&plan, &target, &recorder.sink(), clock, WITHIN).await;
        recorder.finish().expect("written");
        assert!(read.complete, "{read:?}");
        for check in consistency(dir.path(), isolation) {
            assert_eq!(check.verdict, Verdict::Valid, "{isolation:?}: {check:#?}");
        }
        // Rolled back on purpose, so that there was something aborted that could have been read.
        let declined = history(dir.path()).iter().filter(|op| op.f == F::Txn && op.kind == OpType::Fail).count();
        assert!(declined > 0, "{isolation:?}");
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_registers_and_queues_survive_a_kill_at_full_load() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut engine = Process::start(data.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let target = target(engine.address, Tls::Off);
    let mix = [(WorkloadKind::Append, 1), (WorkloadKind::Register, 1), (WorkloadKind::Queue, 1)];
    let plan = WorkloadPlan { isolation: Isolation::Serializable, ..plan(&mix, 8, 300.0) };
    workload::prepare(&plan, &target).await.expect("prepared");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clock = Clock::start();
    let recorder = Recorder::create(dir.path(), clock).expect("a writable folder");
    let load = Load::start(&plan, 7, target.clone(), recorder.sink(), clock, |_| ()).expect("threads");
    for _ in 0..2 {
        let before = load.progress().counts;
        until("the load runs", || load.progress().counts.ok >= before.ok + 100).await;
        let address = engine.kill();
        until("the outage shows", || load.progress().counts.fail >= before.fail + 20).await;
        engine = Process::start(data.path(), address);
    }
    let before = load.progress().counts;
    until("the load is back", || load.progress().counts.ok >= before.ok + 100).await;
    load.stop(WITHIN).await;
    let read = workload::final_read(&plan, &target, &recorder.sink(), clock, WITHIN).await;
    recorder.finish().expect("written");
    assert!(read.complete, "{read:?}");
    for check in consistency(dir.path(), Isolation::Serializable) {
        assert_eq!(check.verdict, Verdict::Valid, "{check:#?}");
    }
}

/// Orders that are inserted, some of which are then taken back.
fn orders() -> OwnSql {
    let statement = |run: &str, weight| Statement { run: run.to_owned(), weight };
    let check = |query: &str, returns| OwnCheck { query: query.to_owned(), returns };
    OwnSql {
        setup: vec![
            "IF OBJECT_ID(N'dbo.o', N'U') IS NULL CREATE TABLE dbo.o (id BIGINT PRIMARY KEY, c INT, v BIGINT, t NVARCHAR(100))".to_owned(),
        ],
        statements: vec![
            statement("INSERT INTO dbo.o (id, c, v, t) VALUES (@key, @client, @value, @text)", 2),
            statement("INSERT INTO dbo.o (id, c, v, t) VALUES (@key, @client, @value, @text); THROW 50001, N'taken back', 1", 1),
        ],
        checks: vec![
            check("SELECT id FROM dbo.o", Returns::Acknowledged),
            check("SELECT id FROM dbo.o WHERE LEN(t) <> 40 OR v < 0 OR c < 0", Returns::Nothing),
        ],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_statements_are_held_to_their_checks() {
    for (sabotage, verdict) in [(None, Verdict::Valid), (Some(Sabotage::ResurrectAborted), Verdict::Invalid)] {
        let data = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(Config { sabotage, ..Config::new(data.path(), PASSWORD) }).await.expect("a free loopback port");
        let target = target(server.addr(), Tls::Off);
        let plan = WorkloadPlan { sql: Some(orders()), ..plan(&[(WorkloadKind::Sql, 1)], 4, 300.0) };
        workload::prepare(&plan, &target).await.expect("prepared");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let clock = Clock::start();
        let recorder = Recorder::create(dir.path(), clock).expect("a writable folder");
        let load = Load::start(&plan, 7, target.clone(), recorder.sink(), clock, |_| ()).expect("threads");
        until("100 statements are acknowledged", || recorder.sink().counts(&[F::Sql]).ok >= 100).await;
        load.stop(WITHIN).await;
        let read = workload::final_read(&plan, &target, &recorder.sink(), clock, WITHIN).await;
        recorder.finish().expect("written");
        assert!(read.complete, "{read:?}");
        let [check] = judged(dir.path(), [Box::new(Own::new(&orders()))]);
        assert_eq!(check.verdict, verdict, "{check:#?}");
        // A third was taken back; with the defect a third of those is there all the same.
        assert!(check.counts["failed"] > 10, "{check:#?}");
        assert_eq!(check.counts["resurrected"] > 0, sabotage.is_some(), "{check:#?}");
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_statement_that_the_engine_refuses_is_told_with_its_place() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let server = engine(data.path()).await;
    let target = target(server.addr(), Tls::Off);
    let mut own = orders();
    own.checks[1].query = "SELECT nothing FROM dbo.o".to_owned();
    let plan = WorkloadPlan { sql: Some(own), ..plan(&[(WorkloadKind::Sql, 1)], 1, 1.0) };
    let refused = workload::prepare(&plan, &target).await.expect_err("there is no such column");
    assert!(refused.is_final());
    assert!(refused.to_string().starts_with("workload.sql.checks[1]: request: error 207"), "{refused}");
    server.shutdown().await;
}
