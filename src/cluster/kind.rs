//! A kind or k3d cluster. Its nodes are containers of this machine, so images go in with the program that made it and node ports come out where Docker
//! publishes them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::config::KubeConfigOptions;
use serde::Deserialize;

use super::{
    Capability, ClusterError, ClusterProvider, Entrance, ImageNeed, NodeAction, Program, docker_node, maker::Maker, node_ready,
    shared_storage,
};
use crate::model::Provider;

/// How long the nodes may take to be ready after the control plane is: each starts its part of the network, perhaps with an image that is pulled.
const NODES_READY_WITHIN: Duration = Duration::from_secs(180);

/// A kind or k3d cluster, which stands or can be made.
#[derive(Debug)]
pub struct KindProvider {
    name: String,
    maker: Maker,
}

/// One entry of Docker's `NetworkSettings.Ports`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Published {
    host_ip: String,
    host_port: String,
}

impl KindProvider {
    /// The kind cluster of that name; nothing is asked yet.
    pub fn new(name: String) -> Self {
        KindProvider { name, maker: Maker::kind() }
    }

    /// The k3d cluster of that name; nothing is asked yet.
    pub fn k3d(name: String) -> Self {
        KindProvider { name, maker: Maker::k3d() }
    }

    async fn nodes(&self) -> Result<Vec<String>, ClusterError> {
        self.maker.nodes(&self.name).await
    }

    async fn stands(&self) -> Result<bool, ClusterError> {
        Ok(self.maker.clusters().await?.contains(&self.name))
    }

    /// The context that the program left in the user's kubeconfig, if a cluster answers there: that saves two runs of the program before the first request.
    /// After the cluster was made anew, the context's certificate no longer fits, and the program is asked.
    async fn context(&self) -> Option<kube::Config> {
        let options = KubeConfigOptions { context: Some(self.maker.context(&self.name)), ..KubeConfigOptions::default() };
        let config = kube::Config::from_kubeconfig(&options).await.ok()?;
        super::client(config.clone()).ok()?.apiserver_version().await.ok()?;
        Some(config)
    }

    async fn kubeconfig(&self) -> Result<kube::Config, ClusterError> {
        let clusters = self.maker.clusters().await?;
        if !clusters.contains(&self.name) {
            let known = if clusters.is_empty() { "none".to_owned() } else { clusters.join(", ") };
            let reference = self.maker.reference(&self.name);
            return Err(ClusterError::NotMade {
                what: format!("there is no cluster `{reference}` (found: {known})"),
                hint: format!("chaos cluster up {reference}"),
            });
        }
        self.maker.config(&self.name).await
    }

    /// Node ports that Docker publishes on this machine, with where.
    async fn published(&self) -> Result<Vec<(u16, String)>, ClusterError> {
        let mut found = Vec::new();
        for node in self.nodes().await? {
            let text = Program::new("docker").args(["inspect", "-f", "{{json .NetworkSettings.Ports}}", &node]).output().await?;
            found.extend(published_node_ports(&text));
        }
        Ok(found)
    }

    /// The control plane's own address in Docker's network: reachable from a Linux machine without a published port.
    async fn control_plane_address(&self) -> Result<Option<String>, ClusterError> {
        let node = self.maker.control_plane(&self.name);
        let text = Program::new("docker")
            .args(["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", &node])
            .output()
            .await?;
        Ok(text.split_whitespace().next().map(str::to_owned))
    }

    /// Refuses a node that is not of this cluster: what is done to it is done by its container's name.
    async fn own_node(&self, node: &str) -> Result<(), ClusterError> {
        if self.nodes().await?.iter().any(|known| known == node) {
            return Ok(());
        }
        Err(ClusterError::Missing {
            what: format!("`{node}` is not a node of the cluster `{}`", self.maker.reference(&self.name)),
            hint: "kubectl get nodes".to_owned(),
        })
    }

    async fn load(&self, image: &ImageNeed) -> Result<(), ClusterError> {
        let Some(archive) = &image.archive else {
            return Ok(());
        };
        for node in self.nodes().await? {
            let names = Program::new("docker").args(["exec", &node, "ctr", "-n", "k8s.io", "images", "ls", "-q"]).output().await?;
            let present = names.lines().any(|line| line.strip_prefix("docker.io/").unwrap_or(line) == image.reference);
            if !present {
                return self.maker.load(&self.name, archive).await;
            }
        }
        Ok(())
    }
}

/// Reads what `docker inspect` prints of a container's ports; keeps those of the node-port range that are bound on this machine.
fn published_node_ports(text: &str) -> Vec<(u16, String)> {
    let ports: BTreeMap<String, Option<Vec<Published>>> = serde_json::from_str(text.trim()).unwrap_or_default();
    let mut found = Vec::new();
    for (container, bindings) in ports {
        let Some(port) = container.strip_suffix("/tcp").and_then(|port| port.parse::<u16>().ok()) else {
            continue;
        };
        let Some(binding) = bindings.iter().flatten().find(|binding| !binding.host_ip.contains(':')) else {
            continue;
        };
        if (30_000..=32_767).contains(&port) {
            let host = if binding.host_ip.is_empty() || binding.host_ip == "0.0.0.0" { "127.0.0.1" } else { &binding.host_ip };
            found.push((port, format!("{host}:{}", binding.host_port)));
        }
    }
    found
}

impl ClusterProvider for KindProvider {
    fn provider(&self) -> Provider {
        self.maker.provider()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn connect(&self) -> BoxFuture<'_, Result<kube::Config, ClusterError>> {
        Box::pin(async {
            match self.context().await {
                Some(config) => Ok(config),
                None => self.kubeconfig().await,
            }
        })
    }

    fn is_missing(&self) -> BoxFuture<'_, Result<bool, ClusterError>> {
        Box::pin(async {
            // A cluster that answers stands; the program is asked only where none does.
            Ok(self.context().await.is_none() && !self.stands().await?)
        })
    }

    fn create(&self) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async {
            self.maker.create(&self.name).await?;
            let client = super::client(self.maker.config(&self.name).await?)?;
            node_ready::until_ready(&client, &self.nodes().await?, NODES_READY_WITHIN).await
        })
    }

    fn provide_storage<'a>(&'a self, client: &'a kube::Client, class: &'a str) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(async move {
            if class == shared_storage::CLASS {
                shared_storage::provide(client, &self.name, &self.maker.control_plane(&self.name)).await?;
            }
            Ok(())
        })
    }

    fn delete(&self) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async {
            shared_storage::forget(&self.name, &self.maker.control_plane(&self.name)).await;
            self.maker.delete(&self.name).await
        })
    }

    fn entrances<'a>(&'a self, _client: &'a kube::Client, used: &'a [u16]) -> BoxFuture<'a, Result<Vec<Entrance>, ClusterError>> {
        Box::pin(async move {
            let mut entrances: Vec<Entrance> = self
                .published()
                .await?
                .into_iter()
                .filter(|(port, _)| !used.contains(port))
                .map(|(port, address)| Entrance { node_port: Some(port), address })
                .collect();
            // The ports in the middle of the range are what people pick by hand, so ours are taken from its end.
            entrances.reverse();
            if let Some(address) = self.control_plane_address().await? {
                entrances.push(Entrance { node_port: None, address: format!("{address}:{{port}}") });
            }
            Ok(entrances)
        })
    }

    fn ensure_image<'a>(&'a self, image: &'a ImageNeed) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(self.load(image))
    }

    fn capabilities(&self) -> &'static [Capability] {
        match self.maker.provider() {
            // Its nodes have neither systemd nor a kubelet of its own to stop, and the other scripts were never seen to work there.
            Provider::K3d => &[Capability::SignalContainer, Capability::FreezeNode, Capability::PowerNode],
            _ => docker_node::CAPABILITIES,
        }
    }

    fn act<'a>(&'a self, _client: &'a kube::Client, node: &'a str, action: &'a NodeAction) -> BoxFuture<'a, Result<String, ClusterError>> {
        Box::pin(async move {
            self.own_node(node).await?;
            docker_node::act(node, action).await
        })
    }

    fn disconnect(&self) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_published_node_ports_count() {
        let text = r#"{"30000/tcp":[{"HostIp":"127.0.0.1","HostPort":"30000"}],"31433/tcp":[{"HostIp":"0.0.0.0","HostPort":"49153"},{"HostIp":"::","HostPort":"49153"}],
            "6443/tcp":[{"HostIp":"127.0.0.1","HostPort":"41001"}],"30001/udp":[{"HostIp":"127.0.0.1","HostPort":"30001"}],"30002/tcp":null}"#;
        assert_eq!(published_node_ports(text), vec![(30_000, "127.0.0.1:30000".to_owned()), (31_433, "127.0.0.1:49153".to_owned())]);
        assert!(published_node_ports("not json").is_empty());
    }
}
