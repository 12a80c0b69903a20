//! A sandbox with a test image, and the ways to wait for what should happen in it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kube_sandbox::store::{DEPLOYMENTS, DeleteOptions, Key, NAMESPACES, PERSISTENT_VOLUME_CLAIMS, PODS, Resource, SERVICES, Store, text};
use kube_sandbox::{Config, Image, Sandbox};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

pub const NS: &str = "test";
/// Long enough for a machine that is busy with other tests; what is waited for takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Rig {
    pub sandbox: Sandbox,
    pub dir: tempfile::TempDir,
}

pub fn config(dir: &std::path::Path) -> Config {
    let program = env!("CARGO_BIN_EXE_kube-sandbox").to_owned();
    let mut config = Config::new(dir);
    config.shim = vec![program.clone(), "shim".to_owned()];
    config.images = vec![
        Image { names: vec!["test/echo:1".to_owned()], command: vec![program, "echo".to_owned()] },
        Image { names: vec!["test/sh".to_owned()], command: vec!["/bin/sh".to_owned(), "-c".to_owned()] },
    ];
    config
}

impl Rig {
    pub fn start() -> Rig {
        Self::start_with(|_| ())
    }

    pub fn start_with(change: impl FnOnce(&mut Config)) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let sandbox = Sandbox::start(config).unwrap();
        let rig = Rig { sandbox, dir };
        rig.store().create(&NAMESPACES, json!({ "metadata": { "name": NS } })).unwrap();
        rig
    }

    pub fn store(&self) -> &Store {
        self.sandbox.store()
    }

    pub fn create(&self, resource: &'static Resource, mut object: Value) -> Arc<Value> {
        if resource.namespaced {
            object["metadata"]["namespace"] = json!(NS);
        }
        self.store().create(resource, object).unwrap()
    }

    pub fn get(&self, resource: &'static Resource, name: &str) -> Option<Arc<Value>> {
        let namespace = resource.namespaced.then(|| NS.to_owned());
        self.store().get(&Key { resource, namespace, name: name.to_owned() })
    }

    pub fn pods(&self) -> Vec<Arc<Value>> {
        self.store().list(&PODS, Some(NS)).0
    }

    pub fn delete(&self, resource: &'static Resource, name: &str, grace: Option<i64>) {
        let namespace = resource.namespaced.then(|| NS.to_owned());
        let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
        self.store().delete(&Key { resource, namespace, name: name.to_owned() }, &options).unwrap();
    }

    /// Waits until the objects of a resource satisfy the question; answers with what it found.
    pub async fn until<T>(&self, what: &str, resource: &'static Resource, question: impl Fn(&[Arc<Value>]) -> Option<T>) -> T {
        let wait = async {
            loop {
                let (objects, revision) = self.store().list(resource, None);
                if let Some(answer) = question(&objects) {
                    return answer;
                }
                let mut watch = self.store().watch(resource, None, revision).unwrap();
                watch.next().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(answer) => answer,
            Err(_) => panic!("waited in vain for {what}; last seen: {:#?}", self.store().list(resource, None).0),
        }
    }

    /// Waits for a pod that is ready and is not one of these.
    pub async fn ready_pod(&self, but: &[&str]) -> Arc<Value> {
        self.until("a ready pod", &PODS, |pods| pods.iter().find(|pod| ready(pod) && !but.contains(&uid(pod))).cloned()).await
    }

    pub async fn pod_gone(&self, gone: &str) {
        self.until("the end of a pod", &PODS, |pods| pods.iter().all(|pod| uid(pod) != gone).then_some(())).await;
    }

    /// A deployment of one echo server, with a claim and a NodePort service, all called `db`.
    pub fn deploy(&self, arguments: &[&str], change: impl FnOnce(&mut Value)) {
        self.create(&PERSISTENT_VOLUME_CLAIMS, claim("db", "standard", "ReadWriteOnce"));
        self.create(
            &SERVICES,
            json!({ "metadata": { "name": "db" }, "spec": { "type": "NodePort", "selector": { "app": "db" }, "ports": [{ "port": 1433 }] } }),
        );
        let mut deployment = json!({
            "metadata": { "name": "db" },
            "spec": {
                "selector": { "matchLabels": { "app": "db" } }, "strategy": { "type": "Recreate" },
                "template": { "metadata": { "labels": { "app": "db" } }, "spec": pod_spec(arguments, Some("db")) },
            },
        });
        change(&mut deployment);
        self.create(&DEPLOYMENTS, deployment);
    }

    /// The cluster IP and the node ports of the service `db`.
    pub fn addresses(&self) -> (SocketAddr, Vec<SocketAddr>) {
        let service = self.get(&SERVICES, "db").unwrap();
        let cluster = SocketAddr::new(text(&service, "/spec/clusterIP").parse().unwrap(), 1433);
        let port = u16::try_from(service["spec"]["ports"][0]["nodePort"].as_u64().unwrap()).unwrap();
        let (nodes, _) = self.store().list(&kube_sandbox::store::NODES, None);
        (cluster, nodes.iter().map(|node| SocketAddr::new(text(node, "/status/addresses/0/address").parse().unwrap(), port)).collect())
    }

    /// Waits until a new connection to the address is greeted by this pod.
    pub async fn reaches(&self, at: SocketAddr, pod: &str) -> Client {
        let attempt = async {
            loop {
                if let Ok(client) = Client::connect(at).await
                    && client.greeting.starts_with(pod)
                {
                    return client;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, attempt).await.expect("the service leads to the pod")
    }

    /// Waits until connections to the address are refused. While its listener closes, one may yet be accepted and reset.
    pub async fn refuses(&self, at: SocketAddr) {
        let refused =
            |attempt: std::io::Result<TcpStream>| attempt.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
        let attempt = async {
            while !refused(TcpStream::connect(at).await) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, attempt).await.expect("the service refuses");
        assert!(refused(TcpStream::connect(at).await), "refused once and then not");
    }

    pub fn events(&self, reason: &str) -> Vec<Arc<Value>> {
        let (events, _) = self.store().list(&kube_sandbox::store::EVENTS, None);
        events.into_iter().filter(|event| text(event, "/reason") == reason).collect()
    }

    pub async fn event(&self, reason: &'static str) -> Arc<Value> {
        self.until(reason, &kube_sandbox::store::EVENTS, |events| events.iter().find(|event| text(event, "/reason") == reason).cloned())
            .await
    }
}

/// A connection to an echo server.
pub struct Client {
    stream: BufReader<TcpStream>,
    /// The name of the server's pod, and the first line of its journal.
    pub greeting: String,
}

impl Client {
    pub async fn connect(at: SocketAddr) -> std::io::Result<Client> {
        let mut stream = BufReader::new(TcpStream::connect(at).await?);
        let mut greeting = String::new();
        if stream.read_line(&mut greeting).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Client { stream, greeting: greeting.trim().to_owned() })
    }

    pub async fn echo(&mut self, line: &str) -> std::io::Result<String> {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).await?;
        let mut back = String::new();
        self.stream.read_line(&mut back).await?;
        Ok(back.trim_end().to_owned())
    }

    /// Waits for the end of the connection; true when it was an orderly end or a reset, within the patience of a test.
    pub async fn ends(&mut self) {
        let mut rest = String::new();
        // An end is `Ok(0)`, a reset an error: both show at once that the server is gone.
        if let Ok(read) = tokio::time::timeout(PATIENCE, self.stream.read_line(&mut rest)).await.expect("the connection ends") {
            assert_eq!(read, 0, "unexpected {rest:?}");
        }
    }
}

pub fn claim(name: &str, class: &str, mode: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "storageClassName": class, "accessModes": [mode], "resources": { "requests": { "storage": "1Gi" } } },
    })
}

/// A pod of one echo server on port 1433 of its own address.
pub fn pod_spec(arguments: &[&str], claim: Option<&str>) -> Value {
    let mut args = vec!["--listen", "$(POD_IP):1433", "--name", "$(POD_NAME)"];
    args.extend(arguments);
    let mut spec = json!({
        "terminationGracePeriodSeconds": 5,
        "containers": [{
            "name": "echo", "image": "test/echo:1", "args": args,
            "env": [
                { "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            ],
            "readinessProbe": { "tcpSocket": { "port": 1433 }, "periodSeconds": 1 },
        }],
    });
    if let Some(claim) = claim {
        spec["volumes"] = json!([{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }]);
        spec["containers"][0]["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
    }
    spec
}

pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub fn ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    conditions.into_iter().any(|condition| text(condition, "/type") == "Ready" && text(condition, "/status") == "True")
}

/// The process ids whose command line or environment mention this text.
pub fn processes_with(needle: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse::<i32>().ok());
    let mentions = |id: &i32| {
        let read = |what: &str| std::fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
        [read("cmdline"), read("environ")].iter().any(|bytes| String::from_utf8_lossy(bytes).contains(needle))
    };
    ids.filter(mentions).collect()
}
