//! Cordon, then evict as `kubectl drain` does: DaemonSet and mirror pods stay, PodDisruptionBudgets are asked.
//!
//! Only pods of the target's own namespace are evicted: the fault is aimed at the target, and its blast radius must not be every other tenant of the node.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use super::eviction::{EVICT, evict};
use super::journal::Undo;
use super::marks::{MARK, cordon, uncordon};
use super::{Attestation, Fault, FaultError, Site, attest_left, serving_node};
use crate::cluster::{Permission, Typed};
use crate::experiment::Controller;
use crate::model::FaultTarget;
use crate::target::TargetState;

/// Cordons the target's node and evicts the target from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeDrain;

/// Whether a drain leaves the pod alone.
fn stays(pod: &Pod) -> bool {
    let of_daemon_set =
        pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "DaemonSet" && owner.controller == Some(true));
    let mirror = pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("kubernetes.io/config.mirror"));
    let over =
        pod.status.as_ref().and_then(|status| status.phase.as_deref()).is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
    of_daemon_set || mirror || over || pod.metadata.deletion_timestamp.is_some()
}

impl Fault for NodeDrain {
    fn permissions(&self, _controller: Controller) -> &'static [Permission] {
        const { &[MARK, Permission::core("pods", &["list"]), EVICT] }
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(serving_node(site))
    }

    fn undo(&self, _site: &Site, target: &FaultTarget) -> Undo {
        Undo::Uncordon { node: target.name.clone(), uid: target.uid.clone() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move {
            let mut done = vec![cordon(&site.client, target, &site.run).await?];
            let on_node = ListParams::default().fields(&format!("spec.nodeName={}", target.name));
            let pods = Api::<Typed<Pod>>::namespaced(site.client.clone(), &site.names.namespace).list(&on_node).await?;
            for pod in pods.items.iter().filter(|pod| !stays(pod)) {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                match evict(site, &site.names.namespace, name, uid).await {
                    // It went by itself, which is what a drain wants.
                    Ok(()) => done.push(format!("pod {name} was evicted")),
                    Err(FaultError::Changed(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(done)
        })
    }

    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(attest_left(site, &target.name, within))
    }

    fn is_recovered(&self, state: &TargetState, target: &FaultTarget) -> bool {
        state.serving().is_some_and(|pod| pod.node.as_deref() != Some(&target.name))
    }

    fn heal<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(uncordon(&site.client, &target.name, &target.uid, &site.run))
    }
}
