//! Writing: create, replace, patch, and the writes that have a path of their own.

use std::sync::Arc;

use serde_json::{Value, json};

use super::decode::{self, Strictness};
use super::listing::one;
use super::ownership::{self, Writer};
use super::patch;
use super::request::{Call, parse};
use super::respond::{self, Reply};
use super::route::Target;
use super::server::Shared;
use crate::store::{
    ApiError, CreateOptions, Key, NAMESPACES, PODS, Part, Preconditions, Resource, Store, UpdateOptions, fill_defaults, now, text,
};

fn writer(call: &Call, target: &Target) -> Writer {
    let subresource = if target.sub.as_deref() == Some("status") { "status" } else { "" };
    Writer { manager: call.manager(), subresource }
}

fn part(target: &Target) -> Part {
    if target.sub.as_deref() == Some("status") { Part::Status } else { Part::Main }
}

fn finish(call: &Call, target: &Target, code: u16, object: &Arc<Value>, warnings: &[String]) -> Result<Reply, ApiError> {
    let mut reply = one(call, target, code, object)?;
    respond::warn(&mut reply, warnings);
    Ok(reply)
}

/// POST of a collection.
pub(super) async fn create(shared: &Shared, call: &mut Call, target: &Target) -> Result<Reply, ApiError> {
    let (dry_run, strictness) = (call.dry_run()?, Strictness::of(call)?);
    let sent = call.json().await?;
    if target.resource.namespaced && target.namespace.is_none() {
        return Err(ApiError::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"));
    }
    let (mut object, warnings) = decode::object(target, sent, strictness)?;
    if !text(&object, "/metadata/resourceVersion").is_empty() {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    ownership::created(target.stored(), &mut object, &writer(call, target));
    let created = shared.store.create_with(target.stored(), object, &CreateOptions { dry_run })?;
    finish(call, target, 201, &created, &warnings)
}

/// PUT of an object or its status.
pub(super) async fn replace(shared: &Shared, call: &mut Call, target: &Target) -> Result<Reply, ApiError> {
    let (dry_run, strictness) = (call.dry_run()?, Strictness::of(call)?);
    let sent = call.json().await?;
    let (object, warnings) = decode::object(target, sent, strictness)?;
    let name = target.name.as_deref().unwrap_or_default();
    let said = text(&object, "/metadata/name");
    if said != name {
        return Err(ApiError::bad_request(format!("the name of the object ({said}) does not match the name on the URL ({name})")));
    }
    let preconditions = claimed(&object);
    let (writer, resource) = (writer(call, target), target.stored());
    let mut change = |live: &mut Value| {
        let old = std::mem::replace(live, object.clone());
        settle(resource, &old, live, &writer);
        Ok(())
    };
    let updated = shared.store.update_with(&target.key(), &preconditions, part(target), &UpdateOptions { dry_run }, &mut change)?;
    finish(call, target, 200, &updated, &warnings)
}

/// What an object that a client sends back claims about the one that it read.
fn claimed(object: &Value) -> Preconditions {
    let claim = |pointer: &str| Some(text(object, pointer).to_owned()).filter(|claim| !claim.is_empty());
    Preconditions { uid: claim("/metadata/uid"), resource_version: claim("/metadata/resourceVersion") }
}

/// Fills in defaults before ownership is recorded, so that a default that was left out is not a change.
fn settle(resource: &Resource, old: &Value, new: &mut Value, writer: &Writer) {
    if writer.subresource.is_empty() {
        fill_defaults(resource, new);
    }
    ownership::updated(resource, old, new, writer);
}

/// The kinds of patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Kind {
    fn of(media: &str) -> Result<Kind, ApiError> {
        match media {
            "application/json-patch+json" => Ok(Kind::Json),
            "application/merge-patch+json" => Ok(Kind::Merge),
            "application/strategic-merge-patch+json" => Ok(Kind::Strategic),
            "application/apply-patch+yaml" => Ok(Kind::Apply),
            other => {
                let known = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";
                let message =
                    format!("the body of the request was in an unknown format - accepted media types include: {known} (got {other})");
                Err(ApiError::new(415, "UnsupportedMediaType", message))
            }
        }
    }
}

/// PATCH of an object or its status.
pub(super) async fn patch(shared: &Shared, call: &mut Call, target: &Target) -> Result<Reply, ApiError> {
    let (dry_run, strictness, kind) = (call.dry_run()?, Strictness::of(call)?, Kind::of(&call.media_type())?);
    let bytes = call.bytes().await?;
    if kind == Kind::Apply {
        return apply(shared, call, target, &bytes, dry_run, strictness);
    }
    let body = parse(&bytes)?;
    let (writer, resource) = (writer(call, target), target.resource);
    let mut warnings = Vec::new();
    let mut change = |live: &mut Value| {
        let old = live.clone();
        *live = (*super::event_view::outward(resource, &Arc::new(std::mem::take(live)))).clone();
        change_by(kind, resource, live, &body)?;
        if !live.is_object() {
            return Err(ApiError::bad_request("the patch does not leave an object"));
        }
        warnings = decode::check(resource, live, strictness)?;
        *live = super::event_view::inward(resource, std::mem::take(live));
        let (said, is) = (text(live, "/metadata/resourceVersion"), text(&old, "/metadata/resourceVersion"));
        if !said.is_empty() && said != is {
            return Err(ApiError::modified(resource, text(&old, "/metadata/name")));
        }
        check_identity(resource, &old, live)?;
        settle(target.stored(), &old, live, &writer);
        Ok(())
    };
    let updated =
        shared.store.update_with(&target.key(), &Preconditions::default(), part(target), &UpdateOptions { dry_run }, &mut change)?;
    finish(call, target, 200, &updated, &warnings)
}

fn change_by(kind: Kind, resource: &Resource, live: &mut Value, body: &Value) -> Result<(), ApiError> {
    match kind {
        Kind::Json => patch::json_patch(live, body),
        Kind::Strategic => patch::strategic(resource, live, body),
        Kind::Merge if body.is_object() => {
            patch::merge(live, body);
            Ok(())
        }
        Kind::Merge | Kind::Apply => Err(ApiError::bad_request("a merge patch is an object")),
    }
}

fn check_identity(resource: &Resource, old: &Value, new: &Value) -> Result<(), ApiError> {
    let (uid, name) = (text(old, "/metadata/uid"), text(old, "/metadata/name"));
    let said = text(new, "/metadata/uid");
    if !said.is_empty() && said != uid {
        let why = format!("Precondition failed: UID in precondition: {said}, UID in object meta: {uid}");
        return Err(ApiError::conflict(resource, name, &why));
    }
    let said = text(new, "/metadata/name");
    if !said.is_empty() && said != name {
        return Err(ApiError::bad_request(format!("the name of the object ({said}) does not match the name on the URL ({name})")));
    }
    Ok(())
}

/// Server-side apply: creates the object or merges into it, by field ownership.
fn apply(shared: &Shared, call: &Call, target: &Target, bytes: &[u8], dry_run: bool, strictness: Strictness) -> Result<Reply, ApiError> {
    if call.query.get("fieldManager").is_none_or(str::is_empty) {
        return Err(ApiError::bad_request(
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    }
    let config = serde_json::from_slice(bytes)
        .map_err(|error| ApiError::bad_request(format!("error decoding apply configuration: the sandbox reads JSON only: {error}")))?;
    let (mut config, warnings) = decode::object(target, config, strictness)?;
    let name = target.name.as_deref().unwrap_or_default();
    let said = text(&config, "/metadata/name").to_owned();
    if !said.is_empty() && said != name {
        return Err(ApiError::bad_request(format!("the name of the object ({said}) does not match the name on the URL ({name})")));
    }
    if config.pointer("/metadata/managedFields").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    config["metadata"]["name"] = json!(name);
    let (writer, resource, force) = (writer(call, target), target.stored(), call.query.on("force"));
    let preconditions = claimed(&config);
    let mut change = |live: &mut Value| ownership::applied(resource, live, &config, &writer, force);
    // Someone else may create or delete the object in between, so the answer of either may be out of date.
    for _ in 0..4 {
        let options = UpdateOptions { dry_run };
        match shared.store.update_with(&target.key(), &preconditions, part(target), &options, &mut change) {
            Err(error) if error.code == 404 && target.sub.is_none() && preconditions.uid.is_none() => {}
            other => return finish(call, target, 200, &other?, &warnings),
        }
        let mut object = json!({ "metadata": { "name": name } });
        if let Some(namespace) = &target.namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        ownership::applied(resource, &mut object, &config, &writer, true)?;
        match shared.store.create_with(resource, object, &CreateOptions { dry_run }) {
            Err(error) if error.reason == "AlreadyExists" => {}
            other => return finish(call, target, 201, &other?, &warnings),
        }
    }
    Err(ApiError::modified(target.resource, name))
}

/// PUT of a namespace's `finalize`: the one way to change its `spec.finalizers`.
pub(super) async fn finalize(shared: &Shared, call: &mut Call, target: &Target) -> Result<Reply, ApiError> {
    let dry_run = call.dry_run()?;
    let sent = call.json().await?;
    let preconditions = claimed(&sent);
    let wanted = sent.pointer("/spec/finalizers").cloned().unwrap_or_else(|| json!([]));
    let mut change = |live: &mut Value| {
        live["spec"]["finalizers"] = wanted.clone();
        Ok(())
    };
    let key = Key::cluster(&NAMESPACES, target.name.clone().unwrap_or_default());
    let updated = shared.store.update_with(&key, &preconditions, Part::Whole, &UpdateOptions { dry_run }, &mut change)?;
    one(call, target, 200, &updated)
}

/// POST of a pod's `binding`.
pub(super) async fn bind(shared: &Shared, call: &mut Call, target: &Target) -> Result<Reply, ApiError> {
    let dry_run = call.dry_run()?;
    let sent = call.json().await?;
    let node = text(&sent, "/target/name").to_owned();
    if node.is_empty() {
        return Err(ApiError::bad_request("target.name: Required value"));
    }
    let mut preconditions = claimed(&sent);
    preconditions.resource_version = None;
    bind_pod(&shared.store, &target.key(), &preconditions, &node, dry_run)?;
    Ok(respond::json(201, &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })))
}

fn bind_pod(store: &Store, key: &Key, preconditions: &Preconditions, node: &str, dry_run: bool) -> Result<(), ApiError> {
    let mut change = |pod: &mut Value| {
        let bound = text(pod, "/spec/nodeName");
        if !bound.is_empty() {
            let why = format!("pod {} is already assigned to node {bound:?}", key.name);
            return Err(ApiError::conflict(&PODS, &key.name, &why));
        }
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            return Err(ApiError::conflict(&PODS, &key.name, "pod is being deleted, cannot be assigned to a host"));
        }
        pod["spec"]["nodeName"] = json!(node);
        let condition = json!({ "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now() });
        patch::strategic(&PODS, pod, &json!({ "status": { "conditions": [condition] } }))
    };
    store.update_with(key, preconditions, Part::Whole, &UpdateOptions { dry_run }, &mut change).map(drop)
}
