//! Builds the folder of a whole run for the tests of the report.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::check::build::{HistoryBuilder, digest, error};
use crate::experiment::{
    AccessMode, BlastRadius, Cache, Controller, Engine, Expect, FaultSpec, Grace, Pace, Plan, PlannedFault, ReconnectTarget, ServiceAccess,
    Storage, TargetPlan, Tls, WorkloadKind, WorkloadPlan,
};
use crate::model::{
    Claim, ClaimSeen, ContainerSeen, ContainerState, ControllerSeen, EndpointSeen, EngineFact, EngineInfo, ErrorKind, Event, EventKind, F,
    FactOutcome, FaultTarget, HarnessInfo, IdentityMoment, Isolation, OpType, OwnerSeen, Phase, PodChange, PodSeen, ProbeStage, Provider,
    RunInfo, ServiceSeen, TargetIdentity, Value,
};

use super::judge::Judged;
use super::model::Report;

pub(crate) const MS: u64 = 1_000_000;

/// A run that passes, until a test changes it.
#[derive(Debug, Clone)]
pub(crate) struct RunBuilder {
    pub(crate) plan: Plan,
    pub(crate) events: Vec<Event>,
    pub(crate) history: HistoryBuilder,
}

pub(crate) fn plan(faults: usize) -> Plan {
    Plan {
        name: "pod-kill".to_owned(),
        description: "Killing the pod loses no acknowledged commit.".to_owned(),
        cluster: None,
        sandbox_sabotage: None,
        target: TargetPlan {
            engine: Engine::TdsSqlite,
            existing: None,
            image: None,
            controller: Controller::Deployment,
            storage: Storage { size: "1Gi".to_owned(), access_mode: AccessMode::ReadWriteOnce, class: None },
            grace: Duration::from_secs(10),
            ready_within: Duration::from_secs(60),
            service: ServiceAccess::NodePort,
            tls: Tls::Off,
            ignore_sigterm: false,
            cache: Cache::Kernel,
            sabotage: None,
        },
        workload: WorkloadPlan {
            mix: BTreeMap::from([(WorkloadKind::Ledger, 1)]),
            clients: 4,
            rate: Pace::constant(100.0),
            warm_up: Duration::from_secs(1),
            op_timeout: Duration::from_secs(5),
            isolation: Isolation::ReadCommitted,
            sql: None,
        },
        faults: (1..=faults)
            .map(|n| PlannedFault {
                id: format!("pod-kill-{n}"),
                spec: FaultSpec::PodKill { grace: Grace::Of(Duration::ZERO) },
                at: Duration::from_millis(1_000 + 5_000 * (n as u64 - 1)),
                after_recovery: None,
                jitter: Duration::ZERO,
                recover_within: Duration::from_secs(30),
            })
            .collect(),
        expect: Expect {
            lost_commits: 0,
            reconnect: ReconnectTarget { p99: Some(Duration::from_secs(2)), max: Duration::from_secs(3) },
            claims: BTreeSet::from([Claim::Ha2, Claim::Ha3, Claim::Ha5, Claim::Ha6, Claim::Ha7]),
            overlap_allowed: false,
        },
        abort_when_outage: None,
        blast_radius: BlastRadius::default(),
        node_access: None,
        seed: Some(7),
        duration: Duration::from_secs(12),
        cold_read: true,
    }
}

/// A pod of the target in the state that a test needs.
pub(crate) fn pod(uid: &str, state: ContainerState, ready: bool) -> PodSeen {
    PodSeen {
        uid: uid.to_owned(),
        name: format!("sql-{uid}"),
        node: Some("node-1".to_owned()),
        ip: Some("10.0.0.1".to_owned()),
        owner: Some(OwnerSeen { kind: "ReplicaSet".to_owned(), name: "sql-6d4".to_owned(), uid: "rs-1".to_owned() }),
        phase: "Running".to_owned(),
        ready,
        ready_since: None,
        terminating: false,
        grace_s: None,
        conditions: Vec::new(),
        reason: String::new(),
        created_at: None,
        containers: vec![ContainerSeen {
            name: "mssql".to_owned(),
            id: match state {
                ContainerState::Waiting { .. } => None,
                _ => Some(format!("containerd://{uid}")),
            },
            restarts: 0,
            ready,
            state,
            last: None,
        }],
    }
}

pub(crate) fn running() -> ContainerState {
    ContainerState::Running { started_at: None }
}

pub(crate) fn waiting() -> ContainerState {
    ContainerState::Waiting { reason: "ContainerCreating".to_owned(), message: String::new() }
}

pub(crate) fn identity(pod_uid: &str) -> TargetIdentity {
    TargetIdentity {
        service: ServiceSeen {
            name: "sql".to_owned(),
            uid: "svc-1".to_owned(),
            cluster_ip: "10.96.0.9".to_owned(),
            address: "127.0.0.1:1433".to_owned(),
        },
        claim: ClaimSeen {
            name: "data".to_owned(),
            uid: "pvc-1".to_owned(),
            volume: "pv-1".to_owned(),
            volume_handle: "/volumes/pv-1".to_owned(),
            storage_class: "standard".to_owned(),
            bound_to_node: None,
        },
        controller: ControllerSeen { kind: "Deployment".to_owned(), name: "sql".to_owned(), uid: "deploy-1".to_owned() },
        pod_uid: pod_uid.to_owned(),
        node: "node-1".to_owned(),
    }
}

fn endpoint(uid: &str) -> EventKind {
    EventKind::Endpoints {
        endpoints: vec![EndpointSeen {
            address: "10.0.0.1".to_owned(),
            pod_uid: Some(uid.to_owned()),
            ready: true,
            serving: true,
            terminating: false,
        }],
    }
}

impl RunBuilder {
    /// Two pod kills, each with an outage of 650 ms, and every commit read back.
    pub(crate) fn passing() -> Self {
        let mut run = RunBuilder { plan: plan(2), events: Vec::new(), history: HistoryBuilder::new() };
        run.begin();
        for n in 1..=2 {
            run.fault(n, 3_000 + 5_000 * (n - 1));
        }
        run.end();
        for at in (1_000..13_000).step_by(10) {
            let since = (at - 3_000_i64).rem_euclid(5_000);
            let out = at >= 3_000 && (6..650).contains(&since);
            let at = u64::try_from(at).expect("it starts at 1000");
            match (out, since % 100) {
                (false, _) => run.op(F::LedgerAdd, at, at + 1, OpType::Ok),
                (true, 10) => run.op(F::Probe, at, at + 1, OpType::Fail),
                (true, _) => {}
            }
        }
        let acked: Vec<u64> = run.acked();
        run.history.now_ns = 14_000 * MS;
        run.history.final_read(&acked);
        run
    }

    pub(crate) fn at(&mut self, ms: u64, kind: EventKind) {
        let time_ns = ms * MS;
        let at = self.events.partition_point(|event| event.time_ns <= time_ns);
        self.events.insert(at, Event { time_ns, kind });
    }

    /// A whole op with its times in ms.
    pub(crate) fn op(&mut self, f: F, sent_ms: u64, done_ms: u64, kind: OpType) {
        let process = self.history.process();
        let key = u64::from(process);
        let value = Value::Row(key, digest(key));
        let why = (kind != OpType::Ok).then(|| error(ErrorKind::Refused, None));
        self.history.now_ns = sent_ms * MS - MS;
        self.history.push(OpType::Invoke, process, f, value.clone(), None);
        self.history.now_ns = done_ms * MS - MS;
        self.history.push(kind, process, f, value, why);
    }

    /// The keys that were acknowledged.
    pub(crate) fn acked(&self) -> Vec<u64> {
        self.history
            .ops
            .iter()
            .filter(|op| op.kind == OpType::Ok)
            .filter_map(|op| match op.value {
                Value::Row(key, _) => Some(key),
                _ => None,
            })
            .collect()
    }

    fn begin(&mut self) {
        let run = RunInfo {
            id: "pod-kill-20261124-194600".to_owned(),
            experiment: "pod-kill".to_owned(),
            seed: 7,
            started_at: "2026-11-24T19:46:00Z".to_owned(),
            provider: Provider::Sandbox,
            cluster: String::new(),
            namespace: "chaos-pod-kill".to_owned(),
            harness: HarnessInfo { version: "0.1.0".to_owned(), commit: String::new() },
        };
        self.at(0, EventKind::RunStarted { run });
        let version = "v1.34.0".to_owned();
        self.at(1, EventKind::KubernetesVersion { version });
        self.phase(Phase::Deploy, 10, 500);
        let change = PodChange::Added;
        let first = pod("p0", running(), true);
        self.at(400, EventKind::Pod { change, pod: first });
        self.at(410, endpoint("p0"));
        let engine = EngineInfo { name: "tds-sqlite".to_owned(), version: "0.1.0".to_owned(), banner: String::new(), started_at: None };
        self.at(450, EventKind::EngineSeen { engine });
        self.phase(Phase::SteadyState, 510, 900);
        self.identify(IdentityMoment::Before, 800, "p0");
        self.phase(Phase::WarmUp, 1_000, 2_000);
    }

    pub(crate) fn phase(&mut self, phase: Phase, from_ms: u64, to_ms: u64) {
        self.at(from_ms, EventKind::PhaseStarted { phase });
        let finished = EventKind::PhaseFinished { phase, ok: true, detail: String::new() };
        self.at(to_ms, finished);
    }

    fn identify(&mut self, moment: IdentityMoment, ms: u64, uid: &str) {
        let identity = identity(uid);
        self.at(ms, EventKind::TargetIdentified { moment, identity });
        self.at(ms, EventKind::SentinelRead { moment, found: true });
    }

    fn fault(&mut self, n: u64, start_ms: u64) {
        let fault = format!("pod-kill-{n}");
        let (old, new) = (format!("p{}", n - 1), format!("p{n}"));
        let target =
            FaultTarget { kind: "Pod".to_owned(), name: format!("sql-{old}"), uid: old.clone(), node: "node-1".to_owned(), owner: None };
        let started = EventKind::FaultStarted {
            fault: fault.clone(),
            kind: "pod-kill".to_owned(),
            target,
            parameters: "grace 0s".to_owned(),
            reach: "process death".to_owned(),
        };
        self.at(start_ms, started);
        let injected = EventKind::FaultInjected { fault: fault.clone(), in_flight: 3, since_last_ack_ns: Some(2_000_000) };
        self.at(start_ms + 5, injected);
        let pod_event = |change, pod| EventKind::Pod { change, pod };
        self.at(start_ms + 20, pod_event(PodChange::Deleted, pod(&old, running(), true)));
        self.at(start_ms + 25, EventKind::Endpoints { endpoints: Vec::new() });
        let mut unscheduled = pod(&new, waiting(), false);
        unscheduled.node = None;
        self.at(start_ms + 40, pod_event(PodChange::Added, unscheduled));
        let change = PodChange::Modified;
        self.at(start_ms + 50, pod_event(change, pod(&new, waiting(), false)));
        self.at(start_ms + 400, pod_event(change, pod(&new, running(), false)));
        for (stage, at) in [(ProbeStage::Tcp, 525), (ProbeStage::Login, 575), (ProbeStage::Commit, 650)] {
            let attempt_ns = (start_ms + at - 1) * MS;
            self.at(start_ms + at, EventKind::Probe { stage, attempt_ns });
        }
        self.at(start_ms + 500, pod_event(change, pod(&new, running(), true)));
        self.at(start_ms + 520, endpoint(&new));
        let attested = EventKind::FaultAttested {
            fault: fault.clone(),
            attested: true,
            evidence: vec![format!("pod {old} is gone, {new} replaced it")],
        };
        self.at(start_ms + 640, attested);
        let recovered = EventKind::FaultRecovered { fault: fault.clone(), recovered: true, detail: String::new() };
        self.at(start_ms + 700, recovered);
        let detail = "nothing to undo".to_owned();
        self.at(start_ms + 701, EventKind::FaultHealed { fault, detail });
    }

    fn end(&mut self) {
        self.phase(Phase::Faults, 2_000, 12_900);
        self.phase(Phase::Quiesce, 13_000, 13_100);
        self.phase(Phase::ColdRestart, 13_200, 13_900);
        self.phase(Phase::FinalRead, 13_950, 14_900);
        self.identify(IdentityMoment::After, 14_910, "p2");
        for (name, outcome) in [("database-state", FactOutcome::Good), ("dbcc-checkdb", FactOutcome::Unsupported)] {
            let fact = EngineFact { name: name.to_owned(), outcome, detail: String::new() };
            self.at(14_920, EventKind::EngineFact { fact });
        }
        let load = EventKind::LoadSummary {
            issued: 1_100,
            not_sent: 0,
            lateness_ns: [50_000, 90_000, 200_000, 400_000, 900_000],
            cpu_per_op_ns: 30_500,
        };
        self.at(14_930, load);
        self.phase(Phase::CleanUp, 14_940, 14_990);
        let left = Vec::new();
        self.at(14_995, EventKind::LeakCheck { left, kept: false });
        self.at(15_000, EventKind::RunFinished);
    }

    /// Changes or removes events.
    pub(crate) fn edit(&mut self, mut keep: impl FnMut(&mut EventKind) -> bool) {
        self.events.retain_mut(|event| keep(&mut event.kind));
    }

    /// Writes the folder.
    pub(crate) fn write(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut timeline = Vec::new();
        for event in &self.events {
            event.write_line(&mut timeline);
        }
        for (name, bytes) in [("history.jsonl", self.history.lines()), ("timeline.jsonl", timeline)] {
            std::fs::write(folder.path().join(name), bytes).expect("it can be written");
        }
        folder
    }

    pub(crate) fn judge(&self) -> Report {
        self.judge_whole().report
    }

    pub(super) fn judge_whole(&self) -> Judged {
        let folder = self.write();
        super::judge(folder.path(), &self.plan).expect("the folder can be judged")
    }
}
