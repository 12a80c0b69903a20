//! Services and endpoint slices.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::metadata::text;
use super::{Report, metadata};

pub(super) fn check(object: &Value, report: &mut Report) {
    let spec = &object["spec"];
    report.one_of("spec.type", &spec["type"], &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    report.one_of("spec.sessionAffinity", &spec["sessionAffinity"], &["ClientIP", "None"]);
    metadata::labels("spec.selector", &spec["selector"], report);
    if spec["type"] == "ExternalName" {
        if text(object, "/spec/externalName").is_empty() {
            report.required("spec.externalName", "");
        }
        return;
    }
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    if ports.is_empty() && spec["clusterIP"] != "None" {
        report.required("spec.ports", "");
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = text(port, "/name");
        if name.is_empty() && ports.len() > 1 {
            report.required(format!("{path}.name"), "");
        } else if !name.is_empty() {
            metadata::label(&format!("{path}.name"), name, report);
            if !names.insert(name) {
                report.duplicate(format!("{path}.name"), &json!(name));
            }
        }
        if !port["port"].as_i64().is_some_and(|port| (1..=65535).contains(&port)) {
            report.invalid(format!("{path}.port"), &port["port"], "must be between 1 and 65535, inclusive");
        }
        if port["targetPort"].as_i64().is_some_and(|port| !(1..=65535).contains(&port)) {
            report.invalid(format!("{path}.targetPort"), &port["targetPort"], "must be between 1 and 65535, inclusive");
        }
        report.one_of(format!("{path}.protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        if !numbers.insert(format!("{} {}", port["port"], port["protocol"])) {
            report.duplicate(path.clone(), &json!({ "port": port["port"], "protocol": port["protocol"] }));
        }
        if port["nodePort"].as_i64().is_some_and(|port| port != 0) && spec["type"] == "ClusterIP" {
            report.forbidden(format!("{path}.nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
}

pub(super) fn check_change(old: &Value, new: &Value, report: &mut Report) {
    let (had, has) = (text(old, "/spec/clusterIP"), text(new, "/spec/clusterIP"));
    // An address that is left out is kept; only another one is refused.
    if !had.is_empty() && !has.is_empty() && had != has {
        report.invalid("spec.clusterIPs[0]", &json!([has]), "may not change once set");
    }
}

pub(super) fn check_slice(object: &Value, report: &mut Report) {
    if text(object, "/addressType").is_empty() {
        report.required("addressType", "");
    } else {
        report.one_of("addressType", &object["addressType"], &["FQDN", "IPv4", "IPv6"]);
    }
    for (index, endpoint) in object["endpoints"].as_array().into_iter().flatten().enumerate() {
        if endpoint["addresses"].as_array().is_none_or(Vec::is_empty) {
            report.required(format!("endpoints[{index}].addresses"), "must contain at least 1 address");
        }
    }
}
