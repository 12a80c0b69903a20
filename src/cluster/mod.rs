//! Where the cluster comes from, and what its nodes let us do.
//!
//! A provider gives a Kubernetes client, says how the target's Service is reached from here, and brings an image to the nodes. Everything else goes through
//! the Kubernetes API, the same for all of them.

mod context;
mod crash_point;
mod docker_node;
mod kind;
mod maker;
mod node_action;
mod node_pod;
mod node_ready;
mod node_script;
mod permission;
mod program;
mod requests;
mod sandbox;
pub mod sandbox_process;
mod shared_storage;
mod typed;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::experiment::{ClusterRef, SandboxSabotage};
use crate::model::Provider;
use node_action::unsupported;

pub use context::ContextProvider;
pub use crash_point::{CRASH_AT, crash_point};
pub use kind::KindProvider;
pub use maker::NODE_IMAGE;
pub use node_action::{CAPABLE, Capability, NodeAction, Signal};
pub use node_pod::{NODE_ACCESS_PERMISSIONS, NodeAccess};
pub use permission::{Permission, Permissions};
pub use program::{Program, ProgramError};
pub use sandbox::{SandboxProvider, Standing, StandingState};
pub use typed::Typed;

/// Why a cluster cannot be used. The message says what was seen; `hint` says what to do.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// A program of the provider failed or is missing.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The cluster is not there.
    #[error("{what}")]
    Missing {
        /// What is missing.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The cluster does not stand, and [`ClusterProvider::create`] would make it.
    #[error("{what}")]
    NotMade {
        /// What was looked for, and what was found.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The sandbox did not start.
    #[error("the sandbox did not start: {seen}")]
    Sandbox {
        /// What it said last.
        seen: String,
    },
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The API server answers with an error, or not at all.
    #[error("the API server does not answer as it should")]
    Api(#[from] kube::Error),
    /// The image cannot be brought to the nodes.
    #[error("the image {image} cannot be brought to the nodes: {why}")]
    Image {
        /// Which image.
        image: String,
        /// Why.
        why: String,
    },
    /// A pod that was to do something on a node did not.
    #[error("a pod on node {node} with image {image} did not do what it was made for: {state}; it said: {said}")]
    NodePod {
        /// Which node.
        node: String,
        /// The pod's image.
        image: String,
        /// The state in which it was last seen.
        state: String,
        /// What it wrote.
        said: String,
    },
    /// The provider cannot do what was asked.
    #[error("{what}")]
    Unsupported {
        /// What was asked.
        what: String,
        /// What to do instead.
        hint: String,
    },
}

impl ClusterError {
    /// What to do, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            ClusterError::Missing { hint, .. } | ClusterError::NotMade { hint, .. } | ClusterError::Unsupported { hint, .. } => Some(hint),
            ClusterError::Program(error) => error.hint(),
            ClusterError::NodePod { .. } => Some(
                "nodeAccess.image must have a `chroot` and be on the node or be pulled there; the node itself must have `sh`, `grep` and `awk`",
            ),
            ClusterError::Sandbox { .. } => Some("`chaos doctor` says what the sandbox needs"),
            _ => None,
        }
    }
}

/// An image that the nodes must have before the target is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageNeed {
    /// What the pod says.
    pub reference: String,
    /// An archive to load it from, when a node lacks it. `None`: the nodes pull it themselves.
    pub archive: Option<std::path::PathBuf>,
}

/// How the Service is reached from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrance {
    /// The node port to ask for; `None` lets the API server choose.
    pub node_port: Option<u16>,
    /// `host:port` where that node port is reached. `{port}` stands for a port that the API server chose.
    pub address: String,
}

impl Entrance {
    /// Where a Service with this node port is reached.
    pub fn address(&self, node_port: u16) -> String {
        self.address.replace("{port}", &node_port.to_string())
    }
}

/// What the journal keeps so that `chaos recover` finds the cluster again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Where it comes from.
    pub provider: Provider,
    /// Which one of those.
    pub name: String,
    /// How its nodes are reached, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_access: Option<NodeAccess>,
}

/// Where a cluster comes from.
pub trait ClusterProvider: Send + Sync {
    /// Which kind of provider.
    fn provider(&self) -> Provider;

    /// The cluster's name; empty for a sandbox of this run's own.
    fn name(&self) -> &str;

    /// Whether the cluster does not stand and [`ClusterProvider::create`] would make it.
    fn is_missing(&self) -> BoxFuture<'_, Result<bool, ClusterError>> {
        Box::pin(async { Ok(false) })
    }

    /// Makes the cluster. What is made is deleted by [`ClusterProvider::delete`] and by nothing else.
    fn create(&self) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async { Err(not_ours()) })
    }

    /// Gives a cluster that was just made the storage class that an experiment names, where that is one which is made here and it lacks it.
    fn provide_storage<'a>(&'a self, client: &'a kube::Client, class: &'a str) -> BoxFuture<'a, Result<(), ClusterError>> {
        let _ = (client, class);
        Box::pin(async { Ok(()) })
    }

    /// Deletes the cluster with everything in it.
    fn delete(&self) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async { Err(not_ours()) })
    }

    /// Starts what must be started and gives the client's configuration. [`ClusterError::NotMade`] where the cluster is yet to be made.
    fn connect(&self) -> BoxFuture<'_, Result<kube::Config, ClusterError>>;

    /// Ways to reach a Service from here, best first. `used` are the node ports that are taken.
    fn entrances<'a>(&'a self, client: &'a kube::Client, used: &'a [u16]) -> BoxFuture<'a, Result<Vec<Entrance>, ClusterError>>;

    /// Whether a pod can run the engine's own public image here. The sandbox cannot.
    fn runs_images(&self) -> bool {
        true
    }

    /// Sees to it that every node has the image.
    fn ensure_image<'a>(&'a self, image: &'a ImageNeed) -> BoxFuture<'a, Result<(), ClusterError>>;

    /// What can be done to nodes and containers from outside the Kubernetes API.
    fn capabilities(&self) -> &'static [Capability] {
        &[]
    }

    /// Does something on a node, and says what was done. A provider that cannot do it says so in [`ClusterProvider::capabilities`].
    fn act<'a>(&'a self, client: &'a kube::Client, node: &'a str, action: &'a NodeAction) -> BoxFuture<'a, Result<String, ClusterError>> {
        let _ = (client, node);
        Box::pin(async { Err(unsupported(action.needs())) })
    }

    /// How nodes are reached by pods, where that is how.
    fn node_access(&self) -> Option<&NodeAccess> {
        None
    }

    /// Ends what [`ClusterProvider::connect`] started, and nothing else.
    fn disconnect(&self) -> BoxFuture<'_, Result<(), ClusterError>>;
}

fn not_ours() -> ClusterError {
    ClusterError::Unsupported {
        what: "this cluster is not made or deleted by chaos".to_owned(),
        hint: "name a kind or k3d cluster: --cluster kind:NAME".to_owned(),
    }
}

/// What a journal keeps of a provider.
pub fn record(provider: &dyn ClusterProvider) -> ClusterRecord {
    ClusterRecord { provider: provider.provider(), name: provider.name().to_owned(), node_access: provider.node_access().cloned() }
}

/// The provider for a reference. Nothing is started or asked yet. `node_access` tells how the nodes of a context are reached; the others know by themselves.
pub fn provider(reference: &ClusterRef, node_access: Option<NodeAccess>) -> Result<Arc<dyn ClusterProvider>, ClusterError> {
    Ok(match reference {
        ClusterRef::Sandbox(name) => Arc::new(SandboxProvider::new(name.clone(), None)),
        ClusterRef::Kind(name) => Arc::new(KindProvider::new(name.clone().unwrap_or_else(|| "chaos".to_owned()))),
        ClusterRef::Context(name) => Arc::new(ContextProvider::new(name.clone(), node_access)),
        ClusterRef::K3d(name) => Arc::new(KindProvider::k3d(name.clone().unwrap_or_else(|| "chaos".to_owned()))),
    })
}

/// A sandbox of a run's own with a planted defect.
pub fn sabotaged_sandbox(defect: SandboxSabotage) -> Arc<dyn ClusterProvider> {
    Arc::new(SandboxProvider::new(None, Some(defect)))
}

/// What each kind of provider can do to nodes and containers.
pub fn capabilities() -> [(&'static str, &'static [Capability]); 4] {
    let context = ContextProvider::new(String::new(), None);
    let kind = KindProvider::new(String::new());
    [
        ("sandbox", SandboxProvider::new(None, None).capabilities()),
        ("kind", kind.capabilities()),
        ("context", context.capabilities()),
        ("context with nodeAccess", node_pod::CAPABILITIES),
    ]
}

/// The provider for what a journal recorded.
pub fn provider_of_record(record: &ClusterRecord) -> Result<Arc<dyn ClusterProvider>, ClusterError> {
    let named = || Some(record.name.clone()).filter(|name| !name.is_empty());
    let reference = match record.provider {
        Provider::Sandbox => ClusterRef::Sandbox(named()),
        Provider::Kind => ClusterRef::Kind(named()),
        Provider::K3d => ClusterRef::K3d(named()),
        Provider::Context => ClusterRef::Context(record.name.clone()),
    };
    provider(&reference, record.node_access.clone())
}

/// A client that gives up on a silent API server instead of waiting for ever.
pub fn client(mut config: kube::Config) -> Result<kube::Client, ClusterError> {
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(Duration::from_secs(30));
    // A refused eviction (429) must be seen and not retried behind our back.
    config.default_retry = false;
    Ok(kube::client::ClientBuilder::try_from(config)?.with_layer(&requests::Observe).build())
}
