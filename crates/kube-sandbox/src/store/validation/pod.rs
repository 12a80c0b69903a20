//! Pods and pod templates.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::metadata::text;
use super::storage::quantity;
use super::{Report, metadata};

/// Checks a pod's spec at a path. `claims` are volumes that come from elsewhere: a StatefulSet's claim templates.
pub(super) fn check(path: &str, spec: &Value, claims: &[&str], report: &mut Report) {
    let mut volumes = volumes(path, spec, report);
    volumes.extend(claims.iter().map(|claim| (*claim).to_owned()));
    let mut names = BTreeSet::new();
    for list in ["initContainers", "containers"] {
        for (index, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            self::container(&format!("{path}.{list}[{index}]"), container, &volumes, &mut names, report);
        }
    }
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        report.required(format!("{path}.containers"), "");
    }
    report.one_of(format!("{path}.restartPolicy"), &spec["restartPolicy"], &["Always", "OnFailure", "Never"]);
    report.one_of(format!("{path}.dnsPolicy"), &spec["dnsPolicy"], &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    report.not_negative(format!("{path}.terminationGracePeriodSeconds"), &spec["terminationGracePeriodSeconds"]);
    if spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds < 1) {
        report.invalid(
            format!("{path}.activeDeadlineSeconds"),
            &spec["activeDeadlineSeconds"],
            "must be between 1 and 2147483647, inclusive",
        );
    }
    metadata::labels(&format!("{path}.nodeSelector"), &spec["nodeSelector"], report);
    for (index, toleration) in spec["tolerations"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.tolerations[{index}]");
        report.one_of(format!("{path}.operator"), &present(&toleration["operator"]), &["Equal", "Exists"]);
        report.one_of(format!("{path}.effect"), &present(&toleration["effect"]), &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
    }
}

/// An empty text counts as absent where the API says so.
fn present(value: &Value) -> Value {
    if *value == json!("") { Value::Null } else { value.clone() }
}

fn volumes(path: &str, spec: &Value, report: &mut Report) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (index, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.volumes[{index}]");
        let name = text(volume, "/name");
        if name.is_empty() {
            report.required(format!("{path}.name"), "");
        } else {
            metadata::label(&format!("{path}.name"), name, report);
        }
        if !names.insert(name.to_owned()) {
            report.duplicate(format!("{path}.name"), &json!(name));
        }
        let sources = volume.as_object().map_or(0, |volume| volume.keys().filter(|key| *key != "name").count());
        if sources > 1 {
            report.forbidden(path.clone(), "may not specify more than 1 volume type");
        }
        for (source, field) in
            [("persistentVolumeClaim", "claimName"), ("hostPath", "path"), ("secret", "secretName"), ("configMap", "name")]
        {
            if volume[source].is_object() && text(volume, &format!("/{source}/{field}")).is_empty() {
                report.required(format!("{path}.{source}.{field}"), "");
            }
        }
    }
    names
}

fn container(path: &str, container: &Value, volumes: &BTreeSet<String>, names: &mut BTreeSet<String>, report: &mut Report) {
    let name = text(container, "/name");
    if name.is_empty() {
        report.required(format!("{path}.name"), "");
    } else {
        metadata::label(&format!("{path}.name"), name, report);
        if !names.insert(name.to_owned()) {
            report.duplicate(format!("{path}.name"), &json!(name));
        }
    }
    let image = text(container, "/image");
    if image.is_empty() {
        report.required(format!("{path}.image"), "");
    } else if image.trim() != image {
        report.invalid(format!("{path}.image"), &container["image"], "must not have leading or trailing whitespace");
    }
    report.one_of(format!("{path}.imagePullPolicy"), &container["imagePullPolicy"], &["Always", "IfNotPresent", "Never"]);
    ports(path, container, report);
    for (index, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
        if text(variable, "/name").is_empty() {
            report.required(format!("{path}.env[{index}].name"), "");
        }
        if variable["valueFrom"].is_object() && !text(variable, "/value").is_empty() {
            report.invalid(format!("{path}.env[{index}].valueFrom"), &json!(""), "may not be specified when `value` is not empty");
        }
    }
    mounts(path, container, volumes, report);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[name].is_object() {
            probe(&format!("{path}.{name}"), &container[name], name, report);
        }
    }
    for part in ["limits", "requests"] {
        for (name, value) in container["resources"][part].as_object().into_iter().flatten() {
            quantity(&format!("{path}.resources.{part}.{name}"), value, report);
        }
    }
}

fn ports(path: &str, container: &Value, report: &mut Report) {
    for (index, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.ports[{index}]");
        match port["containerPort"].as_i64() {
            None | Some(0) => report.required(format!("{path}.containerPort"), ""),
            Some(1..=65535) => {}
            Some(_) => report.invalid(format!("{path}.containerPort"), &port["containerPort"], "must be between 1 and 65535, inclusive"),
        }
        report.one_of(format!("{path}.protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
    }
}

fn mounts(path: &str, container: &Value, volumes: &BTreeSet<String>, report: &mut Report) {
    let mut paths = BTreeSet::new();
    for (index, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        let name = text(mount, "/name");
        if name.is_empty() {
            report.required(format!("{path}.name"), "");
        } else if !volumes.contains(name) {
            report.missing(format!("{path}.name"), &json!(name));
        }
        let at = text(mount, "/mountPath");
        if at.is_empty() {
            report.required(format!("{path}.mountPath"), "");
        } else if !paths.insert(at) {
            report.invalid(format!("{path}.mountPath"), &json!(at), "must be unique");
        }
        if text(mount, "/subPath").split('/').any(|part| part == "..") {
            report.invalid(format!("{path}.subPath"), &mount["subPath"], "must not contain '..'");
        }
    }
}

fn probe(path: &str, probe: &Value, name: &str, report: &mut Report) {
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"].iter().filter(|handler| probe[**handler].is_object()).count();
    if handlers == 0 {
        report.required(path, "must specify a handler type");
    } else if handlers > 1 {
        report.forbidden(path, "may not specify more than 1 handler type");
    }
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        report.not_negative(format!("{path}.{field}"), &probe[field]);
    }
    if name != "readinessProbe" && probe["successThreshold"].as_i64().is_some_and(|times| times != 1) {
        report.invalid(format!("{path}.successThreshold"), &probe["successThreshold"], "must be 1");
    }
}

const CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Of a pod's spec only little may change.
pub(super) fn check_change(old: &Value, new: &Value, report: &mut Report) {
    let had = old["spec"]["tolerations"].as_array();
    let has = new["spec"]["tolerations"].as_array();
    let kept = had.is_none_or(|had| had.iter().all(|toleration| has.is_some_and(|has| has.contains(toleration))));
    if !kept || neutral(&old["spec"]) != neutral(&new["spec"]) {
        report.forbidden("spec", CHANGEABLE);
    }
}

/// The spec without what may change.
fn neutral(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(map) = spec.as_object_mut() {
        map.remove("activeDeadlineSeconds");
        map.remove("tolerations");
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                container.remove("image");
            }
        }
    }
    spec
}
