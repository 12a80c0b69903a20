//! A context of the user's kubeconfig: any cluster at all, so nothing is assumed of its nodes.

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::config::KubeConfigOptions;

use super::node_action::unsupported;
use super::{Capability, ClusterError, ClusterProvider, Entrance, ImageNeed, NodeAccess, NodeAction, Typed, node_pod};
use crate::model::Provider;

/// A context of the kubeconfig.
#[derive(Debug)]
pub struct ContextProvider {
    name: String,
    node_access: Option<NodeAccess>,
}

impl ContextProvider {
    /// The context of that name; nothing is asked yet.
    pub fn new(name: String, node_access: Option<NodeAccess>) -> Self {
        ContextProvider { name, node_access }
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

    fn capabilities(&self) -> &'static [Capability] {
        self.node_access.as_ref().map_or(&[], |_| node_pod::CAPABILITIES)
    }

    fn act<'a>(&'a self, client: &'a kube::Client, node: &'a str, action: &'a NodeAction) -> BoxFuture<'a, Result<String, ClusterError>> {
        Box::pin(async move {
            match &self.node_access {
                Some(access) => access.act(client, node, action).await,
                None => Err(unsupported(action.needs())),
            }
        })
    }

    fn node_access(&self) -> Option<&NodeAccess> {
        self.node_access.as_ref()
    }

    fn disconnect(&self) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async { Ok(()) })
    }
}
