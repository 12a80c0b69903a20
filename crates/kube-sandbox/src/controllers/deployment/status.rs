//! What a deployment says about itself: counts, and the conditions `Available` and `Progressing`.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{View, replicas, rollout, touch};
use crate::controllers::ownership::{condition, set_status};
use crate::store::{DEPLOYMENTS, Key, Part, Store, now, text};

/// Whether the rollout has arrived: all wanted pods are of the present template, available, and nothing else is left.
pub(super) fn complete(view: &View) -> bool {
    let status = counts(view);
    let wanted = view.replicas();
    ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| count(&status, field) == wanted)
}

/// Sets `Progressing` to true with a reason, when a set was created.
pub(super) fn announce(store: &Store, deployment: &Value, reason: &str, message: &str) {
    touch(store, &Key::of(&DEPLOYMENTS, deployment), Part::Status, &mut |deployment| {
        set(deployment, "Progressing", "True", reason, message, true)
    });
}

/// Writes the status; returns when the progress deadline is due, if one runs.
pub(super) fn write(store: &Store, view: &View) -> Option<Duration> {
    let mut deployment = (*view.deployment).clone();
    let before = deployment["status"].clone();
    let mut status = counts(view);
    status["conditions"] = before.get("conditions").cloned().unwrap_or_else(|| json!([]));
    if let Some(collisions) = before.get("collisionCount") {
        status["collisionCount"] = collisions.clone();
    }
    deployment["status"] = status;
    let unavailable = if view.recreates() { 0 } else { rollout::bounds(view).1 };
    if count(&deployment["status"], "availableReplicas") >= view.replicas() - unavailable {
        set(&mut deployment, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", false);
    } else {
        set(&mut deployment, "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", false);
    }
    let due = progress(view, &mut deployment, &before);
    let status = deployment["status"].clone();
    set_status(store, &DEPLOYMENTS, &view.deployment, &status);
    due
}

fn progress(view: &View, deployment: &mut Value, before: &Value) -> Option<Duration> {
    let Some(current) = &view.current else {
        return None;
    };
    let name = text(current, "/metadata/name");
    let status = deployment["status"].clone();
    let settled = condition(deployment, "Progressing").is_some_and(|condition| text(condition, "/reason") == "NewReplicaSetAvailable");
    if settled && count(&status, "replicas") == count(&status, "updatedReplicas") {
        return None;
    }
    if complete(view) {
        set(
            deployment,
            "Progressing",
            "True",
            "NewReplicaSetAvailable",
            &format!("ReplicaSet \"{name}\" has successfully progressed."),
            true,
        );
        return None;
    }
    let old = |status: &Value| count(status, "replicas") - count(status, "updatedReplicas");
    let gained = |field: &str| count(&status, field) > count(before, field);
    if gained("updatedReplicas") || gained("readyReplicas") || gained("availableReplicas") || old(&status) < old(before) {
        set(deployment, "Progressing", "True", "ReplicaSetUpdated", &format!("ReplicaSet \"{name}\" is progressing."), true);
    }
    let limit = view.deployment.pointer("/spec/progressDeadlineSeconds").and_then(Value::as_i64).unwrap_or(600);
    let since = condition(deployment, "Progressing").and_then(|condition| text(condition, "/lastUpdateTime").parse::<Timestamp>().ok())?;
    let passed = Timestamp::now().duration_since(since).as_secs();
    if passed < limit {
        return u64::try_from(limit - passed).ok().map(Duration::from_secs);
    }
    set(
        deployment,
        "Progressing",
        "False",
        "ProgressDeadlineExceeded",
        &format!("ReplicaSet \"{name}\" has timed out progressing."),
        false,
    );
    None
}

fn counts(view: &View) -> Value {
    let sum = |field: &str| view.all().map(|set| count(&set["status"], field)).sum::<i64>();
    let total: i64 = view.all().map(|set| replicas(set)).sum();
    let updated = view.current.as_ref().map_or(0, |set| count(&set["status"], "replicas"));
    let available = sum("availableReplicas");
    let mut status = json!({ "observedGeneration": view.deployment["metadata"]["generation"] });
    let fields = [
        ("replicas", sum("replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", sum("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (total - available).max(0)),
    ];
    for (field, value) in fields {
        if value > 0 {
            status[field] = json!(value);
        }
    }
    status
}

fn count(status: &Value, field: &str) -> i64 {
    status.get(field).and_then(Value::as_i64).unwrap_or(0)
}

/// Sets a condition. One that says the same already stays as it is, unless `renew` asks for a new update time when the message changed.
fn set(deployment: &mut Value, kind: &str, status: &str, reason: &str, message: &str, renew: bool) {
    let before = condition(deployment, kind).cloned();
    let same = |field: &str, value: &str| before.as_ref().is_some_and(|before| text(before, field) == value);
    if same("/status", status) && same("/reason", reason) && (!renew || same("/message", message)) {
        return;
    }
    let time = now();
    let since = if same("/status", status) { before.as_ref().map(|before| before["lastTransitionTime"].clone()) } else { None };
    let condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": time, "lastTransitionTime": since.unwrap_or_else(|| json!(time)),
    });
    if !deployment["status"]["conditions"].is_array() {
        deployment["status"]["conditions"] = json!([]);
    }
    if let Some(list) = deployment["status"]["conditions"].as_array_mut() {
        list.retain(|other| text(other, "/type") != kind);
        list.push(condition);
    }
}
