//! The capacity search on the embedded sandbox, through the real program.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The fault and the rate are there to be left out.
const EXPERIMENT: &str = "name: small\ntarget: { engine: tds-sqlite }\nworkload: { clients: 1, rate: 7/s }\nfaults:\n  - pod-kill:\n";

/// The exit code and what was found.
fn bench(folder: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    fs::create_dir_all(folder.join("tmp")).unwrap();
    fs::write(folder.join("small.yaml"), EXPERIMENT).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(["bench", "small.yaml", "--output", "json", "-q"])
        .args(arguments)
        .current_dir(folder)
        .env("TMPDIR", folder.join("tmp"))
        .env("XDG_STATE_HOME", folder.join("state"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), found)
}

#[test]
fn a_rate_that_is_carried_is_found_and_the_search_leaves_its_record_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    // A stand-in that answers 40 ops a second within two seconds, on a machine that is shared with every other test, is no feat.
    let (exit, found) = bench(folder.path(), &["--from", "20/s", "--to", "40/s", "--step-for", "2s", "--objective", "p99=2s"]);
    assert_eq!(exit, Some(0), "{found}");
    assert_eq!(found["answer"], serde_json::json!({ "kind": "at-least", "carried": 40.0 }), "{found}");
    let steps = found["steps"].as_array().unwrap();
    assert_eq!(steps.last().unwrap()["perSecond"], 40.0);
    for step in steps.iter().filter(|step| step["verdict"] == "carried") {
        let due = step["seen"]["due"].as_u64().unwrap();
        let expected = step["harness"]["expected"].as_u64().unwrap();
        assert!(due.abs_diff(expected) <= 2, "the window holds what was due in it: {step}");
        assert!(step["seen"]["atObjectiveMs"].as_f64().unwrap() <= 2_000.0, "{step}");
        assert!(step["harness"]["busy"].as_f64().unwrap() > 0.0, "the harness was timed: {step}");
    }

    let run = fs::canonicalize(folder.path().join("reports/latest")).unwrap();
    let kept: Value = serde_json::from_slice(&fs::read(run.join("bench.json")).unwrap()).unwrap();
    assert_eq!(kept, found);
    let timeline = fs::read_to_string(run.join("timeline.jsonl")).unwrap();
    assert!(timeline.contains("step-measured") && timeline.contains("run-finished") && !timeline.contains("fault-started"), "{timeline}");
    assert!(timeline.contains(r#""event":"leak-check","left":[],"kept":false"#), "{timeline}");
    assert!(fs::read_to_string(run.join("journal.jsonl")).unwrap().contains("closed"));
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0, "the sandbox is gone");

    let again = Command::new(env!("CARGO_BIN_EXE_chaos")).arg("check").arg(&run).output().unwrap();
    assert_eq!(again.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&again.stderr).contains("bench.json"));
}

#[test]
fn what_the_harness_cannot_tell_is_inconclusive_and_a_flood_is_never_carried() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody answers within a microsecond, but neither can the harness tell one from another.
    let (exit, found) = bench(folder.path(), &["--from", "20/s", "--to", "40/s", "--step-for", "1s", "--objective", "max=1us"]);
    assert_eq!(exit, Some(2), "{found}");
    assert_eq!(found["answer"], serde_json::json!({ "kind": "undecided", "carried": null }), "{found}");
    assert_eq!(found["steps"].as_array().unwrap().len(), 2, "the second try decides: {found}");
    assert!(found["steps"][1]["why"].as_str().unwrap().contains("the harness"), "{found}");

    // One client cannot do 50,000 commits a second one after the other, however fast the machine: that is 20 µs each, with a write to disk.
    let (exit, found) = bench(folder.path(), &["--from", "50000/s", "--to", "50000/s", "--step-for", "1s", "--objective", "p99=50ms"]);
    let kind = found["answer"]["kind"].as_str().unwrap();
    assert!(matches!((exit, kind), (Some(1), "below") | (Some(2), "undecided")), "{found}");
    assert!(found["answer"]["carried"].is_null(), "{found}");
}

#[test]
fn a_wrong_question_is_refused_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.yaml"), EXPERIMENT).unwrap();
    for (wrong, why) in [
        (&["--objective", "mean=5ms"][..], "p99=50ms"),
        (&["--from", "100/s", "--to", "10/s"], "--from 100/s is above --to 10/s"),
        (&["--step-for", "10ms"], "1s at the least"),
        (&["--from", "0/s"], "above 0"),
        (&["--cluster", "context:mine"], "--yes-i-mean"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_chaos"))
            .args(["bench", "small.yaml"])
            .args(wrong)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{wrong:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(!folder.path().join("reports").exists());
}
