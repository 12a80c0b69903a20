//! A running sandbox: the parts put together, started in order and ended in order.

use std::sync::Arc;

use crate::api::{ApiServer, Hooks};
use crate::config::{Config, StartError};
use crate::hooks::{CountingAllocator, NoNodes};
use crate::store::{Store, StoreOptions};

/// A running sandbox. Call [`Sandbox::shutdown`] to end it in order.
#[derive(Debug)]
pub struct Sandbox {
    store: Store,
    server: ApiServer,
}

impl Sandbox {
    /// Starts a sandbox. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] says what was missing; nothing is left running then.
    pub fn start(config: Config) -> Result<Sandbox, StartError> {
        let store = Store::with(StoreOptions { history: config.history, allocator: Arc::new(CountingAllocator::default()) });
        let hooks = Hooks { node_control: Arc::new(NoNodes), logs: Arc::new(NoNodes) };
        let server = ApiServer::start(store.clone(), hooks, config.token)?;
        Ok(Sandbox { store, server })
    }

    /// The kubeconfig that leads to this sandbox, as YAML.
    pub fn kubeconfig(&self) -> String {
        self.server.kubeconfig()
    }

    /// The API server's URL.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// The objects, for controllers and tests.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Ends everything that the sandbox runs.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}
