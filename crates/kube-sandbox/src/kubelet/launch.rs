//! Starting a container: its image, its environment, its root, its process, its probes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::container::{Ended, Run, Slot, State};
use super::environment::{Paths, Sources};
use super::pod::{Message, Report, Worker};
use super::probes::{self, Kind, Schedule, Tally, Target};
use super::process::{Launch, Process, Running};
use super::{Listed, volumes};
use crate::store::now;

/// How long the failure of a pull is shown before the wait for the next one.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(1);
/// When a container that could not be configured is tried again.
const CONFIG_RETRY: Duration = Duration::from_secs(10);
/// The exit code of a container whose program cannot be run.
const EXIT_NO_PROGRAM: i32 = 128;

/// Why a container did not start.
struct Failure {
    reason: &'static str,
    message: String,
    retry: Duration,
}

impl Worker {
    /// Starts a container, or shows why it cannot be started and when that is tried again.
    pub(super) async fn start(&mut self, init: bool, index: usize) {
        let Some(slot) = self.slots(init).get_mut(index) else {
            return;
        };
        let name = slot.spec.name.clone();
        // The second half of a failed pull: from now on the kubelet waits.
        if let State::Waiting { reason: "ErrImagePull", .. } = slot.state {
            let image = slot.spec.image.clone().unwrap_or_default();
            let delay = slot.pulls.attempt();
            let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {}", unknown_image(&image));
            slot.state = State::Waiting { reason: "ImagePullBackOff", message: Some(message), retry: Some(Instant::now() + delay) };
            self.report(init, &name, "Normal", "BackOff", &format!("Back-off pulling image \"{image}\""));
            self.report(init, &name, "Warning", "Failed", "Error: ImagePullBackOff");
            return;
        }
        let prepared = self.prepare(init, index);
        let (launch, paths) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return self.show_failure(init, index, failure),
        };
        let Some(slot) = self.slots(init).get_mut(index) else {
            return;
        };
        if slot.ever_ran {
            slot.runs += 1;
        }
        if let State::Ended { run, .. } = &slot.state {
            slot.last = Some(run.clone());
        }
        slot.ever_ran = true;
        let run = slot.runs;
        let id = container_id();
        slot.id = Some(id.clone());
        let launch = Launch { log: self.nodes.folders.log(self.uid(), &name, run), ..launch };
        self.report(init, &name, "Normal", "Created", &format!("Created container: {name}"));
        let env = launch.env.clone();
        let started = match runnable(&launch) {
            true => self.nodes.spawner.spawn(launch).await,
            false => Err(no_program(&launch.argv)),
        };
        match started {
            Ok(running) => {
                self.report(init, &name, "Normal", "Started", &format!("Started container {name}"));
                self.follow(init, index, id, running, env, paths);
            }
            Err(error) => {
                let message = format!("failed to start container: {error}");
                self.report(init, &name, "Warning", "Failed", &format!("Error: {message}"));
                self.never_started(init, index, id, message);
            }
        }
    }

    fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Everything that a container needs before its process can start.
    fn prepare(&mut self, init: bool, index: usize) -> Result<(Launch, Paths), Failure> {
        let list = if init { &self.init } else { &self.main };
        let Some(spec) = list.get(index).map(|slot| slot.spec.clone()) else {
            return Err(Failure { reason: "CreateContainerError", message: "no such container".to_owned(), retry: CONFIG_RETRY });
        };
        let reference = spec.image.clone().unwrap_or_default();
        let Some(image) = self.nodes.image(&reference).cloned() else {
            return Err(self.no_image(init, &spec.name, &reference, &spec));
        };
        self.report(init, &spec.name, "Normal", "Pulled", &format!("Container image \"{reference}\" already present on machine"));
        let uid = self.uid().to_owned();
        let root = self.nodes.folders.container(&uid, &spec.name).join("root");
        let broken = |message: String| Failure { reason: "CreateContainerError", message, retry: CONFIG_RETRY };
        let places = self.places.clone().unwrap_or_default();
        let paths = volumes::mount(&root, &spec, &places).map_err(|error| broken(error.message))?;
        let address = self.address.ok_or_else(|| broken("the pod has no address".to_owned()))?;
        let sources = Sources { store: &self.nodes.store, pod: &self.pod, pod_ip: address, host_ip: self.node.address, paths: &paths };
        let env = sources.environment(&spec).map_err(|error| Failure {
            reason: "CreateContainerConfigError",
            message: error.0,
            retry: CONFIG_RETRY,
        })?;
        let argv = sources.arguments(&spec, &image.command, &env);
        let dir = spec.working_dir.as_deref().map(|dir| paths.inside(dir)).filter(|dir| dir.is_dir()).unwrap_or(root);
        if let Some(slot) = self.slots(init).get_mut(index) {
            slot.image_id = format!("sandbox://{}", image.names.first().cloned().unwrap_or_default());
        }
        Ok((Launch { argv, env: env.into_iter().collect(), dir, log: std::path::PathBuf::new() }, paths))
    }

    fn no_image(&self, init: bool, name: &str, reference: &str, spec: &k8s_openapi::api::core::v1::Container) -> Failure {
        if spec.image_pull_policy.as_deref() == Some("Never") {
            let message = format!("Container image \"{reference}\" is not present with pull policy of Never");
            self.report(init, name, "Warning", "ErrImageNeverPull", &message);
            self.report(init, name, "Warning", "Failed", "Error: ErrImageNeverPull");
            return Failure { reason: "ErrImageNeverPull", message, retry: CONFIG_RETRY };
        }
        let message = unknown_image(reference);
        self.report(init, name, "Normal", "Pulling", &format!("Pulling image \"{reference}\""));
        self.report(init, name, "Warning", "Failed", &format!("Failed to pull image \"{reference}\": {message}"));
        self.report(init, name, "Warning", "Failed", "Error: ErrImagePull");
        Failure { reason: "ErrImagePull", message, retry: PULL_ERROR_SHOWN }
    }

    fn show_failure(&mut self, init: bool, index: usize, failure: Failure) {
        let Some(slot) = self.slots(init).get_mut(index) else {
            return;
        };
        let name = slot.spec.name.clone();
        if let State::Ended { run, .. } = &slot.state {
            slot.last = Some(run.clone());
        }
        slot.state =
            State::Waiting { reason: failure.reason, message: Some(failure.message.clone()), retry: Some(Instant::now() + failure.retry) };
        if !failure.reason.starts_with("ErrImage") {
            self.report(init, &name, "Warning", "Failed", &format!("Error: {}", failure.message));
        }
    }

    /// A process that could not be started counts as a run that ended at once.
    fn never_started(&mut self, init: bool, index: usize, id: String, message: String) {
        let policy = self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.clone()).unwrap_or_default();
        let Some(slot) = self.slots(init).get_mut(index) else {
            return;
        };
        let time = now();
        let run = Ended {
            id,
            code: EXIT_NO_PROGRAM,
            reason: "StartError",
            message: Some(message.clone()),
            started_at: "1970-01-01T00:00:00Z".to_owned(),
            finished_at: time,
        };
        if policy == "Never" {
            slot.state = State::Ended { run, restart: None };
            return;
        }
        let instant = Instant::now();
        // The kubelet tries a program that it cannot start again with the same patience as one that crashes, but never at once.
        let delay = slot.restarts.after(instant, instant).max(Duration::from_secs(1));
        slot.last = Some(run);
        slot.state = State::Waiting { reason: "RunContainerError", message: Some(message), retry: Some(instant + delay) };
    }

    /// Keeps the books of a process that runs now.
    fn follow(&mut self, init: bool, index: usize, id: String, running: Running, env: Vec<(String, String)>, paths: Paths) {
        let process: Arc<Process> = Arc::clone(&running.process);
        self.nodes.listed().insert(id, Listed { node: self.node.name.clone(), process: Arc::clone(&process) });
        let outbox = self.outbox.clone();
        let Some(slot) = self.slots(init).get_mut(index) else {
            return;
        };
        let about = Message { init, container: slot.spec.name.clone(), run: slot.runs, report: Report::HookDone };
        slot.started = slot.spec.startup_probe.is_none();
        slot.ready = slot.started && slot.spec.readiness_probe.is_none() && !init;
        slot.state = State::Running(Run {
            process: Arc::clone(&process),
            started_at: now(),
            since: Instant::now(),
            probes: JoinSet::new(),
            env,
            paths,
            kill_at: None,
            stopping: false,
        });
        tokio::spawn(async move {
            let exit = running.wait().await;
            tracing::debug!(pid = process.id(), code = exit.code, "a container's process ended");
            // A worker that is gone needs no report.
            let _gone = outbox.send(Message { report: Report::Exited { exit }, ..about }).await;
        });
        if !init {
            self.begin_probes(index);
        }
        self.post_start(init, index);
    }

    /// Runs the container's post-start hook beside it; one that fails takes the container with it.
    fn post_start(&mut self, init: bool, index: usize) {
        let Some(slot) = self.slots(init).get(index) else { return };
        let (Some(hook), Some(run)) = (slot.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone()), slot.run()) else {
            return;
        };
        let name = slot.spec.name.clone();
        if hook.http_get.is_some() || hook.tcp_socket.is_some() {
            self.report(init, &name, "Warning", "FailedPostStartHook", "the sandbox runs hooks of the kind exec only");
            return;
        }
        let Some(command) = hook.exec.and_then(|exec| exec.command) else { return };
        let root = run.paths.root().to_owned();
        let argv = Sources::exec(&run.paths, &command);
        let launch = Launch { argv, env: run.env.clone(), dir: root.clone(), log: root.with_extension("post-start.log") };
        let about = Message { init, container: name, run: slot.runs, report: Report::StartHookFailed };
        let (spawner, outbox) = (Arc::clone(&self.nodes.spawner), self.outbox.clone());
        tokio::spawn(async move {
            let succeeded = match spawner.spawn(launch).await {
                Ok(running) => running.wait().await.code == 0,
                Err(_not_started) => false,
            };
            if !succeeded {
                let _gone = outbox.send(about).await;
            }
        });
    }

    /// Starts the probes that apply now: the startup probe alone until it succeeded, then the others.
    pub(super) fn begin_probes(&mut self, index: usize) {
        let Some(address) = self.address else { return };
        let (spawner, outbox, events, object) =
            (Arc::clone(&self.nodes.spawner), self.outbox.clone(), self.events.clone(), Arc::clone(&self.object));
        let Some(Slot { spec, runs, state: State::Running(run), started, ready, .. }) = self.main.get_mut(index) else {
            return;
        };
        let wanted = if *started {
            vec![(Kind::Readiness, spec.readiness_probe.clone()), (Kind::Liveness, spec.liveness_probe.clone())]
        } else {
            vec![(Kind::Startup, spec.startup_probe.clone())]
        };
        *ready = *started && spec.readiness_probe.is_none();
        // Whatever probed before has decided; it must not decide again.
        run.probes.abort_all();
        for (kind, probe) in wanted.into_iter().filter_map(|(kind, probe)| Some((kind, probe?))) {
            let target = Target { address, container: spec.clone(), paths: run.paths.clone(), env: run.env.clone() };
            let (spawner, outbox, events, object) = (Arc::clone(&spawner), outbox.clone(), events.clone(), Arc::clone(&object));
            let (name, number) = (spec.name.clone(), *runs);
            run.probes.spawn(async move {
                let schedule = Schedule::from(&probe);
                tokio::time::sleep(schedule.initial_delay).await;
                let mut beat = tokio::time::interval(schedule.period);
                beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                let mut tally = Tally::default();
                loop {
                    beat.tick().await;
                    let result = probes::check(&spawner, &target, &probe, schedule.timeout).await;
                    if let Err(why) = &result {
                        let message = format!("{} probe failed: {why}", kind.title());
                        events.record(&object, "Warning", "Unhealthy", &message, &format!("spec.containers{{{name}}}"));
                    }
                    if let Some(healthy) = tally.add(result.is_ok(), &schedule) {
                        let message =
                            Message { init: false, container: name.clone(), run: number, report: Report::Probed { kind, healthy } };
                        if outbox.send(message).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    }
}

fn unknown_image(reference: &str) -> String {
    format!("failed to resolve reference \"{reference}\": the sandbox has no such image and pulls none")
}

/// Whether the program is there; what the kernel says about an existing one is the process's own affair.
fn runnable(launch: &Launch) -> bool {
    let Some(program) = launch.argv.first() else {
        return false;
    };
    if program.contains('/') {
        return launch.dir.join(program).exists();
    }
    let path = launch.env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_str()).unwrap_or_default();
    path.split(':').any(|folder| Path::new(folder).join(program).exists())
}

fn no_program(argv: &[String]) -> std::io::Error {
    let program = argv.first().cloned().unwrap_or_default();
    std::io::Error::new(std::io::ErrorKind::NotFound, format!("exec: {program:?}: no such file or directory"))
}

fn container_id() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}
