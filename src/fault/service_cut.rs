//! What clients send to the pod is dropped for a time: the pod is well and ready, and nobody reaches it.
//!
//! The cut is made on the pod's node, below the cluster's own network, so that it also works where network policies are not enforced. The kubelet's probes
//! come from the node itself and pass.

use std::time::Duration;

use futures::future::BoxFuture;

use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, act, attest_unanswered, serving_pod};
use crate::cluster::NodeAction;
use crate::model::FaultTarget;
use crate::target::TargetState;

/// Nobody reaches the pod for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceCut {
    /// How long.
    pub lasts: Duration,
}

impl Fault for ServiceCut {
    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(async { serving_pod(site) })
    }

    fn asks_engine(&self) -> bool {
        true
    }

    fn undo(&self, site: &Site, target: &FaultTarget) -> Undo {
        Undo::RestoreService { node: target.node.clone(), mark: site.mark() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move {
            let state = site.watch.now();
            let pod = state.pods.get(&target.uid).ok_or_else(|| FaultError::Changed(state.describe()))?;
            let address = pod.ip.clone().ok_or_else(|| FaultError::NoTarget(format!("pod {} has no address", pod.name)))?;
            let cut = NodeAction::CutService { address, port: site.port, mark: site.mark() };
            Ok(vec![act(site, &target.node, &cut).await?])
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
        Box::pin(async move { act(site, &target.node, &NodeAction::RestoreService { mark: site.mark() }).await })
    }
}
