//! The objects of each engine as the API server gets them, held against files that a reader can apply by hand.
//!
//! `UPDATE_GOLDEN=1 cargo test --test manifests` writes the files anew; what changed in them is what to look at. `tests/conformance/real_only.rs` has a real API server accept
//! them, also where the restricted profile of the pod security standards is enforced.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use chaos::experiment::{self, Plan};
use chaos::model::Secret;
use chaos::target::{ControllerManifest, Manifests, Names, Profile};
use serde_json::{Value, json};

/// Every file: its name and the `target` of its experiment.
const TARGETS: [(&str, &str); 5] = [
    ("azure-sql-edge", "{ engine: azure-sql-edge }"),
    ("mssql-server-2022", "{ engine: mssql-server }"),
    (
        "mssql-server-2025",
        "{ engine: mssql-server, image: 'mcr.microsoft.com/mssql/server:2025-latest', controller: StatefulSet, service: loadBalancer }",
    ),
    ("mssql-server-one-pod", "{ engine: mssql-server, grace: 60s, storage: { size: 20Gi, accessMode: ReadWriteOncePod, class: fast } }"),
    ("tds-sqlite", "{ engine: tds-sqlite, controller: StatefulSet, grace: 10s, ignoreSigterm: true }"),
];

fn plan(target: &str) -> Plan {
    experiment::parse("golden.yaml", &format!("name: golden\ntarget: {target}\nfaults:\n  - pod-kill:\n")).unwrap()
}

/// All objects as one list, in order of creation.
fn list(target: &str) -> Value {
    let plan = plan(target);
    let names = Names::new("chaos-golden".to_owned(), plan.target.controller);
    let profile = Profile::of(&plan.target, "sqledge-chaos/tds-sqlite:dev");
    let made = Manifests::new(&names, "golden-run", &plan.target, &profile, &Secret::new("Aa1-not-a-secret".to_owned()), None);
    let mut items = vec![json!(made.namespace), json!(made.secret)];
    items.extend(made.claim.map(|claim| json!(claim)));
    items.push(json!(made.service));
    items.push(match made.controller {
        ControllerManifest::Deployment(deployment) => json!(deployment),
        ControllerManifest::StatefulSet(set) => json!(set),
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

#[test]
fn the_objects_are_those_of_the_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, target) in TARGETS {
        let path = folder.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&list(target)).unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert!(golden == text, "{} is not what is made now; UPDATE_GOLDEN=1 writes it anew", path.display());
    }
}

fn pod(list: &Value) -> &Value {
    &list["items"].as_array().unwrap().last().unwrap()["spec"]["template"]["spec"]
}

/// What a SQL Server needs of its pod, whatever else the files say.
#[test]
fn a_sql_server_gets_what_it_needs() {
    for (name, target) in TARGETS.iter().filter(|(name, _)| *name != "tds-sqlite") {
        let list = list(target);
        let pod = pod(&list);
        let container = &pod["containers"][0];
        let environment = |key: &str| {
            let found = container["env"].as_array().unwrap().iter().find(|variable| variable["name"] == key);
            found.unwrap_or_else(|| panic!("{name} has no {key}")).clone()
        };
        assert_eq!(environment("ACCEPT_EULA")["value"], "Y");
        assert!(environment("MSSQL_SA_PASSWORD")["valueFrom"]["secretKeyRef"]["name"].is_string(), "a password is never in the pod itself");
        // The images' user is 10001; a volume that is not of its group cannot be written to.
        assert_eq!((&pod["securityContext"]["runAsUser"], &pod["securityContext"]["fsGroup"]), (&json!(10_001), &json!(10_001)));
        // Under cgroup v2 the server sees the node's memory: it is told a limit, well below the container's.
        let limit_mb: u64 = environment("MSSQL_MEMORY_LIMIT_MB")["value"].as_str().unwrap().parse().unwrap();
        let container_mib: u64 =
            container["resources"]["limits"]["memory"].as_str().unwrap().trim_end_matches("Gi").parse::<u64>().unwrap() * 1024;
        assert!(limit_mb * 100 <= container_mib * 80, "{name}: {limit_mb} MB of {container_mib} MiB leaves too little for the rest");
        // A server that recovers for minutes is not killed for it: liveness begins when the startup probe is through.
        let patience =
            container["startupProbe"]["periodSeconds"].as_u64().unwrap() * container["startupProbe"]["failureThreshold"].as_u64().unwrap();
        assert!(patience >= 120, "{name}: {patience} s to recover in");
        assert!(container["readinessProbe"].is_object() && container["livenessProbe"].is_object(), "{name}");
        assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= 30, "{name}");
        assert_eq!(container["volumeMounts"][0]["mountPath"], "/var/opt/mssql");
    }
}
