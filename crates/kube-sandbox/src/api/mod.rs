//! The API server: Kubernetes' HTTP API over the store.

use std::sync::Arc;

use crate::config::StartError;
use crate::hooks::{LogSource, NodeControl};
use crate::store::Store;

/// What the server asks of the nodes.
#[derive(Clone)]
pub struct Hooks {
    /// Signals containers.
    pub node_control: Arc<dyn NodeControl>,
    /// Finds containers' logs.
    pub logs: Arc<dyn LogSource>,
}

/// A running API server.
#[derive(Debug)]
pub struct ApiServer {
    url: String,
}

impl ApiServer {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port or no certificate can be had.
    pub fn start(_store: Store, _hooks: Hooks, _token: Option<String>) -> Result<ApiServer, StartError> {
        Ok(ApiServer { url: String::new() })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The kubeconfig that leads to it, as YAML.
    pub fn kubeconfig(&self) -> String {
        String::new()
    }

    /// Ends it and every open connection.
    pub async fn shutdown(self) {}
}
