//! What the server serves, for clients that ask: the aggregated form that kubectl prefers, and the older one, document by document.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::request::Call;
use super::respond::{self, Reply};
use crate::store::{RESOURCES, Resource};

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn groups() -> Vec<(&'static str, &'static str)> {
    let mut seen = BTreeSet::new();
    RESOURCES.iter().map(|row| (row.group, row.version)).filter(|pair| !pair.0.is_empty() && seen.insert(*pair)).collect()
}

/// The paths that the root lists.
pub(super) fn paths() -> Vec<String> {
    let mut paths: Vec<String> = ["/api", "/api/v1", "/apis"].map(str::to_owned).to_vec();
    for (group, version) in groups() {
        paths.push(format!("/apis/{group}"));
        paths.push(format!("/apis/{group}/{version}"));
    }
    paths.extend(["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(str::to_owned));
    paths
}

/// Answers a path below `/api` or `/apis`; `None` when there is nothing.
pub(super) fn answer(call: &Call, path: &[&str]) -> Option<Reply> {
    let accept = call.accept().to_owned();
    let aggregated = accept.contains("as=APIGroupDiscoveryList") && accept.contains("v=v2");
    let document = match path {
        ["api"] if aggregated => return Some(aggregate(&[("", "v1")])),
        ["apis"] if aggregated => return Some(aggregate(&groups())),
        ["api"] => {
            json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })
        }
        ["apis"] => {
            let groups: Vec<Value> = groups().iter().map(|(group, version)| group_document(group, version)).collect();
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
        }
        ["api", "v1"] => resource_list("", "v1"),
        ["apis", name] => {
            let groups = groups();
            let (group, version) = groups.iter().find(|(group, _)| group == name)?;
            let mut document = group_document(group, version);
            document["kind"] = json!("APIGroup");
            document["apiVersion"] = json!("v1");
            document
        }
        ["apis", group, version] => {
            groups().iter().find(|pair| **pair == (*group, *version))?;
            resource_list(group, version)
        }
        _ => return None,
    };
    Some(respond::json(200, &document))
}

fn aggregate(groups: &[(&str, &str)]) -> Reply {
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, version)| {
            let resources: Vec<Value> = rows(group, version).map(aggregated_row).collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
            json!({ "metadata": metadata, "versions": [{ "version": version, "freshness": "Current", "resources": resources }] })
        })
        .collect();
    let list = json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items });
    respond::whole(200, AGGREGATED, list.to_string())
}

fn rows<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Resource> + 'a {
    RESOURCES.iter().copied().filter(move |row| row.group == group && row.version == version)
}

fn verbs(row: &Resource) -> &'static [&'static str] {
    if row.review { &["create"] } else { &VERBS }
}

/// The subresources of a resource: name, group, version and kind of what they take, verbs.
fn subresources(row: &Resource) -> Vec<(&'static str, [&'static str; 3], &'static [&'static str])> {
    const CHANGE: &[&str] = &["get", "patch", "update"];
    let mut found: Vec<(&str, [&str; 3], &[&str])> = Vec::new();
    if row.plural == "pods" {
        found.push(("binding", ["", "v1", "Binding"], &["create"]));
        found.push(("eviction", ["policy", "v1", "Eviction"], &["create"]));
        found.push(("log", ["", "v1", "Pod"], &["get"]));
    }
    if row.plural == "namespaces" {
        found.push(("finalize", ["", "v1", "Namespace"], &["update"]));
    }
    if row.scale {
        found.push(("scale", ["autoscaling", "v1", "Scale"], CHANGE));
    }
    if row.status {
        found.push(("status", [row.group, row.version, row.kind], CHANGE));
    }
    found
}

fn aggregated_row(row: &Resource) -> Value {
    let kind = |[group, version, kind]: [&str; 3]| json!({ "group": group, "version": version, "kind": kind });
    let mut out = json!({
        "resource": row.plural,
        "responseKind": kind([row.group, row.version, row.kind]),
        "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": verbs(row),
    });
    if !row.short_names.is_empty() {
        out["shortNames"] = json!(row.short_names);
    }
    if row.in_all {
        out["categories"] = json!(["all"]);
    }
    let subs: Vec<Value> = subresources(row)
        .into_iter()
        .map(|(name, response, verbs)| json!({ "subresource": name, "responseKind": kind(response), "verbs": verbs }))
        .collect();
    if !subs.is_empty() {
        out["subresources"] = json!(subs);
    }
    out
}

fn group_document(group: &str, version: &str) -> Value {
    let version = json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    json!({ "name": group, "versions": [version], "preferredVersion": version })
}

fn resource_list(group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for row in rows(group, version) {
        let mut entry = json!({
            "name": row.plural, "singularName": row.singular, "namespaced": row.namespaced, "kind": row.kind, "verbs": verbs(row),
        });
        if !row.short_names.is_empty() {
            entry["shortNames"] = json!(row.short_names);
        }
        if row.in_all {
            entry["categories"] = json!(["all"]);
        }
        resources.push(entry);
        for (name, [group, version, kind], verbs) in subresources(row) {
            let name = format!("{}/{name}", row.plural);
            let mut entry = json!({ "name": name, "singularName": "", "namespaced": row.namespaced, "kind": kind, "verbs": verbs });
            if group != row.group {
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            resources.push(entry);
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources })
}
