//! Just enough OpenAPI for kubectl: which kinds can be patched, and that the server checks fields itself.
//!
//! There are no schemas. kubectl then leaves validation to the server and uses the merge keys that it was built with;
//! `kubectl explain` has nothing to show.

use serde_json::{Map, Value, json};

use super::request::Call;
use super::respond::{self, Reply};
use crate::store::{RESOURCES, Resource};

/// Answers a path below `/openapi`.
pub(super) fn answer(call: &Call, rest: &[&str]) -> Option<Reply> {
    match rest {
        // An empty protobuf document is a document without definitions.
        ["v2"] if call.accepts("proto-openapi.spec.v2") => {
            Some(respond::whole(200, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", ""))
        }
        ["v2"] => Some(respond::json(200, &json!({ "swagger": "2.0", "info": info(), "paths": paths(|_| true) }))),
        ["v3"] => Some(respond::json(200, &index())),
        ["v3", "api", "v1"] => Some(document("", "v1")),
        ["v3", "apis", group, version] if RESOURCES.iter().any(|row| row.group == *group && row.version == *version) => {
            Some(document(group, version))
        }
        _ => None,
    }
}

fn info() -> Value {
    json!({ "title": "Kubernetes", "version": "v1.34.0+sandbox" })
}

fn index() -> Value {
    let mut paths = Map::new();
    for row in RESOURCES {
        let path = base(row).trim_start_matches('/').to_owned();
        let url = format!("/openapi/v3/{path}?hash=1");
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

fn base(row: &Resource) -> String {
    if row.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}/{}", row.group, row.version) }
}

fn document(group: &str, version: &str) -> Reply {
    let paths = paths(|row| row.group == group && row.version == version);
    respond::json(200, &json!({ "openapi": "3.0.0", "info": info(), "paths": paths }))
}

fn paths(wanted: impl Fn(&Resource) -> bool) -> Map<String, Value> {
    let mut paths = Map::new();
    for row in RESOURCES.iter().filter(|row| wanted(row) && !row.review) {
        let scope = if row.namespaced { "/namespaces/{namespace}" } else { "" };
        let path = format!("{}{scope}/{}/{{name}}", base(row), row.plural);
        let kind = json!({ "group": row.group, "version": row.version, "kind": row.kind });
        let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation"]
            .iter()
            .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string" } }))
            .collect();
        let operation = |action: &str| {
            json!({
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind, "parameters": parameters,
                "responses": { "200": { "description": "OK" } },
            })
        };
        paths.insert(path, json!({ "patch": operation("patch"), "put": operation("put") }));
    }
    paths
}
