//! Who gets in, how much they may send, and what the nodes' side is asked.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, LogParams, PostParams};
use kube_sandbox::api::Hooks;
use kube_sandbox::hooks::NoNodes;
use kube_sandbox::store::ApiError;
use kube_sandbox::{LogSource, NodeControl};
use serde_json::json;

use super::{Bench, client, code, pod};

#[tokio::test]
async fn without_the_token_nobody_gets_in() {
    let bench = Bench::start().await;
    let stranger = client(&bench.server.kubeconfig().replace(bench.server.token(), "wrong")).await;
    let pods: Api<Pod> = Api::default_namespaced(stranger.clone());
    let error = pods.list(&Default::default()).await.unwrap_err();
    let kube::Error::Api(status) = &error else { panic!("{error}") };
    assert_eq!((status.code, status.reason.as_str()), (401, "Unauthorized"));
    assert!(stranger.apiserver_version().await.is_err());
    assert!(bench.server.url().starts_with("https://127.0.0.1:"));
    let (status, body) = bench.send("GET", "/readyz", &[], "").await;
    assert_eq!((status, body), (200, json!("ok")));
}

#[tokio::test]
async fn a_body_has_its_limit() {
    let bench = Bench::start().await;
    let huge = json!({ "metadata": { "name": "m" }, "data": { "a": "x".repeat(4 * 1024 * 1024) } }).to_string();
    let (status, body) = bench.send("POST", "/api/v1/namespaces/default/configmaps", &[("Content-Type", "application/json")], huge).await;
    assert_eq!((status, &body["reason"]), (413, &json!("RequestEntityTooLarge")));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let (status, _) = bench.send("POST", "/api/v1/namespaces", &[("Content-Type", "application/json")], deep).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn shutdown_ends_open_watches() {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    let stream = pods.watch(&Default::default(), "0").await.unwrap();
    bench.server.shutdown().await;
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.try_collect::<Vec<_>>()).await;
    assert!(ended.is_ok(), "the stream ends with the server");
}

/// A node that keeps one file for every container and remembers the signals that it was asked to send.
#[derive(Default)]
struct Node {
    log: PathBuf,
    signals: Mutex<Vec<String>>,
}

impl LogSource for Node {
    fn open(&self, _namespace: &str, _pod: &str, _uid: &str, _container: &str, previous: bool) -> Option<PathBuf> {
        (!previous).then(|| self.log.clone())
    }
}

impl NodeControl for Node {
    fn signal(&self, node: &str, container_id: &str, signal: &str, scope: &str, reason: Option<&'static str>) -> Result<(), ApiError> {
        let reason = reason.unwrap_or_default();
        self.signals.lock().unwrap().push(format!("{node} {container_id} {signal} {scope} {reason}").trim_end().to_owned());
        Ok(())
    }

    fn power(&self, node: &str, state: &str) -> Result<(), ApiError> {
        self.signals.lock().unwrap().push(format!("{node} {state}"));
        Ok(())
    }

    fn cut(&self, node: &str, mark: &str, pod: Option<SocketAddr>) -> Result<(), ApiError> {
        self.signals.lock().unwrap().push(format!("{node} {mark} {pod:?}"));
        Ok(())
    }
}

#[tokio::test]
async fn logs_are_served_whole_by_their_tail_and_until_the_container_ends() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"one\ntwo\nthree\n").unwrap();
    let node = Arc::new(Node { log: file.path().to_owned(), ..Node::default() });
    let bench = Bench::with(100, Hooks { node_control: node.clone(), logs: node }).await;
    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    pods.create(&PostParams::default(), &pod("a", &json!({}))).await.unwrap();
    bench.pretend_running("a");
    assert_eq!(pods.logs("a", &LogParams::default()).await.unwrap(), "one\ntwo\nthree\n");
    assert_eq!(pods.logs("a", &LogParams { tail_lines: Some(2), ..LogParams::default() }).await.unwrap(), "two\nthree\n");
    assert_eq!(pods.logs("a", &LogParams { limit_bytes: Some(5), ..LogParams::default() }).await.unwrap(), "one\nt");
    let timestamps = LogParams { timestamps: true, ..LogParams::default() };
    assert_eq!(code(&pods.logs("a", &timestamps).await.unwrap_err()), 501, "refused, never ignored");
    assert_eq!(code(&pods.logs("a", &LogParams { previous: true, ..LogParams::default() }).await.unwrap_err()), 400);
    let wrong = LogParams { container: Some("nope".to_owned()), ..LogParams::default() };
    assert_eq!(code(&pods.logs("a", &wrong).await.unwrap_err()), 400);

    let mut lines = pods.log_stream("a", &LogParams { follow: true, tail_lines: Some(1), ..LogParams::default() }).await.unwrap().lines();
    assert_eq!(lines.try_next().await.unwrap().as_deref(), Some("three"));
    file.write_all(b"four\n").unwrap();
    assert_eq!(lines.try_next().await.unwrap().as_deref(), Some("four"));
    pods.delete("a", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(lines.try_next().await.unwrap(), None);
}

#[tokio::test]
async fn signals_reach_the_node() {
    let node = Arc::new(Node::default());
    let bench = Bench::with(100, Hooks { node_control: node.clone(), logs: node.clone() }).await;
    let path = "/sandbox/v1/nodes/n1/containers/sandbox%3A%2F%2Fabc/signal";
    let json_body = [("Content-Type", "application/json")];
    let (status, _) = bench.send("POST", path, &json_body, r#"{"signal":"SIGSTOP","scope":"group"}"#).await;
    assert_eq!(status, 200);
    assert_eq!(*node.signals.lock().unwrap(), ["n1 sandbox://abc SIGSTOP group"]);
    let (status, _) = bench.send("POST", path, &json_body, r#"{"signal":"SIGHUP"}"#).await;
    assert_eq!(status, 400);
    let (status, _) = bench.send("POST", "/sandbox/v1/nodes/n1/power", &json_body, r#"{"state":"off"}"#).await;
    assert_eq!((status, node.signals.lock().unwrap()[1].as_str()), (200, "n1 off"));
    let (status, _) = bench.send("POST", path, &json_body, r#"{"signal":"SIGKILL","scope":"group","reason":"OOMKilled"}"#).await;
    assert_eq!((status, node.signals.lock().unwrap()[2].as_str()), (200, "n1 sandbox://abc SIGKILL group OOMKilled"));
    let (status, _) = bench.send("POST", path, &json_body, r#"{"signal":"SIGKILL","reason":"Bored"}"#).await;
    assert_eq!(status, 400);
    let cut = "/sandbox/v1/nodes/n1/cut";
    let (status, _) = bench.send("POST", cut, &json_body, r#"{"mark":"m","address":"127.0.0.9","port":1433}"#).await;
    assert_eq!((status, node.signals.lock().unwrap()[3].as_str()), (200, "n1 m Some(127.0.0.9:1433)"));
    for wrong in
        [r#"{"address":"127.0.0.9","port":1433}"#, r#"{"mark":"m","address":"127.0.0.9"}"#, r#"{"mark":"m","address":"here","port":1}"#]
    {
        let (status, _) = bench.send("POST", cut, &json_body, wrong).await;
        assert_eq!(status, 400, "{wrong}");
    }
    let quiet = Bench::with(100, Hooks { node_control: Arc::new(NoNodes), logs: Arc::new(NoNodes) }).await;
    let (status, _) = quiet.send("POST", path, &json_body, r#"{"signal":"SIGKILL"}"#).await;
    assert_eq!(status, 404);
}
