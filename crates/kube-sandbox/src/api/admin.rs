//! What the sandbox offers beside Kubernetes' API: signals to containers, delivered from their node, the power of nodes, and cuts between
//! Services and pods.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use super::request::Call;
use super::respond::{self, Reply};
use super::server::Shared;
use crate::store::{ApiError, text};

/// Answers a path below `/sandbox/v1`.
pub(super) async fn answer(shared: &Shared, call: &mut Call, rest: &[&str]) -> Result<Reply, ApiError> {
    if !matches!(rest, ["nodes", _, "power" | "cut"] | ["nodes", _, "containers", _, "signal"]) {
        return Err(ApiError::new(404, "NotFound", "the server could not find the requested resource"));
    }
    if call.method != hyper::Method::POST {
        return Err(ApiError::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"));
    }
    let body = call.json().await?;
    match rest {
        ["nodes", node, "power"] => shared.hooks.node_control.power(node, text(&body, "/state"))?,
        ["nodes", node, "cut"] => cut(shared, node, &body)?,
        ["nodes", node, "containers", container, "signal"] => signal(shared, node, container, &body)?,
        _ => {}
    }
    Ok(respond::json(200, &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" })))
}

/// With an address the cut is made, without one it is taken back.
fn cut(shared: &Shared, node: &str, body: &Value) -> Result<(), ApiError> {
    let mark = text(body, "/mark");
    if mark.is_empty() {
        return Err(ApiError::bad_request("a cut needs a mark, so that it can be taken back"));
    }
    let pod = match text(body, "/address") {
        "" => None,
        address => {
            let port = body.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
            let pod = address.parse::<IpAddr>().ok().zip(port).map(SocketAddr::from);
            Some(pod.ok_or_else(|| ApiError::bad_request(format!("{address:?} and port are not where a pod listens")))?)
        }
    };
    shared.hooks.node_control.cut(node, mark, pod)
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
    let reason = match text(body, "/reason") {
        "" => None,
        "OOMKilled" => Some("OOMKilled"),
        other => {
            return Err(ApiError::bad_request(format!("reason {other:?} is not OOMKilled")));
        }
    };
    shared.hooks.node_control.signal(node, container, signal, scope, reason)
}
