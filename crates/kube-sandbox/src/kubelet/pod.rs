//! The worker of one pod: from the moment it is bound to a node until its processes and its object are gone.
//!
//! One task owns everything about the pod. It takes a step whenever something happened (the object changed, a process ended, a probe
//! decided, a delay is over), does all that can be done, writes the status if it differs, and waits again.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize as _;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::go_duration;
use super::container::{Ended, Run, Slot, State};
use super::environment::Sources;
use super::power::Power;
use super::probes::Kind;
use super::process::{Exit, Scope};
use super::status::Facts;
use super::{Nodes, Seen, volumes};
use crate::controllers::nodes::NodeSpec;
use crate::controllers::ownership::{terminating, uid_of};
use crate::events::Recorder;
use crate::store::{Key, PODS, Part, now, text};

/// Reports of processes and probes that may wait for the worker; more wait at their senders.
const INBOX_MAX: usize = 64;
/// When a volume that could not be prepared is tried again, if nothing that it may depend on changes before.
const MOUNT_RETRY: Duration = Duration::from_secs(2);

/// What happened to a container.
#[derive(Debug)]
pub(super) enum Report {
    Exited { exit: Exit },
    Probed { kind: Kind, healthy: bool },
    HookDone,
    StartHookFailed,
}

/// A report and which run of which container it is about.
#[derive(Debug)]
pub(super) struct Message {
    pub init: bool,
    pub container: String,
    pub run: u32,
    pub report: Report,
}

pub(super) struct Worker {
    pub(super) nodes: Arc<Nodes>,
    pub(super) node: NodeSpec,
    pub(super) object: Arc<Value>,
    pub(super) pod: Pod,
    seen: watch::Receiver<Seen>,
    pub(super) stop: CancellationToken,
    pub(super) power: watch::Receiver<Power>,
    nudges: watch::Receiver<u64>,
    pub(super) outbox: mpsc::Sender<Message>,
    inbox: mpsc::Receiver<Message>,
    pub(super) events: Recorder,
    pub(super) init: Vec<Slot>,
    pub(super) main: Vec<Slot>,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) places: Option<BTreeMap<String, PathBuf>>,
    mount_failure: Option<(String, Instant)>,
    start_time: String,
    /// When the pod began to stop, and how much grace it has.
    pub(super) stopping: Option<Stopping>,
    /// The object is gone: there is nothing left to report to.
    gone: bool,
    /// Nobody is asked any more, everything is killed: the sandbox ends, or the object is gone and its processes get no grace.
    pub(super) doomed: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    pub since: Instant,
    pub grace: Duration,
}

impl Worker {
    pub(super) fn new(
        nodes: Arc<Nodes>,
        node: NodeSpec,
        object: &Arc<Value>,
        seen: watch::Receiver<Seen>,
        stop: CancellationToken,
    ) -> Option<Self> {
        let pod = Pod::deserialize(object.as_ref()).ok()?;
        let spec = pod.spec.clone()?;
        let (outbox, inbox) = mpsc::channel(INBOX_MAX);
        let init = spec.init_containers.unwrap_or_default();
        let waiting = if init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
        Some(Self {
            events: Recorder::on_node(&nodes.store, "kubelet", &node.name),
            nudges: nodes.nudges.subscribe(),
            power: nodes.power_of(&node.name)?.subscribe(),
            init: init.into_iter().map(|container| Slot::new(container, "PodInitializing")).collect(),
            main: spec.containers.into_iter().map(|container| Slot::new(container, waiting)).collect(),
            nodes,
            node,
            object: Arc::clone(object),
            pod,
            seen,
            stop,
            outbox,
            inbox,
            address: None,
            places: None,
            mount_failure: None,
            start_time: now(),
            stopping: None,
            gone: false,
            doomed: false,
        })
    }

    pub(super) async fn run(mut self) {
        loop {
            self.outage().await;
            self.look();
            self.step().await;
            if self.finished() {
                break;
            }
            self.wait().await;
        }
        self.clean_up();
    }

    /// Takes in the newest state of the object.
    fn look(&mut self) {
        let seen = self.seen.borrow_and_update().clone();
        match seen {
            Seen::Gone => {
                self.gone = true;
                self.doomed |= self.nodes.forced_grace.is_zero();
            }
            // What the worker wrote itself may be newer than what the watch has brought so far.
            Seen::Present(object) if revision(&object) >= revision(&self.object) => self.object = object,
            Seen::Present(_) => {}
        }
        self.doomed |= self.stop.is_cancelled();
    }

    /// Does everything that can be done now.
    async fn step(&mut self) {
        if self.doomed {
            self.kill_all();
            return;
        }
        if self.gone {
            self.stop_within(self.nodes.forced_grace);
        } else if terminating(&self.object) || self.stopping.is_some() {
            self.step_termination();
        } else if !matches!(text(&self.object, "/status/phase"), "Succeeded" | "Failed") {
            self.step_containers().await;
        }
        self.kill_overdue();
        self.write_status();
    }

    async fn step_containers(&mut self) {
        if self.address.is_none() {
            // The first report shows that the node knows of the pod, before anything that may take a while.
            self.write_status();
            self.address = self.nodes.block.take_pod(self.node.index);
            if self.address.is_none() {
                self.fail_mount("FailedCreatePodSandBox", "no pod address is left on this node".to_owned());
                return;
            }
        }
        if self.places.is_none() && !self.prepare_volumes() {
            return;
        }
        let next_init = self.init.iter().position(|slot| slot.over().is_none_or(|run| run.code != 0));
        if let Some(index) = next_init {
            self.start_if_due(true, index).await;
            return;
        }
        for index in 0..self.main.len() {
            self.start_if_due(false, index).await;
        }
    }

    fn prepare_volumes(&mut self) -> bool {
        if self.mount_failure.as_ref().is_some_and(|(_, retry)| Instant::now() < *retry) {
            return false;
        }
        self.nudges.mark_unchanged();
        let Some(address) = self.address else {
            return false;
        };
        // Volumes are the pod's; no path of any container plays a part in them.
        let paths = super::environment::Paths::new(PathBuf::new(), []);
        let sources = Sources { store: &self.nodes.store, pod: &self.pod, pod_ip: address, host_ip: self.node.address, paths: &paths };
        match volumes::prepare(&sources, &self.nodes.folders) {
            Ok(places) => {
                self.places = Some(places);
                self.mount_failure = None;
                true
            }
            Err(error) => {
                self.fail_mount("FailedMount", error.message);
                false
            }
        }
    }

    fn fail_mount(&mut self, reason: &str, message: String) {
        if self.mount_failure.as_ref().is_none_or(|(before, _)| *before != message) {
            self.events.warning(&self.object, reason, &message);
        }
        self.mount_failure = Some((message, Instant::now() + MOUNT_RETRY));
    }

    async fn start_if_due(&mut self, init: bool, index: usize) {
        let Some(slot) = self.slots(init).get(index) else {
            return;
        };
        let due = match &slot.state {
            State::Waiting { retry, .. } => retry.is_none_or(|retry| retry <= Instant::now()),
            State::Ended { restart, .. } => restart.is_some_and(|restart| restart <= Instant::now()),
            State::Running(_) => false,
        };
        if due {
            self.start(init, index).await;
        }
    }

    pub(super) fn slots(&mut self, init: bool) -> &mut Vec<Slot> {
        if init { &mut self.init } else { &mut self.main }
    }

    pub(super) fn all_slots(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.init.iter_mut().chain(self.main.iter_mut())
    }

    fn any_running(&self) -> bool {
        self.init.iter().chain(&self.main).any(|slot| slot.run().is_some())
    }

    /// Whether the worker's job is done: the processes have ended and the object is gone or about to be.
    fn finished(&mut self) -> bool {
        if self.any_running() {
            return false;
        }
        if self.doomed || self.gone {
            return true;
        }
        // A pod that stops is given up by its node once its last process has ended. Finalizers may keep the object, but no longer the node.
        self.stopping.is_some()
            && (self.nodes.store.finalize(&Key::of(&PODS, &self.object), text(&self.object, "/metadata/uid")) || terminating(&self.object))
    }

    async fn wait(&mut self) {
        let mount_retry = self.mount_failure.as_ref().map(|(_, retry)| *retry);
        let misconfigured = self.init.iter().chain(&self.main).any(Slot::misconfigured);
        let blocked = (self.mount_failure.is_some() || misconfigured) && self.stopping.is_none() && !self.doomed;
        let due = self.init.iter().chain(&self.main).filter_map(Slot::due).chain(mount_retry.filter(|_| blocked)).min();
        let nothing_is_due = self.doomed;
        tokio::select! {
            changed = self.seen.changed() => {
                if changed.is_err() {
                    // The dispatcher is gone, and with it the sandbox.
                    self.doomed = true;
                }
            }
            Some(message) = self.inbox.recv() => self.take(message),
            () = until(due), if !nothing_is_due => {}
            _ = self.nudges.changed(), if blocked => self.unblock(),
            () = self.stop.cancelled(), if !self.doomed => {}
            _ = self.power.changed() => return,
        }
        while let Ok(message) = self.inbox.try_recv() {
            self.take(message);
        }
    }

    /// What was missing may be there now, so nothing waits for its next attempt any longer.
    fn unblock(&mut self) {
        self.mount_failure = None;
        for slot in self.all_slots().filter(|slot| slot.misconfigured()) {
            if let State::Waiting { retry, .. } = &mut slot.state {
                *retry = None;
            }
        }
    }

    /// Takes in a report. One about a run that is over already is of no interest.
    fn take(&mut self, message: Message) {
        let slots = if message.init { &mut self.init } else { &mut self.main };
        let Some(index) =
            slots.iter().position(|slot| slot.spec.name == message.container && slot.runs == message.run && slot.run().is_some())
        else {
            return;
        };
        match message.report {
            Report::Exited { exit } => self.ended(message.init, index, exit),
            Report::Probed { kind, healthy } => self.probed(index, kind, healthy),
            Report::StartHookFailed => {
                self.report(message.init, &message.container, "Warning", "FailedPostStartHook", "PostStartHook failed");
                let what = format!("FailedPostStartHook: container {} will be restarted", message.container);
                self.report(message.init, &message.container, "Normal", "Killing", &what);
                self.stop_container(message.init, index, self.own_grace());
            }
            Report::HookDone => {
                if let Some(run) = self.slots(message.init).get(index).and_then(Slot::run) {
                    // A process that cannot be asked is killed when its time is up.
                    let _unasked = run.process.terminate();
                }
            }
        }
    }

    fn ended(&mut self, init: bool, index: usize, exit: Exit) {
        let stopping = self.stopping.is_some() || self.doomed;
        let policy = text(&self.object, "/spec/restartPolicy").to_owned();
        let nodes = Arc::clone(&self.nodes);
        let Some(slot) = self.slots(init).get_mut(index) else {
            return;
        };
        let previous = std::mem::replace(&mut slot.state, State::Waiting { reason: "ContainerCreating", message: None, retry: None });
        let State::Running(run) = previous else {
            return;
        };
        let id = slot.id.clone().unwrap_or_default();
        nodes.listed().remove(&id);
        let record = ended_record(&run, id, exit);
        slot.started = init && exit.code == 0;
        slot.ready = init && exit.code == 0;
        let again = match policy.as_str() {
            _ if stopping || (init && exit.code == 0) => false,
            "Never" => false,
            "OnFailure" => exit.code != 0,
            // An init container has done its work once it succeeded; all others run for ever.
            _ => true,
        };
        let restart = again.then(|| {
            let now = Instant::now();
            now + slot.restarts.after(run.since, now)
        });
        slot.state = State::Ended { run: record, restart };
        if restart.is_some() {
            self.back_off(init, index);
        }
    }

    /// Shows the end of the run, and then, when the next one has to wait, that it waits.
    fn back_off(&mut self, init: bool, index: usize) {
        self.write_status();
        let object = Arc::clone(&self.object);
        let Some(slot) = self.slots(init).get_mut(index) else {
            return;
        };
        let State::Ended { run, restart: Some(restart) } = &slot.state else {
            return;
        };
        let left = restart.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let (run, restart) = (run.clone(), *restart);
        let place =
            format!("{}_{}({})", text(&object, "/metadata/name"), text(&object, "/metadata/namespace"), text(&object, "/metadata/uid"));
        let name = slot.spec.name.clone();
        let delay = go_duration(Duration::from_secs(left.as_secs_f64().round() as u64));
        slot.last = Some(run);
        slot.state = State::Waiting {
            reason: "CrashLoopBackOff",
            message: Some(format!("back-off {delay} restarting failed container={name} pod={place}")),
            retry: Some(restart),
        };
        self.report(init, &name, "Warning", "BackOff", &format!("Back-off restarting failed container {name} in pod {place}"));
    }

    /// The grace of the pod's own spec, for containers that are stopped while the pod stays.
    fn own_grace(&self) -> Duration {
        Duration::from_secs(self.object.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(30))
    }

    fn probed(&mut self, index: usize, kind: Kind, healthy: bool) {
        let Some(slot) = self.main.get_mut(index) else {
            return;
        };
        let name = slot.spec.name.clone();
        match (kind, healthy) {
            (Kind::Readiness, healthy) => slot.ready = slot.started && healthy,
            (Kind::Startup, true) => {
                slot.started = true;
                self.begin_probes(index);
            }
            (Kind::Liveness, true) => {}
            (Kind::Startup | Kind::Liveness, false) if self.stopping.is_none() => {
                let what = kind.title().to_lowercase();
                self.report(false, &name, "Normal", "Killing", &format!("Container {name} failed {what} probe, will be restarted"));
                self.stop_container(false, index, self.own_grace());
            }
            (Kind::Startup | Kind::Liveness, false) => {}
        }
    }

    /// Reports an event about a container.
    pub(super) fn report(&self, init: bool, container: &str, kind: &str, reason: &str, message: &str) {
        let list = if init { "initContainers" } else { "containers" };
        self.events.record(&self.object, kind, reason, message, &format!("spec.{list}{{{container}}}"));
    }

    /// Writes the status if it differs from what the object shows.
    pub(super) fn write_status(&mut self) {
        if self.doomed || self.gone {
            return;
        }
        let key = Key::of(&PODS, &self.object);
        let facts = |pod: &Value| {
            let facts = Facts {
                pod,
                init: &self.init,
                main: &self.main,
                host: self.node.address,
                address: self.address,
                start_time: &self.start_time,
                stopping: self.stopping.is_some(),
            };
            facts.status()
        };
        let written = self.nodes.store.update(&key, &uid_of(&self.object), Part::Status, &mut |pod| {
            pod["status"] = facts(pod);
            Ok(())
        });
        // A pod that is gone is noticed through the watch.
        if let Ok(object) = written {
            self.object = object;
        }
    }

    /// Gives back what the pod had of the node.
    fn clean_up(&mut self) {
        if let Some(address) = self.address {
            self.nodes.block.release(address);
        }
        if self.stop.is_cancelled() {
            // The end of the sandbox is not the end of the pod: its folder may be looked at afterwards.
            return;
        }
        let folder = self.nodes.folders.pod(text(&self.object, "/metadata/uid"));
        drop(tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)));
    }

    /// Kills every group at once.
    fn kill_all(&mut self) {
        for run in self.all_slots().filter_map(Slot::run_mut) {
            run.stopping = true;
            let _gone = run.process.signal(rustix::process::Signal::KILL, Scope::Group);
        }
    }

    /// Kills the groups whose grace is over.
    fn kill_overdue(&mut self) {
        let now = Instant::now();
        for run in self.all_slots().filter_map(Slot::run_mut) {
            if run.kill_at.is_some_and(|at| at <= now) {
                run.kill_at = None;
                let _gone = run.process.signal(rustix::process::Signal::KILL, Scope::Group);
            }
        }
    }
}

fn ended_record(run: &Run, id: String, exit: Exit) -> Ended {
    let reason = run.process.reason().unwrap_or(if exit.code == 0 { "Completed" } else { "Error" });
    Ended { id, code: exit.code, reason, message: None, started_at: run.started_at.clone(), finished_at: now() }
}

fn revision(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion").parse().unwrap_or(0)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
