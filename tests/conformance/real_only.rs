//! What only a real cluster can show: that the printed role is enough, and that every engine's objects are admitted.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::arena::{image, kind, said};

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
    let chaos = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
        command.args(arguments).current_dir(folder.path());
        command
    };
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
