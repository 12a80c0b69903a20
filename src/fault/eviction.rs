//! Eviction by the policy API, which asks PodDisruptionBudgets first: alone as `pod-evict`, and as the second half of `node-drain`.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, EvictParams, Preconditions};

use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, attest_replaced, serving_pod};
use crate::cluster::{Permission, Typed};
use crate::experiment::Controller;
use crate::model::FaultTarget;
use crate::target::TargetState;

/// How long a refusal (429) is taken for "not yet".
const BUDGET_WITHIN: Duration = Duration::from_secs(60);

/// What an eviction asks of the API server.
pub(super) const EVICT: Permission = Permission::core("pods/eviction", &["create"]);

/// Evicts one pod, if it is still the one with that uid. A PodDisruptionBudget's refusal is retried until the deadline, as `kubectl drain` does.
pub(super) async fn evict(site: &Site, namespace: &str, name: &str, uid: &str) -> Result<(), FaultError> {
    let pods = Api::<Typed<Pod>>::namespaced(site.client.clone(), namespace);
    let parameters = EvictParams {
        delete_options: Some(DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        }),
        ..EvictParams::default()
    };
    let deadline = tokio::time::Instant::now() + BUDGET_WITHIN;
    loop {
        match pods.evict(name, &parameters).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 429 && tokio::time::Instant::now() < deadline => {
                tracing::info!(pod = name, "not evicted yet: {}", status.message);
                // The budget frees when another pod becomes ready; the API server says when to ask again, and kubectl takes 5 s.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => return Err(FaultError::Changed(status.message)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Evicts the target's pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodEvict;

impl Fault for PodEvict {
    fn permissions(&self, _controller: Controller) -> &'static [Permission] {
        &[EVICT]
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(async { serving_pod(site) })
    }

    fn undo(&self, _site: &Site, _target: &FaultTarget) -> Undo {
        Undo::Nothing { why: "the pod's controller replaces it".to_owned() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async { evict(site, &site.names.namespace, &target.name, &target.uid).await.map(|()| Vec::new()) })
    }

    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(attest_replaced(site, target, within + site.pod_grace))
    }

    fn is_recovered(&self, state: &TargetState, target: &FaultTarget) -> bool {
        state.serving().is_some_and(|pod| pod.uid != target.uid)
    }

    fn heal<'a>(&'a self, _site: &'a Site, _target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(async { Ok("nothing to undo: the pod's controller replaced it".to_owned()) })
    }
}
