//! The claim's volume is filled to its last byte for a time. Only a volume with a filesystem of its own: one that is shared with a node or with others is
//! never filled.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::Api;

use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, act, serving_container};
use crate::cluster::{NodeAction, Permission, Typed};
use crate::experiment::Controller;
use crate::model::{FaultTarget, parse_quantity};
use crate::target::TargetState;

/// A full volume for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskFull {
    /// How long.
    pub lasts: Duration,
}

/// What the cluster gave the claim.
async fn capacity_bytes(site: &Site) -> Result<u64, FaultError> {
    let claim = Api::<Typed<PersistentVolumeClaim>>::namespaced(site.client.clone(), &site.names.namespace).get(&site.names.claim).await?;
    let capacity = claim.0.status.and_then(|status| status.capacity).and_then(|all| all.get("storage").map(|one| one.0.clone()));
    let text = capacity.unwrap_or_default();
    let bytes = parse_quantity(&text).ok().or_else(|| text.parse().ok());
    bytes.ok_or_else(|| FaultError::NoTarget(format!("the claim {} tells no capacity: `{text}`", site.names.claim)))
}

impl Fault for DiskFull {
    fn permissions(&self, _controller: Controller) -> &'static [Permission] {
        const { &[Permission::core("persistentvolumeclaims", &["get"])] }
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(async { serving_container(site) })
    }

    fn undo(&self, site: &Site, target: &FaultTarget) -> Undo {
        Undo::EmptyVolume { node: target.node.clone(), path: site.mount.clone(), mark: site.mark() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move {
            let fill = NodeAction::FillVolume {
                container_id: target.uid.clone(),
                path: site.mount.clone(),
                capacity_bytes: capacity_bytes(site).await?,
                mark: site.mark(),
            };
            Ok(vec![act(site, &target.node, &fill).await?])
        })
    }

    /// Filling fails unless the kernel says that nothing is left, so that it succeeded is the evidence. An engine that has room in its files goes on for a
    /// while all the same.
    fn attest<'a>(&'a self, _site: &'a Site, _target: &'a FaultTarget, _within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(async { Attestation { attested: true, evidence: Vec::new() } })
    }

    fn lasts(&self) -> Option<Duration> {
        Some(self.lasts)
    }

    fn is_recovered(&self, state: &TargetState, _target: &FaultTarget) -> bool {
        state.serving().is_some()
    }

    fn heal<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(async move {
            let empty = NodeAction::EmptyVolume { path: site.mount.clone(), mark: site.mark() };
            act(site, &target.node, &empty).await
        })
    }
}
