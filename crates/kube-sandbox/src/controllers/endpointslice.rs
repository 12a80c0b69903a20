//! EndpointSlices: which pods stand behind a Service, and whether each is ready, serving or terminating.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::feed::Change;
use super::ownership::{controls, finished, ready, reference_to, terminating};
use super::worklist::{Controller, Item};
use crate::sabotage::Sabotage;
use crate::store::{ENDPOINT_SLICES, Key, PODS, Part, Preconditions, Resource, SERVICES, Store, text};

pub(super) struct EndpointSlices {
    store: Store,
}

impl EndpointSlices {
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    fn selected(service: &Value, pod: &Value) -> bool {
        let Some(selector) = service.pointer("/spec/selector").and_then(Value::as_object).filter(|selector| !selector.is_empty()) else {
            return false;
        };
        selector.iter().all(|(key, value)| pod.pointer("/metadata/labels").and_then(|labels| labels.get(key)) == Some(value))
    }
}

impl Controller for EndpointSlices {
    fn resources(&self) -> Vec<&'static Resource> {
        vec![&SERVICES, &PODS, &ENDPOINT_SLICES]
    }

    fn affected(&self, change: &Change) -> Vec<Item> {
        let namespace = change.namespace().to_owned();
        if change.resource == &SERVICES {
            return vec![(namespace, change.name().to_owned())];
        }
        if change.resource == &ENDPOINT_SLICES {
            return vec![(namespace, text(&change.object, "/metadata/labels/kubernetes.io~1service-name").to_owned())];
        }
        let states = || [Some(&change.object), change.previous.as_ref()].into_iter().flatten();
        let (services, _) = self.store.list(&SERVICES, Some(&namespace));
        let concerned = services.iter().filter(|service| states().any(|pod| Self::selected(service, pod)));
        concerned.map(|service| (namespace.clone(), text(service, "/metadata/name").to_owned())).collect()
    }

    fn reconcile(&mut self, namespace: &str, name: &str) -> Option<Duration> {
        let service = self.store.get(&Key::namespaced(&SERVICES, namespace, name))?;
        if service.pointer("/spec/selector").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty) || terminating(&service) {
            return None;
        }
        let mut pods: Vec<Arc<Value>> = self.store.list(&PODS, Some(namespace)).0;
        pods.retain(|pod| Self::selected(&service, pod) && !finished(pod) && !text(pod, "/status/podIP").is_empty());
        pods.sort_by_key(|pod| text(pod, "/metadata/creationTimestamp").to_owned());
        let ports = ports(&service, &pods);
        let mut endpoints: Vec<Value> = pods.iter().map(|pod| endpoint(&service, pod)).collect();
        let (slices, _) = self.store.list(&ENDPOINT_SLICES, Some(namespace));
        let Some(slice) = slices.iter().find(|slice| controls(&service, slice)) else {
            let mut labels = service.pointer("/metadata/labels").cloned().unwrap_or_else(|| json!({}));
            labels["endpointslice.kubernetes.io/managed-by"] = json!("endpointslice-controller.k8s.io");
            labels["kubernetes.io/service-name"] = json!(name);
            let slice = json!({
                "metadata": { "generateName": format!("{name}-"), "namespace": namespace, "labels": labels, "ownerReferences": [reference_to(&service)] },
                "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
            });
            // A namespace that terminates takes no new slice, and its services need none.
            let _refused = self.store.create(&ENDPOINT_SLICES, slice);
            return None;
        };
        if self.store.has(Sabotage::StaleEndpoint) {
            keep_ready(slice, &mut endpoints);
        }
        let mut change = |slice: &mut Value| {
            slice["endpoints"] = json!(endpoints);
            slice["ports"] = json!(ports);
            Ok(())
        };
        let _gone = self.store.update(&Key::of(&ENDPOINT_SLICES, slice), &Preconditions::default(), Part::Main, &mut change);
        None
    }
}

/// What `stale-endpoint` does: an endpoint that was ready once stays so, whatever became of its pod.
fn keep_ready(slice: &Value, endpoints: &mut Vec<Value>) {
    let is_ready = |endpoint: &Value| endpoint.pointer("/conditions/ready") == Some(&json!(true));
    for old in slice.pointer("/endpoints").and_then(Value::as_array).into_iter().flatten().filter(|old| is_ready(old)) {
        match endpoints.iter_mut().find(|new| new["addresses"] == old["addresses"]) {
            Some(new) if is_ready(new) => {}
            Some(new) => new.clone_from(old),
            None => endpoints.push(old.clone()),
        }
    }
}

/// The ports that the pods listen on, by the names of the Service's ports. A named target is what the first pod that has it says.
fn ports(service: &Value, pods: &[Arc<Value>]) -> Vec<Value> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let resolved = ports.filter_map(|port| {
        let number = match port.get("targetPort") {
            Some(Value::String(named)) => pods.iter().find_map(|pod| named_port(pod, named))?,
            Some(Value::Number(number)) => number.as_u64()?,
            _ => port.get("port")?.as_u64()?,
        };
        let mut out = json!({ "name": text(port, "/name"), "port": number, "protocol": port.get("protocol").cloned().unwrap_or_else(|| json!("TCP")) });
        if let Some(protocol) = port.get("appProtocol") {
            out["appProtocol"] = protocol.clone();
        }
        Some(out)
    });
    if pods.is_empty() { Vec::new() } else { resolved.collect() }
}

fn named_port(pod: &Value, name: &str) -> Option<u64> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let mut ports = containers.flat_map(|container| container.get("ports").and_then(Value::as_array).into_iter().flatten());
    ports.find(|port| text(port, "/name") == name)?.get("containerPort")?.as_u64()
}

fn endpoint(service: &Value, pod: &Value) -> Value {
    let serving = ready(pod);
    let leaving = terminating(pod);
    let anyway = service.pointer("/spec/publishNotReadyAddresses").and_then(Value::as_bool).unwrap_or(false);
    let mut endpoint = json!({
        "addresses": [text(pod, "/status/podIP")],
        "conditions": { "ready": anyway || (serving && !leaving), "serving": serving, "terminating": leaving },
        "nodeName": text(pod, "/spec/nodeName"),
        "targetRef": {
            "kind": "Pod", "name": text(pod, "/metadata/name"), "namespace": text(pod, "/metadata/namespace"), "uid": text(pod, "/metadata/uid"),
        },
    });
    let hostname = text(pod, "/spec/hostname");
    if !hostname.is_empty() && text(pod, "/spec/subdomain") == text(service, "/metadata/name") {
        endpoint["hostname"] = json!(hostname);
    }
    endpoint
}
