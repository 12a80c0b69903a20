//! Where pods run, and what is said when they cannot.

use kube_sandbox::store::{Key, NODES, PERSISTENT_VOLUME_CLAIMS, PODS, Part, Preconditions, text};
use serde_json::{Value, json};

use crate::rig::*;

fn cordon(rig: &Rig, node: &str, cordoned: bool) {
    let key = Key::cluster(&NODES, node);
    rig.store()
        .update(&key, &Preconditions::default(), Part::Main, &mut |node: &mut Value| {
            node["spec"]["unschedulable"] = if cordoned { json!(true) } else { Value::Null };
            Ok(())
        })
        .unwrap();
}

fn refusal(pod: &Value) -> Option<String> {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array)?;
    let scheduled = conditions.iter().find(|condition| text(condition, "/type") == "PodScheduled")?;
    (text(scheduled, "/status") == "False").then(|| text(scheduled, "/message").to_owned())
}

async fn refused(rig: &Rig, pod: &'static str) -> String {
    rig.until("a refusal", &PODS, |pods| refusal(pods.iter().find(|candidate| name(candidate) == pod)?)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cordoned_nodes_take_no_pods_until_they_are_uncordoned() {
    let rig = Rig::start();
    cordon(&rig, "sandbox-worker", true);
    cordon(&rig, "sandbox-worker2", true);
    rig.create(&PODS, json!({ "metadata": { "name": "p" }, "spec": pod_spec(&[], None) }));
    // Word for word what kube-scheduler 1.34 said in the same situation.
    assert_eq!(
        refused(&rig, "p").await,
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) were unschedulable. no new claims to deallocate, \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    let found = rig.event("FailedScheduling").await;
    assert_eq!(text(&found, "/type"), "Warning");
    rig.until("the taint of a cordoned node", &NODES, |nodes| {
        let node = nodes.iter().find(|node| name(node) == "sandbox-worker")?;
        (text(node, "/spec/taints/0/key") == "node.kubernetes.io/unschedulable").then_some(())
    })
    .await;
    cordon(&rig, "sandbox-worker2", false);
    let pod = rig.ready_pod(&[]).await;
    assert_eq!(text(&pod, "/spec/nodeName"), "sandbox-worker2");
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_local_volume_keeps_its_pod_from_other_nodes() {
    let rig = Rig::start();
    rig.deploy(&["--journal", "/data/journal"], |_| ());
    let old = rig.ready_pod(&[]).await;
    let node = text(&old, "/spec/nodeName").to_owned();
    cordon(&rig, &node, true);
    rig.delete(&PODS, name(&old), Some(0));
    let why = rig.until("a refusal", &PODS, |pods| pods.iter().find_map(|pod| refusal(pod))).await;
    let reasons =
        "1 node(s) didn't match PersistentVolume's node affinity, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable";
    assert!(why.contains(reasons), "{why}");
    cordon(&rig, &node, false);
    let found = rig.ready_pod(&[uid(&old)]).await;
    assert_eq!(text(&found, "/spec/nodeName"), node);
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_volume_follows_its_pod_to_another_node() {
    let rig = Rig::start();
    rig.create(&PERSISTENT_VOLUME_CLAIMS, claim("far", "shared", "ReadWriteOnce"));
    let with_claim = |deployment: &mut Value| {
        deployment["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = json!("far");
    };
    rig.deploy(&["--journal", "/data/journal"], with_claim);
    let (cluster, _) = rig.addresses();
    let old = rig.ready_pod(&[]).await;
    let node = text(&old, "/spec/nodeName").to_owned();
    cordon(&rig, &node, true);
    rig.delete(&PODS, name(&old), None);
    let new = rig.ready_pod(&[uid(&old)]).await;
    assert_ne!(text(&new, "/spec/nodeName"), node);
    let client = rig.reaches(cluster, name(&new)).await;
    assert!(client.greeting.ends_with(&format!("start {}", name(&old))), "{}", client.greeting);
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_for_one_pod_is_held_until_that_pod_is_gone() {
    let rig = Rig::start();
    rig.create(&PERSISTENT_VOLUME_CLAIMS, claim("only", "shared", "ReadWriteOncePod"));
    rig.create(&PODS, json!({ "metadata": { "name": "first" }, "spec": pod_spec(&["--term-delay-ms", "1000"], Some("only")) }));
    let first = rig.ready_pod(&[]).await;
    rig.delete(&PODS, "first", None);
    rig.create(&PODS, json!({ "metadata": { "name": "second" }, "spec": pod_spec(&[], Some("only")) }));
    let why = refused(&rig, "second").await;
    assert!(
        why.contains("2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"),
        "{why}"
    );
    let second = rig.ready_pod(&[uid(&first)]).await;
    assert!(rig.get(&PODS, "first").is_none(), "both pods held the claim");
    assert_eq!(name(&second), "second");
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_claim_is_named() {
    let rig = Rig::start();
    rig.create(&PODS, json!({ "metadata": { "name": "p" }, "spec": pod_spec(&[], Some("nosuch")) }));
    assert_eq!(refused(&rig, "p").await, "0/3 nodes are available: persistentvolumeclaim \"nosuch\" not found. not found");
    rig.create(&PERSISTENT_VOLUME_CLAIMS, claim("nosuch", "standard", "ReadWriteOnce"));
    rig.ready_pod(&[]).await;
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lethal_taint_drives_pods_away() {
    let rig = Rig::start();
    rig.create(&PODS, json!({ "metadata": { "name": "p" }, "spec": pod_spec(&[], None) }));
    let pod = rig.ready_pod(&[]).await;
    let key = Key::cluster(&NODES, text(&pod, "/spec/nodeName"));
    rig.store()
        .update(&key, &Preconditions::default(), Part::Main, &mut |node: &mut Value| {
            node["spec"]["taints"] = json!([{ "key": "out", "effect": "NoExecute" }]);
            Ok(())
        })
        .unwrap();
    rig.pod_gone(uid(&pod)).await;
    rig.event("TaintManagerEviction").await;
    rig.sandbox.shutdown().await;
}
