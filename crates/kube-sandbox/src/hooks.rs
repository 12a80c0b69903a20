//! The seams between the API server and the nodes: what the server asks of whoever runs containers and hands out addresses.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::store::ApiError;

/// Delivers signals to containers from their node, as a process on the node would.
pub trait NodeControl: Send + Sync {
    /// Sends `signal` (`SIGKILL`, `SIGSTOP`, `SIGCONT`, `SIGTERM`) to the container's main process or to its whole group. `reason` is what the
    /// container's status says of an end that follows.
    ///
    /// # Errors
    /// Not found when the node or the container is unknown, bad request when signal or scope are.
    fn signal(&self, node: &str, container_id: &str, signal: &str, scope: &str, reason: Option<&'static str>) -> Result<(), ApiError>;

    /// Freezes a node, cuts its power, stops its kubelet, or brings it back: `frozen`, `off`, `unattended`, `on`.
    ///
    /// # Errors
    /// Not found when the node is unknown, bad request when the state is.
    fn power(&self, node: &str, state: &str) -> Result<(), ApiError>;

    /// Stops what Services pass on to a pod of the node, without an answer to either side, until the cut with this mark is taken back (`None`).
    ///
    /// # Errors
    /// Not found when the node is unknown.
    fn cut(&self, node: &str, mark: &str, pod: Option<SocketAddr>) -> Result<(), ApiError>;
}

/// Knows where a container's output is kept.
pub trait LogSource: Send + Sync {
    /// The log file of the running (or last) container, or of the one before it. `None` when there is none yet.
    fn open(&self, namespace: &str, pod: &str, uid: &str, container: &str, previous: bool) -> Option<PathBuf>;
}

/// Hands out the addresses of Services. Called while the store is locked: it must neither block nor call the store.
pub trait Allocator: Send + Sync {
    /// A free cluster IP, or the requested one.
    ///
    /// # Errors
    /// A sentence why the requested address cannot be had, or that none is left.
    fn cluster_ip(&self, requested: Option<&str>) -> Result<String, String>;
    /// A free node port, or the requested one.
    ///
    /// # Errors
    /// A sentence why the requested port cannot be had, or that none is left.
    fn node_port(&self, requested: Option<u16>) -> Result<u16, String>;
    /// The address is no longer used.
    fn release_cluster_ip(&self, address: &str);
    /// The port is no longer used.
    fn release_node_port(&self, port: u16);
}

/// What stands in where no nodes run: no container can be signalled and none has a log.
#[derive(Debug, Default)]
pub struct NoNodes;

impl NodeControl for NoNodes {
    fn signal(&self, node: &str, _container_id: &str, _signal: &str, _scope: &str, _reason: Option<&'static str>) -> Result<(), ApiError> {
        Err(ApiError::new(404, "NotFound", format!("node {node:?} runs no containers")))
    }

    fn power(&self, node: &str, _state: &str) -> Result<(), ApiError> {
        Err(ApiError::new(404, "NotFound", format!("there is no node {node:?}")))
    }

    fn cut(&self, node: &str, _mark: &str, _pod: Option<SocketAddr>) -> Result<(), ApiError> {
        Err(ApiError::new(404, "NotFound", format!("there is no node {node:?}")))
    }
}

impl LogSource for NoNodes {
    fn open(&self, _namespace: &str, _pod: &str, _uid: &str, _container: &str, _previous: bool) -> Option<PathBuf> {
        None
    }
}

/// Counts through fixed ranges; used where no Service has to be reachable.
#[derive(Debug, Default)]
pub struct CountingAllocator {
    taken: Mutex<(std::collections::BTreeSet<String>, std::collections::BTreeSet<u16>)>,
}

impl CountingAllocator {
    fn lock(&self) -> std::sync::MutexGuard<'_, (std::collections::BTreeSet<String>, std::collections::BTreeSet<u16>)> {
        self.taken.lock().expect("no code panics while it holds this lock")
    }
}

impl Allocator for CountingAllocator {
    fn cluster_ip(&self, requested: Option<&str>) -> Result<String, String> {
        let mut taken = self.lock();
        let free = match requested {
            Some(address) if taken.0.contains(address) => {
                return Err("provided IP is already allocated".to_owned());
            }
            Some(address) => address.to_owned(),
            None => (1..=250_u32)
                .flat_map(|b| (1..=250_u32).map(move |c| format!("127.96.{b}.{c}")))
                .find(|address| !taken.0.contains(address))
                .ok_or_else(|| "range is full".to_owned())?,
        };
        taken.0.insert(free.clone());
        Ok(free)
    }

    fn node_port(&self, requested: Option<u16>) -> Result<u16, String> {
        let mut taken = self.lock();
        let free = match requested {
            Some(port) if !(30000..=32767).contains(&port) => {
                return Err("provided port is not in the valid range. The range of valid ports is 30000-32767".to_owned());
            }
            Some(port) if taken.1.contains(&port) => {
                return Err("provided port is already allocated".to_owned());
            }
            Some(port) => port,
            None => (30000..=32767).find(|port| !taken.1.contains(port)).ok_or_else(|| "range is full".to_owned())?,
        };
        taken.1.insert(free);
        Ok(free)
    }

    fn release_cluster_ip(&self, address: &str) {
        self.lock().0.remove(address);
    }

    fn release_node_port(&self, port: u16) {
        self.lock().1.remove(&port);
    }
}
