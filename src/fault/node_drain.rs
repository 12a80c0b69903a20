//! Cordon, then evict as `kubectl drain` does: DaemonSet and mirror pods stay, PodDisruptionBudgets are asked.
//!
//! Only pods of the target's own namespace are evicted: the fault is aimed at the target, and its blast radius must not be every other tenant of the node.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::eviction::{EVICT, evict};
use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, serving_node};
use crate::cluster::{Permission, Typed};
use crate::model::FaultTarget;
use crate::target::TargetState;

/// Says which run cordoned a node; a cordon without it is somebody else's and stays.
pub const ANNOTATION_CORDONED_BY: &str = "chaos.sqledge.dev/cordoned-by";

/// Cordons the target's node and evicts the target from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeDrain;

/// Cordons a node in the run's name. A node that was cordoned before is left as it is.
async fn cordon(client: &kube::Client, node: &FaultTarget, run: &str) -> Result<(), FaultError> {
    let nodes = Api::<Typed<Node>>::all(client.clone());
    let now = nodes.get(&node.name).await?;
    if now.metadata.uid.as_deref() != Some(&node.uid) {
        return Err(FaultError::Changed(format!("node {} is another one now", node.name)));
    }
    if now.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false) {
        return Ok(());
    }
    // The resource version makes cordon and annotation one step: had somebody cordoned it meanwhile, this would be refused.
    let patch = json!({
        "metadata": { "resourceVersion": now.metadata.resource_version, "annotations": { ANNOTATION_CORDONED_BY: run } },
        "spec": { "unschedulable": true },
    });
    nodes.patch(&node.name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

/// Takes back the run's own cordon. Says what was done.
pub async fn uncordon(client: &kube::Client, node: &str, uid: &str, run: &str) -> Result<String, kube::Error> {
    let nodes = Api::<Typed<Node>>::all(client.clone());
    let Some(now) = nodes.get_opt(node).await? else {
        return Ok(format!("node {node} is gone"));
    };
    let ours = now.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_CORDONED_BY)).is_some_and(|by| by == run);
    if !ours || now.metadata.uid.as_deref() != Some(uid) {
        return Ok(format!("node {node} is not cordoned by this run, so it stays as it is"));
    }
    let patch = json!({
        "metadata": { "resourceVersion": now.metadata.resource_version, "annotations": { ANNOTATION_CORDONED_BY: null } },
        "spec": { "unschedulable": null },
    });
    nodes.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(format!("node {node} is uncordoned"))
}

/// What [`cordoned_by`] asks of the API server.
pub const LEAK_CHECK_PERMISSIONS: [Permission; 1] = [Permission::core("nodes", &["list"])];

/// Names of nodes that carry the run's cordon.
pub async fn cordoned_by(client: &kube::Client, run: &str) -> Result<Vec<String>, kube::Error> {
    let nodes = Api::<Typed<Node>>::all(client.clone()).list(&ListParams::default()).await?;
    let ours = nodes
        .into_iter()
        .filter(|node| node.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_CORDONED_BY)).is_some_and(|by| by == run));
    Ok(ours.filter_map(|node| node.0.metadata.name).collect())
}

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
    fn permissions(&self) -> &'static [Permission] {
        const { &[Permission::core("nodes", &["get", "patch"]), Permission::core("pods", &["list"]), EVICT] }
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(serving_node(site))
    }

    fn undo(&self, target: &FaultTarget) -> Undo {
        Undo::Uncordon { node: target.name.clone(), uid: target.uid.clone() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            cordon(&site.client, target, &site.run).await?;
            let on_node = ListParams::default().fields(&format!("spec.nodeName={}", target.name));
            let pods = Api::<Typed<Pod>>::namespaced(site.client.clone(), &site.names.namespace).list(&on_node).await?;
            for pod in pods.items.iter().filter(|pod| !stays(pod)) {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                match evict(site, &site.names.namespace, name, uid).await {
                    // It went by itself, which is what a drain wants.
                    Ok(()) | Err(FaultError::Changed(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }

    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(async move {
            let emptied = |state: &TargetState| state.pods.values().all(|pod| pod.node.as_deref() != Some(&target.name));
            match site.watch.until(&format!("no pod of the target on node {}", target.name), within + site.pod_grace, emptied).await {
                Ok(_) => Attestation {
                    attested: true,
                    evidence: vec![format!("node {} is cordoned and no pod of the target is on it", target.name)],
                },
                Err(error) => Attestation { attested: false, evidence: vec![error.to_string()] },
            }
        })
    }

    fn is_recovered(&self, state: &TargetState, target: &FaultTarget) -> bool {
        state.serving().is_some_and(|pod| pod.node.as_deref() != Some(&target.name))
    }

    fn heal<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(async move { Ok(uncordon(&site.client, &target.name, &target.uid, &site.run).await?) })
    }
}
