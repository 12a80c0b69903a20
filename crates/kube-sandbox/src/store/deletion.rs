//! Deleting: at once, in grace, or when the last finalizer goes.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::admission;
use super::error::ApiError;
use super::memory::{DeleteOptions, Deleted, Key, Propagation, State, Store, check_preconditions, has_no_finalizers};
use super::metadata::{metadata, seconds, section, text};
use super::resource::{NAMESPACES, PODS, Resource};

impl Store {
    /// Deletes an object, or marks it as terminating when a grace period or finalizers hold it.
    ///
    /// # Errors
    /// 404, and 409 when a precondition fails.
    pub fn delete(&self, key: &Key, options: &DeleteOptions) -> Result<Deleted, ApiError> {
        let mut state = self.lock();
        let old = state.find(key.resource, key.namespace.as_deref().unwrap_or_default(), &key.name).cloned();
        let old = old.ok_or_else(|| ApiError::not_found(key.resource, &key.name))?;
        check_preconditions(key, &old, &options.preconditions)?;
        refuse_protected(key)?;
        let mut new = (*old).clone();
        let grace = mark(key.resource, &mut new, options);
        let removed = may_go(key.resource, &new);
        if options.dry_run {
            return Ok(Deleted { object: Arc::new(new), removed });
        }
        if removed {
            admission::release(key.resource, &new, self.inner.allocator.as_ref());
            // An object that goes at once was never terminating; its last state says so.
            let last = if grace == 0 && old.pointer("/metadata/deletionTimestamp").is_none() { (*old).clone() } else { new };
            return Ok(Deleted { object: state.remove(key, last), removed });
        }
        let object = if new == *old { old } else { put_marked(&mut state, key, new) };
        Ok(Deleted { object, removed })
    }

    /// The kubelet's last word on a pod whose containers have ended: removes it, if it is still that pod and terminating.
    /// A pod with finalizers stays until the last of them goes. Returns whether the pod is gone.
    pub fn finalize(&self, key: &Key, uid: &str) -> bool {
        let mut state = self.lock();
        let Some(old) = state.find(key.resource, key.namespace.as_deref().unwrap_or_default(), &key.name).cloned() else {
            return true;
        };
        if text(&old, "/metadata/uid") != uid {
            return true;
        }
        if old.pointer("/metadata/deletionTimestamp").is_none() {
            return false;
        }
        let mut new = (*old).clone();
        metadata(&mut new).insert("deletionGracePeriodSeconds".to_owned(), json!(0));
        if may_go(key.resource, &new) {
            state.remove(key, new);
            return true;
        }
        if new != *old {
            state.put(key, new);
        }
        false
    }
}

fn put_marked(state: &mut State, key: &Key, mut new: Value) -> Arc<Value> {
    if key.resource.generation {
        let generation = new.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0) + 1;
        metadata(&mut new).insert("generation".to_owned(), json!(generation));
    }
    state.put(key, new)
}

fn refuse_protected(key: &Key) -> Result<(), ApiError> {
    if key.resource == &NAMESPACES && matches!(key.name.as_str(), "default" | "kube-system" | "kube-public") {
        return Err(ApiError::forbidden(key.resource, &key.name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// Whether nothing holds a terminating object any more.
pub(super) fn may_go(resource: &Resource, object: &Value) -> bool {
    if object.pointer("/metadata/deletionTimestamp").is_none() || !has_no_finalizers(object) {
        return false;
    }
    resource != &PODS || object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) == 0
}

/// Marks the object as terminating and returns its grace period in seconds.
fn mark(resource: &Resource, object: &mut Value, options: &DeleteOptions) -> i64 {
    let wanted = if resource == &PODS { pod_grace_seconds(object, options.grace_period_seconds) } else { 0 };
    let running = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
    let until = object.pointer("/metadata/deletionTimestamp").and_then(Value::as_str).and_then(|time| time.parse::<Timestamp>().ok());
    let grace = match (running, until) {
        // A period that runs already may only be shortened.
        (Some(running), Some(_)) if running <= wanted => running,
        (Some(running), Some(until)) => {
            set_end(object, until + SignedDuration::from_secs(wanted - running), wanted);
            wanted
        }
        _ => {
            set_end(object, Timestamp::now() + SignedDuration::from_secs(wanted), wanted);
            wanted
        }
    };
    let finalizer = match options.propagation {
        Some(Propagation::Foreground) => Some("foregroundDeletion"),
        Some(Propagation::Orphan) => Some("orphan"),
        _ => None,
    };
    if let Some(finalizer) = finalizer {
        let list = metadata(object).entry("finalizers".to_owned()).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut().filter(|list| !list.contains(&json!(finalizer))) {
            list.push(json!(finalizer));
        }
    }
    if resource == &NAMESPACES {
        section(object, "status").insert("phase".to_owned(), json!("Terminating"));
    }
    grace
}

fn set_end(object: &mut Value, end: Timestamp, grace: i64) {
    let meta = metadata(object);
    meta.insert("deletionTimestamp".to_owned(), json!(seconds(end)));
    meta.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
}

fn pod_grace_seconds(pod: &Value, wanted: Option<i64>) -> i64 {
    if text(pod, "/spec/nodeName").is_empty() || matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
        return 0;
    }
    let own = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(30);
    match wanted.unwrap_or(own) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}
