//! The API server as its clients see it: through the real `kube` client, through plain HTTP, and through the real kubectl.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod access;
mod deletion;
mod kubectl;
mod objects;
mod patches;
mod watches;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use kube_sandbox::api::{ApiServer, Hooks};
use kube_sandbox::hooks::NoNodes;
use kube_sandbox::store::{ApiError, Key, PODS, Part, Preconditions, Store, StoreOptions};
use serde_json::{Value, json};

/// An API server without nodes, and a client of it.
struct Bench {
    store: Store,
    server: ApiServer,
    client: Client,
}

impl Bench {
    async fn start() -> Bench {
        Bench::with(8192, Hooks { node_control: Arc::new(NoNodes), logs: Arc::new(NoNodes) }).await
    }

    async fn with(history: usize, hooks: Hooks) -> Bench {
        let store = Store::with(StoreOptions { history, ..StoreOptions::default() });
        let server = ApiServer::start(store.clone(), hooks, None).unwrap();
        let client = client(&server.kubeconfig()).await;
        Bench { store, server, client }
    }

    /// Sends a request and returns its status and its JSON body, whatever they are.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> (u16, Value) {
        let mut request = hyper::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.client.send(request.body(body.into().into()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes))))
    }

    /// Makes the pod look as if its node ran it.
    fn pretend_running(&self, name: &str) {
        let key = Key::namespaced(&PODS, "default", name);
        let mut change = |pod: &mut Value| -> Result<(), ApiError> {
            pod["spec"]["nodeName"] = json!("n1");
            pod["status"] = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
            Ok(())
        };
        self.store.update(&key, &Preconditions::default(), Part::Whole, &mut change).unwrap();
    }
}

async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    // The client would repeat what is refused with 429 or 504 for minutes; here the refusal itself is looked at.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn pod(name: &str, labels: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": name, "labels": labels },
        "spec": { "containers": [{ "name": "main", "image": "busybox:1" }] },
    }))
    .unwrap()
}

fn deployment(name: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": "busybox:1", "env": [{ "name": "A", "value": "1" }] }] },
            },
        },
    }))
    .unwrap()
}

/// The code of a failure that the server reported.
fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("not a refusal by the server: {other}"),
    }
}
