//! The load, the prober and the final read against the stand-in engine, in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use chaos::experiment::{Tls, WorkloadKind, WorkloadPlan};
use chaos::measure::{Clock, Recorder};
use chaos::model::{Digest, F, FactOutcome, Op, OpType, Rate, Secret, Value};
use chaos::sql::Target;
use chaos::workload::{self, ACCOUNTS, Load, OPENING_BALANCE, Prober};
use tds_sqlite::{Config, Server};

const PASSWORD: &str = "Pass-word-1";
const WITHIN: Duration = Duration::from_secs(60);

async fn engine(data: &Path, listen: SocketAddr) -> Server {
    let start = Instant::now();
    loop {
        let mut config = Config::new(data, PASSWORD);
        config.listen = listen;
        match Server::start(config).await {
            Ok(server) => return server,
            // The port of a server that just ended may be held for a moment by a connection that is being closed.
            Err(error) => assert!(start.elapsed() < WITHIN, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn target(server: &Server, tls: Tls) -> Target {
    Target {
        address: server.addr().to_string(),
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
        rate: Rate { per_second },
        warm_up: Duration::ZERO,
        op_timeout: Duration::from_secs(10),
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
                if op.value == Value::After(0) {
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
    let server = engine(data.path(), any_port()).await;
    for tls in [Tls::Off, Tls::TrustServerCertificate] {
        let target = target(&server, tls);
        assert_eq!(workload::sentinel_read(&target, "run-1").await, Ok(false), "before there is a database or a row");
        workload::prepare(&target).await.expect("prepared");
        workload::sentinel_write(&target, "run-1").await.expect("acknowledged");
        assert_eq!(workload::sentinel_read(&target, "run-1").await, Ok(true));
        assert_eq!(workload::sentinel_read(&target, "run-2").await, Ok(false));
        workload::prepare(&target).await.expect("prepared again");
        assert_eq!(workload::sentinel_read(&target, "run-1").await, Ok(false));
    }
    let target = target(&server, Tls::Off);
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
    let server = engine(data.path(), any_port()).await;
    let target = target(&server, Tls::Off);
    workload::prepare(&target).await.expect("prepared");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clock = Clock::start();
    let recorder = Recorder::create(dir.path(), clock).expect("a writable folder");
    let prober = Prober::start(target.clone(), recorder.sink(), clock, |_| {}).expect("a thread");
    prober.alert();
    let mix = [(WorkloadKind::Ledger, 70), (WorkloadKind::Bank, 30)];
    let load = Load::start(&plan(&mix, 8, 1_000.0), 7, target.clone(), recorder.sink(), clock).expect("threads");
    // More than two pages of the final read.
    until("4,100 ops are acknowledged", || recorder.sink().counts(&[F::LedgerAdd]).ok >= 4_100).await;
    prober.stop().await;
    let summary = load.stop(WITHIN).await;
    assert!(summary.issued >= 4_100 && summary.cpu_per_op_ns > 0);
    let read = workload::final_read(&target, &recorder.sink(), clock, WITHIN).await;
    recorder.finish().expect("written");
    assert_eq!((read.complete, read.attempts, read.torn), (true, 1, 0), "{read:?}");

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
        if let Value::Balances(balances) = &op.value {
            assert_eq!((balances.len(), balances.iter().sum::<i64>()), (ACCOUNTS as usize, total));
            reads += 1;
        }
    }
    assert!(reads > 50, "{reads} reads of the balances");
    let moved = ops.iter().filter(|op| op.f == F::BankTransfer && op.kind == OpType::Ok).count();
    assert!(moved > 200, "{moved} transfers");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_in_the_middle_loses_nothing_that_it_acknowledged() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut server = engine(data.path(), any_port()).await;
    let address = server.addr();
    let target = target(&server, Tls::Off);
    workload::prepare(&target).await.expect("prepared");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clock = Clock::start();
    let recorder = Recorder::create(dir.path(), clock).expect("a writable folder");
    let mix = [(WorkloadKind::Ledger, 1)];
    let load = Load::start(&plan(&mix, 8, 500.0), 7, target.clone(), recorder.sink(), clock).expect("threads");
    for _ in 0..3 {
        let before = load.progress().counts;
        until("the load runs", || load.progress().counts.ok >= before.ok + 100).await;
        server.shutdown().await;
        until("the outage shows", || load.progress().counts.fail >= before.fail + 20).await;
        server = engine(data.path(), address).await;
    }
    let before = load.progress().counts;
    until("the load is back", || load.progress().counts.ok >= before.ok + 100).await;
    load.stop(WITHIN).await;
    let read = workload::final_read(&target, &recorder.sink(), clock, WITHIN).await;
    recorder.finish().expect("written");
    assert!(read.complete, "{read:?}");
    let account = account(&history(dir.path()));
    account.assert_whole();
    assert!(account.of(Ended::Fail).len() >= 60);
    server.shutdown().await;
}
