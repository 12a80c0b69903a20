//! The scheduler: which node a pod runs on, or why none will do, in the words of the real one.

mod filter;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::claims::{SELECTED_NODE, claims_of};
use super::feed::Change;
use super::ownership::{condition, finished, terminating, uid_of};
use super::worklist::{Controller, Item};
use crate::events::Recorder;
use crate::store::{
    EventKind, Key, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, Part, Resource, STORAGE_CLASSES, Store, now, text,
};
use filter::Cluster;

/// What the real scheduler ends such messages with: it has nobody to throw out.
const NO_PREEMPTION: &str = "Preemption is not helpful for scheduling.";

pub(super) struct Scheduler {
    store: Store,
    events: Recorder,
}

/// What came of an attempt.
enum Outcome {
    Fits(Arc<Value>),
    /// Nothing will change until a controller has done its part, and its change wakes the pod again.
    Waits,
    Fails(String),
}

impl Scheduler {
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone(), events: Recorder::new(store, "default-scheduler") }
    }

    fn attempt(&self, pod: &Value) -> Outcome {
        let (mut nodes, _) = self.store.list(&NODES, None);
        nodes.retain(|node| !terminating(node));
        let total = nodes.len();
        if total == 0 {
            return Outcome::Fails("no nodes available to schedule pods".to_owned());
        }
        let cluster = match Cluster::gather(&self.store, pod) {
            Ok(cluster) => cluster,
            Err(why) => {
                return Outcome::Fails(format!("0/{total} nodes are available: {why}. not found"));
            }
        };
        let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
        let mut fitting = Vec::new();
        for node in nodes {
            match cluster.refusal(pod, &node) {
                None => fitting.push(node),
                Some(why) => *refusals.entry(why).or_default() += 1,
            }
        }
        if fitting.is_empty() {
            // The real one sorts the reasons as text, counts included.
            let mut reasons: Vec<String> = refusals.iter().map(|(why, count)| format!("{count} {why}")).collect();
            reasons.sort();
            return Outcome::Fails(format!(
                "0/{total} nodes are available: {}. no new claims to deallocate, preemption: 0/{total} nodes are available: {total} {NO_PREEMPTION}",
                reasons.join(", ")
            ));
        }
        // The emptiest node, siblings first; the name decides a tie, so that the same cluster gives the same choice.
        fitting.sort_by_key(|node| (cluster.load(pod, node), text(node, "/metadata/name").to_owned()));
        let chosen = fitting.swap_remove(0);
        if self.select_node(pod, &chosen) { Outcome::Waits } else { Outcome::Fits(chosen) }
    }

    /// Writes the chosen node to claims that wait for their first pod; true when there were any that are not bound yet.
    fn select_node(&self, pod: &Value, node: &Value) -> bool {
        let namespace = text(pod, "/metadata/namespace");
        let mut waits = false;
        for claim in claims_of(pod) {
            let key = Key::namespaced(&PERSISTENT_VOLUME_CLAIMS, namespace, claim);
            let Some(claim) = self.store.get(&key) else {
                continue;
            };
            if text(&claim, "/status/phase") == "Bound" {
                continue;
            }
            waits = true;
            let name = text(node, "/metadata/name");
            let _gone = self.store.update(&key, &uid_of(&claim), Part::Main, &mut |claim| {
                claim["metadata"]["annotations"][SELECTED_NODE] = json!(name);
                Ok(())
            });
        }
        waits
    }

    fn bind(&self, pod: &Value, node: &Value) {
        let name = text(node, "/metadata/name");
        let bound = self.store.update(&Key::of(&PODS, pod), &uid_of(pod), Part::Whole, &mut |pod| {
            pod["spec"]["nodeName"] = json!(name);
            set_scheduled(pod, "True", None, None);
            Ok(())
        });
        if let Ok(pod) = bound {
            let (namespace, pod_name) = (text(&pod, "/metadata/namespace"), text(&pod, "/metadata/name"));
            self.events.normal(&pod, "Scheduled", &format!("Successfully assigned {namespace}/{pod_name} to {name}"));
        }
    }

    fn refuse(&self, pod: &Value, message: &str) {
        if condition(pod, "PodScheduled").is_some_and(|condition| text(condition, "/message") == message) {
            return;
        }
        let _gone = self.store.update(&Key::of(&PODS, pod), &uid_of(pod), Part::Status, &mut |pod| {
            set_scheduled(pod, "False", Some("Unschedulable"), Some(message));
            Ok(())
        });
        self.events.warning(pod, "FailedScheduling", message);
    }

    fn unscheduled(&self) -> Vec<Item> {
        let (pods, _) = self.store.list(&PODS, None);
        let waiting = pods.iter().filter(|pod| waits(pod));
        waiting.map(|pod| (text(pod, "/metadata/namespace").to_owned(), text(pod, "/metadata/name").to_owned())).collect()
    }
}

/// Whether a pod waits for a node.
fn waits(pod: &Value) -> bool {
    text(pod, "/spec/nodeName").is_empty()
        && !terminating(pod)
        && !finished(pod)
        && text(pod, "/spec/schedulerName") == "default-scheduler"
        && pod.pointer("/spec/schedulingGates").and_then(Value::as_array).is_none_or(Vec::is_empty)
}

fn set_scheduled(pod: &mut Value, status: &str, reason: Option<&str>, message: Option<&str>) {
    let since = condition(pod, "PodScheduled")
        .filter(|before| text(before, "/status") == status)
        .map(|before| before["lastTransitionTime"].clone());
    let mut new = json!({ "type": "PodScheduled", "status": status, "lastProbeTime": null, "lastTransitionTime": since.unwrap_or_else(|| json!(now())) });
    if let (Some(reason), Some(message)) = (reason, message) {
        new["reason"] = json!(reason);
        new["message"] = json!(message);
    }
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    if let Some(list) = pod["status"]["conditions"].as_array_mut() {
        list.retain(|other| text(other, "/type") != "PodScheduled");
        list.push(new);
    }
}

impl Controller for Scheduler {
    fn resources(&self) -> Vec<&'static Resource> {
        vec![&PODS, &NODES, &PERSISTENT_VOLUME_CLAIMS, &PERSISTENT_VOLUMES, &STORAGE_CLASSES]
    }

    fn affected(&self, change: &Change) -> Vec<Item> {
        if change.resource == &PODS {
            if change.kind != EventKind::Deleted && waits(&change.object) {
                let woken = change.previous.as_deref().is_none_or(|before| before.get("spec") != change.object.get("spec"));
                return if woken { vec![(change.namespace().to_owned(), change.name().to_owned())] } else { Vec::new() };
            }
            // A pod that went away may have made room.
            let over = change.kind == EventKind::Deleted || finished(&change.object);
            return if over { self.unscheduled() } else { Vec::new() };
        }
        self.unscheduled()
    }

    fn reconcile(&mut self, namespace: &str, name: &str) -> Option<Duration> {
        let pod = self.store.get(&Key::namespaced(&PODS, namespace, name)).filter(|pod| waits(pod))?;
        match self.attempt(&pod) {
            Outcome::Fits(node) => self.bind(&pod, &node),
            Outcome::Waits => {}
            Outcome::Fails(why) => self.refuse(&pod, &why),
        }
        None
    }
}
