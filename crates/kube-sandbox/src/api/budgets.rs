//! Disruption budgets: how many pods may be evicted now. Kept in their status as pods come and go.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::selector::matches_object_selector;
use crate::store::{ApiError, DEPLOYMENTS, DISRUPTION_BUDGETS, Key, PODS, Part, Preconditions, REPLICA_SETS, STATEFUL_SETS, Store, text};

/// What a budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) expected: i64,
    pub(super) healthy: i64,
    pub(super) desired: i64,
    pub(super) allowed: i64,
}

/// Keeps the status of all budgets up to date until the server ends.
pub(super) async fn keep(store: Store, ending: CancellationToken) {
    let work = async {
        // A watch ends when it fell behind; then everything is read anew.
        while follow(&store).await.is_err() {}
    };
    tokio::select! {
        () = ending.cancelled() => {}
        () = work => {}
    }
}

async fn follow(store: &Store) -> Result<(), ApiError> {
    let revision = store.revision();
    let mut pods = store.watch(&PODS, None, revision)?;
    let mut budgets = store.watch(&DISRUPTION_BUDGETS, None, revision)?;
    loop {
        refresh(store);
        tokio::select! {
            event = pods.next() => drop(event?),
            event = budgets.next() => drop(event?),
        }
        while pods.try_next()?.is_some() {}
        while budgets.try_next()?.is_some() {}
    }
}

fn refresh(store: &Store) {
    for budget in store.list(&DISRUPTION_BUDGETS, None).0 {
        let balance = balance(store, &budget);
        let mut change = |live: &mut Value| {
            let generation = live["metadata"]["generation"].clone();
            let status = json!({
                "observedGeneration": generation, "expectedPods": balance.expected, "currentHealthy": balance.healthy,
                "desiredHealthy": balance.desired, "disruptionsAllowed": balance.allowed,
            });
            super::patch::merge(live, &json!({ "status": status }));
            Ok(())
        };
        // A budget that was deleted meanwhile needs no status.
        let _ = store.update(&Key::of(&DISRUPTION_BUDGETS, &budget), &Preconditions::default(), Part::Status, &mut change);
    }
}

/// Whether the budget covers the pod.
pub(super) fn covers(budget: &Value, pod: &Value) -> bool {
    budget.pointer("/spec/selector").is_some_and(|selector| matches_object_selector(selector, pod))
}

/// Whether the pod is ready and stays.
pub(super) fn is_healthy(pod: &Value) -> bool {
    let mut conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    pod.pointer("/metadata/deletionTimestamp").is_none()
        && conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// What a budget allows, from the pods as they are.
pub(super) fn balance(store: &Store, budget: &Value) -> Balance {
    let namespace = text(budget, "/metadata/namespace");
    let pods: Vec<Arc<Value>> = store.list(&PODS, Some(namespace)).0.into_iter().filter(|pod| covers(budget, pod)).collect();
    let healthy = count(pods.iter().filter(|pod| is_healthy(pod)).count());
    let (expected, desired) = match (budget.pointer("/spec/minAvailable"), budget.pointer("/spec/maxUnavailable")) {
        (Some(Value::Number(least)), _) => (count(pods.len()), least.as_i64().unwrap_or(0)),
        (Some(least), _) => {
            let expected = expected_scale(store, namespace, &pods);
            (expected, share(least, expected))
        }
        (None, Some(most)) => {
            let expected = expected_scale(store, namespace, &pods);
            (expected, (expected - share(most, expected)).max(0))
        }
        (None, None) => (count(pods.len()), 0),
    };
    let allowed = if expected == 0 { 0 } else { (healthy - desired).max(0) };
    Balance { expected, healthy, desired, allowed }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// A number, or a percentage of the whole, rounded up.
fn share(value: &Value, whole: i64) -> i64 {
    match value {
        Value::Number(number) => number.as_i64().unwrap_or(0),
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            (percent * whole + 99).div_euclid(100)
        }
        _ => 0,
    }
}

/// How many pods the pods' controllers want in all.
fn expected_scale(store: &Store, namespace: &str, pods: &[Arc<Value>]) -> i64 {
    let mut seen = BTreeSet::new();
    let mut expected = 0;
    for pod in pods {
        let Some(owner) = controller(pod).filter(|owner| seen.insert(text(owner, "/uid").to_owned())) else {
            expected += i64::from(controller(pod).is_none());
            continue;
        };
        let resource = match text(owner, "/kind") {
            "ReplicaSet" => &REPLICA_SETS,
            "StatefulSet" => &STATEFUL_SETS,
            _ => continue,
        };
        let Some(owner) = store.get(&Key::namespaced(resource, namespace, text(owner, "/name"))) else {
            continue;
        };
        let above = controller(&owner).filter(|above| text(above, "/kind") == "Deployment").map(|above| text(above, "/name").to_owned());
        match above {
            Some(name) if !seen.insert(format!("deployment {name}")) => {}
            Some(name) => {
                let deployment = store.get(&Key::namespaced(&DEPLOYMENTS, namespace, name));
                expected += deployment.and_then(|deployment| deployment["spec"]["replicas"].as_i64()).unwrap_or(0);
            }
            None => expected += owner["spec"]["replicas"].as_i64().unwrap_or(0),
        }
    }
    expected
}

fn controller(object: &Value) -> Option<&Value> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array)?;
    owners.iter().find(|owner| owner["controller"] == true)
}
