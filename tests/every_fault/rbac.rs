//! `chaos rbac` prints what a run asks of the API server: every request of every fault's run is held against it. The sandbox lets everybody do everything, so
//! it is the requests themselves that are compared; on a real cluster a service account runs with just that role (`tests/conformance/real_only.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;

use chaos::experiment::{self, catalogue};
use chaos::run;

use crate::bench::{Bench, alone, experiment, said, share};

/// What a request asks for, as RBAC sees it: group, resource, verb. `None` for what every user may ask.
fn asked(line: &str) -> Option<(String, String, String)> {
    let (method, uri) = line.split_once(' ').unwrap();
    let path = uri.split_once("://").map_or(uri, |(_, rest)| &rest[rest.find('/').unwrap()..]);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", "authorization.k8s.io", ..] => return None,
        ["apis", group, _, rest @ ..] => (*group, rest),
        // The version is open to every user. What lies under /sandbox stands for what is done from a node, outside of Kubernetes.
        ["version"] | ["sandbox", ..] => return None,
        other => panic!("an unknown request: {other:?}"),
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let (resource, named) = match rest {
        [resource] => ((*resource).to_owned(), false),
        [resource, _] => ((*resource).to_owned(), true),
        [resource, _, subresource] => (format!("{resource}/{subresource}"), true),
        other => panic!("an unknown request: {other:?}"),
    };
    let verb = match (method, named) {
        ("GET", false) if query.contains("watch=true") || query.contains("watch=1") => "watch",
        ("GET", false) => "list",
        ("GET", true) => "get",
        ("POST", _) => "create",
        ("PATCH", _) => "patch",
        ("PUT", _) => "update",
        ("DELETE", true) => "delete",
        other => panic!("an unknown request: {other:?}"),
    };
    Some((group.to_owned(), resource, verb.to_owned()))
}

#[test]
fn no_run_asks_for_more_than_its_role() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let benches = Bench::several(folder.path(), "rbac");
    let used = Mutex::new(BTreeSet::new());
    let printed = Mutex::new(BTreeSet::new());
    let faults = catalogue::faults().iter().map(|fault| fault.name).collect();
    share(&benches, faults, |bench, fault| {
        let Some(log) = bench.logged(fault, "requests") else { return Ok(()) };
        let plan = experiment::parse("short.yaml", &experiment(fault)).unwrap();
        let allowed = run::permissions(&plan);
        let requests: BTreeSet<_> = log.lines().filter_map(|line| asked(line.split_once("requests: ")?.1)).collect();
        assert!(requests.len() > 10, "{fault}: a run asks for more than {requests:?}");
        let beyond: Vec<_> = requests.iter().filter(|(group, resource, verb)| !allowed.allow(group, resource, verb)).collect();
        used.lock().unwrap().extend(requests.iter().cloned());
        printed
            .lock()
            .unwrap()
            .extend(allowed.each().map(|(group, resource, verb)| (group.to_owned(), resource.to_owned(), verb.to_owned())));
        if beyond.is_empty() { Ok(()) } else { Err(format!("{fault} asks for what `chaos rbac` does not print: {beyond:?}")) }
    });
    // And not for less: what no run of any fault ever asks should not be in a role.
    let (used, printed) = (used.into_inner().unwrap(), printed.into_inner().unwrap());
    let idle: Vec<_> = printed.difference(&used).collect();
    assert!(idle.is_empty(), "no run asks for {idle:?}");
}

#[test]
fn a_role_is_printed_and_bound() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("drain.yaml"), experiment("node-drain")).unwrap();
    let chaos = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_chaos"));
        command.args(arguments).current_dir(folder.path()).output().unwrap()
    };
    let output = chaos(&["rbac", "drain.yaml", "--service-account", "ops/chaos"]);
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let plan = experiment::parse("drain.yaml", &experiment("node-drain")).unwrap();
    assert!(text.contains(&run::permissions(&plan).rules()), "{text}");
    assert!(text.contains("resources: [nodes]\n    verbs: [get, list, patch, watch]"), "a drain cordons by a patch: {text}");
    for kind in ["ClusterRole\n", "ServiceAccount\n", "ClusterRoleBinding\n"] {
        assert!(text.contains(&format!("kind: {kind}")), "{text}");
    }
    assert!(!text.contains("pods/eviction") || text.contains("verbs: [create]"), "{text}");
    // Without a fault on a node nothing of a node is changed.
    fs::write(folder.path().join("kill.yaml"), experiment("pod-kill")).unwrap();
    let text = String::from_utf8(chaos(&["rbac", "kill.yaml"]).stdout).unwrap();
    assert!(text.contains("resources: [nodes]\n    verbs: [list, watch]"), "{text}");
    let wrong = chaos(&["rbac", "kill.yaml", "--service-account", "chaos"]);
    assert_eq!(wrong.status.code(), Some(64), "{}", said(&wrong));
}
