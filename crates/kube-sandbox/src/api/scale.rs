//! The scale subresource: replicas of a controller, whatever its kind.

use serde_json::{Map, Value, json};

use super::patch;
use super::request::{Call, parse};
use super::respond::{self, Reply};
use super::route::Target;
use super::server::Shared;
use crate::store::{ApiError, Part, Preconditions, UpdateOptions, text};

/// The controller's scale as an object.
fn view(object: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata.insert(field.to_owned(), object["metadata"][field].clone());
    }
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": { "replicas": number("/spec/replicas") },
        "status": { "replicas": number("/status/replicas"), "selector": super::table::selector_text(&object["spec"]["selector"]) },
    })
}

/// GET, PUT and PATCH of a scale.
pub(super) async fn answer(shared: &Shared, call: &mut Call, target: &Target) -> Result<Reply, ApiError> {
    let key = target.key();
    if call.method == hyper::Method::GET {
        let object = shared.store.get(&key).ok_or_else(|| ApiError::not_found(target.resource, &key.name))?;
        return Ok(respond::json(200, &view(&object)));
    }
    let dry_run = call.dry_run()?;
    let media = call.media_type();
    let put = call.method == hyper::Method::PUT;
    let body = if put { call.json().await? } else { parse(&call.bytes().await?)? };
    let mut change = |live: &mut Value| {
        let mut scale = view(live);
        match (put, media.as_str()) {
            (true, _) => scale = body.clone(),
            (false, "application/merge-patch+json" | "application/strategic-merge-patch+json") => patch::merge(&mut scale, &body),
            (false, "application/json-patch+json") => patch::json_patch(&mut scale, &body)?,
            _ => {
                let message = format!("the body of the request was in an unknown format for a scale (got {media})");
                return Err(ApiError::new(415, "UnsupportedMediaType", message));
            }
        }
        let said = text(&scale, "/metadata/resourceVersion");
        if !said.is_empty() && said != text(live, "/metadata/resourceVersion") {
            return Err(ApiError::modified(target.resource, &key.name));
        }
        let replicas = scale.pointer("/spec/replicas").map_or(Some(0), Value::as_i64);
        let replicas = replicas.ok_or_else(|| ApiError::bad_request("spec.replicas: must be a number"))?;
        live["spec"]["replicas"] = json!(replicas);
        Ok(())
    };
    let options = UpdateOptions { dry_run };
    let updated = shared.store.update_with(&key, &Preconditions::default(), Part::Main, &options, &mut change)?;
    Ok(respond::json(200, &view(&updated)))
}
