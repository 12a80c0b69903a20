//! Nodes that are containers of this machine's Docker, as kind's are: what is done to them goes through `docker`.

use super::node_action::unsupported;
use super::node_script::Script;
use super::{Capability, ClusterError, NodeAction, Program};

/// What can be done to a node that is a container with containerd, systemd and iptables in it.
pub(super) const CAPABILITIES: &[Capability] = &Capability::ALL;

/// Does it, and says what was done. The caller has made sure that `node` is one of its cluster's.
pub(super) async fn act(node: &str, action: &NodeAction) -> Result<String, ClusterError> {
    match (Script::of(action), action) {
        (Some(Script { text, arguments }), _) => {
            let said = Program::new("docker").args(["exec", node, "sh", "-euc", &text, "chaos"]).args(arguments).output().await?;
            Ok(said.trim().to_owned())
        }
        (None, NodeAction::Freeze) => to_state(node, "paused", "pause").await,
        (None, NodeAction::Thaw) => to_state(node, "running", "unpause").await,
        (None, NodeAction::PowerOff) => to_state(node, "exited", "kill").await,
        (None, NodeAction::PowerOn) => to_state(node, "running", "start").await,
        (None, _) => Err(unsupported(action.needs())),
    }
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
