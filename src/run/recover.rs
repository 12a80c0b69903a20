//! Puts right what a killed harness left: replays the journals of runs that are not alive and not closed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use super::existing::drop_left;
use super::phases::with_causes;
use super::{CLEAN_UP_WITHIN, RunError};
use crate::cluster::{self, ClusterError, ClusterProvider, NodeAction, Signal, Typed};
use crate::fault::{
    self,
    journal::{self, Entry, Journal, Undo},
};
use crate::model::Provider;
use crate::target;

/// What was done about one journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// Its run is alive, so nothing was touched.
    Alive {
        /// The journal.
        journal: PathBuf,
    },
    /// Everything is undone now. What was done, one line each; empty when nothing was left.
    Undone {
        /// The journal.
        journal: PathBuf,
        /// One line each.
        done: Vec<String>,
    },
    /// Something could not be undone; the journal stays open.
    Failed {
        /// The journal.
        journal: PathBuf,
        /// Why, with causes.
        why: String,
    },
}

/// Replays every open journal under the reports folder. Closed ones are not mentioned.
pub async fn recover(reports: &Path) -> Result<Vec<Recovery>, RunError> {
    let mut recoveries = Vec::new();
    for path in journal::find(reports)? {
        let Some((journal, entries)) = Journal::reopen(&path)? else {
            recoveries.push(Recovery::Alive { journal: path });
            continue;
        };
        if journal::is_closed(&entries) {
            continue;
        }
        recoveries.push(match replay(&journal, &entries).await {
            Ok(done) => Recovery::Undone { journal: path, done },
            Err(error) => Recovery::Failed { journal: path, why: with_causes(&error) },
        });
    }
    Ok(recoveries)
}

/// Undoes what is pending, newest first, and closes the journal.
async fn replay(journal: &Journal, entries: &[Entry]) -> Result<Vec<String>, RunError> {
    let mut done = Vec::new();
    let mut failed = None;
    let pending = journal::pending(entries);
    let begin = entries.iter().find_map(|entry| match entry {
        Entry::Begin { run, cluster } => Some((run, cluster)),
        _ => None,
    });
    let Some((run, record)) = begin else {
        // A journal without its first line was never acted upon.
        journal.append(&Entry::Closed)?;
        return Ok(done);
    };
    let own_sandbox = record.provider == Provider::Sandbox && record.name.is_empty();
    if own_sandbox && !pending.is_empty() {
        done.push("the run's own sandbox ended with the run".to_owned());
    } else if !pending.is_empty() {
        let provider = cluster::provider_of_record(record)?;
        // Whatever else is left goes with a cluster that the run made itself; it may not even answer.
        let whole = pending.iter().any(|(_, undo)| *undo == Undo::DeleteCluster);
        let client = if whole {
            provider.delete().await?;
            None
        } else {
            Some(cluster::client(provider.connect().await?)?)
        };
        let reaches_nodes = |undo: &Undo| match (undo, &record.node_access) {
            (Undo::DeleteNamespace { namespace }, Some(access)) => *namespace == access.namespace,
            _ => false,
        };
        for (step, undo) in pending {
            // Through that namespace the nodes are reached: it stays while something is left to undo on one.
            if failed.is_some() && reaches_nodes(&undo) {
                continue;
            }
            let undone = match &client {
                Some(client) => undo_one(client, provider.as_ref(), run, undo).await,
                None if undo == Undo::DeleteCluster => Ok(format!("cluster {} is deleted", provider.name())),
                None => Ok("went with its cluster".to_owned()),
            };
            match undone {
                Ok(detail) => {
                    journal.undone(&step, &detail)?;
                    done.push(format!("{step}: {detail}"));
                }
                // What is older is undone all the same.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    journal.append(&Entry::Closed)?;
    Ok(done)
}

/// Undoes one mutation, whether or not it was made.
async fn undo_one(client: &kube::Client, provider: &dyn ClusterProvider, run: &str, undo: Undo) -> Result<String, RunError> {
    Ok(match undo {
        Undo::Nothing { why } => why,
        Undo::DeleteCluster => unreachable!("a cluster of the run's own is deleted as a whole, with what is in it"),
        Undo::DropDatabase { place } => drop_left(client, provider, &place, run).await?,
        Undo::DeleteNamespace { namespace } => match target::delete_namespace(client, &namespace, run, CLEAN_UP_WITHIN).await? {
            true => format!("namespace {namespace} removed"),
            false => format!("namespace {namespace} was gone already"),
        },
        Undo::Uncordon { node, uid } => fault::uncordon(client, &node, &uid, run).await?,
        Undo::ReturnNode { node, uid } => {
            let on = provider.act(client, &node, &NodeAction::PowerOn).await?;
            format!("{on}; {}", fault::untaint(client, &node, &uid, run).await?)
        }
        Undo::Untaint { node, uid } => fault::untaint(client, &node, &uid, run).await?,
        Undo::ScaleBack { kind, namespace, name, uid } => fault::scale_back(client, &kind, &namespace, &name, &uid, run).await?,
        Undo::ContinueContainer { node, container_id } => {
            let go_on = NodeAction::SignalContainer { container_id: container_id.clone(), signal: Signal::Continue };
            match provider.act(client, &node, &go_on).await {
                Ok(done) => done,
                // An instance that is gone cannot be told to go on, and need not; one that runs must be.
                Err(error) if runs(client, &container_id).await? => return Err(error.into()),
                Err(_) => format!("container {container_id} is gone"),
            }
        }
        Undo::ThawNode { node } => provider.act(client, &node, &NodeAction::Thaw).await?,
        Undo::PowerOnNode { node } => provider.act(client, &node, &NodeAction::PowerOn).await?,
        Undo::StartKubelet { node, lasts_s, mark } => {
            provider.act(client, &node, &NodeAction::StartKubelet { lasts: Duration::from_secs(lasts_s), mark }).await?
        }
        Undo::RestoreService { node, mark } => provider.act(client, &node, &NodeAction::RestoreService { mark }).await?,
        Undo::EmptyVolume { node, path, mark } => provider.act(client, &node, &NodeAction::EmptyVolume { path, mark }).await?,
    })
}

/// Whether the API server knows of a running container with this id, of any pod.
async fn runs(client: &kube::Client, container_id: &str) -> Result<bool, RunError> {
    let pods = Api::<Typed<Pod>>::all(client.clone()).list(&ListParams::default()).await.map_err(ClusterError::from)?;
    let mut containers =
        pods.items.iter().filter_map(|pod| pod.status.as_ref()).flat_map(|status| status.container_statuses.iter().flatten());
    Ok(containers.any(|container| {
        let running = container.state.as_ref().is_some_and(|state| state.running.is_some());
        running && container.container_id.as_deref() == Some(container_id)
    }))
}
