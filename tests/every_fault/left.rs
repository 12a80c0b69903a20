//! What a run cannot take back: told with the command that does, and exit code 3, whatever else became of the run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::{Bench, alone, experiment, interrupt, said};

/// A run may share two cores with every other test, so nothing here is bounded tighter than this.
const PATIENCE: Duration = Duration::from_secs(180);

/// Starts a run of these files on the bench's sandbox.
fn start(bench: &Bench, files: &[&str], options: &[&str]) -> Child {
    let (cluster, reports) = (bench.reference(), bench.reports("left"));
    let mut arguments = vec!["run", "--cluster", &cluster, "--reports", &reports, "--quiet"];
    arguments.extend(files.iter().chain(options));
    bench.chaos(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the latest run, another one than `before`, has told this in its timeline; returns its folder.
fn wait_for(bench: &Bench, before: Option<&Path>, text: &str) -> PathBuf {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let latest = fs::canonicalize(bench.path(&bench.reports("left")).join("latest")).ok();
        if let Some(folder) = latest.filter(|folder| Some(folder.as_path()) != before)
            && fs::read_to_string(folder.join("timeline.jsonl")).unwrap_or_default().contains(text)
        {
            return folder;
        }
        assert!(Instant::now() < deadline, "no timeline said {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn keeping_the_target_hides_no_fault_that_was_not_healed() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::one(folder.path(), "gone");
    fs::write(bench.path("long.yaml"), experiment("node-cordon").replace("for: 2s", "for: 10m")).unwrap();
    let child = start(&bench, &["long.yaml"], &["--keep-on-failure"]);
    let run = wait_for(&bench, None, "fault-attested");
    // Without its cluster the run can neither uncordon nor look.
    let down = bench.chaos(&["cluster", "down", &bench.reference()]).output().unwrap();
    assert!(down.status.success(), "{}", said(&down));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));

    let errors = String::from_utf8_lossy(&output.stderr);
    let left: Vec<&str> = errors.lines().filter_map(|line| line.strip_prefix("left in the cluster: ")).collect();
    let [cordon, marks] = left.as_slice() else { panic!("{errors}") };
    assert!(cordon.starts_with("node-cordon-1 on ") && cordon.ends_with("; remove it with: chaos recover"), "{errors}");
    assert!(marks.starts_with("what this run may have marked on nodes") && marks.ends_with("; remove it with: chaos recover"), "{errors}");
    let report: Value = serde_json::from_slice(&fs::read(run.join("report.json")).unwrap()).unwrap();
    let kept: Vec<&Value> = report["leaks"]["left"].as_array().unwrap().iter().filter(|item| item["kept"] == true).collect();
    assert_eq!((kept.len(), &report["leaks"]["kept"]), (1, &false.into()), "{report}");
    assert_eq!(kept[0]["what"], format!("namespace/{}", report["run"]["namespace"].as_str().unwrap()), "only the target is kept");
    let summary = String::from_utf8_lossy(&output.stdout);
    let told = summary.split("Left in the cluster").nth(1).unwrap_or_else(|| panic!("{summary}"));
    assert!(told.contains("node-cordon-1 on ") && !told.contains("namespace/"), "{summary}");
    assert!(fs::read_to_string(run.join("report.html")).unwrap().contains("Left in the cluster: node-cordon-1 on "));
    assert!(!fs::read_to_string(run.join("journal.jsonl")).unwrap().contains("\"closed\""), "`chaos recover` has it to work on");
}

#[test]
fn what_is_left_on_a_node_outranks_an_interrupt_of_a_later_run() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::one(folder.path(), "marked");
    fs::write(bench.path("run.yaml"), experiment("pod-kill")).unwrap();
    let child = start(&bench, &["run.yaml"], &["--repeat", "2"]);
    let first = wait_for(&bench, None, "run-started");
    // A cordon in the run's name of which it does not know, so that it takes none back.
    let cluster = bench.cluster();
    let node = cluster.get("/api/v1/nodes")["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    let mark = json!({ "op": "add", "path": "/metadata/annotations/chaos.sqledge.dev~1cordoned-by", "value": first.file_name().unwrap().to_str() });
    let cordon = json!({ "op": "add", "path": "/spec/unschedulable", "value": true });
    cluster.patch(&format!("/api/v1/nodes/{node}"), &json!([mark, cordon]));
    wait_for(&bench, Some(&first), "\"deploy\"");
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let errors = String::from_utf8_lossy(&output.stderr);
    let left: Vec<&str> = errors.lines().filter(|line| line.starts_with("left in the cluster")).collect();
    assert_eq!(left, [format!("left in the cluster: cordon of node/{node}; remove it with: kubectl uncordon {node}")], "{errors}");
    assert!(errors.contains("error: interrupted"), "{errors}");
    assert!(fs::read_to_string(first.join("report.html")).unwrap().contains(&format!("kubectl uncordon {node}")));
}
