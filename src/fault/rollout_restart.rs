//! Restarts the target through its controller, as `kubectl rollout restart` does: the planned replacement of a pod that every upgrade makes.

use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::json;

use super::controller::{self, Controller};
use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, attest_replaced, serving_pod};
use crate::cluster::Permission;
use crate::experiment;
use crate::model::FaultTarget;
use crate::target::TargetState;

/// What kubectl writes into the pod template, so that the template differs and the controller replaces its pods.
const ANNOTATION: &str = "kubectl.kubernetes.io/restartedAt";

/// A restart through the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolloutRestart;

impl Fault for RolloutRestart {
    fn permissions(&self, of: experiment::Controller) -> &'static [Permission] {
        controller::permissions(of)
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(async { serving_pod(site) })
    }

    fn undo(&self, _site: &Site, _target: &FaultTarget) -> Undo {
        Undo::Nothing { why: "the controller replaces the pod".to_owned() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        Box::pin(async move {
            let controller = Controller::behind(site, target.owner.as_ref()).await?;
            let at = jiff::Timestamp::now().to_string();
            let restart = json!({ "metadata": {}, "spec": { "template": { "metadata": { "annotations": { ANNOTATION: at } } } } });
            controller.edit(&site.client, |_| Some(restart.clone())).await?;
            Ok(vec![format!("the pod template of {} {} was marked to be restarted", controller.kind, controller.name)])
        })
    }

    /// A Deployment makes a new ReplicaSet for a new template, so the replacement's owner is another one there.
    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(async move {
            let of_any_owner = FaultTarget { owner: None, ..target.clone() };
            attest_replaced(site, &of_any_owner, within + site.pod_grace).await
        })
    }

    fn is_recovered(&self, state: &TargetState, target: &FaultTarget) -> bool {
        state.serving().is_some_and(|pod| pod.uid != target.uid)
    }

    fn heal<'a>(&'a self, _site: &'a Site, _target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(async { Ok("nothing to undo: the controller replaced the pod".to_owned()) })
    }
}
