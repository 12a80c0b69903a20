//! A run on the sandbox beside an observer that knows better: it sees the engine's processes come and go in `/proc`, within about a millisecond, and asks neither the
//! harness nor the sandbox. For `tests/truth` and `benches/phase_truth`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// A process that is not the engine by then never becomes it.
const EXECS_WITHIN: Duration = Duration::from_secs(2);
/// The marks of the engine's command line; the other is the folder of this run.
const ENGINE: &str = "tds-sqlite";

/// When a process was seen to begin and to end, in ns since the epoch.
#[derive(Debug, Clone, Copy, Default)]
struct Life {
    begun_ns: u64,
    ended_ns: Option<u64>,
}

/// How late the harness put a boundary.
#[derive(Debug)]
pub struct Late {
    /// The boundary.
    pub name: &'static str,
    /// By how many ms; below 0 where it was too early.
    pub by_ms: f64,
}

/// Runs an experiment with pods that are killed in order, so that the object goes after the process has, and one process that crashes. Returns how late each boundary
/// was that stands for the end or the start of a process.
pub fn run(pod_kills: u32) -> Vec<Late> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("tmp")).expect("it can be made");
    let last_s = 3 + pod_kills * 8;
    let experiment = format!(
        "name: truth\ntarget: {{ engine: tds-sqlite }}\nworkload: {{ clients: 2, rate: 50/s, warmUp: 2s }}\ncoldRead: false\nfaults:\n  \
         - pod-kill: {{ grace: 10s }}\n    at: 3s\n    repeat: {pod_kills}\n    every: 8s\n  - process-crash:\n    at: {last_s}s\n\
         expect:\n  reconnect: {{ max: 60s }}\n  overlap: allowed\n"
    );
    fs::write(folder.path().join("truth.yaml"), experiment).expect("it can be written");
    let over = AtomicBool::new(false);
    let lives = std::thread::scope(|scope| {
        let watching = scope.spawn(|| observe(folder.path(), &over));
        let output = Command::new(env!("CARGO_BIN_EXE_chaos"))
            .args(["run", "truth.yaml", "--quiet"])
            .current_dir(folder.path())
            .env("TMPDIR", folder.path().join("tmp"))
            .env("XDG_STATE_HOME", folder.path().join("state"))
            .stdin(Stdio::null())
            .output()
            .expect("chaos starts");
        over.store(true, Ordering::SeqCst);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
        watching.join().expect("the observer does not panic")
    });
    let report = fs::read(folder.path().join("reports/latest/report.json")).expect("there is a report");
    compare(&serde_json::from_slice(&report).expect("it is JSON"), &lives)
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_nanos()).expect("before 2554")
}

fn observe(folder: &Path, over: &AtomicBool) -> Vec<Life> {
    let mark = folder.display().to_string();
    let mut others: BTreeMap<u32, (u64, Instant)> = BTreeMap::new();
    let mut engines: BTreeMap<u32, Life> = BTreeMap::new();
    let mut over_lives = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let now = now_ns();
        let pids: Vec<u32> = fs::read_dir("/proc")
            .expect("there is a /proc")
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        others.retain(|pid, _| pids.contains(pid));
        for pid in &pids {
            if engines.contains_key(pid) {
                continue;
            }
            let (begun_ns, first) = *others.entry(*pid).or_insert((now, Instant::now()));
            // A process is its parent's copy until it has become what it is to be.
            if first.elapsed() < EXECS_WITHIN && is_engine(*pid, &mark) {
                engines.insert(*pid, Life { begun_ns, ended_ns: None });
                others.remove(pid);
            }
        }
        let ended: Vec<u32> = engines.keys().copied().filter(|pid| is_over(*pid)).collect();
        for pid in ended {
            let life = engines.remove(&pid).expect("just found");
            over_lives.push(Life { ended_ns: Some(now_ns()), ..life });
        }
        std::thread::sleep(LOOK_EVERY);
    }
    over_lives.extend(engines.into_values());
    over_lives
}

fn is_engine(pid: u32, mark: &str) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    line.contains(ENGINE) && line.contains(mark) && !line.contains("shim")
}

/// Gone, or dead and not waited for yet.
fn is_over(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().is_empty() || rest.trim_start().starts_with(['Z', 'X']))
}

fn compare(report: &Value, lives: &[Life]) -> Vec<Late> {
    let started_at: jiff::Timestamp = report["run"]["startedAt"].as_str().expect("it started").parse().expect("a time");
    let started_ns = u64::try_from(started_at.as_nanosecond()).expect("after 1970");
    let mut found = Vec::new();
    for phase in report["episodes"].as_array().expect("there are some").iter().flat_map(|e| e["phases"].as_array().into_iter().flatten()) {
        let (name, truth): (_, Vec<u64>) = match phase["name"].as_str() {
            Some("old-container-gone") => ("old-container-gone", lives.iter().filter_map(|life| life.ended_ns).collect()),
            Some("container-started") => ("container-started", lives.iter().map(|life| life.begun_ns).collect()),
            _ => continue,
        };
        let end_ms = phase["startMs"].as_f64().expect("a time") + phase["durationMs"].as_f64().expect("a time");
        #[expect(clippy::cast_precision_loss, reason = "a run of a minute in ns")]
        let by_ms = |truth_ns: u64| end_ms - (truth_ns as f64 - started_ns as f64) / 1e6;
        // Processes are seconds apart, so the nearest is the one that is meant.
        let nearest = truth.into_iter().map(by_ms).min_by(|a, b| a.abs().total_cmp(&b.abs()));
        found.push(Late { name, by_ms: nearest.expect("some process came and went") });
    }
    found
}
