//! Several runs of one command: their index, their JUnit file, what is left out, and the figures while they go on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A run may share two cores with every other test, so nothing here is bounded tighter than this.
const PATIENCE: Duration = Duration::from_secs(180);

fn chaos(folder: &Path, arguments: &[&str]) -> Command {
    fs::create_dir_all(folder.join("tmp")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.args(arguments).current_dir(folder).env("TMPDIR", folder.join("tmp")).env("XDG_STATE_HOME", folder.join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// An experiment of a few seconds that holds when clients may be away for so long.
fn experiment(name: &str, reconnect: &str) -> String {
    format!(
        "name: {name}\ntarget: {{ engine: tds-sqlite }}\nworkload: {{ clients: 2, rate: 50/s, warmUp: 1s }}\nfaults:\n  - pod-kill: {{ grace: 0s }}\n    at: 1s\n\
         expect:\n  reconnect: {{ max: {reconnect} }}\n  overlap: allowed\n"
    )
}

fn scrape(address: &str) -> String {
    let mut answer = String::new();
    let Ok(mut stream) = TcpStream::connect(address) else { return answer };
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn a_folder_is_run_file_by_file_and_what_it_does_can_be_scraped() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("suite")).unwrap();
    fs::write(folder.path().join("suite/a.yaml"), experiment("first", "60s")).unwrap();
    // No one is back within a millisecond, so this one must fail.
    fs::write(folder.path().join("suite/b.yaml"), experiment("second", "1ms")).unwrap();
    fs::write(folder.path().join("suite/c.txt"), "not an experiment").unwrap();
    let mut child = chaos(folder.path(), &["run", "suite", "--metrics", "127.0.0.1:0", "-q"]).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("metrics: http://").and_then(|rest| rest.strip_suffix("/metrics")).unwrap().to_owned();
    let begun = Instant::now();
    loop {
        let text = scrape(&address);
        let acknowledged =
            text.lines().find_map(|line| line.strip_prefix("chaos_ops_total{outcome=\"ok\"} ")).and_then(|n| n.parse::<u64>().ok());
        if acknowledged.is_some_and(|ops| ops > 0) && text.contains("chaos_faults_injected_total 1\n") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{text}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().unwrap();
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    assert_eq!(output.status.code(), Some(1), "the worst verdict wins: {}\n{rest}", String::from_utf8_lossy(&output.stdout));

    let junit = fs::read_to_string(folder.path().join("reports/junit.xml")).unwrap();
    assert_eq!(junit.matches("<testsuite name=").count(), 2, "{junit}");
    assert!(junit.contains("name=\"first\"") && junit.contains("name=\"second\"") && junit.contains("<failure"), "{junit}");
    let index = fs::read_to_string(folder.path().join("reports/index.html")).unwrap();
    assert!(index.contains("1 passed, 1 failed, 0 inconclusive"), "{index}");
    for link in index.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).filter(|link| link.ends_with("report.html")) {
        assert!(folder.path().join("reports").join(link).is_file(), "{link}");
    }
}

#[test]
fn repeats_end_at_the_first_that_does_not_pass_when_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("slow.yaml"), experiment("slow", "1ms")).unwrap();
    let output = chaos(folder.path(), &["run", "slow.yaml", "--repeat", "3", "--fail-fast", "-q"]).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("1 runs, 2 left out"), "{out}");
    let runs = fs::read_dir(folder.path().join("reports"))
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("slow-"));
    assert_eq!(runs.count(), 1);
    assert!(fs::read_to_string(folder.path().join("reports/index.html")).unwrap().contains("Not run"));
}
