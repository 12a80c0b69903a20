//! Strategic merge patch: merge patch that knows which lists are maps, with kubectl's directives.

use serde_json::{Map, Value, json};

use super::lists::{Shape, shape};
use crate::store::{ApiError, Resource};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Applies the patch to an object of the resource.
pub(in super::super) fn apply(resource: &Resource, target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let patch = patch.as_object().ok_or_else(|| ApiError::bad_request("a strategic merge patch is an object"))?;
    if !target.is_object() {
        *target = json!({});
    }
    let map = target.as_object_mut().expect("made an object just above");
    object(resource, map, patch, &mut Vec::new())
}

fn object<'a>(
    resource: &Resource,
    target: &mut Map<String, Value>,
    patch: &'a Map<String, Value>,
    path: &mut Vec<&'a str>,
) -> Result<(), ApiError> {
    match patch.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace" | "delete") => target.clear(),
        Some(other) => {
            return Err(ApiError::bad_request(format!("unknown patch directive {other:?}")));
        }
    }
    if let Some(kept) = patch.get(RETAIN).and_then(Value::as_array) {
        target.retain(|key, _| kept.iter().any(|kept| kept == key));
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        path.push(key);
        field(resource, target, key, value, path)?;
        path.pop();
    }
    for (key, value) in patch {
        if let (Some(name), Some(unwanted)) = (key.strip_prefix(DELETE_FROM), value.as_array()) {
            if let Some(list) = target.get_mut(name).and_then(Value::as_array_mut) {
                list.retain(|item| !unwanted.contains(item));
            }
        } else if let (Some(name), Some(order)) = (key.strip_prefix(ORDER), value.as_array()) {
            path.push(name);
            if let Some(list) = target.get_mut(name).and_then(Value::as_array_mut) {
                reorder(list, order, shape(resource, path));
            }
            path.pop();
        } else if key.starts_with('$') && key != DIRECTIVE && key != RETAIN {
            return Err(ApiError::bad_request(format!("unknown patch directive {key:?}")));
        }
    }
    Ok(())
}

fn field<'a>(
    resource: &Resource,
    target: &mut Map<String, Value>,
    key: &str,
    value: &'a Value,
    path: &mut Vec<&'a str>,
) -> Result<(), ApiError> {
    match value {
        Value::Null => {
            target.remove(key);
        }
        Value::Object(patch) => {
            let entry = target.entry(key.to_owned()).or_insert_with(|| json!({}));
            if !entry.is_object() {
                *entry = json!({});
            }
            object(resource, entry.as_object_mut().expect("made an object just above"), patch, path)?;
            if patch.get(DIRECTIVE).is_some_and(|directive| directive == "delete") {
                target.remove(key);
            }
        }
        Value::Array(patch) => {
            let list = target.entry(key.to_owned()).or_insert_with(|| json!([]));
            if !list.is_array() {
                *list = json!([]);
            }
            let list = list.as_array_mut().expect("made a list just above");
            match shape(resource, path) {
                Shape::Whole => *list = patch.clone(),
                Shape::Set => {
                    let new: Vec<Value> = patch.iter().filter(|item| !list.contains(item)).cloned().collect();
                    list.extend(new);
                }
                Shape::Map(merge_key, _) => merge_list(resource, list, patch, merge_key, path)?,
            }
        }
        plain => {
            target.insert(key.to_owned(), plain.clone());
        }
    }
    Ok(())
}

fn merge_list<'a>(
    resource: &Resource,
    list: &mut Vec<Value>,
    patch: &'a [Value],
    merge_key: &str,
    path: &mut Vec<&'a str>,
) -> Result<(), ApiError> {
    if patch.iter().any(|item| item.get(DIRECTIVE).is_some_and(|directive| directive == "replace")) {
        list.clear();
    }
    for item in patch {
        let Value::Object(fields) = item else {
            return Err(ApiError::bad_request(format!("items of {} are objects", path.join("."))));
        };
        let directive = fields.get(DIRECTIVE).and_then(Value::as_str);
        let Some(key) = fields.get(merge_key) else {
            if directive == Some("replace") {
                continue;
            }
            return Err(ApiError::bad_request(format!("map: {item} does not contain declared merge key: {merge_key}")));
        };
        if directive == Some("delete") {
            list.retain(|existing| existing.get(merge_key) != Some(key));
            continue;
        }
        if let Some(existing) = list.iter_mut().find(|existing| existing.get(merge_key) == Some(key)).and_then(Value::as_object_mut) {
            object(resource, existing, fields, path)?;
        } else {
            let mut fresh = Map::new();
            object(resource, &mut fresh, fields, path)?;
            list.push(Value::Object(fresh));
        }
    }
    Ok(())
}

/// Puts the named items in the wanted order; items that the patch does not know keep their places.
fn reorder(list: &mut [Value], order: &[Value], shape: Shape) {
    let rank = |item: &Value| match shape {
        Shape::Map(key, _) => order.iter().position(|wanted| wanted.get(key).is_some() && wanted.get(key) == item.get(key)),
        _ => order.iter().position(|wanted| wanted == item),
    };
    let mut ordered: Vec<(usize, Value)> = list.iter().filter_map(|item| Some((rank(item)?, item.clone()))).collect();
    ordered.sort_by_key(|(rank, _)| *rank);
    let mut ordered = ordered.into_iter().map(|(_, item)| item);
    for item in list.iter_mut() {
        if rank(item).is_some()
            && let Some(next) = ordered.next()
        {
            *item = next;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
    use super::*;
    use crate::store::{DEPLOYMENTS, NODES, PODS, SERVICES};

    fn patched(resource: &Resource, mut target: Value, patch: &Value) -> Value {
        apply(resource, &mut target, patch).unwrap();
        target
    }

    #[test]
    fn containers_merge_by_name_and_their_lists_by_their_keys() {
        let target = json!({ "spec": { "template": { "spec": { "containers": [
            { "name": "a", "image": "1", "env": [{ "name": "X", "value": "1" }, { "name": "Y", "value": "2" }], "args": ["p"] },
            { "name": "b", "image": "1" },
        ] } } } });
        let patch = json!({ "spec": { "template": { "spec": {
            "$setElementOrder/containers": [{ "name": "b" }, { "name": "a" }],
            "containers": [
                { "name": "a", "env": [{ "name": "Y", "$patch": "delete" }, { "name": "Z", "value": "3" }], "args": ["q"] },
                { "name": "c", "image": "9" },
            ],
        } } } });
        assert_eq!(
            patched(&DEPLOYMENTS, target, &patch),
            json!({ "spec": { "template": { "spec": { "containers": [
                { "name": "b", "image": "1" },
                { "name": "a", "image": "1", "env": [{ "name": "X", "value": "1" }, { "name": "Z", "value": "3" }], "args": ["q"] },
                { "name": "c", "image": "9" },
            ] } } } })
        );
    }

    #[test]
    fn directives_retain_replace_and_delete() {
        let strategy = json!({ "spec": { "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } } } });
        let patch = json!({ "spec": { "strategy": { "$retainKeys": ["type"], "type": "Recreate" } } });
        assert_eq!(patched(&DEPLOYMENTS, strategy, &patch), json!({ "spec": { "strategy": { "type": "Recreate" } } }));
        let labels = json!({ "metadata": { "labels": { "a": "1" } } });
        let patch = json!({ "metadata": { "labels": { "$patch": "replace", "b": "2" } } });
        assert_eq!(patched(&PODS, labels, &patch), json!({ "metadata": { "labels": { "b": "2" } } }));
        let finalizers = json!({ "metadata": { "finalizers": ["x", "y"] } });
        let patch = json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"] } });
        assert_eq!(patched(&PODS, finalizers, &patch), json!({ "metadata": { "finalizers": ["y", "z"] } }));
    }

    #[test]
    fn taints_are_taken_whole_and_service_ports_by_port() {
        let node = json!({ "spec": { "taints": [{ "key": "a", "effect": "NoSchedule" }] } });
        let patch = json!({ "spec": { "taints": [{ "key": "b", "effect": "NoExecute" }] } });
        assert_eq!(patched(&NODES, node, &patch), patch);
        let service = json!({ "spec": { "ports": [{ "port": 1, "name": "a" }] } });
        let patch = json!({ "spec": { "ports": [{ "port": 1, "name": "b" }, { "port": 2 }] } });
        assert_eq!(patched(&SERVICES, service, &patch), json!({ "spec": { "ports": [{ "port": 1, "name": "b" }, { "port": 2 }] } }));
    }
}
