//! Nodes whose heartbeats stop: `NotReady` after the grace period, tainted so that their pods are given up in time, and ready again when they are back.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::feed::Change;
use super::nodes::{LEASE_NAMESPACE, taints};
use super::ownership::{condition, ready, uid_of};
use super::worklist::{Controller, Item};
use crate::events::Recorder;
use crate::store::{Key, LEASES, NODES, PODS, Part, Resource, Store, now, text};

/// The taint of a node that nobody hears from.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The conditions of a node, all unknown once it is silent.
const CONDITIONS: [&str; 4] = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];

pub(super) struct NodeHealth {
    store: Store,
    events: Recorder,
    grace: Duration,
}

impl NodeHealth {
    pub(super) fn new(store: &Store, grace: Duration) -> Self {
        Self { store: store.clone(), events: Recorder::new(store, "node-controller"), grace }
    }

    /// How long the node has been silent.
    fn silence(&self, name: &str) -> Option<Duration> {
        let lease = self.store.get(&Key::namespaced(&LEASES, LEASE_NAMESPACE, name))?;
        let heard: Timestamp = text(&lease, "/spec/renewTime").parse().ok()?;
        let passed = Timestamp::now().duration_since(heard).as_millis();
        Some(Duration::from_millis(u64::try_from(passed).unwrap_or(0)))
    }

    fn lose(&self, node: &Value) {
        let time = now();
        self.update(node, &mut |node| {
            for kind in CONDITIONS {
                set_condition(node, kind, "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.", &time);
            }
        });
        self.taint(node, true);
        let name = text(node, "/metadata/name");
        self.events.normal(node, "NodeNotReady", &format!("Node {name} status is now: NodeNotReady"));
        for pod in self.store.list(&PODS, None).0.iter().filter(|pod| text(pod, "/spec/nodeName") == name && ready(pod)) {
            let _gone = self.store.update(&Key::of(&PODS, pod), &uid_of(pod), Part::Status, &mut |pod| {
                set_ready(pod, &time);
                Ok(())
            });
            self.events.warning(pod, "NodeNotReady", "Node is not ready");
        }
    }

    fn find(&self, node: &Value) {
        let time = now();
        self.update(node, &mut |node| {
            set_condition(node, "MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available", &time);
            set_condition(node, "DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure", &time);
            set_condition(node, "PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available", &time);
            set_condition(node, "Ready", "True", "KubeletReady", "kubelet is posting ready status", &time);
        });
        self.taint(node, false);
        let name = text(node, "/metadata/name");
        self.events.normal(node, "NodeReady", &format!("Node {name} status is now: NodeReady"));
    }

    fn update(&self, node: &Value, change: &mut dyn FnMut(&mut Value)) {
        let _gone = self.store.update(&Key::of(&NODES, node), &uid_of(node), Part::Status, &mut |node| {
            change(node);
            Ok(())
        });
    }

    /// Adds or removes the two taints of a silent node; those of others stay.
    fn taint(&self, node: &Value, silent: bool) {
        let time = now();
        let _gone = self.store.update(&Key::of(&NODES, node), &uid_of(node), Part::Main, &mut |node| {
            let mut wanted: Vec<Value> = taints(node).filter(|taint| text(taint, "/key") != UNREACHABLE).cloned().collect();
            if silent {
                wanted.extend(["NoSchedule", "NoExecute"].map(|effect| json!({ "key": UNREACHABLE, "effect": effect, "timeAdded": time })));
            }
            if let Some(spec) = node["spec"].as_object_mut() {
                if wanted.is_empty() {
                    spec.remove("taints");
                } else {
                    spec.insert("taints".to_owned(), json!(wanted));
                }
            }
            Ok(())
        });
    }
}

fn set_condition(node: &mut Value, kind: &str, status: &str, reason: &str, message: &str, time: &str) {
    let conditions = node.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    if let Some(one) = conditions.and_then(|all| all.iter_mut().find(|one| text(one, "/type") == kind)) {
        if text(one, "/status") != status {
            one["lastTransitionTime"] = json!(time);
        }
        if status != "Unknown" {
            one["lastHeartbeatTime"] = json!(time);
        }
        one["status"] = json!(status);
        one["reason"] = json!(reason);
        one["message"] = json!(message);
    }
}

/// A pod of a silent node is not ready, and nothing else about it is known to have changed.
fn set_ready(pod: &mut Value, time: &str) {
    let conditions = pod.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    if let Some(one) = conditions.and_then(|all| all.iter_mut().find(|one| text(one, "/type") == "Ready")) {
        one["status"] = json!("False");
        one["lastTransitionTime"] = json!(time);
    }
}

impl Controller for NodeHealth {
    fn resources(&self) -> Vec<&'static Resource> {
        vec![&NODES, &LEASES]
    }

    fn affected(&self, change: &Change) -> Vec<Item> {
        let concerns = change.resource == &NODES || change.namespace() == LEASE_NAMESPACE;
        if concerns { vec![(String::new(), change.name().to_owned())] } else { Vec::new() }
    }

    fn reconcile(&mut self, _namespace: &str, name: &str) -> Option<Duration> {
        let node = self.store.get(&Key::cluster(&NODES, name))?;
        let silence = self.silence(name)?;
        let known_lost = condition(&node, "Ready").is_some_and(|condition| text(condition, "/status") == "Unknown");
        match (silence >= self.grace, known_lost) {
            (true, false) => self.lose(&node),
            (false, true) => self.find(&node),
            _ => {}
        }
        // A silent node is heard of through its lease; one that still beats is asked after again when its grace would be over.
        self.grace.checked_sub(silence).map(|left| left + Duration::from_millis(1))
    }
}
