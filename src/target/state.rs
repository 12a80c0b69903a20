//! What the watches have told so far, and why a wait for something else ended.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use thiserror::Error;

use crate::model::{ContainerState, EndpointSeen, PodSeen};

/// The target as the watches last told it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetState {
    /// Pods by uid, as long as their objects are there.
    pub pods: BTreeMap<String, PodSeen>,
    /// The Service's endpoints.
    pub endpoints: Vec<EndpointSeen>,
    /// The last Kubernetes Event, as `object: reason: message`.
    pub last_event: Option<String>,
    /// Whether the first listing of pods and of endpoints has come in.
    pub pods_listed: bool,
    /// See [`TargetState::pods_listed`].
    pub endpoints_listed: bool,
}

impl TargetState {
    /// The pod that serves: ready, not terminating, and a ready endpoint of the Service.
    pub fn serving(&self) -> Option<&PodSeen> {
        self.pods.values().find(|pod| {
            pod.ready
                && !pod.terminating
                && self.endpoints.iter().any(|endpoint| endpoint.ready && endpoint.pod_uid.as_deref() == Some(&pod.uid))
        })
    }

    /// Whether the pod's object is there.
    pub fn has_pod(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// What is there, in one line.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        if self.pods.is_empty() {
            text.push_str("no pod");
        }
        for (at, pod) in self.pods.values().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            let _ = write!(text, "{separator}pod {} {}", pod.name, pod.phase);
            if pod.terminating {
                text.push_str(" terminating");
            }
            if !pod.ready {
                text.push_str(" not ready");
            }
            if !pod.reason.is_empty() {
                let _ = write!(text, " ({})", pod.reason);
            }
            for container in &pod.containers {
                match &container.state {
                    ContainerState::Waiting { reason, message } if message.is_empty() => {
                        let _ = write!(text, ", container waiting: {reason}");
                    }
                    ContainerState::Waiting { reason, message } => {
                        let _ = write!(text, ", container waiting: {reason}: {message}");
                    }
                    ContainerState::Terminated(end) => {
                        let _ = write!(text, ", container ended: {} (exit code {})", end.reason, end.exit_code);
                    }
                    ContainerState::Running { .. } => {}
                }
                if let Some(last) = &container.last {
                    let _ = write!(text, ", before that: {} (exit code {}), {} restarts", last.reason, last.exit_code, container.restarts);
                }
            }
        }
        let ready = self.endpoints.iter().filter(|endpoint| endpoint.ready).count();
        let _ = write!(text, "; {ready} ready endpoints");
        if let Some(event) = &self.last_event {
            let _ = write!(text, "; last event: {event}");
        }
        text
    }
}

/// Something was awaited and did not come in time.
#[derive(Debug, Clone, Error)]
#[error("{what} was not seen within {} s; last seen: {last}", waited.as_secs_f64())]
pub struct NotSeen {
    /// What was awaited.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// What was there instead.
    pub last: String,
}
