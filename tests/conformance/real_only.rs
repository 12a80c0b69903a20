//! What only a real cluster can show: that the printed role is enough, that every engine's objects are admitted, that a full disk is
//! emptied, and that a node starts its kubelet by itself.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use chaos::cluster::CRASH_AT;
use serde_json::{Value, json};

use crate::arena::{PATIENCE, alone_blocking, chaos, image, kind, said};

fn kubectl(cluster: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command.args(["--context", &format!("kind-{cluster}")]).args(arguments);
    command
}

fn done(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Feeds objects to a kubectl command.
fn fed(mut command: Command, objects: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), objects.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A namespace that goes when the test ends, however it ends.
struct Namespace<'a> {
    cluster: &'a str,
    name: String,
}

impl<'a> Namespace<'a> {
    fn new(cluster: &'a str, name: &str, labels: &[&str]) -> Self {
        let namespace = Namespace { cluster, name: format!("{name}-{}", std::process::id()) };
        done(kubectl(cluster, &["create", "namespace", &namespace.name]));
        for label in labels {
            done(kubectl(cluster, &["label", "namespace", &namespace.name, label]));
        }
        namespace
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let _ = kubectl(self.cluster, &["delete", "namespace", &self.name, "--wait=false"]).output();
    }
}

/// A service account with the printed role, and no other right, makes a run from its beginning to its end.
#[test]
fn a_run_needs_no_more_than_the_printed_role() {
    let Some(cluster) = kind() else { return };
    let folder = tempfile::tempdir().unwrap();
    let home = Namespace::new(&cluster, "chaos-rbac", &[]);
    let experiment = format!(
        "name: rbac-{}\n\
         target: {{ engine: tds-sqlite, image: {}, storage: {{ size: 64Mi, class: shared }}, grace: 5s }}\n\
         workload: {{ clients: 2, rate: 50/s, warmUp: 2s }}\n\
         faults:\n  - pod-kill: {{ grace: 0s }}\n    at: 1s\n  - node-drain:\n    at: 10s\n  - pod-evict:\n    at: 20s\n\
         expect: {{ overlap: allowed }}\n",
        std::process::id(),
        image(&cluster, folder.path()),
    );
    fs::write(folder.path().join("rbac.yaml"), experiment).unwrap();
    let chaos = |arguments: &[&str]| chaos(folder.path(), None, arguments);
    let role = done(chaos(&["rbac", "rbac.yaml", "--service-account", &format!("{}/chaos", home.name)]));
    let applied = fed(kubectl(&cluster, &["apply", "-f", "-"]), &role);
    assert!(applied.status.success(), "{}", said(&applied));
    let kubeconfig = folder.path().join("kubeconfig");
    let config: Value =
        serde_json::from_str(&done(kubectl(&cluster, &["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]))).unwrap();
    let token = done(kubectl(&cluster, &["create", "token", "chaos", "-n", &home.name, "--duration", "1h"]));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "least",
        "clusters": [{ "name": "least", "cluster": config["clusters"][0]["cluster"] }],
        "users": [{ "name": "least", "user": { "token": token.trim() } }],
        "contexts": [{ "name": "least", "context": { "cluster": "least", "user": "least" } }],
    });
    fs::write(&kubeconfig, config.to_string()).unwrap();
    let run = || {
        let mut run = chaos(&["run", "rbac.yaml", "--cluster", "context:least", "--yes-i-mean", "least", "--quiet", "--output", "json"]);
        run.env("KUBECONFIG", &kubeconfig).output().unwrap()
    };
    let output = run();
    // One verb less, and preflight says which before anything is created.
    done(kubectl(
        &cluster,
        &[
            "patch",
            "clusterrole",
            &format!("chaos-rbac-{}", std::process::id()),
            "--type=json",
            "-p",
            r#"[{"op":"remove","path":"/rules/0"}]"#,
        ],
    ));
    let refused = run();
    let removed = fed(kubectl(&cluster, &["delete", "-f", "-"]), &role);
    assert!(removed.status.success(), "{}", said(&removed));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        report["faults"].as_array().unwrap().len() == 3
            && report["faults"].as_array().unwrap().iter().all(|fault| fault["attested"] == true)
    );
    assert_eq!(refused.status.code(), Some(69), "{}", said(&refused));
    assert!(said(&refused).contains("these permissions are missing: "), "{}", said(&refused));
}

/// The real API server takes the objects of every engine, and admits their pods where the restricted profile is enforced.
#[test]
fn the_restricted_profile_admits_every_engine() {
    let Some(cluster) = kind() else { return };
    let restricted = Namespace::new(&cluster, "chaos-restricted", &["pod-security.kubernetes.io/enforce=restricted"]);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (mut seen, mut files) = (0, 0);
    for file in fs::read_dir(golden).unwrap() {
        let path = file.unwrap().path();
        files += 1;
        let list: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for item in list["items"].as_array().unwrap().iter().filter(|item| item["kind"] != "Namespace") {
            let mut object = item.clone();
            object["metadata"]["namespace"] = json!(restricted.name);
            let mut objects = vec![object];
            // A controller is taken whatever its pods are; it is the pod that is admitted or not.
            if let Some(template) = item["spec"].get("template") {
                let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"] });
                pod["metadata"]["name"] = json!("admitted");
                pod["metadata"]["namespace"] = json!(restricted.name);
                // A StatefulSet adds the volumes of its claims by itself.
                if item["kind"] == "StatefulSet" {
                    pod["spec"]["volumes"] = json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data-mssql-0" } }]);
                }
                objects.push(pod);
            }
            for object in objects {
                let output = fed(kubectl(&cluster, &["create", "--dry-run=server", "-f", "-"]), &object.to_string());
                assert!(output.status.success(), "{} {}: {}", path.display(), object["kind"], said(&output));
                assert!(!said(&output).contains("Warning"), "{} {}: {}", path.display(), object["kind"], said(&output));
                seen += 1;
            }
        }
    }
    // Secret, Service, controller and pod of each engine at the least.
    assert!(seen >= 4 * files && files >= 5, "only {seen} objects of {files} files were shown to the API server");
    // The profile is really enforced: a pod that it forbids is refused.
    let root = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "root", "namespace": restricted.name }, "spec": { "containers": [{ "name": "x", "image": "x" }] } });
    let output = fed(kubectl(&cluster, &["create", "--dry-run=server", "-f", "-"]), &root.to_string());
    assert!(!output.status.success() && said(&output).contains("PodSecurity"), "{}", said(&output));
}

/// A volume of 64 MiB that is a filesystem of its own, on a worker; it goes when the test ends, however it ends.
struct SmallVolume<'a> {
    cluster: &'a str,
    name: String,
}

impl<'a> SmallVolume<'a> {
    fn new(cluster: &'a str) -> Self {
        let volume = SmallVolume { cluster, name: format!("chaos-sweep-{}", std::process::id()) };
        let SmallVolume { name, .. } = &volume;
        volume.in_node(&format!("mkdir -p /mnt/{name} && mount -t tmpfs -o size=64m,mode=1777 tmpfs /mnt/{name}"));
        let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": name },
              "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer" },
            { "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name },
              "spec": { "storageClassName": name, "capacity": { "storage": "64Mi" }, "accessModes": ["ReadWriteOnce"],
                  "persistentVolumeReclaimPolicy": "Retain", "hostPath": { "path": format!("/mnt/{name}"), "type": "Directory" },
                  "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                      { "key": "kubernetes.io/hostname", "operator": "In", "values": [volume.node()] }] }] } } } },
        ] });
        let applied = fed(kubectl(cluster, &["apply", "-f", "-"]), &objects.to_string());
        assert!(applied.status.success(), "{}", said(&applied));
        volume
    }

    fn node(&self) -> String {
        format!("{}-worker", self.cluster)
    }

    fn in_node(&self, script: &str) -> String {
        let mut docker = Command::new("docker");
        docker.args(["exec", &self.node(), "sh", "-ec", script]);
        done(docker)
    }

    /// How many of our files are in it, and how many blocks of it are free.
    fn seen(&self) -> (usize, u64) {
        let text = self.in_node(&format!("cd /mnt/{}; ls -a | grep -c '^.chaos-' || true; stat -f -c %a .", self.name));
        let mut lines = text.lines();
        (lines.next().unwrap().parse().unwrap(), lines.next().unwrap().parse().unwrap())
    }

    /// Empties it, and lets the next claim have it.
    fn renew(&self) {
        done(kubectl(self.cluster, &["patch", "pv", &self.name, "--type=merge", "-p", r#"{"spec":{"claimRef":null}}"#]));
        self.in_node(&format!("cd /mnt/{} && find . -mindepth 1 -delete", self.name));
    }
}

impl Drop for SmallVolume<'_> {
    fn drop(&mut self) {
        let SmallVolume { cluster, name } = self;
        let _ = kubectl(cluster, &["delete", "pv,storageclass", name, "--wait=false"]).output();
        let unmount = format!("umount /mnt/{name} && rmdir /mnt/{name}");
        let _ = Command::new("docker").args(["exec", &self.node(), "sh", "-c", &unmount]).output();
    }
}

/// The one experiment that the table of `experiments.rs` leaves out.
#[test]
fn a_full_disk_costs_no_acknowledged_commit() {
    let Some(cluster) = kind() else { return };
    let _alone = alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let volume = SmallVolume::new(&cluster);
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/disk-full.yaml")).unwrap();
    let (class, image) = (format!("class: {} }}", volume.name), format!("image: {}\n  engine: tds-sqlite", image(&cluster, folder.path())));
    let text = text.replacen("class: small }", &class, 1).replacen("engine: tds-sqlite", &image, 1);
    assert!(text.contains(&class) && text.contains(&image), "{text}");
    fs::write(folder.path().join("full.yaml"), text).unwrap();
    let output = chaos(folder.path(), None, &["run", "full.yaml", "--quiet", "--cluster", &format!("kind:{cluster}")]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&fs::read(folder.path().join("reports/latest/report.json")).unwrap()).unwrap();
    assert_eq!(report["faults"][0]["attested"], true, "{}", report["faults"]);
    // Commits were refused while there was no room, which is what the fault is for.
    assert!(report["episodes"][0]["outageMs"].as_f64().unwrap() > 10_000.0, "{}", report["episodes"]);
}

/// The sweep of `tests/every_fault/recover.rs` for the one fault that the sandbox cannot make: its volumes have no size. What it leaves is a file on the
/// volume, not an object, and that is what must be gone.
#[test]
fn wherever_the_harness_is_killed_around_a_full_disk_recover_empties_it() {
    let Some(cluster) = kind() else { return };
    let _alone = alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let volume = SmallVolume::new(&cluster);
    let name = &volume.name;
    let experiment = format!(
        "name: {name}\n\
         target: {{ engine: tds-sqlite, image: {}, grace: 1s, storage: {{ size: 64Mi, class: {name} }} }}\n\
         workload: {{ clients: 1, rate: 50/s, warmUp: 2s }}\n\
         faults:\n  - disk-full: {{ for: 2s }}\n    at: 0s\n\
         expect: {{ overlap: allowed }}\n\
         duration: 1s\n\
         coldRead: false\n",
        image(&cluster, folder.path()),
    );
    fs::write(folder.path().join("full.yaml"), experiment).unwrap();
    let chaos = |arguments: &[&str]| chaos(folder.path(), None, arguments);
    let run = |reports: &str| chaos(&["run", "full.yaml", "--quiet", "--cluster", &format!("kind:{cluster}"), "--reports", reports]);
    // Other tests of this program have namespaces of their own meanwhile.
    let has_namespace = || done(kubectl(&cluster, &["get", "namespaces", "-o", "name"])).contains(name.as_str());

    let output = run("told").env("CHAOS_LOG", "off,chaos::cluster::crash_point=trace").output().unwrap();
    assert!(matches!(output.status.code(), Some(0..=2)), "{}", said(&output));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let passed: Vec<(&str, &str)> = log.lines().filter_map(|line| line.split_once("crash_point: ")?.1.split_once(' ')).collect();
    let of_fault = |entry: &str| {
        let text = format!("\"entry\":\"{entry}\",\"step\":\"disk-full-1\"");
        move |(_, what): &(&str, &str)| what.contains(&text)
    };
    let first = passed.iter().position(of_fault("intent")).unwrap();
    let last = passed.iter().rposition(of_fault("undone")).unwrap();
    let places: Vec<_> = passed[first..=last].iter().filter(|(_, what)| what.starts_with("after ")).collect();
    // After the intent, after the volume was filled, after it was emptied, after that was noted.
    assert!(places.len() >= 4, "{places:?}");

    let mut full = 0;
    for (number, what) in places {
        volume.renew();
        let reports = format!("at-{number}");
        let killed = run(&reports).env(CRASH_AT, *number).output().unwrap();
        assert_eq!(killed.status.signal(), Some(9), "{number} {what} was not reached: {}", said(&killed));
        let (files, free) = volume.seen();
        full += usize::from(files == 1 && free == 0);
        let recover = || chaos(&["recover", "--reports", &reports]);
        // The recovery is killed as well, each time one place further than the last time.
        let mut at = 1;
        while recover().env(CRASH_AT, at.to_string()).output().unwrap().status.signal() == Some(9) {
            at += 1;
        }
        let recovered = recover().output().unwrap();
        assert!(recovered.status.success() && said(&recovered).contains("nothing to recover"), "{number} {what}: {}", said(&recovered));
        let (files, free) = volume.seen();
        assert!(files == 0 && free > 0, "{number} {what}: {files} files of ours are left, {free} blocks are free");
        assert!(!has_namespace(), "{number} {what}: the run's namespace is left");
    }
    assert!(full >= 1, "the harness never died while the volume was full");
}

/// Through a pod on the node, as on a cluster of others: a harness that dies with the kubelet stopped, or about to be, needs nothing, and `chaos recover` is right
/// whenever it comes.
#[test]
fn a_node_starts_its_kubelet_again_though_the_harness_is_dead() {
    let Some(cluster) = kind() else { return };
    let Some(node_image) = std::env::var("CHAOS_TEST_NODE_IMAGE").ok().filter(|image| !image.is_empty()) else {
        eprintln!("skipped: CHAOS_TEST_NODE_IMAGE names no image for pods on nodes");
        return;
    };
    let _alone = alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let experiment = format!(
        "name: standing-{}\n\
         target: {{ engine: tds-sqlite, image: {}, grace: 1s, storage: {{ size: 64Mi }} }}\n\
         workload: {{ clients: 1, rate: 50/s, warmUp: 2s }}\n\
         faults:\n  - pod-kill: {{ grace: 0s }}\n    at: 0s\n\
         expect: {{ overlap: allowed }}\n\
         duration: 1s\n\
         coldRead: false\n",
        std::process::id(),
        image(&cluster, folder.path()),
    );
    fs::write(folder.path().join("standing.yaml"), experiment).unwrap();
    let chaos = |arguments: &[&str]| chaos(folder.path(), None, arguments);
    let kept = chaos(&["run", "standing.yaml", "--quiet", "--output", "json", "--cluster", &format!("kind:{cluster}"), "--keep"])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&kept.stdout).unwrap_or_else(|_| panic!("{}", said(&kept)));
    // It goes when the test ends.
    let standing = Namespace { cluster: &cluster, name: report["run"]["namespace"].as_str().unwrap().to_owned() };
    let pods = done(kubectl(&cluster, &["get", "pods", "-n", &standing.name, "-o", "json"]));
    let node = serde_json::from_str::<Value>(&pods).unwrap()["items"][0]["spec"]["nodeName"].as_str().unwrap().to_owned();
    let in_node = |arguments: &[&str]| {
        let output = Command::new("docker").args(["exec", &node]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let kubelet = || in_node(&["systemctl", "is-active", "kubelet"]);
    let units = || in_node(&["systemctl", "list-units", "--all", "--no-legend", "chaos-*"]);
    let until = |what: &str, wanted: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !wanted() {
            let injected = || fs::read_to_string(folder.path().join("inject.log")).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "{what} was not seen; the kubelet is {}; {}", kubelet(), injected());
            std::thread::sleep(Duration::from_millis(100));
        }
        began.elapsed()
    };
    let context = format!("kind-{cluster}");
    let inject = || {
        let mut command =
            chaos(&["inject", "kubelet-stop", "for=20s", "--cluster", &format!("context:{context}"), "--yes-i-mean", &context]);
        command.args(["--node-access", &node_image, "-n", &standing.name, "--reports", "dead"]);
        command.stdout(Stdio::null()).stderr(fs::File::create(folder.path().join("inject.log")).unwrap());
        command.spawn().unwrap()
    };
    let recover = || {
        let recovered = chaos(&["recover", "--reports", "dead"]).output().unwrap();
        assert!(recovered.status.success(), "{}", said(&recovered));
        assert!(said(&recovered).contains("the node's kubelet runs"), "{}", said(&recovered));
        assert_eq!((kubelet().as_str(), units().as_str()), ("active", ""));
    };
    let stopped = || kubelet() != "active";

    let mut harness = inject();
    until("a stopped kubelet", &stopped);
    harness.kill().unwrap();
    harness.wait().unwrap();
    let took = until("a kubelet that came back", &|| !stopped());
    // The 20 s of the fault, and what systemd and a loaded machine add.
    assert!(took > Duration::from_secs(10) && took < Duration::from_secs(60), "{took:?}");
    recover();

    // The recovery comes while it is stopped, and waits.
    let mut harness = inject();
    until("a stopped kubelet", &stopped);
    harness.kill().unwrap();
    harness.wait().unwrap();
    recover();

    // It comes before it is stopped, which then never happens.
    let mut harness = inject();
    until("the node's own unit", &|| !units().is_empty());
    harness.kill().unwrap();
    harness.wait().unwrap();
    recover();
}
