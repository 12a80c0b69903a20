//! Nodes that freeze or lose their power, and what becomes of their pods.

use std::time::Duration;

use kube_sandbox::store::{DEPLOYMENTS, Key, NODES, PERSISTENT_VOLUME_CLAIMS, PODS, Part, Preconditions, text};
use serde_json::{Value, json};

use crate::rig::*;

/// Short enough for a test; several heartbeats fit into it.
const GRACE: Duration = Duration::from_secs(2);

async fn power(rig: &Rig, node: &str, state: &str) {
    let client = crate::client::connect(&rig.sandbox.kubeconfig()).await;
    let body = json!({ "state": state }).to_string().into_bytes();
    client.request_text(crate::client::post(&format!("/sandbox/v1/nodes/{node}/power"), body)).await.unwrap();
}

fn node_status(node: &str, status: &str) -> impl Fn(&[std::sync::Arc<Value>]) -> Option<()> {
    move |nodes| {
        let node = nodes.iter().find(|one| name(one) == node)?;
        let conditions = node.pointer("/status/conditions").and_then(Value::as_array)?;
        conditions.iter().any(|one| text(one, "/type") == "Ready" && text(one, "/status") == status).then_some(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_node_is_not_ready_until_it_thaws_and_its_pod_is_the_same_one() {
    let rig = Rig::start_with(|config| config.node_grace = GRACE);
    rig.deploy(&[], |_| ());
    let (cluster, _) = rig.addresses();
    let pod = rig.ready_pod(&[]).await;
    let mut client = rig.reaches(cluster, name(&pod)).await;
    let node = text(&pod, "/spec/nodeName").to_owned();
    power(&rig, &node, "frozen").await;
    let silent = tokio::time::timeout(Duration::from_millis(300), client.echo("anybody?")).await;
    assert!(silent.is_err(), "a frozen server answered");
    rig.until("a silent node", &NODES, node_status(&node, "Unknown")).await;
    rig.until("an unready pod", &PODS, |pods| (!ready(&pods[0])).then_some(())).await;
    rig.refuses(cluster).await;
    rig.event("NodeNotReady").await;
    power(&rig, &node, "on").await;
    rig.until("a ready node", &NODES, node_status(&node, "True")).await;
    let after = rig.ready_pod(&[]).await;
    assert_eq!(uid(&after), uid(&pod));
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], json!(0));
    rig.reaches(cluster, name(&pod)).await;
    let taints = |nodes: &[std::sync::Arc<Value>]| {
        let node = nodes.iter().find(|one| name(one) == node)?;
        node.pointer("/spec/taints").is_none().then_some(())
    };
    rig.until("a node without taints", &NODES, taints).await;
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_kubelet_is_given_up_while_its_pod_serves_on() {
    let rig = Rig::start_with(|config| config.node_grace = GRACE);
    rig.deploy(&[], |_| ());
    let (cluster, _) = rig.addresses();
    let pod = rig.ready_pod(&[]).await;
    let mut client = rig.reaches(cluster, name(&pod)).await;
    let node = text(&pod, "/spec/nodeName").to_owned();
    power(&rig, &node, "unattended").await;
    rig.until("a silent node", &NODES, node_status(&node, "Unknown")).await;
    rig.refuses(cluster).await;
    assert_eq!(client.echo("still there?").await.unwrap(), "still there?");
    power(&rig, &node, "on").await;
    rig.until("a ready node", &NODES, node_status(&node, "True")).await;
    let after = rig.ready_pod(&[]).await;
    assert_eq!((uid(&after), &after["status"]["containerStatuses"][0]["restartCount"]), (uid(&pod), &json!(0)));
    assert_eq!(client.echo("and now?").await.unwrap(), "and now?");
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_moves_from_a_node_without_power_when_its_patience_is_over() {
    let rig = Rig::start_with(|config| config.node_grace = GRACE);
    rig.create(&PERSISTENT_VOLUME_CLAIMS, claim("far", "shared", "ReadWriteOnce"));
    rig.deploy(&["--journal", "/data/journal"], |deployment| {
        let spec = &mut deployment["spec"]["template"]["spec"];
        spec["volumes"][0]["persistentVolumeClaim"]["claimName"] = json!("far");
        spec["tolerations"] =
            json!([{ "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1 }]);
    });
    let (cluster, _) = rig.addresses();
    let old = rig.ready_pod(&[]).await;
    let mut client = rig.reaches(cluster, name(&old)).await;
    let node = text(&old, "/spec/nodeName").to_owned();
    power(&rig, &node, "off").await;
    client.ends().await;
    let new = rig.ready_pod(&[uid(&old)]).await;
    assert_ne!(text(&new, "/spec/nodeName"), node);
    let moved = rig.reaches(cluster, name(&new)).await;
    assert!(moved.greeting.ends_with(&format!("start {}", name(&old))), "{}", moved.greeting);
    // The old pod terminates for as long as its node cannot say that it is gone.
    let left = rig.get(&PODS, name(&old)).expect("nobody can confirm the end of the old pod");
    assert!(left.pointer("/metadata/deletionTimestamp").is_some());
    power(&rig, &node, "on").await;
    rig.pod_gone(uid(&old)).await;
    rig.until("a ready node", &NODES, node_status(&node, "True")).await;
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_back_soon_starts_its_pods_again() {
    let rig = Rig::start();
    rig.deploy(&["--journal", "/data/journal"], |_| ());
    let pod = rig.ready_pod(&[]).await;
    let node = text(&pod, "/spec/nodeName").to_owned();
    power(&rig, &node, "off").await;
    power(&rig, &node, "on").await;
    rig.until("a restarted pod", &PODS, |pods| {
        (ready(&pods[0]) && pods[0]["status"]["containerStatuses"][0]["restartCount"] == json!(1)).then_some(())
    })
    .await;
    assert_eq!(uid(&rig.pods()[0]), uid(&pod));
    let scaled = rig.store().update(&Key::namespaced(&DEPLOYMENTS, NS, "db"), &Preconditions::default(), Part::Main, &mut |deployment| {
        deployment["spec"]["replicas"] = json!(0);
        Ok(())
    });
    scaled.unwrap();
    rig.pod_gone(uid(&pod)).await;
    rig.sandbox.shutdown().await;
}
