//! `chaos inject`: each fault by itself, into a database that stands already.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use chaos::experiment::catalogue;
use serde_json::{Value, json};

use crate::bench::{Bench, alone, interrupt, lasts, said, share};
use crate::objects::Objects;

/// Leaves a database standing, once a sandbox, and tells its namespace.
pub fn standing(bench: &Bench) -> String {
    let namespace = bench.standing.get_or_init(|| {
        let run = bench.run("pod-kill", "kept").args(["--keep", "--output", "json"]).output().unwrap();
        assert!(run.status.success(), "{}", said(&run));
        let report: Value = serde_json::from_slice(&run.stdout).unwrap();
        report["run"]["namespace"].as_str().unwrap().to_owned()
    });
    namespace.clone()
}

fn injecting(bench: &Bench, namespace: &str, arguments: &[&str]) -> Command {
    let cluster = bench.reference();
    let reports = bench.reports("injected");
    let mut all = vec!["inject", "--cluster", &cluster, "--namespace", namespace, "--reports", &reports, "--output", "json"];
    all.extend(arguments);
    bench.chaos(&all)
}

pub fn inject(bench: &Bench, namespace: &str, arguments: &[&str]) -> Output {
    injecting(bench, namespace, arguments).output().unwrap()
}

/// The nodes' objects alone: pods are replaced by many faults, nodes are given back as they were by all.
pub fn nodes(bench: &Bench) -> Objects {
    bench.cluster().objects().into_iter().filter(|(key, _)| key.starts_with("nodes ")).collect()
}

#[test]
fn every_fault_is_injected_into_a_standing_database_attested_and_healed() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let benches = Bench::several(folder.path(), "inject");
    let faults = catalogue::faults().iter().map(|fault| fault.name).collect();
    share(&benches, faults, |bench, fault| {
        let namespace = standing(bench);
        let before = nodes(bench);
        let arguments: Vec<&str> = std::iter::once(fault).chain(lasts(fault).then_some("for=3s")).collect();
        let output = inject(bench, &namespace, &arguments);
        if said(&output).contains("which this cluster's provider cannot do") {
            return Ok(());
        }
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{fault}: {}", said(&output)));
        // A node is given up on after its monitor's grace period, 40 s or more: that one which is away for 3 s had no effect is what must be said.
        let too_short = told["evidence"].to_string().contains("was still Ready");
        assert_eq!(output.status.code(), Some(if too_short { 2 } else { 0 }), "{fault}: {}", said(&output));
        assert_eq!((&told["attested"], &told["recovered"]), (&(!too_short).into(), &true.into()), "{told}");
        assert!(!told["target"]["uid"].as_str().unwrap().is_empty() && !told["healed"].as_str().unwrap().is_empty(), "{told}");
        let journal = fs::read_to_string(folder.path().join(told["journal"].as_str().unwrap())).unwrap();
        assert!(journal.trim_end().ends_with("{\"entry\":\"closed\"}"), "{journal}");
        bench.cluster().wait_for_some(&before)
    });
}

#[test]
fn what_is_left_in_place_is_undone_by_recover() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::several(folder.path(), "left").swap_remove(0);
    let namespace = standing(&bench);
    let before = nodes(&bench);
    let output = inject(&bench, &namespace, &["node-drain", "--no-heal"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let reports = bench.reports("injected");
    assert!(said(&output).contains(&format!("chaos recover --reports {reports}")), "{}", said(&output));
    assert!(nodes(&bench).values().any(|node| node["spec"]["unschedulable"] == true), "the cordon is left in place");
    let recovered = bench.chaos(&["recover", "--reports", &reports]).output().unwrap();
    assert!(recovered.status.success() && said(&recovered).contains("is uncordoned"), "{}", said(&recovered));
    bench.cluster().wait_for_some(&before).unwrap();
}

#[test]
fn what_cannot_be_injected_is_told_before_anything_is_touched() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::several(folder.path(), "wrong").swap_remove(0);
    for (arguments, code, says) in [
        (&["pod-kil"][..], 64, "did you mean `pod-kill`?"),
        (&["pod-kill", "grce=0s"], 64, "pod-kill.grce: unknown key"),
        (&["pod-kill", "grace=soon"], 64, "pod-kill.grace: "),
        (&["pod-kill", "grace"], 64, "is not KEY=VALUE"),
        (&["pod-kill"], 69, "there is no service/mssql of namespace nowhere"),
    ] {
        let output = inject(&bench, "nowhere", arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(says), "{arguments:?}: {}", said(&output));
    }
    let own = bench.chaos(&["inject", "pod-kill", "--cluster", "sandbox", "-n", "x"]).output().unwrap();
    assert_eq!(own.status.code(), Some(64), "{}", said(&own));
    let unnamed = bench.chaos(&["inject", "pod-kill", "--cluster", "context:prod", "-n", "x"]).output().unwrap();
    assert!(unnamed.status.code() == Some(64) && said(&unnamed).contains("--yes-i-mean prod"), "{}", said(&unnamed));
    // What was refused leaves nothing to recover.
    let recovered = bench.chaos(&["recover", "--reports", &bench.reports("injected")]).output().unwrap();
    assert!(said(&recovered).contains("nothing to recover"), "{}", said(&recovered));
}

/// Evicts, and returns when a budget has refused that once.
fn refused_once(bench: &Bench, namespace: &str) -> (Child, BufReader<ChildStderr>) {
    let mut evict = injecting(bench, namespace, &["pod-evict"]);
    evict.env("CHAOS_LOG", "off,chaos::fault::eviction=info").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = evict.spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.contains("not evicted yet") && line.contains("disruption budget"), "{line}");
    (child, told)
}

#[test]
fn an_eviction_waits_for_its_budget_and_an_interrupt_ends_the_wait() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::one(folder.path(), "budget");
    let namespace = standing(&bench);
    let cluster = bench.cluster();
    let budgets = format!("/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets");
    let none_may_go = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "none-may-go" },
        "spec": { "maxUnavailable": 0, "selector": {} },
    });
    let pods = || -> Vec<Value> {
        let list = cluster.get(&format!("/api/v1/namespaces/{namespace}/pods"));
        list["items"].as_array().unwrap().iter().map(|pod| pod["metadata"]["uid"].clone()).collect()
    };
    let before = pods();

    cluster.create(&budgets, &none_may_go);
    let (child, _told) = refused_once(&bench, &namespace);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert_eq!(pods(), before, "what was refused does not happen");

    let (child, _told) = refused_once(&bench, &namespace);
    cluster.delete(&format!("{budgets}/none-may-go"));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["attested"], &told["recovered"]), (&true.into(), &true.into()), "{told}");
    assert_eq!(before, [told["target"]["uid"].clone()]);
    assert!(!pods().contains(&before[0]), "it went once it could");
}
