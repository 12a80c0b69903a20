//! A storage that takes no more: who waits for a commit learns of it, and what was acknowledged before is found again, no more and no less.

use crate::process::{Engine, command, found, prepare};
use crate::support::{connect, run};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tiberius::EncryptionLevel::NotSupported;

const CACHES: [&str; 2] = ["kernel", "volatile"];

fn args(cache: &'static str) -> [&'static str; 4] {
    ["--tls", "off", "--cache", cache]
}

/// An engine none of whose files may grow beyond a megabyte: a write past it is EFBIG, for which no rights are needed.
fn cramped(dir: &Path, cache: &'static str) -> Engine {
    let inner = command(dir, &args(cache));
    let mut outer = Command::new("sh");
    outer.args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Engine::spawn(outer)
}

/// Inserts until an error, and returns what was acknowledged with the error's number, if it has one.
async fn insert(port: u16, first: i64, explicit: bool) -> (BTreeSet<i64>, Option<u32>) {
    let mut c = connect(port, "chaos", NotSupported).await.unwrap();
    let mut acknowledged = BTreeSet::new();
    // A hundred times what any of these storages holds.
    for id in first..first + 100_000 {
        let insert = format!("INSERT INTO t VALUES ({id}, REPLICATE(CAST(N'x' AS NVARCHAR(MAX)), 9000))");
        let sql = if explicit { format!("BEGIN TRAN {insert} COMMIT") } else { insert };
        match run(&mut c, &sql).await {
            Ok(_) => acknowledged.insert(id),
            Err(e) => return (acknowledged, e.code()),
        };
    }
    panic!("the storage takes everything");
}

/// A database that is there, whose engine has ended.
async fn prepared(dir: &Path, cache: &'static str) {
    let engine = Engine::start(dir, &args(cache));
    prepare(engine.port).await;
    engine.signal("-TERM");
    assert_eq!(engine.exit().0, Some(0));
}

async fn rows(dir: &Path, cache: &'static str) -> BTreeSet<i64> {
    found(Engine::start(dir, &args(cache)).port).await
}

fn says_why(log: &[String], number: u32) -> bool {
    log.iter().any(|line| line.contains("The log for the database is not available") && line.contains(&format!("Msg {number},")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_io_error_reaches_who_waits_and_nothing_acknowledged_is_lost() {
    for (cache, explicit) in CACHES.into_iter().flat_map(|cache| [(cache, false), (cache, true)]) {
        let dir = tempfile::tempdir().unwrap();
        prepared(dir.path(), cache).await;
        let engine = cramped(dir.path(), cache);
        let (acknowledged, number) = insert(engine.port, 0, explicit).await;
        assert_eq!(number, Some(823), "{cache}, explicit {explicit}");
        assert!(!acknowledged.is_empty());
        let (code, log) = engine.exit();
        assert_eq!(code, Some(1), "{log:?}");
        assert!(says_why(&log, 823), "{log:?}");
        assert_eq!(rows(dir.path(), cache).await, acknowledged, "{cache}, explicit {explicit}");
    }
}

/// Of a group, all learn of it; who came behind it is refused or cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_io_error_reaches_a_whole_group() {
    for cache in CACHES {
        let dir = tempfile::tempdir().unwrap();
        prepared(dir.path(), cache).await;
        let engine = cramped(dir.path(), cache);
        let inserting = (0..8).map(|writer| insert(engine.port, writer * 1_000_000, writer % 4 == 0));
        let ends = futures::future::join_all(inserting).await;
        let numbers: Vec<_> = ends.iter().map(|(_, number)| *number).collect();
        assert!(numbers.contains(&Some(823)), "{cache}: {numbers:?}");
        assert!(numbers.iter().all(|number| matches!(number, Some(823 | 945) | None)), "{cache}: {numbers:?}");
        assert_eq!(engine.exit().0, Some(1));
        let acknowledged = ends.into_iter().flat_map(|(ids, _)| ids).collect();
        assert_eq!(rows(dir.path(), cache).await, acknowledged, "{cache}");
    }
}

/// `/dev/full` in place of the log that is kept: SQLite's commit has succeeded when its sync meets ENOSPC.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_without_space_is_1105_and_its_commit_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path(), &args("volatile"));
    prepare(engine.port).await;
    let mut c = connect(engine.port, "chaos", NotSupported).await.unwrap();
    run(&mut c, "INSERT INTO t VALUES (1, N'x')").await.unwrap();
    engine.signal("-TERM");
    assert_eq!(engine.exit().0, Some(0));
    let log = dir.path().join("data/chaos.mdf-wal");
    for explicit in [false, true] {
        let engine = Engine::start(dir.path(), &args("volatile"));
        std::os::unix::fs::symlink("/dev/full", &log).unwrap();
        assert_eq!(insert(engine.port, 2, explicit).await, (BTreeSet::new(), Some(1105)), "explicit {explicit}");
        let (code, said) = engine.exit();
        assert_eq!(code, Some(1));
        assert!(says_why(&said, 1105), "{said:?}");
        std::fs::remove_file(&log).unwrap();
        assert_eq!(rows(dir.path(), "volatile").await, BTreeSet::from([1]), "explicit {explicit}");
    }
}

/// A file system of a few megabytes, gone with this.
struct Small(PathBuf);

impl Small {
    /// None where this may not mount.
    fn mount(dir: &Path) -> Option<Self> {
        let mount = |options| Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir).output();
        mount("size=3m").is_ok_and(|output| output.status.success()).then(|| Small(dir.to_owned()))
    }

    fn grow(&self) {
        assert!(Command::new("mount").args(["-o", "remount,size=64m"]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_1105_and_with_room_again_nothing_acknowledged_is_lost() {
    for cache in CACHES {
        let dir = tempfile::tempdir().unwrap();
        let Some(small) = Small::mount(dir.path()) else {
            // Not by `eprintln!`, which nobody sees of a test that passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED: this may not mount a file system, so no full one was tested");
            return;
        };
        let engine = Engine::start(dir.path(), &args(cache));
        prepare(engine.port).await;
        let (acknowledged, number) = insert(engine.port, 0, false).await;
        assert_eq!(number, Some(1105), "{cache}");
        assert!(!acknowledged.is_empty());
        // It may have ended by itself.
        engine.signal("-KILL");
        engine.exit();
        small.grow();
        assert_eq!(rows(dir.path(), cache).await, acknowledged, "{cache}");
    }
}
