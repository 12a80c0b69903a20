//! A running sandbox: the parts put together, started in order and ended in order.

use std::sync::Arc;

use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::api::{ApiServer, Hooks};
use crate::config::{Config, StartError};
use crate::controllers::{self, nodes};
use crate::kubelet::{Folders, Nodes};
use crate::proxy::{AddressBlock, NODES_MAX, Proxy, ServiceAddresses};
use crate::store::{Store, StoreOptions};

/// A running sandbox. Call [`Sandbox::shutdown`] to end it in order.
#[derive(Debug)]
pub struct Sandbox {
    store: Store,
    server: ApiServer,
    proxy: Proxy,
    controllers: JoinSet<()>,
    kubelets: JoinHandle<()>,
    stop: CancellationToken,
}

impl Sandbox {
    /// Starts a sandbox. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] says what was missing; nothing is left running then.
    pub fn start(mut config: Config) -> Result<Sandbox, StartError> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| StartError::Io { what, source }
        };
        // Containers have working directories of their own, so every path that they are told must be absolute.
        config.dir = std::path::absolute(&config.dir).map_err(io("the folder of the sandbox"))?;
        let workers = u8::try_from(config.workers).ok().filter(|workers| *workers < NODES_MAX);
        let workers = workers.ok_or_else(|| StartError::Config(format!("{} workers are more than a sandbox can have", config.workers)))?;
        let block = AddressBlock::lease().map_err(io("no block of loopback addresses"))?;
        if let Some(defect) = config.sabotage {
            tracing::warn!(defect = defect.name(), "sabotage is on: this cluster is wrong on purpose");
        }
        let allocator = Arc::new(ServiceAddresses::new(block.clone()));
        let store = Store::with(StoreOptions { history: config.history, allocator, sabotage: config.sabotage });
        let layout = nodes::layout(&block, workers);
        nodes::register(&store, &layout, &block).map_err(|error| StartError::Config(error.to_string()))?;
        let folders = Folders::new(config.dir.clone());
        let kubelets = Arc::new(Nodes::new(&store, &config, block.clone(), layout.clone()).map_err(io("the first container process"))?);
        let proxy = Proxy::start(store.clone(), layout.iter().map(|node| node.address).collect(), kubelets.cuts())
            .map_err(io("service proxies"))?;
        let hooks = Hooks { node_control: Arc::clone(&kubelets) as _, logs: Arc::clone(&kubelets) as _ };
        let server = ApiServer::start(store.clone(), hooks, config.token)?;
        let stop = CancellationToken::new();
        let controllers = controllers::start(&store, &folders, &kubelets, &layout, &block, config.node_grace);
        let kubelets = tokio::spawn(kubelets.serve(stop.clone()));
        Ok(Sandbox { store, server, proxy, controllers, kubelets, stop })
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

    /// Ends everything that the sandbox runs: the API, the controllers, every container's process group, the proxies. Files stay.
    pub async fn shutdown(mut self) {
        self.server.shutdown().await;
        self.controllers.shutdown().await;
        self.stop.cancel();
        // The task ends once the last container did; a panic in it has been reported where it happened.
        let _panicked = self.kubelets.await;
        self.proxy.shutdown().await;
    }
}
