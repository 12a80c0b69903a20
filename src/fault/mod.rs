//! The fault contract, the journal, one file a fault.
//!
//! A fault is resolved to one target right before it is injected, its undo is on disk before anything is changed, the deletion or change is conditioned on the
//! target's uid, and evidence is gathered that it took effect. A fault that was not proven to happen proves nothing.

mod blast_radius;
mod container_crash;
mod controller;
mod disk_full;
mod eviction;
pub mod journal;
mod marks;
mod node_cordon;
mod node_drain;
mod node_loss;
mod node_outage;
mod node_taint;
mod pod_kill;
mod process_hang;
mod rollout_restart;
mod scale_zero;
mod service_cut;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use thiserror::Error;

use crate::cluster::{Capability, ClusterError, ClusterProvider, NodeAction, Permission, Typed};
use crate::experiment::{BlastRadius, Controller, FaultSpec};
use crate::model::{ContainerSeen, FaultTarget, OwnerSeen, PodSeen};
use crate::sql::{self, Deadlines, Session};
use crate::target::{Names, NotSeen, TargetState, Watch};

pub use blast_radius::BLAST_RADIUS_PERMISSIONS;
pub use container_crash::{ContainerCrash, CrashBy};
pub use controller::scale_back;
pub use disk_full::DiskFull;
pub use eviction::PodEvict;
pub use marks::{LEAK_CHECK_PERMISSIONS, marked_by, run_mark, uncordon, untaint};
pub use node_cordon::NodeCordon;
pub use node_drain::NodeDrain;
pub use node_loss::NodeLoss;
pub use node_outage::{NodeOutage, Outage};
pub use node_taint::NodeTaint;
pub use pod_kill::PodKill;
pub use process_hang::ProcessHang;
pub use rollout_restart::RolloutRestart;
pub use scale_zero::ScaleZero;
pub use service_cut::ServiceCut;

use journal::Undo;

/// Where faults act: one target in one cluster.
pub struct Site {
    /// The API server.
    pub client: kube::Client,
    /// The target's objects.
    pub names: Names,
    /// What the watches tell of it.
    pub watch: Watch,
    /// The database, as clients reach it.
    pub sql: sql::Target,
    /// What can be done to nodes and containers.
    pub provider: Arc<dyn ClusterProvider>,
    /// Where the claim is mounted in the database container.
    pub mount: String,
    /// The pod's port to which the Service leads.
    pub port: u16,
    /// `terminationGracePeriodSeconds` of the target's pod.
    pub pod_grace: Duration,
    /// The run, which marks what is ours.
    pub run: String,
}

impl Site {
    /// What marks a file, a rule or a unit on a node as the run's.
    fn mark(&self) -> String {
        format!("chaos-{}", self.run)
    }
}

/// Why a fault could not be injected, or not be shown to have happened.
#[derive(Debug, Error)]
pub enum FaultError {
    /// There is nothing to aim at.
    #[error("no target: {0}")]
    NoTarget(String),
    /// The target changed or went between being resolved and being hit.
    #[error("the target was not the one that was resolved: {0}")]
    Changed(String),
    /// There is nothing left to do, and what is there is not the run's to undo.
    #[error("somebody else did it before: {0}")]
    Already(String),
    /// It would reach further than it may.
    #[error("outside of the blast radius: {0}")]
    BlastRadius(String),
    /// The API server refused.
    #[error("the API server refused: {0}")]
    Api(#[from] kube::Error),
    /// The provider failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Something that had to be seen was not.
    #[error(transparent)]
    NotSeen(#[from] NotSeen),
}

/// Evidence whether a fault really took effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attestation {
    /// True when it did.
    pub attested: bool,
    /// One fact a line.
    pub evidence: Vec<String>,
}

/// One kind of fault with its parameters. Its word, parameters and reach are in the experiment's table of faults.
pub trait Fault: Send + Sync {
    /// Resolves the target as it is now. Called right before [`Fault::inject`].
    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>>;

    /// What it asks of the API server beside what every run asks, for a target with this controller.
    fn permissions(&self, controller: Controller) -> &'static [Permission] {
        let _ = controller;
        &[]
    }

    /// Whether its witness is a login, for which the way in and the password must be known.
    fn asks_engine(&self) -> bool {
        false
    }

    /// What undoes the mutation; goes into the journal before it.
    fn undo(&self, site: &Site, target: &FaultTarget) -> Undo;

    /// Makes the mutation, and says what was done, one fact a line; often that is nothing that the fault's name does not say.
    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>>;

    /// Gathers evidence that it took effect, until that is certain or `within` is over.
    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation>;

    /// What an operator does to help the cluster, once the fault was seen to take effect; says what was done. [`Fault::undo`] covers it. Mostly nothing.
    fn intervene<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<Vec<String>, FaultError>> {
        let _ = (site, target);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// How long the fault lasts before it is healed. `None`: the target recovers by itself, and is healed after that.
    fn lasts(&self) -> Option<Duration> {
        None
    }

    /// Whether the target serves again after this fault.
    fn is_recovered(&self, state: &TargetState, target: &FaultTarget) -> bool;

    /// Undoes the mutation. Called however often, it undoes only what this fault did. Says what it did.
    fn heal<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>>;
}

/// The fault for a plan's entry.
pub fn fault(spec: &FaultSpec) -> Box<dyn Fault> {
    match *spec {
        FaultSpec::PodKill { grace } => Box::new(PodKill { grace }),
        FaultSpec::PodEvict => Box::new(PodEvict),
        FaultSpec::ContainerCrash => Box::new(ContainerCrash { by: CrashBy::Signal }),
        FaultSpec::ProcessCrash => Box::new(ContainerCrash { by: CrashBy::DatabaseProcess }),
        FaultSpec::OomKill => Box::new(ContainerCrash { by: CrashBy::Memory }),
        FaultSpec::ProcessHang { lasts } => Box::new(ProcessHang { lasts }),
        FaultSpec::ServiceCut { lasts } => Box::new(ServiceCut { lasts }),
        FaultSpec::DiskFull { lasts } => Box::new(DiskFull { lasts }),
        FaultSpec::RolloutRestart => Box::new(RolloutRestart),
        FaultSpec::ScaleZero { lasts } => Box::new(ScaleZero { lasts }),
        FaultSpec::NodeCordon { lasts } => Box::new(NodeCordon { lasts }),
        FaultSpec::NodeDrain => Box::new(NodeDrain),
        FaultSpec::NodeTaint => Box::new(NodeTaint),
        FaultSpec::NodeFreeze { lasts } => Box::new(NodeOutage { how: Outage::Freeze, lasts }),
        FaultSpec::NodePowerOff { lasts, out_of_service: false } => Box::new(NodeOutage { how: Outage::PowerOff, lasts }),
        FaultSpec::NodePowerOff { out_of_service: true, .. } => Box::new(NodeLoss),
        FaultSpec::KubeletStop { lasts } => Box::new(NodeOutage { how: Outage::KubeletStop, lasts }),
    }
}

/// Resolves a fault's target as it is now, and refuses one that the fault may not hit.
pub async fn aim(spec: &FaultSpec, fault: &dyn Fault, site: &Site, radius: &BlastRadius) -> Result<FaultTarget, FaultError> {
    let target = fault.resolve(site).await?;
    if spec.takes_node() {
        blast_radius::within(&site.client, radius, &target.node).await?;
    }
    Ok(target)
}

/// What a fault needs of the provider beside the Kubernetes API.
pub fn needs(spec: &FaultSpec) -> Option<Capability> {
    match spec {
        FaultSpec::PodKill { .. } | FaultSpec::PodEvict | FaultSpec::RolloutRestart | FaultSpec::ScaleZero { .. } => None,
        FaultSpec::NodeCordon { .. } | FaultSpec::NodeDrain | FaultSpec::NodeTaint => None,
        FaultSpec::ContainerCrash | FaultSpec::ProcessCrash | FaultSpec::ProcessHang { .. } => Some(Capability::SignalContainer),
        FaultSpec::OomKill => Some(Capability::ExhaustMemory),
        FaultSpec::ServiceCut { .. } => Some(Capability::CutService),
        FaultSpec::DiskFull { .. } => Some(Capability::FillVolume),
        FaultSpec::NodeFreeze { .. } => Some(Capability::FreezeNode),
        FaultSpec::NodePowerOff { .. } => Some(Capability::PowerNode),
        FaultSpec::KubeletStop { .. } => Some(Capability::StopKubelet),
    }
}

/// Which of these faults, each with what it is called, a provider with these capabilities must refuse, and why.
pub fn refusals<'a>(faults: impl IntoIterator<Item = (&'a str, &'a FaultSpec)>, capabilities: &[Capability]) -> Vec<String> {
    let refusal = |(id, spec): (&str, &FaultSpec)| {
        let missing = needs(spec).filter(|need| !capabilities.contains(need))?;
        Some(format!("{id} needs {}, which this cluster's provider cannot do", missing.words()))
    };
    faults.into_iter().filter_map(refusal).collect()
}

/// Does something on a node, and says what was done.
async fn act(site: &Site, node: &str, action: &NodeAction) -> Result<String, FaultError> {
    Ok(site.provider.act(&site.client, node, action).await?)
}

/// The pod that serves now, as a target.
fn serving_pod(site: &Site) -> Result<FaultTarget, FaultError> {
    let state = site.watch.now();
    let pod = state.serving().ok_or_else(|| FaultError::NoTarget(state.describe()))?;
    Ok(FaultTarget {
        kind: "Pod".to_owned(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        node: pod.node.clone().unwrap_or_default(),
        owner: pod.owner.clone(),
    })
}

/// The database container of the pod that serves now, as a target. Its uid is the container's id, which names one instance for ever.
fn serving_container(site: &Site) -> Result<FaultTarget, FaultError> {
    let state = site.watch.now();
    let pod = state.serving().ok_or_else(|| FaultError::NoTarget(state.describe()))?;
    let container = pod.containers.iter().find(|container| container.name == site.names.container);
    let id = container.and_then(|container| container.id.clone()).ok_or_else(|| FaultError::NoTarget(state.describe()))?;
    Ok(FaultTarget {
        kind: "Container".to_owned(),
        name: format!("{}/{}", pod.name, site.names.container),
        uid: id,
        node: pod.node.clone().unwrap_or_default(),
        owner: pod.owner.clone(),
    })
}

/// The node of the pod that serves now, as a target. Whether it may be hit is looked at in [`aim`].
async fn serving_node(site: &Site) -> Result<FaultTarget, FaultError> {
    let pod = serving_pod(site)?;
    let node = Api::<Typed<Node>>::all(site.client.clone()).get(&pod.node).await?;
    let uid = node.0.metadata.uid.unwrap_or_default();
    Ok(FaultTarget { kind: "Node".to_owned(), name: pod.node.clone(), uid, node: pod.node, owner: pod.owner })
}

/// The pod and the container that a container target names, in whatever instance it is now.
fn container_of<'a>(state: &'a TargetState, target: &FaultTarget) -> Option<(&'a PodSeen, &'a ContainerSeen)> {
    let (pod, container) = target.name.split_once('/')?;
    let pod = state.pods.values().find(|seen| seen.name == pod)?;
    Some((pod, pod.containers.iter().find(|seen| seen.name == container)?))
}

/// Between a login that was accepted and the next.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Shows that nobody answers a login through the Service while a fault lasts. A TCP connection would prove nothing: the kernel of a stopped process, and a
/// published port with nothing behind it, accept it all the same. Nor does a login that was accepted right after the fault disprove it: SIGSTOP holds for a process
/// once the thread that takes it has run, and the others serve on until then.
async fn attest_unanswered(site: &Site, lasts: Duration, within: Duration) -> Attestation {
    let wait = lasts.min(within).min(Duration::from_secs(2));
    let begun = Instant::now();
    loop {
        let left = wait.saturating_sub(begun.elapsed());
        match Session::connect(&site.sql, Deadlines { connect: left, login: left }).await {
            Err(error) => {
                return Attestation { attested: true, evidence: vec![format!("a login through the Service got no answer: {error}")] };
            }
            Ok(_) if begun.elapsed() > wait / 4 => {
                return Attestation { attested: false, evidence: vec!["a login through the Service was accepted".to_owned()] };
            }
            Ok(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
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

/// The old object must go, and a new pod of the same controller must come: only together do they show that a pod's removal took effect and that it was the pod
/// of the controller under test.
async fn attest_replaced(site: &Site, target: &FaultTarget, within: Duration) -> Attestation {
    let owner = target.owner.as_ref();
    let mut attestation = Attestation::default();
    let gone = site.watch.until(&format!("pod {} gone", target.name), within, |state| !state.has_pod(&target.uid)).await;
    match gone {
        Ok(_) => attestation.evidence.push(format!("pod uid {} is gone", target.uid)),
        Err(error) => {
            attestation.evidence.push(error.to_string());
            return attestation;
        }
    }
    let replaced = site.watch.until("a replacement pod", within, |state| replacement(state.pods.values(), target, owner).is_some()).await;
    match replaced {
        Ok(state) => {
            let pod = replacement(state.pods.values(), target, owner).expect("the wait ended because there is one");
            attestation.evidence.push(match &pod.owner {
                Some(owner) => format!("pod uid {} of the same {} {} replaces it", pod.uid, owner.kind, owner.name),
                None => format!("pod uid {} replaces it", pod.uid),
            });
            attestation.attested = true;
        }
        Err(error) => attestation.evidence.push(error.to_string()),
    }
    attestation
}

/// No pod of the target may be on the node any more.
async fn attest_left(site: &Site, node: &str, within: Duration) -> Attestation {
    let emptied = |state: &TargetState| state.pods.values().all(|pod| pod.node.as_deref() != Some(node));
    match site.watch.until(&format!("no pod of the target on node {node}"), within + site.pod_grace, emptied).await {
        Ok(_) => Attestation { attested: true, evidence: vec![format!("no pod of the target is on node {node}")] },
        Err(error) => Attestation { attested: false, evidence: vec![error.to_string()] },
    }
}
