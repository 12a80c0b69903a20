//! The objects of a target. Names are fixed, since each run has a namespace of its own.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, PodTemplateSpec, Secret as SecretObject, Service};
use serde_json::{Value, json};

use super::profile::{DATA_MOUNT, PORT, Profile, USER};
use crate::experiment::{AccessMode, Controller, ServiceAccess, Storage, TargetPlan};
use crate::model::Secret;

/// Says which run an object belongs to; what does not carry it is never removed.
pub const LABEL_RUN: &str = "chaos.sqledge.dev/run";

/// The names of a target's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The namespace.
    pub namespace: String,
    /// Deployment or StatefulSet.
    pub controller: String,
    /// The Service.
    pub service: String,
    /// The claim.
    pub claim: String,
    /// The Secret with the password.
    pub secret: String,
    /// The database container.
    pub container: String,
    /// Label selector of the target's pods.
    pub selector: String,
}

impl Names {
    /// The names in a namespace, for a kind of controller.
    pub fn new(namespace: String, controller: Controller) -> Self {
        Names {
            namespace,
            controller: "mssql".to_owned(),
            service: "mssql".to_owned(),
            claim: match controller {
                Controller::Deployment => "mssql-data".to_owned(),
                // A StatefulSet names its claims itself: template, set, ordinal.
                Controller::StatefulSet => "data-mssql-0".to_owned(),
            },
            secret: "mssql-sa".to_owned(),
            container: "mssql".to_owned(),
            selector: "app.kubernetes.io/name=mssql".to_owned(),
        }
    }

    /// Whether a pod with these labels is the target's.
    pub fn selects(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let has = |(key, value): (&str, &str)| labels.is_some_and(|labels| labels.get(key).is_some_and(|is| is == value));
        self.selector.split(',').filter_map(|term| term.split_once('=')).all(has)
    }
}

/// Every object of a target, in order of creation.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifests {
    /// The namespace that holds all others.
    pub namespace: Namespace,
    /// The password.
    pub secret: SecretObject,
    /// The claim; a StatefulSet makes its own.
    pub claim: Option<PersistentVolumeClaim>,
    /// What owns the pod.
    pub controller: ControllerManifest,
    /// The Service.
    pub service: Service,
}

/// What owns the pod.
#[derive(Debug, Clone, PartialEq)]
pub enum ControllerManifest {
    /// A Deployment.
    Deployment(Box<Deployment>),
    /// A StatefulSet.
    StatefulSet(Box<StatefulSet>),
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a manifest written here has the shape of its type")
}

impl Manifests {
    /// The objects for a plan. `node_port` asks for a port; `None` lets the API server choose.
    pub fn new(names: &Names, run: &str, target: &TargetPlan, profile: &Profile, password: &Secret, node_port: Option<u16>) -> Self {
        let labels = json!({
            "app.kubernetes.io/name": "mssql",
            "app.kubernetes.io/managed-by": "chaos",
            LABEL_RUN: run,
        });
        let selector = json!({ "app.kubernetes.io/name": "mssql" });
        let template = pod_template(names, &labels, target, profile);
        let controller_metadata = json!({ "name": names.controller, "namespace": names.namespace, "labels": labels });
        let controller = match target.controller {
            Controller::Deployment => ControllerManifest::Deployment(typed(json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": controller_metadata,
                "spec": {
                    "replicas": 1,
                    // With a claim that one node may mount, a rolling update would wait for ever for the volume.
                    "strategy": { "type": "Recreate" },
                    "selector": { "matchLabels": selector },
                    "template": template,
                },
            }))),
            Controller::StatefulSet => ControllerManifest::StatefulSet(typed(json!({
                "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": controller_metadata,
                "spec": {
                    "replicas": 1,
                    "serviceName": names.service,
                    "selector": { "matchLabels": selector },
                    "template": template,
                    "volumeClaimTemplates": [{ "metadata": { "name": "data", "labels": labels }, "spec": claim_spec(&target.storage) }],
                },
            }))),
        };
        let claim = (target.controller == Controller::Deployment).then(|| {
            typed(json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": { "name": names.claim, "namespace": names.namespace, "labels": labels },
                "spec": claim_spec(&target.storage),
            }))
        });
        let mut port = json!({ "name": "tds", "port": PORT, "targetPort": PORT, "protocol": "TCP" });
        if let Some(node_port) = node_port {
            port["nodePort"] = node_port.into();
        }
        let service_type = if target.service == ServiceAccess::LoadBalancer { "LoadBalancer" } else { "NodePort" };
        Manifests {
            namespace: typed(json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": names.namespace, "labels": labels },
            })),
            secret: typed(json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": { "name": names.secret, "namespace": names.namespace, "labels": labels },
                "stringData": { "password": password.reveal() },
            })),
            claim,
            controller,
            service: typed(json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": names.service, "namespace": names.namespace, "labels": labels },
                "spec": { "type": service_type, "selector": selector, "ports": [port] },
            })),
        }
    }
}

fn claim_spec(storage: &Storage) -> Value {
    let mode = match storage.access_mode {
        AccessMode::ReadWriteOnce => "ReadWriteOnce",
        AccessMode::ReadWriteOncePod => "ReadWriteOncePod",
        AccessMode::ReadWriteMany => "ReadWriteMany",
    };
    let mut spec = json!({ "accessModes": [mode], "resources": { "requests": { "storage": storage.size } } });
    if let Some(class) = &storage.class {
        spec["storageClassName"] = class.as_str().into();
    }
    spec
}

/// The pod, under the restricted profile of the pod security standards.
fn pod_template(names: &Names, labels: &Value, target: &TargetPlan, profile: &Profile) -> PodTemplateSpec {
    let mut environment = vec![
        json!({ "name": "MSSQL_SA_PASSWORD", "valueFrom": { "secretKeyRef": { "name": names.secret, "key": "password" } } }),
        json!({ "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }),
    ];
    environment.extend(profile.environment.iter().map(|(name, value)| json!({ "name": name, "value": value })));
    let mut container = json!({
        "name": names.container,
        "image": profile.image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{ "name": "tds", "containerPort": PORT }],
        "env": environment,
        "volumeMounts": [{ "name": "data", "mountPath": DATA_MOUNT }],
        "resources": { "limits": { "memory": profile.memory }, "requests": { "memory": profile.memory } },
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        // A server that recovers a large database must not be killed for it, so liveness begins when the startup probe is through.
        "startupProbe": { "tcpSocket": { "port": PORT }, "periodSeconds": 1, "failureThreshold": target.ready_within.as_secs().clamp(30, 3600) },
        "readinessProbe": { "tcpSocket": { "port": PORT }, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 1 },
        "livenessProbe": { "tcpSocket": { "port": PORT }, "periodSeconds": 10, "failureThreshold": 6, "timeoutSeconds": 5 },
    });
    if !profile.arguments.is_empty() {
        container["args"] = json!(profile.arguments);
    }
    let volume = match target.controller {
        Controller::Deployment => json!([{ "name": "data", "persistentVolumeClaim": { "claimName": names.claim } }]),
        Controller::StatefulSet => json!([]),
    };
    typed(json!({
        "metadata": { "labels": labels },
        "spec": {
            "terminationGracePeriodSeconds": target.grace.as_secs(),
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [container],
            "volumes": volume,
        },
    }))
}
