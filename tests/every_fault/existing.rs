//! Runs against a database that somebody else deployed: it is tested, and stays as it was, wherever the harness dies.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use chaos::cluster::CRASH_AT;
use chaos::experiment::Tls;
use chaos::model::Secret;
use chaos::sql::Target;
use chaos::target::stand_in::SANDBOX_IMAGE;
use chaos::workload::{DatabaseOwner, create_database, database_owner, drop_database};
use serde_json::{Value, json};

use crate::bench::{Bench, alone, said, share};

const PASSWORD: &str = "Aa1-of-somebody-else";

/// Deploys a database as somebody else would, and returns how it is reached once it answers.
pub fn deploy(bench: &Bench) -> Target {
    let cluster = bench.cluster();
    let labels = json!({ "app": "db" });
    let metadata = |name: &str| json!({ "name": name, "namespace": "sql" });
    cluster.create("/api/v1/namespaces", &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "sql" } }));
    let inside = "/api/v1/namespaces/sql";
    cluster.create(
        &format!("{inside}/secrets"),
        &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata("login"), "stringData": { "pw": PASSWORD } }),
    );
    cluster.create(
        &format!("{inside}/persistentvolumeclaims"),
        &json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata("db-data"),
            "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "shared", "resources": { "requests": { "storage": "64Mi" } } } }),
    );
    let service = cluster.create(
        &format!("{inside}/services"),
        &json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata("db"),
            "spec": { "type": "NodePort", "selector": labels, "ports": [{ "port": 1433, "targetPort": 1433 }] } }),
    );
    let container = json!({
        "name": "engine", "image": SANDBOX_IMAGE, "args": ["--listen", "$(POD_IP):1433", "--data", "/data"],
        "ports": [{ "containerPort": 1433 }],
        "env": [
            { "name": "ACCEPT_EULA", "value": "Y" },
            { "name": "MSSQL_SA_PASSWORD", "valueFrom": { "secretKeyRef": { "name": "login", "key": "pw" } } },
            { "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
        ],
        "volumeMounts": [{ "name": "files", "mountPath": "/data" }],
        "readinessProbe": { "tcpSocket": { "port": 1433 }, "periodSeconds": 1 },
    });
    cluster.create(
        "/apis/apps/v1/namespaces/sql/deployments",
        &json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("db"),
            "spec": { "replicas": 1, "strategy": { "type": "Recreate" }, "selector": { "matchLabels": labels }, "template": {
                "metadata": { "labels": labels },
                "spec": { "terminationGracePeriodSeconds": 5, "containers": [container],
                    "volumes": [{ "name": "files", "persistentVolumeClaim": { "claimName": "db-data" } }] },
            } } }),
    );
    let nodes = cluster.get("/api/v1/nodes");
    let address = nodes["items"][0]["status"]["addresses"].as_array().unwrap().iter().find(|one| one["type"] == "InternalIP").unwrap();
    let target = Target {
        address: format!("{}:{}", address["address"].as_str().unwrap(), service["spec"]["ports"][0]["nodePort"]),
        user: "sa".to_owned(),
        password: Secret::new(PASSWORD.to_owned()),
        database: "chaos".to_owned(),
        tls: Tls::Off,
    };
    assert_eq!(owner(&target, "nobody"), DatabaseOwner::Nobody);
    target
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Whose the database is, once the server answers, which takes some seconds after a pod was killed.
fn owner(target: &Target, run: &str) -> DatabaseOwner {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match wait(database_owner(target, run)) {
            Ok(owner) => return owner,
            Err(error) => assert!(std::time::Instant::now() < deadline, "the server never answers: {error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// The shortest run against that database.
fn run(bench: &Bench, reports: &str) -> Command {
    let file = format!("{}-existing.yaml", bench.reports("of"));
    let text = "name: existing\n\
        target:\n  engine: existing\n  existing: { namespace: sql, service: db, secret: login, secretKey: pw }\n\
        workload: { clients: 1, rate: 50/s, warmUp: 2s }\n\
        faults:\n  - pod-kill: { grace: 0s }\n    at: 1s\n\
        expect: { overlap: allowed }\n";
    fs::write(bench.path(&file), text).unwrap();
    bench.chaos(&["run", &file, "--quiet", "--output", "json", "--cluster", &bench.reference(), "--reports", &bench.reports(reports)])
}

/// The uids of what was deployed, but for the pod, which is killed.
fn deployed(bench: &Bench) -> Vec<Value> {
    let paths = [
        "/api/v1/namespaces/sql",
        "/api/v1/namespaces/sql/secrets/login",
        "/api/v1/namespaces/sql/persistentvolumeclaims/db-data",
        "/api/v1/namespaces/sql/services/db",
        "/apis/apps/v1/namespaces/sql/deployments/db",
    ];
    paths.iter().map(|path| bench.cluster().get(path)["metadata"]["uid"].clone()).collect()
}

#[test]
fn what_somebody_else_deployed_is_tested_and_stays() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::several(folder.path(), "own").swap_remove(0);
    let target = deploy(&bench);
    let before = deployed(&bench);
    let output = run(&bench, "passes").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["verdict"], &report["run"]["engine"]["name"], &report["run"]["namespace"]),
        (&json!("pass"), &json!("existing"), &json!("sql"))
    );
    assert!(report["faults"][0]["attested"] == true && report["leaks"]["left"].as_array().unwrap().is_empty(), "{report}");
    assert_eq!(owner(&target, "x"), DatabaseOwner::Nobody, "the run's database is dropped");
    assert_eq!(deployed(&bench), before, "nothing else is");

    // A database of that name is somebody's: it is neither used nor dropped.
    wait(create_database(&target, "somebody")).unwrap();
    let output = run(&bench, "refused").output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    assert!(said(&output).contains("has a database called chaos that is not of this run"), "{}", said(&output));
    let recovered = bench.chaos(&["recover", "--reports", &bench.reports("refused")]).output().unwrap();
    assert!(said(&recovered).contains("nothing to recover"), "{}", said(&recovered));
    assert_eq!(owner(&target, "somebody"), DatabaseOwner::Run);

    // A run that keeps its database leaves it to `chaos recover`.
    assert_eq!(wait(drop_database(&target, "somebody", std::time::Duration::from_secs(20))).unwrap(), DatabaseOwner::Run);
    let output = run(&bench, "kept").arg("--keep").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(owner(&target, "x"), DatabaseOwner::Other);
    let recovered = bench.chaos(&["recover", "--reports", &bench.reports("kept")]).output().unwrap();
    assert!(said(&recovered).contains("database chaos is dropped"), "{}", said(&recovered));
    assert_eq!(owner(&target, "x"), DatabaseOwner::Nobody);
}

/// From before the database is created to after it is dropped, at each place where the journal or the server is written to.
#[test]
fn wherever_the_harness_is_killed_recover_drops_its_database_and_nothing_else() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let benches = Bench::several(folder.path(), "dies");
    let targets: Vec<Target> = benches.iter().map(deploy).collect();
    let target = |bench: &Bench| &targets[benches.iter().position(|one| std::ptr::eq(one, bench)).unwrap()];
    let log = run(&benches[0], "told").env("CHAOS_LOG", "off,chaos::cluster::crash_point=trace").output().unwrap();
    assert_eq!(log.status.code(), Some(0), "{}", said(&log));
    let log = String::from_utf8_lossy(&log.stderr).into_owned();
    let places: VecDeque<(u64, String)> = log
        .lines()
        .filter_map(|line| line.split_once("crash_point: ")?.1.split_once(' '))
        .map(|(number, what)| (number.parse().unwrap(), what.to_owned()))
        .filter(|(_, what)| what.contains("atabase") || what.contains("DATABASE") || what.contains("pod-kill-1"))
        .collect();
    // Three around each of two journal entries of the database and of the fault, two around CREATE and around DROP, one after the mark.
    assert!(places.len() >= 17, "{places:?}");
    share(&benches, places, |bench, (number, what)| {
        let before = deployed(bench);
        let reports = format!("at-{number}");
        let killed = run(bench, &reports).env(CRASH_AT, number.to_string()).output().unwrap();
        if killed.status.signal() != Some(9) {
            return Err(format!("{number} {what} was not reached: {}", said(&killed)));
        }
        let recovered = bench.chaos(&["recover", "--reports", &bench.reports(&reports)]).output().unwrap();
        if !recovered.status.success() {
            return Err(format!("{number} {what}: {}", said(&recovered)));
        }
        if owner(target(bench), "x") != DatabaseOwner::Nobody {
            return Err(format!("{number} {what}: the database is left; {}", said(&recovered)));
        }
        if deployed(bench) == before { Ok(()) } else { Err(format!("{number} {what}: something that was deployed is another one")) }
    });
}
