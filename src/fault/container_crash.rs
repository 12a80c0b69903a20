//! SIGKILL to the container's first process, sent from the node.
//!
//! The pod stays, the kubelet starts the container again in it: that is what tells a crash from the loss of a pod.

use std::time::Duration;

use futures::future::BoxFuture;

use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, container_of, serving_container};
use crate::cluster::Signal;
use crate::model::{ContainerState, FaultTarget};
use crate::target::TargetState;

/// SIGKILL to the container's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerCrash;

impl Fault for ContainerCrash {
    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(async { serving_container(site) })
    }

    fn undo(&self, _target: &FaultTarget) -> Undo {
        Undo::Nothing { why: "the kubelet starts the container again".to_owned() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            // A container id names one instance for ever, so a container that was replaced meanwhile cannot be hit.
            Ok(site.provider.signal_container(&site.client, &target.node, &target.uid, Signal::Kill).await?)
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
                    attestation.attested = last.exit_code == 137;
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
