//! `events.k8s.io/v1`: the same events as core ones, with other names for their fields.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::store::{EVENTS, EVENTS_V1, Resource};

/// Core name, `events.k8s.io` name.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(object: &mut Value, pairs: impl Iterator<Item = (&'static str, &'static str)>, resource: &Resource) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    for (from, to) in pairs {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
    map.insert("apiVersion".to_owned(), json!(resource.api_version()));
}

/// A stored object as clients of `resource` see it.
pub(super) fn outward(resource: &Resource, object: &Arc<Value>) -> Arc<Value> {
    if resource != &EVENTS_V1 {
        return Arc::clone(object);
    }
    let mut seen = (**object).clone();
    rename(&mut seen, RENAMED.into_iter(), &EVENTS_V1);
    Arc::new(seen)
}

/// What a client of `resource` sent, as it is stored.
pub(super) fn inward(resource: &Resource, mut object: Value) -> Value {
    if resource == &EVENTS_V1 {
        rename(&mut object, RENAMED.into_iter().map(|(core, new)| (new, core)), &EVENTS);
    }
    object
}
