//! Load balancers, as a cloud's controller gives them: a Service that asks for one gets an address of its own, where the proxies serve its ports.
//!
//! The address is one of the sandbox's own block and goes back with the Service. The proxies listen there only while an endpoint is ready, so whether it can be
//! listened on at all is tried before it is given.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::{Value, json};

use super::feed::Change;
use super::ownership::{terminating, uid_of};
use super::worklist::{Controller, Item};
use crate::events::Recorder;
use crate::proxy::AddressBlock;
use crate::store::{Key, Part, Resource, SERVICES, Store, text};

/// What keeps a Service until its balancer is gone, as every cloud's controller names it.
const CLEANUP: &str = "service.kubernetes.io/load-balancer-cleanup";

/// When a balancer that could not be made is tried again: whoever holds its ports tells nobody when it lets go.
const RETRY: Duration = Duration::from_secs(1);

/// Gives Services of type `LoadBalancer` their addresses. One with a `loadBalancerClass` is somebody else's.
pub(super) struct Balancers {
    store: Store,
    events: Recorder,
    block: AddressBlock,
    /// The addresses that were given, by Service.
    given: BTreeMap<Item, Ipv4Addr>,
}

impl Balancers {
    pub(super) fn new(store: &Store, block: AddressBlock) -> Self {
        Self { store: store.clone(), events: Recorder::new(store, "service-controller"), block, given: BTreeMap::new() }
    }

    /// Takes the balancer of a Service away, if it has one.
    fn remove(&mut self, item: &Item, service: &Value) {
        let Some(address) = self.given.remove(item) else {
            return;
        };
        self.events.normal(service, "DeletingLoadBalancer", "Deleting load balancer");
        let _gone = self.store.update(&Key::of(&SERVICES, service), &uid_of(service), Part::Whole, &mut |service| {
            service["status"]["loadBalancer"] = json!({});
            finalizers(service).retain(|other| other != CLEANUP);
            Ok(())
        });
        self.block.release(address);
        self.events.normal(service, "DeletedLoadBalancer", "Deleted load balancer");
    }

    /// The address of a Service: the one that it has, else a free one on which all its ports can be listened on.
    fn address(&self, item: &Item, service: &Value) -> Result<Ipv4Addr, String> {
        if let Some(address) = self.given.get(item) {
            return Ok(*address);
        }
        let address = self.block.take_balancer().ok_or_else(|| "no address is left".to_owned())?;
        for port in ports(service) {
            let at = SocketAddr::new(address.into(), port);
            if let Err(error) = TcpListener::bind(at) {
                self.block.release(address);
                return Err(format!("{at} cannot be listened on: {error}"));
            }
        }
        Ok(address)
    }
}

fn finalizers(service: &mut Value) -> &mut Vec<Value> {
    let list = &mut service["metadata"]["finalizers"];
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().expect("it was made one")
}

fn ports(service: &Value) -> impl Iterator<Item = u16> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    ports.filter(|port| text(port, "/protocol") == "TCP").filter_map(|port| u16::try_from(port.get("port")?.as_u64()?).ok())
}

impl Controller for Balancers {
    fn resources(&self) -> Vec<&'static Resource> {
        vec![&SERVICES]
    }

    fn affected(&self, change: &Change) -> Vec<Item> {
        vec![(change.namespace().to_owned(), change.name().to_owned())]
    }

    fn reconcile(&mut self, namespace: &str, name: &str) -> Option<Duration> {
        let item = (namespace.to_owned(), name.to_owned());
        let Some(service) = self.store.get(&Key::namespaced(&SERVICES, namespace, name)) else {
            // Somebody took our finalizer away before us.
            if let Some(address) = self.given.remove(&item) {
                self.block.release(address);
            }
            return None;
        };
        let wanted = text(&service, "/spec/type") == "LoadBalancer" && text(&service, "/spec/loadBalancerClass").is_empty();
        if !wanted || terminating(&service) {
            self.remove(&item, &service);
            return None;
        }
        let is_new = !self.given.contains_key(&item);
        let address = match self.address(&item, &service) {
            Ok(address) => address,
            Err(why) => {
                self.events.warning(&service, "SyncLoadBalancerFailed", &format!("Error syncing load balancer: {why}"));
                return Some(RETRY);
            }
        };
        if is_new {
            self.events.normal(&service, "EnsuringLoadBalancer", "Ensuring load balancer");
        }
        let updated = self.store.update(&Key::of(&SERVICES, &service), &uid_of(&service), Part::Whole, &mut |service| {
            if !finalizers(service).iter().any(|one| one == CLEANUP) {
                finalizers(service).push(json!(CLEANUP));
            }
            service["status"]["loadBalancer"] = json!({ "ingress": [{ "ip": address.to_string(), "ipMode": "VIP" }] });
            Ok(())
        });
        match updated {
            Ok(service) => {
                self.given.insert(item, address);
                if is_new {
                    self.events.normal(&service, "EnsuredLoadBalancer", "Ensured load balancer");
                }
            }
            // It is gone, or another one by now, which is looked at next.
            Err(_) => {
                self.given.remove(&item);
                self.block.release(address);
            }
        }
        None
    }
}
