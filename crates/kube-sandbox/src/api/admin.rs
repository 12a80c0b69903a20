//! What the sandbox offers beside Kubernetes' API: signals to containers, delivered from their node, and the power of nodes.

use serde_json::{Value, json};

use super::request::Call;
use super::respond::{self, Reply};
use super::server::Shared;
use crate::store::{ApiError, text};

/// Answers a path below `/sandbox/v1`.
pub(super) async fn answer(shared: &Shared, call: &mut Call, rest: &[&str]) -> Result<Reply, ApiError> {
    if !matches!(rest, ["nodes", _, "power"] | ["nodes", _, "containers", _, "signal"]) {
        return Err(ApiError::new(404, "NotFound", "the server could not find the requested resource"));
    }
    if call.method != hyper::Method::POST {
        return Err(ApiError::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"));
    }
    let body = call.json().await?;
    match rest {
        ["nodes", node, "power"] => shared.hooks.node_control.power(node, text(&body, "/state"))?,
        ["nodes", node, "containers", container, "signal"] => signal(shared, node, container, &body)?,
        _ => {}
    }
    Ok(respond::json(200, &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" })))
}

fn signal(shared: &Shared, node: &str, container: &str, body: &Value) -> Result<(), ApiError> {
    let signal = text(body, "/signal");
    if !matches!(signal, "SIGKILL" | "SIGSTOP" | "SIGCONT" | "SIGTERM") {
        return Err(ApiError::bad_request(format!("signal {signal:?} is not one of SIGKILL, SIGSTOP, SIGCONT, SIGTERM")));
    }
    let scope = match text(body, "/scope") {
        "" | "main" => "main",
        "group" => "group",
        other => {
            return Err(ApiError::bad_request(format!("scope {other:?} is not one of main, group")));
        }
    };
    shared.hooks.node_control.signal(node, container, signal, scope)
}
