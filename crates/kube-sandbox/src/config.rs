//! What a sandbox is told at its start, and why it may fail to start.

use std::path::PathBuf;
use std::time::Duration;

use crate::sabotage::Sabotage;

/// An image that the sandbox can run.
#[derive(Debug, Clone)]
pub struct Image {
    /// Every reference under which pods may name the image, such as `registry.example/db:1`.
    pub names: Vec<String>,
    /// The program on this machine that stands for the image's entry point, with its leading arguments.
    pub command: Vec<String>,
}

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where volumes, logs and container roots live. It must exist and belong to this sandbox alone.
    pub dir: PathBuf,
    /// Number of worker nodes beside the control plane.
    pub workers: usize,
    /// The images that can run; any other ends in `ImagePullBackOff`.
    pub images: Vec<Image>,
    /// The bearer token that clients must show; a random one when absent.
    pub token: Option<String>,
    /// The program and leading arguments that lead to [`crate::shim::run`] in this or another executable; containers start through it.
    pub shim: Vec<String>,
    /// What the processes of a force-deleted pod get between SIGTERM and SIGKILL, after their object is gone. Two seconds, as a real kubelet gives
    /// them, are enough for many a server to stop in order: what must not stop in order is killed by a signal from its node. Zero kills at once.
    pub forced_grace: Duration,
    /// For how long a node may miss its heartbeats until it is `NotReady`; the controller manager's own number is 50 s.
    pub node_grace: Duration,
    /// A planted defect, for tests of whoever looks at the cluster.
    pub sabotage: Option<Sabotage>,
    /// Watch events kept for each resource. A watch that resumes from further back is told 410.
    pub history: usize,
}

impl Config {
    /// A sandbox in `dir` with two workers and no image, whose containers start through `shim` of the running program.
    pub fn new(dir: impl Into<PathBuf>) -> Config {
        let program = std::env::current_exe().map_or_else(|_unknown| "kube-sandbox".to_owned(), |path| path.display().to_string());
        Config {
            dir: dir.into(),
            workers: 2,
            images: Vec::new(),
            token: None,
            shim: vec![program, "shim".to_owned()],
            forced_grace: Duration::from_secs(2),
            node_grace: Duration::from_secs(50),
            sabotage: None,
            history: 8192,
        }
    }
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something that the sandbox needs from the operating system was refused.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(String),
    /// The server's certificate could not be made.
    #[error("server certificate: {0}")]
    Certificate(String),
}
