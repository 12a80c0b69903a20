//! The write-ahead record of how to undo. Every entry is synced to disk before the mutation that it is about, so that `chaos recover` can put a cluster right
//! after the harness was killed at any moment.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::cluster::{ClusterRecord, crash_point};
use crate::experiment::{ExistingTarget, Tls};

/// The journal's file in a run's folder.
pub const FILE: &str = "journal.jsonl";

/// Where a database in somebody else's server is, and how to log in there; the password stays in its Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabasePlace {
    /// The server.
    pub target: ExistingTarget,
    /// Where its Service is reached, where that was said.
    pub address: Option<String>,
    /// Whether its connections are encrypted.
    pub tls: Tls,
}

/// How to undo one mutation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "kebab-case")]
pub enum Undo {
    /// The cluster itself puts it right.
    Nothing {
        /// Why.
        why: String,
    },
    /// Delete the whole cluster, which this run made.
    DeleteCluster,
    /// Drop the run's database in a server that somebody else deployed, if it still carries the run's mark.
    DropDatabase {
        /// Where it is.
        place: DatabasePlace,
    },
    /// Remove the namespace, if it still carries the run's label.
    DeleteNamespace {
        /// Its name.
        namespace: String,
    },
    /// Uncordon the node, if this run cordoned it.
    Uncordon {
        /// Its name.
        node: String,
        /// Its uid.
        uid: String,
    },
    /// Let a stopped container go on.
    ContinueContainer {
        /// Where it runs.
        node: String,
        /// Which instance.
        container_id: String,
    },
    /// Let a frozen node go on.
    ThawNode {
        /// Its name.
        node: String,
    },
    /// Give a node its power back.
    PowerOnNode {
        /// Its name.
        node: String,
    },
    /// Give a node its power back, and remove this run's taints from it.
    ReturnNode {
        /// Its name.
        node: String,
        /// Its uid.
        uid: String,
    },
    /// Remove this run's taints from a node.
    Untaint {
        /// Its name.
        node: String,
        /// Its uid.
        uid: String,
    },
    /// Start a node's kubelet.
    StartKubelet {
        /// Its name.
        node: String,
        /// For how long it is stopped, in seconds; where its node starts it by itself, that is waited for.
        #[serde(default)]
        lasts_s: u64,
        /// What marks the node's own part in it.
        #[serde(default)]
        mark: String,
    },
    /// Let what clients send reach a pod again.
    RestoreService {
        /// Where the pod runs.
        node: String,
        /// What marks the rules.
        mark: String,
    },
    /// Remove what fills a volume.
    EmptyVolume {
        /// Where it is mounted: the node.
        node: String,
        /// Where it is mounted: the path in containers.
        path: String,
        /// What marks the file.
        mark: String,
    },
    /// Give a controller its replicas back, if this run took them.
    ScaleBack {
        /// `Deployment` or `StatefulSet`.
        kind: String,
        /// Where it is.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// The first line: whose mutations these are, and where.
    Begin {
        /// The run.
        run: String,
        /// The cluster.
        cluster: ClusterRecord,
    },
    /// A mutation is about to be made.
    Intent {
        /// Names the mutation.
        step: String,
        /// What it is aimed at, in words.
        target: String,
        /// How to undo it.
        undo: Undo,
    },
    /// A mutation was undone, or needs no undoing any more.
    Undone {
        /// Names the mutation.
        step: String,
        /// What was done.
        detail: String,
    },
    /// Nothing is left to undo.
    Closed,
}

/// An open journal. The lock on its file says that its run is alive.
#[derive(Debug)]
pub struct Journal {
    file: Mutex<File>,
}

impl Journal {
    /// Creates the journal of a run and locks it.
    pub fn create(folder: &Path, begin: &Entry) -> io::Result<Journal> {
        let file = OpenOptions::new().create_new(true).append(true).open(folder.join(FILE))?;
        file.lock()?;
        let journal = Journal { file: Mutex::new(file) };
        journal.append(begin)?;
        // The name itself must survive, not only what is in the file.
        File::open(folder)?.sync_all()?;
        Ok(journal)
    }

    /// Opens a journal that another process left, to go on with it. `None` when that process still runs.
    pub fn reopen(path: &Path) -> io::Result<Option<(Journal, Vec<Entry>)>> {
        let file = OpenOptions::new().read(true).append(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let text = std::fs::read_to_string(path)?;
        // A torn last line was never acted upon, since the mutation follows the sync.
        let entries: Vec<Entry> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let journal = Journal { file: Mutex::new(file) };
        if !text.is_empty() && !text.ends_with('\n') {
            journal.file.lock().expect("no holder of this lock panics").write_all(b"\n")?;
        }
        Ok(Some((journal, entries)))
    }

    /// Writes and syncs one entry. Until it has returned, the mutation must not be made.
    pub fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry).expect("its keys are strings");
        line.push(b'\n');
        let what = String::from_utf8_lossy(&line[..line.len() - 1]).into_owned();
        crash_point(|| format!("before journal {what}"));
        let mut file = self.file.lock().expect("no holder of this lock panics");
        // Two writes, so that a test can end the process between them; a line torn there is no different from one torn by the kernel.
        let (half, rest) = line.split_at(line.len() / 2);
        file.write_all(half)?;
        crash_point(|| format!("within journal {what}"));
        file.write_all(rest)?;
        file.sync_data()?;
        crash_point(|| format!("after journal {what}"));
        Ok(())
    }

    /// [`Entry::Intent`].
    pub fn intent(&self, step: &str, target: &str, undo: Undo) -> io::Result<()> {
        self.append(&Entry::Intent { step: step.to_owned(), target: target.to_owned(), undo })
    }

    /// [`Entry::Undone`].
    pub fn undone(&self, step: &str, detail: &str) -> io::Result<()> {
        self.append(&Entry::Undone { step: step.to_owned(), detail: detail.to_owned() })
    }
}

/// What a journal leaves to undo, newest first.
pub fn pending(entries: &[Entry]) -> Vec<(String, Undo)> {
    let mut left: Vec<(String, Undo)> = Vec::new();
    for entry in entries {
        match entry {
            Entry::Intent { step, undo, .. } => left.push((step.clone(), undo.clone())),
            Entry::Undone { step, .. } => left.retain(|(pending, _)| pending != step),
            Entry::Closed => left.clear(),
            Entry::Begin { .. } => {}
        }
    }
    left.reverse();
    left
}

/// Whether the journal says that nothing is left to undo.
pub fn is_closed(entries: &[Entry]) -> bool {
    matches!(entries.last(), Some(Entry::Closed))
}

/// The journals of the runs in a folder, oldest name first.
pub fn find(reports: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let folders = match std::fs::read_dir(reports) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        folders => folders?,
    };
    for folder in folders {
        let folder = folder?;
        // `latest` is a link to a folder that is found by itself.
        if folder.file_type()?.is_dir() {
            let path = folder.path().join(FILE);
            if path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::model::Provider;

    fn begin() -> Entry {
        Entry::Begin { run: "r".into(), cluster: ClusterRecord { provider: Provider::Kind, name: "rig".into(), node_access: None } }
    }

    #[test]
    fn what_was_intended_and_not_undone_is_pending_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path(), &begin()).unwrap();
        journal.intent("namespace", "namespace/a", Undo::DeleteNamespace { namespace: "a".into() }).unwrap();
        journal.intent("pod-kill-1", "pod/x", Undo::Nothing { why: "replaced".into() }).unwrap();
        journal.intent("pod-kill-2", "pod/y", Undo::Nothing { why: "replaced".into() }).unwrap();
        journal.undone("pod-kill-1", "replaced").unwrap();
        assert!(Journal::reopen(&folder.path().join(FILE)).unwrap().is_none(), "its run is alive");
        drop(journal);

        let (journal, entries) = Journal::reopen(&folder.path().join(FILE)).unwrap().unwrap();
        let steps: Vec<String> = pending(&entries).into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, ["pod-kill-2", "namespace"]);
        assert!(!is_closed(&entries));
        journal.append(&Entry::Closed).unwrap();
        drop(journal);
        let (_, entries) = Journal::reopen(&folder.path().join(FILE)).unwrap().unwrap();
        assert!(is_closed(&entries) && pending(&entries).is_empty());
    }

    #[test]
    fn a_torn_last_line_does_not_swallow_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut text = serde_json::to_vec(&begin()).unwrap();
        text.extend(b"\n{\"entry\":\"inte");
        std::fs::write(&path, text).unwrap();
        let (journal, entries) = Journal::reopen(&path).unwrap().unwrap();
        assert_eq!(entries, [begin()]);
        journal.append(&Entry::Closed).unwrap();
        drop(journal);
        let (_, entries) = Journal::reopen(&path).unwrap().unwrap();
        assert!(is_closed(&entries));
    }
}
