//! The end of a run: what it created is removed, and what is left all the same is told.

use super::CLEAN_UP_WITHIN;
use super::existing::DATABASE_STEP;
use super::phases::{CLUSTER_STEP, NAMESPACE_STEP, Run, with_causes};
use crate::fault;
use crate::fault::journal::Entry;
use crate::model::{EventKind, LeakItem, Phase};
use crate::target;

impl Run<'_> {
    /// Removes what this run created, then looks whether anything of it is left. Returns what is left against its will.
    pub(super) async fn clean_up(&mut self, keep: bool) -> Vec<LeakItem> {
        self.phase(Phase::CleanUp);
        let (detail, step) = match (&self.client, &self.plan.target.existing) {
            (None, _) => (Ok("nothing was created".to_owned()), NAMESPACE_STEP),
            (Some(_), Some(_)) if keep => (Ok("kept: database chaos, which `chaos recover` drops".to_owned()), DATABASE_STEP),
            (Some(_), Some(_)) => (self.drop_database().await, DATABASE_STEP),
            (Some(client), None) => (self.remove_namespace(client, keep).await, NAMESPACE_STEP),
        };
        let nodes = match &self.client {
            // Through them what was not healed can still be.
            Some(_) if !self.unhealed.is_empty() => Ok(()),
            Some(client) => self.close_nodes(client).await.map_err(|error| with_causes(&error)),
            None => Ok(()),
        };
        let detail = nodes.and(detail);
        let ok = detail.is_ok();
        let detail = detail.unwrap_or_else(|error| error);
        self.timeline.emit(EventKind::PhaseFinished { phase: Phase::CleanUp, ok, detail: detail.clone() });

        self.phase(Phase::LeakCheck);
        let mut left = self.leaks(keep).await;
        if self.made_cluster && !keep {
            left = self.delete_cluster().await;
        }
        let clean = left.is_empty();
        self.timeline.emit(EventKind::LeakCheck { left: left.clone(), kept: keep && left.iter().all(|item| item.kept) });
        left.retain(|item| !item.kept);
        if ok && clean {
            let closed = self.journal.undone(step, &detail).and_then(|()| self.journal.append(&Entry::Closed));
            if let Err(error) = closed {
                self.timeline.emit(EventKind::HarnessError { message: format!("the journal cannot be closed: {error}") });
            }
        }
        self.timeline.emit(EventKind::PhaseFinished {
            phase: Phase::LeakCheck,
            ok: left.is_empty(),
            detail: match left.len() {
                0 if clean => "nothing of this run is left".to_owned(),
                0 => "nothing of this run is left but what was kept".to_owned(),
                count => format!("{count} left"),
            },
        });
        if let Err(error) = self.provider.disconnect().await {
            self.timeline.emit(EventKind::HarnessError { message: format!("the cluster did not end: {error}") });
        }
        left
    }

    async fn remove_namespace(&self, client: &kube::Client, keep: bool) -> Result<String, String> {
        let namespace = self.names.namespace.as_str();
        if keep {
            return Ok(format!("kept: namespace {namespace}; remove it with: kubectl delete namespace {namespace}"));
        }
        match target::delete_namespace(client, namespace, &self.id, CLEAN_UP_WITHIN).await {
            Ok(true) => Ok(format!("namespace {namespace} is gone")),
            Ok(false) => Ok("nothing was created".to_owned()),
            Err(error) => Err(with_causes(&error)),
        }
    }

    /// Deletes the cluster that this run made, and with it whatever else is left. Says what could not be deleted.
    async fn delete_cluster(&self) -> Vec<LeakItem> {
        let name = self.provider.name();
        let deleted = self.provider.delete().await.map_err(|error| with_causes(&error));
        match deleted.and_then(|()| self.journal.undone(CLUSTER_STEP, "deleted").map_err(|error| error.to_string())) {
            Ok(()) => Vec::new(),
            Err(why) => {
                self.timeline.emit(EventKind::HarnessError { message: format!("cluster {name} was not deleted: {why}") });
                vec![LeakItem::of(format!("cluster {name}"), "chaos recover")]
            }
        }
    }

    /// What is there of this run; of that, `keep` means the target alone.
    async fn leaks(&self, keep: bool) -> Vec<LeakItem> {
        let mut left = self.unhealed.clone();
        let Some(client) = &self.client else {
            return left;
        };
        match &self.plan.target.existing {
            Some(existing) => {
                let database = self.database_left(&existing.target).await;
                left.extend(database.map(|what| LeakItem { kept: keep, ..LeakItem::of(what, "chaos recover") }));
            }
            None => left.extend(self.namespaces_left(client, &self.names.namespace, keep).await),
        }
        if let (Some(_), Some(access)) = (&self.plan.target.existing, self.provider.node_access()) {
            left.extend(self.namespaces_left(client, &access.namespace, false).await);
        }
        match fault::marked_by(client, &self.id).await {
            Ok(marks) => left.extend(marks),
            Err(_) if self.faults_began => {
                left.push(LeakItem::of("what this run may have marked on nodes, which cannot be listed".to_owned(), "chaos recover"));
            }
            Err(_) => {}
        }
        left
    }

    /// Namespaces that carry the run's label. Where they cannot be looked at, the one that was made counts as left.
    async fn namespaces_left(&self, client: &kube::Client, made: &str, keep: bool) -> Vec<LeakItem> {
        let item = |namespace: String| LeakItem {
            kept: keep && namespace == made,
            ..LeakItem::of(format!("namespace/{namespace}"), format!("kubectl delete namespace {namespace}"))
        };
        match target::namespaces_of(client, &self.id).await {
            Ok(found) => found.into_iter().map(item).collect(),
            // What cannot be looked at counts as left: the journal stays open for `chaos recover`.
            Err(_) if self.created => vec![item(made.to_owned())],
            Err(_) => Vec::new(),
        }
    }
}
