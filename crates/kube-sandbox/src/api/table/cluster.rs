//! Rows of nodes, volumes, events and the small kinds.

use serde_json::{Value, json};

use super::show::{access_modes, age, items, number, or, selector_text, since};
use crate::store::{Resource, text};

pub(super) fn node(object: &Value) -> Value {
    let ready = items(object, "/status/conditions").iter().find(|condition| condition["type"] == "Ready");
    let mut status = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    let labels = object["metadata"]["labels"].as_object();
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    let address = |kind: &str| {
        items(object, "/status/addresses")
            .iter()
            .find(|address| address["type"] == kind)
            .map_or("<none>", |address| text(address, "/address"))
    };
    let info = |field: &str| or(text(object, &format!("/status/nodeInfo/{field}")), "<unknown>").to_owned();
    json!([
        object["metadata"]["name"],
        status,
        or(&roles.join(","), "<none>"),
        age(object),
        text(object, "/status/nodeInfo/kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ])
}

fn phase(object: &Value) -> &str {
    if object.pointer("/metadata/deletionTimestamp").is_some() { "Terminating" } else { text(object, "/status/phase") }
}

pub(super) fn volume(object: &Value) -> Value {
    let claim = match (text(object, "/spec/claimRef/namespace"), text(object, "/spec/claimRef/name")) {
        (_, "") => String::new(),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    json!([
        object["metadata"]["name"],
        text(object, "/spec/capacity/storage"),
        access_modes(items(object, "/spec/accessModes")),
        text(object, "/spec/persistentVolumeReclaimPolicy"),
        phase(object),
        claim,
        text(object, "/spec/storageClassName"),
        or(text(object, "/spec/volumeAttributesClassName"), "<unset>"),
        text(object, "/status/reason"),
        age(object),
        or(text(object, "/spec/volumeMode"), "<unset>"),
    ])
}

pub(super) fn claim(object: &Value) -> Value {
    let volume = text(object, "/spec/volumeName");
    let (capacity, modes) = if volume.is_empty() {
        (String::new(), String::new())
    } else {
        (text(object, "/status/capacity/storage").to_owned(), access_modes(items(object, "/status/accessModes")))
    };
    json!([
        object["metadata"]["name"],
        phase(object),
        volume,
        capacity,
        modes,
        text(object, "/spec/storageClassName"),
        or(text(object, "/spec/volumeAttributesClassName"), "<unset>"),
        age(object),
        or(text(object, "/spec/volumeMode"), "<unset>"),
    ])
}

pub(super) fn storage_class(object: &Value) -> Value {
    let annotation = object.pointer("/metadata/annotations/storageclass.kubernetes.io~1is-default-class");
    let suffix = if annotation.is_some_and(|value| value == "true") { " (default)" } else { "" };
    json!([
        format!("{}{suffix}", text(object, "/metadata/name")),
        object["provisioner"],
        or(text(object, "/reclaimPolicy"), "Delete"),
        or(text(object, "/volumeBindingMode"), "Immediate"),
        object["allowVolumeExpansion"] == true,
        age(object),
    ])
}

pub(super) fn event(object: &Value) -> Value {
    let first = or(text(object, "/firstTimestamp"), text(object, "/eventTime"));
    let first = or(first, text(object, "/metadata/creationTimestamp"));
    let series = text(object, "/series/lastObservedTime");
    let last = or(or(series, text(object, "/lastTimestamp")), first);
    let count = match (number(object, "/series/count"), number(object, "/count")) {
        (0, 0) => 1,
        (0, count) | (count, _) => count,
    };
    let kind = text(object, "/involvedObject/kind").to_lowercase();
    let subject = format!("{kind}/{}", text(object, "/involvedObject/name"));
    let component = or(text(object, "/source/component"), text(object, "/reportingComponent"));
    let source: Vec<&str> = [component, or(text(object, "/source/host"), text(object, "/reportingInstance"))]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    json!([
        since(last),
        object["type"],
        object["reason"],
        subject,
        text(object, "/involvedObject/fieldPath"),
        source.join(", "),
        text(object, "/message").trim(),
        since(first),
        count,
        object["metadata"]["name"],
    ])
}

pub(super) fn role_binding(object: &Value) -> Value {
    let subjects = |kind: &str| {
        let found = items(object, "/subjects").iter().filter(|subject| subject["kind"] == kind);
        let names = found.map(|subject| match text(subject, "/namespace") {
            "" => text(subject, "/name").to_owned(),
            namespace => format!("{namespace}/{}", text(subject, "/name")),
        });
        names.collect::<Vec<_>>().join(", ")
    };
    let role = format!("{}/{}", text(object, "/roleRef/kind"), text(object, "/roleRef/name"));
    json!([object["metadata"]["name"], role, age(object), subjects("User"), subjects("Group"), subjects("ServiceAccount")])
}

/// What stands between name and age in the rows of the small kinds.
pub(super) fn middle(resource: &Resource, object: &Value) -> Vec<Value> {
    let count = |field: &str| {
        object
            .get(field)
            .map_or(0, |value| value.as_object().map(serde_json::Map::len).or_else(|| value.as_array().map(Vec::len)).unwrap_or(0))
    };
    match resource.plural {
        "namespaces" => vec![json!(text(object, "/status/phase"))],
        "secrets" => vec![object["type"].clone(), json!(count("data"))],
        "configmaps" => vec![json!(count("data") + count("binaryData"))],
        "serviceaccounts" => vec![json!(count("secrets"))],
        "leases" => vec![json!(text(object, "/spec/holderIdentity"))],
        "networkpolicies" => vec![json!(or(&selector_text(&object["spec"]["podSelector"]), "<none>"))],
        "csinodes" => vec![json!(items(object, "/spec/drivers").len())],
        "volumeattachments" => vec![
            json!(text(object, "/spec/attacher")),
            json!(text(object, "/spec/source/persistentVolumeName")),
            json!(text(object, "/spec/nodeName")),
            json!(object.pointer("/status/attached") == Some(&Value::Bool(true))),
        ],
        "controllerrevisions" => {
            let owner = items(object, "/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true);
            let owner = owner.map_or_else(
                || "<none>".to_owned(),
                |owner| format!("{}.apps/{}", text(owner, "/kind").to_lowercase(), text(owner, "/name")),
            );
            vec![json!(owner), object["revision"].clone()]
        }
        _ => Vec::new(),
    }
}
