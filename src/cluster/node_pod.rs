//! What is done in a node that is not a container of this machine: a short-lived privileged pod, pinned to the node, does it from the node's own root folder,
//! and is removed.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, LogParams, PostParams, Preconditions};
use kube::runtime::wait::{Condition, await_condition};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::node_action::unsupported;
use super::node_script::{STOPPED_AFTER, Script};
use super::{Capability, ClusterError, NodeAction, Permission, Typed};

/// What such a pod can do. What freezes a node or takes its power would take the pod with it.
pub(super) const CAPABILITIES: &[Capability] =
    &[Capability::SignalContainer, Capability::ExhaustMemory, Capability::StopKubelet, Capability::CutService, Capability::FillVolume];

/// What the pods ask of the API server, beside the namespace that they are in.
pub const NODE_ACCESS_PERMISSIONS: [Permission; 3] = [
    Permission::core("namespaces", &["create", "delete", "get", "list", "watch"]),
    Permission::core("pods", &["create", "delete", "get", "list", "watch"]),
    Permission::core("pods/log", &["get"]),
];

/// How long a pod may take to start, do its work and end.
const DONE_WITHIN: Duration = Duration::from_secs(60);

/// How nodes are reached where they are not containers of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAccess {
    /// The pods' image: one with a `chroot`, which the nodes have or can pull.
    pub image: String,
    /// The namespace that the pods are in. It is the run's own.
    pub namespace: String,
}

impl NodeAccess {
    /// Does it, and says what was done.
    pub(super) async fn act(&self, client: &kube::Client, node: &str, action: &NodeAction) -> Result<String, ClusterError> {
        let able = CAPABILITIES.contains(&action.needs());
        let script = Script::in_pod(action).filter(|_| able).ok_or_else(|| unsupported(action.needs()))?;
        let pods = Api::<Typed<Pod>>::namespaced(client.clone(), &self.namespace);
        let name = format!("node-access-{:08x}", rand::rng().random::<u32>());
        let made = pods.create(&PostParams::default(), &Typed(self.pod(&name, node, &script))).await?;
        let ended = tokio::time::timeout(done_within(action), await_condition(pods.clone(), &name, has_ended())).await;
        let said = pods.logs(&name, &LogParams::default()).await.unwrap_or_default();
        let last = pods.get_opt(&name).await;
        let precondition = Preconditions { uid: made.metadata.uid.clone(), resource_version: None };
        let removal = DeleteParams { preconditions: Some(precondition), ..DeleteParams::default().grace_period(0) };
        let removed = pods.delete(&name, &removal).await;
        let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        match ended {
            Ok(Ok(Some(pod))) if phase(&pod) == "Succeeded" => {
                removed?;
                Ok(said.trim().to_owned())
            }
            _ => {
                let state = last.ok().flatten().map(|pod| in_words(&pod)).unwrap_or_else(|| "gone".to_owned());
                Err(ClusterError::NodePod {
                    node: node.to_owned(),
                    image: self.image.clone(),
                    state,
                    said: said.trim().replace('\n', " | "),
                })
            }
        }
    }

    /// The node is named and not chosen, so that a cordoned one is reached as well; every taint is tolerated.
    fn pod(&self, name: &str, node: &str, script: &Script) -> Pod {
        let command = ["chroot", "/proc/1/root", "sh", "-euc", &script.text, "chaos"];
        // A kubelet replaces `$(NAME)` by a variable of the container, and `$$` by `$`: doubled, each dollar sign is the script's own again.
        let command = command.into_iter().chain(script.arguments.iter().map(String::as_str)).map(|word| word.replace('$', "$$"));
        let command: Vec<String> = command.collect();
        let pod = json!({
            "metadata": { "name": name, "labels": { "app.kubernetes.io/managed-by": "chaos" } },
            "spec": {
                "nodeName": node, "hostPID": true, "hostNetwork": true,
                "restartPolicy": "Never", "activeDeadlineSeconds": DONE_WITHIN.as_secs(), "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false, "enableServiceLinks": false,
                "tolerations": [{ "operator": "Exists" }],
                "containers": [{
                    "name": "node-access", "image": self.image, "imagePullPolicy": "IfNotPresent", "command": command,
                    "securityContext": { "privileged": true, "runAsUser": 0, "runAsGroup": 0 },
                }],
            },
        });
        serde_json::from_value(pod).expect("a pod written here has the shape of its type")
    }
}

/// A pod that tells that the kubelet is back starts when it is.
fn done_within(action: &NodeAction) -> Duration {
    match action {
        NodeAction::StartKubelet { lasts, .. } => *lasts + STOPPED_AFTER + DONE_WITHIN,
        _ => DONE_WITHIN,
    }
}

fn has_ended() -> impl Condition<Typed<Pod>> {
    |pod: Option<&Typed<Pod>>| {
        let phase = pod.and_then(|pod| pod.status.as_ref()).and_then(|status| status.phase.as_deref());
        // A pod that somebody removed ends no more.
        pod.is_none() || matches!(phase, Some("Succeeded" | "Failed"))
    }
}

/// The state of the pod in a line: its phase, and what its container waits for or ended with.
fn in_words(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let mut words = status.phase.unwrap_or_else(|| "without a phase".to_owned());
    let container = status.container_statuses.unwrap_or_default().into_iter().next().and_then(|container| container.state);
    let detail = container.and_then(|state| match (state.waiting, state.terminated) {
        (Some(waiting), _) => Some((waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default())),
        (_, Some(end)) => Some((format!("exit code {}", end.exit_code), end.message.unwrap_or_default())),
        _ => None,
    });
    for part in detail.into_iter().flat_map(|(reason, message)| [reason, message]).filter(|part| !part.is_empty()) {
        words.push_str(", ");
        words.push_str(&part);
    }
    words
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::cluster::Signal;

    #[test]
    fn the_pod_is_pinned_and_does_one_thing() {
        let access = NodeAccess { image: "busybox:1".to_owned(), namespace: "chaos-node".to_owned() };
        let kill = NodeAction::SignalContainer { container_id: "containerd://abc".to_owned(), signal: Signal::Kill };
        let spec = access.pod("x", "node-7", &Script::of(&kill).unwrap()).spec.unwrap();
        assert_eq!((spec.node_name.as_deref(), spec.host_pid, spec.restart_policy.as_deref()), (Some("node-7"), Some(true), Some("Never")));
        let command = spec.containers[0].command.clone().unwrap();
        assert_eq!(
            (&command[..2], &command[command.len() - 2..]),
            (&["chroot".to_owned(), "/proc/1/root".to_owned()][..], &["abc".to_owned(), "KILL".to_owned()][..])
        );
    }

    /// The kubelet's own expansion, as far as no variable of that name is known.
    fn expanded(word: &str) -> String {
        word.replace("$$", "$")
    }

    #[test]
    fn the_kubelet_hands_every_script_on_as_it_was_written() {
        let access = NodeAccess { image: "busybox:1".to_owned(), namespace: "chaos-node".to_owned() };
        let script = Script::in_pod(&NodeAction::ExhaustMemory { container_id: "containerd://abc".to_owned() }).unwrap();
        assert!(script.text.contains("$$") && script.text.contains("$("), "{}", script.text);
        let command = access.pod("x", "node-7", &script).spec.unwrap().containers[0].command.clone().unwrap();
        assert_eq!(expanded(&command[4]), script.text);
        assert!(!command[4].replace("$$", "").contains('$'), "a dollar sign is left for the kubelet to read: {}", command[4]);
    }

    #[tokio::test]
    async fn what_would_take_the_pod_along_is_refused_before_anything_is_created() {
        let asked = |request: http::Request<kube::client::Body>| async move {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other(format!("{} was asked for", request.uri())))
        };
        let client = kube::Client::new(tower::service_fn(asked), "default");
        let access = NodeAccess { image: "busybox:1".to_owned(), namespace: "chaos-node".to_owned() };
        for action in [NodeAction::Freeze, NodeAction::PowerOff] {
            let error = access.act(&client, "node-7", &action).await.unwrap_err();
            assert!(matches!(error, ClusterError::Unsupported { .. }), "{error}");
        }
    }
}
