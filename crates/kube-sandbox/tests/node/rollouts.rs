//! From one revision to the next, and pods that wait for their predecessors.

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Api, Patch, PatchParams};
use kube_sandbox::store::{
    CONTROLLER_REVISIONS, DEPLOYMENTS, Key, PERSISTENT_VOLUME_CLAIMS, PODS, Part, Preconditions, REPLICA_SETS, STATEFUL_SETS, text,
};
use serde_json::{Value, json};

use crate::client;
use crate::rig::*;

fn patch(rig: &Rig, resource: &'static kube_sandbox::store::Resource, name: &str, change: impl Fn(&mut Value)) {
    let key = Key::namespaced(resource, NS, name);
    rig.store()
        .update(&key, &Preconditions::default(), Part::Main, &mut |object: &mut Value| {
            change(object);
            Ok(())
        })
        .unwrap();
}

fn annotate(object: &mut Value) {
    object["spec"]["template"]["metadata"]["annotations"]["round"] = json!("2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreate_makes_no_new_pod_before_the_old_ones_have_ended() {
    let rig = Rig::start();
    rig.deploy(&["--term-delay-ms", "700"], |_| ());
    let old = rig.ready_pod(&[]).await;
    let mut watch = rig.store().watch(&PODS, Some(NS), rig.store().revision()).unwrap();
    patch(&rig, &DEPLOYMENTS, "db", annotate);
    let new = rig.ready_pod(&[uid(&old)]).await;
    let mut order = Vec::new();
    while let Some(event) = watch.try_next().unwrap() {
        order.push((event.kind.as_str(), uid(&event.object).to_owned(), text(&event.object, "/status/phase").to_owned()));
    }
    // As the real controller's oldPodsRunning: a pod whose processes have ended does not run, even while its object is still there for a moment.
    let ended = order
        .iter()
        .position(|(kind, id, phase)| id == uid(&old) && (*kind == "DELETED" || phase == "Succeeded" || phase == "Failed"))
        .unwrap();
    let added = order.iter().position(|(kind, id, _)| id == uid(&new) && *kind == "ADDED").unwrap();
    assert!(ended < added, "{order:?}");
    let deployment = rig.get(&DEPLOYMENTS, "db").unwrap();
    assert_eq!(text(&deployment, "/metadata/annotations/deployment.kubernetes.io~1revision"), "2");
    let sizes = |sets: &[std::sync::Arc<Value>]| {
        let mut sizes: Vec<_> = sets.iter().map(|set| set["status"]["replicas"].as_i64().unwrap_or(0)).collect();
        sizes.sort_unstable();
        (sizes == [0, 1]).then_some(())
    };
    rig.until("one set of each revision", &REPLICA_SETS, sizes).await;
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_never_leaves_the_service_without_a_pod() {
    let rig = Rig::start();
    // A server that ends at once races with the removal of its endpoint, here as in a cluster; this one serves on for a moment.
    rig.deploy(&["--term-delay-ms", "500"], |deployment| {
        deployment["spec"]["strategy"] = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
        deployment["spec"]["replicas"] = json!(2);
    });
    let available = |count: i64, updated: i64| {
        move |deployments: &[std::sync::Arc<Value>]| {
            let status = &deployments[0]["status"];
            let exact = ["replicas", "availableReplicas"].iter().all(|field| status[field] == json!(count));
            (exact
                && status["updatedReplicas"] == json!(updated)
                && status["observedGeneration"] == deployments[0]["metadata"]["generation"])
                .then_some(())
        }
    };
    rig.until("two pods", &DEPLOYMENTS, available(2, 2)).await;
    let (cluster, _) = rig.addresses();
    // The deployment knows that its pods are available a moment before the service's listener does.
    rig.reaches(cluster, "db-").await;
    let old: Vec<String> = rig.pods().iter().map(|pod| uid(pod).to_owned()).collect();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = std::sync::Arc::clone(&done);
    let knocking = tokio::spawn(async move {
        let mut answered = 0;
        while !stop.load(std::sync::atomic::Ordering::SeqCst) {
            Client::connect(cluster).await.expect("somebody answers at any moment");
            answered += 1;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        answered
    });
    patch(&rig, &DEPLOYMENTS, "db", annotate);
    rig.until("two new pods and no other", &PODS, |pods| {
        let all_new = pods.len() == 2 && pods.iter().all(|pod| ready(pod) && !old.iter().any(|old| old == uid(pod)));
        all_new.then_some(())
    })
    .await;
    rig.until("the end of the rollout", &DEPLOYMENTS, available(2, 2)).await;
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(knocking.await.unwrap() > 10);
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_scales_to_nothing_and_back_on_the_same_claim() {
    let rig = Rig::start();
    rig.deploy(&["--journal", "/data/journal"], |_| ());
    let (cluster, nodes) = rig.addresses();
    let old = rig.ready_pod(&[]).await;
    patch(&rig, &DEPLOYMENTS, "db", |deployment| deployment["spec"]["replicas"] = json!(0));
    rig.pod_gone(uid(&old)).await;
    rig.refuses(cluster).await;
    rig.refuses(nodes[1]).await;
    patch(&rig, &DEPLOYMENTS, "db", |deployment| deployment["spec"]["replicas"] = json!(1));
    let new = rig.ready_pod(&[]).await;
    let client = rig.reaches(cluster, name(&new)).await;
    assert!(client.greeting.ends_with(&format!("start {}", name(&old))));
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_deployment_deletes_what_it_owns_and_orphaning_does_not() {
    let rig = Rig::start();
    // Slow enough to stop that the owner can be seen waiting for it.
    rig.deploy(&["--term-delay-ms", "1500"], |_| ());
    let pod = rig.ready_pod(&[]).await;
    let orphan = kube_sandbox::store::DeleteOptions {
        propagation: Some(kube_sandbox::store::Propagation::Orphan),
        ..kube_sandbox::store::DeleteOptions::default()
    };
    rig.store().delete(&Key::namespaced(&DEPLOYMENTS, NS, "db"), &orphan).unwrap();
    let left = rig
        .until("an orphaned set", &REPLICA_SETS, |sets| sets.iter().find(|set| set.pointer("/metadata/ownerReferences").is_none()).cloned())
        .await;
    rig.until("the end of the deployment", &DEPLOYMENTS, |all| all.is_empty().then_some(())).await;
    assert!(rig.get(&PODS, name(&pod)).is_some());
    let foreground = kube_sandbox::store::DeleteOptions {
        propagation: Some(kube_sandbox::store::Propagation::Foreground),
        ..kube_sandbox::store::DeleteOptions::default()
    };
    rig.store().delete(&Key::of(&REPLICA_SETS, &left), &foreground).unwrap();
    assert!(rig.get(&REPLICA_SETS, name(&left)).is_some(), "the owner went before its pods");
    rig.pod_gone(uid(&pod)).await;
    rig.until("the end of the set", &REPLICA_SETS, |sets| sets.is_empty().then_some(())).await;
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_waits_for_the_old_pod_to_be_gone_and_keeps_name_and_claim() {
    let rig = Rig::start();
    let mut template = pod_spec(&["--journal", "/data/journal", "--term-delay-ms", "500"], None);
    template["containers"][0]["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
    rig.create(
        &STATEFUL_SETS,
        json!({
            "metadata": { "name": "db" },
            "spec": {
                "replicas": 2, "serviceName": "db", "selector": { "matchLabels": { "app": "db" } },
                "template": { "metadata": { "labels": { "app": "db" } }, "spec": template },
                "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": claim("", "standard", "ReadWriteOnce")["spec"] }],
            },
        }),
    );
    let both = |pods: &[std::sync::Arc<Value>]| (pods.len() == 2 && pods.iter().all(|pod| ready(pod))).then(|| pods.to_vec());
    let pods = rig.until("two ready pods", &PODS, both).await;
    assert_eq!(pods.iter().map(|pod| name(pod)).collect::<Vec<_>>(), ["db-0", "db-1"]);
    let begins: Vec<&str> = rig.events("SuccessfulCreate").iter().map(|event| text(event, "/message").to_owned().leak() as &str).collect();
    assert!(begins.contains(&"create Claim data-db-0 Pod db-0 in StatefulSet db success"), "{begins:?}");
    let old = pods[0].clone();
    let mut watch = rig.store().watch(&PODS, Some(NS), rig.store().revision()).unwrap();
    rig.delete(&PODS, "db-0", None);
    let new = rig
        .until("a new db-0", &PODS, |pods| pods.iter().find(|pod| name(pod) == "db-0" && uid(pod) != uid(&old) && ready(pod)).cloned())
        .await;
    let mut order = Vec::new();
    while let Some(event) = watch.try_next().unwrap() {
        order.push((event.kind.as_str(), uid(&event.object).to_owned(), text(&event.object, "/status/phase").to_owned()));
    }
    // As the real controller's oldPodsRunning: a pod whose processes have ended does not run, even while its object is still there for a moment.
    let ended = order
        .iter()
        .position(|(kind, id, phase)| id == uid(&old) && (*kind == "DELETED" || phase == "Succeeded" || phase == "Failed"))
        .unwrap();
    let added = order.iter().position(|(kind, id, _)| id == uid(&new) && *kind == "ADDED").unwrap();
    assert!(ended < added, "{order:?}");
    let claims = rig.store().list(&PERSISTENT_VOLUME_CLAIMS, Some(NS)).0;
    assert_eq!(claims.len(), 2);
    patch(&rig, &STATEFUL_SETS, "db", |set| set["spec"]["replicas"] = json!(1));
    rig.until("one pod", &PODS, |pods| (pods.len() == 1 && name(&pods[0]) == "db-0").then_some(())).await;
    assert_eq!(rig.store().list(&PERSISTENT_VOLUME_CLAIMS, Some(NS)).0.len(), 2, "claims outlive their pods");
    patch(&rig, &STATEFUL_SETS, "db", annotate);
    rig.until("a pod of the new revision", &PODS, |pods| {
        pods.iter().find(|pod| ready(pod) && text(pod, "/metadata/annotations/round") == "2").map(|_| ())
    })
    .await;
    rig.until("the end of the rollout", &STATEFUL_SETS, |sets| {
        let status = &sets[0]["status"];
        (status["currentRevision"] == status["updateRevision"] && status["readyReplicas"] == json!(1)).then_some(())
    })
    .await;

    // As `kubectl rollout undo` does it: the data of the older revision is a strategic merge patch.
    let number = |revision: &Value| revision["revision"].as_i64().unwrap();
    let mut revisions = rig.store().list(&CONTROLLER_REVISIONS, Some(NS)).0;
    revisions.sort_by_key(|revision| number(revision));
    assert_eq!(revisions.iter().map(|revision| number(revision)).collect::<Vec<_>>(), [1, 2]);
    let sets: Api<StatefulSet> = Api::namespaced(client::connect(&rig.sandbox.kubeconfig()).await, NS);
    sets.patch("db", &PatchParams::default(), &Patch::Strategic(&revisions[0]["data"])).await.unwrap();
    rig.until("a pod of the first revision", &PODS, |pods| {
        pods.iter().find(|pod| ready(pod) && text(pod, "/metadata/annotations/round") != "2").map(|_| ())
    })
    .await;
    let again = rig.get(&CONTROLLER_REVISIONS, name(&revisions[0])).unwrap();
    assert_eq!((number(&again), rig.store().list(&CONTROLLER_REVISIONS, Some(NS)).0.len()), (3, 2));
    rig.sandbox.shutdown().await;
}
