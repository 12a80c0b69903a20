//! Where a load balancer serves the target: the address or the name that it gave the Service.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Service};
use kube::Client;
use kube::api::{Api, ListParams};
use kube::runtime::wait::await_condition;
use tokio::time::{Instant, timeout_at};

use super::deploy::TargetError;
use super::manifests::Names;
use super::profile::PORT;
use crate::cluster::{Permission, Typed};

/// What waiting for a load balancer asks beside [`super::DEPLOY_PERMISSIONS`].
pub const LOAD_BALANCER_PERMISSIONS: [Permission; 2] =
    [Permission::core("services", &["list", "watch"]), Permission::core("events", &["list"])];

/// How long until a name that did not resolve is asked for again. Nobody tells when a name begins to be known.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Waits until a load balancer has given the Service an address, or a name that resolves here, and says where that is.
pub async fn load_balancer_address(client: &Client, names: &Names, within: Duration) -> Result<String, TargetError> {
    let deadline = Instant::now() + within;
    let services = Api::<Typed<Service>>::namespaced(client.clone(), &names.namespace);
    let given = await_condition(services, &names.service, |service: Option<&Typed<Service>>| {
        service.is_some_and(|service| ingress(service).is_some())
    });
    let service = match timeout_at(deadline, given).await {
        Ok(seen) => seen.map_err(|error| TargetError::NotFound(format!("service/{} cannot be watched: {error}", names.service)))?,
        Err(_) => None,
    };
    match service.as_ref().and_then(|service| ingress(service)) {
        Some(Ingress::Address(address)) => Ok(at(&address, PORT)),
        Some(Ingress::Name(name)) => {
            resolves(&name, deadline).await.map_err(|why| TargetError::UnknownBalancer { name: name.clone(), waited: within, why })?;
            Ok(at(&name, PORT))
        }
        None => Err(TargetError::NoBalancer { service: names.service.clone(), waited: within, seen: warning(client, names).await }),
    }
}

/// `host:port`, as a socket takes it.
pub(super) fn at(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What a load balancer gave a Service.
enum Ingress {
    Address(String),
    Name(String),
}

/// The first of what was given: an address where there is one.
fn ingress(service: &Service) -> Option<Ingress> {
    let all = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    let address = all.iter().find_map(|one| one.ip.clone());
    address.map(Ingress::Address).or_else(|| all.iter().find_map(|one| one.hostname.clone()).map(Ingress::Name))
}

/// The names of a cloud's balancers are known some minutes after they were given.
async fn resolves(name: &str, deadline: Instant) -> Result<(), String> {
    loop {
        let why = match timeout_at(deadline, tokio::net::lookup_host((name, PORT))).await {
            Ok(Ok(mut found)) => match found.next() {
                Some(_) => return Ok(()),
                None => "it has no address".to_owned(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() + ASK_AGAIN > deadline {
            return Err(why);
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// What the cluster warned of last about the Service; it only adds to an error, so that one of its own is left out.
async fn warning(client: &Client, names: &Names) -> Option<String> {
    let events = Api::<Typed<Event>>::namespaced(client.clone(), &names.namespace).list(&ListParams::default()).await.ok()?;
    let about = |event: &&Typed<Event>| {
        let object = &event.involved_object;
        object.kind.as_deref() == Some("Service")
            && object.name.as_deref() == Some(&names.service)
            && event.type_.as_deref() == Some("Warning")
    };
    let last = events.items.iter().filter(about).max_by_key(|event| event.last_timestamp.clone())?;
    Some(format!("{}: {}", last.reason.as_deref().unwrap_or_default(), last.message.as_deref().unwrap_or_default()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_comes_before_a_name_and_one_of_six_is_bracketed() {
        let given = |ingress: serde_json::Value| {
            let service = serde_json::from_value(json!({ "status": { "loadBalancer": { "ingress": ingress } } })).unwrap();
            match super::ingress(&service) {
                Some(Ingress::Address(address)) => at(&address, PORT),
                Some(Ingress::Name(name)) => format!("{} by name", at(&name, PORT)),
                None => "nothing".to_owned(),
            }
        };
        assert_eq!(given(json!([])), "nothing");
        assert_eq!(given(json!([{ "hostname": "db.example" }])), "db.example:1433 by name");
        assert_eq!(given(json!([{ "hostname": "db.example" }, { "ip": "192.0.2.7" }])), "192.0.2.7:1433");
        assert_eq!(given(json!([{ "ip": "2001:db8::7" }])), "[2001:db8::7]:1433");
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_given_up_in_time() {
        let began = Instant::now();
        // RFC 6761 keeps `invalid` from ever being a name.
        let why = resolves("balancer.invalid", began + Duration::from_millis(300)).await.unwrap_err();
        assert!(!why.is_empty() && began.elapsed() < Duration::from_secs(5), "{why}");
    }
}
