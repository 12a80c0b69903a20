//! The orchestration: phases of a run, scheduling of faults, cancellation.
//!
//! preflight → deploy → steady state → warm-up → faults → quiesce → cold restart → final read → clean up → leak check → verdict. Whatever ends a run early,
//! what it changed is undone, what it measured is judged, and what is left is said.

mod bench;
mod clean_up;
mod clock;
mod existing;
mod faults;
mod folder;
mod inject;
mod node_access;
mod permissions;
mod phases;
mod preflight;
mod recover;
mod timeline;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::cluster::ClusterError;
use crate::experiment::{ClusterRef, Plan};
use crate::fault::FaultError;
use crate::model::{EventSink, LeakItem};
use crate::report::Report;
use crate::target::{NotSeen, TargetError};

pub use bench::{Benched, Question, bench};
pub use inject::{InjectOptions, Injected, inject};
pub use permissions::{Needed, permissions};
pub use phases::with_causes;
pub use recover::{Recovery, recover};
pub use timeline::Timeline;

/// How long a namespace may take to go: its volumes go with it.
const CLEAN_UP_WITHIN: Duration = Duration::from_secs(180);

/// What is left in the cluster when a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Nothing.
    #[default]
    Never,
    /// The target of a run that did not pass.
    OnFailure,
    /// The target.
    Always,
}

/// How a run is made; what it shows is the plan's.
pub struct Options {
    /// The folder that gets a folder a run.
    pub reports: PathBuf,
    /// Where.
    pub cluster: ClusterRef,
    /// What is left at the end.
    pub keep: Keep,
    /// Who shows progress.
    pub live: Option<Box<dyn EventSink + Send>>,
}

/// Why a run ended before its end.
#[derive(Debug, Error)]
pub enum RunError {
    /// The cluster cannot be used.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The target cannot be created or asked.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A fault cannot be undone.
    #[error("the fault could not be undone")]
    Fault(#[from] FaultError),
    /// Something that had to come did not.
    #[error(transparent)]
    NotSeen(#[from] NotSeen),
    /// The engine does not answer as it must before any fault.
    #[error("the database does not answer: {0}")]
    Engine(String),
    /// The experiment's own statement cannot be run.
    #[error("the experiment's own statement cannot be run: {0}")]
    Statement(String),
    /// The harness cannot write what it must keep.
    #[error("the run's folder cannot be written: {0}")]
    Folder(#[from] std::io::Error),
    /// A fault was not injected, or only half.
    #[error("the fault was refused: {0}")]
    Refused(String),
    /// A signal asked it to end.
    #[error("interrupted")]
    Interrupted,
    /// Something that cannot be, was.
    #[error("bug in the harness: {0}")]
    Bug(String),
}

impl RunError {
    /// What to do, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            RunError::Cluster(error) => error.hint().map(str::to_owned),
            RunError::Target(error) => error.hint().map(str::to_owned),
            RunError::Fault(_) => Some("chaos recover, once what is in the way is gone".to_owned()),
            RunError::Folder(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                Some("free some space, or name another folder: --reports DIR".to_owned())
            }
            RunError::Folder(_) => Some("name a folder that can be written: --reports DIR".to_owned()),
            RunError::NotSeen(seen) if seen.last.contains("ErrImage") || seen.last.contains("ImagePullBackOff") => Some(
                "the nodes cannot get the image: load it into them, name another with target.image, or use --engine tds-sqlite".to_owned(),
            ),
            _ => None,
        }
    }
}

/// How a run ended.
pub struct Finished {
    /// The run's folder.
    pub folder: PathBuf,
    /// What it showed, as far as it got.
    pub report: Option<Report>,
    /// Why it ended early, if it did.
    pub error: Option<RunError>,
    /// Whether the fault phase was reached: from there on what goes wrong is a finding about the target.
    pub faults_began: bool,
    /// What of ours is left in the cluster and was not meant to be.
    pub left: Vec<LeakItem>,
}

/// Runs an experiment to its verdict. An error is one of before anything was created; later ones are in [`Finished`].
pub async fn run(plan: &Plan, options: Options, cancel: CancellationToken) -> Result<Finished, RunError> {
    phases::run(plan, options, cancel).await
}
