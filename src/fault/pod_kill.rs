//! Deletes the target's pod, with the pod's own grace period, another, or none.
//!
//! With no grace the object goes at once and the process is killed soon after; with grace the process is asked to stop first. In both cases a Deployment's
//! ReplicaSet makes the replacement at once, while a StatefulSet waits until the old pod is gone.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};

use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, attest_replaced, serving_pod};
use crate::cluster::{Permission, Typed};
use crate::experiment::{Controller, Grace};
use crate::model::FaultTarget;
use crate::target::TargetState;

/// Deletes the target's pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodKill {
    /// The grace period of the deletion.
    pub grace: Grace,
}

impl PodKill {
    /// What it asks of the API server.
    pub const PERMISSIONS: &'static [Permission] = &[Permission::core("pods", &["delete"])];
}

impl Fault for PodKill {
    fn permissions(&self, _controller: Controller) -> &'static [Permission] {
        Self::PERMISSIONS
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(async { serving_pod(site) })
    }

    fn undo(&self, _site: &Site, _target: &FaultTarget) -> Undo {
        Undo::Nothing { why: "the pod's controller replaces it".to_owned() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move {
            let parameters = DeleteParams {
                grace_period_seconds: match self.grace {
                    Grace::Pod => None,
                    Grace::Of(grace) => Some(u32::try_from(grace.as_secs()).unwrap_or(u32::MAX)),
                },
                preconditions: Some(Preconditions { uid: Some(target.uid.clone()), resource_version: None }),
                ..DeleteParams::default()
            };
            match Api::<Typed<Pod>>::namespaced(site.client.clone(), &site.names.namespace).delete(&target.name, &parameters).await {
                Ok(_) => Ok(Vec::new()),
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Err(FaultError::Changed(status.message)),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(async move {
            let grace = match self.grace {
                Grace::Pod => site.pod_grace,
                Grace::Of(grace) => grace,
            };
            attest_replaced(site, target, within + grace).await
        })
    }

    fn is_recovered(&self, state: &TargetState, target: &FaultTarget) -> bool {
        state.serving().is_some_and(|pod| pod.uid != target.uid)
    }

    fn heal<'a>(&'a self, _site: &'a Site, _target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(async { Ok("nothing to undo: the pod's controller replaced it".to_owned()) })
    }
}
