//! StatefulSets: pods with a name and a claim of their own, made, replaced and removed in order. A pod's successor is only made when the
//! pod itself is gone, processes and all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::feed::Change;
use super::hashing::template_hash;
use super::ownership::{
    adopt_and_release, controller_named, controller_of, finished, owned, pod_from, ready, reference_to, selects, set_status, terminating,
    uid_of, until_available,
};
use super::worklist::{Controller, Item};
use crate::events::Recorder;
use crate::store::{CONTROLLER_REVISIONS, DeleteOptions, Key, PERSISTENT_VOLUME_CLAIMS, PODS, Part, Resource, STATEFUL_SETS, Store, text};

const REVISION_LABEL: &str = "controller-revision-hash";

pub(super) struct StatefulSets {
    store: Store,
    events: Recorder,
}

/// One look at a set: the object, its pods by ordinal, and the revisions of its template.
struct View {
    set: Arc<Value>,
    pods: BTreeMap<i64, Arc<Value>>,
    /// The revision that all pods had when the last rollout arrived.
    current: String,
    /// The revision of the present template.
    update: String,
}

impl View {
    fn name(&self) -> &str {
        text(&self.set, "/metadata/name")
    }

    fn number(&self, pointer: &str, default: i64) -> i64 {
        self.set.pointer(pointer).and_then(Value::as_i64).unwrap_or(default)
    }

    fn first(&self) -> i64 {
        self.number("/spec/ordinals/start", 0)
    }

    /// The ordinals that should exist.
    fn wanted(&self) -> std::ops::Range<i64> {
        self.first()..self.first() + self.number("/spec/replicas", 1)
    }

    fn ordered(&self) -> bool {
        text(&self.set, "/spec/podManagementPolicy") != "Parallel"
    }

    fn healthy(pod: &Value) -> bool {
        ready(pod) && !terminating(pod)
    }
}

fn revision(pod: &Value) -> &str {
    text(pod, "/metadata/labels/controller-revision-hash")
}

fn ordinal(set: &str, pod: &Value) -> Option<i64> {
    text(pod, "/metadata/name").strip_prefix(set)?.strip_prefix('-')?.parse().ok()
}

impl StatefulSets {
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone(), events: Recorder::new(store, "statefulset-controller") }
    }

    fn view(&self, namespace: &str, name: &str) -> Option<View> {
        let set = self.store.get(&Key::namespaced(&STATEFUL_SETS, namespace, name))?;
        let update = self.revision_of(&set);
        let current = match text(&set, "/status/currentRevision") {
            "" => update.clone(),
            current => current.to_owned(),
        };
        let pods = owned(&self.store, &PODS, &set).into_iter().filter_map(|pod| Some((ordinal(name, &pod)?, pod))).collect();
        Some(View { set, pods, current, update })
    }

    /// The name of the ControllerRevision of the present template, which is made when there is none.
    fn revision_of(&self, set: &Value) -> String {
        let template = &set["spec"]["template"];
        let name = format!("{}-{}", text(set, "/metadata/name"), template_hash(template, 0));
        let namespace = text(set, "/metadata/namespace");
        let known = owned(&self.store, &CONTROLLER_REVISIONS, set);
        let numbered = |revision: &Value| revision.get("revision").and_then(Value::as_i64).unwrap_or(0);
        let newest = known.iter().map(|revision| numbered(revision)).max().unwrap_or(0);
        let there = self.store.get(&Key::namespaced(&CONTROLLER_REVISIONS, namespace, name.clone()));
        if let Some(revision) = there.filter(|revision| numbered(revision) < newest) {
            // A template that is gone back to is the newest again.
            let _gone = self.store.update(&Key::of(&CONTROLLER_REVISIONS, &revision), &uid_of(&revision), Part::Whole, &mut |revision| {
                revision["revision"] = json!(newest + 1);
                Ok(())
            });
        } else if !terminating(set) && !known.iter().any(|revision| text(revision, "/metadata/name") == name) {
            // kubectl sends this as a strategic merge patch to undo a rollout, which without the directive would keep what the newer template has.
            let mut replaced = template.clone();
            replaced["$patch"] = json!("replace");
            let mut labels = template.pointer("/metadata/labels").cloned().unwrap_or_else(|| json!({}));
            labels["controller.kubernetes.io/hash"] = json!(name.rsplit('-').next());
            let revision = json!({
                "metadata": { "name": name, "namespace": namespace, "labels": labels, "ownerReferences": [reference_to(set)] },
                "data": { "spec": { "template": replaced } }, "revision": newest + 1,
            });
            // A namespace that terminates takes no new revision, and no new pod either.
            let _refused = self.store.create(&CONTROLLER_REVISIONS, revision);
        }
        name
    }

    /// Makes what is missing, in order; true when the set has to wait for something before it may go on.
    fn fill(&self, view: &View) -> bool {
        for number in view.wanted() {
            match view.pods.get(&number) {
                None => {
                    self.create(view, number);
                    if view.ordered() {
                        return true;
                    }
                }
                Some(pod) if finished(pod) && !terminating(pod) => {
                    let message = format!(
                        "StatefulSet {}/{} is recreating failed Pod {}",
                        text(&view.set, "/metadata/namespace"),
                        view.name(),
                        text(pod, "/metadata/name")
                    );
                    self.events.warning(&view.set, "RecreatingFailedPod", &message);
                    self.delete(view, pod);
                    return true;
                }
                Some(pod) if view.ordered() && !View::healthy(pod) => return true,
                Some(_) => {}
            }
        }
        false
    }

    /// Removes pods beyond the wanted number, the last first; true when one is on its way out.
    fn shrink(&self, view: &View) -> bool {
        let wanted = view.wanted();
        let mut waits = false;
        for pod in view.pods.iter().rev().filter(|(number, _)| !wanted.contains(number)).map(|(_, pod)| pod) {
            if !terminating(pod) {
                self.delete(view, pod);
            }
            waits = true;
            if view.ordered() {
                return true;
            }
        }
        waits
    }

    /// Replaces one pod of an older revision, the last first.
    fn roll(&self, view: &View) {
        if text(&view.set, "/spec/updateStrategy/type") == "OnDelete" {
            return;
        }
        let partition = view.number("/spec/updateStrategy/rollingUpdate/partition", 0) + view.first();
        for (number, pod) in view.pods.iter().rev() {
            if *number < partition {
                return;
            }
            if revision(pod) != view.update && !terminating(pod) {
                self.delete(view, pod);
                return;
            }
            if !View::healthy(pod) {
                return;
            }
        }
    }

    fn create(&self, view: &View, number: i64) {
        let set = &view.set;
        let name = format!("{}-{number}", view.name());
        let partition = view.number("/spec/updateStrategy/rollingUpdate/partition", 0) + view.first();
        let wanted = if number < partition { &view.current } else { &view.update };
        let namespace = text(set, "/metadata/namespace");
        let stored = self.store.get(&Key::namespaced(&CONTROLLER_REVISIONS, namespace, wanted.clone()));
        let template =
            stored.and_then(|revision| revision.pointer("/data/spec/template").cloned()).unwrap_or_else(|| set["spec"]["template"].clone());
        let mut template = template;
        template.as_object_mut().map(|template| template.remove("$patch"));
        let mut pod = pod_from(&template, set);
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["labels"][REVISION_LABEL] = json!(wanted);
        pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = json!(name);
        pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = json!(number.to_string());
        pod["spec"]["hostname"] = json!(name);
        pod["spec"]["subdomain"] = json!(text(set, "/spec/serviceName"));
        self.claim(view, &name, &mut pod);
        match self.store.create(&PODS, pod) {
            Ok(_) => self.events.normal(set, "SuccessfulCreate", &format!("create Pod {name} in StatefulSet {} successful", view.name())),
            Err(error) => {
                let message = format!("create Pod {name} in StatefulSet {} failed error: {error}", view.name());
                self.events.warning(set, "FailedCreate", &message);
            }
        }
    }

    /// Makes the claims of a pod that do not exist yet, and mounts them.
    fn claim(&self, view: &View, pod_name: &str, pod: &mut Value) {
        let set = &view.set;
        let namespace = text(set, "/metadata/namespace");
        let mut volumes = pod.pointer("/spec/volumes").and_then(Value::as_array).cloned().unwrap_or_default();
        for template in set.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array).into_iter().flatten() {
            let volume = text(template, "/metadata/name");
            let claim = format!("{volume}-{pod_name}");
            if self.store.get(&Key::namespaced(&PERSISTENT_VOLUME_CLAIMS, namespace, claim.clone())).is_none() {
                let mut object = json!({ "metadata": { "name": claim, "namespace": namespace }, "spec": template["spec"] });
                object["metadata"]["labels"] = set.pointer("/spec/selector/matchLabels").cloned().unwrap_or_else(|| json!({}));
                if self.store.create(&PERSISTENT_VOLUME_CLAIMS, object).is_ok() {
                    let message = format!("create Claim {claim} Pod {pod_name} in StatefulSet {} success", view.name());
                    self.events.normal(set, "SuccessfulCreate", &message);
                }
            }
            volumes.retain(|other| text(other, "/name") != volume);
            volumes.push(json!({ "name": volume, "persistentVolumeClaim": { "claimName": claim } }));
        }
        if !volumes.is_empty() {
            pod["spec"]["volumes"] = json!(volumes);
        }
    }

    fn delete(&self, view: &View, pod: &Value) {
        let options = DeleteOptions { preconditions: uid_of(pod), ..DeleteOptions::default() };
        if self.store.delete(&Key::of(&PODS, pod), &options).is_ok() {
            let message = format!("delete Pod {} in StatefulSet {} successful", text(pod, "/metadata/name"), view.name());
            self.events.normal(&view.set, "SuccessfulDelete", &message);
        }
    }

    fn write_status(&self, view: &View) -> Option<Duration> {
        let patience = view.number("/spec/minReadySeconds", 0);
        let alive: Vec<&Arc<Value>> = view.pods.values().filter(|pod| !terminating(pod)).collect();
        let waits: Vec<Duration> = alive.iter().filter_map(|pod| until_available(pod, patience)).collect();
        let of = |wanted: &str| alive.iter().filter(|pod| revision(pod) == wanted).count();
        let updated = of(&view.update);
        let arrived = updated == view.pods.len()
            && waits.len() == updated
            && i64::try_from(updated).is_ok_and(|count| count == view.number("/spec/replicas", 1));
        let current = if arrived { &view.update } else { &view.current };
        let mut status = json!({
            "observedGeneration": view.set["metadata"]["generation"], "replicas": view.pods.len(), "currentRevision": current,
            "updateRevision": view.update, "collisionCount": 0, "availableReplicas": waits.iter().filter(|wait| wait.is_zero()).count(),
        });
        for (field, count) in [("readyReplicas", waits.len()), ("currentReplicas", of(current)), ("updatedReplicas", updated)] {
            if count > 0 {
                status[field] = json!(count);
            }
        }
        set_status(&self.store, &STATEFUL_SETS, &view.set, &status);
        waits.into_iter().filter(|wait| !wait.is_zero()).min()
    }

    /// Old revisions that no pod has are removed beyond the history limit.
    fn forget_history(&self, view: &View) {
        let limit = usize::try_from(view.number("/spec/revisionHistoryLimit", 10)).unwrap_or(10);
        let mut idle = owned(&self.store, &CONTROLLER_REVISIONS, &view.set);
        idle.retain(|candidate| {
            let name = text(candidate, "/metadata/name");
            name != view.update && name != view.current && view.pods.values().all(|pod| revision(pod) != name)
        });
        idle.sort_by_key(|revision| revision.get("revision").and_then(Value::as_i64));
        let surplus = idle.len().saturating_sub(limit);
        for revision in idle.into_iter().take(surplus) {
            let options = DeleteOptions { preconditions: uid_of(&revision), ..DeleteOptions::default() };
            let _gone = self.store.delete(&Key::of(&CONTROLLER_REVISIONS, &revision), &options);
        }
    }
}

impl Controller for StatefulSets {
    fn resources(&self) -> Vec<&'static Resource> {
        vec![&STATEFUL_SETS, &PODS]
    }

    fn affected(&self, change: &Change) -> Vec<Item> {
        let namespace = change.namespace().to_owned();
        if change.resource == &STATEFUL_SETS {
            return vec![(namespace, change.name().to_owned())];
        }
        let states = [Some(&change.object), change.previous.as_ref()].into_iter().flatten();
        let mut items: Vec<Item> =
            states.filter_map(|pod| controller_named(pod, "StatefulSet")).map(|name| (namespace.clone(), name.to_owned())).collect();
        if controller_of(&change.object).is_none() {
            let (sets, _) = self.store.list(&STATEFUL_SETS, Some(&namespace));
            let takers = sets.iter().filter(|set| selects(set.pointer("/spec/selector"), change.object.pointer("/metadata/labels")));
            items.extend(takers.map(|set| (namespace.clone(), text(set, "/metadata/name").to_owned())));
        }
        items
    }

    fn reconcile(&mut self, namespace: &str, name: &str) -> Option<Duration> {
        let view = self.view(namespace, name)?;
        if !terminating(&view.set) {
            adopt_and_release(&self.store, &view.set);
            let view = self.view(namespace, name)?;
            if !self.fill(&view) && !self.shrink(&view) {
                self.roll(&view);
            }
        }
        let view = self.view(namespace, name)?;
        self.forget_history(&view);
        self.write_status(&view)
    }
}
