//! A target behind a load balancer. The sandbox has one; kind has none, so that the test plays the cloud there: it gives the Service of the run an address,
//! which kube-proxy serves, or a name.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener as Holder};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::arena::{Arena, said};

/// One pod kill behind a load balancer.
fn experiment(arena: &Arena, name: &str, ready_within: &str) -> String {
    let image = if arena.is_sandbox { String::new() } else { format!("image: {}, ", arena.image) };
    format!(
        "name: {name}\n\
         target: {{ engine: tds-sqlite, {image}service: loadBalancer, readyWithin: {ready_within}, grace: 5s, storage: {{ size: 64Mi }} }}\n\
         workload: {{ clients: 2, rate: 50/s, warmUp: 2s }}\n\
         faults:\n  - pod-kill: {{ grace: 0s }}\n    at: 1s\n\
         expect: {{ overlap: allowed }}\n"
    )
}

/// A name that no other run has.
fn named(what: &str) -> String {
    format!("{what}-{}", std::process::id())
}

fn start(arena: &Arena, name: &str, ready_within: &str) -> Child {
    fs::write(arena.folder().join("balancer.yaml"), experiment(arena, name, ready_within)).unwrap();
    let mut run = arena.chaos(&["run", "balancer.yaml", "--quiet", "--output", "json"]);
    run.args(arena.on_cluster()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn ended(run: Child) -> Output {
    tokio::task::spawn_blocking(move || run.wait_with_output().unwrap()).await.unwrap()
}

/// What the run says of where its Service is reached.
fn timeline(arena: &Arena) -> String {
    fs::read_to_string(arena.folder().join("reports/latest/timeline.jsonl")).unwrap()
}

/// The Service of the run of that name, once it is there, by its path.
async fn service_of(arena: &Arena, name: &str) -> (String, Value) {
    let of_run =
        |service: &Value| service["spec"]["type"] == "LoadBalancer" && service["metadata"]["namespace"].as_str().unwrap().contains(name);
    let (all, _) = arena.until("/api/v1/services", "the run's Service", |all| all["items"].as_array().unwrap().iter().any(of_run)).await;
    let service = all["items"].as_array().unwrap().iter().find(|service| of_run(service)).unwrap().clone();
    let (namespace, name) = (service["metadata"]["namespace"].as_str().unwrap(), service["metadata"]["name"].as_str().unwrap());
    (format!("/api/v1/namespaces/{namespace}/services/{name}"), service)
}

/// Gives the Service what a cloud's controller would give it.
async fn give(arena: &Arena, service: &str, ingress: Value) {
    let status = json!({ "status": { "loadBalancer": { "ingress": [ingress] } } });
    arena.ask(Method::PATCH, &format!("{service}/status"), Some(status)).await.unwrap();
}

/// The address of a node that no fault takes away.
async fn control_plane(arena: &Arena) -> IpAddr {
    let nodes = arena.get("/api/v1/nodes?labelSelector=node-role.kubernetes.io/control-plane").await;
    let addresses = nodes["items"][0]["status"]["addresses"].as_array().unwrap();
    addresses.iter().find(|one| one["type"] == "InternalIP").unwrap()["address"].as_str().unwrap().parse().unwrap()
}

/// A cluster of others may have a balancer of its own, which would come before the test's.
fn has_its_own(arena: &Arena) -> bool {
    if arena.is_context() {
        eprintln!("skipped: whether the cluster of a context has load balancers is not known");
    }
    arena.is_context()
}

async fn nothing_is_left(arena: &Arena, name: &str) {
    let left = arena.get("/api/v1/namespaces").await;
    let left: Vec<&Value> = left["items"].as_array().unwrap().iter().map(|one| &one["metadata"]["name"]).collect();
    assert!(left.iter().all(|one| !one.as_str().unwrap().contains(name)), "{left:?}");
}

pub async fn a_run_passes_through_a_load_balancer(arena: Arena) {
    if has_its_own(&arena) {
        return;
    }
    let name = named("balanced");
    let run = start(&arena, &name, "120s");
    let (service, _) = service_of(&arena, &name).await;
    if !arena.is_sandbox {
        give(&arena, &service, json!({ "ip": control_plane(&arena).await.to_string() })).await;
    }
    let given = |service: &Value| service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string();
    let (object, _) = arena.until(&service, "an address", given).await;
    let address = object["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap().to_owned();
    let output = ended(run).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["verdict"], &report["faults"][0]["attested"]), (&json!("pass"), &json!(true)));
    assert!(timeline(&arena).contains(&format!("the Service is reached at {address}:1433")), "{address}");
    nothing_is_left(&arena, &name).await;
}

/// On the sandbox every address that its balancer could give is held by the test.
pub async fn a_load_balancer_that_never_comes_is_told_and_leaves_nothing(arena: Arena) {
    if has_its_own(&arena) {
        return;
    }
    let mut held = Vec::new();
    if arena.is_sandbox
        && let IpAddr::V4(node) = control_plane(&arena).await
    {
        let [first, second, ..] = node.octets();
        held.extend((1..=254).map(|last| Holder::bind((Ipv4Addr::new(first, second, 244, last), 1433)).unwrap()));
    }
    let name = named("without");
    let output = ended(start(&arena, &name, "8s")).await;
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    let told = said(&output);
    assert!(told.contains("service/mssql got no address from a load balancer within 8 s"), "{told}");
    assert!(told.contains("try: target.service: loadBalancer needs a cluster that has one"), "{told}");
    assert_eq!(told.contains("the cluster warned: SyncLoadBalancerFailed: "), arena.is_sandbox, "{told}");
    nothing_is_left(&arena, &name).await;
    let recovered = arena.chaos(&["recover"]).output().unwrap();
    assert!(said(&recovered).contains("nothing to recover"), "{}", said(&recovered));
}

/// Passes every connection on to where it leads at that moment, as a balancer does which is reached by a name.
async fn relay(listener: TcpListener, to: (IpAddr, u16)) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            if let Ok(mut server) = TcpStream::connect(to).await {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}

/// Real clusters alone, since the sandbox' own balancer has an address. A name that is not known comes first: the run waits for it as for an address.
pub async fn a_load_balancer_with_a_name_is_reached_by_it(arena: Arena) {
    if has_its_own(&arena) {
        return;
    }
    // The one name that every machine knows; the Service's port cannot be chosen.
    let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 1433)).await else {
        eprintln!("skipped: somebody listens on port 1433 of this machine");
        return;
    };
    let name = named("by-name");
    let run = start(&arena, &name, "120s");
    let (path, service) = service_of(&arena, &name).await;
    let node_port = u16::try_from(service["spec"]["ports"][0]["nodePort"].as_u64().unwrap()).unwrap();
    let relay = tokio::spawn(relay(listener, (control_plane(&arena).await, node_port)));
    give(&arena, &path, json!({ "hostname": "localhost" })).await;
    let output = ended(run).await;
    relay.abort();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(timeline(&arena).contains("the Service is reached at localhost:1433"));
    nothing_is_left(&arena, &name).await;

    let name = named("unnamed");
    let run = start(&arena, &name, "10s");
    let (path, _) = service_of(&arena, &name).await;
    give(&arena, &path, json!({ "hostname": "balancer.invalid" })).await;
    let output = tokio::time::timeout(Duration::from_secs(120), ended(run)).await.unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    let told = said(&output);
    assert!(told.contains("the load balancer is called balancer.invalid, which did not resolve here within 10 s"), "{told}");
    assert!(told.contains("raise target.readyWithin"), "{told}");
    nothing_is_left(&arena, &name).await;
}
