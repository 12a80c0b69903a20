//! When faults are due.

use super::*;

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
