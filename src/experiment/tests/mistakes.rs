//! What is wrong with a file is told at once, with its place.

use super::*;

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
            "2:1: desc: unknown key `desc`, expected name, description, cluster, sandboxSabotage, seed, target, workload, faults, expect, abortWhen, blastRadius, nodeAccess, duration or coldRead",
            "4:11: target.engine: unknown value `sqledge`, expected azure-sql-edge, mssql-server, tds-sqlite or existing",
            "5:3: target.controler: unknown key `controler`, did you mean `controller`? expected engine, existing, image, controller, storage, grace, readyWithin, service, tls, ignoreSigterm, cache or sabotage",
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
            "1:1: target.engine: is missing, expected azure-sql-edge, mssql-server, tds-sqlite or existing",
            "1:1: faults: is missing, expected a list of faults, such as `- pod-kill: { grace: 0s }`",
            "1:1: name: is missing, expected lower-case letters, digits and dashes, such as pod-kill",
        ]
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
fn a_volatile_cache_is_for_the_stand_in_engine_only_and_the_usual_one_leaves_no_trace() {
    let text = MINIMAL.replace("tds-sqlite", "mssql-server\n  cache: volatile");
    assert_eq!(mistakes(&text), ["4:10: target.cache: mssql-server cannot be told to have one, expected the engine tds-sqlite or kernel"]);
    let usual = parse("x.yaml", MINIMAL).unwrap();
    assert_eq!(usual.target.cache, Cache::Kernel);
    assert!(!to_yaml(&usual).contains("cache"), "an experiment that does not ask for one keeps its hash");
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
fn only_the_sandbox_of_a_run_can_be_told_to_have_a_defect() {
    let plan = parse("x.yaml", &format!("{MINIMAL}sandboxSabotage: split-brain\n")).unwrap();
    assert_eq!(plan.sandbox_sabotage, Some(SandboxSabotage::SplitBrain));
    assert_eq!(parse("written.yaml", &to_yaml(&plan)).unwrap(), plan);
    for cluster in ["kind:chaos", "sandbox:standing", "context:prod"] {
        let told =
            format!("7:18: sandboxSabotage: {cluster} cannot be told to have a defect, expected the cluster sandbox or no sandboxSabotage");
        minimal_and(&format!("cluster: {cluster}\nsandboxSabotage: split-brain\n"), &told);
    }
    let overrides = Overrides { cluster: Some(ClusterRef::Kind(None)), ..Overrides::default() };
    assert!(parse_with("x.yaml", &format!("{MINIMAL}sandboxSabotage: split-brain\n"), &overrides).is_err());
}

fn with_existing(target: &str, rest: &str) -> String {
    format!("name: x\ntarget:\n  engine: existing\n  existing: {target}\nfaults:\n{rest}")
}

#[test]
fn a_target_of_somebody_elses_is_named_and_only_what_may_be_touched_is_hit() {
    let plan =
        parse("x.yaml", &with_existing("{ namespace: sql, secret: login, mayTouch: [pod, node] }", "  - node-drain:\n  - pod-kill:\n"))
            .unwrap();
    let existing = plan.target.existing.unwrap();
    assert_eq!(
        (existing.target.namespace.as_str(), existing.target.service.as_str(), existing.target.secret.as_str()),
        ("sql", "mssql", "login")
    );
    assert_eq!(existing.may_touch, BTreeSet::from([Touch::Pod, Touch::Node]));
    assert_eq!(
        mistakes(&with_existing("{ namespace: sql }\n  grace: 5s", "  - pod-kill:\n  - node-drain:\n  - scale-zero:\n")),
        [
            "5:3: target.grace: has no effect on a target that somebody else deployed, expected it left out",
            "8:5: faults[1].node-drain: touches the target's node, which target.existing.mayTouch does not list",
            "9:5: faults[2].scale-zero: touches the target's controller, which target.existing.mayTouch does not list",
        ]
    );
    assert_eq!(
        mistakes(&with_existing("{ namespace: sql, mayTouch: [node] }", "  - node-drain:\n")),
        ["1:1: coldRead: kills the pod once more, and target.existing.mayTouch does not list pod, expected false"]
    );
    assert_eq!(
        mistakes(&MINIMAL.replace("tds-sqlite", "existing")),
        [
            "3:3: target.existing: is missing, expected where the target stands, such as { namespace: sql, service: mssql, secret: mssql-sa }"
        ]
    );
    assert_eq!(
        mistakes(&with_existing("{ service: mssql }", "  - pod-kill:\n")),
        ["4:13: target.existing.namespace: is missing, expected the namespace of the target"]
    );
    assert_eq!(
        mistakes(&MINIMAL.replace("tds-sqlite", "tds-sqlite\n  existing: { namespace: sql }")),
        ["4:3: target.existing: tds-sqlite is deployed by the run, expected the engine existing"]
    );
}

#[test]
fn a_key_in_the_wrong_place_is_led_to_the_right_one() {
    minimal_and(
        "rate: 5/s\n",
        "6:1: rate: unknown key `rate`, it belongs to `workload`; expected name, description, cluster, sandboxSabotage, seed, target, workload, faults, expect, abortWhen, blastRadius, nodeAccess, duration or coldRead",
    );
}

#[test]
fn what_is_not_an_experiment_is_refused() {
    assert_eq!(mistakes(""), ["1:1: the file is empty, expected an experiment; `chaos init` writes one to start from"]);
    assert_eq!(mistakes("# nothing\n"), mistakes(""));
    assert_eq!(
        mistakes("- a\n"),
        [
            "1:1: is a list, expected a mapping with the keys name, description, cluster, sandboxSabotage, seed, target, workload, faults, expect, abortWhen, blastRadius, nodeAccess, duration, coldRead"
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
