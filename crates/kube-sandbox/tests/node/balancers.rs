//! Load balancers: an address of a Service's own, served as its node ports are, for as long as the Service asks for it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use kube_sandbox::store::{EVENTS, Key, PODS, Part, Preconditions, SERVICES, text};
use serde_json::{Value, json};

use crate::client::connect;
use crate::rig::*;

/// A Service at this port, with a balancer, and the echo server behind it.
fn service(port: u16) -> Value {
    json!({ "metadata": { "name": "out" },
        "spec": { "type": "LoadBalancer", "selector": { "app": "db" }, "ports": [{ "port": port, "targetPort": 1433 }] } })
}

async fn given(rig: &Rig) -> Ipv4Addr {
    let address = rig.until("an address from the balancer", &SERVICES, |services| {
        let service = services.iter().find(|service| name(service) == "out")?;
        text(service, "/status/loadBalancer/ingress/0/ip").parse().ok()
    });
    address.await
}

/// The row of the Service as kubectl shows it.
async fn shown(client: &kube::Client) -> Vec<String> {
    let request = hyper::Request::get(format!("/api/v1/namespaces/{NS}/services/out"))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = client.request(request).await.unwrap();
    table["rows"][0]["cells"].as_array().unwrap().iter().map(|cell| cell.to_string().trim_matches('"').to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_gets_an_address_of_its_own_that_leads_where_its_node_port_does() {
    let rig = Rig::start();
    let client = connect(&rig.sandbox.kubeconfig()).await;
    rig.deploy(&["--term-delay-ms", "1500"], |_| ());
    rig.create(&SERVICES, service(1433));
    let address = given(&rig).await;
    let at = SocketAddr::new(address.into(), 1433);
    assert!(address.octets()[0] == 127 && address != rig.addresses().0.ip(), "{address}");
    let row = shown(&client).await;
    assert_eq!((row[1].as_str(), row[3].as_str()), ("LoadBalancer", address.to_string().as_str()), "{row:?}");
    rig.event("EnsuredLoadBalancer").await;

    // Without a ready endpoint it refuses; with one it leads there; who is connected stays with the old pod.
    rig.refuses(at).await;
    let old = rig.ready_pod(&[]).await;
    let mut kept = rig.reaches(at, name(&old)).await;
    rig.delete(&PODS, name(&old), None);
    let new = rig.ready_pod(&[uid(&old)]).await;
    rig.reaches(at, name(&new)).await;
    assert_eq!(kept.echo("old").await.unwrap(), "old");

    // The address goes with the wish for it, and with the Service.
    let key = Key::namespaced(&SERVICES, NS, "out");
    let want = |kind: &'static str| {
        rig.store().update(&key, &Preconditions::default(), Part::Main, &mut |service| {
            service["spec"]["type"] = json!(kind);
            Ok(())
        })
    };
    want("NodePort").unwrap();
    rig.refuses(at).await;
    rig.event("DeletedLoadBalancer").await;
    let service = rig.get(&SERVICES, "out").unwrap();
    assert_eq!((&service["status"]["loadBalancer"], &service["metadata"]["finalizers"]), (&json!({}), &Value::Null));
    want("LoadBalancer").unwrap();
    let again = SocketAddr::new(given(&rig).await.into(), 1433);
    assert_ne!(again, at, "an address that was given back is not handed out at once");
    rig.reaches(again, name(&new)).await;
    rig.delete(&SERVICES, "out", None);
    rig.until("the Service gone", &SERVICES, |services| services.iter().all(|service| name(service) != "out").then_some(())).await;
    rig.refuses(again).await;
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_cannot_be_listened_on_is_not_given_and_an_event_says_why() {
    let rig = Rig::start();
    let client = connect(&rig.sandbox.kubeconfig()).await;
    // Whoever listens everywhere keeps the port from every address of this machine.
    let holder = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    rig.create(&SERVICES, service(port));
    let event = rig.event("SyncLoadBalancerFailed").await;
    let message = text(&event, "/message");
    assert!(message.contains(&format!(":{port} cannot be listened on")), "{message}");
    assert_eq!((text(&event, "/type"), shown(&client).await[3].as_str()), ("Warning", "<pending>"));
    drop(holder);
    given(&rig).await;
    rig.sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_of_somebody_elses_is_served_where_it_says() {
    let rig = Rig::start();
    rig.deploy(&[], |_| ());
    let pod = rig.ready_pod(&[]).await;
    let mut foreign = service(1433);
    foreign["spec"]["loadBalancerClass"] = json!("example.com/mine");
    rig.create(&SERVICES, foreign);
    let node: Ipv4Addr = rig.addresses().1[0].ip().to_string().parse().unwrap();
    let give = |ingress: Value| {
        let key = Key::namespaced(&SERVICES, NS, "out");
        rig.store()
            .update(&key, &Preconditions::default(), Part::Status, &mut |service| {
                service["status"]["loadBalancer"] = ingress.clone();
                Ok(())
            })
            .unwrap()
    };
    give(json!({ "ingress": [{ "ip": node.to_string() }] }));
    let at = SocketAddr::new(node.into(), 1433);
    rig.reaches(at, name(&pod)).await;
    // One that forwards by itself is not the proxies' business, nor is one that is only a name.
    give(json!({ "ingress": [{ "ip": node.to_string(), "ipMode": "Proxy" }, { "hostname": "balancer.example" }] }));
    rig.refuses(at).await;
    assert!(rig.store().list(&EVENTS, None).0.iter().all(|event| !text(event, "/reason").contains("LoadBalancer")));
    rig.sandbox.shutdown().await;
}
