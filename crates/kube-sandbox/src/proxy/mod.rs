//! Services as TCP proxies on loopback, and the addresses that make them possible.
//!
//! A cluster IP and a node port are listeners here, where a real node has packet rules. What clients see is the same: with no endpoint the
//! connection is refused at once, because nobody listens; established connections stay with their pod until one of the two ends them; a pod
//! that dies shows as the end or the reset that its kernel sent. The proxies have a thread and a runtime of their own, so that
//! nothing else the sandbox does delays a byte.

mod addresses;
mod allocator;
mod frontends;
mod relay;
mod services;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use addresses::{AddressBlock, NODES_MAX};
pub(crate) use allocator::ServiceAddresses;

use crate::store::Store;

/// Pods that nothing is passed on to, by the mark of whoever said so.
pub(crate) type Cuts = BTreeMap<String, SocketAddr>;

/// The running proxies of one sandbox.
#[derive(Debug)]
pub(crate) struct Proxy {
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// Starts to serve every Service of the store; node ports are open on each of `nodes`, and nothing is passed on to pods that are cut off.
    pub(crate) fn start(store: Store, nodes: Vec<Ipv4Addr>, cuts: watch::Receiver<Cuts>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("sandbox-proxy".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = services::serve(store, nodes, cuts) => {}
                    () = stopped.cancelled() => {}
                }
            });
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Closes every listener and every connection.
    pub(crate) async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // The thread ends within moments of the cancellation, but joining it is a blocking call all the same.
            let _panicked = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
