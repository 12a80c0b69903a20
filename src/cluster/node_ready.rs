//! Waiting until every node of a cluster that was just made takes pods. The programs that make clusters wait for the control plane only.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::watcher::{Config, Event, watcher};

use super::{ClusterError, Typed};

/// What Kubernetes itself puts on a node that is not ready; a taint of somebody else's is meant to stay.
const OWN_TAINTS: &str = "node.kubernetes.io/";

/// Nodes by name: `None` is ready, else what is in the way.
type Seen = BTreeMap<String, Option<String>>;

/// Returns once each of these nodes is Ready and no longer tainted as one that is not.
///
/// # Errors
/// Tells which node was not ready, and what it said last, when that takes longer than `within`.
pub(super) async fn until_ready(client: &kube::Client, expected: &[String], within: Duration) -> Result<(), ClusterError> {
    let mut seen: Seen = expected.iter().map(|name| (name.clone(), Some("is not registered".to_owned()))).collect();
    let waited = tokio::time::timeout(within, watch(client, &mut seen)).await;
    if let Ok(ready) = waited {
        return ready;
    }
    let lacking: Vec<String> = seen.iter().filter_map(|(node, why)| why.as_ref().map(|why| format!("{node} {why}"))).collect();
    Err(ClusterError::Missing {
        what: format!("not every node was ready within {} s: {}", within.as_secs(), lacking.join("; ")),
        hint: "kubectl describe node NODE".to_owned(),
    })
}

async fn watch(client: &kube::Client, seen: &mut Seen) -> Result<(), ClusterError> {
    let nodes = Api::<Typed<Node>>::all(client.clone());
    let mut events = std::pin::pin!(watcher(nodes, Config::default()));
    while seen.values().any(Option::is_some) {
        match events.try_next().await {
            Ok(Some(Event::Apply(node) | Event::InitApply(node))) => {
                if let Some(entry) = node.metadata.name.as_ref().and_then(|name| seen.get_mut(name)) {
                    *entry = in_the_way(&node);
                }
            }
            Ok(Some(Event::Delete(node))) => {
                if let Some(entry) = node.metadata.name.as_ref().and_then(|name| seen.get_mut(name)) {
                    *entry = Some("is gone".to_owned());
                }
            }
            Ok(Some(Event::Init | Event::InitDone)) => {}
            // A young API server closes watches now and then; the next poll lists anew.
            Err(error) => {
                tracing::debug!(%error, "the watch of the nodes begins anew");
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Ok(None) => unreachable!("a watcher never ends"),
        }
    }
    Ok(())
}

/// Why the node does not take pods yet, if so.
fn in_the_way(node: &Node) -> Option<String> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    match conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "Ready")) {
        None => return Some("has not told whether it is Ready".to_owned()),
        Some(ready) if ready.status != "True" => {
            return Some(format!("is not Ready: {}", ready.message.as_deref().or(ready.reason.as_deref()).unwrap_or("no reason given")));
        }
        Some(_) => {}
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let taint = taints.into_iter().flatten().find(|taint| taint.key.starts_with(OWN_TAINTS) && taint.effect != "PreferNoSchedule");
    taint.map(|taint| format!("is tainted {}:{}", taint.key, taint.effect))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, version: u32, ready: Option<bool>, taint: Option<&str>) -> Value {
        let conditions: Vec<Value> = ready
            .map(|ready| json!({ "type": "Ready", "status": if ready { "True" } else { "False" }, "message": "the network is not there yet" }))
            .into_iter()
            .collect();
        let taints: Vec<Value> = taint.map(|key| json!({ "key": key, "effect": "NoSchedule" })).into_iter().collect();
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "uid": name, "resourceVersion": version.to_string() },
            "spec": { "taints": taints },
            "status": { "conditions": conditions },
        })
    }

    /// An API server that lists these nodes and then tells these changes.
    fn server(list: Vec<Value>, changes: Vec<Value>) -> kube::Client {
        let answer = move |request: Request<Body>| {
            let text = if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
                changes.iter().map(|node| format!("{}\n", json!({ "type": "MODIFIED", "object": node }))).collect()
            } else {
                json!({ "apiVersion": "v1", "kind": "NodeList", "metadata": { "resourceVersion": "10" }, "items": list }).to_string()
            };
            async move { Ok::<_, Infallible>(Response::new(Body::from(text.into_bytes()))) }
        };
        kube::Client::new(tower::service_fn(answer), "default")
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[tokio::test]
    async fn the_wait_ends_with_the_last_node() {
        let control = node("cp", 1, Some(true), Some("node-role.kubernetes.io/control-plane"));
        let late = [node("w", 11, Some(true), Some("node.kubernetes.io/not-ready")), node("w", 12, Some(true), None)];
        let client = server(vec![control, node("w", 2, Some(false), None)], late.to_vec());
        until_ready(&client, &names(&["cp", "w"]), Duration::from_secs(20)).await.unwrap();
    }

    /// Half a second is long enough for the list and the watch to be read, and neither makes the nodes ready.
    #[tokio::test]
    async fn a_wait_in_vain_says_which_node_and_why() {
        let client = server(
            vec![
                node("cp", 1, Some(true), None),
                node("w", 2, Some(false), None),
                node("v", 3, Some(true), Some("node.kubernetes.io/not-ready")),
            ],
            Vec::new(),
        );
        let error = until_ready(&client, &names(&["cp", "w", "v", "x"]), Duration::from_millis(500)).await.unwrap_err().to_string();
        for part in
            ["w is not Ready: the network is not there yet", "v is tainted node.kubernetes.io/not-ready:NoSchedule", "x is not registered"]
        {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("cp"), "{error}");
    }
}
