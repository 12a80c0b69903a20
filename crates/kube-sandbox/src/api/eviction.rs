//! Eviction: deletion that asks the disruption budgets first.

use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::budgets::{balance, covers, is_healthy};
use super::deleting;
use super::request::Call;
use super::respond::{self, Reply};
use super::route::Target;
use super::server::Shared;
use crate::store::{ApiError, Cause, DISRUPTION_BUDGETS, PODS, text};

/// Two evictions at once could each see the same last allowed disruption.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// POST of a pod's `eviction`.
pub(super) async fn evict(shared: &Shared, call: &mut Call, target: &Target) -> Result<Reply, ApiError> {
    let body = call.json().await?;
    let (kind, version) = (text(&body, "/kind"), text(&body, "/apiVersion"));
    if !matches!(kind, "" | "Eviction") || !matches!(version, "" | "policy/v1" | "policy/v1beta1") {
        return Err(ApiError::bad_request(format!("{version} {kind} cannot be handled as an Eviction of policy/v1")));
    }
    let said = text(&body, "/metadata/name");
    let key = target.key();
    if !said.is_empty() && said != key.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = deleting::options(&body["deleteOptions"], call)?;
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let pod = shared.store.get(&key).ok_or_else(|| ApiError::not_found(&PODS, &key.name))?;
    let terminal = matches!(text(&pod, "/status/phase"), "Succeeded" | "Failed" | "Pending");
    if !terminal && pod.pointer("/metadata/deletionTimestamp").is_none() {
        ask_budgets(shared, target, &pod)?;
    }
    // What was checked is what goes, not a successor of the same name.
    options.preconditions.uid.get_or_insert_with(|| text(&pod, "/metadata/uid").to_owned());
    shared.store.delete(&key, &options)?;
    drop(turn);
    Ok(respond::json(201, &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })))
}

fn ask_budgets(shared: &Shared, target: &Target, pod: &serde_json::Value) -> Result<(), ApiError> {
    let (budgets, _) = shared.store.list(&DISRUPTION_BUDGETS, target.namespace.as_deref());
    let covering: Vec<_> = budgets.into_iter().filter(|budget| covers(budget, pod)).collect();
    let budget = match covering.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            return Err(ApiError::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let balance = balance(&shared.store, budget);
    let always = text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow";
    // A pod that is down already disturbs nobody by going, as long as enough others are up.
    if !is_healthy(pod) && (always || (balance.desired > 0 && balance.healthy >= balance.desired)) {
        return Ok(());
    }
    if balance.allowed > 0 {
        return Ok(());
    }
    let name = text(budget, "/metadata/name");
    let message = format!("The disruption budget {name} needs {} healthy pods and has {} currently", balance.desired, balance.healthy);
    let cause = Cause { reason: "DisruptionBudget", message, field: String::new() };
    Err(ApiError::new(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.").with_causes(vec![cause]))
}
