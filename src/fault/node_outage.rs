//! A node is frozen, its power is cut, or its kubelet stops, for a time.
//!
//! Kubernetes notices after the node monitor's grace period and moves the pod after the pod's own toleration: about 350 s by default. On kind and k3d all nodes
//! share one kernel, so what the node's processes wrote survives even this.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::wait::await_condition;

use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, act, serving_node};
use crate::cluster::{NodeAction, Permission, Typed};
use crate::experiment::Controller;
use crate::model::FaultTarget;
use crate::target::TargetState;

/// How a node goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Everything on it stands still.
    Freeze,
    /// Everything on it ends at once.
    PowerOff,
    /// Nobody speaks for it, while its pods run on.
    KubeletStop,
}

/// A node goes for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeOutage {
    /// How.
    pub how: Outage,
    /// How long.
    pub lasts: Duration,
}

impl NodeOutage {
    fn begin(self, site: &Site) -> NodeAction {
        match self.how {
            Outage::Freeze => NodeAction::Freeze,
            Outage::PowerOff => NodeAction::PowerOff,
            Outage::KubeletStop => NodeAction::StopKubelet { lasts: self.lasts, mark: site.mark() },
        }
    }

    fn end(self, site: &Site) -> NodeAction {
        match self.how {
            Outage::Freeze => NodeAction::Thaw,
            Outage::PowerOff => NodeAction::PowerOn,
            Outage::KubeletStop => NodeAction::StartKubelet { lasts: self.lasts, mark: site.mark() },
        }
    }
}

/// The cluster must have noticed that the node is gone.
pub(super) async fn until_not_ready(site: &Site, target: &FaultTarget, within: Duration) -> Attestation {
    let not_ready = await_condition(Api::<Typed<Node>>::all(site.client.clone()), &target.name, |node: Option<&Typed<Node>>| {
        let conditions = node.and_then(|node| node.status.as_ref()).and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|condition| condition.type_ == "Ready" && condition.status != "True"))
    });
    let (attested, evidence) = match tokio::time::timeout(within, not_ready).await {
        Ok(Ok(_)) => (true, format!("node {} is not Ready any more", target.name)),
        _ => (false, format!("node {} was still Ready {} s after the fault began", target.name, within.as_secs())),
    };
    Attestation { attested, evidence: vec![evidence] }
}

impl Fault for NodeOutage {
    fn permissions(&self, _controller: Controller) -> &'static [Permission] {
        const { &[Permission::core("nodes", &["get", "list", "watch"])] }
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(serving_node(site))
    }

    fn undo(&self, site: &Site, target: &FaultTarget) -> Undo {
        let node = target.name.clone();
        match self.how {
            Outage::Freeze => Undo::ThawNode { node },
            Outage::PowerOff => Undo::PowerOnNode { node },
            Outage::KubeletStop => Undo::StartKubelet { node, lasts_s: self.lasts.as_secs(), mark: site.mark() },
        }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move { Ok(vec![act(site, &target.name, &self.begin(site)).await?]) })
    }

    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, _within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(until_not_ready(site, target, self.lasts))
    }

    fn lasts(&self) -> Option<Duration> {
        Some(self.lasts)
    }

    fn is_recovered(&self, state: &TargetState, _target: &FaultTarget) -> bool {
        state.serving().is_some()
    }

    fn heal<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(async move { act(site, &target.name, &self.end(site)).await })
    }
}
