//! What is done in a node is a script that runs there: through Docker where the node is a container of this machine, in a pod on the node elsewhere.

use std::time::Duration;

use super::NodeAction;
use super::node_action::bare_id;

/// How long after a pod said so the node stops its kubelet: until then it tells the pod's end and hands out what the pod wrote.
pub(super) const STOPPED_AFTER: Duration = Duration::from_secs(8);

/// What begins each script that is about a container.
const FIRST_PROCESS: &str = include_str!("node_scripts/first-process.sh");

/// A script of `sh`, and its arguments, which are never part of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    /// The text.
    pub text: String,
    /// What it calls `$1` and so on.
    pub arguments: Vec<String>,
}

impl Script {
    fn of_container(text: &str, container_id: &str, arguments: &[&str]) -> Script {
        let arguments = std::iter::once(bare_id(container_id)).chain(arguments.iter().copied()).map(str::to_owned);
        Script { text: format!("{FIRST_PROCESS}{text}"), arguments: arguments.collect() }
    }

    fn new(text: &str, arguments: &[&str]) -> Script {
        Script { text: text.to_owned(), arguments: arguments.iter().map(|&argument| argument.to_owned()).collect() }
    }

    /// What does it inside the node. `None`: it is done to the node itself.
    pub fn of(action: &NodeAction) -> Option<Script> {
        Some(match action {
            NodeAction::SignalContainer { container_id, signal } => {
                let signal = signal.name().trim_start_matches("SIG");
                Script::of_container(include_str!("node_scripts/signal-container.sh"), container_id, &[signal])
            }
            NodeAction::KillDatabaseProcess { container_id } => {
                Script::of_container(include_str!("node_scripts/kill-database-process.sh"), container_id, &[])
            }
            NodeAction::ExhaustMemory { container_id } => {
                Script::of_container(include_str!("node_scripts/exhaust-memory.sh"), container_id, &[])
            }
            NodeAction::CutService { address, port, mark } => {
                Script::new(include_str!("node_scripts/cut-service.sh"), &[address, &port.to_string(), mark])
            }
            NodeAction::RestoreService { mark } => Script::new(include_str!("node_scripts/restore-service.sh"), &[mark]),
            NodeAction::FillVolume { container_id, path, capacity_bytes, mark } => {
                let arguments = [path.as_str(), &capacity_bytes.to_string(), mark];
                Script::of_container(include_str!("node_scripts/fill-volume.sh"), container_id, &arguments)
            }
            NodeAction::EmptyVolume { path, mark } => Script::new(include_str!("node_scripts/empty-volume.sh"), &[path, mark]),
            NodeAction::Freeze | NodeAction::Thaw | NodeAction::PowerOff | NodeAction::PowerOn => return None,
            NodeAction::StopKubelet { .. } => Script::new("systemctl stop kubelet\necho \"the kubelet was stopped\"", &[]),
            NodeAction::StartKubelet { .. } => Script::new("systemctl start kubelet\necho \"the kubelet was started\"", &[]),
        })
    }

    /// What does it in a pod on the node, which depends on the kubelet.
    pub fn in_pod(action: &NodeAction) -> Option<Script> {
        let unit = |mark: &str| format!("{mark}-kubelet");
        match action {
            NodeAction::StopKubelet { lasts, mark } => {
                let arguments = [STOPPED_AFTER.as_secs().to_string(), whole_seconds(*lasts).to_string(), unit(mark)];
                Some(Script::new(include_str!("node_scripts/stop-kubelet-for-a-time.sh"), &arguments.each_ref().map(String::as_str)))
            }
            NodeAction::StartKubelet { mark, .. } => Some(Script::new(include_str!("node_scripts/kubelet-is-back.sh"), &[&unit(mark)])),
            _ => Script::of(action),
        }
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::cluster::Signal;

    /// What a script says in this very machine, whose processes are in no container of that id.
    fn run(action: &NodeAction) -> (bool, String) {
        let Script { text, arguments } = Script::of(action).unwrap();
        let output = Command::new("sh").args(["-euc", &text, "chaos"]).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Rules that cannot be listed are not gone, and those of others stay.
    #[test]
    fn a_cut_is_restored_or_the_script_fails() {
        let folder = tempfile::tempdir().unwrap();
        let tool = "#!/bin/sh\ncase \"$*\" in\n*-L*) [ -f \"$0.rules\" ] && cat -n \"$0.rules\" ;;\n*-D*) shift 4; sed -i \"$1d\" \"$0.rules\" ;;\nesac\n";
        let rules = "ACCEPT all /* other */\nDROP all /* mine */\nDROP all /* mine */\n";
        for name in ["iptables", "ip6tables"] {
            let path = folder.path().join(name);
            std::fs::write(&path, tool).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            std::fs::write(folder.path().join(format!("{name}.rules")), rules).unwrap();
        }
        let Script { text, arguments } = Script::of(&NodeAction::RestoreService { mark: "mine".to_owned() }).unwrap();
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let restore = || Command::new("sh").args(["-euc", &text, "chaos"]).args(&arguments).env("PATH", &path).output().unwrap();
        let restored = restore();
        assert!(restored.status.success(), "{restored:?}");
        let removed = if std::path::Path::new("/proc/net/if_inet6").exists() { 4 } else { 2 };
        assert_eq!(String::from_utf8_lossy(&restored.stdout), format!("{removed} rules were removed\n"));
        assert_eq!(std::fs::read_to_string(folder.path().join("iptables.rules")).unwrap(), "ACCEPT all /* other */\n");
        // Without its rules the tool fails, as with a lock that somebody else holds.
        std::fs::remove_file(folder.path().join("iptables.rules")).unwrap();
        assert!(!restore().status.success());
    }

    #[test]
    fn a_container_that_is_gone_is_told_and_nothing_is_hit() {
        let container_id = "containerd://0000000000000000000000000000000000000000000000000000000000000000".to_owned();
        let actions = [
            NodeAction::SignalContainer { container_id: container_id.clone(), signal: Signal::Kill },
            NodeAction::KillDatabaseProcess { container_id: container_id.clone() },
            NodeAction::ExhaustMemory { container_id },
        ];
        for action in actions {
            let (ok, said) = run(&action);
            assert!(!ok && said.contains("does not run any more"), "{action:?}: {said}");
        }
    }
}
