//! A deployment's pod from its start through its replacement to its end.

use std::time::{Duration, Instant};

use kube_sandbox::store::{DEPLOYMENTS, ENDPOINT_SLICES, EventKind, PODS, text};
use serde_json::{Value, json};

use crate::rig::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_runs_a_process_that_both_addresses_of_its_service_reach() {
    let rig = Rig::start();
    rig.deploy(&["--journal", "/data/journal"], |_| ());
    let (cluster, nodes) = rig.addresses();
    rig.refuses(cluster).await;
    let pod = rig.ready_pod(&[]).await;
    let mut client = rig.reaches(cluster, name(&pod)).await;
    assert_eq!(client.echo("hello").await.unwrap(), "hello");
    assert_eq!(nodes.len(), 3);
    for node in nodes {
        rig.reaches(node, name(&pod)).await;
    }
    let status = &pod["status"];
    assert_eq!(text(status, "/phase"), "Running");
    assert!(text(status, "/containerStatuses/0/containerID").starts_with("sandbox://"));
    assert_eq!(status["containerStatuses"][0]["started"], json!(true));
    let rolled_out =
        |deployments: &[std::sync::Arc<Value>]| (deployments[0]["status"]["availableReplicas"] == json!(1)).then(|| deployments[0].clone());
    let deployment = rig.until("an available deployment", &DEPLOYMENTS, rolled_out).await;
    let conditions = deployment["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|condition| text(condition, "/reason") == "NewReplicaSetAvailable"), "{conditions:?}");
    for reason in ["Scheduled", "Pulled", "Created", "Started", "SuccessfulCreate", "ScalingReplicaSet", "ProvisioningSucceeded"] {
        assert!(!rig.events(reason).is_empty(), "no event {reason}");
    }
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pod_is_replaced_at_once_while_it_still_serves_its_old_clients() {
    let rig = Rig::start();
    rig.deploy(&["--journal", "/data/journal", "--term-delay-ms", "1500", "--term-code", "7"], |_| ());
    let (cluster, _) = rig.addresses();
    let old = rig.ready_pod(&[]).await;
    let mut kept = rig.reaches(cluster, name(&old)).await;
    let mut watch = rig.store().watch(&PODS, Some(NS), rig.store().revision()).unwrap();
    rig.delete(&PODS, name(&old), None);
    let new = rig.ready_pod(&[uid(&old)]).await;
    // The replacement is ready while the old process still uses its grace: its object is there, and so is its connection.
    assert!(rig.get(&PODS, name(&old)).is_some(), "the old pod is gone already");
    let mut moved = rig.reaches(cluster, name(&new)).await;
    assert_eq!(kept.echo("old").await.unwrap(), "old");
    assert_eq!(moved.echo("new").await.unwrap(), "new");
    assert_eq!(new["spec"]["nodeName"], old["spec"]["nodeName"], "a node-local volume keeps the pod on its node");
    // The file of the first pod is there for the second one.
    assert!(moved.greeting.ends_with(&format!("start {}", name(&old))), "{}", moved.greeting);
    rig.pod_gone(uid(&old)).await;
    kept.ends().await;
    let mut last = None;
    while let Some(event) = watch.try_next().unwrap() {
        if uid(&event.object) == uid(&old) {
            last = Some(event);
        }
    }
    let last = last.unwrap();
    assert_eq!(last.kind, EventKind::Deleted);
    let end = &last.object["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((end["exitCode"].as_i64(), text(end, "/reason")), (Some(7), "Error"));
    assert_eq!(text(&last.object, "/status/phase"), "Failed");
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_is_terminating_as_soon_as_its_pod_is() {
    let rig = Rig::start();
    rig.deploy(&["--term-delay-ms", "3000"], |deployment| deployment["spec"]["replicas"] = json!(1));
    let old = rig.ready_pod(&[]).await;
    let before = Instant::now();
    rig.delete(&PODS, name(&old), None);
    rig.until("a terminating endpoint", &ENDPOINT_SLICES, |slices| {
        let endpoints = slices[0]["endpoints"].as_array()?;
        let endpoint = endpoints.iter().find(|endpoint| endpoint["targetRef"]["uid"] == json!(uid(&old)))?;
        let expected = json!({ "ready": false, "serving": true, "terminating": true });
        (endpoint["conditions"] == expected).then_some(())
    })
    .await;
    // The grace period is five seconds and the server takes three of them: the endpoint did not wait for either.
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    rig.sandbox.shutdown().await;
}
