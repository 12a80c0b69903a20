//! Rows of controllers, Services and what belongs to them.

use serde_json::{Value, json};

use super::show::{age, first_three, items, labels_text, number, or, selector_text};
use crate::store::text;

fn containers(object: &Value) -> (String, String) {
    let list = items(object, "/spec/template/spec/containers");
    let join = |field: &str| list.iter().map(|container| text(container, field)).collect::<Vec<_>>().join(",");
    (join("/name"), join("/image"))
}

fn selector(object: &Value) -> String {
    or(&selector_text(&object["spec"]["selector"]), "<none>").to_owned()
}

pub(super) fn deployment(object: &Value) -> Value {
    let (names, images) = containers(object);
    let ready = format!("{}/{}", number(object, "/status/readyReplicas"), number(object, "/spec/replicas"));
    let (updated, available) = (number(object, "/status/updatedReplicas"), number(object, "/status/availableReplicas"));
    json!([object["metadata"]["name"], ready, updated, available, age(object), names, images, selector(object)])
}

pub(super) fn replica_set(object: &Value) -> Value {
    let (names, images) = containers(object);
    let count = |pointer| number(object, pointer);
    let (desired, current, ready) = (count("/spec/replicas"), count("/status/replicas"), count("/status/readyReplicas"));
    json!([object["metadata"]["name"], desired, current, ready, age(object), names, images, selector(object)])
}

pub(super) fn stateful_set(object: &Value) -> Value {
    let (names, images) = containers(object);
    let ready = format!("{}/{}", number(object, "/status/readyReplicas"), number(object, "/spec/replicas"));
    json!([object["metadata"]["name"], ready, age(object), names, images])
}

pub(super) fn daemon_set(object: &Value) -> Value {
    let (names, images) = containers(object);
    let count = |field: &str| number(object, &format!("/status/{field}"));
    let nodes = labels_text(&object["spec"]["template"]["spec"]["nodeSelector"]);
    json!([
        object["metadata"]["name"],
        count("desiredNumberScheduled"),
        count("currentNumberScheduled"),
        count("numberReady"),
        count("updatedNumberScheduled"),
        count("numberAvailable"),
        nodes,
        age(object),
        names,
        images,
        selector(object),
    ])
}

pub(super) fn service(object: &Value) -> Value {
    let kind = text(object, "/spec/type");
    let mut external: Vec<&str> = items(object, "/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    for ingress in items(object, "/status/loadBalancer/ingress") {
        external.push(or(text(ingress, "/ip"), text(ingress, "/hostname")));
    }
    let external = match (kind, external.as_slice()) {
        ("ExternalName", _) => text(object, "/spec/externalName").to_owned(),
        ("LoadBalancer", []) => "<pending>".to_owned(),
        (_, []) => "<none>".to_owned(),
        (_, list) => list.join(","),
    };
    let port = |port: &Value| {
        let (number_, protocol) = (number(port, "/port"), text(port, "/protocol"));
        match number(port, "/nodePort") {
            0 => format!("{number_}/{protocol}"),
            node => format!("{number_}:{node}/{protocol}"),
        }
    };
    let ports: Vec<String> = items(object, "/spec/ports").iter().map(port).collect();
    let ports = or(&ports.join(","), "<none>").to_owned();
    let address = or(text(object, "/spec/clusterIP"), "<none>");
    json!([object["metadata"]["name"], kind, address, external, ports, age(object), labels_text(&object["spec"]["selector"])])
}

pub(super) fn endpoints(object: &Value) -> Value {
    let mut all = Vec::new();
    for subset in items(object, "/subsets") {
        for address in items(subset, "/addresses") {
            let ports = items(subset, "/ports");
            all.extend(ports.iter().map(|port| format!("{}:{}", text(address, "/ip"), number(port, "/port"))));
        }
    }
    json!([object["metadata"]["name"], first_three(&all, "<none>"), age(object)])
}

pub(super) fn endpoint_slice(object: &Value) -> Value {
    let ports: Vec<String> =
        items(object, "/ports").iter().map(|port| port["port"].as_i64().map_or_else(|| "*".to_owned(), |port| port.to_string())).collect();
    let addresses = items(object, "/endpoints").iter().flat_map(|endpoint| items(endpoint, "/addresses"));
    let addresses: Vec<String> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    json!([
        object["metadata"]["name"],
        object["addressType"],
        first_three(&ports, "<unset>"),
        first_three(&addresses, "<unset>"),
        age(object),
    ])
}

pub(super) fn disruption_budget(object: &Value) -> Value {
    let bound = |field: &str| match &object["spec"][field] {
        Value::Null => "N/A".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let allowed = number(object, "/status/disruptionsAllowed");
    json!([object["metadata"]["name"], bound("minAvailable"), bound("maxUnavailable"), allowed, age(object)])
}
