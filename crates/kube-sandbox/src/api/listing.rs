//! Reading: one object, or a list, whole or page by page.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::request::{Call, Format};
use super::respond::{self, Reply};
use super::route::Target;
use super::selector::Selection;
use super::server::Shared;
use super::{event_view, table};
use crate::store::{ApiError, Resource, Store};

/// Lists that are being read page by page; the oldest gives way, and its reader is told 410.
const SNAPSHOTS_MAX: usize = 64;

/// Lists frozen at their first page, so that all pages show one moment.
#[derive(Default)]
pub(super) struct Snapshots(Mutex<(u64, VecDeque<Snapshot>)>);

struct Snapshot {
    id: u64,
    objects: Arc<Vec<Arc<Value>>>,
    revision: u64,
    path: String,
}

impl Snapshots {
    fn keep(&self, objects: Arc<Vec<Arc<Value>>>, revision: u64, path: String) -> u64 {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 += 1;
        let id = kept.0;
        if kept.1.len() >= SNAPSHOTS_MAX {
            kept.1.pop_front();
        }
        kept.1.push_back(Snapshot { id, objects, revision, path });
        id
    }

    fn find(&self, id: u64, path: &str) -> Option<(Arc<Vec<Arc<Value>>>, u64)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.1.iter().find(|snapshot| snapshot.id == id && snapshot.path == path)?;
        Some((Arc::clone(&found.objects), found.revision))
    }
}

/// Refuses a resourceVersion that has not happened yet.
pub(super) fn check_revision(store: &Store, text: Option<&str>) -> Result<u64, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(0);
    };
    let wanted: u64 =
        text.parse().map_err(|_| ApiError::bad_request(format!("resourceVersion: Invalid value: {text:?}: must be a number")))?;
    let current = store.revision();
    if wanted <= current {
        return Ok(wanted);
    }
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let cause =
        crate::store::Cause { reason: "ResourceVersionTooLarge", message: "Too large resource version".to_owned(), field: String::new() };
    let mut error = ApiError::new(504, "Timeout", message).with_causes(vec![cause]);
    if let Some(details) = &mut error.details {
        details.retry_after_seconds = Some(1);
    }
    Err(error)
}

/// GET of one object.
pub(super) fn get(shared: &Shared, call: &Call, target: &Target) -> Result<Reply, ApiError> {
    let name = target.name.as_deref().unwrap_or_default();
    let object = shared.store.get(&target.key()).ok_or_else(|| ApiError::not_found(target.resource, name))?;
    one(call, target, 200, &object)
}

/// One stored object in the format that the client asked for.
pub(super) fn one(call: &Call, target: &Target, code: u16, object: &Arc<Value>) -> Result<Reply, ApiError> {
    let seen = event_view::outward(target.resource, object);
    Ok(match call.format()? {
        Format::Json => respond::json(code, &*seen),
        Format::Metadata => respond::json(code, &metadata_only(&seen)),
        Format::Table => respond::json(code, &table::of_objects(target.stored(), &[Arc::clone(object)], call, &json!({}), true)),
    })
}

/// An object's metadata alone.
pub(super) fn metadata_only(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

/// A list without copies of its items.
#[derive(Serialize)]
struct List<'a> {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    metadata: Value,
    items: Vec<&'a Value>,
}

/// GET of a collection.
pub(super) fn list(shared: &Shared, call: &Call, target: &Target) -> Result<Reply, ApiError> {
    let format = call.format()?;
    let (objects, metadata) = page(shared, call, target)?;
    if format == Format::Table {
        return Ok(respond::json(200, &table::of_objects(target.stored(), &objects, call, &metadata, true)));
    }
    let seen: Vec<Arc<Value>> = objects
        .iter()
        .map(|object| match format {
            Format::Metadata => Arc::new(metadata_only(object)),
            _ => event_view::outward(target.resource, object),
        })
        .collect();
    let (kind, api_version) = match format {
        Format::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
        _ => (format!("{}List", target.resource.kind), target.resource.api_version()),
    };
    Ok(respond::json(200, &List { kind, api_version, metadata, items: seen.iter().map(Arc::as_ref).collect() }))
}

/// The objects of the wanted page and the list's metadata.
fn page(shared: &Shared, call: &Call, target: &Target) -> Result<(Vec<Arc<Value>>, Value), ApiError> {
    let selection = Selection::of(target.resource, &call.query)?;
    let limit = call.query.number::<usize>("limit")?.filter(|limit| *limit > 0);
    let path = call.segments.join("/");
    let (objects, revision, start, known) = match call.query.get("continue").filter(|token| !token.is_empty()) {
        None => {
            check_revision(&shared.store, call.query.get("resourceVersion"))?;
            let (objects, revision) = selected(&shared.store, target.stored(), target.namespace.as_deref(), &selection);
            (Arc::new(objects), revision, 0, None)
        }
        Some(token) => {
            let (id, start) = parse_token(token).ok_or_else(|| ApiError::bad_request("continue key is not valid"))?;
            let (objects, revision) = shared.snapshots.find(id, &path).ok_or_else(|| {
                let message = "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.";
                ApiError::new(410, "Expired", message)
            })?;
            (objects, revision, start, Some(id))
        }
    };
    let start = start.min(objects.len());
    let end = limit.map_or(objects.len(), |limit| objects.len().min(start.saturating_add(limit)));
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if end < objects.len() {
        let id = known.unwrap_or_else(|| shared.snapshots.keep(Arc::clone(&objects), revision, path));
        metadata["continue"] = json!(URL_SAFE_NO_PAD.encode(format!("{id}:{end}")));
        if selection == Selection::default() {
            metadata["remainingItemCount"] = json!(objects.len() - end);
        }
    }
    Ok((objects[start..end].to_vec(), metadata))
}

fn parse_token(token: &str) -> Option<(u64, usize)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (id, start) = text.split_once(':')?;
    Some((id.parse().ok()?, start.parse().ok()?))
}

/// The stored objects that a selection chooses, and the revision at which they were read.
pub(super) fn selected(store: &Store, stored: &'static Resource, namespace: Option<&str>, selection: &Selection) -> (Vec<Arc<Value>>, u64) {
    let (mut objects, revision) = store.list(stored, namespace);
    if *selection != Selection::default() {
        objects.retain(|object| selection.matches(object));
    }
    (objects, revision)
}
