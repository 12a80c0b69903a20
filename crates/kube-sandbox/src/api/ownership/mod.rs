//! Who owns which field: `metadata.managedFields`, and server-side apply, which merges by it.
//!
//! Every write through the API that names a manager is recorded; the sandbox's own controllers write without one, so fields that
//! only they set have no owner and no apply conflicts with them.

mod fields;

use serde_json::{Value, json};

use super::patch::{Shape, is_atomic, shape};
use crate::store::{ApiError, Cause, Resource, now, text};
use fields::{Node, changed, of_object};

/// One manager's record.
struct Entry {
    manager: String,
    operation: String,
    subresource: String,
    api_version: String,
    time: Value,
    fields: Node,
}

/// Who writes, and through which subresource.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    pub(super) manager: String,
    /// `status` or empty.
    pub(super) subresource: &'static str,
}

fn read(object: &Value) -> Vec<Entry> {
    let list = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    list.map(|entry| Entry {
        manager: text(entry, "/manager").to_owned(),
        operation: text(entry, "/operation").to_owned(),
        subresource: text(entry, "/subresource").to_owned(),
        api_version: text(entry, "/apiVersion").to_owned(),
        time: entry["time"].clone(),
        fields: Node::read(&entry["fieldsV1"]),
    })
    .collect()
}

fn write(object: &mut Value, entries: &[Entry]) {
    let list: Vec<Value> = entries.iter().filter(|entry| !entry.fields.is_empty()).map(Entry::json).collect();
    if list.is_empty() {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
    } else {
        object["metadata"]["managedFields"] = json!(list);
    }
}

impl Entry {
    fn new(resource: &Resource, writer: &Writer, operation: &str) -> Entry {
        Entry {
            manager: writer.manager.clone(),
            operation: operation.to_owned(),
            subresource: writer.subresource.to_owned(),
            api_version: resource.api_version(),
            time: json!(now()),
            fields: Node::default(),
        }
    }

    fn is(&self, writer: &Writer, operation: &str) -> bool {
        self.manager == writer.manager && self.operation == operation && self.subresource == writer.subresource
    }

    fn json(&self) -> Value {
        let mut out = json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": self.api_version, "time": self.time,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.json(),
        });
        if !self.subresource.is_empty() {
            out["subresource"] = json!(self.subresource);
        }
        out
    }
}

/// Records the creation of an object.
pub(super) fn created(resource: &Resource, object: &mut Value, writer: &Writer) {
    let mut entry = Entry::new(resource, writer, "Update");
    entry.fields = of_object(resource, object);
    if resource.status {
        entry.fields.forget("f:status");
    }
    write(object, &[entry]);
}

/// Records an update: what changed now belongs to the writer alone.
pub(super) fn updated(resource: &Resource, old: &Value, new: &mut Value, writer: &Writer) {
    let mut difference = changed(resource, old, new);
    match writer.subresource {
        "status" => difference.keep_only("f:status"),
        _ if resource.status => difference.forget("f:status"),
        _ => {}
    }
    let mut entries = read(old);
    if !difference.is_empty() {
        let present = of_object(resource, new);
        for entry in &mut entries {
            entry.fields = entry.fields.minus(&difference);
        }
        let gained = difference.intersection(&present);
        if !gained.is_empty() {
            let index = entries.iter().position(|entry| entry.is(writer, "Update")).unwrap_or_else(|| {
                entries.push(Entry::new(resource, writer, "Update"));
                entries.len() - 1
            });
            let entry = &mut entries[index];
            entry.fields = entry.fields.union(&gained);
            entry.time = json!(now());
        }
    }
    write(new, &entries);
}

/// Merges an applied configuration into the live object: sets what it names, removes what this manager had applied before and
/// nobody else owns, and refuses to take fields from others unless forced.
///
/// # Errors
/// 409 with one cause for each field that another manager owns.
pub(super) fn applied(resource: &Resource, live: &mut Value, config: &Value, writer: &Writer, force: bool) -> Result<(), ApiError> {
    let mut wanted = of_object(resource, config);
    match writer.subresource {
        "status" => wanted.keep_only("f:status"),
        _ if resource.status => wanted.forget("f:status"),
        _ => {}
    }
    let old = live.clone();
    let mut entries = read(&old);
    let before = entries.iter().find(|entry| entry.is(writer, "Apply")).map(|entry| entry.fields.clone()).unwrap_or_default();
    merge(resource, live, config, &mut Vec::new());
    let taken = changed(resource, &old, live).intersection(&wanted);
    let mut causes = Vec::new();
    for entry in entries.iter_mut().filter(|entry| !entry.is(writer, "Apply")) {
        let contested = entry.fields.intersection(&taken);
        if contested.is_empty() {
            continue;
        }
        for path in contested.paths() {
            let message = format!("conflict with {:?} using {}", entry.manager, entry.api_version);
            causes.push(Cause { reason: "FieldManagerConflict", message, field: path });
        }
        entry.fields = entry.fields.minus(&contested);
    }
    if !causes.is_empty() && !force {
        return Err(conflict(causes));
    }
    let mut kept = wanted.clone();
    for entry in entries.iter().filter(|entry| !entry.is(writer, "Apply")) {
        kept = kept.union(&entry.fields);
    }
    before.minus(&kept).remove_from(resource, live);
    let unchanged = before == wanted;
    if !unchanged || changed(resource, &old, live) != Node::default() {
        entries.retain(|entry| !entry.is(writer, "Apply"));
        let mut entry = Entry::new(resource, writer, "Apply");
        entry.fields = wanted;
        entries.push(entry);
    }
    write(live, &entries);
    Ok(())
}

fn conflict(causes: Vec<Cause>) -> ApiError {
    let count = causes.len();
    let message = if count == 1 {
        format!("Apply failed with 1 conflict: {}: {}", causes[0].message, causes[0].field)
    } else {
        let listed: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.message, cause.field)).collect();
        format!("Apply failed with {count} conflicts: {}", listed.join("\n"))
    };
    ApiError::new(409, "Conflict", message).with_causes(causes)
}

/// Whether two list items are the same by the list's keys.
fn same_item(keys: &[(&str, &str)], a: &Value, b: &Value) -> bool {
    keys.iter().all(|(key, default)| key_value(a, key, default) == key_value(b, key, default))
}

fn key_value(item: &Value, key: &str, default: &str) -> Value {
    match item.get(key) {
        Some(value) if !value.is_null() => value.clone(),
        _ if default.is_empty() => Value::Null,
        _ => json!(default),
    }
}

fn merge<'a>(resource: &Resource, live: &mut Value, config: &'a Value, path: &mut Vec<&'a str>) {
    match (live, config) {
        (Value::Object(live), Value::Object(config)) if !is_atomic(path) => {
            for (key, value) in config.iter().filter(|(_, value)| !value.is_null()) {
                if path.as_slice() == ["metadata"] && key == "managedFields" {
                    continue;
                }
                path.push(key);
                match live.get_mut(key) {
                    Some(live) => merge(resource, live, value, path),
                    None => {
                        live.insert(key.clone(), value.clone());
                    }
                }
                path.pop();
            }
        }
        (Value::Array(live), Value::Array(config)) => match shape(resource, path) {
            Shape::Map(_, keys) => {
                for item in config {
                    match live.iter_mut().find(|existing| same_item(keys, existing, item)) {
                        Some(existing) => merge(resource, existing, item, path),
                        None => live.push(item.clone()),
                    }
                }
            }
            Shape::Set => {
                for item in config {
                    if !live.contains(item) {
                        live.push(item.clone());
                    }
                }
            }
            Shape::Whole => live.clone_from(config),
        },
        (live, config) => live.clone_from(config),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
    use super::*;
    use crate::store::DEPLOYMENTS;

    fn by(manager: &str) -> Writer {
        Writer { manager: manager.to_owned(), subresource: "" }
    }

    fn start() -> Value {
        json!({ "metadata": { "name": "d" }, "spec": { "replicas": 1, "template": { "spec": { "containers": [{ "name": "a", "image": "1", "env": [{ "name": "X", "value": "1" }] }] } } } })
    }

    #[test]
    fn applying_less_removes_what_was_applied_before() {
        let mut live = json!({ "metadata": { "name": "d" } });
        applied(&DEPLOYMENTS, &mut live, &start(), &by("me"), false).unwrap();
        assert_eq!(live["spec"], start()["spec"]);
        let mut less = start();
        less["spec"].as_object_mut().unwrap().remove("replicas");
        less["spec"]["template"]["spec"]["containers"][0]["env"] = json!([]);
        applied(&DEPLOYMENTS, &mut live, &less, &by("me"), false).unwrap();
        assert_eq!(live["spec"]["replicas"], Value::Null);
        assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["env"], json!([]));
        assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "1");
    }

    #[test]
    fn a_field_of_another_manager_is_a_conflict_until_forced() {
        let mut live = json!({ "metadata": { "name": "d" } });
        applied(&DEPLOYMENTS, &mut live, &start(), &by("first"), false).unwrap();
        let other = json!({ "metadata": { "name": "d" }, "spec": { "replicas": 3 } });
        let error = applied(&DEPLOYMENTS, &mut live.clone(), &other, &by("second"), false).unwrap_err();
        assert_eq!(error.code, 409);
        assert_eq!(error.details.unwrap().causes[0].field, ".spec.replicas");
        applied(&DEPLOYMENTS, &mut live, &other, &by("second"), true).unwrap();
        assert_eq!(live["spec"]["replicas"], 3);
        // The first manager lost the field; not applying it any more removes nothing.
        let mut rest = start();
        rest["spec"].as_object_mut().unwrap().remove("replicas");
        applied(&DEPLOYMENTS, &mut live, &rest, &by("first"), false).unwrap();
        assert_eq!(live["spec"]["replicas"], 3);
        // Applying the same value is shared ownership, not a conflict.
        applied(&DEPLOYMENTS, &mut live, &other, &by("third"), false).unwrap();
    }

    #[test]
    fn applying_the_same_again_changes_nothing() {
        let mut live = json!({ "metadata": { "name": "d" } });
        applied(&DEPLOYMENTS, &mut live, &start(), &by("me"), false).unwrap();
        let once = live.clone();
        applied(&DEPLOYMENTS, &mut live, &start(), &by("me"), false).unwrap();
        assert_eq!(live, once);
    }

    #[test]
    fn an_update_takes_the_fields_that_it_changes() {
        let mut live = json!({ "metadata": { "name": "d" } });
        applied(&DEPLOYMENTS, &mut live, &start(), &by("me"), false).unwrap();
        let old = live.clone();
        live["spec"]["replicas"] = json!(5);
        updated(&DEPLOYMENTS, &old, &mut live, &by("kubectl"));
        let error = applied(&DEPLOYMENTS, &mut live.clone(), &start(), &by("me"), false).unwrap_err();
        assert!(error.message.contains("conflict with \"kubectl\" using apps/v1"), "{}", error.message);
        let mut again = live.clone();
        updated(&DEPLOYMENTS, &live, &mut again, &by("idle"));
        assert_eq!(again, live);
    }
}
