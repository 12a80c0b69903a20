//! What speaks against running a pod on a node, asked in the order in which the real scheduler asks.

use std::sync::Arc;

use serde_json::Value;

use crate::controllers::claims::claims_of;
use crate::controllers::nodes::{taints, tolerates};
use crate::controllers::ownership::{controller_of, finished, requirement, selects};
use crate::controllers::quantity;
use crate::store::{Key, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES, Store, text};

/// What a pod's placement depends on beside the nodes.
pub(super) struct Cluster {
    /// Every pod that takes up room.
    pods: Vec<Arc<Value>>,
    /// The volumes of the pod's bound claims.
    volumes: Vec<Arc<Value>>,
    /// Nodes that were selected earlier for claims that are not bound yet.
    selected: Vec<String>,
    /// Whether another pod holds one of the pod's claims that only one may hold.
    exclusive_taken: bool,
}

impl Cluster {
    /// Looks everything up; fails when the pod cannot be placed anywhere.
    pub(super) fn gather(store: &Store, pod: &Value) -> Result<Self, String> {
        let (mut pods, _) = store.list(&PODS, None);
        pods.retain(|other| !finished(other) && !text(other, "/spec/nodeName").is_empty());
        let namespace = text(pod, "/metadata/namespace");
        let mut cluster = Self { pods, volumes: Vec::new(), selected: Vec::new(), exclusive_taken: false };
        for name in claims_of(pod) {
            let claim = store.get(&Key::namespaced(&PERSISTENT_VOLUME_CLAIMS, namespace, name));
            let claim = claim.ok_or_else(|| format!("persistentvolumeclaim {name:?} not found"))?;
            if claim.pointer("/metadata/deletionTimestamp").is_some() {
                return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            let modes = claim.pointer("/spec/accessModes").and_then(Value::as_array).into_iter().flatten();
            if modes.into_iter().any(|mode| mode == "ReadWriteOncePod") {
                let holds =
                    |other: &Arc<Value>| text(other, "/metadata/namespace") == namespace && claims_of(other).any(|used| used == name);
                cluster.exclusive_taken |= cluster.pods.iter().any(holds);
            }
            if text(&claim, "/status/phase") == "Bound" {
                let volume = store.get(&Key::cluster(&PERSISTENT_VOLUMES, text(&claim, "/spec/volumeName")));
                cluster.volumes.push(volume.ok_or_else(|| format!("persistentvolume {:?} not found", text(&claim, "/spec/volumeName")))?);
                continue;
            }
            let class = store.get(&Key::cluster(&STORAGE_CLASSES, text(&claim, "/spec/storageClassName")));
            if class.is_none_or(|class| text(&class, "/volumeBindingMode") != "WaitForFirstConsumer") {
                return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
            }
            if let Some(node) = claim.pointer("/metadata/annotations/volume.kubernetes.io~1selected-node").and_then(Value::as_str) {
                cluster.selected.push(node.to_owned());
            }
        }
        Ok(cluster)
    }

    /// Why the pod cannot run on this node; `None` when it can.
    pub(super) fn refusal(&self, pod: &Value, node: &Value) -> Option<String> {
        let tolerations = || pod.pointer("/spec/tolerations").and_then(Value::as_array).into_iter().flatten();
        let tolerated = |taint: &Value| tolerations().any(|toleration| tolerates(toleration, taint));
        let cordon = serde_json::json!({ "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" });
        if node.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true) && !tolerated(&cordon) {
            return Some("node(s) were unschedulable".to_owned());
        }
        let repels = |taint: &&Value| matches!(text(taint, "/effect"), "NoSchedule" | "NoExecute");
        if taints(node).filter(repels).any(|taint| !tolerated(taint)) {
            return Some("node(s) had untolerated taint(s)".to_owned());
        }
        if !wants_node(pod, node) {
            return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
        }
        if let Some(resource) = self.short_of(pod, node) {
            return Some(resource);
        }
        if self.exclusive_taken {
            return Some(
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
                    .to_owned(),
            );
        }
        let reaches = |volume: &Arc<Value>| {
            let terms = volume.pointer("/spec/nodeAffinity/required");
            terms.is_none_or(|terms| node_terms(terms, node))
        };
        let name = text(node, "/metadata/name");
        if !self.volumes.iter().all(reaches) || self.selected.iter().any(|selected| selected != name) {
            return Some("node(s) didn't match PersistentVolume's node affinity".to_owned());
        }
        self.repelled_by_pods(pod, node)
    }

    /// How much speaks against a node that would do: pods of the same owner first, then all pods.
    pub(super) fn load(&self, pod: &Value, node: &Value) -> (usize, usize) {
        let owner = controller_of(pod).and_then(|owner| owner.get("uid"));
        let here = || self.on(node);
        let siblings = here().filter(|other| owner.is_some() && controller_of(other).and_then(|other| other.get("uid")) == owner).count();
        (siblings, here().count())
    }

    fn on<'a>(&'a self, node: &'a Value) -> impl Iterator<Item = &'a Arc<Value>> {
        self.pods.iter().filter(|other| text(other, "/spec/nodeName") == text(node, "/metadata/name"))
    }

    /// The resource that the node has too little of, as the real scheduler words it.
    fn short_of(&self, pod: &Value, node: &Value) -> Option<String> {
        let allocatable =
            |resource: &str| node.pointer("/status/allocatable").map_or(0, |all| quantity::parse(text(all, &format!("/{resource}"))));
        if self.on(node).count() as i128 * 1000 >= allocatable("pods") {
            return Some("Too many pods".to_owned());
        }
        ["cpu", "memory"].into_iter().find_map(|resource| {
            let wanted = requests(pod, resource);
            let used: i128 = self.on(node).map(|other| requests(other, resource)).sum();
            (wanted > 0 && used + wanted > allocatable(resource)).then(|| format!("Insufficient {resource}"))
        })
    }

    /// Required pod affinity and anti-affinity, by node or by any other label of the nodes.
    fn repelled_by_pods(&self, pod: &Value, node: &Value) -> Option<String> {
        let matching = |term: &Value| {
            let namespace = text(pod, "/metadata/namespace");
            // Every node of the sandbox is its own domain unless the label says otherwise; only the host name is compared.
            self.on(node).any(|other| {
                text(other, "/metadata/namespace") == namespace && selects(term.get("labelSelector"), other.pointer("/metadata/labels"))
            })
        };
        let terms = |kind: &str| {
            let pointer = format!("/spec/affinity/{kind}/requiredDuringSchedulingIgnoredDuringExecution");
            pod.pointer(&pointer).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        if terms("podAntiAffinity").iter().any(matching) {
            return Some("node(s) didn't match pod anti-affinity rules".to_owned());
        }
        let attracted = terms("podAffinity");
        (!attracted.is_empty() && !attracted.iter().all(matching)).then(|| "node(s) didn't match pod affinity rules".to_owned())
    }
}

/// What the containers of a pod ask for, in thousandths.
fn requests(pod: &Value, resource: &str) -> i128 {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    containers.map(|container| quantity::parse(text(container, &format!("/resources/requests/{resource}")))).sum()
}

fn wants_node(pod: &Value, node: &Value) -> bool {
    let labels = node.pointer("/metadata/labels");
    let selector = pod.pointer("/spec/nodeSelector").and_then(Value::as_object).into_iter().flatten();
    let mut selector = selector.map(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value));
    let affinity = pod.pointer("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution");
    selector.all(|holds| holds) && affinity.is_none_or(|terms| node_terms(terms, node))
}

/// Whether one of the terms of a node selector matches; within a term everything must.
fn node_terms(selector: &Value, node: &Value) -> bool {
    let label = |key: &str| node.pointer("/metadata/labels").and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let field = |key: &str| (key == "metadata.name").then(|| text(node, "/metadata/name"));
    let list = |term: &Value, name: &str| term.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let terms = selector.get("nodeSelectorTerms").and_then(Value::as_array).into_iter().flatten();
    terms.into_iter().any(|term| {
        list(term, "matchExpressions").iter().all(|one| requirement(one, &label))
            && list(term, "matchFields").iter().all(|one| requirement(one, &field))
    })
}
