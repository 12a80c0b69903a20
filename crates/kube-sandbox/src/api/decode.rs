//! Reading objects strictly: through the typed form of their kind, to find wrong types and unknown fields.

use k8s_openapi::api::{
    apps::v1 as apps, coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery, networking::v1 as networking,
    policy::v1 as policy, rbac::v1 as rbac, storage::v1 as storage,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::event_view;
use super::request::Call;
use super::route::Target;
use crate::store::{ApiError, Resource, text};

/// What is done about fields that the kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    Ignore,
    Warn,
    Strict,
}

impl Strictness {
    pub(super) fn of(call: &Call) -> Result<Strictness, ApiError> {
        match call.query.get("fieldValidation") {
            None | Some("" | "Warn") => Ok(Strictness::Warn),
            Some("Ignore") => Ok(Strictness::Ignore),
            Some("Strict") => Ok(Strictness::Strict),
            Some(other) => {
                let message = format!("fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\"");
                Err(ApiError::bad_request(message))
            }
        }
    }
}

/// Checks that the object is of the target's kind and namespace, and returns it as it is to be stored, with warnings.
pub(super) fn object(target: &Target, mut object: Value, strictness: Strictness) -> Result<(Value, Vec<String>), ApiError> {
    let resource = target.resource;
    if !object.is_object() {
        return Err(ApiError::bad_request("the object provided is unrecognized (must be a JSON object)"));
    }
    let (version, kind) = (text(&object, "/apiVersion"), text(&object, "/kind"));
    if !kind.is_empty() && kind != resource.kind {
        let message = format!("{kind} in version {version:?} cannot be handled as a {}: no kind registered", resource.kind);
        return Err(ApiError::bad_request(message));
    }
    if !version.is_empty() && version != resource.api_version() {
        let message =
            format!("the API version in the data ({version}) does not match the expected API version ({})", resource.api_version());
        return Err(ApiError::bad_request(message));
    }
    if object.get("metadata").is_none_or(|metadata| !metadata.is_object()) {
        object["metadata"] = json!({});
    }
    if let Some(namespace) = &target.namespace {
        let said = text(&object, "/metadata/namespace");
        if !said.is_empty() && said != namespace {
            return Err(ApiError::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
        }
        object["metadata"]["namespace"] = json!(namespace);
    }
    let warnings = check(resource, &mut object, strictness)?;
    Ok((event_view::inward(resource, object), warnings))
}

/// Checks the shape of an object; returns the unknown fields as warnings unless they are an error.
pub(super) fn check(resource: &Resource, object: &mut Value, strictness: Strictness) -> Result<Vec<String>, ApiError> {
    numbers_to_quantities(object, false);
    let refuse = |why: String| {
        let kind = resource.kind;
        ApiError::bad_request(format!("{kind} in version {:?} cannot be handled as a {kind}: {why}", resource.version))
    };
    let unknown = unknown_fields(resource, object).map_err(|error| refuse(format!("json: {error}")))?;
    if unknown.is_empty() || strictness == Strictness::Ignore {
        return Ok(Vec::new());
    }
    let listed: Vec<String> = unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
    if strictness == Strictness::Strict {
        return Err(refuse(format!("strict decoding error: {}", listed.join(", "))));
    }
    Ok(listed)
}

/// Quantities may be sent as numbers; they are kept as strings, as the real server keeps them.
fn numbers_to_quantities(value: &mut Value, quantities: bool) {
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                if quantities && child.is_number() {
                    *child = json!(child.to_string());
                } else if child.is_object() || child.is_array() {
                    let inner = matches!(key.as_str(), "limits" | "requests" | "capacity" | "allocatable" | "overhead");
                    numbers_to_quantities(child, inner);
                } else if key == "sizeLimit" && child.is_number() {
                    *child = json!(child.to_string());
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|child| numbers_to_quantities(child, false)),
        _ => {}
    }
}

fn unknown_fields(resource: &Resource, object: &Value) -> Result<Vec<String>, serde_json::Error> {
    match (resource.group, resource.kind) {
        ("", "Namespace") => compare::<core::Namespace>(object),
        ("", "Pod") => compare::<core::Pod>(object),
        ("", "Node") => compare::<core::Node>(object),
        ("", "Service") => compare::<core::Service>(object),
        ("", "Endpoints") => compare::<core::Endpoints>(object),
        ("", "Event") => compare::<core::Event>(object),
        ("", "Secret") => compare::<core::Secret>(object),
        ("", "ConfigMap") => compare::<core::ConfigMap>(object),
        ("", "ServiceAccount") => compare::<core::ServiceAccount>(object),
        ("", "PersistentVolumeClaim") => compare::<core::PersistentVolumeClaim>(object),
        ("", "PersistentVolume") => compare::<core::PersistentVolume>(object),
        ("apps", "Deployment") => compare::<apps::Deployment>(object),
        ("apps", "ReplicaSet") => compare::<apps::ReplicaSet>(object),
        ("apps", "StatefulSet") => compare::<apps::StatefulSet>(object),
        ("apps", "DaemonSet") => compare::<apps::DaemonSet>(object),
        ("apps", "ControllerRevision") => compare::<apps::ControllerRevision>(object),
        ("storage.k8s.io", "StorageClass") => compare::<storage::StorageClass>(object),
        ("storage.k8s.io", "CSINode") => compare::<storage::CSINode>(object),
        ("storage.k8s.io", "VolumeAttachment") => compare::<storage::VolumeAttachment>(object),
        ("discovery.k8s.io", "EndpointSlice") => compare::<discovery::EndpointSlice>(object),
        ("coordination.k8s.io", "Lease") => compare::<coordination::Lease>(object),
        ("policy", "PodDisruptionBudget") => compare::<policy::PodDisruptionBudget>(object),
        ("networking.k8s.io", "NetworkPolicy") => compare::<networking::NetworkPolicy>(object),
        ("events.k8s.io", "Event") => compare::<k8s_openapi::api::events::v1::Event>(object),
        ("rbac.authorization.k8s.io", "Role") => compare::<rbac::Role>(object),
        ("rbac.authorization.k8s.io", "RoleBinding") => compare::<rbac::RoleBinding>(object),
        ("rbac.authorization.k8s.io", "ClusterRole") => compare::<rbac::ClusterRole>(object),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => compare::<rbac::ClusterRoleBinding>(object),
        _ => Ok(Vec::new()),
    }
}

fn compare<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Vec<String>, serde_json::Error> {
    // The typed form insists on its apiVersion and kind, which an API client may leave out of a request's body.
    let typed = T::deserialize(object)?;
    let known = serde_json::to_value(typed)?;
    let mut unknown = Vec::new();
    find_unknown(object, &known, "", &mut unknown);
    Ok(unknown)
}

fn find_unknown(sent: &Value, known: &Value, path: &str, unknown: &mut Vec<String>) {
    match (sent, known) {
        (Value::Object(sent), Value::Object(known)) => {
            for (key, child) in sent.iter().filter(|(_, child)| !child.is_null()) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match known.get(key) {
                    Some(known) => find_unknown(child, known, &path, unknown),
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(sent), Value::Array(known)) => {
            for (index, (child, known)) in sent.iter().zip(known).enumerate() {
                find_unknown(child, known, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}
