//! Nodes that are containers of this machine's Docker, as kind's are: what is done to them goes through `docker`.

use super::node_action::{Signal, bare_id};
use super::{Capability, ClusterError, NodeAction, Program};

/// What can be done to a node that is a container with containerd, systemd and iptables in it.
pub(super) const CAPABILITIES: &[Capability] = &Capability::ALL;

/// Does it, and says what was done. The caller has made sure that `node` is one of its cluster's.
pub(super) async fn act(node: &str, action: &NodeAction) -> Result<String, ClusterError> {
    match action {
        NodeAction::SignalContainer { container_id, signal } => signal_container(node, container_id, *signal).await,
        NodeAction::KillDatabaseProcess { container_id } => {
            script(node, include_str!("node_scripts/kill-database-process.sh"), &[bare_id(container_id)]).await
        }
        NodeAction::ExhaustMemory { container_id } => {
            script(node, include_str!("node_scripts/exhaust-memory.sh"), &[bare_id(container_id)]).await
        }
        NodeAction::Freeze => to_state(node, "paused", "pause").await,
        NodeAction::Thaw => to_state(node, "running", "unpause").await,
        NodeAction::PowerOff => to_state(node, "exited", "kill").await,
        NodeAction::PowerOn => to_state(node, "running", "start").await,
        NodeAction::StopKubelet => kubelet(node, "stop").await,
        NodeAction::StartKubelet => kubelet(node, "start").await,
        NodeAction::CutService { address, port, mark } => {
            script(node, include_str!("node_scripts/cut-service.sh"), &[address, &port.to_string(), mark]).await
        }
        NodeAction::RestoreService { mark } => script(node, include_str!("node_scripts/restore-service.sh"), &[mark]).await,
        NodeAction::FillVolume { container_id, path, capacity_bytes, mark } => {
            let arguments = [bare_id(container_id), path, &capacity_bytes.to_string(), mark];
            script(node, include_str!("node_scripts/fill-volume.sh"), &arguments).await
        }
        NodeAction::EmptyVolume { path, mark } => script(node, include_str!("node_scripts/empty-volume.sh"), &[path, mark]).await,
    }
}

/// Runs a script in the node; its arguments are never part of its text.
async fn script(node: &str, text: &str, arguments: &[&str]) -> Result<String, ClusterError> {
    let said = Program::new("docker").args(["exec", node, "sh", "-euc", text, "chaos"]).args(arguments).output().await?;
    Ok(said.trim().to_owned())
}

async fn signal_container(node: &str, container_id: &str, signal: Signal) -> Result<String, ClusterError> {
    Program::new("docker")
        .args(["exec", node, "ctr", "-n", "k8s.io", "task", "kill", "-s", signal.name(), bare_id(container_id)])
        .output()
        .await?;
    Ok(format!("{} to the first process of container {container_id}", signal.name()))
}

async fn kubelet(node: &str, verb: &str) -> Result<String, ClusterError> {
    Program::new("docker").args(["exec", node, "systemctl", verb, "kubelet"]).output().await?;
    Ok(format!("systemctl {verb} kubelet on node {node}"))
}

/// Brings a node's container into a state by a command of Docker's; nothing is done when it is in that state already.
async fn to_state(node: &str, state: &str, command: &str) -> Result<String, ClusterError> {
    let now = Program::new("docker").args(["inspect", "-f", "{{.State.Status}}", node]).output().await?;
    if now.trim() == state {
        return Ok(format!("node {node} is {state} already"));
    }
    Program::new("docker").args([command, node]).output().await?;
    Ok(format!("docker {command} {node}"))
}
