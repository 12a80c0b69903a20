//! Deleting one object or a collection.

use std::sync::Arc;

use serde_json::{Value, json};

use super::event_view;
use super::listing::selected;
use super::request::{Call, dry_run};
use super::respond::{self, Reply};
use super::route::Target;
use super::selector::Selection;
use super::server::Shared;
use crate::store::{ApiError, DeleteOptions, Key, Preconditions, Propagation, text};

/// Reads the options of a deletion from the body, and from the query where the body says nothing.
pub(super) fn options(body: &Value, call: &Call) -> Result<DeleteOptions, ApiError> {
    let grace = match body.get("gracePeriodSeconds").filter(|value| !value.is_null()) {
        Some(value) => Some(value.as_i64().ok_or_else(|| ApiError::bad_request("gracePeriodSeconds must be a number"))?),
        None => call.query.number::<i64>("gracePeriodSeconds")?,
    };
    let listed = body.get("dryRun").and_then(Value::as_array).map(|list| list.iter().map(Value::as_str).collect::<Vec<_>>());
    let dry = match listed.as_deref() {
        None | Some([]) => call.dry_run()?,
        Some([value]) => dry_run(*value)?,
        Some(_) => return Err(ApiError::bad_request("dryRun: supported values: \"All\"")),
    };
    let policy = body.get("propagationPolicy").and_then(Value::as_str).or_else(|| call.query.get("propagationPolicy"));
    let orphan =
        body.get("orphanDependents").and_then(Value::as_bool).or_else(|| call.query.get("orphanDependents").map(|text| text == "true"));
    let propagation = match (policy, orphan) {
        (None | Some(""), None) => None,
        (None | Some(""), Some(orphan)) => Some(if orphan { Propagation::Orphan } else { Propagation::Background }),
        (Some("Background"), _) => Some(Propagation::Background),
        (Some("Foreground"), _) => Some(Propagation::Foreground),
        (Some("Orphan"), _) => Some(Propagation::Orphan),
        (Some(other), _) => {
            let message =
                format!("propagationPolicy: Unsupported value: {other:?}: supported values: \"Background\", \"Foreground\", \"Orphan\"");
            return Err(ApiError::new(422, "Invalid", message));
        }
    };
    let wanted = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let preconditions = Preconditions { uid: wanted("/preconditions/uid"), resource_version: wanted("/preconditions/resourceVersion") };
    Ok(DeleteOptions { grace_period_seconds: grace, preconditions, propagation, dry_run: dry })
}

async fn body(call: &mut Call) -> Result<Value, ApiError> {
    if call.is_empty() {
        return Ok(json!({}));
    }
    let options = call.json().await?;
    let kind = text(&options, "/kind");
    if !kind.is_empty() && kind != "DeleteOptions" {
        return Err(ApiError::bad_request(format!("a {kind} is no DeleteOptions")));
    }
    Ok(options)
}

/// DELETE of one object.
pub(super) async fn delete(shared: &Shared, call: &mut Call, target: &Target) -> Result<Reply, ApiError> {
    let body = body(call).await?;
    let options = options(&body, call)?;
    let deleted = shared.store.delete(&target.key(), &options)?;
    // The real server shows the object where it may still matter, and a bare success elsewhere.
    let shows = matches!(target.resource.plural, "pods" | "services" | "persistentvolumes" | "persistentvolumeclaims" | "serviceaccounts");
    let shows = shows || !deleted.removed;
    if shows {
        return Ok(respond::json(200, &*event_view::outward(target.resource, &deleted.object)));
    }
    let mut details = json!({ "name": text(&deleted.object, "/metadata/name"), "kind": target.resource.plural, "uid": text(&deleted.object, "/metadata/uid") });
    if !target.resource.group.is_empty() {
        details["group"] = json!(target.resource.group);
    }
    Ok(respond::json(200, &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })))
}

/// DELETE of all objects of a collection that the selectors choose.
pub(super) async fn delete_collection(shared: &Shared, call: &mut Call, target: &Target) -> Result<Reply, ApiError> {
    let body = body(call).await?;
    let options = options(&body, call)?;
    if target.resource.namespaced && target.namespace.is_none() {
        return Err(ApiError::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"));
    }
    let selection = Selection::of(target.resource, &call.query)?;
    let (objects, revision) = selected(&shared.store, target.stored(), target.namespace.as_deref(), &selection);
    let mut deleted: Vec<Arc<Value>> = Vec::new();
    for object in objects {
        match shared.store.delete(&Key::of(target.stored(), &object), &options) {
            Ok(outcome) => deleted.push(event_view::outward(target.resource, &outcome.object)),
            // Somebody else was faster.
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let kind = format!("{}List", target.resource.kind);
    let deleted: Vec<&Value> = deleted.iter().map(Arc::as_ref).collect();
    let metadata = json!({ "resourceVersion": revision.to_string() });
    Ok(respond::json(200, &json!({ "kind": kind, "apiVersion": target.resource.api_version(), "metadata": metadata, "items": deleted })))
}
