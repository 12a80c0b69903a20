#![expect(clippy::unwrap_used, reason = "a test that cannot read its own input should end there")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

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
            image: Some("example/engine:1".to_owned()),
            controller: Controller::StatefulSet,
            storage: Storage { size: "1Gi".to_owned(), access_mode: AccessMode::ReadWriteOncePod, class: Some("fast".to_owned()) },
            grace: s(10),
            ready_within: s(60),
            service: ServiceAccess::Address("db.example:1433".to_owned()),
            tls: Tls::TrustServerCertificate,
            ignore_sigterm: true,
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
    assert_eq!(plan.duration, s(120));
    assert!(!plan.cold_read);
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let text = r#"name: Pod Kill
desc: x
target:
  engine: sqledge
  controler: Deployment
workload:
  rate: 200
  clients: 0
faults:
  - pod-kil: {}
  - pod-kill: { grace: 1.5s }
    repeat: three
expect:
  claims: [HA-9]
"#;
    assert_eq!(
        mistakes(text),
        [
            "1:7: name: is `Pod Kill`, expected lower-case letters, digits and dashes, such as pod-kill, at most 40 characters",
            "2:1: desc: unknown key `desc`, expected name, description, cluster, seed, target, workload, faults, expect, abortWhen, blastRadius, duration or coldRead",
            "4:11: target.engine: unknown value `sqledge`, expected azure-sql-edge, mssql-server or tds-sqlite",
            "5:3: target.controler: unknown key `controler`, did you mean `controller`? expected engine, image, controller, storage, grace, readyWithin, service, tls, ignoreSigterm or sabotage",
            "7:9: workload.rate: `200` has no unit, expected a rate such as 200/s or 30/m",
            "8:12: workload.clients: is `0`, expected a whole number from 1 to 1000",
            "10:5: faults[0].pod-kil: unknown fault or key `pod-kil`, did you mean `pod-kill`? expected a fault (pod-kill, pod-evict, container-crash, process-crash, oom-kill, process-hang, service-cut, disk-full, rollout-restart, scale-zero, node-cordon, node-drain, node-taint, kubelet-stop, node-freeze, node-power-off) and at, after, jitter, repeat, every, recoverWithin",
            "11:24: faults[1].pod-kill.grace: is `1.5s`, expected whole seconds, since Kubernetes counts grace periods so",
            "12:13: faults[1].repeat: is `three`, expected a whole number from 1 to 1000",
            "14:12: expect.claims[0]: unknown value `HA-9`, expected HA-1, HA-2, HA-3, HA-4, HA-5, HA-6 or HA-7",
        ]
    );
}

#[test]
fn a_mistake_is_shown_with_its_line_and_a_caret() {
    let error = parse("dir/x.yaml", &format!("{MINIMAL}workload:\n  rate: 0/s # none\n")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "dir/x.yaml:7:9: workload.rate: is `0/s`, expected a rate above zero, such as 200/s\n  \
         7 |   rate: 0/s # none\n    |         ^\n"
    );
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(
        mistakes("description: x\n"),
        [
            "1:1: target.engine: is missing, expected azure-sql-edge, mssql-server or tds-sqlite",
            "1:1: faults: is missing, expected a list of faults, such as `- pod-kill: { grace: 0s }`",
            "1:1: name: is missing, expected lower-case letters, digits and dashes, such as pod-kill",
        ]
    );
}

#[test]
fn a_load_can_have_steps_and_ramps_or_be_a_closed_loop() {
    let pace = |rate: &str| {
        parse("x.yaml", &format!("name: x\ntarget: {{ engine: tds-sqlite }}\nworkload: {{ rate: {rate} }}\nfaults:\n  - pod-kill:\n"))
    };
    let plan = pace("[{ for: 30s, at: 10/s }, { for: 1m, at: 10/s, to: 50/s }, { at: 50/s }]").expect("it is valid");
    assert_eq!(plan.workload.rate.to_string(), "10/s for 30s, then 10/s to 50/s for 1m, then 50/s");
    assert_eq!(plan.workload.rate.highest(), Some(50.0));
    assert_eq!(pace("closed").expect("it is valid").workload.rate, Pace::Closed);
    for (rate, what) in [
        ("[]", "workload.rate: has 0 steps, expected 1 to 100"),
        ("[{ at: 5/s }, { at: 6/s }]", "workload.rate[0].for: is missing, expected how long this step lasts"),
        ("[{ at: 5/s, for: 3s }]", "workload.rate[0].for: stands at the last step"),
        ("[{ at: 5/s, to: 9/s }]", "workload.rate[0].for: is missing, expected how long the ramp takes"),
        ("[{ for: 3s }, { at: 5/s }]", "workload.rate[0].at: is missing"),
        ("[{ at: 0/s }]", "workload.rate[0].at: is `0/s`, expected a rate above zero"),
        ("[5/s]", "workload.rate[0]: is "),
    ] {
        let mistakes = pace(rate).expect_err(rate).to_string();
        assert!(mistakes.contains(what), "{rate}: {mistakes}");
    }
}

#[test]
fn rates_are_positive_and_bounded() {
    for (rate, what) in [
        ("0/s", "is `0/s`, expected a rate above zero, such as 200/s"),
        ("-5/s", "is `-5/s`, expected a rate above zero, such as 200/s"),
        ("1/x", "`1/x` is not a rate such as 200/s or 30/m"),
        ("nan/s", "`nan/s` is not a rate such as 200/s or 30/m"),
        ("1e9/s", "is `1e9/s`, expected at most 100000/s"),
        ("1e-300/s", "is `1e-300/s`, expected at least one op a day"),
        ("{ from: 1/s }", "is a mapping, expected a rate such as 200/s, `closed`, or a list of steps"),
        ("", "is nothing, expected a rate such as 200/s, `closed`, or a list of steps"),
    ] {
        // The scanner places nothing right behind the colon.
        let column = if rate.is_empty() { 7 } else { 9 };
        minimal_and(&format!("workload:\n  rate: {rate}\n"), &format!("7:{column}: workload.rate: {what}"));
    }
}

#[test]
fn durations_need_a_unit_and_a_bound() {
    for (duration, what) in [
        ("30", "`30` has no unit, expected a duration such as 30s, 250ms or 1m30s"),
        ("0s", "is `0s`, expected a duration above zero"),
        ("-1s", "`-1s` is not a duration such as 30s, 250ms or 1m30s"),
        ("25h", "is `25h`, expected at most 24h"),
        ("99999999999999h", "`99999999999999h` is out of range"),
        ("[1s]", "is a list, expected a duration such as 30s"),
    ] {
        minimal_and(&format!("workload:\n  opTimeout: {duration}\n"), &format!("7:14: workload.opTimeout: {what}"));
    }
}

#[test]
fn a_fault_after_the_end_is_a_mistake() {
    minimal_and(
        "    at: 20s\n    repeat: 5\n    every: 30s\nduration: 1m\n",
        "6:9: faults[0].at: its last injection, number 5, is due at 2m20s, which is not before the end of the fault phase, expected less than `duration`, 1m",
    );
    minimal_and(
        "    at: 1m\nduration: 1m\n",
        "6:9: faults[0].at: is due at 1m, which is not before the end of the fault phase, expected less than `duration`, 1m",
    );
    minimal_and(
        "duration: 10s\n",
        "5:5: faults[0]: is due by default at 10s, which is not before the end of the fault phase, expected less than `duration`, 10s",
    );
}

#[test]
fn the_schedule_of_faults_is_bounded() {
    minimal_and("    repeat: 1000\n    every: 12h\n", "5:5: faults[0]: the last injection is due at 11988h10s, expected at most 23h");
    minimal_and("    every: 12s\n", "6:12: faults[0].every: has no effect on a single injection, expected `repeat` beside it");
    minimal_and(
        "    repeat: 999\n    every: 1s\n  - pod-kill:\n    repeat: 2\n",
        "8:5: faults[1]: makes 1001 injections, expected at most 1000 in a run",
    );
}

#[test]
fn an_item_of_faults_names_one_fault() {
    let with = |item: &str| mistakes(&MINIMAL.replace("- pod-kill:", item));
    assert_eq!(
        with("- pod-kill"),
        ["5:5: faults[0]: is a single value, expected a fault as a key, such as `pod-kill:` or `pod-kill: { grace: 0s }`"]
    );
    assert_eq!(
        with("- at: 5s"),
        [
            "5:5: faults[0]: names no fault, expected one of pod-kill, pod-evict, container-crash, process-crash, oom-kill, process-hang, service-cut, disk-full, rollout-restart, scale-zero, node-cordon, node-drain, node-taint, kubelet-stop, node-freeze, node-power-off"
        ]
    );
    assert_eq!(
        with("- node-melt:"),
        [
            "5:5: faults[0].node-melt: unknown fault or key `node-melt`, expected a fault (pod-kill, pod-evict, container-crash, process-crash, oom-kill, process-hang, service-cut, disk-full, rollout-restart, scale-zero, node-cordon, node-drain, node-taint, kubelet-stop, node-freeze, node-power-off) and at, after, jitter, repeat, every, recoverWithin"
        ]
    );
    assert_eq!(with("- pod-kill: 0s"), ["5:15: faults[0].pod-kill: is a single value, expected a mapping with the keys grace"]);
    assert_eq!(
        with("- pod-kill: { grce: 0s }"),
        ["5:17: faults[0].pod-kill.grce: unknown key `grce`, did you mean `grace`? expected grace"]
    );
    assert_eq!(
        with("- pod-kill: { grace: soon }"),
        ["5:24: faults[0].pod-kill.grace: `soon` is not a duration such as 30s, 250ms or 1m30s, and not `pod`"]
    );
    assert_eq!(
        mistakes("name: x\ntarget: { engine: tds-sqlite }\nfaults: []\n"),
        ["3:9: faults: is empty, expected a list of faults, such as `- pod-kill: { grace: 0s }`"]
    );
}

#[test]
fn what_cannot_be_decided_cannot_be_expected() {
    minimal_and(
        "expect:\n  claims: [HA-4, HA-6]\n",
        "7:11: expect.claims: no fault of this experiment can decide HA-4 (after a node failure or drain the new pod starts on a different node), expected some of HA-2, HA-3, HA-5, HA-6, HA-7",
    );
    minimal_and("expect:\n  claims: []\n", "7:11: expect.claims: is empty, expected a list of HA-1, HA-2, HA-3, HA-4, HA-5, HA-6 or HA-7");
    minimal_and("expect:\n  claims: [HA-6, HA-6]\n", "7:18: expect.claims[1]: `HA-6` is listed twice");
    minimal_and("expect:\n  reconnect: { p99: 50s, max: 45s }\n", "7:21: expect.reconnect.p99: is 50s, expected at most `max`, 45s");
    minimal_and("expect:\n  lostCommits: -1\n", "7:16: expect.lostCommits: is `-1`, expected a whole number from 0");
}

#[test]
fn sabotage_is_for_the_stand_in_engine_only() {
    let text = MINIMAL.replace("tds-sqlite", "mssql-server\n  ignoreSigterm: true\n  service: here");
    assert_eq!(
        mistakes(&text),
        [
            "4:18: target.ignoreSigterm: mssql-server cannot be told to ignore it, expected the engine tds-sqlite or false",
            "5:12: target.service: is `here`, expected nodePort, loadBalancer or HOST:PORT",
        ]
    );
    let text = MINIMAL.replace("tds-sqlite", "mssql-server\n  sabotage: lose-acked");
    assert_eq!(
        mistakes(&text),
        ["4:13: target.sabotage: mssql-server cannot be told to have a defect, expected the engine tds-sqlite or no sabotage"]
    );
}

#[test]
fn what_is_not_there_yet_is_told_honestly() {
    assert_eq!(
        mistakes(&MINIMAL.replace("tds-sqlite", "existing")),
        [
            "3:11: target.engine: testing a SQL Server that someone else deployed is not supported yet, expected azure-sql-edge, mssql-server or tds-sqlite"
        ]
    );
    minimal_and(
        "workload: { mix: { queue: 1 } }\n",
        "6:20: workload.mix.queue: the queue workload is not supported yet, expected ledger, bank, append or register",
    );
}

#[test]
fn a_key_in_the_wrong_place_is_led_to_the_right_one() {
    minimal_and(
        "rate: 5/s\n",
        "6:1: rate: unknown key `rate`, it belongs to `workload`; expected name, description, cluster, seed, target, workload, faults, expect, abortWhen, blastRadius, duration or coldRead",
    );
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

#[test]
fn what_is_not_an_experiment_is_refused() {
    assert_eq!(mistakes(""), ["1:1: the file is empty, expected an experiment; `chaos init` writes one to start from"]);
    assert_eq!(mistakes("# nothing\n"), mistakes(""));
    assert_eq!(
        mistakes("- a\n"),
        [
            "1:1: is a list, expected a mapping with the keys name, description, cluster, seed, target, workload, faults, expect, abortWhen, blastRadius, duration, coldRead"
        ]
    );
    minimal_and("---\nname: other\n", "6:1: a second document begins here, expected one experiment a file");
    minimal_and("name: again\n", "6:1: name: duplicate key `name`, the first is on line 1");
    minimal_and("description: !!str x\n", "6:14: description: tags are not supported in an experiment, expected a plain value");
    minimal_and("\tseed: 1\n", "6:2: not YAML: a tab indents this line, expected spaces");
    minimal_and("? [a]\n: 1\n", "6:3: a key must be a single word, not a list or a mapping");
    assert!(mistakes("name: [\n")[0].contains("not YAML"));
    assert!(mistakes("\u{0}\u{1}")[0].contains("not YAML"));
}

#[test]
fn an_alias_bomb_ends_at_its_first_alias() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..40 {
        let before = format!("*a{}, ", level - 1).repeat(9);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(", ")));
    }
    assert_eq!(mistakes(&text), ["2:10: a1[0]: aliases are not supported in an experiment, expected the value itself"]);
}

#[test]
fn large_and_deep_input_is_refused_early() {
    let large = format!("{MINIMAL}# {}\n", "x".repeat(10 << 20));
    assert_eq!(mistakes(&large), ["is larger than 1 MiB, expected an experiment"]);
    let deep = "[".repeat(100_000);
    assert_eq!(mistakes(&deep), ["1:256: not YAML: recursion limit exceeded"]);
    assert_eq!(
        mistakes(&format!("x: {}{}", "[".repeat(20), "]".repeat(20))),
        ["1:19: x[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: nested more than 16 levels deep, expected an experiment"]
    );
    let many = format!("x: [{}]\n", "1, ".repeat(300_000));
    assert!(mistakes(&many)[0].contains("more than 20000 values"));
}

#[test]
fn a_terminal_obeys_nothing_of_the_file() {
    let text = format!("{MINIMAL}\"\\e[31mred\": \"\\e]0;owned\\a\"\ndescription: \"\\e[2J\"\n");
    let error = parse("x.yaml", &text).unwrap_err().to_string();
    assert!(!error.contains('\u{1b}'), "{error}");
    assert!(!error.contains('\u{7}'), "{error}");
}

#[test]
fn files_that_cannot_be_read_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.yaml");
    let told = |path: &std::path::Path| one_line(&load(path).unwrap_err().list()[0]);
    assert_eq!(told(&path), "cannot be read: No such file or directory (os error 2)");
    assert_eq!(told(folder.path()), "cannot be read: Is a directory (os error 21)");
    std::fs::write(&path, b"name: x\ndescription: \xff\n").unwrap();
    assert_eq!(told(&path), "2:14: not UTF-8, expected a text file");
    std::fs::write(&path, vec![b'#'; 10 << 20]).unwrap();
    assert_eq!(told(&path), "is larger than 1 MiB, expected an experiment");
    assert_eq!(told(std::path::Path::new("/dev/zero")), "is larger than 1 MiB, expected an experiment");
}

#[test]
fn the_hash_is_of_the_meaning() {
    let plan = parse("x.yaml", MINIMAL).unwrap();
    let same = parse("y.yaml", &format!("# a comment\n{MINIMAL}coldRead: true\n")).unwrap();
    let other = parse("x.yaml", &format!("{MINIMAL}coldRead: false\n")).unwrap();
    assert_eq!(hash(&plan), hash(&same));
    assert_ne!(hash(&plan), hash(&other));
    assert_eq!(hash(&plan).len(), 64);
}

#[test]
fn the_resolved_experiment_reads_as_the_same_plan() {
    for text in [MINIMAL, FULL] {
        let plan = parse("x.yaml", text).unwrap();
        assert_eq!(parse("y.yaml", &to_yaml(&plan)), Ok(plan));
    }
}

fn duration_within(least_ms: u64) -> impl Strategy<Value = Duration> {
    (least_ms..3_600_000).prop_map(Duration::from_millis)
}

prop_compose! {
    fn targets()(
        engine in prop::sample::select(Engine::ALL),
        controller in prop::sample::select(Controller::ALL),
        access_mode in prop::sample::select(AccessMode::ALL),
        tls in prop::sample::select(Tls::ALL),
        image in prop::option::of("[a-z0-9][!-~]{0,40}"),
        class in prop::option::of("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"),
        sabotage in prop::option::of(prop::sample::select(Sabotage::ALL)),
        size_mi in 1u64..100_000,
        grace_s in 0u64..86_400,
        ready_within in duration_within(1),
        service in prop::sample::select(vec![
            ServiceAccess::NodePort,
            ServiceAccess::LoadBalancer,
            ServiceAccess::Address("db.example:1433".to_owned()),
            ServiceAccess::Address("[::1]:31433".to_owned()),
        ]),
        ignore_sigterm in any::<bool>(),
    ) -> TargetPlan {
        TargetPlan {
            engine,
            image,
            controller,
            storage: Storage { size: format!("{size_mi}Mi"), access_mode, class },
            grace: Duration::from_secs(grace_s),
            ready_within,
            service,
            tls,
            ignore_sigterm: ignore_sigterm && engine == Engine::TdsSqlite,
            sabotage: sabotage.filter(|_| engine == Engine::TdsSqlite),
        }
    }
}

fn paces() -> impl Strategy<Value = Pace> {
    let rate = || (0.001f64..100_000.0).prop_map(|per_second| Rate { per_second });
    let step = (duration_within(1), rate(), prop::option::of(rate())).prop_map(|(lasts, at, to)| Step { lasts: Some(lasts), at, to });
    let steps = (prop::collection::vec(step, 0..4), rate()).prop_map(|(mut steps, at)| {
        steps.push(Step { lasts: None, at, to: None });
        Pace::Open(steps)
    });
    prop_oneof![1 => Just(Pace::Closed), 4 => steps]
}

prop_compose! {
    fn workloads()(
        ledger in 1u32..1_000_000,
        bank in prop::option::of(1u32..1_000_000),
        clients in 1u32..=1_000,
        rate in paces(),
        warm_up in duration_within(0),
        op_timeout in duration_within(1),
        isolation in prop::sample::select(Isolation::ALL),
    ) -> WorkloadPlan {
        let mut mix = BTreeMap::from([(WorkloadKind::Ledger, ledger)]);
        mix.extend(bank.map(|share| (WorkloadKind::Bank, share)));
        WorkloadPlan { mix, clients, rate, warm_up, op_timeout, isolation }
    }
}

#[test]
fn what_follows_a_recovery_stays_behind_the_injection_that_it_follows() {
    let text = "name: x\ntarget: { engine: tds-sqlite }\nfaults:\n  - container-crash:\n    after: recovered\n    at: 10s\n  - pod-kill:\n    after: recovered\n    at: 5s\n    \
                jitter: 3s\n    repeat: 2\n    every: 20s\n  - pod-evict:\n    at: 12s\n";
    let plan = parse("x.yaml", text).unwrap();
    let s = Duration::from_secs;
    let schedule: Vec<_> = plan.faults.iter().map(|fault| (fault.id.as_str(), fault.at, fault.after_recovery, fault.jitter)).collect();
    assert_eq!(
        schedule,
        [
            ("container-crash-1", s(10), None, s(0)),
            ("pod-kill-1", s(15), Some(s(5)), s(3)),
            ("pod-kill-2", s(35), Some(s(20)), s(3)),
            ("pod-evict-1", s(12), None, s(0)),
        ]
    );
    assert_eq!(plan.duration, s(35 + 3 + 10), "the last injection with its jitter, and the baseline after it");
    assert_eq!(parse("written.yaml", &to_yaml(&plan)).unwrap(), plan);
}

#[test]
fn a_node_that_stays_off_until_the_target_is_elsewhere_has_no_time_of_its_own() {
    let parsed = |parameters: &str| {
        let text = format!("name: x\ntarget: {{ engine: tds-sqlite }}\nfaults:\n  - node-power-off: {{ {parameters} }}\n");
        parse("x.yaml", &text).map_err(|mistakes| mistakes.to_string())
    };
    let plan = parsed("outOfService: true").unwrap();
    assert!(plan.expect.claims.contains(&Claim::Ha4) && !plan.expect.claims.contains(&Claim::Ha1));
    assert_eq!(parse("written.yaml", &to_yaml(&plan)).unwrap(), plan);
    let mistake = parsed("for: 10s, outOfService: true").unwrap_err();
    assert!(mistake.contains("node-power-off.for: has no effect beside `outOfService: true`"), "{mistake}");
    assert!(parsed("for: 10s, outOfService: false").is_ok());
}

fn schedules() -> impl Strategy<Value = Vec<PlannedFault>> {
    let fault = (prop::option::of(0u64..3_600), duration_within(0), duration_within(1), any::<bool>(), duration_within(0));
    prop::collection::vec(fault, 1..20).prop_map(|faults| {
        let mut faults: Vec<PlannedFault> = faults
            .into_iter()
            .map(|(grace_s, at, recover_within, follows, jitter)| PlannedFault {
                id: String::new(),
                spec: FaultSpec::PodKill { grace: grace_s.map_or(Grace::Pod, |s| Grace::Of(Duration::from_secs(s))) },
                at,
                after_recovery: follows.then_some(Duration::ZERO),
                jitter,
                recover_within,
            })
            .collect();
        faults.sort_by_key(|fault| fault.at);
        let mut before: Option<Duration> = None;
        for (index, fault) in faults.iter_mut().enumerate() {
            fault.id = format!("pod-kill-{}", index + 1);
            // What follows another tells its time as a pause.
            fault.after_recovery = before.filter(|_| fault.after_recovery.is_some()).map(|before| fault.at - before);
            before = Some(fault.at);
        }
        faults
    })
}

prop_compose! {
    fn plans()(
        name in "[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?",
        description in "[^\\p{Cc}]{0,80}|[ -~\n]{0,80}",
        cluster in prop::option::of("(sandbox|kind|k3d|context):[!-~]{1,20}"),
        seed in prop::option::of(any::<u64>()),
        target in targets(),
        workload in workloads(),
        faults in schedules(),
        lost_commits in any::<u64>(),
        p99_ms in prop::option::of(1u64..10_000),
        max_ms in 10_000u64..86_400_000,
        claims in prop::collection::btree_set(prop::sample::select(vec![Claim::Ha2, Claim::Ha3, Claim::Ha5, Claim::Ha6, Claim::Ha7]), 1..5),
        overlap_allowed in any::<bool>(),
        cold_read in any::<bool>(),
        abort_when_outage in prop::option::of(duration_within(1)),
        max_unavailable_nodes in 1u32..=1_000,
        control_plane_node in prop::option::of("[a-z0-9]{1,20}"),
        tail in duration_within(1),
    ) -> Plan {
        let last = faults.iter().map(|fault| fault.at).max().unwrap_or_default();
        Plan {
            name,
            description,
            cluster: cluster.and_then(|text| text.parse().ok()),
            seed,
            target,
            workload,
            faults,
            expect: Expect {
                lost_commits,
                reconnect: ReconnectTarget {
                    p99: p99_ms.map(Duration::from_millis),
                    max: Duration::from_millis(max_ms),
                },
                claims,
                overlap_allowed,
            },
            abort_when_outage,
            blast_radius: BlastRadius { max_unavailable_nodes, control_plane_node },
            duration: last + tail,
            cold_read,
        }
    }
}

proptest! {
    #[test]
    fn any_plan_survives_being_written_and_read(plan in plans()) {
        let text = to_yaml(&plan);
        match parse("written.yaml", &text) {
            Ok(read) => prop_assert_eq!(read, plan),
            Err(mistakes) => prop_assert!(false, "{mistakes}\n{text}"),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}|[-a-z0-9:,&*!?{}\\[\\]'\"|>%@`# \t\r\n]{0,200}") {
        let _ = parse("x.yaml", &text).map_err(|mistakes| mistakes.to_string());
    }

    #[test]
    fn no_damage_to_an_experiment_makes_the_reader_panic(at in 0usize..900, piece in "[-:,&*!?{}\\[\\]'\"|># \t\na0]{0,3}", cut in 0usize..5) {
        let mut chars: Vec<char> = FULL.chars().collect();
        let at = at.min(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, piece.chars());
        let text: String = chars.into_iter().collect();
        if let Err(mistakes) = parse("x.yaml", &text) {
            prop_assert!(!mistakes.list().is_empty());
            prop_assert!(mistakes.list().iter().all(|mistake| mistake.at.is_some()), "{mistakes}");
        }
    }
}
