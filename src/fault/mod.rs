//! The fault contract, the journal, one file a fault.
//!
//! A fault is resolved to one target right before it is injected, its undo is on disk before anything is changed, the deletion or change is conditioned on the
//! target's uid, and evidence is gathered that it took effect. A fault that was not proven to happen proves nothing.

pub mod journal;
mod pod_kill;

use std::time::Duration;

use futures::future::BoxFuture;
use thiserror::Error;

use crate::experiment::FaultSpec;
use crate::model::FaultTarget;
use crate::target::{Names, NotSeen, Watch};

pub use pod_kill::PodKill;

/// Where faults act: one target in one cluster.
pub struct Site {
    /// The API server.
    pub client: kube::Client,
    /// The target's objects.
    pub names: Names,
    /// What the watches tell of it.
    pub watch: Watch,
    /// `terminationGracePeriodSeconds` of the target's pod.
    pub pod_grace: Duration,
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
    /// The API server refused.
    #[error("the API server refused: {0}")]
    Api(#[from] kube::Error),
    /// The undo could not be saved, so nothing was injected.
    #[error("the journal cannot be written, so nothing was injected: {0}")]
    Journal(#[from] std::io::Error),
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

/// The class of durability bug that a fault can reveal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Memory of the process is lost, the kernel's page cache is not.
    ProcessDeath,
}

impl Reach {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Reach::ProcessDeath => "process-death",
        }
    }

    /// What it means, for a reader who is no engineer.
    pub fn meaning(self) -> &'static str {
        match self {
            Reach::ProcessDeath => {
                "what the process held in memory is lost; what it wrote is kept by the kernel, so a missing fsync does not show"
            }
        }
    }
}

/// One kind of fault with its parameters.
pub trait Fault: Send + Sync {
    /// The word in the experiment file.
    fn kind(&self) -> &'static str;

    /// The parameters in force, in words.
    fn parameters(&self) -> String;

    /// What it can reveal.
    fn reach(&self) -> Reach;

    /// Resolves the target as it is now. Called right before [`Fault::inject`].
    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>>;

    /// What undoes the mutation; goes into the journal before it.
    fn undo(&self, target: &FaultTarget) -> journal::Undo;

    /// Makes the mutation.
    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<(), FaultError>>;

    /// Gathers evidence that it took effect, until that is certain or `within` is over.
    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation>;

    /// Undoes the mutation. Called however often, it undoes only what this fault did. Says what it did.
    fn heal<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>>;
}

/// The fault for a plan's entry.
pub fn fault(spec: &FaultSpec) -> Box<dyn Fault> {
    match spec {
        FaultSpec::PodKill { grace } => Box::new(PodKill { grace: *grace }),
    }
}
