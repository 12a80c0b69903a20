//! The embedded sandbox: a small Kubernetes of this machine's own processes, for machines with neither Docker nor a cluster.
//!
//! It is a process of its own that the harness starts from its own binary. A run's sandbox ends when its standard input closes, so that even a harness killed
//! with SIGKILL leaves none behind. `chaos cluster up` leaves one standing, found again by the state it keeps under the user's state folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::context::node_entrances;
use super::node_action::{bare_id, unsupported};
use super::{Capability, ClusterError, ClusterProvider, Entrance, ImageNeed, NodeAction};
use crate::experiment::{Named, SandboxSabotage};
use crate::model::Provider;
use crate::target::stand_in;

const START_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What the sandbox says once it takes requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ready {
    kubeconfig: PathBuf,
    server: String,
}

/// A sandbox of this run's own, or a standing one.
#[derive(Debug)]
pub struct SandboxProvider {
    standing: Option<Standing>,
    /// Of a sandbox of the run's own: its planted defect.
    sabotage: Option<SandboxSabotage>,
    own: Mutex<Option<Own>>,
}

/// A sandbox process that ends with its standard input.
#[derive(Debug)]
struct Own {
    child: Child,
    /// Removed when dropped, after the process has ended.
    _folder: tempfile::TempDir,
}

impl SandboxProvider {
    /// A sandbox of the caller's own, which can be told to have a defect, or the standing one of that name. Nothing is started yet.
    pub fn new(standing: Option<String>, sabotage: Option<SandboxSabotage>) -> Self {
        SandboxProvider { standing: standing.map(Standing::named), sabotage, own: Mutex::new(None) }
    }

    async fn start_own(&self) -> Result<Ready, ClusterError> {
        let folder = tempfile::Builder::new().prefix("chaos-sandbox-").tempdir().map_err(not_started)?;
        let mut command = serve_command(folder.path(), true)?;
        if let Some(defect) = self.sabotage {
            command.args(["--sabotage", defect.id()]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file(folder.path())?)
            .kill_on_drop(true)
            .spawn()
            .map_err(not_started)?;
        let ready = ready_line(&mut child, folder.path()).await?;
        *self.own.lock().expect("no holder of this lock panics") = Some(Own { child, _folder: folder });
        Ok(ready)
    }
}

fn not_started(error: std::io::Error) -> ClusterError {
    ClusterError::Sandbox { seen: error.to_string() }
}

/// The sandbox' own log, which is what it said last when it does not start.
fn log_file(folder: &Path) -> Result<std::fs::File, ClusterError> {
    std::fs::File::create(folder.join("sandbox.log")).map_err(not_started)
}

/// The command that serves a sandbox from this very binary. The harness' own interrupt must not reach it, so it has a process group of its own.
fn serve_command(folder: &Path, lifeline: bool) -> Result<Command, ClusterError> {
    let program = std::env::current_exe().map_err(not_started)?;
    let mut command = Command::new(&program);
    command.args(["sandbox", "serve", "--dir"]).arg(folder).arg("--image").arg(stand_in::sandbox_image());
    if lifeline {
        command.arg("--lifeline");
    }
    command.process_group(0);
    Ok(command)
}

/// Waits for the one line that says where the API server is.
async fn ready_line(child: &mut Child, folder: &Path) -> Result<Ready, ClusterError> {
    let stdout = child.stdout.take().expect("stdout was asked for when the child was spawned");
    let mut line = String::new();
    let read = tokio::time::timeout(START_WITHIN, BufReader::new(stdout).read_line(&mut line)).await;
    if let Ok(Ok(1..)) = read
        && let Ok(ready) = serde_json::from_str(&line)
    {
        return Ok(ready);
    }
    // Whatever the reason, the caller gets an error, so the process must not stay.
    let _ = child.start_kill();
    let log = std::fs::read_to_string(folder.join("sandbox.log")).unwrap_or_default();
    let last: Vec<&str> = log.lines().rev().take(5).collect();
    let seen = match read {
        Err(_) => format!("no answer within {} s; {}", START_WITHIN.as_secs(), last.join(" | ")),
        Ok(_) => last.join(" | "),
    };
    Err(ClusterError::Sandbox { seen })
}

async fn config_of(kubeconfig: &Path) -> Result<kube::Config, ClusterError> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(|error| ClusterError::Kubeconfig(Box::new(error)))?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| ClusterError::Kubeconfig(Box::new(error)))
}

impl ClusterProvider for SandboxProvider {
    fn provider(&self) -> Provider {
        Provider::Sandbox
    }

    fn name(&self) -> &str {
        self.standing.as_ref().map_or("", |standing| &standing.name)
    }

    fn connect(&self) -> BoxFuture<'_, Result<kube::Config, ClusterError>> {
        Box::pin(async {
            match &self.standing {
                Some(standing) => match standing.state() {
                    StandingState::Running { kubeconfig, .. } => config_of(&kubeconfig).await,
                    StandingState::Gone => Err(ClusterError::Missing {
                        what: format!("no sandbox `{}` is standing", standing.name),
                        hint: format!("chaos cluster up sandbox:{}", standing.name),
                    }),
                },
                None => config_of(&self.start_own().await?.kubeconfig).await,
            }
        })
    }

    fn entrances<'a>(&'a self, client: &'a kube::Client, _used: &'a [u16]) -> BoxFuture<'a, Result<Vec<Entrance>, ClusterError>> {
        Box::pin(node_entrances(client))
    }

    fn runs_images(&self) -> bool {
        false
    }

    /// The sandbox knows the stand-in engine by itself.
    fn ensure_image<'a>(&'a self, _image: &'a ImageNeed) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(async { Ok(()) })
    }

    /// Volumes of the sandbox are folders of this machine without a size of their own, so none can be filled.
    fn capabilities(&self) -> &'static [Capability] {
        &[
            Capability::SignalContainer,
            Capability::ExhaustMemory,
            Capability::FreezeNode,
            Capability::PowerNode,
            Capability::StopKubelet,
            Capability::CutService,
        ]
    }

    fn act<'a>(&'a self, client: &'a kube::Client, node: &'a str, action: &'a NodeAction) -> BoxFuture<'a, Result<String, ClusterError>> {
        Box::pin(act(client, node, action))
    }

    fn disconnect(&self) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async {
            let own = self.own.lock().expect("no holder of this lock panics").take();
            if let Some(mut own) = own {
                drop(own.child.stdin.take());
                if tokio::time::timeout(STOP_WITHIN, own.child.wait()).await.is_err() {
                    own.child.kill().await.map_err(not_started)?;
                }
            }
            Ok(())
        })
    }
}

/// Asks the sandbox for something that no Kubernetes API has.
async fn ask(client: &kube::Client, path: String, body: serde_json::Value) -> Result<(), ClusterError> {
    let request = http::Request::post(path).header("content-type", "application/json").body(body.to_string().into_bytes());
    client.request_text(request.map_err(kube::Error::HttpError)?).await?;
    Ok(())
}

async fn act(client: &kube::Client, node: &str, action: &NodeAction) -> Result<String, ClusterError> {
    let container = |id: &str| format!("/sandbox/v1/nodes/{node}/containers/{}/signal", bare_id(id));
    let (power, cut) = (format!("/sandbox/v1/nodes/{node}/power"), format!("/sandbox/v1/nodes/{node}/cut"));
    let (path, body, done) = match action {
        NodeAction::SignalContainer { container_id, signal } => (
            container(container_id),
            json!({ "signal": signal.name(), "scope": "main" }),
            format!("{} to the first process of container {container_id}", signal.name()),
        ),
        NodeAction::KillDatabaseProcess { container_id } => (
            container(container_id),
            json!({ "signal": "SIGKILL", "scope": "main" }),
            "SIGKILL to the container's first process: the engines that the sandbox can run have no other".to_owned(),
        ),
        NodeAction::ExhaustMemory { container_id } => (
            container(container_id),
            json!({ "signal": "SIGKILL", "scope": "group", "reason": "OOMKilled" }),
            "the sandbox limits no memory: the container was killed by SIGKILL and is reported as OOMKilled".to_owned(),
        ),
        NodeAction::Freeze => (power, json!({ "state": "frozen" }), format!("node {node} is frozen")),
        NodeAction::PowerOff => (power, json!({ "state": "off" }), format!("node {node} is off")),
        NodeAction::StopKubelet { .. } => (power, json!({ "state": "unattended" }), format!("the kubelet of node {node} is silent")),
        NodeAction::Thaw | NodeAction::PowerOn | NodeAction::StartKubelet { .. } => {
            (power, json!({ "state": "on" }), format!("node {node} runs"))
        }
        NodeAction::CutService { address, port, mark } => (
            cut,
            json!({ "mark": mark, "address": address, "port": port }),
            format!("the Service's proxies pass nothing to {address} port {port}"),
        ),
        NodeAction::RestoreService { mark } => (cut, json!({ "mark": mark }), "the Service's proxies pass everything".to_owned()),
        NodeAction::FillVolume { .. } | NodeAction::EmptyVolume { .. } => return Err(unsupported(action.needs())),
    };
    ask(client, path, body).await?;
    Ok(done)
}

/// A sandbox that `chaos cluster up` left standing.
#[derive(Debug, Clone)]
pub struct Standing {
    name: String,
    folder: PathBuf,
}

/// Whether a standing sandbox is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StandingState {
    /// It runs.
    Running {
        /// Its process.
        pid: u32,
        /// What to point `kubectl` at.
        kubeconfig: PathBuf,
        /// Its API server.
        server: String,
    },
    /// It does not.
    Gone,
}

/// What is kept of a standing sandbox.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    pid: u32,
    /// Field 22 of `/proc/PID/stat`: a process id alone may be another's by now.
    started: String,
    #[serde(flatten)]
    ready: Ready,
}

impl Standing {
    /// The standing sandbox of that name, whether or not it is there.
    pub fn named(name: String) -> Self {
        let state = std::env::var_os("XDG_STATE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))
            .unwrap_or_else(std::env::temp_dir);
        let folder = state.join("sqledge-chaos").join("sandbox").join(&name);
        Standing { name, folder }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn kept(&self) -> PathBuf {
        self.folder.join("standing.json")
    }

    /// Whether it is there.
    pub fn state(&self) -> StandingState {
        let kept = std::fs::read(self.kept()).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        match kept {
            Some(kept) if started(kept.pid).is_some_and(|at| at == kept.started) => {
                StandingState::Running { pid: kept.pid, kubeconfig: kept.ready.kubeconfig, server: kept.ready.server }
            }
            _ => StandingState::Gone,
        }
    }

    /// Starts it, or finds that it stands already.
    pub async fn up(&self) -> Result<StandingState, ClusterError> {
        let state = self.state();
        if matches!(state, StandingState::Running { .. }) {
            return Ok(state);
        }
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(not_started(error)),
            _ => {}
        }
        std::fs::create_dir_all(&self.folder).map_err(not_started)?;
        let mut child = serve_command(&self.folder, false)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file(&self.folder)?)
            .spawn()
            .map_err(not_started)?;
        let ready = ready_line(&mut child, &self.folder).await?;
        let gone = || ClusterError::Sandbox { seen: "it ended right after it was ready".to_owned() };
        let pid = child.id().ok_or_else(gone)?;
        let kept = Kept { pid, started: started(pid).ok_or_else(gone)?, ready };
        std::fs::write(self.kept(), serde_json::to_vec(&kept).expect("its keys are strings")).map_err(not_started)?;
        Ok(self.state())
    }

    /// Ends it and removes what it kept. True when there was one.
    pub async fn down(&self) -> Result<bool, ClusterError> {
        let StandingState::Running { pid, .. } = self.state() else {
            return Ok(false);
        };
        let process = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        let signal = |signal| process.map(|process| rustix::process::kill_process(process, signal));
        signal(rustix::process::Signal::TERM);
        let deadline = tokio::time::Instant::now() + STOP_WITHIN;
        while matches!(self.state(), StandingState::Running { .. }) {
            if tokio::time::Instant::now() > deadline {
                signal(rustix::process::Signal::KILL);
                break;
            }
            // The process is not a child of this one, so there is nothing to wait on.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::fs::remove_dir_all(&self.folder).map_err(not_started)?;
        Ok(true)
    }
}

/// When a process started, in the kernel's words; `None` when there is no such process or it is a zombie.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything; the fields after it are numbered from 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19).map(|&at| at.to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let own = started(std::process::id()).unwrap();
        assert!(own.parse::<u64>().unwrap() > 0);
        assert_eq!(started(u32::MAX), None);
    }
}
