//! A node is frozen, or its power is cut, for a time.
//!
//! Kubernetes notices after the node monitor's grace period and moves the pod after the pod's own toleration: about 350 s by default. On kind and k3d all nodes
//! share one kernel, so what the node's processes wrote survives even this.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::wait::await_condition;

use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, serving_node};
use crate::cluster::{Permission, Typed};
use crate::model::FaultTarget;
use crate::target::TargetState;

/// How a node goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Everything on it stands still.
    Freeze,
    /// Everything on it ends at once.
    PowerOff,
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
    async fn turn(self, site: &Site, node: &str, off: bool) -> Result<(), FaultError> {
        match self.how {
            Outage::Freeze => site.provider.freeze_node(&site.client, node, off).await?,
            Outage::PowerOff => site.provider.power_node(&site.client, node, !off).await?,
        }
        Ok(())
    }
}

impl Fault for NodeOutage {
    fn permissions(&self) -> &'static [Permission] {
        const { &[Permission::core("nodes", &["get", "list", "watch"])] }
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(serving_node(site))
    }

    fn undo(&self, target: &FaultTarget) -> Undo {
        match self.how {
            Outage::Freeze => Undo::ThawNode { node: target.name.clone() },
            Outage::PowerOff => Undo::PowerOnNode { node: target.name.clone() },
        }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(self.turn(site, &target.name, true))
    }

    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, _within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(async move {
            let not_ready = await_condition(Api::<Typed<Node>>::all(site.client.clone()), &target.name, |node: Option<&Typed<Node>>| {
                let conditions = node.and_then(|node| node.status.as_ref()).and_then(|status| status.conditions.as_ref());
                conditions.is_some_and(|all| all.iter().any(|condition| condition.type_ == "Ready" && condition.status != "True"))
            });
            let seen = tokio::time::timeout(self.lasts, not_ready).await;
            let (attested, evidence) = match seen {
                Ok(Ok(_)) => (true, format!("node {} is not Ready any more", target.name)),
                _ => (false, format!("node {} was still Ready when the fault ended after {} s", target.name, self.lasts.as_secs())),
            };
            Attestation { attested, evidence: vec![evidence] }
        })
    }

    fn lasts(&self) -> Option<Duration> {
        Some(self.lasts)
    }

    fn is_recovered(&self, state: &TargetState, _target: &FaultTarget) -> bool {
        state.serving().is_some()
    }

    fn heal<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(async move {
            self.turn(site, &target.name, false).await?;
            Ok(format!("node {} runs again", target.name))
        })
    }
}
