//! From Services and their EndpointSlices to listeners: what kube-proxy turns into packet rules.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::Cuts;
use super::frontends::{Frontends, Wanted};
use crate::controllers::feed::Feed;
use crate::sabotage::Sabotage;
use crate::store::{ENDPOINT_SLICES, SERVICES, Store, text};

/// When an address that could not be listened on is tried again: whoever holds it tells nobody when it lets go.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the listeners as the Services say, for ever.
pub(super) async fn serve(store: Store, nodes: Vec<Ipv4Addr>, cuts: watch::Receiver<Cuts>) {
    let mut feed = Feed::new(&store, &[&SERVICES, &ENDPOINT_SLICES]);
    let mut frontends = Frontends::new(cuts);
    let mut retry = false;
    // What `wrong-pod` goes on leading to.
    let mut first = Wanted::new();
    loop {
        if retry {
            // Either way everything is looked at afresh below.
            let _changed = tokio::time::timeout(RETRY, feed.next()).await;
        } else {
            feed.next().await;
        }
        while feed.ready().is_some() {}
        let mut wanted = wanted(&store, &nodes);
        if store.has(Sabotage::WrongPod) {
            for (at, backends) in wanted.iter_mut().filter(|(_, backends)| !backends.is_empty()) {
                backends.clone_from(first.entry(*at).or_insert_with(|| backends.clone()));
            }
        }
        let failed = frontends.apply(wanted).await;
        retry = !failed.is_empty();
        for (at, error) in failed {
            tracing::warn!(%at, %error, "a service address cannot be listened on");
        }
    }
}

/// Every address that should be open, and the pods behind it.
fn wanted(store: &Store, nodes: &[Ipv4Addr]) -> Wanted {
    let (slices, _) = store.list(&ENDPOINT_SLICES, None);
    let mut by_service: BTreeMap<(&str, &str), Vec<&Arc<Value>>> = BTreeMap::new();
    for slice in &slices {
        let service = text(slice, "/metadata/labels/kubernetes.io~1service-name");
        by_service.entry((text(slice, "/metadata/namespace"), service)).or_default().push(slice);
    }
    let mut wanted = Wanted::new();
    for service in store.list(&SERVICES, None).0 {
        let Ok(cluster_ip) = text(&service, "/spec/clusterIP").parse::<Ipv4Addr>() else {
            continue;
        };
        let key = (text(&service, "/metadata/namespace"), text(&service, "/metadata/name"));
        let slices = by_service.get(&key).map(Vec::as_slice).unwrap_or_default();
        let balancers = balancers(&service);
        for port in service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten() {
            if text(port, "/protocol") != "TCP" {
                continue;
            }
            let backends = backends(slices, text(port, "/name"));
            if let Some(number) = number(port, "/port") {
                let addresses = std::iter::once(cluster_ip).chain(balancers.iter().copied());
                wanted.extend(addresses.map(|address| (SocketAddr::new(address.into(), number), backends.clone())));
            }
            if let Some(number) = number(port, "/nodePort") {
                wanted.extend(nodes.iter().map(|node| (SocketAddr::new((*node).into(), number), backends.clone())));
            }
        }
    }
    wanted
}

/// The addresses of a Service's load balancer, whoever gave them. One that only forwards to node ports, and one with a name alone, are served elsewhere.
fn balancers(service: &Value) -> Vec<Ipv4Addr> {
    let ingress = service.pointer("/status/loadBalancer/ingress").and_then(Value::as_array).into_iter().flatten();
    ingress.filter(|one| text(one, "/ipMode") != "Proxy").filter_map(|one| text(one, "/ip").parse().ok()).collect()
}

/// The ready endpoints of one port; when there is none, the ones that terminate but still serve.
fn backends(slices: &[&Arc<Value>], port_name: &str) -> Vec<SocketAddr> {
    let mut ready = Vec::new();
    let mut draining = Vec::new();
    for slice in slices {
        let ports = slice.pointer("/ports").and_then(Value::as_array).into_iter().flatten();
        let Some(port) = ports.filter(|port| text(port, "/name") == port_name).find_map(|port| number(port, "/port")) else {
            continue;
        };
        for endpoint in slice.pointer("/endpoints").and_then(Value::as_array).into_iter().flatten() {
            let Ok(address) = text(endpoint, "/addresses/0").parse::<Ipv4Addr>() else {
                continue;
            };
            let condition = |name: &str| endpoint.pointer(&format!("/conditions/{name}")).and_then(Value::as_bool);
            let address = SocketAddr::new(address.into(), port);
            if condition("ready").unwrap_or(true) {
                ready.push(address);
            } else if condition("serving") == Some(true) && condition("terminating") == Some(true) {
                draining.push(address);
            }
        }
    }
    if ready.is_empty() { draining } else { ready }
}

fn number(object: &Value, pointer: &str) -> Option<u16> {
    object.pointer(pointer)?.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(endpoints: &[(&str, bool, bool, bool)]) -> Arc<Value> {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(address, ready, serving, terminating)| {
                json!({ "addresses": [address], "conditions": { "ready": ready, "serving": serving, "terminating": terminating } })
            })
            .collect();
        Arc::new(json!({ "ports": [{ "name": "sql", "port": 1433 }], "endpoints": endpoints }))
    }

    #[test]
    fn ready_endpoints_come_first_and_serving_terminating_ones_are_the_last_resort() {
        let both = slice(&[("127.1.2.3", true, true, false), ("127.1.2.4", false, true, true)]);
        assert_eq!(backends(&[&both], "sql"), [SocketAddr::from(([127, 1, 2, 3], 1433))]);
        let draining = slice(&[("127.1.2.4", false, true, true), ("127.1.2.5", false, false, true), ("127.1.2.6", false, false, false)]);
        assert_eq!(backends(&[&draining], "sql"), [SocketAddr::from(([127, 1, 2, 4], 1433))]);
        assert!(backends(&[&draining], "other").is_empty());
    }
}
