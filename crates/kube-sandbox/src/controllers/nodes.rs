//! Nodes: what they say about themselves, their heartbeats, and the taints that follow from their state.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::feed::Change;
use super::ownership::{condition, terminating, uid_of};
use super::worklist::{Controller, Item};
use crate::events::Recorder;
use crate::kubelet::Nodes;
use crate::proxy::AddressBlock;
use crate::store::{
    ApiError, DeleteOptions, Key, LEASES, NODES, PODS, Part, Preconditions, Resource, STORAGE_CLASSES, Store, micro_time, now, text,
};

/// How often a node renews its lease.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Seconds for which a lease is good, as the kubelet sets it.
const LEASE_SECONDS: i64 = 40;
/// Where the leases of nodes are.
pub(super) const LEASE_NAMESPACE: &str = "kube-node-lease";
/// The taint by which an operator says that a node is off for certain.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// The taint of a cordoned node.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// One node of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeSpec {
    pub name: String,
    pub index: u8,
    pub address: Ipv4Addr,
}

/// The nodes of a sandbox: a control plane, which is tainted, and workers.
pub(crate) fn layout(block: &AddressBlock, workers: u8) -> Vec<NodeSpec> {
    let name = |index: u8| match index {
        0 => "sandbox-control-plane".to_owned(),
        1 => "sandbox-worker".to_owned(),
        more => format!("sandbox-worker{more}"),
    };
    (0..=workers).map(|index| NodeSpec { name: name(index), index, address: block.node(index) }).collect()
}

/// Registers the nodes and the storage classes.
pub(crate) fn register(store: &Store, nodes: &[NodeSpec], block: &AddressBlock) -> Result<(), ApiError> {
    for node in nodes {
        let object = store.create(&NODES, object(node, &block.pod_cidr(node.index)))?;
        store.create(&LEASES, lease(&object))?;
    }
    for (name, provisioner, mode, default) in
        [("standard", super::claims::NODE_LOCAL, "WaitForFirstConsumer", true), ("shared", super::claims::SHARED, "Immediate", false)]
    {
        let mut class = json!({
            "metadata": { "name": name }, "provisioner": provisioner, "reclaimPolicy": "Delete", "volumeBindingMode": mode,
        });
        if default {
            class["metadata"]["annotations"] = json!({ "storageclass.kubernetes.io/is-default-class": "true" });
        }
        store.create(&STORAGE_CLASSES, class)?;
    }
    Ok(())
}

fn lease(node: &Value) -> Value {
    let name = text(node, "/metadata/name");
    json!({
        "metadata": {
            "name": name, "namespace": LEASE_NAMESPACE,
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": text(node, "/metadata/uid") }],
        },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": micro_time() },
    })
}

fn object(node: &NodeSpec, pod_cidr: &str) -> Value {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut labels = json!({
        "beta.kubernetes.io/arch": arch, "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": arch, "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
    });
    let mut spec = json!({ "podCIDR": pod_cidr, "podCIDRs": [pod_cidr], "providerID": format!("sandbox://{}", node.name) });
    if node.index == 0 {
        labels["node-role.kubernetes.io/control-plane"] = json!("");
        labels["node.kubernetes.io/exclude-from-external-load-balancers"] = json!("");
        spec["taints"] = json!([{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }]);
    }
    let capacity = json!({
        "cpu": std::thread::available_parallelism().map_or(1, usize::from).to_string(), "memory": memory(), "ephemeral-storage": "100Gi",
        "hugepages-1Gi": "0", "hugepages-2Mi": "0", "pods": "110",
    });
    let time = now();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({ "type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": time, "lastTransitionTime": time });
    json!({
        "metadata": {
            "name": node.name, "labels": labels,
            "annotations": { "node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true" },
        },
        "spec": spec,
        "status": {
            "addresses": [{ "type": "InternalIP", "address": node.address.to_string() }, { "type": "Hostname", "address": node.name }],
            "allocatable": capacity, "capacity": capacity,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
            "nodeInfo": {
                "architecture": arch, "bootID": "", "containerRuntimeVersion": "sandbox://0.1", "kernelVersion": kernel(), "kubeProxyVersion": "",
                "kubeletVersion": "v1.34.0+sandbox", "machineID": node.name, "operatingSystem": "linux", "osImage": "kube-sandbox", "systemUUID": node.name,
            },
        },
    })
}

/// This machine's memory, as a quantity.
fn memory() -> String {
    let total = std::fs::read_to_string("/proc/meminfo").ok();
    let kibibytes = total
        .as_deref()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB").map(str::to_owned)));
    kibibytes.map_or_else(|| "8Gi".to_owned(), |kibibytes| format!("{}Ki", kibibytes.trim()))
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// Renews the leases of all nodes that have power, for ever.
pub(crate) async fn heartbeat(store: Store, kubelets: Arc<Nodes>, nodes: Vec<NodeSpec>, grace: Duration) {
    // Several beats must fit into the grace, however short a test makes it.
    let mut beat = tokio::time::interval(HEARTBEAT.min(grace / 5));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        for node in nodes.iter().filter(|node| kubelets.beats(&node.name)) {
            renew(&store, &node.name);
        }
    }
}

/// Renews the lease of one node.
pub(crate) fn renew(store: &Store, node: &str) {
    let key = Key::namespaced(&LEASES, LEASE_NAMESPACE, node);
    // The lease of a node that was deleted is gone with it.
    let _gone = store.update(&key, &Preconditions::default(), Part::Whole, &mut |lease| {
        lease["spec"]["renewTime"] = json!(micro_time());
        Ok(())
    });
}

/// Taints cordoned nodes, and evicts the pods that do not tolerate a `NoExecute` taint.
pub(super) struct Taints {
    store: Store,
    events: Recorder,
}

impl Taints {
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone(), events: Recorder::new(store, "taint-eviction-controller") }
    }

    fn follow_cordon(&self, node: &Value) {
        let cordoned = node.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true);
        let is_cordon = |taint: &Value| text(taint, "/key") == UNSCHEDULABLE && text(taint, "/effect") == "NoSchedule";
        let mut wanted: Vec<Value> = taints(node).filter(|taint| !is_cordon(taint)).cloned().collect();
        if taints(node).any(is_cordon) == cordoned {
            return;
        }
        if cordoned {
            wanted.push(json!({ "key": UNSCHEDULABLE, "effect": "NoSchedule", "timeAdded": now() }));
        }
        let _gone = self.store.update(&Key::of(&NODES, node), &uid_of(node), Part::Main, &mut |node| {
            node["spec"]["taints"] = json!(wanted);
            if wanted.is_empty()
                && let Some(spec) = node["spec"].as_object_mut()
            {
                spec.remove("taints");
            }
            Ok(())
        });
    }

    /// Deletes the pods whose time on this node is up; returns when the next one's is.
    fn evict(&self, node: &Value) -> Option<Duration> {
        let name = text(node, "/metadata/name");
        let lethal: Vec<&Value> = taints(node).filter(|taint| text(taint, "/effect") == "NoExecute").collect();
        if lethal.is_empty() {
            return None;
        }
        let (pods, _) = self.store.list(&PODS, None);
        let mut next: Option<Duration> = None;
        for pod in pods.iter().filter(|pod| text(pod, "/spec/nodeName") == name && !terminating(pod)) {
            match lethal.iter().filter_map(|taint| patience(pod, taint)).min() {
                None => {}
                Some(left) if left.is_zero() => {
                    let (namespace, pod_name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
                    self.events.normal(pod, "TaintManagerEviction", &format!("Marking for deletion Pod {namespace}/{pod_name}"));
                    let _gone =
                        self.store.delete(&Key::of(&PODS, pod), &DeleteOptions { preconditions: uid_of(pod), ..DeleteOptions::default() });
                }
                Some(left) => next = Some(next.map_or(left, |next| next.min(left))),
            }
        }
        next
    }

    /// Removes what terminates on a node that is lost and was declared out of service: nobody is left there to confirm the end of a pod. The real
    /// garbage collector looks every 20 s; this one looks at once.
    fn collect(&self, node: &Value) {
        let lost = condition(node, "Ready").is_some_and(|condition| text(condition, "/status") != "True");
        if !lost || !taints(node).any(|taint| text(taint, "/key") == OUT_OF_SERVICE) {
            return;
        }
        let name = text(node, "/metadata/name");
        for pod in self.store.list(&PODS, None).0.iter().filter(|pod| text(pod, "/spec/nodeName") == name && terminating(pod)) {
            let options = DeleteOptions { preconditions: uid_of(pod), grace_period_seconds: Some(0), ..DeleteOptions::default() };
            let _gone = self.store.delete(&Key::of(&PODS, pod), &options);
        }
    }
}

/// For how long a pod may yet stay under a taint; `None` when for ever.
fn patience(pod: &Value, taint: &Value) -> Option<Duration> {
    let tolerations = pod.pointer("/spec/tolerations").and_then(Value::as_array).into_iter().flatten();
    let matching: Vec<&Value> = tolerations.filter(|toleration| tolerates(toleration, taint)).collect();
    if matching.is_empty() {
        return Some(Duration::ZERO);
    }
    let seconds = matching.iter().filter_map(|toleration| toleration.get("tolerationSeconds").and_then(Value::as_i64)).min()?;
    let since = text(taint, "/timeAdded").parse::<Timestamp>().ok().unwrap_or_else(Timestamp::now);
    let left = i128::from(seconds.max(0)) * 1000 - Timestamp::now().duration_since(since).as_millis();
    Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
}

/// The taints of a node.
pub(super) fn taints(node: &Value) -> impl Iterator<Item = &Value> {
    node.pointer("/spec/taints").and_then(Value::as_array).into_iter().flatten()
}

/// Whether a toleration covers a taint.
pub(super) fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let (key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
    let covers_effect = effect.is_empty() || effect == text(taint, "/effect");
    let exists = text(toleration, "/operator") == "Exists";
    let covers_key = if key.is_empty() { exists } else { key == text(taint, "/key") };
    covers_effect && covers_key && (exists || text(toleration, "/value") == text(taint, "/value"))
}

impl Controller for Taints {
    fn resources(&self) -> Vec<&'static Resource> {
        vec![&NODES, &PODS]
    }

    fn affected(&self, change: &Change) -> Vec<Item> {
        if change.resource == &NODES {
            return vec![(String::new(), change.name().to_owned())];
        }
        let placed = |pod: &Value| text(pod, "/spec/nodeName").to_owned();
        let now_on = placed(&change.object);
        let moved = change.previous.as_deref().map(placed).as_ref() != Some(&now_on);
        if moved && !now_on.is_empty() { vec![(String::new(), now_on)] } else { Vec::new() }
    }

    fn reconcile(&mut self, _namespace: &str, name: &str) -> Option<Duration> {
        let node = self.store.get(&Key::cluster(&NODES, name))?;
        self.follow_cordon(&node);
        let next = self.evict(&node);
        self.collect(&node);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_match_as_in_the_api() {
        let taint = json!({ "key": "k", "value": "v", "effect": "NoExecute" });
        assert!(tolerates(&json!({ "operator": "Exists" }), &taint));
        assert!(tolerates(&json!({ "key": "k", "value": "v" }), &taint));
        assert!(tolerates(&json!({ "key": "k", "operator": "Exists", "effect": "NoExecute" }), &taint));
        assert!(!tolerates(&json!({ "key": "k", "value": "w" }), &taint));
        assert!(!tolerates(&json!({ "key": "k", "operator": "Exists", "effect": "NoSchedule" }), &taint));
    }
}
