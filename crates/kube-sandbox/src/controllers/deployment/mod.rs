//! Deployments: one ReplicaSet for each revision of the template, and the rollout from one to the next.

mod rollout;
mod status;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::feed::Change;
use super::hashing::template_hash;
use super::ownership::{controller_named, owned, reference_to, terminating, uid_of};
use super::worklist::{Controller, Item};
use crate::events::Recorder;
use crate::store::{DEPLOYMENTS, DeleteOptions, Key, PODS, Part, Preconditions, REPLICA_SETS, Resource, Store, text};

const REVISION: &str = "deployment.kubernetes.io/revision";

pub(super) struct Deployments {
    store: Store,
    events: Recorder,
}

/// One look at a deployment: the object and its ReplicaSets.
struct View {
    deployment: Arc<Value>,
    /// The set of the present template, if it exists.
    current: Option<Arc<Value>>,
    /// Sets of earlier templates, oldest first.
    old: Vec<Arc<Value>>,
}

impl View {
    fn replicas(&self) -> i64 {
        replicas(&self.deployment)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.old.iter().chain(self.current.iter())
    }

    fn recreates(&self) -> bool {
        text(&self.deployment, "/spec/strategy/type") == "Recreate"
    }
}

fn replicas(object: &Value) -> i64 {
    object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

impl Deployments {
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone(), events: Recorder::new(store, "deployment-controller") }
    }

    fn view(&self, key: &Key) -> Option<View> {
        let deployment = self.store.get(key)?;
        let template = deployment.pointer("/spec/template").cloned().unwrap_or_default();
        let sets = owned(&self.store, &REPLICA_SETS, &deployment);
        let (mut same, old): (Vec<_>, Vec<_>) = sets.into_iter().partition(|set| same_template(&template, set));
        let current = (!same.is_empty()).then(|| same.remove(0));
        Some(View { deployment, current, old: old.into_iter().chain(same).collect() })
    }

    /// Makes the ReplicaSet of the present template, with `size` replicas.
    fn create_current(&self, view: &View, size: i64) -> Option<Arc<Value>> {
        let deployment = &view.deployment;
        let name = text(deployment, "/metadata/name");
        let mut template = deployment["spec"]["template"].clone();
        let collisions = deployment.pointer("/status/collisionCount").and_then(Value::as_i64).unwrap_or(0);
        let hash = template_hash(&template, collisions);
        template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
        let mut selector = deployment["spec"]["selector"].clone();
        selector["matchLabels"]["pod-template-hash"] = json!(hash);
        let mut spec = json!({ "replicas": size, "selector": selector, "template": template });
        if let Some(patience) = deployment.pointer("/spec/minReadySeconds") {
            spec["minReadySeconds"] = patience.clone();
        }
        let set = json!({
            "metadata": {
                "name": format!("{name}-{hash}"), "namespace": text(deployment, "/metadata/namespace"),
                "labels": template["metadata"]["labels"], "ownerReferences": [reference_to(deployment)],
                "annotations": self.annotations(view),
            },
            "spec": spec,
        });
        let set = self.store.create(&REPLICA_SETS, set).ok()?;
        status::announce(&self.store, deployment, "NewReplicaSetCreated", &format!("Created new replica set \"{name}-{hash}\""));
        if size > 0 {
            self.events.normal(deployment, "ScalingReplicaSet", &format!("Scaled up replica set {name}-{hash} from 0 to {size}"));
        }
        Some(set)
    }

    fn annotations(&self, view: &View) -> Value {
        let highest = view.old.iter().filter_map(|set| revision(set)).max().unwrap_or(0);
        let wanted = view.replicas();
        let surge = if view.recreates() { 0 } else { rollout::bounds(view).0 };
        let kept = view.current.as_ref().and_then(|set| revision(set)).filter(|kept| *kept > highest);
        json!({
            REVISION: kept.unwrap_or(highest + 1).to_string(),
            "deployment.kubernetes.io/desired-replicas": wanted.to_string(),
            "deployment.kubernetes.io/max-replicas": (wanted + surge).to_string(),
        })
    }

    /// Writes the revision to the current set and to the deployment.
    fn stamp_revision(&self, view: &View) {
        let Some(current) = &view.current else { return };
        let annotations = self.annotations(view);
        let merge = |object: &mut Value, only: Option<&str>| {
            for (key, value) in annotations.as_object().into_iter().flatten() {
                if only.is_none_or(|only| only == key) {
                    object["metadata"]["annotations"][key] = value.clone();
                }
            }
        };
        // Objects that went away meanwhile need no revision.
        let _gone = self.store.update(&Key::of(&REPLICA_SETS, current), &uid_of(current), Part::Main, &mut |set| {
            merge(set, None);
            Ok(())
        });
        let deployment = &view.deployment;
        let _gone = self.store.update(&Key::of(&DEPLOYMENTS, deployment), &uid_of(deployment), Part::Main, &mut |deployment| {
            merge(deployment, Some(REVISION));
            Ok(())
        });
    }

    /// Sets the size of a ReplicaSet and says so.
    fn resize(&self, deployment: &Value, set: &Value, size: i64) -> bool {
        let before = replicas(set);
        if before == size {
            return false;
        }
        let resized = self.store.update(&Key::of(&REPLICA_SETS, set), &uid_of(set), Part::Main, &mut |set| {
            set["spec"]["replicas"] = json!(size);
            Ok(())
        });
        if resized.is_ok() {
            let direction = if size > before { "up" } else { "down" };
            let name = text(set, "/metadata/name");
            self.events.normal(deployment, "ScalingReplicaSet", &format!("Scaled {direction} replica set {name} from {before} to {size}"));
        }
        resized.is_ok()
    }

    /// Removes sets of revisions beyond the history limit.
    fn forget_history(&self, view: &View) {
        let limit = view.deployment.pointer("/spec/revisionHistoryLimit").and_then(Value::as_u64).unwrap_or(10);
        let idle = |set: &&Arc<Value>| replicas(set) == 0 && set.pointer("/status/replicas").and_then(Value::as_i64).unwrap_or(0) == 0;
        let mut idle: Vec<_> = view.old.iter().filter(idle).filter(|set| !terminating(set)).collect();
        idle.sort_by_key(|set| revision(set));
        let surplus = idle.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        for set in idle.into_iter().take(surplus) {
            let options = DeleteOptions { preconditions: uid_of(set), ..DeleteOptions::default() };
            let _gone = self.store.delete(&Key::of(&REPLICA_SETS, set), &options);
        }
    }
}

impl Controller for Deployments {
    fn resources(&self) -> Vec<&'static Resource> {
        vec![&DEPLOYMENTS, &REPLICA_SETS, &PODS]
    }

    fn affected(&self, change: &Change) -> Vec<Item> {
        let namespace = change.namespace().to_owned();
        let item = |name: &str| (namespace.clone(), name.to_owned());
        if change.resource == &DEPLOYMENTS {
            return vec![item(change.name())];
        }
        if change.resource == &REPLICA_SETS {
            return controller_named(&change.object, "Deployment").map(item).into_iter().collect();
        }
        // Only the end of a pod matters here: Recreate waits for the old pods to be gone. All else shows in the ReplicaSets' status.
        let set = controller_named(&change.object, "ReplicaSet");
        let set = set.and_then(|set| self.store.get(&Key::namespaced(&REPLICA_SETS, &namespace, set)));
        set.as_deref().and_then(|set| controller_named(set, "Deployment")).map(item).into_iter().collect()
    }

    fn reconcile(&mut self, namespace: &str, name: &str) -> Option<Duration> {
        let key = Key::namespaced(&DEPLOYMENTS, namespace, name);
        let view = self.view(&key)?;
        if !terminating(&view.deployment) {
            if view.deployment.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
                self.scale_paused(&view);
            } else if view.recreates() {
                self.recreate(&view);
            } else {
                self.roll(&view);
            }
        }
        let view = self.view(&key)?;
        self.stamp_revision(&view);
        let view = self.view(&key)?;
        if status::complete(&view) {
            self.forget_history(&view);
        }
        status::write(&self.store, &view)
    }
}

fn revision(set: &Value) -> Option<i64> {
    text(set, "/metadata/annotations/deployment.kubernetes.io~1revision").parse().ok()
}

/// Whether a ReplicaSet has this template, the hash label aside.
fn same_template(template: &Value, set: &Value) -> bool {
    let mut theirs = set.pointer("/spec/template").cloned().unwrap_or_default();
    if let Some(labels) = theirs.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    *template == theirs
}

/// The precondition-free update of something that may be gone.
fn touch(store: &Store, key: &Key, part: Part, change: &mut dyn FnMut(&mut Value)) {
    let _gone = store.update(key, &Preconditions::default(), part, &mut |object| {
        change(object);
        Ok(())
    });
}
