//! What others have or did in the cluster: faults neither destroy it, nor pass it off as theirs, nor take it back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::{Bench, alone, said};
use crate::inject::{inject, nodes, standing};

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
    let uids = || -> Vec<Value> { cluster.get(&pods)["items"].as_array().unwrap().iter().map(|pod| pod["metadata"]["uid"].clone()).collect() };
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
    let recovered = bench.chaos(&["recover", "--reports", &bench.reports("injected")]).output().unwrap();
    assert!(said(&recovered).contains("nothing to recover"), "{}", said(&recovered));

    let output = inject(&bench, &namespace, &["node-drain"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("pod replaceable was evicted"), "{}", said(&output));
    for pod in stay {
        let now = &cluster.get(&format!("{pods}/{}", pod["name"].as_str().unwrap()))["metadata"];
        assert_eq!((&now["uid"], &now["deletionTimestamp"]), (&pod["uid"], &Value::Null), "{now}");
    }
}
