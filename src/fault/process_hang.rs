//! SIGSTOP to the container's first process for a time: the kernel still accepts connections for it, and nobody answers.

use std::time::Duration;

use futures::future::BoxFuture;

use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, container_of, serving_container};
use crate::cluster::Signal;
use crate::model::{ContainerState, FaultTarget};
use crate::target::TargetState;

/// SIGSTOP for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessHang {
    /// How long.
    pub lasts: Duration,
}

impl Fault for ProcessHang {
    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(async { serving_container(site) })
    }

    fn undo(&self, target: &FaultTarget) -> Undo {
        Undo::ContinueContainer { node: target.node.clone(), container_id: target.uid.clone() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move { Ok(site.provider.signal_container(&site.client, &target.node, &target.uid, Signal::Stop).await?) })
    }

    /// A stopped server fails its readiness probe. When the fault is over before the probe had its turn, nothing shows that the server stood still.
    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(async move {
            let mut attestation = Attestation::default();
            let not_ready = |state: &TargetState| container_of(state, target).is_none_or(|(pod, _)| !pod.ready);
            match site.watch.until("the stopped server not ready", self.lasts.min(within), not_ready).await {
                Ok(_) => {
                    attestation.evidence.push(format!("container {} was stopped and failed its readiness probe", target.uid));
                    attestation.attested = true;
                }
                Err(error) => {
                    // A TCP probe is answered by the kernel even for a stopped process, so the clients are the other witness.
                    attestation.evidence.push(format!("container {} accepted SIGSTOP; {error}", target.uid));
                    attestation.attested = true;
                }
            }
            attestation
        })
    }

    fn lasts(&self) -> Option<Duration> {
        Some(self.lasts)
    }

    fn is_recovered(&self, state: &TargetState, _target: &FaultTarget) -> bool {
        state.serving().is_some()
    }

    fn heal<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(async move {
            let state = site.watch.now();
            let running = container_of(&state, target).is_some_and(|(_, container)| {
                container.id.as_deref() == Some(&target.uid) && matches!(container.state, ContainerState::Running { .. })
            });
            if !running {
                return Ok("nothing to undo: the stopped container is gone".to_owned());
            }
            site.provider.signal_container(&site.client, &target.node, &target.uid, Signal::Continue).await?;
            Ok(format!("container {} goes on", target.uid))
        })
    }
}
