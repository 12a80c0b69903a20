//! What only the real process can show: exit codes, which stream says what, and that wrong input touches nothing.
#![expect(clippy::unwrap_used, reason = "a test ends where the program cannot be started")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const GOOD: &str = "name: good\ntarget: { engine: tds-sqlite }\nfaults:\n  - pod-kill:\n";
const WRONG: &str = "name: wrong\ntarget: { engine: tds-sqlite }\nworkload: { rate: 200 }\nfaults:\n  - pod-kil:\n";

fn chaos(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("CHAOS_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn help_and_version_are_results_and_a_wrong_command_line_is_not() {
    let folder = folder_with(&[]);
    for arguments in [&["--help"][..], &["--version"], &["validate", "--help"], &["plan", "-h"]] {
        let output = chaos(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(out(&output).contains("chaos"), "{arguments:?}");
        assert_eq!(err(&output), "", "{arguments:?}");
    }
    for arguments in
        [&[][..], &["explode"], &["validate"], &["plan", "x.yaml", "--cluster", "moon"], &["list", "--output", "xml"], &["--no-such"]]
    {
        let output = chaos(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert_eq!(out(&output), "", "{arguments:?}");
        assert!(err(&output).contains("Usage") || err(&output).contains("--help"), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn wrong_files_exit_with_64_tell_every_mistake_and_leave_nothing() {
    let folder = folder_with(&[("good.yaml", GOOD), ("wrong.yaml", WRONG)]);
    let before = names(folder.path());
    let output = chaos(folder.path(), &["validate", "good.yaml", "wrong.yaml", "none.yaml"]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(out(&output), "good.yaml: ok: good, 1 injection, at least 30s of load\n");
    let told: Vec<&str> = err(&output).lines().filter(|line| line.contains(".yaml:")).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("wrong.yaml:3:19: workload.rate: `200` has no unit"), "{told:?}");
    assert!(told[1].starts_with("wrong.yaml:5:5: faults[0].pod-kil: unknown fault or key `pod-kil`, did you mean `pod-kill`?"), "{told:?}");
    assert!(told[2].starts_with("none.yaml: cannot be read: "), "{told:?}");

    for arguments in [&["plan", "wrong.yaml"][..], &["plan", "none.yaml", "--output", "json"]] {
        let output = chaos(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert_eq!(out(&output), "", "{arguments:?}");
    }
    assert_eq!(names(folder.path()), before);
}

#[test]
fn the_command_line_wins_over_the_file() {
    let folder = folder_with(&[("open.yaml", &GOOD.replace("engine: tds-sqlite", "controller: StatefulSet"))]);
    assert_eq!(chaos(folder.path(), &["validate", "open.yaml"]).status.code(), Some(64));
    let output = chaos(
        folder.path(),
        &["plan", "open.yaml", "--engine", "mssql-server", "--cluster", "kind:rig", "--seed", "9", "--output", "json"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let plan: serde_json::Value = serde_json::from_str(out(&output)).unwrap();
    assert_eq!(plan["cluster"], "kind:rig");
    assert_eq!(plan["settings"]["target.engine"], "mssql-server");
    assert_eq!(plan["settings"]["seed"], "9");
    assert_eq!(plan["schedule"][0]["dueMs"], 20_000);
}

#[test]
fn lists_and_findings_are_json_for_programs() {
    let folder = folder_with(&[]);
    let listed: serde_json::Value = serde_json::from_str(out(&chaos(folder.path(), &["list", "--output", "json"]))).unwrap();
    for what in ["faults", "workloads", "checkers", "engines"] {
        for entry in listed[what].as_array().unwrap() {
            assert!(!entry["name"].as_str().unwrap().is_empty() && !entry["reach"].as_str().unwrap().is_empty(), "{entry}");
        }
    }
    let faults: serde_json::Value = serde_json::from_str(out(&chaos(folder.path(), &["list", "faults", "--output", "json"]))).unwrap();
    assert_eq!(faults.as_object().unwrap().len(), 1);

    let output = chaos(folder.path(), &["doctor", "--output", "json"]);
    let findings: serde_json::Value = serde_json::from_str(out(&output)).unwrap();
    assert_eq!(output.status.code() == Some(0), findings["sandbox"] == true, "{findings}");
    for check in findings["checks"].as_array().unwrap() {
        assert_eq!(check["ok"] == true, check.get("mend").is_none(), "{check}");
    }
    assert_eq!(findings["faultsRefused"]["sandbox"], serde_json::json!(["disk-full"]));
    assert_eq!(findings["faultsRefused"]["kind"], serde_json::json!([]));
    let context = findings["faultsRefused"]["context"].as_array().unwrap();
    assert!(context.contains(&"node-freeze".into()) && !context.contains(&"node-drain".into()), "{context:?}");
    assert_eq!(names(folder.path()), [""; 0], "doctor leaves nothing behind");
}

#[test]
fn a_plan_says_what_the_cluster_will_refuse() {
    let folder = folder_with(&[("full.yaml", "name: x\ntarget: { engine: tds-sqlite }\nfaults: [{ disk-full: }]\n")]);
    let cautions = |cluster: &str| {
        let output = chaos(folder.path(), &["plan", "full.yaml", "--cluster", cluster, "--output", "json"]);
        let plan: serde_json::Value = serde_json::from_str(out(&output)).unwrap();
        plan["cautions"][0].as_str().unwrap_or_default().to_owned()
    };
    let refused = "the run will be refused: disk-full-1 needs filling a volume from its node, which this cluster's provider cannot do";
    assert_eq!(cautions("sandbox"), refused);
    assert_ne!(cautions("kind"), refused);
    let run = chaos(folder.path(), &["run", "full.yaml"]);
    assert_eq!(run.status.code(), Some(69), "{}", err(&run));
    assert!(err(&run).contains("disk-full-1 needs filling a volume"), "{}", err(&run));
}

#[test]
fn a_name_of_a_cluster_is_never_a_path() {
    let folder = folder_with(&[("precious", "mine")]);
    let path = folder.path().display().to_string();
    for name in
        [format!("sandbox:{path}"), "sandbox:..".to_owned(), "sandbox:../precious".to_owned(), "kind:a/b".to_owned(), "k3d:".to_owned()]
    {
        for verb in ["up", "down"] {
            let output = chaos(folder.path(), &["cluster", verb, &name]);
            assert_eq!(output.status.code(), Some(64), "{verb} {name}: {}{}", out(&output), err(&output));
        }
        assert_eq!(names(folder.path()), ["precious"]);
    }
}

#[test]
fn what_cannot_be_kept_or_recovered_is_told() {
    let folder = folder_with(&[("good.yaml", GOOD)]);
    for keep in ["--keep", "--keep-on-failure"] {
        let output = chaos(folder.path(), &["run", "good.yaml", keep]);
        assert_eq!(output.status.code(), Some(64), "{keep}");
        assert!(err(&output).contains("chaos cluster up sandbox:NAME"), "{keep}: {}", err(&output));
    }
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    for (reports, code, said) in [
        (&[][..], 0, "there is no folder reports"),
        (&["--reports", "empty"], 0, "there is no run under empty"),
        (&["--reports", "nosuch"], 64, "nosuch is not a folder"),
        (&["--reports", "good.yaml"], 64, "good.yaml is not a folder"),
    ] {
        let output = chaos(folder.path(), &[&["recover"], reports].concat());
        assert_eq!(output.status.code(), Some(code), "{reports:?}");
        assert!(out(&output).contains(said) || err(&output).contains(said), "{reports:?}: {}{}", out(&output), err(&output));
    }
    assert_eq!(names(folder.path()), ["empty", "good.yaml"]);
}

#[test]
fn a_plan_tells_of_the_cluster_that_a_run_would_make() {
    let folder = folder_with(&[("good.yaml", GOOD)]);
    for (cluster, makes) in [("kind:mine", true), ("sandbox", false)] {
        let output = chaos(folder.path(), &["plan", "good.yaml", "--cluster", cluster]);
        assert_eq!((output.status.code(), out(&output).contains("makes the whole cluster")), (Some(0), makes), "{}", out(&output));
    }
}

#[test]
fn every_fault_has_an_experiment_and_every_experiment_is_valid_and_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let files: Vec<String> = names(&folder).into_iter().filter(|name| name.ends_with(".yaml")).collect();
    let mut arguments = vec!["validate"];
    arguments.extend(files.iter().map(String::as_str));
    let output = chaos(&folder, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));

    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(folder.join(file)).unwrap()).collect();
    for file in &files {
        assert!(readme.contains(&format!("| [{file}]({file}) |")), "{file} is not in experiments/README.md");
    }
    let faults: serde_json::Value = serde_json::from_str(out(&chaos(&folder, &["list", "faults", "--output", "json"]))).unwrap();
    for fault in faults["faults"].as_array().unwrap() {
        let key = format!("- {}:", fault["name"].as_str().unwrap());
        assert!(texts.iter().any(|text| text.contains(&key)), "no experiment has {key}");
    }
}

#[test]
fn an_experiment_to_start_from_is_valid_and_never_overwrites() {
    let folder = folder_with(&[]);
    let output = chaos(folder.path(), &["init", "-o", "mine.yaml"]);
    assert_eq!((output.status.code(), out(&output)), (Some(0), ""), "{}", err(&output));
    assert_eq!(chaos(folder.path(), &["validate", "mine.yaml"]).status.code(), Some(0));
    std::fs::write(folder.path().join("mine.yaml"), "changed").unwrap();
    assert_eq!(chaos(folder.path(), &["init", "-o", "mine.yaml"]).status.code(), Some(64));
    assert_eq!(std::fs::read_to_string(folder.path().join("mine.yaml")).unwrap(), "changed");
    let output = chaos(folder.path(), &["init", "--fault", "pod-kil"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(err(&output).contains("pod-kill"), "{}", err(&output));
}

#[test]
fn logs_go_to_stderr_and_a_wrong_filter_is_told() {
    let folder = folder_with(&[("good.yaml", GOOD)]);
    let plain = chaos(folder.path(), &["validate", "good.yaml"]);
    let loud = chaos(folder.path(), &["-vvv", "validate", "good.yaml"]);
    assert_eq!(out(&plain), out(&loud));
    let wrong = chaos(folder.path(), &["--log", "a=b=c", "validate", "good.yaml"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(err(&wrong).starts_with("--log: "), "{}", err(&wrong));
}

/// `chaos schema | head -1` is no crash: neither a panic's 101 nor a word on stderr.
#[test]
fn a_reader_that_goes_away_is_no_panic() {
    for arguments in [&["schema"][..], &["completions", "bash"], &["list"], &["init"], &["--help"]] {
        let mut child =
            Command::new(env!("CARGO_BIN_EXE_chaos")).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed before the program can have written anything, or while it writes: both must do.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), err(&output)), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn every_shell_has_completions() {
    let folder = folder_with(&[]);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = chaos(folder.path(), &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(out(&output).contains("validate"), "{shell}");
    }
}

/// These are entered with every container start, and the command line proper must not get in their way.
#[test]
fn the_sandbox_and_the_engine_are_in_the_same_binary() {
    let folder = folder_with(&[]);
    let output = chaos(folder.path(), &["sandbox", "serve"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(err(&output).starts_with("--dir is missing"), "{}", err(&output));
    // A shim that cannot run a command ends as a shell does.
    let output = chaos(folder.path(), &["sandbox", "shim", "nonsense"]);
    assert_eq!(output.status.code(), Some(127));

    let output = chaos(folder.path(), &["engine", "tds-sqlite", "--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(out(&output).starts_with("tds-sqlite "), "{}", out(&output));
    let output = chaos(folder.path(), &["engine", "tds-sqlite", "--sabotage", "nonsense"]);
    assert_eq!(output.status.code(), Some(64));

    let link = folder.path().join("tds-sqlite");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_chaos"), &link).unwrap();
    let output = Command::new(&link).arg("--version").output().unwrap();
    assert!(out(&output).starts_with("tds-sqlite "), "{}", out(&output));
}

/// Help is asked for again and again, also by completions. A runtime with its threads or a look at a cluster would not fit into
/// 50 ms; on an idle machine help takes about 5 ms, and the best of twenty forgives a machine that is busy.
#[test]
fn help_comes_at_once() {
    let folder = folder_with(&[]);
    let best = (0..20)
        .map(|_| {
            let begun = Instant::now();
            chaos(folder.path(), &["--help"]);
            begun.elapsed()
        })
        .min()
        .unwrap();
    assert!(best < Duration::from_millis(50), "{best:?}");
}

/// The committed run, in a folder of its own.
fn sample() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/sample")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), run.join(entry.file_name())).unwrap();
    }
    folder
}

/// What an older report says, a newer one says too; the newer one may say more. The hash is of the experiment as resolved, so a new key changes it.
fn agrees(older: &serde_json::Value, newer: &serde_json::Value, at: &str) {
    match (older, newer) {
        (serde_json::Value::Object(older), serde_json::Value::Object(newer)) => {
            for (key, value) in older.iter().filter(|(key, _)| *key != "experimentHash") {
                agrees(value, newer.get(key).unwrap_or(&serde_json::Value::Null), &format!("{at}.{key}"));
            }
        }
        (serde_json::Value::Array(older), serde_json::Value::Array(newer)) if older.len() == newer.len() => {
            for (n, (older, newer)) in older.iter().zip(newer).enumerate() {
                agrees(older, newer, &format!("{at}[{n}]"));
            }
        }
        _ => assert_eq!(older, newer, "{at}: draw the sample anew: chaos report reports/sample"),
    }
}

#[test]
fn the_committed_sample_is_what_its_own_records_say() {
    let folder = sample();
    let committed = std::fs::read_to_string(folder.path().join("run/report.json")).unwrap();
    let files = ["report.json", "report.html", "report.md", "junit.xml", "episodes.csv", "metrics.txt", "annotations.json"];
    for file in files {
        std::fs::remove_file(folder.path().join("run").join(file)).unwrap();
    }
    let output = chaos(folder.path(), &["report", "run"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(out(&output).lines().collect::<Vec<_>>(), files.map(|file| format!("run/{file}")));
    let again = std::fs::read_to_string(folder.path().join("run/report.json")).unwrap();
    let [committed, again] = [committed, again].map(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap());
    agrees(&committed, &again, "report");
    let page = chaos(folder.path(), &["report", "run", "--format", "html"]);
    assert!(out(&page).starts_with("<!doctype html>") && out(&page).contains("sample"));
    let written = chaos(folder.path(), &["report", "run", "--format", "csv", "-o", "outages.csv"]);
    assert_eq!((written.status.code(), out(&written)), (Some(0), ""));
    // A heading and three faults.
    assert_eq!(std::fs::read_to_string(folder.path().join("outages.csv")).unwrap().lines().count(), 4);
    assert_eq!(chaos(folder.path(), &["report", "."]).status.code(), Some(64));
    assert_eq!(chaos(folder.path(), &["report", "run", "-o", "x"]).status.code(), Some(64), "a file needs a form");
}

#[test]
fn a_comparison_says_too_few_and_refuses_what_is_not_comparable() {
    let folder = sample();
    let same = chaos(folder.path(), &["compare", "run", "run"]);
    // Three outages against three: not even the most extreme outcome would show anything.
    assert_eq!(same.status.code(), Some(2), "{}", out(&same));
    assert!(out(&same).contains("too few") && out(&same).lines().all(|line| line.chars().count() <= 80), "{}", out(&same));

    let report = std::fs::read_to_string(folder.path().join("run/report.json")).unwrap();
    let other = report.replace("\"experimentHash\": \"", "\"experimentHash\": \"00");
    std::fs::write(folder.path().join("other.json"), other).unwrap();
    let refused = chaos(folder.path(), &["compare", "run", "other.json"]);
    assert_eq!((refused.status.code(), out(&refused)), (Some(64), ""));
    assert!(err(&refused).contains("the experiment differs") && err(&refused).contains("--different"), "{}", err(&refused));
    assert_eq!(chaos(folder.path(), &["compare", "run", "other.json", "--different"]).status.code(), Some(2));
    assert_eq!(chaos(folder.path(), &["compare", "run", "nowhere"]).status.code(), Some(64));
}

/// Makes `count` runs of the sample whose outages are longer by a factor.
fn runs(folder: &Path, name: &str, count: u32, factor: f64) {
    let mut report: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("run/report.json")).unwrap()).unwrap();
    for run in 0..count {
        let dir = folder.join(name).join(format!("{name}-{run}"));
        std::fs::create_dir_all(&dir).unwrap();
        report["run"]["id"] = format!("{name}-{run}").into();
        report["run"]["startedAt"] = format!("2026-11-{:02}T08:00:00Z", run + 1).into();
        for (n, episode) in report["episodes"].as_array_mut().unwrap().iter_mut().enumerate() {
            episode["outageMs"] = (factor * (1_000.0 + f64::from(run) + 10.0 * n as f64)).into();
        }
        report["latency"]["reconnect"]["p50Ms"] = (factor * (1_000.0 + f64::from(run))).into();
        std::fs::write(dir.join("report.json"), report.to_string()).unwrap();
    }
}

#[test]
fn a_slower_group_is_worse_a_faster_one_better_and_the_history_shows_the_step() {
    let folder = sample();
    runs(folder.path(), "base", 8, 1.0);
    runs(folder.path(), "slow", 8, 1.3);
    let worse = chaos(folder.path(), &["compare", "base", "slow"]);
    assert_eq!(worse.status.code(), Some(1), "{}", out(&worse));
    assert!(out(&worse).starts_with("FAIL") && out(&worse).contains("outage is worse"), "{}", out(&worse));
    let better = chaos(folder.path(), &["compare", "slow", "base", "--output", "json"]);
    assert_eq!(better.status.code(), Some(0), "{}", out(&better));
    let json: serde_json::Value = serde_json::from_str(out(&better)).unwrap();
    assert_eq!((json["verdict"].as_str(), json["figures"][0]["change"].as_str()), (Some("pass"), Some("better")));
    let lenient = chaos(folder.path(), &["compare", "base", "slow", "--min-effect", "50"]);
    assert_eq!(lenient.status.code(), Some(0), "{}", out(&lenient));

    let all = folder.path().join("all");
    std::fs::create_dir(&all).unwrap();
    for run in 0..8 {
        std::fs::rename(folder.path().join(format!("base/base-{run}")), all.join(format!("base-{run}"))).unwrap();
        let slow = all.join(format!("slow-{run}"));
        std::fs::rename(folder.path().join(format!("slow/slow-{run}")), &slow).unwrap();
        let path = slow.join("report.json");
        let later = std::fs::read_to_string(&path).unwrap().replace("2026-11-", "2026-12-");
        std::fs::write(path, later).unwrap();
    }
    let history = chaos(folder.path(), &["history", "all", "--html", "all/history.html"]);
    assert_eq!(history.status.code(), Some(0), "{}", err(&history));
    assert!(out(&history).contains("> median outage took another level at slow-0"), "{}", out(&history));
    assert!(out(&history).lines().all(|line| line.chars().count() <= 80), "{}", out(&history));
    assert!(std::fs::read_to_string(all.join("history.html")).unwrap().contains("stroke-dasharray"));
}

#[test]
fn folders_of_experiments_are_read_before_anything_runs() {
    let folder = folder_with(&[("good.yaml", GOOD), ("wrong.yaml", WRONG)]);
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let output = chaos(folder.path(), &["run", ".", "empty"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(err(&output).contains("wrong.yaml:") && err(&output).contains("empty: no .yaml file"), "{}", err(&output));
    assert!(!folder.path().join("reports").exists(), "nothing was run");
    assert_eq!(chaos(folder.path(), &["run", "good.yaml", "--repeat", "0"]).status.code(), Some(64));
}

const CYCLE: &str = "{:process 0 :type :invoke :f :txn :value [[:append :x 1] [:r :y nil]]}
{:process 1 :type :invoke :f :txn :value [[:append :y 1] [:r :x nil]]}
{:process 0 :type :ok :f :txn :value [[:append :x 1] [:r :y [1]]]}
{:process 1 :type :ok :f :txn :value [[:append :y 1] [:r :x [1]]]}
";

#[test]
fn a_history_of_another_tool_is_judged_by_one_checker() {
    let valid = "{\"process\":0,\"type\":\"ok\",\"f\":\"txn\",\"value\":[[\"append\",1,1],[\"r\",1,[1]]]}\n";
    let folder = folder_with(&[("cycle.edn", CYCLE), ("valid.json", valid), ("bad.edn", "{:process 0 :type :ok :value 5}")]);
    let output = chaos(folder.path(), &["check", "--checker", "append", "cycle.edn"]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(out(&output).starts_with("append: invalid\n  1 × G1c, which SERIALIZABLE does not allow\n"), "{}", out(&output));
    assert!(out(&output).contains("op 3 read 1 of op 2 in key 1 (wr); op 2 read 1 of op 3 in key 2 (wr)"), "{}", out(&output));
    let output = chaos(folder.path(), &["check", "--checker", "append", "--output", "json", "valid.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("\"verdict\": \"valid\""), "{}", out(&output));
    for (arguments, said) in [
        (&["check", "--checker", "append", "bad.edn"][..], "bad.edn: op 1 of the history has a value that is not a list"),
        (&["check", "--checker", "register", "cycle.edn"], "not a history of ours"),
        (&["check", "--checker", "append", "cycle.edn", "--isolation", "strict"], "expected read-committed, repeatable-read, snapshot"),
        (&["export", ".", "--format", "edn"], "holds no history.jsonl"),
    ] {
        let output = chaos(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(err(&output).contains(said), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn a_history_is_exported_and_judged_again_as_the_same() {
    let line = |index, kind, value| {
        format!("{{\"index\":{index},\"time\":{index},\"type\":\"{kind}\",\"process\":0,\"f\":\"txn\",\"value\":{value},\"intended\":0}}\n")
    };
    let history = line(0, "invoke", "[[\"append\",1,1],[\"r\",1,null]]") + &line(1, "ok", "[[\"append\",1,1],[\"r\",1,[1]]]");
    let folder = folder_with(&[("history.jsonl", &history)]);
    let output = chaos(folder.path(), &["export", ".", "--format", "edn"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains(":type :ok, :process 0, :f :txn, :value [[:append 1 1] [:r 1 [1]]]}"), "{}", out(&output));
    std::fs::write(folder.path().join("exported.edn"), out(&output)).unwrap();
    for file in ["history.jsonl", "exported.edn"] {
        let output = chaos(folder.path(), &["check", "--checker", "append", file]);
        assert_eq!(output.status.code(), Some(0), "{file}: {}", out(&output));
    }
    let output = chaos(folder.path(), &["export", ".", "--format", "json", "--workload", "register"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(err(&output).contains("no ops of the register workload"), "{}", err(&output));
}

/// A defect that only a restart shows, one of isolation, and none: enough to show that the matrix is made of trials. All of them: `chaos selftest`.
/// The first one takes the newest rows of every table, the ledger's too; which tables the last commits of the log concern is left to chance.
#[test]
fn planted_defects_are_found_and_a_sound_engine_is_not_accused() {
    let folder = folder_with(&[]);
    let output = chaos(folder.path(), &["selftest", "silent-truncate", "dirty-read", "--sound", "1", "--ops", "600", "--output", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    let matrix: serde_json::Value = serde_json::from_str(out(&output)).unwrap();
    let trial = |row: usize| &matrix["rows"][row]["trials"][0];
    assert_eq!((trial(0)["verdicts"]["ledger"].as_str(), trial(1)["verdicts"]["append"].as_str()), (Some("invalid"), Some("invalid")));
    assert_eq!((matrix["rows"][2]["mode"].as_str(), trial(2)["classes"].as_array().map(Vec::len)), (None, Some(0)));

    let list = chaos(folder.path(), &["selftest", "--list"]);
    assert!(out(&list).lines().count() >= 14 && out(&list).contains("torn-page"), "{}", out(&list));
    let wrong = chaos(folder.path(), &["selftest", "lose-everything"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(err(&wrong).contains("expected lose-acked, skip-sync, lose-last"), "{}", err(&wrong));
}

/// Defects of the cluster: each is a whole run on a sandbox, since no part of the harness alone could find it. `wrong-pod`, which nobody recovers from, is left
/// to `chaos selftest`, since its run takes a minute and a half.
#[test]
fn defects_of_the_cluster_are_found() {
    let folder = folder_with(&[]);
    let defects = ["fresh-volume", "split-brain", "stale-endpoint"];
    let arguments: Vec<&str> = ["selftest"].into_iter().chain(defects).chain(["--sound", "0", "--output", "json"]).collect();
    let output = chaos(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    let matrix: serde_json::Value = serde_json::from_str(out(&output)).unwrap();
    for (row, (found_by, class)) in [("volume", "HA-3"), ("single-writer", "HA-6"), ("claims", "HA-5")].into_iter().enumerate() {
        let trial = &matrix["rows"][row]["trials"][0];
        assert_eq!(trial["verdicts"][found_by], "invalid", "{}: {trial}", defects[row]);
        assert!(trial["classes"].as_array().unwrap().iter().any(|found| found == class), "{}: {trial}", defects[row]);
    }
}
