//! The database container ends and the kubelet starts it again in the same pod: that is what tells a crash from the loss of a pod.
//!
//! It ends by a signal to its first process, by a signal to the process in it that serves the database, or because its memory is used up.

use std::time::Duration;

use futures::future::BoxFuture;

use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, act, container_of, serving_container};
use crate::cluster::{NodeAction, Signal};
use crate::model::{ContainerState, FaultTarget, TerminatedSeen};
use crate::target::TargetState;

/// How the container is brought to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashBy {
    /// SIGKILL to its first process.
    Signal,
    /// SIGKILL to the process that serves the database, which the first process may survive for a moment.
    DatabaseProcess,
    /// The kernel's out-of-memory killer.
    Memory,
}

/// The database container crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerCrash {
    /// How.
    pub by: CrashBy,
}

impl ContainerCrash {
    /// Whether an end of the container is the one that this fault brings about.
    fn explains(self, end: &TerminatedSeen) -> bool {
        match self.by {
            CrashBy::Signal => end.exit_code == 137,
            // The first process decides with which code it follows the one that it lost.
            CrashBy::DatabaseProcess => true,
            CrashBy::Memory => end.reason == "OOMKilled",
        }
    }
}

impl Fault for ContainerCrash {
    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(async { serving_container(site) })
    }

    fn undo(&self, _site: &Site, _target: &FaultTarget) -> Undo {
        Undo::Nothing { why: "the kubelet starts the container again".to_owned() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move {
            // A container id names one instance for ever, so a container that was replaced meanwhile cannot be hit.
            let container_id = target.uid.clone();
            let action = match self.by {
                CrashBy::Signal => NodeAction::SignalContainer { container_id, signal: Signal::Kill },
                CrashBy::DatabaseProcess => NodeAction::KillDatabaseProcess { container_id },
                CrashBy::Memory => NodeAction::ExhaustMemory { container_id },
            };
            Ok(vec![act(site, &target.node, &action).await?])
        })
    }

    /// The very instance that was hit must have ended by SIGKILL, and another must have started in the same pod.
    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(async move {
            let mut attestation = Attestation::default();
            let restarted = |state: &TargetState| {
                container_of(state, target).is_some_and(|(_, container)| {
                    container.id.as_deref() != Some(&target.uid)
                        && matches!(container.state, ContainerState::Running { .. })
                        && container.last.as_ref().is_some_and(|last| last.id.as_deref() == Some(&target.uid))
                })
            };
            match site.watch.until("the container restarted in its pod", within, restarted).await {
                Ok(state) => {
                    let (pod, container) = container_of(&state, target).expect("the wait ended because it is there");
                    let last = container.last.as_ref().expect("the wait ended because it is there");
                    attestation
                        .evidence
                        .push(format!("container {} ended with exit code {} ({})", target.uid, last.exit_code, last.reason));
                    attestation.evidence.push(format!(
                        "container {} runs in the same pod uid {}, restart count {}",
                        container.id.as_deref().unwrap_or("?"),
                        pod.uid,
                        container.restarts
                    ));
                    attestation.attested = self.explains(last);
                }
                Err(error) => attestation.evidence.push(error.to_string()),
            }
            attestation
        })
    }

    fn is_recovered(&self, state: &TargetState, target: &FaultTarget) -> bool {
        state.serving().is_some() && container_of(state, target).is_none_or(|(_, container)| container.id.as_deref() != Some(&target.uid))
    }

    fn heal<'a>(&'a self, _site: &'a Site, _target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(async { Ok("nothing to undo: the kubelet started the container again".to_owned()) })
    }
}
