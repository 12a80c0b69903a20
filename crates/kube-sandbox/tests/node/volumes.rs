//! What a container finds under its mounts and in its environment.

use kube_sandbox::store::{CONFIG_MAPS, PERSISTENT_VOLUMES, PODS, SECRETS, text};
use serde_json::{Value, json};

use crate::rig::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_config_maps_and_fields_reach_the_process() {
    let rig = Rig::start();
    rig.create(&CONFIG_MAPS, json!({ "metadata": { "name": "conf" }, "data": { "motd": "hello /data", "LEVEL": "3" } }));
    let script = "cat /etc/secret/pw /etc/conf/today; echo; echo $PW $LEVEL $POD_NS $(POD_NS); echo x > /scratch/f && ls /scratch";
    let spec = json!({
        "restartPolicy": "Never",
        "volumes": [
            { "name": "s", "secret": { "secretName": "creds" } }, { "name": "e", "emptyDir": {} },
            { "name": "c", "configMap": { "name": "conf", "items": [{ "key": "motd", "path": "today" }] } },
        ],
        "containers": [{
            "name": "sh", "image": "test/sh", "args": [script], "envFrom": [{ "configMapRef": { "name": "conf" } }],
            "env": [
                { "name": "PW", "valueFrom": { "secretKeyRef": { "name": "creds", "key": "pw" } } },
                { "name": "POD_NS", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } },
            ],
            "volumeMounts": [
                { "name": "s", "mountPath": "/etc/secret" }, { "name": "c", "mountPath": "/etc/conf" }, { "name": "e", "mountPath": "/scratch" },
            ],
        }],
    });
    let pod = rig.create(&PODS, json!({ "metadata": { "name": "env" }, "spec": spec }));
    // The volume of a secret that does not exist yet is waited for.
    let failed = rig.event("FailedMount").await;
    assert_eq!(text(&failed, "/message"), "MountVolume.SetUp failed for volume \"s\" : secret \"creds\" not found");
    rig.create(&SECRETS, json!({ "metadata": { "name": "creds" }, "stringData": { "pw": "p/data=1" } }));
    rig.until("a succeeded pod", &PODS, |pods| (text(&pods[0], "/status/phase") == "Succeeded").then_some(())).await;
    let log = std::fs::read_to_string(rig.dir.path().join("pods").join(uid(&pod)).join("sh/0.log")).unwrap();
    assert_eq!(log, "p/data=1hello /data\np/data=1 3 test test\nf\n");
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_secret_in_the_environment_is_a_configuration_error_until_it_exists() {
    let rig = Rig::start();
    let spec = json!({ "containers": [{
        "name": "sh", "image": "test/sh", "args": ["sleep 1000"],
        "env": [{ "name": "PW", "valueFrom": { "secretKeyRef": { "name": "creds", "key": "pw" } } }],
    }], "terminationGracePeriodSeconds": 1 });
    rig.create(&PODS, json!({ "metadata": { "name": "env" }, "spec": spec }));
    let waiting = |pods: &[std::sync::Arc<Value>]| {
        let state = pods[0].pointer("/status/containerStatuses/0/state/waiting")?;
        (text(state, "/reason") == "CreateContainerConfigError").then(|| text(state, "/message").to_owned())
    };
    assert_eq!(rig.until("the error", &PODS, waiting).await, "secret \"creds\" not found");
    rig.create(&SECRETS, json!({ "metadata": { "name": "creds" }, "stringData": { "pw": "x" } }));
    rig.ready_pod(&[]).await;
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_in_use_is_protected_and_its_volume_and_data_go_with_it() {
    let rig = Rig::start();
    rig.deploy(&["--journal", "/data/journal"], |_| ());
    let pod = rig.ready_pod(&[]).await;
    let volume = rig.store().list(&PERSISTENT_VOLUMES, None).0[0].clone();
    let folder = std::path::PathBuf::from(text(&volume, "/spec/csi/volumeAttributes/path"));
    assert_eq!((text(&volume, "/status/phase"), text(&volume, "/spec/csi/volumeHandle")), ("Bound", name(&volume)));
    assert!(folder.join("journal").exists());
    let node = volume.pointer("/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values/0").unwrap();
    assert_eq!(node, &pod["spec"]["nodeName"]);
    rig.delete(&kube_sandbox::store::PERSISTENT_VOLUME_CLAIMS, "db", None);
    let claim = rig.get(&kube_sandbox::store::PERSISTENT_VOLUME_CLAIMS, "db").expect("a pod uses it");
    assert!(claim.pointer("/metadata/deletionTimestamp").is_some());
    rig.delete(&kube_sandbox::store::DEPLOYMENTS, "db", None);
    rig.until("the end of the volume", &PERSISTENT_VOLUMES, |volumes| volumes.is_empty().then_some(())).await;
    assert!(rig.get(&kube_sandbox::store::PERSISTENT_VOLUME_CLAIMS, "db").is_none());
    assert!(!folder.exists());
    rig.sandbox.shutdown().await;
}
