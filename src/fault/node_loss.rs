//! A node loses its power and does not come back: an operator declares it out of service, so that its pods and volumes may go elsewhere.
//!
//! Nobody but an operator can know that a silent node is off and not merely unheard. Until one says so, with the taint that Kubernetes has for it, the pod of a
//! StatefulSet stays `Terminating` for ever: <https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown>.

use std::time::Duration;

use futures::future::BoxFuture;

use super::journal::Undo;
use super::marks::{MARK, taint, untaint};
use super::node_outage::until_not_ready;
use super::{Attestation, Fault, FaultError, Site, act, serving_node};
use crate::cluster::{NodeAction, Permission};
use crate::experiment::Controller;
use crate::model::FaultTarget;
use crate::target::TargetState;

/// The taint that says that a node is off for certain.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A node is lost, until the target serves elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLoss;

impl Fault for NodeLoss {
    fn permissions(&self, _controller: Controller) -> &'static [Permission] {
        const { &[MARK, Permission::core("nodes", &["list", "watch"])] }
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(serving_node(site))
    }

    fn undo(&self, _site: &Site, target: &FaultTarget) -> Undo {
        Undo::ReturnNode { node: target.name.clone(), uid: target.uid.clone() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move { Ok(vec![act(site, &target.name, &NodeAction::PowerOff).await?]) })
    }

    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(until_not_ready(site, target, within))
    }

    fn intervene<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move {
            // Whoever set the taint, the operator's step is made.
            match taint(&site.client, target, OUT_OF_SERVICE, &site.run).await {
                Ok(done) | Err(FaultError::Already(done)) => Ok(vec![done]),
                Err(error) => Err(error),
            }
        })
    }

    fn is_recovered(&self, state: &TargetState, target: &FaultTarget) -> bool {
        state.serving().is_some_and(|pod| pod.node.as_deref() != Some(&target.name))
    }

    fn heal<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(async move {
            let on = act(site, &target.name, &NodeAction::PowerOn).await?;
            let untainted = untaint(&site.client, &target.name, &target.uid, &site.run).await?;
            Ok(format!("{on}; {untainted}"))
        })
    }
}
