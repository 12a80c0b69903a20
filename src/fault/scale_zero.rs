//! Scales the target's controller to nothing for a time, as people do before maintenance, and back to what it was.

use std::time::Duration;

use futures::future::BoxFuture;

use super::controller::{self, Controller, scale_back};
use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, serving_pod};
use crate::cluster::Permission;
use crate::experiment;
use crate::model::FaultTarget;
use crate::target::TargetState;

/// No replica for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleZero {
    /// How long.
    pub lasts: Duration,
}

fn aimed_at(site: &Site, target: &FaultTarget) -> Controller {
    let (kind, name, uid) = (target.kind.clone(), target.name.clone(), target.uid.clone());
    Controller { kind, namespace: site.names.namespace.clone(), name, uid }
}

impl Fault for ScaleZero {
    fn permissions(&self, of: experiment::Controller) -> &'static [Permission] {
        controller::permissions(of)
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(async {
            let pod = serving_pod(site)?;
            let controller = Controller::behind(site, pod.owner.as_ref()).await?;
            Ok(FaultTarget { kind: controller.kind, name: controller.name, uid: controller.uid, node: pod.node, owner: pod.owner })
        })
    }

    fn undo(&self, site: &Site, target: &FaultTarget) -> Undo {
        let Controller { kind, namespace, name, uid } = aimed_at(site, target);
        Undo::ScaleBack { kind, namespace, name, uid }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move { Ok(vec![aimed_at(site, target).scale_to_zero(&site.client, &site.run).await?]) })
    }

    fn attest<'a>(&'a self, site: &'a Site, _target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(async move {
            match site.watch.until("no pod of the target", within + site.pod_grace, |state| state.pods.is_empty()).await {
                Ok(_) => Attestation { attested: true, evidence: vec!["the target has no pod".to_owned()] },
                Err(error) => Attestation { attested: false, evidence: vec![error.to_string()] },
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
        Box::pin(scale_back(&site.client, &target.kind, &site.names.namespace, &target.name, &target.uid, &site.run))
    }
}
