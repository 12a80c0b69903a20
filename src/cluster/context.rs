//! A context of the user's kubeconfig: any cluster at all, so nothing is assumed of its nodes.

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::config::KubeConfigOptions;

use super::{ClusterError, ClusterProvider, Entrance, ImageNeed, Typed};
use crate::model::Provider;

/// A context of the kubeconfig.
#[derive(Debug)]
pub struct ContextProvider {
    name: String,
}

impl ContextProvider {
    /// The context of that name; nothing is asked yet.
    pub fn new(name: String) -> Self {
        ContextProvider { name }
    }
}

/// The addresses of nodes that take traffic, control plane first: it is never the one that a fault takes away.
async fn node_addresses(client: &kube::Client) -> Result<Vec<String>, ClusterError> {
    let nodes = Api::<Typed<Node>>::all(client.clone()).list(&ListParams::default()).await?;
    let mut found: Vec<(bool, String)> = Vec::new();
    for node in nodes {
        let worker = node.metadata.labels.as_ref().is_none_or(|labels| !labels.contains_key("node-role.kubernetes.io/control-plane"));
        let addresses = node.0.status.and_then(|status| status.addresses).unwrap_or_default();
        let of_type = |kind: &str| addresses.iter().find(|address| address.type_ == kind).map(|address| address.address.clone());
        if let Some(address) = of_type("ExternalIP").or_else(|| of_type("InternalIP")) {
            found.push((worker, address));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, address)| address).collect())
}

/// A node port that the API server chooses, reached at the nodes' own addresses.
pub(super) async fn node_entrances(client: &kube::Client) -> Result<Vec<Entrance>, ClusterError> {
    Ok(node_addresses(client)
        .await?
        .into_iter()
        .map(|address| Entrance { node_port: None, address: format!("{address}:{{port}}") })
        .collect())
}

impl ClusterProvider for ContextProvider {
    fn provider(&self) -> Provider {
        Provider::Context
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn connect(&self) -> BoxFuture<'_, Result<kube::Config, ClusterError>> {
        Box::pin(async {
            let options = KubeConfigOptions { context: Some(self.name.clone()), ..KubeConfigOptions::default() };
            kube::Config::from_kubeconfig(&options).await.map_err(|error| ClusterError::Kubeconfig(Box::new(error)))
        })
    }

    fn entrances<'a>(&'a self, client: &'a kube::Client, _used: &'a [u16]) -> BoxFuture<'a, Result<Vec<Entrance>, ClusterError>> {
        Box::pin(node_entrances(client))
    }

    /// The nodes of a foreign cluster pull images themselves; an image that only exists as an archive must have been put there by its owner.
    fn ensure_image<'a>(&'a self, _image: &'a ImageNeed) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(async { Ok(()) })
    }

    fn disconnect(&self) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async { Ok(()) })
    }
}
