//! How nodes are reached that are not containers of this machine: pods in a namespace of the run's own, which goes with the run.

use super::phases::Run;
use super::{CLEAN_UP_WITHIN, RunError, folder};
use crate::cluster::NodeAccess;
use crate::experiment::{ClusterRef, FaultSpec};
use crate::fault;
use crate::fault::journal::{Journal, Undo};
use crate::target;

/// The journal's step for the namespace of the pods.
const STEP: &str = "node-access";

/// How the nodes of a cluster are reached, where that was said and a fault needs it. Nothing is created yet.
pub(super) fn planned<'a>(
    cluster: &ClusterRef,
    image: Option<&str>,
    faults: impl IntoIterator<Item = &'a FaultSpec>,
) -> Option<NodeAccess> {
    let needed = matches!(cluster, ClusterRef::Context(_)) && faults.into_iter().any(|spec| fault::needs(spec).is_some());
    let image = image.filter(|_| needed)?;
    Some(NodeAccess { image: image.to_owned(), namespace: folder::namespace("node") })
}

/// Creates the namespace; how to undo that is journalled before.
pub(super) async fn open(client: &kube::Client, journal: &Journal, access: &NodeAccess, run: &str) -> Result<(), RunError> {
    let namespace = access.namespace.clone();
    journal.intent(STEP, &format!("namespace/{namespace}"), Undo::DeleteNamespace { namespace })?;
    Ok(target::create_node_namespace(client, &access.namespace, run).await?)
}

/// Removes the namespace, with whatever pod is still in it.
pub(super) async fn close(client: &kube::Client, journal: &Journal, access: &NodeAccess, run: &str) -> Result<(), RunError> {
    target::delete_namespace(client, &access.namespace, run, CLEAN_UP_WITHIN).await?;
    Ok(journal.undone(STEP, "its namespace is gone")?)
}

impl Run<'_> {
    /// Makes the way to the nodes, where there is to be one.
    pub(super) async fn open_nodes(&self, client: &kube::Client) -> Result<(), RunError> {
        match self.provider.node_access() {
            Some(access) => open(client, &self.journal, access, &self.id).await,
            None => Ok(()),
        }
    }

    /// Removes it.
    pub(super) async fn close_nodes(&self, client: &kube::Client) -> Result<(), RunError> {
        match self.provider.node_access() {
            Some(access) => close(client, &self.journal, access, &self.id).await,
            None => Ok(()),
        }
    }
}
