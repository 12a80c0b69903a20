//! A `NoExecute` taint on the pod's node, until the target serves elsewhere: pods that do not tolerate it are deleted by the cluster.
//!
//! Every pod of the node that does not tolerate it goes, also those of others: that is what such a taint is, and `chaos plan` says so.

use std::time::Duration;

use futures::future::BoxFuture;

use super::journal::Undo;
use super::marks::{MARK, taint, untaint};
use super::{Attestation, Fault, FaultError, Site, attest_left, serving_node};
use crate::cluster::Permission;
use crate::experiment::Controller;
use crate::model::FaultTarget;
use crate::target::TargetState;

/// The taint's key. Its value names the run.
const KEY: &str = "chaos.sqledge.dev/fault";

/// A taint on the target's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeTaint;

impl Fault for NodeTaint {
    fn permissions(&self, _controller: Controller) -> &'static [Permission] {
        &[MARK]
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(serving_node(site))
    }

    fn undo(&self, _site: &Site, target: &FaultTarget) -> Undo {
        Undo::Untaint { node: target.name.clone(), uid: target.uid.clone() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move { Ok(vec![taint(&site.client, target, KEY, &site.run).await?]) })
    }

    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(attest_left(site, &target.name, within))
    }

    fn is_recovered(&self, state: &TargetState, target: &FaultTarget) -> bool {
        state.serving().is_some_and(|pod| pod.node.as_deref() != Some(&target.name))
    }

    fn heal<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(untaint(&site.client, &target.name, &target.uid, &site.run))
    }
}
