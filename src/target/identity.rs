//! Who and where the target is: what must be the same after a fault, and what must differ.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Service};
use kube::api::Api;

use super::deploy::TargetError;
use super::manifests::Names;
use super::state::TargetState;
use crate::cluster::{Permission, Typed};
use crate::experiment::Controller;
use crate::model::{ClaimSeen, ControllerSeen, ServiceSeen, TargetIdentity};

/// What a target with a Deployment asks beside [`super::DEPLOY_PERMISSIONS`]: the controller is created here and identified there.
pub const DEPLOYMENT_PERMISSIONS: [Permission; 4] = with_controller("deployments");

/// What a target with a StatefulSet asks beside [`super::DEPLOY_PERMISSIONS`].
pub const STATEFUL_SET_PERMISSIONS: [Permission; 4] = with_controller("statefulsets");

/// What identifying a target that somebody else deployed asks: what its controller is shows only when it is found.
pub const IDENTIFY_EXISTING_PERMISSIONS: [Permission; 5] = [
    Permission::of("apps", "deployments", &["get"]),
    Permission::of("apps", "statefulsets", &["get"]),
    Permission::core("services", &["get"]),
    Permission::core("persistentvolumeclaims", &["get"]),
    Permission::core("persistentvolumes", &["get"]),
];

const fn with_controller(resource: &'static str) -> [Permission; 4] {
    [
        Permission::of("apps", resource, &["create", "get"]),
        Permission::core("services", &["get"]),
        Permission::core("persistentvolumeclaims", &["get"]),
        Permission::core("persistentvolumes", &["get"]),
    ]
}

/// Asks the API server. `address` is where the workload connects.
pub async fn identify(
    client: &kube::Client,
    names: &Names,
    controller: Controller,
    address: &str,
    state: &TargetState,
) -> Result<TargetIdentity, TargetError> {
    let namespace = names.namespace.as_str();
    let Typed(service) = Api::<Typed<Service>>::namespaced(client.clone(), namespace).get(&names.service).await?;
    let Typed(claim) = Api::<Typed<PersistentVolumeClaim>>::namespaced(client.clone(), namespace).get(&names.claim).await?;
    let volume_name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
    let volume = Api::<Typed<PersistentVolume>>::all(client.clone()).get_opt(&volume_name).await?;
    let (kind, uid) = match controller {
        Controller::Deployment => {
            ("Deployment", Api::<Typed<Deployment>>::namespaced(client.clone(), namespace).get(&names.controller).await?.0.metadata.uid)
        }
        Controller::StatefulSet => {
            ("StatefulSet", Api::<Typed<StatefulSet>>::namespaced(client.clone(), namespace).get(&names.controller).await?.0.metadata.uid)
        }
    };
    let pod = state.serving().ok_or_else(|| TargetError::NoPod(state.describe()))?;
    Ok(TargetIdentity {
        service: ServiceSeen {
            name: names.service.clone(),
            uid: service.metadata.uid.unwrap_or_default(),
            cluster_ip: service.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default(),
            address: address.to_owned(),
        },
        claim: ClaimSeen {
            name: names.claim.clone(),
            uid: claim.metadata.uid.unwrap_or_default(),
            volume: volume_name,
            volume_handle: volume.as_deref().map(handle).unwrap_or_default(),
            storage_class: claim.spec.and_then(|spec| spec.storage_class_name).unwrap_or_default(),
            bound_to_node: volume.as_deref().and_then(bound_to_node),
        },
        controller: ControllerSeen { kind: kind.to_owned(), name: names.controller.clone(), uid: uid.unwrap_or_default() },
        pod_uid: pod.uid.clone(),
        node: pod.node.clone().unwrap_or_default(),
    })
}

/// What identifies the storage behind a volume: the driver's own handle, else where it lies.
fn handle(volume: &PersistentVolume) -> String {
    let Some(spec) = &volume.spec else {
        return String::new();
    };
    if let Some(csi) = &spec.csi {
        return format!("{}:{}", csi.driver, csi.volume_handle);
    }
    let place = bound_to_node(volume).map_or_else(|| "any node".to_owned(), |node| format!("node {node}"));
    if let Some(path) = &spec.host_path {
        return format!("{} on {place}", path.path);
    }
    if let Some(local) = &spec.local {
        return format!("{} on {place}", local.path);
    }
    if let Some(nfs) = &spec.nfs {
        return format!("nfs {}:{}", nfs.server, nfs.path);
    }
    String::new()
}

/// The one node that a volume's affinity names, if it names one.
fn bound_to_node(volume: &PersistentVolume) -> Option<String> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let mut named = affinity.node_selector_terms.iter().flat_map(|term| {
        let expressions = term.match_expressions.iter().flatten().chain(term.match_fields.iter().flatten());
        expressions.filter(|expression| {
            expression.operator == "In" && (expression.key == "kubernetes.io/hostname" || expression.key == "metadata.name")
        })
    });
    let values = named.next()?.values.as_ref()?;
    match values.as_slice() {
        [node] if named.next().is_none() => Some(node.clone()),
        _ => None,
    }
}
