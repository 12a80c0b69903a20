//! The nodes: every pod that is bound to one becomes processes of this machine, and their fate becomes the pod's status.
//!
//! What a process of this machine cannot show is left out, and said here: memory and CPU limits are not enforced, so nothing is
//! `OOMKilled` but on request; users, groups and capabilities of a security context are accepted and change nothing; read-only mounts and volume sizes
//! are not enforced; a process that leaves its container's process group outlives the container until the sandbox's machine ends it; and
//! a server must listen on its pod's address (`status.podIP` through the downward API), since all pods share the machine's loopback.

mod backoff;
mod container;
mod environment;
mod launch;
mod pod;
mod power;
mod probes;
mod process;
mod status;
mod termination;
mod volumes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use volumes::Folders;

use crate::config::{Config, Image};
use crate::controllers::feed::Feed;
use crate::controllers::nodes::{self, NodeSpec};
use crate::hooks::{LogSource, NodeControl};
use crate::proxy::{AddressBlock, Cuts};
use crate::store::{ApiError, CONFIG_MAPS, EventKind, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, SECRETS, Store, text};
use container::SCHEME;
use power::Power;
use process::{Process, Scope, Spawner};

/// What the workers of all pods share.
#[derive(Debug)]
pub(crate) struct Nodes {
    store: Store,
    folders: Folders,
    spawner: Arc<Spawner>,
    images: Vec<Image>,
    block: AddressBlock,
    nodes: Vec<NodeSpec>,
    /// What the processes of a pod get when its object was removed at once.
    forced_grace: Duration,
    containers: Mutex<BTreeMap<String, Listed>>,
    power: BTreeMap<String, watch::Sender<Power>>,
    /// What the proxies do not pass on at the moment.
    cuts: watch::Sender<Cuts>,
    /// Counts changes of things that pods may wait for: claims, volumes, secrets, config maps.
    nudges: watch::Sender<u64>,
}

/// A running container, for those who signal it from its node.
#[derive(Debug)]
struct Listed {
    node: String,
    process: Arc<Process>,
}

/// What a worker knows of its pod's object.
#[derive(Debug, Clone)]
enum Seen {
    Present(Arc<Value>),
    Gone,
}

impl Nodes {
    /// Prepares the nodes; nothing runs until [`Nodes::serve`] is polled.
    pub(crate) fn new(store: &Store, config: &Config, block: AddressBlock, nodes: Vec<NodeSpec>) -> std::io::Result<Self> {
        Ok(Self {
            store: store.clone(),
            folders: Folders::new(config.dir.clone()),
            spawner: Arc::new(Spawner::start(&config.shim)?),
            images: config.images.clone(),
            block,
            power: nodes.iter().map(|node| (node.name.clone(), watch::Sender::new(Power::On))).collect(),
            nodes,
            cuts: watch::Sender::default(),
            forced_grace: config.forced_grace,
            containers: Mutex::default(),
            nudges: watch::Sender::new(0),
        })
    }

    /// Runs the pods of all nodes until `stop` is cancelled; then ends every container and returns when all are gone.
    pub(crate) async fn serve(self: Arc<Self>, stop: CancellationToken) {
        let mut feed = Feed::new(&self.store, &[&PODS, &PERSISTENT_VOLUME_CLAIMS, &PERSISTENT_VOLUMES, &SECRETS, &CONFIG_MAPS]);
        let mut workers: BTreeMap<String, watch::Sender<Seen>> = BTreeMap::new();
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                change = feed.next() => {
                    if change.resource == &PODS {
                        self.dispatch(&change.object, change.kind, &mut workers, &mut running, &stop);
                    } else {
                        self.nudges.send_modify(|count| *count += 1);
                    }
                }
                Some(ended) = running.join_next() => {
                    if let Ok(uid) = ended {
                        workers.remove(&uid);
                    }
                }
                () = stop.cancelled() => break,
            }
        }
        while running.join_next().await.is_some() {}
        self.spawner.shutdown().await;
    }

    fn dispatch(
        self: &Arc<Self>,
        object: &Arc<Value>,
        kind: EventKind,
        workers: &mut BTreeMap<String, watch::Sender<Seen>>,
        running: &mut JoinSet<String>,
        stop: &CancellationToken,
    ) {
        let uid = text(object, "/metadata/uid").to_owned();
        let seen = if kind == EventKind::Deleted { Seen::Gone } else { Seen::Present(Arc::clone(object)) };
        if let Some(worker) = workers.get(&uid) {
            worker.send_replace(seen);
            return;
        }
        let Some(node) = self.nodes.iter().find(|node| node.name == text(object, "/spec/nodeName")) else {
            return;
        };
        if matches!(seen, Seen::Gone) {
            return;
        }
        let (sender, receiver) = watch::channel(seen);
        let worker = pod::Worker::new(Arc::clone(self), node.clone(), object, receiver, stop.clone());
        workers.insert(uid.clone(), sender);
        running.spawn(async move {
            if let Some(worker) = worker {
                worker.run().await;
            }
            uid
        });
    }

    /// What the proxies must not pass on, as it changes.
    pub(crate) fn cuts(&self) -> watch::Receiver<Cuts> {
        self.cuts.subscribe()
    }

    /// Whether a node sends heartbeats.
    pub(crate) fn beats(&self, node: &str) -> bool {
        self.power_of(node).is_some_and(|power| *power.borrow() == Power::On)
    }

    fn power_of(&self, node: &str) -> Option<&watch::Sender<Power>> {
        self.power.get(node)
    }

    fn listed(&self) -> MutexGuard<'_, BTreeMap<String, Listed>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host's command for an image, when the sandbox knows it.
    fn image(&self, reference: &str) -> Option<&Image> {
        let full = |name: &str| {
            let last = name.rsplit('/').next().unwrap_or_default();
            if last.contains(':') || name.contains('@') { name.to_owned() } else { format!("{name}:latest") }
        };
        let wanted = full(reference);
        self.images.iter().find(|image| image.names.iter().any(|name| full(name) == wanted))
    }
}

impl NodeControl for Nodes {
    fn signal(&self, node: &str, container_id: &str, signal: &str, scope: &str, reason: Option<&'static str>) -> Result<(), ApiError> {
        let signal = match signal {
            "SIGKILL" => Signal::KILL,
            "SIGSTOP" => Signal::STOP,
            "SIGCONT" => Signal::CONT,
            "SIGTERM" => Signal::TERM,
            other => {
                return Err(ApiError::bad_request(format!("signal {other:?} is not one of SIGKILL, SIGSTOP, SIGCONT, SIGTERM")));
            }
        };
        let scope = match scope {
            "main" => Scope::Main,
            "group" => Scope::Group,
            other => {
                return Err(ApiError::bad_request(format!("scope {other:?} is not one of main, group")));
            }
        };
        let id = container_id.strip_prefix(SCHEME).unwrap_or(container_id);
        let process = self.listed().get(id).filter(|listed| listed.node == node).map(|listed| Arc::clone(&listed.process));
        let process = process.ok_or_else(|| ApiError::new(404, "NotFound", format!("node {node:?} runs no container {container_id:?}")))?;
        if let Some(reason) = reason {
            process.explain(reason);
        }
        process.signal(signal, scope).map_err(|error| ApiError::internal(format!("signal not sent: {error}")))
    }

    fn power(&self, node: &str, state: &str) -> Result<(), ApiError> {
        let wanted = Power::parse(state)
            .ok_or_else(|| ApiError::bad_request(format!("state {state:?} is not one of on, frozen, off, unattended")))?;
        let power = self.power_of(node).ok_or_else(|| ApiError::new(404, "NotFound", format!("there is no node {node:?}")))?;
        power.send_replace(wanted);
        // The workers do the same when they notice; whoever asked may rely on it from now on.
        let signal = match wanted {
            Power::On => Some(Signal::CONT),
            Power::Frozen => Some(Signal::STOP),
            Power::Off => Some(Signal::KILL),
            Power::Unattended => None,
        };
        for listed in self.listed().values().filter(|listed| listed.node == node) {
            let _gone = signal.map(|signal| listed.process.signal(signal, Scope::Group));
        }
        if wanted == Power::On {
            nodes::renew(&self.store, node);
        }
        Ok(())
    }

    fn cut(&self, node: &str, mark: &str, pod: Option<SocketAddr>) -> Result<(), ApiError> {
        if self.power_of(node).is_none() {
            return Err(ApiError::new(404, "NotFound", format!("there is no node {node:?}")));
        }
        self.cuts.send_modify(|cuts| match pod {
            Some(pod) => {
                cuts.insert(mark.to_owned(), pod);
            }
            None => {
                cuts.remove(mark);
            }
        });
        Ok(())
    }
}

impl LogSource for Nodes {
    fn open(&self, _namespace: &str, _pod: &str, uid: &str, container: &str, previous: bool) -> Option<PathBuf> {
        let newest = newest_log(&self.folders.container(uid, container))?;
        let run = if previous { newest.checked_sub(1)? } else { newest };
        Some(self.folders.log(uid, container, run)).filter(|path| path.exists())
    }
}

/// The number of the newest log in a container's folder.
fn newest_log(folder: &std::path::Path) -> Option<u32> {
    let names = std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).max()
}
