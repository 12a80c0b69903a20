//! Deletes the target's pod, with the pod's own grace period, another, or none.
//!
//! With no grace the object goes at once and the process is killed soon after; with grace the process is asked to stop first. In both cases a Deployment's
//! ReplicaSet makes the replacement at once, while a StatefulSet waits until the old pod is gone.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};

use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Reach, Site};
use crate::experiment::Grace;
use crate::model::{FaultTarget, OwnerSeen, PodSeen, format_duration};

/// Deletes the target's pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodKill {
    /// The grace period of the deletion.
    pub grace: Grace,
}

impl PodKill {
    fn grace_of(self, site: &Site) -> Duration {
        match self.grace {
            Grace::Pod => site.pod_grace,
            Grace::Of(grace) => grace,
        }
    }
}

impl Fault for PodKill {
    fn kind(&self) -> &'static str {
        "pod-kill"
    }

    fn parameters(&self) -> String {
        match self.grace {
            Grace::Pod => "the pod's own grace period".to_owned(),
            Grace::Of(grace) if grace.is_zero() => "grace 0s (forced)".to_owned(),
            Grace::Of(grace) => format!("grace {}", format_duration(grace)),
        }
    }

    fn reach(&self) -> Reach {
        Reach::ProcessDeath
    }

    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(async {
            let state = site.watch.now();
            let pod = state.serving().ok_or_else(|| FaultError::NoTarget(state.describe()))?;
            Ok(FaultTarget {
                kind: "Pod".to_owned(),
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                node: pod.node.clone().unwrap_or_default(),
            })
        })
    }

    fn undo(&self, _target: &FaultTarget) -> Undo {
        Undo::Nothing { why: "the pod's controller replaces it".to_owned() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let parameters = DeleteParams {
                grace_period_seconds: match self.grace {
                    Grace::Pod => None,
                    Grace::Of(grace) => Some(u32::try_from(grace.as_secs()).unwrap_or(u32::MAX)),
                },
                preconditions: Some(Preconditions { uid: Some(target.uid.clone()), resource_version: None }),
                ..DeleteParams::default()
            };
            match Api::<Pod>::namespaced(site.client.clone(), &site.names.namespace).delete(&target.name, &parameters).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Err(FaultError::Changed(status.message)),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// The old object must go, and a new pod of the same controller must come: only together do they show that this deletion took effect and that it was
    /// the pod of the controller under test.
    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(async move {
            let mut attestation = Attestation::default();
            let owner = site.watch.now().pods.get(&target.uid).and_then(|pod| pod.owner.clone());
            let within = within + self.grace_of(site);
            let gone = site.watch.until(&format!("pod {} gone", target.name), within, |state| !state.has_pod(&target.uid)).await;
            match gone {
                Ok(_) => attestation.evidence.push(format!("pod uid {} is gone", target.uid)),
                Err(error) => {
                    attestation.evidence.push(error.to_string());
                    return attestation;
                }
            }
            let replaced = site
                .watch
                .until("a replacement pod", within, |state| replacement(state.pods.values(), target, owner.as_ref()).is_some())
                .await;
            match replaced {
                Ok(state) => {
                    let pod = replacement(state.pods.values(), target, owner.as_ref()).expect("the wait ended because there is one");
                    attestation.evidence.push(match &pod.owner {
                        Some(owner) => format!("pod uid {} of the same {} {} replaces it", pod.uid, owner.kind, owner.name),
                        None => format!("pod uid {} replaces it", pod.uid),
                    });
                    attestation.attested = true;
                }
                Err(error) => attestation.evidence.push(error.to_string()),
            }
            attestation
        })
    }

    fn heal<'a>(&'a self, _site: &'a Site, _target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(async { Ok("nothing to undo: the pod's controller replaced it".to_owned()) })
    }
}

/// A pod that came after the target and has the same owner. When the target's owner is not known any more, any owner will do.
fn replacement<'a>(mut pods: impl Iterator<Item = &'a PodSeen>, target: &FaultTarget, owner: Option<&OwnerSeen>) -> Option<&'a PodSeen> {
    pods.find(|pod| {
        pod.uid != target.uid
            && !pod.terminating
            && match (owner, &pod.owner) {
                (Some(old), Some(new)) => old.uid == new.uid,
                (Some(_), None) => false,
                (None, _) => true,
            }
    })
}
