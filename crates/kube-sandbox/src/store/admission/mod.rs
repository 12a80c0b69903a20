//! What the real server adds to objects that it admits: defaults, allocated addresses, finalizers, first status.

mod pod;
mod service;
mod workload;

use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::memory::State;
use super::metadata::{metadata, section, text};
use super::resource::{
    DAEMON_SETS, DEPLOYMENTS, ENDPOINT_SLICES, NAMESPACES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, REPLICA_SETS, Resource,
    SECRETS, SERVICES, STATEFUL_SETS, STORAGE_CLASSES,
};
use crate::hooks::Allocator;

/// What admission may look at.
pub(super) struct Context<'a> {
    pub(super) state: &'a State,
    pub(super) allocator: &'a dyn Allocator,
    pub(super) dry_run: bool,
}

/// Fills in the defaults that every write gets.
pub(crate) fn fill(resource: &Resource, object: &mut Value) {
    if resource == &PODS {
        pod::defaults(section(object, "spec"), true);
    } else if resource == &DEPLOYMENTS {
        workload::deployment(object);
    } else if resource == &REPLICA_SETS {
        workload::replica_set(object);
    } else if resource == &STATEFUL_SETS {
        workload::stateful_set(object);
    } else if resource == &DAEMON_SETS {
        workload::daemon_set(object);
    } else if resource == &SERVICES {
        service::defaults(object);
    } else if resource == &PERSISTENT_VOLUME_CLAIMS {
        default(section(object, "spec"), "volumeMode", json!("Filesystem"));
    } else if resource == &PERSISTENT_VOLUMES {
        let spec = section(object, "spec");
        default(spec, "volumeMode", json!("Filesystem"));
        default(spec, "persistentVolumeReclaimPolicy", json!("Retain"));
    } else if resource == &STORAGE_CLASSES {
        let class = object.as_object_mut().expect("creation made it an object");
        default(class, "reclaimPolicy", json!("Delete"));
        default(class, "volumeBindingMode", json!("Immediate"));
    } else if resource == &SECRETS {
        secret(object);
    } else if resource == &NAMESPACES {
        let name = json!(text(object, "/metadata/name"));
        map_in(metadata(object), "labels").insert("kubernetes.io/metadata.name".to_owned(), name);
    } else if resource == &ENDPOINT_SLICES {
        for port in object.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
            default(port, "protocol", json!("TCP"));
            default(port, "name", json!(""));
        }
    }
}

/// Gives a new object what only its creation gives it.
pub(super) fn assign(resource: &Resource, object: &mut Value, context: &Context<'_>) -> Result<(), ApiError> {
    if resource == &PODS {
        pod::admit(object);
    } else if resource == &SERVICES {
        service::allocate(object, context)?;
    } else if resource == &PERSISTENT_VOLUME_CLAIMS {
        let spec = section(object, "spec");
        if !spec.contains_key("storageClassName")
            && let Some(class) = default_class(context.state)
        {
            spec.insert("storageClassName".to_owned(), json!(class));
        }
        protect(object, "kubernetes.io/pvc-protection");
        reset_status(object, json!({ "phase": "Pending" }));
    } else if resource == &PERSISTENT_VOLUMES {
        protect(object, "kubernetes.io/pv-protection");
        reset_status(object, json!({ "phase": "Pending" }));
    } else if resource == &NAMESPACES {
        section(object, "spec").insert("finalizers".to_owned(), json!(["kubernetes"]));
        reset_status(object, json!({ "phase": "Active" }));
    } else if resource.status && resource.plural != "nodes" {
        reset_status(object, json!({}));
    }
    Ok(())
}

/// Carries over what an update may not drop, and allocates what it newly asks for.
pub(super) fn reassign(resource: &Resource, old: &Value, new: &mut Value, context: &Context<'_>) -> Result<(), ApiError> {
    if resource == &SERVICES { service::reallocate(old, new, context) } else { Ok(()) }
}

/// Gives back what a removed object held.
pub(super) fn release(resource: &Resource, object: &Value, allocator: &dyn Allocator) {
    if resource == &SERVICES {
        service::release(object, allocator);
    }
}

/// Sets a field that is absent or null.
fn default(map: &mut Map<String, Value>, field: &str, value: Value) {
    if map.get(field).is_none_or(Value::is_null) {
        map.insert(field.to_owned(), value);
    }
}

/// A nested map, made when absent or null.
fn map_in<'a>(map: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    let entry = map.entry(field.to_owned()).or_insert_with(|| json!({}));
    if !entry.is_object() {
        *entry = json!({});
    }
    entry.as_object_mut().expect("made an object just above")
}

fn maps_in<'a>(map: &'a mut Map<String, Value>, field: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn reset_status(object: &mut Value, status: Value) {
    object.as_object_mut().expect("creation made it an object").insert("status".to_owned(), status);
}

fn protect(object: &mut Value, finalizer: &str) {
    let list = metadata(object).entry("finalizers".to_owned()).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut().filter(|list| !list.contains(&json!(finalizer))) {
        list.push(json!(finalizer));
    }
}

fn default_class(state: &State) -> Option<String> {
    let marked = |class: &&std::sync::Arc<Value>| {
        class.pointer("/metadata/annotations/storageclass.kubernetes.io~1is-default-class").and_then(Value::as_str) == Some("true")
    };
    state.objects(&STORAGE_CLASSES).find(marked).map(|class| text(class, "/metadata/name").to_owned())
}

fn secret(object: &mut Value) {
    use base64::Engine;
    let map = object.as_object_mut().expect("creation made it an object");
    default(map, "type", json!("Opaque"));
    let Some(Value::Object(plain)) = map.remove("stringData") else {
        return;
    };
    let data = map_in(map, "data");
    for (key, value) in plain {
        if let Some(value) = value.as_str() {
            data.insert(key, json!(base64::engine::general_purpose::STANDARD.encode(value)));
        }
    }
}
