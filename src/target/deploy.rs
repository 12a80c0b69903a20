//! Creating a target and removing it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Error};
use thiserror::Error as ThisError;

use super::manifests::{ControllerManifest, LABEL_RUN, Manifests, Names};
use crate::cluster::{ClusterError, Entrance, Permission, Typed};

/// What creating, finding and removing a target asks of the API server, beside its controller.
pub const DEPLOY_PERMISSIONS: [Permission; 4] = [
    // It is created and looked up, found again by its label, removed, and watched until it is gone.
    Permission::core("namespaces", &["create", "delete", "get", "list", "watch"]),
    Permission::core("secrets", &["create"]),
    Permission::core("persistentvolumeclaims", &["create"]),
    // The list tells which node ports are taken.
    Permission::core("services", &["create", "list"]),
];

/// Why a target cannot be created, found or removed.
#[derive(Debug, ThisError)]
pub enum TargetError {
    /// The API server refused, or does not answer.
    #[error("the API server refused")]
    Api(#[from] Error),
    /// The provider cannot say how the Service is reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// No way in.
    #[error("no node port of this cluster can be reached from here; last refusal: {0}")]
    NoEntrance(String),
    /// Something that somebody else should have deployed is not there.
    #[error("{0}")]
    NotFound(String),
    /// What somebody else deployed cannot be tested as it is.
    #[error("{0}")]
    Unsuitable(String),
    /// The cluster gave the Service no load balancer.
    #[error(
        "service/{service} got no address from a load balancer within {} s{}",
        waited.as_secs(),
        seen.as_ref().map(|seen| format!("; the cluster warned: {seen}")).unwrap_or_default()
    )]
    NoBalancer {
        /// The Service.
        service: String,
        /// How long was waited.
        waited: Duration,
        /// What the cluster warned of last.
        seen: Option<String>,
    },
    /// The load balancer is called by a name that is not known here.
    #[error("the load balancer is called {name}, which did not resolve here within {} s: {why}", waited.as_secs())]
    UnknownBalancer {
        /// Its name.
        name: String,
        /// How long was waited.
        waited: Duration,
        /// What the resolver said last.
        why: String,
    },
    /// No pod serves.
    #[error("no pod serves the target: {0}")]
    NoPod(String),
    /// The namespace is somebody else's.
    #[error("the namespace {0} is not of this run, so it is not removed")]
    Foreign(String),
    /// The namespace stays.
    #[error("the namespace {namespace} was not gone within {} s", waited.as_secs())]
    Stays {
        /// Its name.
        namespace: String,
        /// How long was waited.
        waited: Duration,
    },
}

impl TargetError {
    /// What to do, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            TargetError::NoBalancer { .. } => Some(
                "target.service: loadBalancer needs a cluster that has one (a cloud's, MetalLB); \
                 without it use nodePort, or HOST:PORT where something of yours leads to the Service",
            ),
            TargetError::UnknownBalancer { .. } => {
                Some("a new name may take minutes to be known: raise target.readyWithin, or see why this machine cannot resolve it")
            }
            _ => None,
        }
    }
}

/// Creates the namespace and everything in it. `manifests` builds the objects for a node port; entrances are tried in order, since a port may be taken
/// between the question and the creation. Returns where the Service is reached.
pub async fn create(
    client: &Client,
    names: &Names,
    entrances: &[Entrance],
    manifests: impl Fn(Option<u16>) -> Manifests,
) -> Result<String, TargetError> {
    let parameters = PostParams::default();
    let objects = manifests(None);
    Api::all(client.clone()).create(&parameters, &Typed(objects.namespace)).await?;
    let inside = names.namespace.as_str();
    Api::namespaced(client.clone(), inside).create(&parameters, &Typed(objects.secret)).await?;
    if let Some(claim) = objects.claim {
        Api::namespaced(client.clone(), inside).create(&parameters, &Typed(claim)).await?;
    }
    let services = Api::<Typed<Service>>::namespaced(client.clone(), inside);
    let mut refusal = "there is none".to_owned();
    let mut address = None;
    for entrance in entrances {
        match services.create(&parameters, &Typed(manifests(entrance.node_port).service)).await {
            Ok(service) => {
                let port = service.0.spec.and_then(|spec| spec.ports).and_then(|ports| ports.first().and_then(|port| port.node_port));
                address = port.and_then(|port| u16::try_from(port).ok()).map(|port| entrance.address(port));
                break;
            }
            // 422: the port was taken meanwhile.
            Err(Error::Api(status)) if status.code == 422 => refusal = status.message,
            Err(error) => return Err(error.into()),
        }
    }
    let address = address.ok_or(TargetError::NoEntrance(refusal))?;
    match objects.controller {
        ControllerManifest::Deployment(deployment) => {
            Api::namespaced(client.clone(), inside).create(&parameters, &Typed(*deployment)).await?;
        }
        ControllerManifest::StatefulSet(set) => {
            Api::namespaced(client.clone(), inside).create(&parameters, &Typed(*set)).await?;
        }
    }
    Ok(address)
}

/// Creates a namespace of the run's own that admits privileged pods, for what must be done in nodes.
pub async fn create_node_namespace(client: &Client, name: &str, run: &str) -> Result<(), TargetError> {
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(
                [(LABEL_RUN, run), ("app.kubernetes.io/managed-by", "chaos"), ("pod-security.kubernetes.io/enforce", "privileged")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    Api::all(client.clone()).create(&PostParams::default(), &Typed(namespace)).await?;
    Ok(())
}

/// Node ports that Services of the cluster have.
pub async fn used_node_ports(client: &Client) -> Result<Vec<u16>, TargetError> {
    let services = Api::<Typed<Service>>::all(client.clone()).list(&ListParams::default()).await?;
    let ports = services.into_iter().filter_map(|service| service.0.spec?.ports).flatten();
    Ok(ports.filter_map(|port| u16::try_from(port.node_port?).ok()).collect())
}

/// Removes the namespace, if it is there and carries the run's label, and waits until it is gone. True when there was one.
pub async fn delete_namespace(client: &Client, namespace: &str, run: &str, within: Duration) -> Result<bool, TargetError> {
    let api = Api::<Typed<Namespace>>::all(client.clone());
    let Some(found) = api.get_opt(namespace).await? else {
        return Ok(false);
    };
    if found.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_RUN)).map(String::as_str) != Some(run) {
        return Err(TargetError::Foreign(namespace.to_owned()));
    }
    let uid = found.metadata.uid.clone().unwrap_or_default();
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
        ..DeleteParams::background()
    };
    match api.delete(namespace, &parameters).await {
        Ok(_) => {}
        Err(Error::Api(status)) if status.code == 404 => return Ok(true),
        // 409: it is being removed already.
        Err(Error::Api(status)) if status.code == 409 && found.metadata.deletion_timestamp.is_some() => {}
        Err(error) => return Err(error.into()),
    }
    let gone = await_condition(api, namespace, conditions::is_deleted(&uid));
    match tokio::time::timeout(within, gone).await {
        Ok(Ok(_)) => Ok(true),
        _ => Err(TargetError::Stays { namespace: namespace.to_owned(), waited: within }),
    }
}

/// Namespaces that carry the run's label: what is left of a run.
pub async fn namespaces_of(client: &Client, run: &str) -> Result<Vec<String>, TargetError> {
    let labelled = ListParams::default().labels(&format!("{LABEL_RUN}={run}"));
    let found = Api::<Typed<Namespace>>::all(client.clone()).list(&labelled).await?;
    Ok(found.into_iter().filter_map(|namespace| namespace.0.metadata.name).collect())
}
