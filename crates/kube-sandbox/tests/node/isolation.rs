//! Sandboxes keep to themselves, and leave no process behind however they end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use kube_sandbox::store::{NAMESPACES, PODS};
use serde_json::json;

use crate::rig::*;

async fn no_process_with(needle: &str) {
    let wait = async {
        while !processes_with(needle).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "still there: {:?}", processes_with(needle));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sandboxes_run_the_same_names_and_ports_side_by_side() {
    let (one, other) = (Rig::start(), Rig::start());
    one.deploy(&[], |_| ());
    other.deploy(&[], |_| ());
    let pods = (one.ready_pod(&[]).await, other.ready_pod(&[]).await);
    let (at, elsewhere) = (one.addresses().0, other.addresses().0);
    assert_ne!(at, elsewhere);
    one.reaches(at, name(&pods.0)).await;
    other.reaches(elsewhere, name(&pods.1)).await;
    one.sandbox.shutdown().await;
    other.reaches(elsewhere, name(&pods.1)).await;
    other.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_ends_every_process_and_keeps_the_files() {
    let rig = Rig::start();
    rig.deploy(&["--journal", "/data/journal", "--term-delay-ms", "60000"], |_| ());
    let pod = rig.ready_pod(&[]).await;
    let mark = format!("POD_NAME={}\0", name(&pod));
    assert_eq!(processes_with(&mark).len(), 1);
    let Rig { sandbox, dir } = rig;
    sandbox.shutdown().await;
    assert!(processes_with(&mark).is_empty());
    let volume = std::fs::read_dir(dir.path().join("volumes")).unwrap().next().unwrap().unwrap().path();
    assert!(volume.join("journal").exists());
}

/// The sandbox is a process of its own here, because it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sandbox_leaves_no_process_behind() {
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_kube-sandbox");
    let mut sandbox = Command::new(program)
        .args(["serve", "--dir", &dir.path().display().to_string(), "--image", "test/sh=/bin/sh -c"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(sandbox.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let client = crate::client::connect(&std::fs::read_to_string(ready["kubeconfig"].as_str().unwrap()).unwrap()).await;
    let mark = format!("LEFT_BEHIND={:032x}", rand::random::<u128>());
    // The container's first process is killed by the kernel; its child is not, and that is what the guard is for.
    let spec = json!({ "containers": [{
        "name": "family", "image": "test/sh", "args": ["sleep 1000 & sleep 1000"], "env": [{ "name": "LEFT_BEHIND", "value": mark.split_once('=').unwrap().1 }],
    }] });
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::default_namespaced(client);
    let pod = serde_json::from_value(json!({ "metadata": { "name": "family" }, "spec": spec })).unwrap();
    pods.create(&kube::api::PostParams::default(), &pod).await.unwrap();
    let family = async {
        while processes_with(&mark).len() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, family).await.expect("the container's processes start");
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    no_process_with(&mark).await;
    no_process_with(&dir.path().display().to_string()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_namespace_takes_its_objects_and_processes_with_it() {
    let rig = Rig::start();
    rig.deploy(&["--journal", "/data/journal"], |_| ());
    let pod = rig.ready_pod(&[]).await;
    let mark = format!("POD_NAME={}\0", name(&pod));
    assert_eq!(processes_with(&mark).len(), 1);
    rig.store().delete(&kube_sandbox::store::Key::cluster(&NAMESPACES, NS), &kube_sandbox::store::DeleteOptions::default()).unwrap();
    rig.until("the end of the namespace", &NAMESPACES, |all| all.iter().all(|namespace| name(namespace) != NS).then_some(())).await;
    for resource in kube_sandbox::store::RESOURCES.iter().filter(|resource| resource.namespaced) {
        assert_eq!(rig.store().list(resource, Some(NS)).0.len(), 0, "{} are left", resource.plural);
    }
    rig.until("the end of the volume", &kube_sandbox::store::PERSISTENT_VOLUMES, |all| all.is_empty().then_some(())).await;
    no_process_with(&mark).await;
    let emptied = async {
        while std::fs::read_dir(rig.dir.path().join("volumes")).unwrap().next().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, emptied).await.expect("the data is removed with its volume");
    assert!(rig.store().list(&PODS, None).0.is_empty());
    rig.sandbox.shutdown().await;
}
