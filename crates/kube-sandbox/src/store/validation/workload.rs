//! Controllers, budgets, nodes, events and leases.

use serde_json::{Value, json};

use super::super::metadata::text;
use super::{Report, metadata, pod};

/// Checks replicas, selector and template, which all controllers share.
fn controller(object: &Value, report: &mut Report) {
    let spec = &object["spec"];
    report.not_negative("spec.replicas", &spec["replicas"]);
    report.not_negative("spec.minReadySeconds", &spec["minReadySeconds"]);
    report.not_negative("spec.revisionHistoryLimit", &spec["revisionHistoryLimit"]);
    selector(&spec["selector"], report);
    let labels = &spec["template"]["metadata"]["labels"];
    metadata::labels("spec.template.metadata.labels", labels, report);
    let equal = spec["selector"]["matchLabels"].as_object().into_iter().flatten();
    if spec["selector"].is_object() && !equal.into_iter().all(|(key, value)| labels.get(key) == Some(value)) {
        report.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`");
    }
    let templates = spec["volumeClaimTemplates"].as_array().into_iter().flatten();
    let claims: Vec<&str> = templates.map(|claim| text(claim, "/metadata/name")).collect();
    pod::check("spec.template.spec", &spec["template"]["spec"], &claims, report);
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if matches!(policy.as_str(), Some("OnFailure" | "Never")) {
        report.one_of("spec.template.spec.restartPolicy", policy, &["Always"]);
    }
}

fn selector(selector: &Value, report: &mut Report) {
    if !selector.is_object() {
        report.required("spec.selector", "");
        return;
    }
    let tests = selector["matchExpressions"].as_array();
    if selector["matchLabels"].as_object().is_none_or(serde_json::Map::is_empty) && tests.is_none_or(Vec::is_empty) {
        report.invalid("spec.selector", selector, "empty selector is invalid for deployment");
    }
    metadata::labels("spec.selector.matchLabels", &selector["matchLabels"], report);
    for (index, test) in tests.into_iter().flatten().enumerate() {
        let path = format!("spec.selector.matchExpressions[{index}]");
        report.one_of(format!("{path}.operator"), &test["operator"], &["DoesNotExist", "Exists", "In", "NotIn"]);
        if matches!(text(test, "/operator"), "In" | "NotIn") && test["values"].as_array().is_none_or(Vec::is_empty) {
            report.required(format!("{path}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
    }
}

pub(super) fn deployment(object: &Value, report: &mut Report) {
    controller(object, report);
    let strategy = &object["spec"]["strategy"];
    report.one_of("spec.strategy.type", &strategy["type"], &["Recreate", "RollingUpdate"]);
    if strategy["type"] == "Recreate" && strategy["rollingUpdate"].is_object() {
        report.forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'");
    }
    let zero = |value: &Value| *value == json!(0) || *value == json!("0%");
    if zero(&strategy["rollingUpdate"]["maxUnavailable"]) && zero(&strategy["rollingUpdate"]["maxSurge"]) {
        report.invalid("spec.strategy.rollingUpdate.maxUnavailable", &json!(0), "may not be 0 when `maxSurge` is 0");
    }
    let (deadline, ready) = (&object["spec"]["progressDeadlineSeconds"], &object["spec"]["minReadySeconds"]);
    if deadline.as_i64().is_some_and(|deadline| deadline <= ready.as_i64().unwrap_or(0)) {
        report.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds");
    }
}

pub(super) fn replica_set(object: &Value, report: &mut Report) {
    controller(object, report);
}

pub(super) fn daemon_set(object: &Value, report: &mut Report) {
    controller(object, report);
    report.one_of("spec.updateStrategy.type", &object["spec"]["updateStrategy"]["type"], &["OnDelete", "RollingUpdate"]);
}

pub(super) fn stateful_set(object: &Value, report: &mut Report) {
    controller(object, report);
    report.one_of("spec.podManagementPolicy", &object["spec"]["podManagementPolicy"], &["OrderedReady", "Parallel"]);
    report.one_of("spec.updateStrategy.type", &object["spec"]["updateStrategy"]["type"], &["OnDelete", "RollingUpdate"]);
}

pub(super) fn check_stateful_set_change(old: &Value, new: &Value, report: &mut Report) {
    const FREE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let fixed = |object: &Value| {
        let mut spec = object["spec"].clone();
        if let Some(map) = spec.as_object_mut() {
            map.retain(|key, _| !FREE.contains(&key.as_str()));
        }
        spec
    };
    if fixed(old) != fixed(new) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        report.forbidden("spec", why);
    }
}

pub(super) fn disruption_budget(object: &Value, report: &mut Report) {
    let spec = &object["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        report.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for field in ["minAvailable", "maxUnavailable"] {
        let value = &spec[field];
        report.not_negative(format!("spec.{field}"), value);
        let percent = |text: &str| text.strip_suffix('%').is_some_and(|digits| digits.parse::<u8>().is_ok_and(|percent| percent <= 100));
        if value.as_str().is_some_and(|text| !percent(text)) {
            let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            report.invalid(format!("spec.{field}"), value, why);
        }
    }
    report.one_of("spec.unhealthyPodEvictionPolicy", &spec["unhealthyPodEvictionPolicy"], &["AlwaysAllow", "IfHealthyBudget"]);
}

pub(super) fn node(object: &Value, report: &mut Report) {
    for (index, taint) in object["spec"]["taints"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.taints[{index}]");
        if !metadata::is_qualified(text(taint, "/key")) {
            report.invalid(format!("{path}.key"), &taint["key"], "must be a qualified name");
        }
        report.one_of(format!("{path}.effect"), &json!(text(taint, "/effect")), &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
    }
}

pub(super) fn event(object: &Value, report: &mut Report) {
    let (about, lives) = (text(object, "/involvedObject/namespace"), text(object, "/metadata/namespace"));
    let cluster_wide = about.is_empty() && matches!(lives, "default" | "kube-system");
    if !cluster_wide && about != lives {
        report.invalid("involvedObject.namespace", &json!(about), "does not match event.namespace");
    }
}

pub(super) fn lease(object: &Value, report: &mut Report) {
    if object["spec"]["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) {
        report.invalid("spec.leaseDurationSeconds", &object["spec"]["leaseDurationSeconds"], "must be greater than 0");
    }
    report.not_negative("spec.leaseTransitions", &object["spec"]["leaseTransitions"]);
}
