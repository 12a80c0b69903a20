//! The ready-made experiments end with the verdict that their table promises, on the sandbox as on a real cluster.

use std::fs;
use std::path::Path;

use crate::arena::{Arena, said};

/// Each experiment, its exit code, and whether it is short enough to be run every time.
const EXPERIMENTS: [(&str, i32, bool); 26] = [
    ("smoke", 0, true),
    ("pod-kill", 0, false),
    ("pod-kill-graceful", 0, false),
    ("container-crash", 0, false),
    ("process-crash", 0, false),
    ("oom-kill", 0, false),
    ("process-hang", 0, false),
    ("service-cut", 0, false),
    ("pod-evict", 0, false),
    ("rollout-restart", 0, false),
    ("scale-zero", 0, false),
    ("node-cordon", 0, false),
    ("node-drain", 0, false),
    ("node-drain-local", 1, false),
    ("node-taint", 0, false),
    ("kubelet-stop", 0, false),
    ("node-freeze", 0, false),
    ("node-power-off", 0, false),
    ("node-loss-statefulset", 0, false),
    ("mixed", 0, false),
    ("endurance", 0, false),
    ("isolation", 0, false),
    ("own-statements", 0, false),
    ("power-loss", 0, false),
    ("selftest/lose-acked", 1, true),
    ("selftest/missing-sync", 1, false),
];

pub async fn every_experiment_ends_with_its_verdict(arena: Arena) {
    let all = std::env::var("CHAOS_TEST_ALL").is_ok_and(|all| !all.is_empty());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut wrong = Vec::new();
    for (name, code, _) in EXPERIMENTS.into_iter().filter(|(.., short)| all || *short) {
        let mut text = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
        if !arena.is_sandbox {
            text = text.replacen("engine: tds-sqlite", &format!("image: {}\n  engine: tds-sqlite", arena.image), 1);
        }
        if let Some(image) = arena.node_image() {
            text.push_str(&format!("nodeAccess: {{ image: \"{image}\" }}\n"));
        }
        let file = arena.folder().join("experiment.yaml");
        fs::write(&file, text).unwrap();
        let output = arena.chaos(&["run", "experiment.yaml", "--quiet"]).args(arena.on_cluster()).output().unwrap();
        if arena.is_context() && said(&output).contains("which this cluster's provider cannot do") {
            eprintln!("skipped: {name} needs more of a node than a context can give");
            continue;
        }
        if output.status.code() != Some(code) {
            wrong.push(format!("{name} ended with {:?}, expected {code}: {}", output.status.code(), said(&output)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The table here and the folder name the same experiments; what cannot run everywhere is named.
#[test]
fn no_experiment_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut found: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".yaml").map(str::to_owned))
        // It needs a volume of its own, which kind-config/small-volume.yaml tells how to make.
        .filter(|name| name != "disk-full")
        .collect();
    let mut listed: Vec<String> = EXPERIMENTS.iter().map(|(name, ..)| (*name).to_owned()).filter(|name| !name.contains('/')).collect();
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
}
