//! What others have or did in the cluster: faults neither destroy it, nor pass it off as theirs, nor take it back.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::{Bench, alone, said};
use crate::inject::{inject, nodes, standing};
use crate::objects::Objects;

/// How long a pod may take to be replaced: twice what a loaded machine was seen to need, and more.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);

/// The target's only pod, once it is ready and as wanted.
fn target_pod(bench: &Bench, namespace: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + REPLACED_WITHIN;
    let cluster = bench.cluster();
    loop {
        let found = cluster.get(&format!("/api/v1/namespaces/{namespace}/pods?labelSelector=app.kubernetes.io/name%3Dmssql"));
        if let [pod] = found["items"].as_array().unwrap().as_slice() {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let ready = conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            if ready && wanted(pod) {
                return pod.clone();
            }
        }
        assert!(Instant::now() < deadline, "the target's pod does not become as wanted: {found}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A pod beside the target. Its image is nowhere, so that nothing of it runs: a drain asks only whether it is over.
fn neighbour(name: &str, node: &Value, controller: Option<&str>, volumes: &Value) -> Value {
    let owner = |kind: &str| json!([{ "apiVersion": "example.com/v1", "kind": kind, "name": name, "uid": format!("{name}-owner"), "controller": true }]);
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "ownerReferences": controller.map(owner) },
        "spec": { "nodeName": node, "volumes": volumes, "containers": [{ "name": "sleeper", "image": "nowhere/sleeper:1" }] } })
}

#[test]
fn a_drain_that_would_destroy_a_neighbour_is_refused_and_changes_nothing() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::one(folder.path(), "neighbours");
    let namespace = standing(&bench);
    let cluster = bench.cluster();
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let scratch = json!({ "name": "scratch", "emptyDir": {} });
    // The target is the aim, so what it keeps in an emptyDir refuses nothing.
    cluster.patch(
        &format!("/apis/apps/v1/namespaces/{namespace}/deployments/mssql"),
        &json!([{ "op": "add", "path": "/spec/template/spec/volumes/-", "value": scratch }]),
    );
    let has_scratch = |pod: &Value| pod["spec"]["volumes"].as_array().unwrap().iter().any(|volume| volume["name"] == "scratch");
    let target = target_pod(&bench, &namespace, has_scratch);
    let node = &target["spec"]["nodeName"];

    let mut mirror = neighbour("mirror", node, None, &json!([scratch]));
    mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "of-a-file" });
    let stay = [neighbour("daemon", node, Some("DaemonSet"), &json!([scratch])), mirror];
    let stay = stay.map(|pod| cluster.create(&pods, &pod)["metadata"].clone());
    cluster.create(&pods, &neighbour("replaceable", node, Some("CloneSet"), &json!([])));
    let uids =
        || -> Vec<Value> { cluster.get(&pods)["items"].as_array().unwrap().iter().map(|pod| pod["metadata"]["uid"].clone()).collect() };
    for (neighbour, says) in [
        (neighbour("bare", node, None, &json!([])), "pod bare has no controller that would replace it"),
        (neighbour("writer", node, Some("CloneSet"), &json!([scratch])), "pod writer would lose its emptyDir volume scratch"),
    ] {
        let made = cluster.create(&pods, &neighbour);
        let before = (nodes(&bench), uids());
        let output = inject(&bench, &namespace, &["node-drain"]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(says) && said(&output).contains("outside of the blast radius"), "{}", said(&output));
        assert_eq!((nodes(&bench), uids()), before);
        cluster.delete(&format!("{pods}/{}", made["metadata"]["name"].as_str().unwrap()));
    }
    let journals = journals(&bench);
    assert!(journals.contains("\"closed\"") && !journals.contains("\"intent\""), "nothing was changed and healed: {journals}");

    let output = inject(&bench, &namespace, &["node-drain"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("pod replaceable was evicted"), "{}", said(&output));
    for pod in stay {
        let now = &cluster.get(&format!("{pods}/{}", pod["name"].as_str().unwrap()))["metadata"];
        assert_eq!((&now["uid"], &now["deletionTimestamp"]), (&pod["uid"], &Value::Null), "{now}");
    }
}

/// Changes a node as somebody else would, and returns all nodes once Kubernetes has drawn its own conclusions from it.
fn mark(bench: &Bench, node: &str, field: &str, value: &Value) -> Objects {
    bench.cluster().patch(&format!("/api/v1/nodes/{node}"), &json!([{ "op": "add", "path": format!("/spec/{field}"), "value": value }]));
    let mut settled = bench.cluster().settled();
    settled.retain(|key, _| key.starts_with("nodes "));
    settled
}

/// The journals of everything that was injected.
fn journals(bench: &Bench) -> String {
    let folders = fs::read_dir(bench.path(&bench.reports("injected"))).unwrap().map(|folder| folder.unwrap().path());
    folders.filter_map(|folder| fs::read_to_string(folder.join("journal.jsonl")).ok()).collect()
}

/// A fault by hand whose result is told, with what it told.
fn told(bench: &Bench, namespace: &str, arguments: &[&str], code: i32) -> Value {
    let output = inject(bench, namespace, arguments);
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `chaos recover` for what was injected, which must find something.
fn recover(bench: &Bench) {
    let recovered = bench.chaos(&["recover", "--reports", &bench.reports("injected")]).output().unwrap();
    assert!(recovered.status.success() && !said(&recovered).contains("nothing to recover"), "{}", said(&recovered));
}

#[test]
fn a_cordon_of_somebody_else_is_not_attested_and_stays() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::one(folder.path(), "cordoned");
    let namespace = standing(&bench);
    let node = target_pod(&bench, &namespace, |_| true)["spec"]["nodeName"].as_str().unwrap().to_owned();
    let before = mark(&bench, &node, "unschedulable", &json!(true));
    for arguments in [&["node-cordon", "for=1s"][..], &["node-cordon", "for=1s", "--no-heal"]] {
        let told = told(&bench, &namespace, arguments, 2);
        assert_eq!((&told["target"]["name"], &told["attested"]), (&json!(node), &json!(false)), "{told}");
        assert!(told["evidence"].to_string().contains("had been cordoned by somebody else"), "{told}");
        assert_eq!(nodes(&bench), before, "{arguments:?}");
    }
    recover(&bench);
    assert_eq!(nodes(&bench), before, "chaos recover");
    // A drain has its effect all the same, and leaves the cordon.
    assert_eq!(told(&bench, &namespace, &["node-drain"], 0)["attested"], true);
    bench.cluster().wait_for_some(&before).unwrap();
}

#[test]
fn a_taint_of_somebody_else_is_not_attested_and_stays() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::one(folder.path(), "tainted");
    let namespace = standing(&bench);
    let cluster = bench.cluster();
    let key = "chaos.sqledge.dev/fault";
    // The target stays where somebody else's taint is, and leaves where the run's is.
    cluster.patch(
        &format!("/apis/apps/v1/namespaces/{namespace}/deployments/mssql"),
        &json!([{ "op": "add", "path": "/spec/template/spec/tolerations",
            "value": [{ "key": key, "operator": "Equal", "value": "somebody", "effect": "NoExecute" }] }]),
    );
    let tolerates = |pod: &Value| pod["spec"]["tolerations"].as_array().into_iter().flatten().any(|one| one["value"] == "somebody");
    let serving = || target_pod(&bench, &namespace, tolerates)["spec"]["nodeName"].as_str().unwrap().to_owned();
    let taint = |node: &str, effect: &str| mark(&bench, node, "taints", &json!([{ "key": key, "value": "somebody", "effect": effect }]));

    // With another effect it is another taint: the run's comes beside it and goes by itself.
    for arguments in [&["node-taint"][..], &["node-taint", "--no-heal"]] {
        let node = serving();
        let before = taint(&node, "PreferNoSchedule");
        assert_eq!(told(&bench, &namespace, arguments, 0)["attested"], true);
        if arguments.contains(&"--no-heal") {
            let taints = &cluster.get(&format!("/api/v1/nodes/{node}"))["spec"]["taints"];
            assert_eq!(taints.as_array().unwrap().len(), 2, "both are there until chaos recover: {taints}");
            recover(&bench);
        }
        cluster.wait_for_some(&before).unwrap();
    }

    // The same taint cannot be there twice, so there is nothing to do.
    let node = serving();
    let before = taint(&node, "NoExecute");
    for arguments in [&["node-taint"][..], &["node-taint", "--no-heal"]] {
        let output = inject(&bench, &namespace, arguments);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("somebody else did it before"), "{}", said(&output));
        assert_eq!((nodes(&bench), serving()), (before.clone(), node.clone()), "{arguments:?}");
    }
}

#[test]
fn a_scale_that_somebody_else_changed_meanwhile_is_not_overwritten() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::one(folder.path(), "scaled");
    let namespace = standing(&bench);
    let cluster = bench.cluster();
    let deployment = format!("/apis/apps/v1/namespaces/{namespace}/deployments/mssql");
    for (meanwhile, after) in [(Some(2), 2), (None, 2)] {
        assert_eq!(told(&bench, &namespace, &["scale-zero", "--no-heal"], 0)["attested"], true);
        assert_eq!(cluster.get(&deployment)["spec"]["replicas"], 0);
        if let Some(replicas) = meanwhile {
            cluster.patch(&deployment, &json!([{ "op": "replace", "path": "/spec/replicas", "value": replicas }]));
        }
        recover(&bench);
        let now = cluster.get(&deployment);
        assert_eq!(now["spec"]["replicas"], after, "{now}");
        assert!(!now["metadata"]["annotations"].to_string().contains("chaos.sqledge.dev/scaled-by"), "{now}");
    }
}

#[test]
fn a_node_fault_beyond_the_blast_radius_is_refused_and_changes_nothing() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::one(folder.path(), "radius");
    let namespace = standing(&bench);
    let node = target_pod(&bench, &namespace, |_| true)["spec"]["nodeName"].clone();
    let all = bench.cluster().get("/api/v1/nodes");
    let other = all["items"].as_array().unwrap().iter().map(|node| &node["metadata"]["name"]).find(|name| **name != node).unwrap();
    let other = other.as_str().unwrap();
    let before = mark(&bench, other, "unschedulable", &json!(true));
    for fault in ["node-cordon", "node-drain"] {
        let output = inject(&bench, &namespace, &[fault, "--max-unavailable-nodes", "1"]);
        assert_eq!(output.status.code(), Some(2), "{fault}: {}", said(&output));
        assert!(
            said(&output).contains(&format!("unavailable beside {other}, and blastRadius.maxUnavailableNodes is 1")),
            "{}",
            said(&output)
        );
        assert_eq!(nodes(&bench), before, "{fault}");
    }
    assert!(!journals(&bench).contains("\"intent\""), "nothing was changed and healed");
    let within = told(&bench, &namespace, &["node-cordon", "for=1s", "--max-unavailable-nodes", "2"], 0);
    assert_eq!(within["attested"], true, "{within}");
    bench.cluster().wait_for_some(&before).unwrap();
}
