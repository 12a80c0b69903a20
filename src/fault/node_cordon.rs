//! Marks the pod's node unschedulable for a time. Nothing that runs is touched, and that is what it shows.

use std::time::Duration;

use futures::future::BoxFuture;

use super::journal::Undo;
use super::marks::{MARK, cordon, cordons, uncordon};
use super::{Attestation, Fault, FaultError, Site, serving_node};
use crate::cluster::Permission;
use crate::experiment::Controller;
use crate::model::FaultTarget;
use crate::target::TargetState;

/// A cordon for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeCordon {
    /// How long.
    pub lasts: Duration,
}

impl Fault for NodeCordon {
    fn permissions(&self, _controller: Controller) -> &'static [Permission] {
        &[MARK]
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(serving_node(site))
    }

    fn undo(&self, _site: &Site, target: &FaultTarget) -> Undo {
        Undo::Uncordon { node: target.name.clone(), uid: target.uid.clone() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move { Ok(vec![cordon(&site.client, target, &site.run).await?]) })
    }

    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, _within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(async move {
            match cordons(&site.client, &target.name, &site.run).await {
                Ok(attested) => {
                    let seen = if attested { "is" } else { "is not" };
                    Attestation { attested, evidence: vec![format!("node {} {seen} unschedulable by this run", target.name)] }
                }
                Err(error) => Attestation { attested: false, evidence: vec![format!("node {} cannot be asked: {error}", target.name)] },
            }
        })
    }

    fn lasts(&self) -> Option<Duration> {
        Some(self.lasts)
    }

    fn is_recovered(&self, state: &TargetState, _target: &FaultTarget) -> bool {
        state.serving().is_some()
    }

    fn heal<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(uncordon(&site.client, &target.name, &target.uid, &site.run))
    }
}
