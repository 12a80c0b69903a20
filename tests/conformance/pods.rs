//! What kubelets, controllers and the scheduler do with pods, and how soon.

use std::process::Stdio;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::arena::{Arena, condition, ready, said};

async fn service(arena: &Arena) {
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "engine" },
        "spec": { "type": "NodePort", "selector": { "app": "engine" }, "ports": [{ "port": 1433, "targetPort": 1433 }] } });
    arena.create(&arena.path("services"), service).await;
}

fn deployment(arena: &Arena, grace_s: u64, arguments: &[&str]) -> Value {
    let pod = arena.pod("unnamed", grace_s, arguments, None);
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "engine" },
        "spec": { "replicas": 1, "strategy": { "type": "Recreate" }, "selector": { "matchLabels": { "app": "engine" } },
            "template": { "metadata": { "labels": { "app": "engine" } }, "spec": pod["spec"] } } })
}

/// The endpoints of the Service.
fn endpoints(slices: &Value) -> Vec<&Value> {
    slices["items"].as_array().into_iter().flatten().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten()).collect()
}

pub async fn an_endpoint_is_not_ready_before_its_process_ends(arena: Arena) {
    service(&arena).await;
    arena.ready_pod("leaving", 8, &["--ignore-sigterm"], None).await;
    let slices = format!("{}?labelSelector=kubernetes.io/service-name=engine", arena.path_of("discovery.k8s.io/v1", "endpointslices"));
    arena.until(&slices, "a ready endpoint", |slices| endpoints(slices).iter().any(|one| one["conditions"]["ready"] == true)).await;
    let began = Instant::now();
    arena.ask(Method::DELETE, &arena.path("pods/leaving"), None).await.unwrap();
    let leaving = |slices: &Value| {
        endpoints(slices).iter().all(|one| one["conditions"]["ready"] == false && one["conditions"]["terminating"] == true)
    };
    arena.until(&slices, "an endpoint that terminates", leaving).await;
    let removed = began.elapsed();
    let pod = arena.get(&arena.path("pods/leaving")).await;
    assert!(pod["status"]["containerStatuses"][0]["state"]["running"].is_object(), "its process runs on meanwhile: {}", pod["status"]);
    // New connections stay away from it at once, long before the 8 s after which its process is killed.
    assert!(removed < Duration::from_secs(5), "{removed:?}");
    arena.until(&arena.path("pods/leaving"), "the pod gone", Value::is_null).await;
}

pub async fn a_container_that_ends_is_restarted_at_once_and_then_later_and_later(arena: Arena) {
    arena.create(&arena.path("pods"), arena.pod("crashes", 1, &["--no-such-flag"], None)).await;
    let path = arena.path("pods/crashes");
    let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
    arena
        .until(&path, "a first end", |pod| {
            let status = &pod["status"]["containerStatuses"][0];
            restarts(pod) > 0 || status["state"]["terminated"].is_object() || status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    let (_, first) = arena.until(&path, "a first restart", |pod| restarts(pod) >= 1).await;
    assert!(first < Duration::from_secs(8), "the first restart is not held back: {first:?}");
    let backs_off = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    arena.until(&path, "a back-off", backs_off).await;
    let (_, second) = arena.until(&path, "a second restart", |pod| restarts(pod) >= 2).await;
    // 10 s from the first restart's end, and up to 10 s more until the kubelet comes to it.
    assert!(second > Duration::from_secs(6) && second < Duration::from_secs(30), "{second:?}");
}

pub async fn a_claim_comes_back_with_its_volume_on_its_node(arena: Arena) {
    arena.claim("kept", "ReadWriteOnce", "standard").await;
    let first = arena.ready_pod("first", 1, &[], Some("kept")).await;
    let claim = arena.get(&arena.path("persistentvolumeclaims/kept")).await;
    arena.ask(Method::DELETE, &arena.path("pods/first"), None).await.unwrap();
    arena.until(&arena.path("pods/first"), "the pod gone", Value::is_null).await;
    let second = arena.ready_pod("second", 1, &[], Some("kept")).await;
    let again = arena.get(&arena.path("persistentvolumeclaims/kept")).await;
    assert_eq!(claim["spec"]["volumeName"], again["spec"]["volumeName"]);
    assert_eq!(first["spec"]["nodeName"], second["spec"]["nodeName"], "the volume is on one node, and its pods follow it");
}

pub async fn a_claim_for_one_pod_holds_the_second_back(arena: Arena) {
    arena.claim("alone", "ReadWriteOncePod", "standard").await;
    arena.ready_pod("holds", 1, &[], Some("alone")).await;
    arena.create(&arena.path("pods"), arena.pod("waits", 1, &[], Some("alone"))).await;
    let path = arena.path("pods/waits");
    let (pod, _) = arena.until(&path, "a refusal of the scheduler", |pod| condition(pod, "PodScheduled") == Some("False")).await;
    assert_eq!(pod["status"]["phase"], "Pending");
    arena.ask(Method::DELETE, &arena.path("pods/holds"), None).await.unwrap();
    arena.until(&path, "a ready pod", ready).await;
    assert!(arena.get(&arena.path("pods/holds")).await.is_null(), "the second pod came before the first was gone");
}

pub async fn a_replacement_comes_while_the_old_pod_of_a_deployment_terminates(arena: Arena) {
    arena.create(&arena.path_of("apps/v1", "deployments"), deployment(&arena, 10, &["--ignore-sigterm"])).await;
    let pods = arena.path("pods");
    let (list, _) = arena.until(&pods, "a ready pod", |list| list["items"].as_array().unwrap().iter().any(ready)).await;
    let old = list["items"][0]["metadata"].clone();
    arena.ask(Method::DELETE, &format!("{pods}/{}", old["name"].as_str().unwrap()), None).await.unwrap();
    let (list, took) = arena.until(&pods, "two pods at once", |list| list["items"].as_array().unwrap().len() == 2).await;
    assert!(took < Duration::from_secs(8), "the replacement does not wait for the old pod's 10 s: {took:?}");
    let old_now = list["items"].as_array().unwrap().iter().find(|pod| pod["metadata"]["uid"] == old["uid"]).unwrap();
    assert!(old_now["metadata"]["deletionTimestamp"].is_string());
}

pub async fn a_node_without_its_kubelet_is_not_ready_within_a_minute_and_ready_again_soon(arena: Arena) {
    let access = arena.node_image();
    if arena.is_context() && access.is_none() {
        eprintln!("skipped: CHAOS_TEST_NODE_IMAGE names no image for the pods that stop a node's kubelet");
        return;
    }
    service(&arena).await;
    arena.create(&arena.path_of("apps/v1", "deployments"), deployment(&arena, 1, &[])).await;
    let (list, _) = arena.until(&arena.path("pods"), "a ready pod", |list| list["items"].as_array().unwrap().iter().any(ready)).await;
    let node = format!("/api/v1/nodes/{}", list["items"][0]["spec"]["nodeName"].as_str().unwrap());
    let mut stop = arena.chaos(&["inject", "kubelet-stop", "for=70s", "-n", &arena.namespace, "--service", "engine"]);
    stop.args(access.map(|image| format!("--node-access={image}")));
    stop.args(arena.on_cluster()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Its witness is the node, so no password is asked for.
    let stopping = stop.spawn().unwrap();
    let (_, lost) = arena.until(&node, "a node that is not ready", |node| condition(node, "Ready") != Some("True")).await;
    let (_, back) = arena.until(&node, "a node that is ready", |node| condition(node, "Ready") == Some("True")).await;
    let output = stopping.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    // The monitor's grace is 40 s before Kubernetes 1.32 and 50 s since; a lease that was renewed just before is up to 10 s younger.
    assert!(lost > Duration::from_secs(30) && lost < Duration::from_secs(65), "{lost:?}");
    // What is left of the 70 s (8 s more where the node stops the kubelet by itself), and the kubelet's own start.
    assert!(back < Duration::from_secs(60), "{back:?}");
}
