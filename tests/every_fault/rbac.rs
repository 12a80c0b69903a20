//! `chaos rbac` prints what a run asks of the API server: every request of every fault's run is held against it. The sandbox lets everybody do everything, so
//! it is the requests themselves that are compared. A target that stands already is tested through a gateway that enforces the printed roles, and on a real
//! cluster a service account runs with just them (`tests/conformance/real_only.rs`).

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::sync::Mutex;

use chaos::experiment::{self, catalogue};
use chaos::run;
use serde_json::Value;

use crate::bench::{Bench, alone, experiment, said, share};
use crate::existing;
use crate::gateway::{CONTEXT, Gateway};

/// What a request asks for, as RBAC sees it. The namespace is empty for what is asked of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    pub namespace: String,
    pub group: String,
    pub resource: String,
    pub verb: String,
}

impl Ask {
    /// Where it is asked, if in one namespace.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty())
    }
}

/// What a request asks for; `None` for what every user may ask.
pub fn asked(line: &str) -> Option<Ask> {
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
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
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
    Some(Ask { namespace: namespace.to_owned(), group: group.to_owned(), resource, verb: verb.to_owned() })
}

/// The shortest run of every fault, and what else decides what is asked: the other controller, and a load balancer.
fn experiments() -> VecDeque<(String, String)> {
    let plain = catalogue::faults().into_iter().map(|fault| (fault.name.to_owned(), experiment(fault.name)));
    let with = |fault: &str, more: &str| {
        let name = more.rsplit(' ').next().unwrap().to_lowercase();
        (format!("{fault}-{name}"), experiment(fault).replace("grace: 1s", &format!("grace: 1s, {more}")))
    };
    let others = ["rollout-restart", "scale-zero"].map(|fault| with(fault, "controller: StatefulSet"));
    plain.chain(others).chain([with("pod-kill", "service: loadBalancer")]).collect()
}

#[test]
fn no_run_asks_for_more_than_its_role() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let benches = Bench::several(folder.path(), "rbac");
    let used = Mutex::new(BTreeSet::new());
    let printed = Mutex::new(BTreeSet::new());
    share(&benches, experiments(), |bench, (name, text)| {
        let Some(log) = bench.logged(&name, &text, "requests") else { return Ok(()) };
        let needed = run::permissions(&experiment::parse("short.yaml", &text).unwrap());
        let kinds = |(_, group, resource, verb): (_, &str, &str, &str)| (group.to_owned(), resource.to_owned(), verb.to_owned());
        let allowed: BTreeSet<_> = needed.each().map(kinds).collect();
        let requests = log.lines().filter_map(|line| asked(line.split_once("requests: ")?.1));
        let requests: BTreeSet<_> = requests.map(|ask| (ask.group, ask.resource, ask.verb)).collect();
        assert!(requests.len() > 10, "{name}: a run asks for more than {requests:?}");
        let beyond: Vec<_> = requests.difference(&allowed).collect();
        used.lock().unwrap().extend(requests.iter().cloned());
        printed.lock().unwrap().extend(allowed.iter().cloned());
        if beyond.is_empty() { Ok(()) } else { Err(format!("{name} asks for what `chaos rbac` does not print: {beyond:?}")) }
    });
    // And not for less: what no run of any fault ever asks should not be in a role.
    let (used, printed) = (used.into_inner().unwrap(), printed.into_inner().unwrap());
    // A Service that has its balancer's address when it is first looked at is not watched for it.
    let watched = (String::new(), "services".to_owned(), "watch".to_owned());
    let idle: Vec<_> = printed.difference(&used).filter(|one| **one != watched).collect();
    assert!(idle.is_empty(), "no run asks for {idle:?}");
}

/// A target that stands already asks for a Role where it stands. With no more than what is printed, enforced, every request is allowed; without that Role
/// preflight says so.
#[test]
fn a_role_in_the_targets_namespace_is_enough() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::one(folder.path(), "least");
    existing::deploy(&bench);
    // The engine is a process of the sandbox, which a context does not know: its files are not where the pod says, so what HA-3 and HA-6 come to says nothing.
    let text = "name: least\n\
        target:\n  engine: existing\n  existing: { namespace: sql, service: db, secret: login, secretKey: pw, mayTouch: [pod, controller, node] }\n\
        workload: { clients: 1, rate: 50/s, warmUp: 2s }\n\
        faults:\n  - pod-kill: { grace: 0s }\n    at: 1s\n  - pod-evict:\n    at: 6s\n  - node-drain:\n    at: 11s\n\
        \x20 - rollout-restart:\n    at: 16s\n  - scale-zero: { for: 2s }\n    at: 21s\n\
        expect: { overlap: allowed, claims: [HA-2, HA-4, HA-5, HA-7] }\n";
    fs::write(bench.path("least.yaml"), text).unwrap();
    let printed = bench.chaos(&["rbac", "least.yaml", "--service-account", "ops/chaos"]).output().unwrap();
    assert!(printed.status.success(), "{}", said(&printed));
    let printed = String::from_utf8(printed.stdout).unwrap();
    let objects: Vec<Value> = printed.split("---\n").map(|object| serde_saphyr::from_str(object).unwrap()).collect();
    let places = objects.iter().map(|object| (object["kind"].as_str().unwrap(), object["metadata"]["namespace"].as_str()));
    assert_eq!(
        places.collect::<Vec<_>>(),
        [
            ("ClusterRole", None),
            ("Role", Some("sql")),
            ("ServiceAccount", Some("ops")),
            ("ClusterRoleBinding", None),
            ("RoleBinding", Some("sql"))
        ]
    );
    assert_eq!(objects[4]["roleRef"]["kind"], "Role");
    let resources: Vec<&Value> =
        objects[0]["rules"].as_array().unwrap().iter().flat_map(|rule| rule["resources"].as_array().unwrap()).collect();
    assert_eq!(resources, ["nodes", "persistentvolumes"], "{printed}");

    let gateway = Gateway::before(&bench.kubeconfig(), folder.path(), objects[..2].to_vec());
    let through = |arguments: &[&str], reports: &str| {
        let mut command = bench.chaos(arguments);
        command.args(["--cluster", &format!("context:{CONTEXT}"), "--yes-i-mean", CONTEXT, "--quiet", "--output", "json"]);
        command.args(["--reports", &bench.reports(reports)]).env("KUBECONFIG", &gateway.kubeconfig).output().unwrap()
    };
    let output = through(&["run", "least.yaml"], "least");
    assert_eq!(gateway.refused(), BTreeSet::new(), "{}", said(&output));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let faults = report["faults"].as_array().unwrap();
    assert!(faults.len() == 5 && faults.iter().all(|fault| fault["attested"] == true), "{faults:?}");

    gateway.hold(vec![objects[0].clone()]);
    let output = through(&["run", "least.yaml"], "without");
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    assert!(said(&output).contains("get secrets in namespace sql") && !said(&output).contains("list nodes"), "{}", said(&output));
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
    assert!(text.contains(&run::permissions(&plan).everywhere.rules()), "{text}");
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
