//! Which lists are maps in disguise, and which are taken whole: the merge keys of the kinds that are served.
//!
//! Kubernetes carries this in its schemas (`x-kubernetes-list-map-keys`, `x-kubernetes-patch-merge-key`); names of fields
//! suffice to tell here, with the owner's name where two lists of one name differ.

use crate::store::Resource;

/// How a list is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Shape {
    /// Taken whole.
    Whole,
    /// A set of plain values.
    Set,
    /// A map: the strategic merge key, and the keys of server-side apply with the default of the last.
    Map(&'static str, &'static [(&'static str, &'static str)]),
}

/// The shape of the list at a path of field names, list items left out.
pub(in super::super) fn shape(resource: &Resource, path: &[&str]) -> Shape {
    let last = path.last().copied().unwrap_or_default();
    let owner = path.len().checked_sub(2).map_or("", |index| path[index]);
    match last {
        "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "imagePullSecrets" | "schedulingGates" | "resourceClaims"
            if owner == "spec" || last == "imagePullSecrets" =>
        {
            Shape::Map("name", &[("name", "")])
        }
        "env" => Shape::Map("name", &[("name", "")]),
        "volumeMounts" => Shape::Map("mountPath", &[("mountPath", "")]),
        "volumeDevices" => Shape::Map("devicePath", &[("devicePath", "")]),
        "ports" if matches!(owner, "containers" | "initContainers" | "ephemeralContainers") => {
            Shape::Map("containerPort", &[("containerPort", ""), ("protocol", "TCP")])
        }
        "ports" if resource.kind == "Service" && owner == "spec" => Shape::Map("port", &[("port", ""), ("protocol", "TCP")]),
        "conditions" if owner == "status" && resource.kind != "Event" => Shape::Map("type", &[("type", "")]),
        "ownerReferences" => Shape::Map("uid", &[("uid", "")]),
        "finalizers" => Shape::Set,
        "topologySpreadConstraints" => Shape::Map("topologyKey", &[("topologyKey", ""), ("whenUnsatisfiable", "")]),
        "hostAliases" => Shape::Map("ip", &[("ip", "")]),
        "podIPs" => Shape::Map("ip", &[("ip", "")]),
        "addresses" if resource.kind == "Node" => Shape::Map("type", &[("type", "")]),
        "podCIDRs" => Shape::Set,
        "secrets" if resource.kind == "ServiceAccount" => Shape::Map("name", &[("name", "")]),
        _ => Shape::Whole,
    }
}

/// Whether a map is owned and replaced as one value by server-side apply.
pub(in super::super) fn is_atomic(path: &[&str]) -> bool {
    let last = path.last().copied().unwrap_or_default();
    matches!(
        last,
        "selector" | "nodeSelector" | "labelSelector" | "secretKeyRef" | "configMapKeyRef" | "fieldRef" | "resourceFieldRef" | "claimRef"
    )
}
