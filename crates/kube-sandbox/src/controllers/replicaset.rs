//! ReplicaSets: as many pods as asked for. A pod that terminates no longer counts, so its replacement is created while it still runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::feed::Change;
use super::ownership::{
    adopt_and_release, controller_named, controller_of, finished, owned, pod_from, ready, selects, set_status, terminating, uid_of,
    until_available,
};
use super::worklist::{Controller, Item};
use crate::events::Recorder;
use crate::sabotage::Sabotage;
use crate::store::{DeleteOptions, Key, PODS, REPLICA_SETS, Resource, Store, text};

pub(super) struct ReplicaSets {
    store: Store,
    events: Recorder,
}

impl ReplicaSets {
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone(), events: Recorder::new(store, "replicaset-controller") }
    }

    fn scale(&self, set: &Value, active: &[Arc<Value>]) {
        let wanted = usize::try_from(set.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)).unwrap_or(0);
        let wanted = wanted + usize::from(wanted > 0 && self.store.has(Sabotage::SplitBrain));
        for _ in active.len()..wanted {
            let mut pod = pod_from(&set["spec"]["template"], set);
            pod["metadata"]["generateName"] = json!(format!("{}-", text(set, "/metadata/name")));
            match self.store.create(&PODS, pod) {
                Ok(pod) => self.events.normal(set, "SuccessfulCreate", &format!("Created pod: {}", text(&pod, "/metadata/name"))),
                Err(error) => {
                    self.events.warning(set, "FailedCreate", &format!("Error creating: {error}"));
                    return;
                }
            }
        }
        let mut surplus: Vec<_> = active.iter().collect();
        // Those go first that are worth least: not yet scheduled, not ready, youngest.
        surplus.sort_by_key(|pod| {
            (!text(pod, "/spec/nodeName").is_empty(), ready(pod), std::cmp::Reverse(text(pod, "/metadata/creationTimestamp").to_owned()))
        });
        for pod in surplus.into_iter().take(active.len().saturating_sub(wanted)) {
            let options = DeleteOptions { preconditions: uid_of(pod), ..DeleteOptions::default() };
            if self.store.delete(&Key::of(&PODS, pod), &options).is_ok() {
                self.events.normal(set, "SuccessfulDelete", &format!("Deleted pod: {}", text(pod, "/metadata/name")));
            }
        }
    }
}

impl Controller for ReplicaSets {
    fn resources(&self) -> Vec<&'static Resource> {
        vec![&REPLICA_SETS, &PODS]
    }

    fn affected(&self, change: &Change) -> Vec<Item> {
        let namespace = change.namespace().to_owned();
        if change.resource == &REPLICA_SETS {
            return vec![(namespace, change.name().to_owned())];
        }
        let states = [Some(&change.object), change.previous.as_ref()].into_iter().flatten();
        let mut items: Vec<Item> =
            states.filter_map(|pod| controller_named(pod, "ReplicaSet")).map(|name| (namespace.clone(), name.to_owned())).collect();
        if controller_of(&change.object).is_none() {
            let (sets, _) = self.store.list(&REPLICA_SETS, Some(&namespace));
            let takers = sets.iter().filter(|set| selects(set.pointer("/spec/selector"), change.object.pointer("/metadata/labels")));
            items.extend(takers.map(|set| (namespace.clone(), text(set, "/metadata/name").to_owned())));
        }
        items
    }

    fn reconcile(&mut self, namespace: &str, name: &str) -> Option<Duration> {
        let set = self.store.get(&Key::namespaced(&REPLICA_SETS, namespace, name))?;
        let active = |pods: Vec<Arc<Value>>| pods.into_iter().filter(|pod| !terminating(pod) && !finished(pod)).collect::<Vec<_>>();
        if !terminating(&set) {
            adopt_and_release(&self.store, &set);
            self.scale(&set, &active(owned(&self.store, &PODS, &set)));
        }
        let pods = active(owned(&self.store, &PODS, &set));
        let patience = set.pointer("/spec/minReadySeconds").and_then(Value::as_i64).unwrap_or(0);
        let waits: Vec<Duration> = pods.iter().filter_map(|pod| until_available(pod, patience)).collect();
        let available = waits.iter().filter(|wait| wait.is_zero()).count();
        let labels = set.pointer("/spec/template/metadata/labels");
        let labelled = pods.iter().filter(|pod| has_labels(pod, labels)).count();
        let mut status = json!({ "replicas": pods.len(), "observedGeneration": set["metadata"]["generation"] });
        for (field, count) in [("fullyLabeledReplicas", labelled), ("readyReplicas", waits.len()), ("availableReplicas", available)] {
            if count > 0 {
                status[field] = json!(count);
            }
        }
        set_status(&self.store, &REPLICA_SETS, &set, &status);
        waits.into_iter().filter(|wait| !wait.is_zero()).min()
    }
}

fn has_labels(pod: &Value, wanted: Option<&Value>) -> bool {
    let wanted = wanted.and_then(Value::as_object).into_iter().flatten();
    wanted.into_iter().all(|(key, value)| pod.pointer("/metadata/labels").and_then(|labels| labels.get(key)) == Some(value))
}
