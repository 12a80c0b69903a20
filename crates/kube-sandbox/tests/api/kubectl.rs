//! The real kubectl, where this machine has one.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Bench;

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, labels: { app: web } }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
      - name: main
        image: nginx:1
        env: [{ name: X, value: "1" }]
        ports: [{ containerPort: 80 }]
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { type: NodePort, selector: { app: web }, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data }
spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } }
"#;

/// kubectl against the bench; `None` when there is no kubectl on this machine.
struct Kubectl {
    home: tempfile::TempDir,
}

struct Output {
    success: bool,
    out: String,
    err: String,
}

impl Kubectl {
    async fn find(bench: &Bench) -> Option<Kubectl> {
        let home = tempfile::tempdir().unwrap();
        tokio::fs::write(home.path().join("config"), bench.server.kubeconfig()).await.unwrap();
        let kubectl = Kubectl { home };
        let found = kubectl.command(&["version", "--client"]).stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        if !found.is_ok_and(|status| status.success()) {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), b"no kubectl here: nothing tested with it\n");
            return None;
        }
        Some(kubectl)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(args).env("KUBECONFIG", self.home.path().join("config")).env("HOME", self.home.path()).kill_on_drop(true);
        command
    }

    async fn run_with(&self, args: &[&str], input: &str) -> Output {
        let mut child = self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Output { success: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs what must succeed and returns what it printed, blanks squeezed.
    async fn ok(&self, args: &[&str]) -> String {
        let output = self.run_with(args, "").await;
        assert!(output.success, "kubectl {args:?}: {}", output.err);
        squeezed(&output.out)
    }
}

fn squeezed(text: &str) -> String {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_get_describe_scale_delete() {
    let bench = Bench::start().await;
    let Some(kubectl) = Kubectl::find(&bench).await else { return };
    let applied = kubectl.run_with(&["apply", "-f", "-"], MANIFEST).await;
    assert!(applied.success, "{}", applied.err);
    assert_eq!(applied.out, "deployment.apps/web created\nservice/web created\npersistentvolumeclaim/data created\n");
    let again = kubectl.run_with(&["apply", "-f", "-"], MANIFEST).await;
    assert_eq!(again.out, "deployment.apps/web unchanged\nservice/web unchanged\npersistentvolumeclaim/data unchanged\n");
    let changed = kubectl.run_with(&["apply", "-f", "-"], &MANIFEST.replace("value: \"1\"", "value: \"2\"")).await;
    assert!(changed.out.starts_with("deployment.apps/web configured\n"), "{}", changed.out);
    let wrong = kubectl.run_with(&["apply", "-f", "-"], &MANIFEST.replace("replicas:", "replikas:")).await;
    assert!(!wrong.success && wrong.err.contains("unknown field \"spec.replikas\""), "{}", wrong.err);
    let server_side = kubectl.run_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], MANIFEST).await;
    assert!(server_side.success && server_side.out.contains("deployment.apps/web serverside-applied"), "{}", server_side.err);

    let table = kubectl.ok(&["get", "deployments", "-o", "wide"]).await;
    assert!(table.starts_with("NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR\nweb 0/2 0 0 "), "{table}");
    let table = kubectl.ok(&["get", "services"]).await;
    assert!(table.contains("web NodePort 127.") && table.contains(" <none> 80:3"), "{table}");
    let described = kubectl.ok(&["describe", "deployment", "web"]).await;
    assert!(described.contains("Replicas: 2 desired") && described.contains("X: 1"), "{described}");
    let described = kubectl.ok(&["describe", "pvc", "data"]).await;
    assert!(described.contains("Status: Pending") && described.contains("Used By: <none>"), "{described}");
    kubectl.ok(&["scale", "deployment", "web", "--replicas=5"]).await;
    assert_eq!(kubectl.ok(&["get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"]).await, "5");
    let deleted = kubectl.run_with(&["delete", "--wait=false", "-f", "-"], MANIFEST).await;
    assert!(deleted.success && deleted.out.contains("deployment.apps \"web\""), "{}", deleted.err);
    let gone = kubectl.run_with(&["get", "deployment", "web"], "").await;
    assert_eq!(gone.err.trim(), "Error from server (NotFound): deployments.apps \"web\" not found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generators_send_protobuf_and_are_understood() {
    let bench = Bench::start().await;
    let Some(kubectl) = Kubectl::find(&bench).await else { return };
    kubectl.ok(&["create", "namespace", "team"]).await;
    kubectl.ok(&["create", "deployment", "web", "--image=nginx:1", "--replicas=3", "-n", "team"]).await;
    kubectl.ok(&["create", "secret", "generic", "s", "--from-literal=a=b"]).await;
    kubectl.ok(&["create", "poddisruptionbudget", "keep", "--selector=app=web", "--min-available=50%"]).await;
    kubectl.ok(&["run", "one", "--image=busybox:1", "--labels=app=one", "--env=A=B"]).await;
    let pod: Value = serde_json::from_str(&kubectl.ok(&["get", "pod", "one", "-o", "json"]).await).unwrap();
    assert_eq!(pod["spec"]["containers"][0]["env"][0]["value"], "B");
    assert_eq!(kubectl.ok(&["get", "deployment", "web", "-n", "team", "-o", "jsonpath={.spec.replicas}"]).await, "3");
    assert_eq!(kubectl.ok(&["get", "secret", "s", "-o", "jsonpath={.data.a}"]).await, "Yg==");
    assert_eq!(kubectl.ok(&["auth", "can-i", "delete", "pods"]).await, "yes");
    assert!(kubectl.ok(&["get", "all"]).await.contains("pod/one 0/1 Pending 0 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_watched_described_and_deleted() {
    let bench = Bench::start().await;
    let Some(kubectl) = Kubectl::find(&bench).await else { return };
    kubectl.ok(&["run", "one", "--image=busybox:1"]).await;
    bench.pretend_running("one");
    let watching = kubectl.command(&["get", "pods", "-o", "wide", "-w"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut watching = watching;
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(watching.stdout.take().unwrap()));
    let mut next = async || squeezed(&tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await.unwrap().unwrap().unwrap());
    assert_eq!(next().await, "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES");
    assert!(next().await.starts_with("one 0/1 Running 0 "));
    kubectl.ok(&["delete", "pod", "one", "--wait=false"]).await;
    assert!(next().await.starts_with("one 0/1 Terminating 0 "));
    let described = kubectl.ok(&["describe", "pod", "one"]).await;
    assert!(described.contains("Status: Terminating") && described.contains("Termination Grace Period: 30s"), "{described}");
    kubectl.ok(&["delete", "pod", "one", "--force", "--grace-period=0"]).await;
    assert!(next().await.starts_with("one 0/1 "));
    watching.kill().await.unwrap();
    let missing = kubectl.run_with(&["get", "pod", "one"], "").await;
    assert!(missing.err.contains("pods \"one\" not found"), "{}", missing.err);
}
