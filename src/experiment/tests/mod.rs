//! Tests of the experiment file, by theme.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own input should end there")]

mod load;
mod mistakes;
mod own_sql;
mod round_trip;
mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::model::{Claim, Isolation, Rate};

const MINIMAL: &str = "name: pod-kill\ntarget:\n  engine: tds-sqlite\nfaults:\n  - pod-kill:\n";

/// Every mistake as `line:column: path: what`.
fn mistakes(text: &str) -> Vec<String> {
    match parse("x.yaml", text) {
        Ok(plan) => panic!("expected mistakes, got {plan:?}"),
        Err(mistakes) => mistakes.list().iter().map(one_line).collect(),
    }
}

fn one_line(mistake: &Mistake) -> String {
    let at = mistake.at.map_or_else(String::new, |at| format!("{}:{}: ", at.line, at.column));
    let path = if mistake.path.is_empty() { String::new() } else { format!("{}: ", mistake.path) };
    format!("{at}{path}{}", mistake.what)
}

/// [`MINIMAL`] with more lines after it has exactly this mistake.
fn minimal_and(more: &str, expected: &str) {
    assert_eq!(mistakes(&format!("{MINIMAL}{more}")), [expected]);
}

#[test]
fn the_minimal_experiment_has_safe_defaults() {
    let plan = parse("x.yaml", MINIMAL).unwrap();
    assert!(MINIMAL.lines().count() <= 12);
    assert_eq!(plan.cluster, None);
    assert_eq!(plan.seed, None);
    assert_eq!(plan.target.controller, Controller::Deployment);
    assert_eq!(plan.target.storage.size, "8Gi");
    assert_eq!(plan.target.storage.access_mode, AccessMode::ReadWriteOnce);
    assert_eq!(plan.target.grace, Duration::from_secs(30));
    assert_eq!(plan.target.tls, Tls::Off);
    assert_eq!(plan.workload.mix, BTreeMap::from([(WorkloadKind::Ledger, 1)]));
    assert_eq!(plan.workload.clients, 8);
    assert_eq!(plan.workload.rate, Pace::constant(200.0));
    assert_eq!(plan.faults.len(), 1);
    assert_eq!(plan.faults[0].id, "pod-kill-1");
    assert_eq!(plan.faults[0].at, Duration::from_secs(10));
    assert_eq!(plan.faults[0].spec, FaultSpec::PodKill { grace: Grace::Pod });
    assert_eq!(plan.duration, Duration::from_secs(20));
    assert_eq!(plan.expect.lost_commits, 0);
    assert!(!plan.expect.overlap_allowed);
    assert!(plan.cold_read);
    let claims = [Claim::Ha2, Claim::Ha3, Claim::Ha5, Claim::Ha6, Claim::Ha7];
    assert_eq!(plan.expect.claims, BTreeSet::from(claims));
}

const FULL: &str = r#"
name: all-keys
description: Every key there is.
cluster: kind:rig
seed: 7
target:
  engine: tds-sqlite
  image: example/engine:1
  controller: StatefulSet
  storage: { size: 1Gi, accessMode: ReadWriteOncePod, class: fast }
  grace: 10s
  readyWithin: 1m
  service: db.example:1433
  tls: trustServerCertificate
  ignoreSigterm: true
  cache: volatile
  sabotage: lose-acked
workload:
  mix: { ledger: 70, bank: 30 }
  clients: 4
  rate: 30/m
  warmUp: 0s
  opTimeout: 1.5s
faults:
  - pod-kill: { grace: 0s }
    at: 20s
    repeat: 3
    every: 30s
    recoverWithin: 45s
  - at: 30s
    pod-kill: { grace: pod }
expect:
  lostCommits: 2
  reconnect: { p99: 30s, max: 45s }
  claims: [HA-7, HA-2]
  overlap: allowed
abortWhen: outage > 90s
blastRadius: { maxUnavailableNodes: 2, controlPlaneNode: cp-1 }
nodeAccess: { image: busybox:1 }
duration: 2m
coldRead: false
"#;

#[test]
fn every_key_is_read() {
    let plan = parse("x.yaml", FULL).unwrap();
    let s = Duration::from_secs;
    assert_eq!(plan.cluster, Some(ClusterRef::Kind(Some("rig".to_owned()))));
    assert_eq!(plan.seed, Some(7));
    assert_eq!(
        plan.target,
        TargetPlan {
            engine: Engine::TdsSqlite,
            existing: None,
            image: Some("example/engine:1".to_owned()),
            controller: Controller::StatefulSet,
            storage: Storage { size: "1Gi".to_owned(), access_mode: AccessMode::ReadWriteOncePod, class: Some("fast".to_owned()) },
            grace: s(10),
            ready_within: s(60),
            service: ServiceAccess::Address("db.example:1433".to_owned()),
            tls: Tls::TrustServerCertificate,
            ignore_sigterm: true,
            cache: Cache::Volatile,
            sabotage: Some(Sabotage::LoseAcked),
        }
    );
    assert_eq!(
        plan.workload,
        WorkloadPlan {
            mix: BTreeMap::from([(WorkloadKind::Ledger, 70), (WorkloadKind::Bank, 30)]),
            clients: 4,
            rate: Pace::constant(0.5),
            warm_up: s(0),
            op_timeout: Duration::from_millis(1_500),
            isolation: Isolation::ReadCommitted,
            sql: None,
        }
    );
    let schedule: Vec<_> = plan.faults.iter().map(|fault| (fault.id.as_str(), fault.at.as_secs(), fault.spec.clone())).collect();
    let now = FaultSpec::PodKill { grace: Grace::Of(s(0)) };
    let gently = FaultSpec::PodKill { grace: Grace::Pod };
    assert_eq!(
        schedule,
        [("pod-kill-1", 20, now.clone()), ("pod-kill-2", 30, gently), ("pod-kill-3", 50, now.clone()), ("pod-kill-4", 80, now),]
    );
    assert_eq!(plan.faults[0].recover_within, s(45));
    assert_eq!(plan.faults[1].recover_within, s(120));
    assert_eq!(
        plan.expect,
        Expect {
            lost_commits: 2,
            reconnect: ReconnectTarget { p99: Some(s(30)), max: s(45) },
            claims: BTreeSet::from([Claim::Ha2, Claim::Ha7]),
            overlap_allowed: true,
        }
    );
    assert_eq!(plan.abort_when_outage, Some(s(90)));
    assert_eq!(plan.blast_radius, BlastRadius { max_unavailable_nodes: 2, control_plane_node: Some("cp-1".to_owned()) });
    assert_eq!(plan.node_access.as_deref(), Some("busybox:1"));
    assert_eq!(plan.duration, s(120));
    assert!(!plan.cold_read);
}

#[test]
fn the_command_line_decides_in_place_of_the_file() {
    let text = MINIMAL.replace("engine: tds-sqlite", "controller: StatefulSet");
    let overrides = Overrides { engine: Some(Engine::MssqlServer), cluster: Some(ClusterRef::Kind(None)), seed: Some(3) };
    let plan = parse_with("x.yaml", &text, &overrides).unwrap();
    assert_eq!(plan.target.engine, Engine::MssqlServer);
    assert_eq!(plan.cluster, Some(ClusterRef::Kind(None)));
    assert_eq!(plan.seed, Some(3));
    assert!(parse("x.yaml", &text).is_err());
}
