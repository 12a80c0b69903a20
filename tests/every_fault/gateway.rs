//! An API server that lets its users do what printed roles allow, and nothing else. It stands before a sandbox, which lets everybody do everything.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http::header::{AUTHORIZATION, HOST};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::rbac::{Ask, asked};

/// Its context in the kubeconfig.
pub const CONTEXT: &str = "least";

/// The running gateway. It ends when this is dropped.
pub struct Gateway {
    /// The kubeconfig that leads to it.
    pub kubeconfig: PathBuf,
    gate: Arc<Gate>,
    _runtime: tokio::runtime::Runtime,
}

struct Gate {
    cluster: kube::Client,
    roles: Mutex<Vec<Value>>,
    refused: Mutex<BTreeSet<Ask>>,
}

/// As RBAC decides: a ClusterRole holds everywhere, a Role in its own namespace.
fn allow(roles: &[Value], ask: &Ask) -> bool {
    let here = |role: &&Value| {
        role["kind"] == "ClusterRole" || role["kind"] == "Role" && role["metadata"]["namespace"].as_str() == ask.namespace()
    };
    let has = |list: &Value, wanted: &str| list.as_array().unwrap().iter().any(|one| one == wanted);
    roles
        .iter()
        .filter(here)
        .flat_map(|role| role["rules"].as_array().unwrap())
        .any(|rule| has(&rule["apiGroups"], &ask.group) && has(&rule["resources"], &ask.resource) && has(&rule["verbs"], &ask.verb))
}

/// What a review asks about.
fn reviewed(review: &Value) -> Ask {
    let attributes = &review["spec"]["resourceAttributes"];
    let text = |key: &str| attributes[key].as_str().unwrap_or_default().to_owned();
    let subresource = attributes["subresource"].as_str().map(|sub| format!("/{sub}")).unwrap_or_default();
    Ask { namespace: text("namespace"), group: text("group"), resource: text("resource") + &subresource, verb: text("verb") }
}

fn answer(code: u16, body: &Value) -> Response<Body> {
    Response::builder().status(code).header("content-type", "application/json").body(Body::from(body.to_string().into_bytes())).unwrap()
}

impl Gate {
    async fn pass(&self, request: Request<Incoming>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        if parts.uri.path().ends_with("/selfsubjectaccessreviews") {
            let mut review: Value = serde_json::from_slice(&body).unwrap();
            review["status"] = json!({ "allowed": allow(&self.roles.lock().unwrap(), &reviewed(&review)) });
            return answer(201, &review);
        }
        if let Some(ask) = asked(&format!("{} {}", parts.method, parts.uri))
            && !allow(&self.roles.lock().unwrap(), &ask)
        {
            let message = format!("{ask:?} is forbidden");
            self.refused.lock().unwrap().insert(ask);
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": message });
            return answer(403, &status);
        }
        parts.headers.remove(HOST);
        parts.headers.remove(AUTHORIZATION);
        self.cluster.send(Request::from_parts(parts, Body::from(body))).await.unwrap()
    }
}

impl Gateway {
    /// Before the cluster of that kubeconfig; its own is written into the folder.
    pub fn before(cluster: &Path, folder: &Path, roles: Vec<Value>) -> Gateway {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (listener, cluster) = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(cluster).unwrap();
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), kube::Client::try_from(config).unwrap())
        });
        let kubeconfig = folder.join("least.kubeconfig");
        let server = format!("http://{}", listener.local_addr().unwrap());
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": CONTEXT,
            "clusters": [{ "name": CONTEXT, "cluster": { "server": server } }],
            "users": [{ "name": CONTEXT, "user": {} }],
            "contexts": [{ "name": CONTEXT, "context": { "cluster": CONTEXT, "user": CONTEXT } }],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let gate = Arc::new(Gate { cluster, roles: Mutex::new(roles), refused: Mutex::default() });
        let serving = Arc::clone(&gate);
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let gate = Arc::clone(&serving);
                let service = service_fn(move |request| {
                    let gate = Arc::clone(&gate);
                    async move { Ok::<_, Infallible>(gate.pass(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Gateway { kubeconfig, gate, _runtime: runtime }
    }

    /// From now on these roles hold.
    pub fn hold(&self, roles: Vec<Value>) {
        *self.gate.roles.lock().unwrap() = roles;
    }

    /// What was asked for and refused.
    pub fn refused(&self) -> BTreeSet<Ask> {
        self.gate.refused.lock().unwrap().clone()
    }
}
