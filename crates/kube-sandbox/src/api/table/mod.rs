//! Objects as rows of a table, with the real server's columns, for people who look with kubectl.

mod cluster;
mod pod;
mod show;
mod workload;

use std::sync::Arc;

use serde_json::{Value, json};

use super::request::Call;
use crate::store::Resource;

use show::age;
pub(super) use show::selector_text;

/// What of the object a row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    pub(super) fn of(call: &Call) -> Include {
        match call.query.get("includeObject") {
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            _ => Include::Metadata,
        }
    }
}

/// A column: name, type, whether only the wide form shows it.
type Column = (&'static str, &'static str, bool);

const NAME: Column = ("Name", "string", false);
const AGE: Column = ("Age", "string", false);
const CONTAINERS: Column = ("Containers", "string", true);
const IMAGES: Column = ("Images", "string", true);
const SELECTOR: Column = ("Selector", "string", true);

const fn text(name: &'static str) -> Column {
    (name, "string", false)
}

const fn number(name: &'static str) -> Column {
    (name, "integer", false)
}

const fn wide(name: &'static str) -> Column {
    (name, "string", true)
}

fn columns(resource: &Resource) -> Vec<Column> {
    match resource.plural {
        "pods" => vec![
            NAME,
            text("Ready"),
            text("Status"),
            text("Restarts"),
            AGE,
            wide("IP"),
            wide("Node"),
            wide("Nominated Node"),
            wide("Readiness Gates"),
        ],
        "deployments" => vec![NAME, text("Ready"), text("Up-to-date"), text("Available"), AGE, CONTAINERS, IMAGES, SELECTOR],
        "replicasets" => vec![NAME, number("Desired"), number("Current"), number("Ready"), AGE, CONTAINERS, IMAGES, SELECTOR],
        "statefulsets" => vec![NAME, text("Ready"), AGE, CONTAINERS, IMAGES],
        "daemonsets" => vec![
            NAME,
            number("Desired"),
            number("Current"),
            number("Ready"),
            number("Up-to-date"),
            number("Available"),
            text("Node Selector"),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        "controllerrevisions" => vec![NAME, text("Controller"), text("Revision"), AGE],
        "services" => vec![NAME, text("Type"), text("Cluster-IP"), text("External-IP"), text("Port(s)"), AGE, SELECTOR],
        "endpoints" => vec![NAME, text("Endpoints"), AGE],
        "endpointslices" => vec![NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE],
        "nodes" => vec![
            NAME,
            text("Status"),
            text("Roles"),
            AGE,
            text("Version"),
            wide("Internal-IP"),
            wide("External-IP"),
            wide("OS-Image"),
            wide("Kernel-Version"),
            wide("Container-Runtime"),
        ],
        "persistentvolumes" => vec![
            NAME,
            text("Capacity"),
            text("Access Modes"),
            text("Reclaim Policy"),
            text("Status"),
            text("Claim"),
            text("StorageClass"),
            text("VolumeAttributesClass"),
            text("Reason"),
            AGE,
            wide("VolumeMode"),
        ],
        "persistentvolumeclaims" => vec![
            NAME,
            text("Status"),
            text("Volume"),
            text("Capacity"),
            text("Access Modes"),
            text("StorageClass"),
            text("VolumeAttributesClass"),
            AGE,
            wide("VolumeMode"),
        ],
        "storageclasses" => {
            vec![NAME, text("Provisioner"), text("ReclaimPolicy"), text("VolumeBindingMode"), text("AllowVolumeExpansion"), AGE]
        }
        "csinodes" => vec![NAME, number("Drivers"), AGE],
        "volumeattachments" => vec![NAME, text("Attacher"), text("PV"), text("Node"), ("Attached", "boolean", false), AGE],
        "events" => vec![
            text("Last Seen"),
            text("Type"),
            text("Reason"),
            text("Object"),
            wide("Subobject"),
            wide("Source"),
            text("Message"),
            wide("First Seen"),
            wide("Count"),
            ("Name", "string", true),
        ],
        "namespaces" => vec![NAME, text("Status"), AGE],
        "secrets" => vec![NAME, text("Type"), text("Data"), AGE],
        "configmaps" => vec![NAME, text("Data"), AGE],
        "serviceaccounts" => vec![NAME, text("Secrets"), AGE],
        "leases" => vec![NAME, text("Holder"), AGE],
        "poddisruptionbudgets" => vec![NAME, text("Min Available"), text("Max Unavailable"), number("Allowed Disruptions"), AGE],
        "networkpolicies" => vec![NAME, text("Pod-Selector"), AGE],
        "roles" | "clusterroles" => vec![NAME, ("Created At", "date", false)],
        "rolebindings" | "clusterrolebindings" => vec![NAME, text("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")],
        _ => vec![NAME, AGE],
    }
}

fn cells(resource: &Resource, object: &Value) -> Value {
    let name = &object["metadata"]["name"];
    match resource.plural {
        "pods" => pod::cells(object),
        "deployments" => workload::deployment(object),
        "replicasets" => workload::replica_set(object),
        "statefulsets" => workload::stateful_set(object),
        "daemonsets" => workload::daemon_set(object),
        "services" => workload::service(object),
        "endpoints" => workload::endpoints(object),
        "endpointslices" => workload::endpoint_slice(object),
        "poddisruptionbudgets" => workload::disruption_budget(object),
        "nodes" => cluster::node(object),
        "persistentvolumes" => cluster::volume(object),
        "persistentvolumeclaims" => cluster::claim(object),
        "storageclasses" => cluster::storage_class(object),
        "events" => cluster::event(object),
        "roles" | "clusterroles" => json!([name, object["metadata"]["creationTimestamp"]]),
        "rolebindings" | "clusterrolebindings" => cluster::role_binding(object),
        _ => {
            let mut cells = vec![name.clone()];
            cells.extend(cluster::middle(resource, object));
            cells.push(json!(age(object)));
            json!(cells)
        }
    }
}

/// A table of the objects in the form that the request asks for.
pub(super) fn of_objects(resource: &Resource, objects: &[Arc<Value>], call: &Call, metadata: &Value, columns: bool) -> Value {
    build(resource, objects, Include::of(call), metadata, columns)
}

/// A table; a watch sends the definitions of the columns only once.
pub(super) fn build(resource: &Resource, objects: &[Arc<Value>], include: Include, metadata: &Value, with_columns: bool) -> Value {
    let definitions: Vec<Value> = if with_columns {
        let define = |(name, kind, wide): Column| {
            let format = if name == "Name" { "name" } else { "" };
            json!({ "name": name, "type": kind, "format": format, "description": "", "priority": i32::from(wide) })
        };
        columns(resource).into_iter().map(define).collect()
    } else {
        Vec::new()
    };
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = json!({ "cells": cells(resource, object) });
            match include {
                Include::None => {}
                Include::Metadata => row["object"] = super::listing::metadata_only(object),
                Include::Object => row["object"] = (**object).clone(),
            }
            row
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": if with_columns { json!(definitions) } else { Value::Null }, "rows": rows,
    })
}
