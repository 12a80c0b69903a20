//! Watches of the target: API events become events of the timeline, stamped when they arrive, and the state that waits look at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Event as KubeEvent, Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::watcher::{self, watcher};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::manifests::Names;
use super::state::{NotSeen, TargetState};
use crate::cluster::{Permission, Typed};
use crate::model::{ContainerSeen, ContainerState, EndpointSeen, EventKind, OwnerSeen, PodChange, PodSeen, TerminatedSeen};

/// What the watches and the engine's log ask of the API server.
pub const WATCH_PERMISSIONS: [Permission; 5] = [
    Permission::core("pods", &["list", "watch"]),
    Permission::core("pods/log", &["get"]),
    Permission::of("discovery.k8s.io", "endpointslices", &["list", "watch"]),
    Permission::core("events", &["list", "watch"]),
    Permission::core("nodes", &["list", "watch"]),
];

/// Takes what happened; stamps it with the run's clock.
pub type Emit = Arc<dyn Fn(EventKind) + Send + Sync>;

/// The running watches of one target. They end when this is dropped.
pub struct Watch {
    state: watch::Receiver<TargetState>,
    tasks: JoinSet<()>,
}

impl Watch {
    /// Starts watching; returns at once.
    pub fn start(client: &kube::Client, names: &Names, emit: Emit) -> Watch {
        let (mut watch, sender) = Watch::begin(client, names, &emit);
        watch.tasks.spawn(watch_events(Api::namespaced(client.clone(), &names.namespace), sender, Arc::clone(&emit)));
        watch.tasks.spawn(watch_nodes(Api::all(client.clone()), emit));
        watch
    }

    /// Starts watching what waits look at, pods and endpoints, and tells nobody.
    pub fn silent(client: &kube::Client, names: &Names) -> Watch {
        Watch::begin(client, names, &(Arc::new(|_| ()) as Emit)).0
    }

    fn begin(client: &kube::Client, names: &Names, emit: &Emit) -> (Watch, Arc<watch::Sender<TargetState>>) {
        let (sender, state) = watch::channel(TargetState::default());
        let sender = Arc::new(sender);
        let namespace = names.namespace.as_str();
        let mut tasks = JoinSet::new();
        let pods = Api::<Typed<Pod>>::namespaced(client.clone(), namespace);
        tasks.spawn(watch_pods(pods, watcher::Config::default().labels(&names.selector), Arc::clone(&sender), Arc::clone(emit)));
        let slices = Api::<Typed<EndpointSlice>>::namespaced(client.clone(), namespace);
        let of_service = format!("kubernetes.io/service-name={}", names.service);
        tasks.spawn(watch_endpoints(slices, watcher::Config::default().labels(&of_service), Arc::clone(&sender), Arc::clone(emit)));
        (Watch { state, tasks }, sender)
    }

    /// The target as last told.
    pub fn now(&self) -> TargetState {
        self.state.borrow().clone()
    }

    /// A receiver of every change, for tasks of their own.
    pub fn subscribe(&self) -> watch::Receiver<TargetState> {
        self.state.clone()
    }

    /// Waits until a ready pod is behind the Service.
    pub async fn until_serving(&self, within: Duration) -> Result<TargetState, NotSeen> {
        self.until("a ready pod behind the Service", within, |state| state.serving().is_some()).await
    }

    /// Waits until the state is as wanted.
    pub async fn until(&self, what: &str, within: Duration, wanted: impl FnMut(&TargetState) -> bool) -> Result<TargetState, NotSeen> {
        let mut state = self.state.clone();
        let waited = tokio::time::timeout(within, state.wait_for(wanted)).await;
        match waited {
            Ok(Ok(seen)) => Ok(seen.clone()),
            _ => Err(NotSeen { what: what.to_owned(), waited: within, last: self.state.borrow().describe() }),
        }
    }
}

/// What a stream of watch events tells, with lists and resumptions folded in: an object that a new listing does not have is gone.
enum Told<K> {
    Applied(K),
    Deleted(K),
    Listed,
}

/// Runs one watch for ever. Errors (the API server is away) are retried by the watcher, with a pause that grows to a second.
async fn told<K>(api: Api<K>, config: watcher::Config, mut take: impl FnMut(Told<K>))
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let mut known: BTreeMap<String, K> = BTreeMap::new();
    let mut listed: BTreeMap<String, K> = BTreeMap::new();
    let uid = |object: &K| object.meta().uid.clone().unwrap_or_default();
    let mut stream = std::pin::pin!(watcher(api, config));
    let mut pause = Duration::from_millis(20);
    loop {
        match stream.try_next().await {
            Ok(Some(event)) => {
                pause = Duration::from_millis(20);
                match event {
                    watcher::Event::Apply(object) => {
                        known.insert(uid(&object), object.clone());
                        take(Told::Applied(object));
                    }
                    watcher::Event::Delete(object) => {
                        known.remove(&uid(&object));
                        take(Told::Deleted(object));
                    }
                    watcher::Event::Init => listed.clear(),
                    watcher::Event::InitApply(object) => {
                        listed.insert(uid(&object), object);
                    }
                    watcher::Event::InitDone => {
                        let listed = std::mem::take(&mut listed);
                        for (_, gone) in std::mem::take(&mut known).into_iter().filter(|(uid, _)| !listed.contains_key(uid)) {
                            take(Told::Deleted(gone));
                        }
                        listed.values().for_each(|object| take(Told::Applied(object.clone())));
                        known = listed;
                        take(Told::Listed);
                    }
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "watch interrupted");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}

async fn watch_pods(api: Api<Typed<Pod>>, config: watcher::Config, state: Arc<watch::Sender<TargetState>>, emit: Emit) {
    told(api, config, |told| match told {
        Told::Applied(pod) => {
            let pod = seen(&pod);
            let change = if state.borrow().has_pod(&pod.uid) { PodChange::Modified } else { PodChange::Added };
            emit(EventKind::Pod { change, pod: pod.clone() });
            state.send_modify(|state| {
                state.pods.insert(pod.uid.clone(), pod);
            });
        }
        Told::Deleted(pod) => {
            let pod = seen(&pod);
            state.send_modify(|state| {
                state.pods.remove(&pod.uid);
            });
            emit(EventKind::Pod { change: PodChange::Deleted, pod });
        }
        Told::Listed => state.send_modify(|state| state.pods_listed = true),
    })
    .await;
}

async fn watch_endpoints(api: Api<Typed<EndpointSlice>>, config: watcher::Config, state: Arc<watch::Sender<TargetState>>, emit: Emit) {
    let mut slices: BTreeMap<String, Vec<EndpointSeen>> = BTreeMap::new();
    told(api, config, |told| {
        match told {
            Told::Applied(slice) => {
                slices.insert(slice.metadata.uid.clone().unwrap_or_default(), endpoints_of(&slice));
            }
            Told::Deleted(slice) => {
                slices.remove(slice.metadata.uid.as_deref().unwrap_or_default());
            }
            Told::Listed => {}
        }
        let mut all: Vec<EndpointSeen> = slices.values().flatten().cloned().collect();
        all.sort_by(|a, b| a.address.cmp(&b.address));
        let changed = state.borrow().endpoints != all;
        if changed {
            emit(EventKind::Endpoints { endpoints: all.clone() });
        }
        state.send_modify(|state| {
            state.endpoints = all;
            state.endpoints_listed = true;
        });
    })
    .await;
}

async fn watch_events(api: Api<Typed<KubeEvent>>, state: Arc<watch::Sender<TargetState>>, emit: Emit) {
    told(api, watcher::Config::default(), |told| {
        let Told::Applied(Typed(event)) = told else { return };
        let object =
            format!("{}/{}", event.involved_object.kind.as_deref().unwrap_or("?"), event.involved_object.name.as_deref().unwrap_or("?"));
        let reason = event.reason.unwrap_or_default();
        let message = event.message.unwrap_or_default();
        state.send_modify(|state| state.last_event = Some(format!("{object}: {reason}: {message}")));
        emit(EventKind::KubeEvent {
            object,
            uid: event.involved_object.uid.unwrap_or_default(),
            reason,
            message,
            count: event.count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        });
    })
    .await;
}

async fn watch_nodes(api: Api<Typed<Node>>, emit: Emit) {
    let mut last: BTreeMap<String, EventKind> = BTreeMap::new();
    told(api, watcher::Config::default(), |told| {
        let Told::Applied(Typed(node)) = told else { return };
        let name = node.metadata.name.clone().unwrap_or_default();
        let spec = node.spec.unwrap_or_default();
        let kind = EventKind::Node {
            name: name.clone(),
            ready: node
                .status
                .and_then(|status| status.conditions)
                .unwrap_or_default()
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            unschedulable: spec.unschedulable.unwrap_or(false),
            taints: spec
                .taints
                .unwrap_or_default()
                .iter()
                .map(|taint| format!("{}={}:{}", taint.key, taint.value.as_deref().unwrap_or_default(), taint.effect))
                .collect(),
        };
        // A node's status is renewed every few seconds without saying anything new.
        if last.get(&name) != Some(&kind) {
            emit(kind.clone());
            last.insert(name, kind);
        }
    })
    .await;
}

fn endpoints_of(slice: &EndpointSlice) -> Vec<EndpointSeen> {
    slice
        .endpoints
        .iter()
        .map(|endpoint| {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let ready = conditions.ready.unwrap_or(true);
            EndpointSeen {
                address: endpoint.addresses.first().cloned().unwrap_or_default(),
                pod_uid: endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()),
                ready,
                serving: conditions.serving.unwrap_or(ready),
                terminating: conditions.terminating.unwrap_or(false),
            }
        })
        .collect()
}

fn time(time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>) -> Option<String> {
    time.map(|time| time.0.to_string())
}

fn terminated(state: &k8s_openapi::api::core::v1::ContainerStateTerminated) -> TerminatedSeen {
    TerminatedSeen {
        id: state.container_id.clone(),
        exit_code: state.exit_code,
        reason: state.reason.clone().unwrap_or_default(),
        started_at: time(state.started_at.as_ref()),
        finished_at: time(state.finished_at.as_ref()),
    }
}

/// The part of a pod that the harness looks at.
fn seen(pod: &Pod) -> PodSeen {
    let metadata = &pod.metadata;
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let unscheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled" && condition.status != "True");
    let containers = status.container_statuses.unwrap_or_default().into_iter().map(|container| {
        let state = container.state.unwrap_or_default();
        ContainerSeen {
            name: container.name,
            id: container.container_id,
            restarts: container.restart_count,
            ready: container.ready,
            state: if let Some(running) = state.running {
                ContainerState::Running { started_at: time(running.started_at.as_ref()) }
            } else if let Some(end) = state.terminated {
                ContainerState::Terminated(terminated(&end))
            } else {
                let waiting = state.waiting.unwrap_or_default();
                ContainerState::Waiting { reason: waiting.reason.unwrap_or_default(), message: waiting.message.unwrap_or_default() }
            },
            last: container.last_state.and_then(|last| last.terminated).as_ref().map(terminated),
        }
    });
    let containers = containers.collect();
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    PodSeen {
        uid: metadata.uid.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        ip: status.pod_ip,
        owner: owner.map(|owner| OwnerSeen { kind: owner.kind.clone(), name: owner.name.clone(), uid: owner.uid.clone() }),
        phase: status.phase.unwrap_or_default(),
        ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        ready_since: time(
            conditions.iter().find(|condition| condition.type_ == "Ready").and_then(|condition| condition.last_transition_time.as_ref()),
        ),
        terminating: metadata.deletion_timestamp.is_some(),
        grace_s: metadata.deletion_grace_period_seconds,
        reason: status.reason.or_else(|| unscheduled.and_then(|condition| condition.message.clone())).unwrap_or_default(),
        conditions: conditions.into_iter().filter(|condition| condition.status == "True").map(|condition| condition.type_).collect(),
        created_at: time(metadata.creation_timestamp.as_ref()),
        containers,
    }
}
