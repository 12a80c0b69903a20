//! What runs on a cluster's control plane beside its API server: each controller watches what concerns it and does what is missing.

mod balancers;
pub(crate) mod claims;
mod deployment;
mod endpointslice;
pub(crate) mod feed;
mod garbage;
mod hashing;
mod namespaces;
mod node_health;
pub(crate) mod nodes;
pub(crate) mod ownership;
pub(crate) mod quantity;
mod replicaset;
mod scheduler;
mod statefulset;
mod worklist;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::kubelet::{Folders, Nodes};
use crate::proxy::AddressBlock;
use crate::store::Store;

/// Starts all controllers; they run until the set is dropped.
pub(crate) fn start(
    store: &Store,
    folders: &Folders,
    kubelets: &Arc<Nodes>,
    nodes: &[nodes::NodeSpec],
    block: &AddressBlock,
    node_grace: Duration,
) -> JoinSet<()> {
    let mut running = JoinSet::new();
    let of = || store.clone();
    running.spawn(worklist::run(of(), deployment::Deployments::new(store)));
    running.spawn(worklist::run(of(), replicaset::ReplicaSets::new(store)));
    running.spawn(worklist::run(of(), statefulset::StatefulSets::new(store)));
    running.spawn(worklist::run(of(), endpointslice::EndpointSlices::new(store)));
    running.spawn(worklist::run(of(), balancers::Balancers::new(store, block.clone())));
    running.spawn(worklist::run(of(), claims::Claims::new(store, folders.clone())));
    running.spawn(worklist::run(of(), claims::Volumes::new(store, folders.clone())));
    running.spawn(worklist::run(of(), namespaces::Namespaces::new(store)));
    running.spawn(worklist::run(of(), garbage::Garbage::new(store)));
    running.spawn(worklist::run(of(), nodes::Taints::new(store)));
    running.spawn(worklist::run(of(), scheduler::Scheduler::new(store)));
    running.spawn(worklist::run(of(), node_health::NodeHealth::new(store, node_grace)));
    running.spawn(nodes::heartbeat(of(), Arc::clone(kubelets), nodes.to_vec(), node_grace));
    running
}
