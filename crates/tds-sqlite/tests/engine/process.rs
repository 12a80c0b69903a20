//! The process: what a SIGKILL loses (nothing), what SIGTERM does, who may open the data.

use crate::support::{PASSWORD, connect, one, run};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tiberius::EncryptionLevel::NotSupported;

pub struct Engine {
    child: Child,
    pub port: u16,
    rest: std::thread::JoinHandle<Vec<String>>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_tds-sqlite"));
    c.args(["--listen", "127.0.0.1:0", "--data"]).arg(dir).args(args).env("MSSQL_SA_PASSWORD", PASSWORD);
    c
}

impl Engine {
    /// Starts one and waits for the log line that says so.
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        Self::spawn(command(dir, args))
    }

    /// The same of a program that becomes one.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut port = 0;
        let mut seen = Vec::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            if let Some(at) = line.find("<ipv4> ") {
                port = line[at + 7..].split(']').next().unwrap().parse().unwrap();
            }
            let ready = line.contains("SQL Server is now ready for client connections.");
            seen.push(line);
            if ready {
                break;
            }
        }
        assert_ne!(port, 0, "never ready: {seen:?}");
        let rest = std::thread::spawn(move || {
            seen.extend(lines.map_while(Result::ok));
            seen
        });
        Self { child, port, rest }
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits for the end of the process. One that does not end is a failure and not a test that hangs.
    pub fn exit(mut self) -> (Option<i32>, Vec<String>) {
        let start = Instant::now();
        let code = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None => assert!(start.elapsed() < Duration::from_secs(30), "the engine does not end"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let rest = std::mem::replace(&mut self.rest, std::thread::spawn(Vec::new));
        (code, rest.join().unwrap())
    }
}

/// What writes until the process ends.
#[derive(Clone, Copy)]
struct Load {
    writers: i64,
    /// Commits before the signal.
    enough: usize,
    /// Length of what each row holds.
    payload: usize,
}

const FEW: Load = Load { writers: 16, enough: 200, payload: 7 };
const MANY: Load = Load { writers: 32, enough: 300, payload: 7 };
/// More pages than the log holds before a checkpoint, so that the kills fall into several generations of it.
const WIDE: Load = Load { writers: 32, enough: 1_200, payload: 9_000 };

/// Writers insert until the process is killed; returns the ids that were acknowledged.
async fn write_until_killed(engine: Engine, load: Load, round: i64) -> BTreeSet<i64> {
    write_until(engine, "-KILL", load, round).await.0
}

/// Writers insert until the process ends by a signal; returns the ids that were acknowledged, and its exit code.
async fn write_until(engine: Engine, signal: &str, load: Load, round: i64) -> (BTreeSet<i64>, Option<i32>) {
    let acked = Arc::new(Mutex::new(BTreeSet::new()));
    let mut tasks = Vec::new();
    for w in 0..load.writers {
        let (acked, port, payload) = (acked.clone(), engine.port, "x".repeat(load.payload));
        tasks.push(tokio::spawn(async move {
            let Ok(mut c) = connect(port, "chaos", NotSupported).await else { return };
            for n in 0.. {
                let id = round * 100_000_000 + w * 1_000_000 + n;
                // Every other writer uses an explicit transaction.
                let ok = if w % 4 == 0 {
                    run(&mut c, &format!("BEGIN TRAN INSERT INTO t (id, s) VALUES ({id}, N'{payload}') COMMIT")).await.is_ok()
                } else {
                    c.execute("INSERT INTO t (id, s) VALUES (@P1, @P2)", &[&id, &payload.as_str()]).await.is_ok()
                };
                if !ok {
                    return;
                }
                acked.lock().unwrap().insert(id);
            }
        }));
    }
    let start = Instant::now();
    while acked.lock().unwrap().len() < load.enough && start.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    engine.signal(signal);
    let (code, _) = engine.exit();
    for t in tasks {
        t.await.unwrap();
    }
    let set = acked.lock().unwrap().clone();
    assert!(set.len() >= load.enough, "only {} commits in a minute", set.len());
    (set, code)
}

/// How often a test kills; `CHAOS_KILLS` asks for more.
fn kills(usual: i64) -> i64 {
    std::env::var("CHAOS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

pub async fn found(port: u16) -> BTreeSet<i64> {
    let mut c = connect(port, "chaos", NotSupported).await.unwrap();
    let rows = run(&mut c, "SELECT id FROM t").await.unwrap().remove(0);
    rows.iter().map(|r| r.get::<i64, _>(0).unwrap()).collect()
}

pub async fn prepare(port: u16) {
    let mut c = connect(port, "", NotSupported).await.unwrap();
    run(&mut c, "CREATE DATABASE chaos").await.unwrap();
    run(&mut c, "USE chaos CREATE TABLE t (id BIGINT PRIMARY KEY, s NVARCHAR(MAX))").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = Engine::start(dir.path(), &["--tls", "off"]);
    prepare(engine.port).await;
    let mut acked = BTreeSet::new();
    for round in 0..kills(4) {
        acked.extend(write_until_killed(engine, MANY, round).await);
        engine = Engine::start(dir.path(), &["--tls", "off"]);
        let there = found(engine.port).await;
        let lost: Vec<_> = acked.difference(&there).take(10).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?} of {}", acked.len());
    }
    let mut c = connect(engine.port, "chaos", NotSupported).await.unwrap();
    run(&mut c, "DBCC CHECKDB (N'chaos') WITH NO_INFOMSGS").await.unwrap();
}

/// The order to end arrives among inserts, wherever in a group of them it falls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_ends_cleanly_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = Engine::start(dir.path(), &["--tls", "off"]);
    prepare(engine.port).await;
    let mut acked = BTreeSet::new();
    for round in 0..4 {
        let (set, code) = write_until(engine, "-TERM", FEW, round).await;
        assert_eq!(code, Some(0), "round {round}");
        acked.extend(set);
        engine = Engine::start(dir.path(), &["--tls", "off"]);
        let there = found(engine.port).await;
        assert!(acked.is_subset(&there), "round {round}: lost {:?}", acked.difference(&there).take(10).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lose_acked_does_lose_but_not_on_a_clean_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--tls", "off", "--sabotage", "lose-acked"];
    let mut engine = Engine::start(dir.path(), &args);
    prepare(engine.port).await;
    let mut c = connect(engine.port, "chaos", NotSupported).await.unwrap();
    assert!(one::<String>(&mut c, "SELECT @@VERSION").await.contains("SABOTAGE: lose-acked"));
    run(&mut c, "INSERT INTO t VALUES (-1, N'x')").await.unwrap();
    assert_eq!(one::<i32>(&mut c, "SELECT COUNT(*) FROM t").await, 1, "alive, it shows what it acknowledged");
    engine.signal("-TERM");
    assert_eq!(engine.exit().0, Some(0));
    engine = Engine::start(dir.path(), &args);
    assert_eq!(found(engine.port).await, BTreeSet::from([-1]), "a clean shutdown loses nothing");
    let mut lost = 0;
    for round in 0..3 {
        let acked = write_until_killed(engine, FEW, round).await;
        engine = Engine::start(dir.path(), &args);
        lost += acked.difference(&found(engine.port).await).count();
    }
    assert!(lost > 0, "three kills under load lost nothing");
}

/// Rounds of writers that a SIGKILL ends; how many acknowledged rows of each are not there afterwards.
async fn lost_in_rounds(dir: &Path, args: &[&str], rounds: i64, load: Load) -> Vec<usize> {
    let mut engine = Engine::start(dir, args);
    prepare(engine.port).await;
    let mut lost = Vec::new();
    for round in 0..rounds {
        let acked = write_until_killed(engine, load, round).await;
        engine = Engine::start(dir, args);
        lost.push(acked.difference(&found(engine.port).await).count());
    }
    let mut c = connect(engine.port, "chaos", NotSupported).await.unwrap();
    run(&mut c, "DBCC CHECKDB (N'chaos') WITH NO_INFOMSGS").await.unwrap();
    engine.signal("-TERM");
    assert_eq!(engine.exit().0, Some(0));
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_of_power_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--tls", "off", "--cache", "volatile"];
    let lost = lost_in_rounds(dir.path(), &args, kills(2), WIDE).await;
    assert!(lost.iter().all(|n| *n == 0), "{lost:?}");
    let left: Vec<_> = std::fs::read_dir(dir.path().join("data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name == "volatile"), "a clean stop leaves no live files: {left:?}");
    let engine = Engine::start(dir.path(), &["--tls", "off"]);
    assert!(found(engine.port).await.len() >= lost.len() * WIDE.enough, "what was kept is a database like any other");
}

/// The same defect, seen and not seen: what nobody synced is in the kernel's page cache, which outlives the process, and in a volatile one, which does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_sync_shows_where_the_cache_is_volatile_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = ["--tls", "off", "--sabotage", "skip-sync"];
    assert_eq!(lost_in_rounds(dir.path(), &kernel, 2, MANY).await, [0; 2]);
    let dir = tempfile::tempdir().unwrap();
    let volatile = ["--tls", "off", "--sabotage", "skip-sync", "--cache", "volatile"];
    let lost = lost_in_rounds(dir.path(), &volatile, 2, MANY).await;
    assert!(lost.iter().all(|n| *n > 0), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lose_acked_loses_under_a_volatile_cache_too() {
    let dir = tempfile::tempdir().unwrap();
    let lost = lost_in_rounds(dir.path(), &["--tls", "off", "--sabotage", "lose-acked", "--cache", "volatile"], 3, FEW).await;
    assert!(lost.iter().sum::<usize>() > 0, "{lost:?}");
}

/// What a crash leaves of the live files is not looked at, and databases come and go with both of their files.
#[tokio::test]
async fn databases_are_made_and_dropped_with_both_of_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--tls", "off", "--cache", "volatile"];
    let engine = Engine::start(dir.path(), &args);
    prepare(engine.port).await;
    let mut c = connect(engine.port, "", NotSupported).await.unwrap();
    let file: String = one(&mut c, "SELECT physical_name FROM sys.master_files WHERE database_id = DB_ID(N'chaos') AND type = 0").await;
    assert_eq!(file, dir.path().join("data/chaos.mdf").display().to_string(), "the file that is kept is the one that is shown");
    run(&mut c, "CREATE DATABASE other; DROP DATABASE other").await.unwrap();
    engine.signal("-KILL");
    engine.exit();
    std::fs::write(dir.path().join("data/volatile/chaos.mdf"), b"not a database").unwrap();
    let engine = Engine::start(dir.path(), &args);
    assert_eq!(found(engine.port).await, BTreeSet::new());
    let mut c = connect(engine.port, "", NotSupported).await.unwrap();
    assert_eq!(one::<i32>(&mut c, "SELECT COUNT(*) FROM sys.databases WHERE name = N'other'").await, 0);
    for folder in ["data", "data/volatile"] {
        assert!(!dir.path().join(folder).join("other.mdf").exists(), "{folder}");
    }
    run(&mut c, "CREATE DATABASE other").await.unwrap();
}

#[tokio::test]
async fn sigterm_rolls_back_and_ends_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path(), &[]);
    prepare(engine.port).await;
    let mut open = connect(engine.port, "chaos", NotSupported).await.unwrap();
    run(&mut open, "INSERT INTO t VALUES (1, N'committed'); BEGIN TRAN; INSERT INTO t VALUES (2, N'open')").await.unwrap();
    let start = Instant::now();
    engine.signal("-TERM");
    let (code, log) = engine.exit();
    assert_eq!(code, Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    assert!(log.iter().any(|l| l.contains("SQL Server is terminating because of a system shutdown")), "{log:?}");
    let engine = Engine::start(dir.path(), &[]);
    assert_eq!(found(engine.port).await, BTreeSet::from([1]));
    drop(engine);
    let engine = Engine::start(dir.path(), &["--ignore-sigterm"]);
    engine.signal("-TERM");
    assert_eq!(found(engine.port).await, BTreeSet::from([1]), "it goes on");
    let start = Instant::now();
    let delayed = tempfile::tempdir().unwrap();
    let slow = Engine::start(delayed.path(), &["--startup-delay", "300"]);
    assert!(start.elapsed() >= Duration::from_millis(300));
    let log = {
        slow.signal("-INT");
        slow.exit().1
    };
    assert!(log.iter().any(|l| l.contains("Recovery is complete.")), "{log:?}");
}

#[tokio::test]
async fn a_second_instance_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path(), &[]);
    let second = command(dir.path(), &[]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let log = String::from_utf8(second.stdout).unwrap();
    assert!(log.contains("Error: 5120, Severity: 16, State: 101.") && log.contains("being used by another process"), "{log}");
    engine.signal("-KILL");
    engine.exit();
    drop(Engine::start(dir.path(), &[]));
    let missing = command(dir.path(), &[]).env_remove("MSSQL_SA_PASSWORD").output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
}
