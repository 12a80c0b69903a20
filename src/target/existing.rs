//! A target that somebody else deployed, found by its Service. Nothing of it is created, changed in shape, or removed.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Container, Pod, Secret as SecretObject, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ListParams};

use super::deploy::TargetError;
use super::manifests::Names;
use super::profile::PORT;
use crate::cluster::{ClusterProvider, Permission, Typed};
use crate::experiment::{ExistingTarget, Tls};
use crate::model::{ControllerSeen, OwnerSeen, Secret};
use crate::sql;

/// What finding a target and the way to it asks of the API server.
pub const EXISTING_PERMISSIONS: [Permission; 4] = [
    Permission::core("services", &["get"]),
    Permission::core("pods", &["list"]),
    Permission::core("secrets", &["get"]),
    Permission::core("nodes", &["list"]),
];

/// The grace period of a pod that names none.
const GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// What was found of a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its objects.
    pub names: Names,
    /// The Service's port for clients.
    pub port: ServicePort,
    /// Addresses of a load balancer, where there is one.
    pub load_balancer: Vec<String>,
}

fn missing(what: String) -> TargetError {
    TargetError::NotFound(what)
}

/// Finds a target's Service and the pods that it selects. What only a pod tells is still empty in the names.
pub async fn find(client: &kube::Client, existing: &ExistingTarget) -> Result<Found, TargetError> {
    let namespace = existing.namespace.as_str();
    let place = format!("service/{} of namespace {namespace}", existing.service);
    let service = Api::<Typed<Service>>::namespaced(client.clone(), namespace).get_opt(&existing.service).await?;
    let Typed(service) = service.ok_or_else(|| missing(format!("there is no {place}")))?;
    let spec = service.spec.unwrap_or_default();
    let selector = spec.selector.unwrap_or_default().iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
    if selector.is_empty() {
        return Err(missing(format!("{place} has no selector, so it leads to no pod that could be watched")));
    }
    let ports = spec.ports.unwrap_or_default();
    let port = ports.iter().find(|port| port.port == i32::from(PORT)).or(ports.first()).cloned();
    let port = port.ok_or_else(|| missing(format!("{place} has no port")))?;
    let ingress = service.status.and_then(|status| status.load_balancer).and_then(|balancer| balancer.ingress).unwrap_or_default();
    Ok(Found {
        names: Names {
            namespace: namespace.to_owned(),
            controller: String::new(),
            service: existing.service.clone(),
            claim: String::new(),
            secret: existing.secret.clone(),
            container: String::new(),
            selector,
        },
        port,
        load_balancer: ingress.into_iter().filter_map(|one| one.ip.or(one.hostname)).collect(),
    })
}

/// What a pod tells of its target.
#[derive(Debug, Clone, PartialEq)]
pub struct LookedInto {
    /// The target's names with the container behind the Service's port and the claim that is mounted there. The claim is empty where there is none.
    pub names: Names,
    /// The pod's grace period.
    pub grace: Duration,
    /// Where the claim is mounted in the container.
    pub mount: Option<String>,
    /// The pod's port to which the Service leads.
    pub port: u16,
    /// What owns the pod.
    pub owner: Option<OwnerSeen>,
}

/// Looks into a pod of the target.
pub async fn look_into_pod(client: &kube::Client, found: &Found) -> Result<LookedInto, TargetError> {
    let Names { namespace, service, selector, .. } = &found.names;
    let place = format!("service/{service} of namespace {namespace}");
    let pods = Api::<Typed<Pod>>::namespaced(client.clone(), namespace).list(&ListParams::default().labels(selector)).await?;
    let pod = pods.items.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none());
    let Typed(pod) = pod.ok_or_else(|| missing(format!("{place} selects no pod ({selector})")))?;
    let owner = pod.metadata.owner_references.into_iter().flatten().find(|owner| owner.controller == Some(true));
    let pod = pod.spec.unwrap_or_default();
    let container = pod.containers.iter().find(|container| listens(container, &found.port)).or(pod.containers.first());
    let container = container.ok_or_else(|| missing(format!("the pod behind {place} has no container")))?;
    let mounted = |name: &str| container.volume_mounts.iter().flatten().find(|mount| mount.name == name);
    let mut claims = pod.volumes.iter().flatten().filter_map(|volume| {
        let claim = volume.persistent_volume_claim.as_ref()?.claim_name.clone();
        Some((claim, mounted(&volume.name)?.mount_path.clone()))
    });
    let (claim, mount) = claims.next().unzip();
    let grace = pod.termination_grace_period_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Ok(LookedInto {
        names: Names { claim: claim.unwrap_or_default(), container: container.name.clone(), ..found.names.clone() },
        grace: grace.map_or(GRACE_DEFAULT, Duration::from_secs),
        mount,
        port: u16::try_from(pod_port(container, &found.port)).unwrap_or(PORT),
        owner: owner.map(|owner| OwnerSeen { kind: owner.kind, name: owner.name, uid: owner.uid }),
    })
}

/// What finding the controller of a pod asks of the API server, beside reading that controller itself.
pub const CONTROLLER_PERMISSIONS: [Permission; 1] = [Permission::of("apps", "replicasets", &["get"])];

/// The controller behind a pod's owner: a StatefulSet itself, or the Deployment of a ReplicaSet.
pub async fn controller_behind(client: &kube::Client, namespace: &str, owner: Option<&OwnerSeen>) -> Result<ControllerSeen, TargetError> {
    let owner = owner.ok_or_else(|| missing("the pod has no controller".to_owned()))?;
    if owner.kind == "StatefulSet" {
        return Ok(ControllerSeen { kind: owner.kind.clone(), name: owner.name.clone(), uid: owner.uid.clone() });
    }
    let set = match owner.kind.as_str() {
        "ReplicaSet" => Api::<Typed<ReplicaSet>>::namespaced(client.clone(), namespace).get_opt(&owner.name).await?,
        _ => None,
    };
    let above = set.and_then(|set| set.0.metadata.owner_references.into_iter().flatten().find(|above| above.controller == Some(true)));
    match above {
        Some(above) if above.kind == "Deployment" => Ok(ControllerSeen { kind: above.kind, name: above.name, uid: above.uid }),
        _ => Err(missing(format!("{} {} belongs to neither a Deployment nor a StatefulSet", owner.kind, owner.name))),
    }
}

/// The number of the port that the Service leads to.
fn pod_port(container: &Container, port: &ServicePort) -> i32 {
    let named = |name: &String| container.ports.iter().flatten().find(|own| own.name.as_ref() == Some(name)).map(|own| own.container_port);
    match &port.target_port {
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named(name).unwrap_or(port.port),
        None => port.port,
    }
}

/// Whether a container has the port that the Service leads to.
fn listens(container: &Container, port: &ServicePort) -> bool {
    container.ports.iter().flatten().any(|own| match &port.target_port {
        Some(IntOrString::Int(number)) => own.container_port == *number,
        Some(IntOrString::String(name)) => own.name.as_ref() == Some(name),
        None => own.container_port == port.port,
    })
}

/// How clients get to it, with the password from its Secret.
pub async fn sql_target(
    client: &kube::Client,
    provider: &dyn ClusterProvider,
    existing: &ExistingTarget,
    found: &Found,
    address: Option<&str>,
    tls: Tls,
) -> Result<sql::Target, TargetError> {
    let secrets = Api::<Typed<SecretObject>>::namespaced(client.clone(), &existing.namespace);
    let place = format!("secret/{} of namespace {}", existing.secret, existing.namespace);
    let Typed(secret) = secrets.get_opt(&existing.secret).await?.ok_or_else(|| missing(format!("there is no {place}")))?;
    let value = secret.data.unwrap_or_default().remove(&existing.secret_key);
    let value = value.ok_or_else(|| missing(format!("{place} has no key {}", existing.secret_key)))?;
    let password = String::from_utf8(value.0).map_err(|_| missing(format!("{place}: {} is not text", existing.secret_key)))?;
    let address = match address {
        Some(address) => address.to_owned(),
        None => way_in(client, provider, found).await?,
    };
    Ok(sql::Target { address, user: existing.user.clone(), password: Secret::new(password), database: String::new(), tls })
}

/// Where the Service is reached from here: its load balancer, else its node port.
async fn way_in(client: &kube::Client, provider: &dyn ClusterProvider, found: &Found) -> Result<String, TargetError> {
    if let Some(host) = found.load_balancer.first() {
        return Ok(super::load_balancer::at(host, found.port.port));
    }
    let service = &found.names.service;
    let node_port = found.port.node_port.and_then(|port| u16::try_from(port).ok());
    let node_port = node_port.ok_or_else(|| {
        missing(format!("service/{service} has neither a node port nor a load balancer; say where it is reached: target.service: {{ address: HOST:PORT }}"))
    })?;
    let entrances = provider.entrances(client, &[]).await?;
    let entrance = entrances.iter().find(|entrance| entrance.node_port == Some(node_port));
    let entrance = entrance.or_else(|| entrances.iter().find(|entrance| entrance.node_port.is_none()));
    entrance.map(|entrance| entrance.address(node_port)).ok_or_else(|| TargetError::NoEntrance(format!("node port {node_port}")))
}
