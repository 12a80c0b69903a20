//! Terminating namespaces: everything in them is deleted, and when nothing is left the namespace goes.

use std::time::Duration;

use serde_json::{Value, json};

use super::feed::Change;
use super::ownership::{terminating, uid_of};
use super::worklist::{Controller, Item};
use crate::store::{DeleteOptions, EventKind, Key, NAMESPACES, Part, RESOURCES, Resource, Store};

pub(super) struct Namespaces {
    store: Store,
}

impl Namespaces {
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }
}

/// The resources whose objects live in namespaces.
fn contents() -> impl Iterator<Item = &'static Resource> {
    RESOURCES.iter().copied().filter(|resource| resource.namespaced && !resource.review)
}

impl Controller for Namespaces {
    fn resources(&self) -> Vec<&'static Resource> {
        std::iter::once(&NAMESPACES).chain(contents()).collect()
    }

    fn affected(&self, change: &Change) -> Vec<Item> {
        let name = if change.resource == &NAMESPACES { change.name() } else { change.namespace() };
        let of_interest = change.resource == &NAMESPACES || change.kind == EventKind::Deleted;
        if of_interest { vec![(String::new(), name.to_owned())] } else { Vec::new() }
    }

    fn reconcile(&mut self, _namespace: &str, name: &str) -> Option<Duration> {
        let namespace = self.store.get(&Key::cluster(&NAMESPACES, name))?;
        if !terminating(&namespace) {
            return None;
        }
        let mut left = 0_usize;
        for resource in contents() {
            for object in self.store.list(resource, Some(name)).0 {
                let gone = !terminating(&object) && {
                    let options = DeleteOptions { preconditions: uid_of(&object), ..DeleteOptions::default() };
                    self.store.delete(&Key::of(resource, &object), &options).is_ok_and(|deleted| deleted.removed)
                };
                left += usize::from(!gone);
            }
        }
        // Whatever is still going reports when it is gone, and the namespace is looked at again.
        if left == 0 {
            let _gone =
                self.store.update(&Key::of(&NAMESPACES, &namespace), &uid_of(&namespace), Part::Whole, &mut |namespace: &mut Value| {
                    namespace["spec"]["finalizers"] = json!([]);
                    Ok(())
                });
        }
        None
    }
}
