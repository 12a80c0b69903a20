//! The same through the API, with the client that real clusters are used with.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::api::{Api, DeleteParams, LogParams, PostParams, Preconditions, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use crate::rig::*;

pub async fn connect(kubeconfig: &str) -> kube::Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_killed_and_replaced_as_the_harness_will_do_it() {
    let rig = Rig::start();
    let client = connect(&rig.sandbox.kubeconfig()).await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), NS);
    let services: Api<Service> = Api::namespaced(client.clone(), NS);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NS);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NS);
    let post = PostParams::default();
    claims.create(&post, &serde_json::from_value(claim("db", "standard", "ReadWriteOnce")).unwrap()).await.unwrap();
    let service =
        json!({ "metadata": { "name": "db" }, "spec": { "type": "NodePort", "selector": { "app": "db" }, "ports": [{ "port": 1433 }] } });
    services.create(&post, &serde_json::from_value(service).unwrap()).await.unwrap();
    let deployment = json!({
        "metadata": { "name": "db" },
        "spec": {
            "selector": { "matchLabels": { "app": "db" } }, "strategy": { "type": "Recreate" },
            "template": { "metadata": { "labels": { "app": "db" } }, "spec": pod_spec(&["--journal", "/data/journal"], Some("db")) },
        },
    });
    let mut watch = pods.watch(&WatchParams::default().labels("app=db"), "0").await.unwrap().boxed();
    deployments.create(&post, &serde_json::from_value(deployment).unwrap()).await.unwrap();
    let old = rig.ready_pod(&[]).await;
    let (_, nodes) = rig.addresses();
    let mut client_at_old = rig.reaches(nodes[1], name(&old)).await;
    assert!(pods.logs(name(&old), &LogParams::default()).await.unwrap().contains("listening on"));
    let stale = DeleteParams::default().preconditions(Preconditions { uid: Some("no-such-uid".to_owned()), ..Preconditions::default() });
    assert!(pods.delete(name(&old), &stale).await.is_err(), "a pod was deleted although it is another one");
    let exact = DeleteParams::default()
        .grace_period(0)
        .preconditions(Preconditions { uid: Some(uid(&old).to_owned()), ..Preconditions::default() });
    pods.delete(name(&old), &exact).await.unwrap();
    client_at_old.ends().await;
    let new = rig.ready_pod(&[uid(&old)]).await;
    rig.reaches(nodes[2], name(&new)).await;
    // The watch tells the same story in the same order: the old pod goes, and the new one comes and becomes ready.
    let mut story = Vec::new();
    while let Some(event) = tokio::time::timeout(PATIENCE, watch.try_next()).await.unwrap().unwrap() {
        match event {
            WatchEvent::Added(pod) => story.push(format!("added {}", pod.metadata.uid.unwrap())),
            WatchEvent::Deleted(pod) => story.push(format!("deleted {}", pod.metadata.uid.unwrap())),
            WatchEvent::Modified(pod) => {
                let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
                if pod.metadata.uid.as_deref() == Some(uid(&new))
                    && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
                {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    let expected = [format!("added {}", uid(&old)), format!("deleted {}", uid(&old)), format!("added {}", uid(&new))];
    assert_eq!(story, expected);
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_signalled_from_its_node() {
    let rig = Rig::start();
    let client = connect(&rig.sandbox.kubeconfig()).await;
    rig.deploy(&[], |_| ());
    let (cluster, _) = rig.addresses();
    let pod = rig.ready_pod(&[]).await;
    let mut echo = rig.reaches(cluster, name(&pod)).await;
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    let signal = |signal: &str| {
        let path = format!(
            "/sandbox/v1/nodes/{}/containers/{}/signal",
            pod["spec"]["nodeName"].as_str().unwrap(),
            id.trim_start_matches("sandbox://")
        );
        let body = json!({ "signal": signal, "scope": "main" }).to_string().into_bytes();
        client.request_text(post(&path, body))
    };
    signal("SIGSTOP").await.unwrap();
    // A stopped server keeps its connections and answers none: that it says nothing for this long is the point.
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), echo.echo("anybody?")).await.is_err());
    signal("SIGCONT").await.unwrap();
    rig.reaches(cluster, name(&pod)).await;
    signal("SIGKILL").await.unwrap();
    rig.until("a restart", &kube_sandbox::store::PODS, |pods| {
        (pods[0]["status"]["containerStatuses"][0]["restartCount"] == json!(1)).then_some(())
    })
    .await;
    assert!(signal("SIGKILL").await.is_err(), "the container is gone, its successor has another id");
    rig.sandbox.shutdown().await;
}

pub fn post(path: &str, body: Vec<u8>) -> hyper::Request<Vec<u8>> {
    hyper::Request::post(path).header("content-type", "application/json").body(body).unwrap()
}
