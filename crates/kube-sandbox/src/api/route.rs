//! From a path to what answers it.

use std::sync::Arc;

use hyper::Method;
use serde_json::json;

use super::request::Call;
use super::respond::{self, Reply};
use super::server::Shared;
use super::{admin, deleting, discovery, eviction, listing, logs, openapi, scale, streaming, writing};
use crate::sabotage::Sabotage;
use crate::store::{ApiError, EVENTS, EVENTS_V1, Key, Resource};

/// A resource's path, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// As the client sees it.
    pub(super) resource: &'static Resource,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) sub: Option<String>,
}

impl Target {
    /// The resource under which the objects are stored: `events.k8s.io` is another view of core events.
    pub(super) fn stored(&self) -> &'static Resource {
        if self.resource == &EVENTS_V1 { &EVENTS } else { self.resource }
    }

    /// The key of the named object.
    pub(super) fn key(&self) -> Key {
        Key { resource: self.stored(), namespace: self.namespace.clone(), name: self.name.clone().unwrap_or_default() }
    }
}

fn unknown() -> ApiError {
    ApiError::new(404, "NotFound", "the server could not find the requested resource").with_causes(Vec::new())
}

fn wrong_method() -> ApiError {
    ApiError::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource").with_causes(Vec::new())
}

/// Answers a request.
pub(super) async fn dispatch(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, ApiError> {
    let segments = call.segments.clone();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let target = match path.as_slice() {
        ["sandbox", "v1", rest @ ..] => return admin::answer(shared, call, rest).await,
        ["api", "v1", rest @ ..] if !rest.is_empty() => target("", "v1", rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => target(group, version, rest),
        _ if call.method != Method::GET => return Err(wrong_method()),
        ["healthz" | "livez" | "readyz", ..] => {
            return Ok(respond::whole(200, "text/plain; charset=utf-8", "ok"));
        }
        ["version"] => return Ok(respond::json(200, &version(shared.store.sabotage()))),
        ["openapi", rest @ ..] => return openapi::answer(call, rest).ok_or_else(unknown),
        ["api" | "apis", ..] => return discovery::answer(call, &path).ok_or_else(unknown),
        [] => return Ok(respond::json(200, &json!({ "paths": discovery::paths() }))),
        _ => None,
    };
    let target = target.ok_or_else(unknown)?;
    answer(shared, call, &target).await
}

fn target(group: &str, version: &str, rest: &[&str]) -> Option<Target> {
    let (namespace, rest) = match rest {
        ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
        rest => (None, rest),
    };
    let (plural, name, sub) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(*name), None),
        [plural, name, sub] => (plural, Some(*name), Some(*sub)),
        _ => return None,
    };
    let resource = Resource::find(group, version, plural)?;
    // A namespaced object has no path without its namespace, and a cluster's object none with one.
    if (namespace.is_some() && !resource.namespaced) || (name.is_some() && resource.namespaced && namespace.is_none()) {
        return None;
    }
    Some(Target { resource, namespace, name: name.map(str::to_owned), sub: sub.map(str::to_owned) })
}

async fn answer(shared: &Arc<Shared>, call: &mut Call, target: &Target) -> Result<Reply, ApiError> {
    if target.resource.review {
        return if call.method == Method::POST && target.name.is_none() { review(call, target).await } else { Err(wrong_method()) };
    }
    let method = call.method.as_str().to_owned();
    match (method.as_str(), target.name.is_some(), target.sub.as_deref()) {
        ("GET", _, None) if call.query.on("watch") => streaming::watch(shared, call, target),
        ("GET", false, None) => listing::list(shared, call, target),
        ("GET", true, None) => listing::get(shared, call, target),
        ("POST", false, None) => writing::create(shared, call, target).await,
        ("DELETE", false, None) => deleting::delete_collection(shared, call, target).await,
        ("PUT", true, None) => writing::replace(shared, call, target).await,
        ("PATCH", true, None) => writing::patch(shared, call, target).await,
        ("DELETE", true, None) => deleting::delete(shared, call, target).await,
        (_, true, Some(sub)) => subresource(shared, call, target, &method, sub).await,
        _ => Err(wrong_method()),
    }
}

async fn subresource(shared: &Arc<Shared>, call: &mut Call, target: &Target, method: &str, sub: &str) -> Result<Reply, ApiError> {
    match (target.resource.plural, sub) {
        (_, "status") if target.resource.status => match method {
            "GET" => listing::get(shared, call, target),
            "PUT" => writing::replace(shared, call, target).await,
            "PATCH" => writing::patch(shared, call, target).await,
            _ => Err(wrong_method()),
        },
        (_, "scale") if target.resource.scale => scale::answer(shared, call, target).await,
        ("namespaces", "finalize") if method == "PUT" => writing::finalize(shared, call, target).await,
        ("pods", "log") if method == "GET" => logs::answer(shared, call, target),
        ("pods", "eviction") if method == "POST" => eviction::evict(shared, call, target).await,
        ("pods", "binding") if method == "POST" => writing::bind(shared, call, target).await,
        ("pods", "log" | "eviction" | "binding") | ("namespaces", "finalize") => Err(wrong_method()),
        ("pods", "exec" | "attach" | "portforward" | "proxy" | "ephemeralcontainers" | "resize")
        | ("services" | "nodes", "proxy")
        | ("serviceaccounts", "token") => Err(ApiError::not_implemented(format!("the sandbox does not serve {sub}"))),
        _ => Err(unknown()),
    }
}

/// Access reviews: whoever holds the token may do everything.
async fn review(call: &mut Call, target: &Target) -> Result<Reply, ApiError> {
    let mut review = call.json().await?;
    if !review.is_object() {
        return Err(ApiError::bad_request("the body is not an object"));
    }
    review["apiVersion"] = json!(target.resource.api_version());
    review["kind"] = json!(target.resource.kind);
    review["status"] = if target.resource.plural == "selfsubjectaccessreviews" {
        json!({ "allowed": true })
    } else {
        json!({
            "incomplete": false,
            "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
            "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }],
        })
    };
    Ok(respond::json(201, &review))
}

fn version(defect: Option<Sabotage>) -> serde_json::Value {
    let defect = defect.map(|defect| format!(".sabotage-{}", defect.name())).unwrap_or_default();
    json!({
        "major": "1", "minor": "34", "gitVersion": format!("v1.34.0+sandbox{defect}"), "gitCommit": "", "gitTreeState": "clean", "buildDate": "",
        "goVersion": "", "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        "emulationMajor": "1", "emulationMinor": "34", "minCompatibilityMajor": "1", "minCompatibilityMinor": "33",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_resources() {
        let found = |group: &str, path: &str| {
            let rest: Vec<&str> = path.split('/').collect();
            target(group, "v1", &rest).map(|target| (target.resource.plural, target.namespace, target.name, target.sub))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(found("", "pods"), Some(("pods", None, None, None)));
        assert_eq!(found("", "namespaces/a/pods/b/log"), Some(("pods", text("a"), text("b"), text("log"))));
        assert_eq!(found("", "namespaces/a"), Some(("namespaces", None, text("a"), None)));
        assert_eq!(found("", "namespaces/a/status"), Some(("namespaces", None, text("a"), text("status"))));
        assert_eq!(found("apps", "namespaces/a/deployments/d/scale"), Some(("deployments", text("a"), text("d"), text("scale"))));
        for (group, path) in [("", "pods/b"), ("", "namespaces/a/nodes"), ("apps", "pods"), ("", "namespaces/a/pods/b/c/d")] {
            assert_eq!(found(group, path), None, "{group} {path}");
        }
    }
}
