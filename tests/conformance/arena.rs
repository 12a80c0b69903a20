//! Where a test takes place: a standing sandbox of its own, or a namespace of a real cluster.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use chaos::target::stand_in::SANDBOX_IMAGE;
use http::Method;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// Two cores may be shared with every other test, and a real node is slower than the sandbox' processes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Tests on the real cluster are held one at a time, because a fault on a node is felt by everything there.
pub async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// The same for a test without a runtime.
pub fn alone_blocking() -> MutexGuard<'static, ()> {
    ALONE.blocking_lock()
}

static ALONE: Mutex<()> = Mutex::const_new(());

/// What a program said, for the message of a failure.
pub fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub struct Arena {
    client: kube::Client,
    folder: tempfile::TempDir,
    /// What `--cluster` says.
    pub cluster: String,
    /// The kubeconfig, where it is not the user's.
    kubeconfig: Option<PathBuf>,
    /// The stand-in engine, as the cluster's pods name it.
    pub image: String,
    /// The namespace of this test.
    pub namespace: String,
    pub is_sandbox: bool,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The kind cluster to test on, if there is one.
pub fn kind() -> Option<String> {
    let name = variable("CHAOS_TEST_KIND");
    if name.is_none() {
        eprintln!("skipped: CHAOS_TEST_KIND names no kind cluster");
    }
    name
}

/// The reference of an image of the stand-in engine that the nodes of a kind cluster have.
pub fn image(cluster: &str, folder: &Path) -> String {
    if let Some(image) = variable("CHAOS_TEST_IMAGE") {
        return image;
    }
    let archive = folder.join("engine.tar");
    let mut build = Command::new(env!("CARGO_BIN_EXE_chaos"));
    let built = build.args(["image", "tds-sqlite", "-o"]).arg(&archive).output().unwrap();
    assert!(built.status.success(), "{}", said(&built));
    let loaded = Command::new("kind").args(["load", "image-archive", "--name", cluster]).arg(&archive).output().unwrap();
    assert!(loaded.status.success(), "{}", said(&loaded));
    String::from_utf8(built.stdout).unwrap().trim().to_owned()
}

impl Arena {
    /// A standing sandbox of its own.
    pub async fn sandbox() -> Arena {
        let folder = tempfile::tempdir().unwrap();
        let cluster = "sandbox:conformance".to_owned();
        let kubeconfig = folder.path().join("state/sqledge-chaos/sandbox/conformance/kubeconfig");
        let up = chaos(folder.path(), None, &["cluster", "up", &cluster]).output().unwrap();
        assert!(up.status.success(), "{}", said(&up));
        Arena::at(folder, Kubeconfig::read_from(&kubeconfig).unwrap(), cluster, None, SANDBOX_IMAGE.to_owned(), "conformance", true).await
    }

    /// A namespace of the real cluster, where there is one.
    pub async fn real(test: &str) -> Option<Arena> {
        static IMAGE: OnceCell<String> = OnceCell::const_new();
        let folder = tempfile::tempdir().unwrap();
        let (kubeconfig, file, cluster) = match (variable("CHAOS_TEST_KIND"), variable("CHAOS_TEST_KUBECONFIG")) {
            (Some(name), _) => {
                let mut kubeconfig = Kubeconfig::read().unwrap();
                kubeconfig.current_context = Some(format!("kind-{name}"));
                (kubeconfig, None, format!("kind:{name}"))
            }
            (None, Some(file)) => {
                let kubeconfig = Kubeconfig::read_from(&file).unwrap();
                let context = kubeconfig.current_context.clone().unwrap();
                (kubeconfig, Some(PathBuf::from(file)), format!("context:{context}"))
            }
            (None, None) => {
                eprintln!("skipped: neither CHAOS_TEST_KIND nor CHAOS_TEST_KUBECONFIG names a cluster");
                return None;
            }
        };
        let image = IMAGE
            .get_or_init(|| async {
                match cluster.strip_prefix("kind:") {
                    Some(name) => image(name, folder.path()),
                    None => variable("CHAOS_TEST_IMAGE").expect("CHAOS_TEST_IMAGE names an image that the nodes of this cluster have"),
                }
            })
            .await;
        // A label has 63 characters at the most.
        let name: String = test.replace('_', "-").chars().take(40).collect();
        let namespace = format!("chaos-{}-{}", name.trim_end_matches('-'), std::process::id());
        Some(Arena::at(folder, kubeconfig, cluster, file, image.clone(), &namespace, false).await)
    }

    async fn at(
        folder: tempfile::TempDir,
        kubeconfig: Kubeconfig,
        cluster: String,
        file: Option<PathBuf>,
        image: String,
        namespace: &str,
        is_sandbox: bool,
    ) -> Arena {
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        // A refusal with 429 must be seen and not retried behind the test's back, as in the harness itself.
        config.default_retry = false;
        let client = kube::Client::try_from(config).unwrap();
        let arena = Arena { client, folder, cluster, kubeconfig: file, image, namespace: namespace.to_owned(), is_sandbox };
        arena.create("/api/v1/namespaces", json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } })).await;
        // A real one creates it a moment later, and pods are refused until then.
        arena.until(&arena.path("serviceaccounts/default"), "the service account", |account| !account.is_null()).await;
        arena
    }

    /// The path of something in the test's namespace, of the core group.
    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    /// The same of another group.
    pub fn path_of(&self, group: &str, rest: &str) -> String {
        format!("/apis/{group}/namespaces/{}/{rest}", self.namespace)
    }

    /// `chaos`, in a folder of this test's own.
    pub fn chaos(&self, arguments: &[&str]) -> Command {
        chaos(self.folder.path(), self.kubeconfig.as_deref(), arguments)
    }

    /// What names the cluster on the command line of `chaos`.
    pub fn on_cluster(&self) -> Vec<String> {
        let mut words = vec!["--cluster".to_owned(), self.cluster.clone()];
        if let Some(context) = self.cluster.strip_prefix("context:") {
            words.extend(["--yes-i-mean".to_owned(), context.to_owned()]);
        }
        words
    }

    /// Whether this is a cluster of others, of which nothing but its API is known.
    pub fn is_context(&self) -> bool {
        self.cluster.starts_with("context:")
    }

    /// The image of the pods that reach the nodes of such a cluster, where one was named.
    pub fn node_image(&self) -> Option<String> {
        variable("CHAOS_TEST_NODE_IMAGE").filter(|_| self.is_context())
    }

    /// Where that folder is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One request. An error is the API server's answer, with its code.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, kube::Error> {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.client.request(http::Request::builder().method(method).uri(path).header("content-type", kind).body(body).unwrap()).await
    }

    /// The object; null where there is none.
    pub async fn get(&self, path: &str) -> Value {
        match self.ask(Method::GET, path, None).await {
            Ok(object) => object,
            Err(kube::Error::Api(status)) if status.code == 404 => Value::Null,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Creates an object.
    pub async fn create(&self, path: &str, object: Value) -> Value {
        self.ask(Method::POST, path, Some(object)).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The code of a refusal; 200 where there was none.
    pub fn code(answer: &Result<Value, kube::Error>) -> u16 {
        match answer {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{error}"),
        }
    }

    /// A watch from a version on: each event's type and object, for as long as `wanted` says.
    pub async fn watched(&self, path: &str, from: &str, count: usize) -> Vec<(String, Value)> {
        use futures::TryStreamExt;
        let more = if path.contains('?') { '&' } else { '?' };
        let uri = format!("{path}{more}watch=true&resourceVersion={from}");
        let request = http::Request::get(uri).body(Vec::new()).unwrap();
        let mut events = std::pin::pin!(self.client.request_events::<Value>(request).await.unwrap());
        let mut seen = Vec::new();
        while seen.len() < count {
            let event =
                tokio::time::timeout(PATIENCE, events.try_next()).await.expect("an event in time").unwrap().expect("a watch goes on");
            use kube::api::WatchEvent;
            seen.push(match event {
                WatchEvent::Added(object) => ("ADDED".to_owned(), object),
                WatchEvent::Modified(object) => ("MODIFIED".to_owned(), object),
                WatchEvent::Deleted(object) => ("DELETED".to_owned(), object),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(error) => panic!("{error:?}"),
            });
        }
        seen
    }

    /// Waits until the object is as wanted, and tells how long that took; looks twenty times a second.
    pub async fn until(&self, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> (Value, Duration) {
        let began = Instant::now();
        loop {
            let now = self.get(path).await;
            if wanted(&now) {
                return (now, began.elapsed());
            }
            assert!(began.elapsed() < PATIENCE, "{what} was not seen; last: {}", now["status"]);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A pod of the stand-in engine.
    pub fn pod(&self, name: &str, grace_s: u64, arguments: &[&str], claim: Option<&str>) -> Value {
        let mut arguments: Vec<&str> = [&["--listen", "$(POD_IP):1433", "--data", "/data"], arguments].concat();
        // What only makes it end at once needs nothing else.
        if arguments.contains(&"--no-such-flag") {
            arguments.retain(|argument| *argument == "--no-such-flag");
        }
        let volume = match claim {
            Some(claim) => json!({ "name": "data", "persistentVolumeClaim": { "claimName": claim } }),
            None => json!({ "name": "data", "emptyDir": {} }),
        };
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": self.namespace, "labels": { "app": "engine" } },
            "spec": {
                "terminationGracePeriodSeconds": grace_s,
                "containers": [{
                    "name": "engine", "image": self.image, "imagePullPolicy": "IfNotPresent", "args": arguments,
                    "ports": [{ "containerPort": 1433 }],
                    "env": [
                        { "name": "ACCEPT_EULA", "value": "Y" },
                        { "name": "MSSQL_SA_PASSWORD", "value": "Aa1-conformance" },
                        { "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                    ],
                    "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                    "readinessProbe": { "tcpSocket": { "port": 1433 }, "periodSeconds": 1 },
                }],
                "volumes": [volume],
            },
        })
    }

    /// Creates a pod of the stand-in engine, and waits until it is ready.
    pub async fn ready_pod(&self, name: &str, grace_s: u64, arguments: &[&str], claim: Option<&str>) -> Value {
        self.create(&self.path("pods"), self.pod(name, grace_s, arguments, claim)).await;
        self.until(&self.path(&format!("pods/{name}")), "a ready pod", ready).await.0
    }

    /// Creates a claim.
    pub async fn claim(&self, name: &str, mode: &str, class: &str) {
        let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
            "spec": { "accessModes": [mode], "storageClassName": class, "resources": { "requests": { "storage": "64Mi" } } } });
        self.create(&self.path("persistentvolumeclaims"), claim).await;
    }
}

/// Whether a pod is ready.
pub fn ready(pod: &Value) -> bool {
    condition(pod, "Ready") == Some("True")
}

/// The status of a condition.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}

pub fn chaos(folder: &Path, kubeconfig: Option<&Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.args(arguments).current_dir(folder).env("XDG_STATE_HOME", folder.join("state")).stdin(Stdio::null());
    if let Some(kubeconfig) = kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    command
}

impl Drop for Arena {
    /// However a test ends, nothing of it stays.
    fn drop(&mut self) {
        if self.is_sandbox {
            let _ = self.chaos(&["cluster", "down", &self.cluster]).output();
            return;
        }
        let mut kubectl = Command::new("kubectl");
        match (self.cluster.strip_prefix("kind:"), &self.kubeconfig) {
            (Some(name), _) => kubectl.args(["--context", &format!("kind-{name}")]),
            (None, Some(file)) => kubectl.arg("--kubeconfig").arg(file),
            (None, None) => unreachable!("a real arena is one or the other"),
        };
        let _ = kubectl.args(["delete", "namespace", &self.namespace, "--wait=false"]).output();
    }
}
