//! The phases of a run, and the way out of each of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use rand::RngExt;
use tokio_util::sync::CancellationToken;

use super::faults::ActiveFault;
use super::preflight::{self, Ground};
use super::timeline::Timeline;
use super::{Finished, Keep, Options, RunError, folder, node_access};
use crate::cluster::{self, ClusterError, ClusterProvider, Entrance, Typed};
use crate::experiment::{self, Controller, Named, Plan, ServiceAccess};
use crate::fault::journal::{Entry, Journal, Undo};
use crate::fault::{Fault, PodKill, Site};
use crate::measure::{Clock, OpSink, Recorder};
use crate::model::{EventKind, HarnessInfo, IdentityMoment, LeakItem, Outcome, Phase, RunInfo, Secret, TargetIdentity};
use crate::report;
use crate::sql::{self, Patience};
use crate::target::{self, Manifests, Names, Profile, Watch};
use crate::workload::{self, EngineClock, Load, Prober, WORKLOAD_FS};

/// A cluster may have to be made, and the stand-in engine to be built.
const PREFLIGHT_WITHIN: Duration = Duration::from_secs(900);
const STEADY_WITHIN: Duration = Duration::from_secs(60);
/// Between the first two questions to a server that does not answer yet; then longer.
const ASK_AGAIN: Duration = Duration::from_millis(50);
const FINAL_READ_WITHIN: Duration = Duration::from_secs(600);
/// The journal's step for the namespace.
pub(super) const NAMESPACE_STEP: &str = "namespace";
/// The journal's step for a cluster that the run makes.
pub(super) const CLUSTER_STEP: &str = "cluster";

/// The parts of a run that outlive a phase.
pub(super) struct Run<'a> {
    pub plan: &'a Plan,
    pub folder: PathBuf,
    pub clock: Clock,
    pub timeline: Timeline,
    pub journal: Journal,
    pub recorder: Recorder,
    pub seed: u64,
    pub id: String,
    pub names: Names,
    /// What owns the target's pod.
    pub controller: Controller,
    /// Where the engine keeps its data in its container.
    pub mount: String,
    /// The pod's port to which the Service leads.
    pub port: u16,
    keep: Keep,
    pub provider: Arc<dyn ClusterProvider>,
    pub client: Option<kube::Client>,
    /// Whether the cluster itself was made by this run.
    pub made_cluster: bool,
    /// Whether the API server, or the server under test where that exists, was asked to create anything.
    pub created: bool,
    pub site: Option<Site>,
    pub load: Option<Load>,
    pub prober: Option<Prober>,
    pub active: Option<ActiveFault>,
    pub faults_began: bool,
    /// The engine's clock as it was before the first fault.
    engine_clock: Option<EngineClock>,
    /// Faults whose undoing failed: the journal stays open for them.
    pub unhealed: Vec<LeakItem>,
    tasks: tokio::task::JoinSet<()>,
}

/// See [`super::run`].
pub(super) async fn run(plan: &Plan, options: Options, cancel: CancellationToken) -> Result<Finished, RunError> {
    let mut run = Run::begin(plan, options)?;
    let interrupted = run.interrupted(cancel);
    let measured = tokio::select! {
        measured = run.measure() => measured,
        ended = interrupted => ended,
    };
    let error = run.unrecorded().or(measured.err());
    Ok(run.end(error).await)
}

impl<'a> Run<'a> {
    /// Creates the run's folder and everything in it that is written from the start.
    pub(super) fn begin(plan: &'a Plan, options: Options) -> Result<Self, RunError> {
        let provider = match plan.sandbox_sabotage {
            Some(defect) => cluster::sabotaged_sandbox(defect),
            None => {
                let access =
                    node_access::planned(&options.cluster, plan.node_access.as_deref(), plan.faults.iter().map(|fault| &fault.spec));
                cluster::provider(&options.cluster, access)?
            }
        };
        let clock = Clock::start();
        let id = folder::run_id(&plan.name, clock.started_at());
        let folder = folder::create(&options.reports, &id)?;
        let seed = plan.seed.unwrap_or_else(|| rand::rng().random_range(0..=u64::from(u32::MAX)));
        std::fs::write(folder.join("experiment.yaml"), experiment::to_yaml(&Plan { seed: Some(seed), ..plan.clone() }))?;
        let journal = Journal::create(&folder, &Entry::Begin { run: id.clone(), cluster: cluster::record(provider.as_ref()) })?;
        let timeline = Timeline::create(&folder, clock, options.live)?;
        let namespace = plan.target.existing.as_ref().map(|existing| existing.target.namespace.clone());
        let names = Names::new(namespace.unwrap_or_else(|| folder::namespace(&plan.name)), plan.target.controller);
        timeline.emit_at(
            0,
            EventKind::RunStarted {
                run: RunInfo {
                    id: id.clone(),
                    experiment: plan.name.clone(),
                    seed,
                    started_at: clock.started_at().to_string(),
                    provider: provider.provider(),
                    cluster: provider.name().to_owned(),
                    namespace: names.namespace.clone(),
                    harness: HarnessInfo {
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        commit: option_env!("CHAOS_COMMIT").unwrap_or_default().to_owned(),
                    },
                },
            },
        );
        let recorder = Recorder::create(&folder, clock)?;
        Ok(Run {
            plan,
            folder,
            clock,
            timeline,
            journal,
            recorder,
            seed,
            id,
            names,
            controller: plan.target.controller,
            mount: target::DATA_MOUNT.to_owned(),
            port: target::PORT,
            keep: options.keep,
            provider,
            client: None,
            made_cluster: false,
            created: false,
            site: None,
            load: None,
            prober: None,
            active: None,
            faults_began: false,
            engine_clock: None,
            unhealed: Vec::new(),
            tasks: tokio::task::JoinSet::new(),
        })
    }

    /// What ends a run before its time: a signal, or records that can no longer be written.
    pub(super) fn interrupted(&self, cancel: CancellationToken) -> impl Future<Output = Result<(), RunError>> + use<> {
        let (history, timeline) = (self.recorder.broken(), self.timeline.broken());
        async move {
            tokio::select! {
                () = cancel.cancelled() => Err(RunError::Interrupted),
                () = history.cancelled() => Ok(()),
                () = timeline.cancelled() => Ok(()),
            }
        }
    }

    /// A target that stands, answers and is known.
    pub(super) async fn stand_up(&mut self) -> Result<(), RunError> {
        self.phase(Phase::Preflight);
        let result = tokio::time::timeout(PREFLIGHT_WITHIN, self.preflight()).await;
        let ground = self.done(Phase::Preflight, late(result, "preflight", PREFLIGHT_WITHIN), |ground| ground.warnings.join("; "))?;

        self.phase(Phase::Deploy);
        let result = self.deploy(&ground).await;
        self.done(Phase::Deploy, result, |address| format!("the Service is reached at {address}"))?;

        self.phase(Phase::SteadyState);
        let result = tokio::time::timeout(STEADY_WITHIN, self.steady_state()).await;
        self.done(Phase::SteadyState, late(result, "steady state", STEADY_WITHIN), Clone::clone)?;
        Ok(())
    }

    /// Everything up to the final read. Dropped half-way when the run is interrupted; [`Run::end`] finds its parts in `self`.
    async fn measure(&mut self) -> Result<(), RunError> {
        self.stand_up().await?;

        self.phase(Phase::WarmUp);
        let result = self.warm_up().await;
        self.done(Phase::WarmUp, result, |acknowledged| format!("{acknowledged} commits acknowledged"))?;

        self.phase(Phase::Faults);
        self.faults_began = true;
        let result = self.faults().await;
        self.done(Phase::Faults, result, |()| String::new())?;

        self.phase(Phase::Quiesce);
        self.quiesce(self.plan.workload.op_timeout + Duration::from_secs(5)).await;
        self.done(Phase::Quiesce, Ok(()), |()| String::new())?;

        if self.plan.cold_read {
            self.phase(Phase::ColdRestart);
            let result = self.cold_restart().await;
            self.done(Phase::ColdRestart, result, |detail| detail.clone())?;
        }

        self.phase(Phase::FinalRead);
        let result = self.final_read().await;
        self.done(Phase::FinalRead, result, |rows| format!("{rows} rows"))?;
        Ok(())
    }

    pub(super) fn phase(&self, phase: Phase) {
        self.timeline.emit(EventKind::PhaseStarted { phase });
    }

    /// Why the run's records are no longer complete, if so: what is not recorded proves nothing, so such a run ends at once.
    pub(super) fn unrecorded(&self) -> Option<RunError> {
        let why = self.recorder.failed().or_else(|| self.timeline.failed())?;
        Some(RunError::Folder(std::io::Error::new(std::io::ErrorKind::StorageFull, why)))
    }

    /// Records a phase's end.
    pub(super) fn done<T>(&self, phase: Phase, result: Result<T, RunError>, detail: impl FnOnce(&T) -> String) -> Result<T, RunError> {
        let (ok, detail) = match &result {
            Ok(value) => (true, detail(value)),
            Err(error) => (false, with_causes(error)),
        };
        self.timeline.emit(EventKind::PhaseFinished { phase, ok, detail });
        result
    }

    async fn preflight(&mut self) -> Result<Ground, RunError> {
        let config = match self.provider.connect().await {
            Err(ClusterError::NotMade { .. }) => {
                self.journal.intent(CLUSTER_STEP, &format!("cluster {}", self.provider.name()), Undo::DeleteCluster)?;
                self.made_cluster = true;
                self.provider.create().await?;
                self.provider.connect().await?
            }
            connected => connected?,
        };
        let client = cluster::client(config)?;
        self.client = Some(client.clone());
        if let (true, Some(class)) = (self.made_cluster, &self.plan.target.storage.class) {
            self.provider.provide_storage(&client, class).await?;
        }
        self.tasks.spawn(super::clock::compare(client.clone(), self.clock, self.timeline.clone()));
        let scratch = tempfile::tempdir()?;
        let ground = preflight::look(&client, self.provider.as_ref(), self.plan, scratch.path()).await?;
        self.timeline.emit(EventKind::KubernetesVersion { version: ground.kubernetes_version.clone() });
        Ok(ground)
    }

    async fn deploy(&mut self, ground: &Ground) -> Result<String, RunError> {
        let client = self.client.clone().ok_or_else(|| RunError::Bug("deploy before preflight".to_owned()))?;
        self.open_nodes(&client).await?;
        if let Some(existing) = &self.plan.target.existing {
            return self.adopt(client, &existing.target).await;
        }
        let profile = Profile::of(&self.plan.target, &ground.stand_in_image);
        // SQL Server wants three of four classes of characters.
        let password = Secret::new(format!("Aa1-{}", folder::random_word(24)));
        let undo = Undo::DeleteNamespace { namespace: self.names.namespace.clone() };
        self.journal.intent(NAMESPACE_STEP, &format!("namespace/{}", self.names.namespace), undo)?;
        self.created = true;
        let outside = |address: &str| vec![Entrance { node_port: node_port_of(address), address: address.to_owned() }];
        let entrances = match &self.plan.target.service {
            ServiceAccess::NodePort => ground.entrances.clone(),
            ServiceAccess::LoadBalancer => outside(""),
            ServiceAccess::Address(address) => outside(address),
        };
        let mut address = target::create(&client, &self.names, &entrances, |node_port| {
            Manifests::new(&self.names, &self.id, &self.plan.target, &profile, &password, node_port)
        })
        .await?;
        if self.plan.target.service == ServiceAccess::LoadBalancer {
            address = target::load_balancer_address(&client, &self.names, self.plan.target.ready_within).await?;
        }

        let sql = sql::Target {
            address: address.clone(),
            user: "sa".to_owned(),
            password,
            database: workload::DATABASE.to_owned(),
            tls: self.plan.target.tls,
        };
        self.settle(client, sql, self.plan.target.grace, profile.log_marks).await?;
        Ok(address)
    }

    /// Keeps the engine's log in the run's folder for as long as the run lasts.
    pub(super) fn keep_log(&mut self, client: &kube::Client, watch: &Watch, marks: &'static [&'static str], emit: target::Emit) {
        let (pods, container) = (Api::<Typed<Pod>>::namespaced(client.clone(), &self.names.namespace), self.names.container.clone());
        let (state, log, failed) = (watch.subscribe(), self.folder.join("target.log"), self.timeline.clone());
        self.tasks.spawn(async move {
            if let Err(error) = target::follow(pods, container, state, &log, marks, emit).await {
                failed.emit(EventKind::HarnessError { message: format!("the target's log is not kept: {error}") });
            }
        });
    }

    /// The hypothesis must hold before any fault: the engine answers, a row that is written can be read, and we know who and where everything is. Returns
    /// what a reader should know of that before the faults, if anything.
    async fn steady_state(&mut self) -> Result<String, RunError> {
        let sql = self.sql_target()?;
        // Ready is not recovered: a server may take connections and still refuse logins. There is nothing to watch, so it is asked again.
        let mut patience = Patience::new(ASK_AGAIN, self.plan.target.ready_within.min(STEADY_WITHIN));
        let mut last = String::new();
        loop {
            let prepared = async {
                workload::prepare(&self.plan.workload, &sql).await?;
                Ok::<_, workload::PrepareError>(workload::sentinel_write(&sql, &self.id).await?)
            };
            let identified = match prepared.await {
                Ok(()) => self.identify(IdentityMoment::Before).await,
                Err(error) if error.is_final() => return Err(RunError::Statement(error.to_string())),
                Err(error) => Err(RunError::Engine(error.to_string())),
            };
            match identified {
                Ok(identity) => return Ok(self.stranded(&identity)),
                Err(error) if patience.is_left() => last = with_causes(&error),
                Err(error) if last.is_empty() => return Err(error),
                Err(error) => return Err(RunError::Engine(format!("{}; before that: {last}", with_causes(&error)))),
            }
            patience.pause().await;
        }
    }

    /// Whether a fault will keep the pod from the only node that has its volume: an outage by design, which is better known beforehand.
    fn stranded(&self, identity: &TargetIdentity) -> String {
        match &identity.claim.bound_to_node {
            Some(node) if self.plan.faults.iter().any(|fault| fault.spec.takes_node()) => {
                format!("the volume is bound to node {node}: while a fault keeps that node away, the pod can only stay Pending")
            }
            _ => String::new(),
        }
    }

    /// Records who and where the target is, and what the engine says of itself and of the sentinel row.
    async fn identify(&mut self, moment: IdentityMoment) -> Result<TargetIdentity, RunError> {
        let sql = self.sql_target()?;
        let engine = |error: sql::SqlError| RunError::Engine(error.to_string());
        let info = workload::engine_info(&sql, self.plan.target.engine.id()).await.map_err(engine)?;
        self.timeline.emit(EventKind::EngineSeen { engine: info });
        let found = workload::sentinel_read(&sql, &self.id).await.map_err(engine)?;
        self.timeline.emit(EventKind::SentinelRead { moment, found });
        let clock = workload::engine_clock(&sql).await;
        if moment == IdentityMoment::Before {
            self.engine_clock = clock.map_err(engine)?;
        } else {
            self.timeline.emit(EventKind::EngineFact { fact: workload::clock_fact(self.engine_clock, &clock) });
            // The sandbox' paths are those of this machine, so its files are elsewhere than in a container.
            let mount = self.provider.runs_images().then_some(self.mount.as_str());
            for fact in workload::engine_facts(&sql, mount).await {
                self.timeline.emit(EventKind::EngineFact { fact });
            }
        }
        let site = self.site()?;
        let state = site.watch.until_serving(STEADY_WITHIN).await?;
        let identity = target::identify(&site.client, &site.names, self.controller, &sql.address, &state).await?;
        self.timeline.emit(EventKind::TargetIdentified { moment, identity: identity.clone() });
        Ok(identity)
    }

    /// Starts workload and prober. The run goes on only when commits are being acknowledged.
    async fn warm_up(&mut self) -> Result<u64, RunError> {
        let sql = self.sql_target()?;
        let sink = self.recorder.sink();
        let timeline = self.timeline.clone();
        let of_sessions = timeline.clone();
        let load = Load::start(&self.plan.workload, self.seed, sql.clone(), sink.clone(), self.clock, move |kind| of_sessions.emit(kind))?;
        self.load = Some(load);
        self.prober = Some(Prober::start(sql, sink.clone(), self.clock, move |kind| timeline.emit(kind))?);
        self.tasks.spawn(throughput(sink.clone(), self.timeline.clone()));
        tokio::time::sleep(self.plan.workload.warm_up).await;
        let acknowledged = sink.counts(&WORKLOAD_FS).ok;
        if acknowledged == 0 {
            return Err(RunError::Engine("no commit was acknowledged during warm-up".to_owned()));
        }
        Ok(acknowledged)
    }

    /// Ends prober and load; ops in flight have this long to come back.
    pub(super) async fn quiesce(&mut self, within: Duration) {
        if let Some(prober) = self.prober.take() {
            prober.stop().await;
        }
        if let Some(load) = self.load.take() {
            let summary = load.stop(within).await;
            self.timeline.emit(summary.event());
        }
    }

    /// Kills the database pod once more, so that the final read is served by a process that acknowledged nothing.
    async fn cold_restart(&mut self) -> Result<String, RunError> {
        let within = self.plan.target.ready_within;
        let site = self.site()?;
        let kill = PodKill { grace: experiment::Grace::Of(Duration::ZERO) };
        let refused = |error: crate::fault::FaultError| RunError::Engine(format!("cold restart: {error}"));
        site.watch.until_serving(within).await?;
        let target = kill.resolve(site).await.map_err(refused)?;
        self.journal.intent("cold-restart", &format!("pod/{}", target.name), kill.undo(site, &target))?;
        kill.inject(site, &target).await.map_err(refused)?;
        let serving = |state: &target::TargetState| state.serving().is_some_and(|pod| pod.uid != target.uid);
        let state = site.watch.until("a fresh pod behind the Service", within, serving).await?;
        self.journal.undone("cold-restart", "a fresh pod serves")?;
        let fresh = state.serving().map(|pod| pod.uid.clone()).unwrap_or_default();
        Ok(format!("pod uid {} was replaced by {fresh}", target.uid))
    }

    async fn final_read(&mut self) -> Result<u64, RunError> {
        let sql = self.sql_target()?;
        // An engine that never heard of the database will not come to have it: what it says of itself is the finding.
        if matches!(workload::database_exists(&sql).await, Ok(false)) {
            self.identify(IdentityMoment::After).await?;
            return Err(RunError::Engine("the database is gone, and so is every row".to_owned()));
        }
        let read = workload::final_read(&self.plan.workload, &sql, &self.recorder.sink(), self.clock, FINAL_READ_WITHIN).await;
        if !read.complete {
            // What the engine says of its pages may be why, and a finding of its own; that it could not be asked either is told by the error below.
            let _ = self.identify(IdentityMoment::After).await;
            let last = read.last_error.map(|error| error.message).unwrap_or_default();
            return Err(RunError::Engine(format!("the final read was not complete after {} attempts; last error: {last}", read.attempts)));
        }
        self.identify_after().await?;
        Ok(read.rows)
    }

    /// A server that has just answered the final read is asked again when one connection to it fails: on the way there is a network.
    async fn identify_after(&mut self) -> Result<(), RunError> {
        let mut patience = Patience::new(ASK_AGAIN, STEADY_WITHIN);
        loop {
            match self.identify(IdentityMoment::After).await {
                Ok(_) => return Ok(()),
                Err(RunError::Engine(_)) if patience.is_left() => patience.pause().await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Heals, removes, records, judges. Whatever happened before, this runs to its end.
    async fn end(mut self, error: Option<RunError>) -> Finished {
        let left = self.wind_down(error.as_ref()).await;
        let report = self.judge().await;
        let (report, error) = match report {
            Ok(report) => (Some(report), error),
            Err(why) => (None, error.or(Some(RunError::Bug(why)))),
        };
        Finished { folder: self.folder, report, error, faults_began: self.faults_began, left }
    }

    /// Heals, removes and records, and tells what of the run is left against its will.
    pub(super) async fn wind_down(&mut self, error: Option<&RunError>) -> Vec<LeakItem> {
        if matches!(error, Some(RunError::Interrupted)) {
            self.timeline.emit(EventKind::Interrupted { signal: "interrupt".to_owned() });
        }
        self.quiesce(Duration::from_secs(2)).await;
        self.heal_active(true).await;
        // Joining the recorder's thread blocks, so it has nothing left to write by then.
        self.recorder.flush().await;
        match self.recorder.finish() {
            Ok(transitions) => self.timeline.emit(EventKind::HistoryClosed { transitions }),
            Err(why) => self.timeline.emit(EventKind::HarnessError { message: format!("the history is not complete: {why}") }),
        }
        // The verdict decides whether the target is kept for a look, so a first judgement comes before the clean-up.
        let keep = match self.keep {
            Keep::Never => false,
            Keep::Always => true,
            Keep::OnFailure => {
                error.is_some() || !report::judge_so_far(&self.folder, self.plan).is_ok_and(|report| report.outcome() == Outcome::Pass)
            }
        };
        let left = self.clean_up(keep).await;
        self.tasks.shutdown().await;
        self.site = None;
        if error.is_none() {
            self.timeline.emit(EventKind::RunFinished);
        }
        self.timeline.finish();
        left
    }

    /// Judging reads the whole history, which must not stop the runtime.
    async fn judge(&self) -> Result<report::Report, String> {
        let (folder, plan) = (self.folder.clone(), Plan { seed: Some(self.seed), ..self.plan.clone() });
        tokio::task::spawn_blocking(move || {
            let judged = report::judge(&folder, &plan).map_err(|error| error.to_string())?;
            report::write(&folder, &judged).map_err(|error| format!("the report cannot be written: {error}"))?;
            Ok(judged.report)
        })
        .await
        .map_err(|error| error.to_string())?
    }

    pub(super) fn site(&self) -> Result<&Site, RunError> {
        self.site.as_ref().ok_or_else(|| RunError::Bug("there is no target yet".to_owned()))
    }

    pub(super) fn sql_target(&self) -> Result<sql::Target, RunError> {
        Ok(self.site()?.sql.clone())
    }
}

/// The node port that an address of the user's own leads to: where its port is one, the Service asks for that, else the API server chooses.
fn node_port_of(address: &str) -> Option<u16> {
    let port = address.rsplit_once(':')?.1.parse().ok()?;
    (30_000..=32_767).contains(&port).then_some(port)
}

/// Tells the throughput of every second that has passed.
async fn throughput(sink: OpSink, timeline: Timeline) {
    let mut before = sink.counts(&WORKLOAD_FS);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    loop {
        tick.tick().await;
        let now = sink.counts(&WORKLOAD_FS);
        timeline.emit(EventKind::Throughput {
            due: now.invoked - before.invoked,
            ok: now.ok - before.ok,
            fail: now.fail - before.fail,
            info: now.info - before.info,
            in_flight: now.in_flight,
        });
        before = now;
    }
}

fn late<T>(result: Result<Result<T, RunError>, tokio::time::error::Elapsed>, what: &str, within: Duration) -> Result<T, RunError> {
    result.unwrap_or_else(|_| Err(RunError::Engine(format!("{what} did not end within {} s", within.as_secs()))))
}

/// An error and its causes in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::node_port_of;

    #[test]
    fn an_address_at_a_node_port_asks_for_that_port() {
        assert_eq!(node_port_of("127.0.0.1:30003"), Some(30_003));
        assert_eq!(node_port_of("[::1]:32767"), Some(32_767));
        for elsewhere in ["db.example:1433", "db.example:32768", "db.example:29999"] {
            assert_eq!(node_port_of(elsewhere), None, "{elsewhere}");
        }
    }
}
