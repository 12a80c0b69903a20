//! What belonged to an owner that is gone: deleted, unless another owner is left or the deletion was told to orphan it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::feed::Change;
use super::ownership::{terminating, uid_of};
use super::worklist::{Controller, Item};
use crate::store::{DeleteOptions, EVENTS, EVENTS_V1, EventKind, Key, Part, RESOURCES, Resource, Store, text};

pub(super) struct Garbage {
    store: Store,
}

impl Garbage {
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// Objects with a reference to this UID.
    fn dependents(&self, uid: &str) -> Vec<(&'static Resource, Arc<Value>)> {
        let all = watched().flat_map(|resource| self.store.list(resource, None).0.into_iter().map(move |object| (resource, object)));
        all.filter(|(_, object)| owners(object).any(|owner| text(owner, "/uid") == uid)).collect()
    }

    /// Whether the object that a reference names exists and is still the same one.
    fn exists(&self, reference: &Value, namespace: &str) -> bool {
        let group = text(reference, "/apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
        // A kind that the sandbox does not know is taken to exist: nothing is deleted on a guess.
        let Some(resource) = Resource::by_kind(group, text(reference, "/kind")) else {
            return true;
        };
        let namespace = resource.namespaced.then(|| namespace.to_owned());
        let found = self.store.get(&Key { resource, namespace, name: text(reference, "/name").to_owned() });
        found.is_some_and(|object| object.pointer("/metadata/uid") == reference.get("uid"))
    }

    /// Deletes a dependent whose owners are all gone, or takes the references to the gone ones away.
    fn collect(&self, resource: &'static Resource, object: &Value) {
        if terminating(object) {
            return;
        }
        let namespace = text(object, "/metadata/namespace");
        let (alive, gone): (Vec<&Value>, Vec<&Value>) = owners(object).partition(|owner| self.exists(owner, namespace));
        if gone.is_empty() {
            return;
        }
        let key = Key::of(resource, object);
        if alive.is_empty() {
            let _gone = self.store.delete(&key, &DeleteOptions { preconditions: uid_of(object), ..DeleteOptions::default() });
            return;
        }
        let alive = json!(alive);
        let _gone = self.store.update(&key, &uid_of(object), Part::Whole, &mut |object| {
            object["metadata"]["ownerReferences"] = alive.clone();
            Ok(())
        });
    }

    /// Does for a terminating owner what its finalizers ask for.
    fn finish(&self, resource: &'static Resource, owner: &Value) {
        let uid = text(owner, "/metadata/uid");
        let asks = |finalizer: &str| {
            let finalizers = owner.pointer("/metadata/finalizers").and_then(Value::as_array);
            finalizers.is_some_and(|all| all.iter().any(|one| one == finalizer))
        };
        if asks("orphan") {
            for (kind, dependent) in self.dependents(uid) {
                let _gone = self.store.update(&Key::of(kind, &dependent), &uid_of(&dependent), Part::Whole, &mut |dependent| {
                    if let Some(all) = dependent.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut) {
                        all.retain(|reference| text(reference, "/uid") != uid);
                    }
                    Ok(())
                });
            }
            self.drop_finalizer(resource, owner, "orphan");
        } else if asks("foregroundDeletion") {
            let dependents = self.dependents(uid);
            for (kind, dependent) in dependents.iter().filter(|(_, dependent)| !terminating(dependent)) {
                let options = DeleteOptions {
                    preconditions: uid_of(dependent),
                    propagation: Some(crate::store::Propagation::Foreground),
                    ..DeleteOptions::default()
                };
                let _gone = self.store.delete(&Key::of(kind, dependent), &options);
            }
            if self.dependents(uid).is_empty() {
                self.drop_finalizer(resource, owner, "foregroundDeletion");
            }
        }
    }

    fn drop_finalizer(&self, resource: &'static Resource, object: &Value, finalizer: &str) {
        let _gone = self.store.update(&Key::of(resource, object), &uid_of(object), Part::Whole, &mut |object| {
            if let Some(list) = object.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) {
                list.retain(|other| other != finalizer);
            }
            Ok(())
        });
    }
}

/// Events own nothing and are owned by nobody.
fn watched() -> impl Iterator<Item = &'static Resource> {
    RESOURCES.iter().copied().filter(|resource| !resource.review && *resource != &EVENTS && *resource != &EVENTS_V1)
}

fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten()
}

/// Items are resource and key in one: the worklist's namespace holds the resource's group and plural as well.
fn item(resource: &Resource, object: &Value) -> Item {
    (format!("{}/{}/{}", resource.group, resource.plural, text(object, "/metadata/namespace")), text(object, "/metadata/name").to_owned())
}

impl Controller for Garbage {
    fn resources(&self) -> Vec<&'static Resource> {
        watched().collect()
    }

    fn affected(&self, change: &Change) -> Vec<Item> {
        let mut items = Vec::new();
        if change.kind == EventKind::Deleted {
            items.extend(self.dependents(text(&change.object, "/metadata/uid")).iter().map(|(resource, object)| item(resource, object)));
            // A foreground deletion of the owner may have waited for this one.
            let waiting = owners(&change.object).filter_map(|owner| {
                let group = text(owner, "/apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
                let resource = Resource::by_kind(group, text(owner, "/kind"))?;
                let namespace = if resource.namespaced { change.namespace() } else { "" };
                Some((format!("{}/{}/{namespace}", resource.group, resource.plural), text(owner, "/name").to_owned()))
            });
            items.extend(waiting);
        } else if terminating(&change.object) || (change.kind == EventKind::Added && owners(&change.object).next().is_some()) {
            items.push(item(change.resource, &change.object));
        }
        items
    }

    fn reconcile(&mut self, place: &str, name: &str) -> Option<Duration> {
        let mut parts = place.splitn(3, '/');
        let (group, plural, namespace) = (parts.next()?, parts.next()?, parts.next()?);
        let resource = watched().find(|resource| resource.group == group && resource.plural == plural)?;
        let namespace = resource.namespaced.then(|| namespace.to_owned());
        let object = self.store.get(&Key { resource, namespace, name: name.to_owned() })?;
        if terminating(&object) {
            self.finish(resource, &object);
        } else {
            self.collect(resource, &object);
        }
        None
    }
}
