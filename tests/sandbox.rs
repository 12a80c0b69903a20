//! The whole program on the embedded sandbox: one process that deploys, loads, kills, reads back and judges.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A run may share two cores with every other test, so nothing here is bounded tighter than this.
const PATIENCE: Duration = Duration::from_secs(180);

/// A folder for one test: reports, experiment, and the temporary files of the processes, so that what is left can be found.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(experiment: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        fs::write(folder.path().join("experiment.yaml"), experiment).unwrap();
        Bench { folder }
    }

    fn chaos(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("TMPDIR", self.folder.path().join("tmp"))
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .stdin(Stdio::null());
        command
    }

    fn start(&self) -> Child {
        self.chaos(&["run", "experiment.yaml", "--output", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn run(&self) -> Output {
        self.chaos(&["run", "experiment.yaml", "--output", "json"]).output().unwrap()
    }

    fn latest(&self) -> PathBuf {
        fs::canonicalize(self.folder.path().join("reports/latest")).unwrap()
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.latest().join("report.json")).unwrap()).unwrap()
    }

    /// Processes whose command line or environment names this test's temporary folder.
    fn processes(&self) -> Vec<String> {
        let mark = self.folder.path().join("tmp").display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            let Ok(command) = fs::read(entry.path().join("cmdline")) else { continue };
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if pid.parse::<u32>().is_ok() && command.contains(&mark) {
                found.push(format!("{pid}: {command}"));
            }
        }
        found
    }

    /// Waits until a line of the run's timeline has the text.
    fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        let timeline = self.folder.path().join("reports/latest/timeline.jsonl");
        while !fs::read_to_string(&timeline).unwrap_or_default().contains(text) {
            assert!(Instant::now() < deadline, "the timeline never said {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The embedded sandbox ends by itself when the harness is gone, and takes its folder along.
    fn assert_no_process(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.processes().is_empty() {
            assert!(Instant::now() < deadline, "processes are left: {:#?}", self.processes());
            std::thread::sleep(Duration::from_millis(20));
        }
        let left: Vec<_> = fs::read_dir(self.folder.path().join("tmp")).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("chaos-sandbox-")), "{left:?}");
    }
}

fn experiment(faults: &str, target: &str) -> String {
    format!(
        "name: short\n\
         target:\n  engine: tds-sqlite\n{target}\
         workload: {{ mix: {{ ledger: 1 }}, clients: 4, rate: 100/s, warmUp: 1s }}\n\
         faults:\n{faults}\
         expect:\n  reconnect: {{ max: 60s }}\n  overlap: allowed\n"
    )
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check {name} in {report}"))
}

fn folder_has(folder: &Path, names: &[&str]) {
    for name in names {
        assert!(folder.join(name).is_file(), "{} is missing in {}", name, folder.display());
    }
}

#[test]
fn pod_kills_end_in_an_earned_pass() {
    let bench = Bench::new(&experiment(
        "  - pod-kill: { grace: 0s }\n    at: 1s\n    repeat: 2\n    every: 5s\n  - pod-kill: { grace: 10s }\n    at: 12s\n",
        "",
    ));
    let output = bench.run();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let first = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
    assert!(first.contains("sandbox"), "the first line must say that it is not a real Kubernetes: {first}");

    let report = bench.report();
    assert_eq!(report["verdict"], "pass");
    assert_eq!(report["run"]["provider"], "sandbox");
    let faults = report["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 3);
    for fault in faults {
        assert_eq!(fault["attested"], true, "{fault}");
    }
    let ledger = check(&report, "ledger");
    assert_eq!(ledger["verdict"], "valid");
    assert!(ledger["counts"]["acknowledged"].as_u64().unwrap() > 100, "a run at 100/s for several seconds acknowledges more: {ledger}");
    assert_eq!(ledger["counts"]["lost"], 0);
    for id in ["HA-2", "HA-3", "HA-5", "HA-6", "HA-7"] {
        let claim = report["claims"].as_array().unwrap().iter().find(|claim| claim["id"] == id).unwrap();
        assert_eq!(claim["verdict"], "valid", "{claim}");
        assert!(!claim["evidence"].as_array().unwrap().is_empty(), "{claim}");
    }
    for episode in report["episodes"].as_array().unwrap() {
        let sum: f64 = episode["phases"].as_array().unwrap().iter().map(|phase| phase["durationMs"].as_f64().unwrap()).sum();
        assert!((sum - episode["outageMs"].as_f64().unwrap()).abs() < 0.01, "phases must sum to the outage: {episode}");
    }
    folder_has(
        &bench.latest(),
        &[
            "report.json",
            "report.md",
            "junit.xml",
            "history.jsonl",
            "timeline.jsonl",
            "latency.hlog",
            "journal.jsonl",
            "experiment.yaml",
            "target.log",
        ],
    );
    bench.assert_no_process();

    // Judged again from the recorded files alone, the verdict is the same.
    let again = bench.chaos(&["check", "reports/latest", "--output", "json"]).output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["checks"], report["checks"]);
    assert_eq!(again["claims"], report["claims"]);
    // A history that lost its end proves nothing any more, however well what is left looks.
    let path = bench.latest().join("history.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let (cut, _) = whole.trim_end().rsplit_once('\n').unwrap();
    for shorter in [format!("{cut}\n"), format!("{cut}\n{{\"index\":")] {
        fs::write(&path, shorter).unwrap();
        let output = bench.chaos(&["check", "reports/latest"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("the history was closed with"), "{}", said(&output));
    }
    // Nothing is left to recover.
    let recover = bench.chaos(&["recover"]).output().unwrap();
    assert!(String::from_utf8_lossy(&recover.stdout).contains("nothing to recover"), "{}", said(&recover));
}

/// Each fault that was not already exercised, one after another in one run: what was done is told, and it was seen to take effect.
#[test]
fn faults_of_every_kind_take_effect_and_leave_nothing() {
    let faults = [
        ("process-crash", "{}", "SIGKILL to the container's first process"),
        ("process-hang", "{ for: 2s }", "SIGSTOP to the first process"),
        ("service-cut", "{ for: 2s }", "a login through the Service got no answer"),
        ("scale-zero", "{ for: 1s }", "Deployment mssql was scaled to 0"),
        ("rollout-restart", "{}", "the pod template of Deployment mssql was marked"),
        ("node-cordon", "{ for: 1s }", "is unschedulable"),
        ("node-taint", "{}", "has the taint chaos.sqledge.dev/fault="),
        ("node-drain", "{}", "was cordoned"),
        ("oom-kill", "{}", "OOMKilled"),
    ];
    let items: String =
        faults.iter().map(|(kind, parameters, _)| format!("  - {kind}: {parameters}\n    after: recovered\n    at: 1s\n")).collect();
    let bench = Bench::new(&experiment(&items, "  grace: 5s\n  storage: { class: shared }\n"));
    let output = bench.run();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = bench.report();
    let found = report["faults"].as_array().unwrap();
    assert_eq!(found.len(), faults.len());
    for ((kind, _, expected), fault) in faults.iter().zip(found) {
        assert_eq!((&fault["kind"], &fault["attested"]), (&Value::from(*kind), &Value::from(true)), "{fault}");
        let evidence = fault["evidence"].as_array().unwrap();
        assert!(evidence.iter().any(|line| line.as_str().unwrap().contains(expected)), "{fault}");
    }
    assert_eq!(check(&report, "ledger")["counts"]["lost"], 0);
    // One that only stops clients from being heard is an outage about as long as it lasts, and one that touches nobody is none: with its own pauses
    // and with what a client waits for an answer, two seconds become no more than ten.
    let outage_ms = |id: &str| {
        let episode = report["episodes"].as_array().unwrap().iter().find(|episode| episode["faultId"] == id);
        episode.map_or(0.0, |episode| episode["outageMs"].as_f64().unwrap_or_default())
    };
    for id in ["service-cut-1", "process-hang-1"] {
        assert!((1_500.0..10_000.0).contains(&outage_ms(id)), "{id}: {} ms", outage_ms(id));
    }
    bench.assert_no_process();
}

#[test]
fn an_engine_that_acknowledges_before_it_writes_fails() {
    let bench =
        // A deletion, even a forced one, asks the engine to stop, and then it writes what it has acknowledged. A crash does not.
        Bench::new(&experiment("  - container-crash:\n    at: 1s\n    repeat: 2\n    every: 4s\n", "  sabotage: lose-acked\n"));
    let output = bench.run();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report = bench.report();
    assert_eq!(report["verdict"], "fail");
    let ledger = check(&report, "ledger");
    assert_eq!(ledger["verdict"], "invalid");
    assert!(ledger["counts"]["lost"].as_u64().unwrap() > 0, "{ledger}");
    assert!(!ledger["examples"].as_array().unwrap().is_empty(), "the lost commits must be named: {ledger}");
    bench.assert_no_process();
}

/// The power-loss test, with an engine that syncs before it acknowledges, and with one that does not.
#[test]
fn a_volatile_cache_is_survived_by_an_engine_that_syncs_and_by_no_other() {
    let faults = "  - container-crash:\n    at: 1s\n    repeat: 2\n    every: 4s\n";
    for (target, code) in [("", 0), ("  sabotage: skip-sync\n", 1)] {
        let bench = Bench::new(&experiment(faults, &format!("  cache: volatile\n{target}")));
        let output = bench.run();
        assert_eq!(output.status.code(), Some(code), "{target}{}", said(&output));
        let report = bench.report();
        assert_eq!(check(&report, "ledger")["counts"]["lost"].as_u64().unwrap() > 0, code == 1, "{target}{report}");
        let limits: Vec<&str> = report["limits"].as_array().unwrap().iter().map(|limit| limit.as_str().unwrap()).collect();
        assert!(limits.iter().any(|limit| limit.starts_with("This run reaches a loss of power")), "{limits:?}");
        assert!(!limits.iter().any(|limit| limit.contains("left the machine's memory in place")), "{limits:?}");
        bench.assert_no_process();
    }
}

#[test]
fn an_interrupt_heals_reports_and_exits_130() {
    let bench = Bench::new(&experiment("  - pod-kill: { grace: 0s }\n    at: 1s\n    repeat: 50\n    every: 5s\n", ""));
    let child = bench.start();
    bench.wait_for("fault-injected");
    send(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    let report = bench.report();
    assert_eq!(report["verdict"], "inconclusive", "a run that was cut short proves nothing");
    assert!(fs::read_to_string(bench.latest().join("journal.jsonl")).unwrap().contains("\"closed\""));
    bench.assert_no_process();
}

/// Sends what a supervisor sends, and holds the run to what it owes then.
fn terminated(bench: &Bench, child: Child) {
    send(&child, Signal::TERM);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert_ne!(bench.report()["verdict"], "pass", "a run that was cut short proves nothing");
    assert!(fs::read_to_string(bench.latest().join("journal.jsonl")).unwrap().contains("\"closed\""), "{}", said(&output));
    bench.assert_no_process();
}

#[test]
fn sigterm_while_the_target_is_deployed_leaves_nothing() {
    let bench = Bench::new(&experiment("  - pod-kill: { grace: 0s }\n    at: 1s\n", ""));
    let child = bench.start();
    bench.wait_for("\"phase\":\"deploy\"");
    terminated(&bench, child);
}

#[test]
fn sigterm_in_the_cold_restart_heals_and_reports() {
    let bench = Bench::new(&experiment("  - pod-kill: { grace: 0s }\n    at: 0s\n", ""));
    let child = bench.start();
    bench.wait_for("\"phase\":\"cold-restart\"");
    terminated(&bench, child);
}

#[test]
fn sigterm_ends_a_final_read_that_gets_no_answer() {
    let faults = "  - pod-kill: { grace: 0s }\n    at: 0s\n";
    let text = format!("{}coldRead: false\n", experiment(faults, "  grace: 1s\n")).replace("warmUp: 1s", "warmUp: 1s, opTimeout: 1s");
    let bench = Bench::new(&text);
    let child = bench.start();
    // From then on the load goes on for five seconds, in which the engine is stopped.
    bench.wait_for("fault-recovered");
    let engines: Vec<_> = bench.processes().into_iter().filter(|process| process.contains("engine tds-sqlite --listen")).collect();
    for engine in &engines {
        let pid = engine.split(':').next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    }
    bench.wait_for("\"phase\":\"final-read\"");
    terminated(&bench, child);
    let phases = fs::read_to_string(bench.latest().join("timeline.jsonl")).unwrap();
    let read = phases.lines().any(|line| line.contains("phase-finished") && line.contains("\"final-read\""));
    assert!(!read, "the final read was to be cut short; stopped: {engines:?}");
}

#[test]
fn a_killed_harness_leaves_no_process_and_a_history_that_can_be_judged() {
    let bench = Bench::new(&experiment("  - pod-kill: { grace: 0s }\n    at: 1s\n    repeat: 50\n    every: 5s\n", ""));
    let mut child = bench.start();
    bench.wait_for("fault-injected");
    assert!(!bench.processes().is_empty(), "the sandbox' processes carry the temporary folder on their command line");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    bench.assert_no_process();

    let judged = bench.chaos(&["check", "reports/latest", "--output", "json"]).output().unwrap();
    assert_eq!(judged.status.code(), Some(2), "{}", said(&judged));
    let judged: Value = serde_json::from_slice(&judged.stdout).unwrap();
    assert!(check(&judged, "ledger")["counts"]["acknowledged"].as_u64().unwrap() > 0, "what was recorded is counted: {judged}");

    let recover = bench.chaos(&["recover"]).output().unwrap();
    assert_eq!(recover.status.code(), Some(0), "{}", said(&recover));
    assert!(String::from_utf8_lossy(&recover.stdout).contains("ended with the run"), "{}", said(&recover));
    let again = bench.chaos(&["recover"]).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing to recover"), "{}", said(&again));
}

#[test]
fn an_outage_that_grows_too_long_is_healed_and_the_run_says_so() {
    let faults = "  - process-hang: { for: 10m }\n    at: 1s\n  - pod-kill:\n    at: 2s\n";
    let bench = Bench::new(&format!("{}abortWhen: outage > 3s\n", experiment(faults, "")));
    let output = bench.run();
    // The outage was shorter than what the experiment allows, so nothing is disproven; a run that was cut short proves nothing either.
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let report = bench.report();
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("aborted during process-hang-1: abortWhen outage > 3s"), "{reasons}");
    assert!(reasons.contains("1 of 2 planned faults"), "{reasons}");
    let faults = report["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 1, "nothing is injected after the abort: {faults:?}");
    assert!(
        faults[0]["healedAtMs"].as_f64().unwrap() - faults[0]["injectedAtMs"].as_f64().unwrap() < 60_000.0,
        "healed long before its 10 m"
    );
    assert_eq!(check(&report, "ledger")["verdict"], "valid", "what was acknowledged is read back all the same");
    bench.assert_no_process();
}

#[test]
fn an_image_that_the_sandbox_cannot_run_is_refused_before_anything_is_created() {
    let bench = Bench::new(&experiment("  - pod-kill:\n    at: 1s\n", "").replace("tds-sqlite", "mssql-server"));
    let output = bench.run();
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    assert!(said(&output).contains("--engine tds-sqlite"), "it must say what to do: {}", said(&output));
    bench.assert_no_process();
}

#[test]
fn a_database_that_is_never_ready_is_69_with_what_was_seen() {
    let bench = Bench::new(&experiment("  - pod-kill:\n    at: 1s\n", "  image: sqledge-chaos/no-such-image:1\n  readyWithin: 5s\n"));
    let output = bench.run();
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    assert!(said(&output).contains("ErrImagePull") || said(&output).contains("ImagePullBackOff"), "{}", said(&output));
    bench.assert_no_process();
}

#[test]
fn reports_that_cannot_be_written_are_69_before_anything_is_started() {
    let bench = Bench::new(&experiment("  - pod-kill:\n    at: 1s\n", ""));
    fs::write(bench.folder.path().join("reports"), "a file where the folder should be").unwrap();
    let output = bench.run();
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    bench.assert_no_process();
}

#[test]
fn a_disk_that_fills_up_under_the_reports_ends_the_run_at_once_and_leaves_nothing() {
    let bench = Bench::new(&experiment("  - pod-kill: { grace: 0s }\n    at: 1s\n    repeat: 50\n    every: 5s\n", ""));
    let up = bench.chaos(&["cluster", "up", "sandbox:test"]).output().unwrap();
    assert_eq!(up.status.code(), Some(0), "{}", said(&up));
    // No file of the run may grow beyond 64 KiB (a block is 512 bytes); 100 commits a second write that much history in a few seconds. The sandbox is a
    // process of its own, so the database has no such limit.
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 128; exec \"$0\" run experiment.yaml --cluster sandbox:test", env!("CARGO_BIN_EXE_chaos")])
        .current_dir(bench.folder.path())
        .env("TMPDIR", bench.folder.path().join("tmp"))
        .env("XDG_STATE_HOME", bench.folder.path().join("state"));
    let output = limited.output().unwrap();
    let namespaces = bench.chaos(&["recover"]).output().unwrap();
    let down = bench.chaos(&["cluster", "down", "sandbox:test"]).output().unwrap();
    assert_eq!(down.status.code(), Some(0), "{}", said(&down));
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("cannot write history.jsonl: ") && told.contains("free some space"), "{told}");
    assert!(told.contains("INCONCLUSIVE") && !told.contains("PASS"), "what was measured is judged, for what it is worth: {told}");
    assert!(fs::read_to_string(bench.latest().join("journal.jsonl")).unwrap().contains("\"closed\""), "{told}");
    assert_eq!(namespaces.status.code(), Some(0), "{}", said(&namespaces));
    assert!(bench.report()["faults"].as_array().unwrap().len() < 25, "the run went on without a record");
}

/// Whether any node of the standing sandbox carries a cordon, as `kubectl` tells; none where it is not installed.
fn cordoned(bench: &Bench) -> Option<bool> {
    let kubeconfig = bench.folder.path().join("state/sqledge-chaos/sandbox/test/kubeconfig");
    let listed = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"])
        .output()
        .ok()?;
    assert!(listed.status.success(), "{}", said(&listed));
    Some(String::from_utf8_lossy(&listed.stdout).contains("true"))
}

#[test]
fn a_drain_of_node_local_storage_is_foretold_and_fails_with_its_reason() {
    let bench =
        Bench::new(&experiment("  - node-drain:\n    at: 1s\n    recoverWithin: 3s\n", "  storage: { size: 64Mi, class: standard }\n"));
    let output = bench.run();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let progress = String::from_utf8_lossy(&output.stderr);
    let before = progress.split("node-drain-1: node ").next().unwrap();
    assert!(before.contains("storage class standard makes volumes where their first pod runs"), "preflight tells: {progress}");
    assert!(
        before.contains("the pod can only stay Pending"),
        "what is known once the volume is there is told before the fault: {progress}"
    );
    let reasons = bench.report()["reasons"].to_string();
    assert!(reasons.contains("the volume is bound to node "), "{reasons}");
    bench.assert_no_process();
}

#[test]
fn a_drain_that_is_cut_short_leaves_no_cordon() {
    let bench = Bench::new(&experiment(
        "  - node-drain:\n    at: 1s\n    repeat: 20\n    every: 5s\n",
        "  storage: { size: 64Mi, class: shared }\n",
    ));
    let up = bench.chaos(&["cluster", "up", "sandbox:test"]).output().unwrap();
    assert_eq!(up.status.code(), Some(0), "{}", said(&up));
    let start = || {
        let mut command = bench.chaos(&["run", "experiment.yaml", "--cluster", "sandbox:test"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };

    // Interrupted: the run itself heals.
    let child = start();
    bench.wait_for("fault-started");
    send(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert_ne!(cordoned(&bench), Some(true));
    assert!(fs::read_to_string(bench.latest().join("journal.jsonl")).unwrap().contains("\"closed\""));

    // Killed: what it left is put right by its journal.
    fs::remove_file(bench.folder.path().join("reports/latest")).unwrap();
    let mut child = start();
    bench.wait_for("fault-injected");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_ne!(cordoned(&bench), Some(false), "a drained node is cordoned until its fault is healed");
    let recover = bench.chaos(&["recover"]).output().unwrap();
    let after = cordoned(&bench);
    let down = bench.chaos(&["cluster", "down", "sandbox:test"]).output().unwrap();
    assert_eq!(recover.status.code(), Some(0), "{}", said(&recover));
    assert!(String::from_utf8_lossy(&recover.stdout).contains("is uncordoned"), "{}", said(&recover));
    assert_ne!(after, Some(true));
    assert_eq!(down.status.code(), Some(0), "{}", said(&down));
}

#[test]
fn a_standing_sandbox_is_used_by_kubectl_and_by_runs() {
    let bench = Bench::new(&experiment("  - pod-kill: { grace: 0s }\n    at: 1s\n", ""));
    let up = bench.chaos(&["cluster", "up", "sandbox:test"]).output().unwrap();
    assert_eq!(up.status.code(), Some(0), "{}", said(&up));
    let status = bench.chaos(&["cluster", "status", "sandbox:test"]).output().unwrap();
    assert_eq!(status.status.code(), Some(0), "{}", said(&status));
    let run = bench.chaos(&["run", "experiment.yaml", "--cluster", "sandbox:test"]).output().unwrap();
    let down = bench.chaos(&["cluster", "down", "sandbox:test"]).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
    assert_eq!(down.status.code(), Some(0), "{}", said(&down));
    let status = bench.chaos(&["cluster", "status", "sandbox:test"]).output().unwrap();
    assert_eq!(status.status.code(), Some(69), "{}", said(&status));
}
