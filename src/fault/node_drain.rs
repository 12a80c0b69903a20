//! Cordon, then evict as `kubectl drain` does: DaemonSet and mirror pods stay, PodDisruptionBudgets are asked.
//!
//! Only pods of the target's own namespace are evicted: the fault is aimed at the target, and its blast radius must not be every other tenant of the node. Where
//! one beside the target would not come back, or not with its data, the drain is refused, as `kubectl drain` refuses it without `--force` and
//! `--delete-emptydir-data`.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
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

fn controller(pod: &Pod) -> Option<&OwnerReference> {
    pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether a drain leaves the pod alone.
fn stays(pod: &Pod) -> bool {
    let of_daemon_set = controller(pod).is_some_and(|owner| owner.kind == "DaemonSet");
    let mirror = pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("kubernetes.io/config.mirror"));
    let over =
        pod.status.as_ref().and_then(|status| status.phase.as_deref()).is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
    of_daemon_set || mirror || over || pod.metadata.deletion_timestamp.is_some()
}

/// What an eviction would destroy of a pod.
fn destroyed(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if controller(pod).is_none() {
        return Some(format!("pod {name} has no controller that would replace it"));
    }
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let lost = volumes.find(|volume| volume.empty_dir.is_some()).map(|volume| volume.name.as_str())?;
    Some(format!("pod {name} would lose its emptyDir volume {lost}"))
}

/// The pods that the drain of a node evicts. Those of the target are its aim, whatever they lose; one of somebody else that would be destroyed refuses it.
async fn evicted(site: &Site, node: &str) -> Result<Vec<Pod>, FaultError> {
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = Api::<Typed<Pod>>::namespaced(site.client.clone(), &site.names.namespace).list(&on_node).await?;
    let evicted: Vec<Pod> = pods.items.into_iter().map(|Typed(pod)| pod).filter(|pod| !stays(pod)).collect();
    let of_others = evicted.iter().filter(|pod| !site.names.selects(pod.metadata.labels.as_ref()));
    let destroyed: Vec<String> = of_others.filter_map(destroyed).collect();
    match destroyed.as_slice() {
        [] => Ok(evicted),
        _ => Err(FaultError::BlastRadius(format!("a drain of node {node} destroys what is not of the target: {}", destroyed.join("; ")))),
    }
}

impl Fault for NodeDrain {
    fn permissions(&self, _controller: Controller) -> &'static [Permission] {
        const { &[MARK, Permission::core("pods", &["list"]), EVICT] }
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(async {
            let node = serving_node(site).await?;
            evicted(site, &node.name).await?;
            Ok(node)
        })
    }

    fn undo(&self, _site: &Site, target: &FaultTarget) -> Undo {
        Undo::Uncordon { node: target.name.clone(), uid: target.uid.clone() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move {
            let mut done = vec![cordon(&site.client, target, &site.run).await?];
            // Looked at once more: until the cordon, pods may still have come.
            for pod in evicted(site, &target.name).await? {
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
