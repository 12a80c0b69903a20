//! One container of a pod as the kubelet keeps it: what it is, what it was, and how its status reads.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::environment::Paths;
use super::process::Process;

/// The scheme of container ids.
pub(crate) const SCHEME: &str = "sandbox://";

/// A run that is over.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub id: String,
    pub code: i32,
    pub reason: &'static str,
    pub message: Option<String>,
    pub started_at: String,
    pub finished_at: String,
}

/// What a container is at the moment.
#[derive(Debug)]
pub(crate) enum State {
    /// Not running, with the reason that is shown, and when another attempt is due.
    Waiting {
        reason: &'static str,
        message: Option<String>,
        retry: Option<Instant>,
    },
    Running(Run),
    /// Over. `restart` says when the next run is due; for good when absent.
    Ended {
        run: Ended,
        restart: Option<Instant>,
    },
}

/// A run in progress.
#[derive(Debug)]
pub(crate) struct Run {
    pub process: Arc<Process>,
    pub started_at: String,
    pub since: Instant,
    /// The probes of this run; they end with it.
    pub probes: JoinSet<()>,
    pub env: Vec<(String, String)>,
    pub paths: Paths,
    /// When the whole group is killed, once the container was asked to stop.
    pub kill_at: Option<Instant>,
    /// Whether it was asked to stop, so that nobody asks twice.
    pub stopping: bool,
}

/// A container and its history.
#[derive(Debug)]
pub(crate) struct Slot {
    pub spec: Container,
    /// The number of the present or last run, which is the restart count.
    pub runs: u32,
    pub ever_ran: bool,
    pub restarts: Backoff,
    pub pulls: Backoff,
    pub state: State,
    pub last: Option<Ended>,
    pub id: Option<String>,
    pub image_id: String,
    pub started: bool,
    pub ready: bool,
}

impl Slot {
    pub(crate) fn new(spec: Container, waiting: &'static str) -> Self {
        let state = State::Waiting { reason: waiting, message: None, retry: None };
        Self {
            spec,
            runs: 0,
            ever_ran: false,
            restarts: Backoff::default(),
            pulls: Backoff::default(),
            state,
            last: None,
            id: None,
            image_id: String::new(),
            started: false,
            ready: false,
        }
    }

    pub(crate) fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Running(run) => Some(run),
            _ => None,
        }
    }

    pub(crate) fn run_mut(&mut self) -> Option<&mut Run> {
        match &mut self.state {
            State::Running(run) => Some(run),
            _ => None,
        }
    }

    /// The end that stands, when the container is over for good.
    pub(crate) fn over(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended { run, restart: None } => Some(run),
            _ => None,
        }
    }

    /// Whether it waits for a secret or a config map that its environment is made from.
    pub(crate) fn misconfigured(&self) -> bool {
        matches!(self.state, State::Waiting { reason: "CreateContainerConfigError", .. })
    }

    /// When this container needs attention without any event: a restart, a retry or the end of its grace period.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { retry, .. } => *retry,
            State::Running(run) => run.kill_at,
            State::Ended { restart, .. } => *restart,
        }
    }

    /// The entry of `containerStatuses`.
    pub(crate) fn status(&self) -> Value {
        let state = match &self.state {
            State::Waiting { reason, message, .. } => {
                let mut waiting = json!({ "reason": reason });
                if let Some(message) = message {
                    waiting["message"] = json!(message);
                }
                json!({ "waiting": waiting })
            }
            State::Running(run) => json!({ "running": { "startedAt": run.started_at } }),
            State::Ended { run, .. } => terminated(run),
        };
        let mut status = json!({
            "name": self.spec.name, "image": self.spec.image, "imageID": self.image_id, "ready": self.ready, "started": self.started,
            "restartCount": self.runs, "state": state, "lastState": self.last.as_ref().map_or_else(|| json!({}), terminated),
        });
        if let Some(id) = &self.id {
            status["containerID"] = json!(format!("{SCHEME}{id}"));
            status["resources"] = json!(self.spec.resources);
        }
        let mounts: Vec<Value> =
            self.spec.volume_mounts.iter().flatten().map(|mount| json!({ "name": mount.name, "mountPath": mount.mount_path })).collect();
        if !mounts.is_empty() {
            status["volumeMounts"] = json!(mounts);
        }
        status
    }
}

fn terminated(run: &Ended) -> Value {
    let mut terminated = json!({
        "exitCode": run.code, "reason": run.reason, "startedAt": run.started_at, "finishedAt": run.finished_at,
        "containerID": format!("{SCHEME}{}", run.id),
    });
    if let Some(message) = &run.message {
        terminated["message"] = json!(message);
    }
    json!({ "terminated": terminated })
}
