//! SIGSTOP to the container's first process for a time: the kernel still accepts connections for it, and nobody answers.

use std::time::Duration;

use futures::future::BoxFuture;

use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, act, attest_unanswered, container_of, serving_container};
use crate::cluster::{NodeAction, Signal};
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

    fn asks_engine(&self) -> bool {
        true
    }

    fn undo(&self, _site: &Site, target: &FaultTarget) -> Undo {
        Undo::ContinueContainer { node: target.node.clone(), container_id: target.uid.clone() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move {
            let stop = NodeAction::SignalContainer { container_id: target.uid.clone(), signal: Signal::Stop };
            Ok(vec![act(site, &target.node, &stop).await?])
        })
    }

    fn attest<'a>(&'a self, site: &'a Site, _target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(attest_unanswered(site, self.lasts, within))
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
            let go_on = NodeAction::SignalContainer { container_id: target.uid.clone(), signal: Signal::Continue };
            act(site, &target.node, &go_on).await
        })
    }
}
