//! An engine as a process that comes back at the same address whenever it ends, as the kubelet would have it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::TrialError;

/// How long a start may take.
const START: Duration = Duration::from_secs(60);

/// What the process is started with.
#[derive(Debug, Clone)]
struct Start {
    data: PathBuf,
    sabotage: Option<String>,
    volatile: bool,
    password: String,
}

impl Start {
    async fn at(&self, listen: SocketAddr) -> Result<(Child, SocketAddr), TrialError> {
        let program = std::env::current_exe().map_err(TrialError::Start)?;
        let mut command = Command::new(program);
        command.args(["engine", "tds-sqlite", "--tls", "off", "--listen", &listen.to_string(), "--data"]).arg(&self.data);
        if let Some(mode) = &self.sabotage {
            command.args(["--sabotage", mode]);
        }
        if self.volatile {
            command.args(["--cache", "volatile"]);
        }
        command.env("MSSQL_SA_PASSWORD", &self.password).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().map_err(TrialError::Start)?;
        let Some(log) = child.stdout.take() else { return Err(TrialError::NotReady { last: "no log".to_owned() }) };
        let mut lines = BufReader::new(log).lines();
        let mut last = String::new();
        let listening = async {
            while let Ok(Some(line)) = lines.next_line().await {
                let port = line.split_once("<ipv4> ").and_then(|(_, rest)| rest.split_once(']')?.0.parse().ok());
                last = line;
                if let Some(port) = port {
                    return Some(SocketAddr::new(listen.ip(), port));
                }
            }
            None
        };
        let Ok(Some(address)) = tokio::time::timeout(START, listening).await else {
            return Err(TrialError::NotReady { last });
        };
        // Read to its end, so that the engine never waits for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok((child, address))
    }
}

/// A running engine. Ends with SIGKILL when dropped.
pub(super) struct Engine {
    pub(super) address: SocketAddr,
    kills: mpsc::Sender<()>,
    supervisor: JoinHandle<Result<(), TrialError>>,
}

impl Engine {
    pub(super) async fn start(data: &Path, sabotage: Option<&str>, volatile: bool, password: &str) -> Result<Self, TrialError> {
        let start = Start { data: data.to_owned(), sabotage: sabotage.map(str::to_owned), volatile, password: password.to_owned() };
        let (child, address) = start.at(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let (kills, orders) = mpsc::channel(1);
        let supervisor = tokio::spawn(supervise(start, child, address, orders));
        Ok(Engine { address, kills, supervisor })
    }

    /// Kills the process; it comes back by itself.
    pub(super) async fn kill(&self) {
        // A supervisor that has ended has its error told by `failed`.
        let _ = self.kills.send(()).await;
    }

    /// Ends it for good, and tells why it had not come back, if it had not.
    pub(super) async fn end(self) -> Result<(), TrialError> {
        drop(self.kills);
        self.supervisor.await.unwrap_or(Ok(()))
    }

    pub(super) fn has_failed(&self) -> bool {
        self.supervisor.is_finished()
    }
}

/// Starts the engine again whenever it ends, until nobody can order its death any more.
async fn supervise(start: Start, mut child: Child, address: SocketAddr, mut orders: mpsc::Receiver<()>) -> Result<(), TrialError> {
    loop {
        let order = tokio::select! {
            _ = child.wait() => Some(()),
            order = orders.recv() => order,
        };
        let _ = child.kill().await;
        if order.is_none() {
            return Ok(());
        }
        child = start.at(address).await?.0;
    }
}
