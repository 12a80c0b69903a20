//! Processes that die: by force, by a signal, by themselves, over and over.

use std::time::{Duration, Instant};

use kube_sandbox::store::{PODS, text};
use serde_json::{Value, json};

use crate::rig::*;

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn kill(pod: &Value) {
    let id = the_process(pod);
    rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), rustix::process::Signal::KILL).unwrap();
}

/// The process of a pod that runs one echo server.
fn the_process(pod: &Value) -> i32 {
    let ids = processes_with(&format!("POD_NAME={}\0", name(pod)));
    assert_eq!(ids.len(), 1, "{ids:?}");
    ids[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_force_deleted_pod_is_gone_at_once_and_without_grace_its_process_right_after() {
    let rig = Rig::start_with(|config| config.forced_grace = Duration::ZERO);
    rig.deploy(&["--journal", "/data/journal", "--term-delay-ms", "4000"], |_| ());
    let (cluster, _) = rig.addresses();
    let old = rig.ready_pod(&[]).await;
    let mut client = rig.reaches(cluster, name(&old)).await;
    let before = Instant::now();
    rig.delete(&PODS, name(&old), Some(0));
    assert!(rig.get(&PODS, name(&old)).is_none());
    client.ends().await;
    // The server would have served for four more seconds had it been asked to stop: it was not asked.
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    let new = rig.ready_pod(&[uid(&old)]).await;
    let moved = rig.reaches(cluster, name(&new)).await;
    assert!(moved.greeting.ends_with(&format!("start {}", name(&old))), "the data of the old pod is not there: {}", moved.greeting);
    assert!(processes_with(&format!("POD_NAME={}\0", name(&old))).is_empty());
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_force_deleted_pod_is_asked_to_stop_first_as_a_kubelet_does_it() {
    let rig = Rig::start();
    rig.deploy(&["--journal", "/data/journal", "--term-delay-ms", "300"], |_| ());
    let (cluster, _) = rig.addresses();
    let old = rig.ready_pod(&[]).await;
    let mut client = rig.reaches(cluster, name(&old)).await;
    rig.delete(&PODS, name(&old), Some(0));
    client.ends().await;
    let volume = std::fs::read_dir(rig.dir.path().join("volumes")).unwrap().next().unwrap().unwrap().path();
    let journal = std::fs::read_to_string(volume.join("journal")).unwrap();
    assert!(journal.contains(&format!("term {}", name(&old))), "{journal}");
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_killed_for_its_memory_says_so() {
    let rig = Rig::start();
    rig.deploy(&[], |_| ());
    let before = rig.ready_pod(&[]).await;
    let api = crate::client::connect(&rig.sandbox.kubeconfig()).await;
    let id = container(&before)["containerID"].as_str().unwrap().trim_start_matches("sandbox://").to_owned();
    let path = format!("/sandbox/v1/nodes/{}/containers/{id}/signal", text(&before, "/spec/nodeName"));
    let body = json!({ "signal": "SIGKILL", "scope": "group", "reason": "OOMKilled" }).to_string().into_bytes();
    api.request_text(crate::client::post(&path, body)).await.unwrap();
    let after = rig
        .until("a ready pod with one restart", &PODS, |pods| {
            pods.iter().find(|pod| ready(pod) && container(pod)["restartCount"] == json!(1)).cloned()
        })
        .await;
    let end = &container(&after)["lastState"]["terminated"];
    assert_eq!((end["exitCode"].as_i64(), text(end, "/reason")), (Some(137), "OOMKilled"));
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_is_started_again_in_its_pod() {
    let rig = Rig::start();
    rig.deploy(&["--journal", "/data/journal"], |_| ());
    let (cluster, _) = rig.addresses();
    let before = rig.ready_pod(&[]).await;
    let mut client = rig.reaches(cluster, name(&before)).await;
    kill(&before);
    client.ends().await;
    let after = rig
        .until("a ready pod with one restart", &PODS, |pods| {
            pods.iter().find(|pod| ready(pod) && container(pod)["restartCount"] == json!(1)).cloned()
        })
        .await;
    assert_eq!(uid(&after), uid(&before));
    assert_eq!(after["status"]["podIP"], before["status"]["podIP"]);
    assert_ne!(container(&after)["containerID"], container(&before)["containerID"]);
    let end = &container(&after)["lastState"]["terminated"];
    assert_eq!((end["exitCode"].as_i64(), text(end, "/reason")), (Some(137), "Error"));
    assert_eq!(end["containerID"], container(&before)["containerID"]);
    rig.reaches(cluster, name(&after)).await;
    // Both runs have a log of their own.
    let folder = rig.dir.path().join("pods").join(uid(&after)).join("echo");
    for log in ["0.log", "1.log"] {
        assert!(std::fs::read_to_string(folder.join(log)).unwrap().contains("listening on"), "{log}");
    }
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_restarts_at_once_and_then_backs_off() {
    let rig = Rig::start();
    let mut spec = pod_spec(&["--crash", "3@100"], None);
    spec["containers"][0]["readinessProbe"] = Value::Null;
    rig.create(&PODS, json!({ "metadata": { "name": "crash" }, "spec": spec }));
    let began = Instant::now();
    let waiting = |count: i64, reason: &'static str| {
        move |pods: &[std::sync::Arc<Value>]| {
            let status = container(pods.iter().find(|pod| name(pod) == "crash")?);
            (status["restartCount"] == json!(count) && text(status, "/state/waiting/reason") == reason).then(|| status.clone())
        }
    };
    let status = rig.until("the back-off", &PODS, waiting(1, "CrashLoopBackOff")).await;
    // Two runs of a tenth of a second each and no delay between them; ten seconds would be the first real delay.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(
        text(&status, "/state/waiting/message").starts_with("back-off 10s restarting failed container=echo pod=crash_test("),
        "{status}"
    );
    assert_eq!(status["lastState"]["terminated"]["exitCode"], json!(3));
    let backed_off = Instant::now();
    rig.until("the next back-off", &PODS, waiting(2, "CrashLoopBackOff")).await;
    assert!(backed_off.elapsed() > Duration::from_secs(9), "the third run came after {:?}", backed_off.elapsed());
    let found = rig.event("BackOff").await;
    assert_eq!(text(&found, "/type"), "Warning");
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_a_handler_uses_up_its_grace_as_the_first_of_a_namespace_does() {
    let rig = Rig::start();
    let spec = json!({
        "terminationGracePeriodSeconds": 30, "containers": [{ "name": "sh", "image": "test/sh", "args": ["sleep 1000 & sleep 1000"] }],
    });
    let pod = rig.create(&PODS, json!({ "metadata": { "name": "deaf" }, "spec": spec }));
    rig.until("a running pod", &PODS, |pods| pods.iter().find(|pod| ready(pod)).cloned()).await;
    let mut watch = rig.store().watch(&PODS, Some(NS), rig.store().revision()).unwrap();
    let before = Instant::now();
    rig.delete(&PODS, "deaf", Some(2));
    rig.pod_gone(uid(&pod)).await;
    let took = before.elapsed();
    assert!(took > Duration::from_millis(1900), "killed after {took:?}, before its grace was over");
    let mut codes = Vec::new();
    while let Some(event) = watch.try_next().unwrap() {
        codes.extend(container(&event.object)["state"]["terminated"]["exitCode"].as_i64());
    }
    assert_eq!(codes.last(), Some(&137));
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grace_can_be_shortened_while_it_runs() {
    let rig = Rig::start();
    rig.create(&PODS, json!({ "metadata": { "name": "slow" }, "spec": pod_spec(&["--term-delay-ms", "60000"], None) }));
    let pod = rig.ready_pod(&[]).await;
    rig.delete(&PODS, "slow", Some(60));
    assert!(rig.get(&PODS, "slow").is_some());
    rig.delete(&PODS, "slow", Some(1));
    rig.pod_gone(uid(&pod)).await;
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_liveness_probe_restarts_the_container() {
    let rig = Rig::start();
    let mut spec = pod_spec(&["--journal", "/data/journal"], Some("db"));
    spec["containers"][0]["livenessProbe"] =
        json!({ "exec": { "command": ["test", "!", "-e", "/data/sick"] }, "periodSeconds": 1, "failureThreshold": 1 });
    rig.create(&kube_sandbox::store::PERSISTENT_VOLUME_CLAIMS, claim("db", "shared", "ReadWriteOnce"));
    rig.create(&PODS, json!({ "metadata": { "name": "patient" }, "spec": spec }));
    rig.ready_pod(&[]).await;
    let volume = std::fs::read_dir(rig.dir.path().join("volumes")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(volume.join("sick"), "").unwrap();
    rig.until("a restart", &PODS, |pods| (container(&pods[0])["restartCount"] == json!(1)).then_some(())).await;
    std::fs::remove_file(volume.join("sick")).unwrap();
    let killing = rig.event("Killing").await;
    assert_eq!(text(&killing, "/message"), "Container echo failed liveness probe, will be restarted");
    let found = rig.event("Unhealthy").await;
    assert!(text(&found, "/message").contains("probe failed"));
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_image_is_not_run() {
    let rig = Rig::start();
    rig.create(&PODS, json!({ "metadata": { "name": "odd" }, "spec": { "containers": [{ "name": "c", "image": "no/such:1" }] } }));
    for reason in ["ErrImagePull", "ImagePullBackOff"] {
        rig.until(reason, &PODS, |pods| (text(container(&pods[0]), "/state/waiting/reason") == reason).then_some(())).await;
    }
    assert_eq!(text(&rig.pods()[0], "/status/phase"), "Pending");
    let failed: Vec<String> = rig.events("Failed").iter().map(|event| text(event, "/message").to_owned()).collect();
    assert!(failed.iter().any(|message| message == "Error: ErrImagePull"), "{failed:?}");
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_not_there_ends_the_run_with_128() {
    let rig = Rig::start();
    let spec = json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": "test/sh", "command": ["/no/such/program"] }] });
    rig.create(&PODS, json!({ "metadata": { "name": "absent" }, "spec": spec }));
    let pod = rig.until("a failed pod", &PODS, |pods| (text(&pods[0], "/status/phase") == "Failed").then(|| pods[0].clone())).await;
    let end = &container(&pod)["state"]["terminated"];
    assert_eq!((end["exitCode"].as_i64(), text(end, "/reason")), (Some(128), "StartError"));
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_done_succeeds_and_init_containers_come_first() {
    let rig = Rig::start();
    let step = |name: &str, script: &str| json!({ "name": name, "image": "test/sh", "args": [script], "volumeMounts": [{ "name": "shared", "mountPath": "/shared" }] });
    let spec = json!({
        "restartPolicy": "OnFailure", "volumes": [{ "name": "shared", "emptyDir": {} }],
        "initContainers": [step("one", "echo one >> /shared/order"), step("two", "echo two >> /shared/order")],
        "containers": [step("main", "test \"$(tr '\\n' ' ' < /shared/order)\" = 'one two '")],
    });
    rig.create(&PODS, json!({ "metadata": { "name": "job" }, "spec": spec }));
    let pod = rig.until("a succeeded pod", &PODS, |pods| (text(&pods[0], "/status/phase") == "Succeeded").then(|| pods[0].clone())).await;
    assert_eq!(text(container(&pod), "/state/terminated/reason"), "Completed");
    assert_eq!(container(&pod)["restartCount"], json!(0));
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_run_after_the_start_and_before_the_stop() {
    let rig = Rig::start();
    rig.create(&kube_sandbox::store::PERSISTENT_VOLUME_CLAIMS, claim("db", "shared", "ReadWriteOnce"));
    let mut spec = pod_spec(&["--journal", "/data/journal"], Some("db"));
    spec["containers"][0]["lifecycle"] = json!({
        "postStart": { "exec": { "command": ["/bin/sh", "-c", "echo began > /data/began"] } },
        "preStop": { "exec": { "command": ["/bin/sh", "-c", "sleep 0.2; cp /data/journal /data/before-term"] } },
    });
    rig.create(&PODS, json!({ "metadata": { "name": "hooked" }, "spec": spec }));
    let pod = rig.ready_pod(&[]).await;
    let volume = std::fs::read_dir(rig.dir.path().join("volumes")).unwrap().next().unwrap().unwrap().path();
    rig.delete(&PODS, "hooked", None);
    rig.pod_gone(uid(&pod)).await;
    assert_eq!(std::fs::read_to_string(volume.join("began")).unwrap(), "began\n");
    // The hook saw the journal as it was before SIGTERM was noted in it.
    assert_eq!(std::fs::read_to_string(volume.join("before-term")).unwrap(), "start hooked\n");
    assert_eq!(std::fs::read_to_string(volume.join("journal")).unwrap(), "start hooked\nterm hooked\n");
    rig.sandbox.shutdown().await;
}

/// The bound says that nothing on the way waits for a timer of a second or more; on a quiet machine the whole way takes some 10 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_runs_moments_after_its_pod_was_created() {
    let rig = Rig::start();
    let mut spec = pod_spec(&[], None);
    spec["containers"][0]["readinessProbe"] = Value::Null;
    let mut taken = Vec::new();
    for round in 0..5 {
        let began = Instant::now();
        let pod = rig.create(&PODS, json!({ "metadata": { "name": format!("p{round}") }, "spec": spec }));
        rig.until("a ready pod", &PODS, |pods| pods.iter().find(|one| uid(one) == uid(&pod) && ready(one)).map(|_| ())).await;
        taken.push(began.elapsed());
    }
    taken.sort_unstable();
    assert!(taken[2] < Duration::from_millis(900), "{taken:?}");
    rig.sandbox.shutdown().await;
}
