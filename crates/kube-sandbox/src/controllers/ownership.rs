//! Who owns whom, who selects whom, and what makes a pod count: questions that several controllers ask.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::store::{Key, PODS, Part, Preconditions, Resource, Store, text};

/// The reference of the controller that owns an object.
pub(crate) fn controller_of(object: &Value) -> Option<&Value> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array)?;
    owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
}

/// Whether this very object controls the other one.
pub(crate) fn controls(owner: &Value, object: &Value) -> bool {
    controller_of(object).is_some_and(|reference| reference.get("uid") == owner.pointer("/metadata/uid"))
}

/// The name of the owning controller if it is of this kind.
pub(crate) fn controller_named<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    controller_of(object).filter(|owner| text(owner, "/kind") == kind).map(|owner| text(owner, "/name"))
}

/// A controller reference to an object.
pub(crate) fn reference_to(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": text(owner, "/metadata/name"), "uid": text(owner, "/metadata/uid"),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Whether an object is being deleted.
pub(crate) fn terminating(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// Whether a pod has ended for good.
pub(crate) fn finished(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// A condition of an object by its type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array)?;
    conditions.iter().find(|condition| text(condition, "/type") == kind)
}

/// Whether a pod's `Ready` condition holds.
pub(crate) fn ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|condition| text(condition, "/status") == "True")
}

/// For how long a ready pod must still be ready until it counts as available; zero when it does already, `None` when it is not ready.
pub(crate) fn until_available(pod: &Value, min_ready_seconds: i64) -> Option<Duration> {
    if !ready(pod) {
        return None;
    }
    let since: Timestamp = text(condition(pod, "Ready")?, "/lastTransitionTime").parse().ok()?;
    let passed = Timestamp::now().duration_since(since).as_millis();
    let missing = i128::from(min_ready_seconds) * 1000 - passed;
    Some(Duration::from_millis(u64::try_from(missing).unwrap_or(0)))
}

/// Whether a label selector (`matchLabels` and `matchExpressions`) selects these labels. An empty selector selects everything, none nothing.
pub(crate) fn selects(selector: Option<&Value>, labels: Option<&Value>) -> bool {
    let Some(selector) = selector.filter(|selector| selector.is_object()) else {
        return false;
    };
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let exact = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let mut exact = exact.map(|(key, value)| label(key) == value.as_str());
    let mut expressions =
        selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten().map(|one| requirement(one, &label));
    exact.all(|holds| holds) && expressions.all(|holds| holds)
}

/// One requirement of a label or node selector.
pub(crate) fn requirement<'a>(one: &Value, label: &dyn Fn(&str) -> Option<&'a str>) -> bool {
    let value = label(text(one, "/key"));
    let mut values = one.get("values").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    match text(one, "/operator") {
        "In" => value.is_some_and(|value| values.any(|wanted| wanted == value)),
        "NotIn" => value.is_none_or(|value| !values.any(|refused| refused == value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(number(values.next())).is_some_and(|(have, wanted)| have > wanted),
        "Lt" => number(value).zip(number(values.next())).is_some_and(|(have, wanted)| have < wanted),
        _ => false,
    }
}

/// The pods that an owner controls, oldest first.
pub(crate) fn owned(store: &Store, resource: &'static Resource, owner: &Value) -> Vec<Arc<Value>> {
    let (all, _) = store.list(resource, Some(text(owner, "/metadata/namespace")));
    let mut owned: Vec<_> = all.into_iter().filter(|object| controls(owner, object)).collect();
    owned.sort_by(|one, other| text(one, "/metadata/creationTimestamp").cmp(text(other, "/metadata/creationTimestamp")));
    owned
}

/// Takes in pods that the owner selects and nobody controls, and lets go of those that it no longer selects.
pub(crate) fn adopt_and_release(store: &Store, owner: &Value) {
    let selector = owner.pointer("/spec/selector");
    for pod in store.list(&PODS, Some(text(owner, "/metadata/namespace"))).0 {
        let selected = selects(selector, pod.pointer("/metadata/labels"));
        let adopt = selected && controller_of(&pod).is_none() && !terminating(&pod) && !finished(&pod);
        let release = !selected && controls(owner, &pod);
        if !adopt && !release {
            continue;
        }
        let uid = owner.pointer("/metadata/uid").cloned();
        let mut change = |pod: &mut Value| {
            let mut owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array).cloned().unwrap_or_default();
            if adopt {
                owners.push(reference_to(owner));
            } else {
                owners.retain(|reference| reference.get("uid") != uid.as_ref());
            }
            pod["metadata"]["ownerReferences"] = json!(owners);
            Ok(())
        };
        // A pod that changed hands or went away in the meantime is looked at again when that change arrives.
        let _lost = store.update(&Key::of(&PODS, &pod), &uid_of(&pod), Part::Main, &mut change);
    }
}

/// The precondition that the object is still the one that was looked at.
pub(crate) fn uid_of(object: &Value) -> Preconditions {
    Preconditions { uid: Some(text(object, "/metadata/uid").to_owned()), ..Preconditions::default() }
}

/// Sets the object's status if it differs.
pub(crate) fn set_status(store: &Store, resource: &'static Resource, object: &Value, status: &Value) {
    let mut change = |object: &mut Value| {
        object["status"] = status.clone();
        Ok(())
    };
    // An object that is gone needs no status.
    let _gone = store.update(&Key::of(resource, object), &uid_of(object), Part::Status, &mut change);
}

/// A pod made from a template, owned by its controller.
pub(crate) fn pod_from(template: &Value, owner: &Value) -> Value {
    let meta = |field: &str| template.pointer("/metadata").and_then(|meta| meta.get(field)).cloned();
    let mut metadata = json!({ "namespace": text(owner, "/metadata/namespace"), "ownerReferences": [reference_to(owner)] });
    for field in ["labels", "annotations"] {
        if let Some(value) = meta(field) {
            metadata[field] = value;
        }
    }
    json!({ "metadata": metadata, "spec": template["spec"] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_in_the_api() {
        let labels = json!({ "app": "db", "tier": "1" });
        let selects = |selector: Value| selects(Some(&selector), Some(&labels));
        assert!(selects(json!({ "matchLabels": { "app": "db" } })));
        assert!(!selects(json!({ "matchLabels": { "app": "db", "x": "y" } })));
        assert!(selects(json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": ["a", "db"] }] })));
        assert!(!selects(json!({ "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["db"] }] })));
        assert!(selects(
            json!({ "matchExpressions": [{ "key": "none", "operator": "DoesNotExist" }, { "key": "tier", "operator": "Gt", "values": ["0"] }] })
        ));
        assert!(selects(json!({})));
        assert!(!super::selects(None, Some(&labels)));
    }
}
