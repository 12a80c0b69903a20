//! Defaults of pods and pod templates.

use serde_json::{Map, Value, json};

use super::super::metadata::{metadata, section};
use super::{default, map_in, maps_in};

/// The defaults of a pod's spec; `pod` says that it is a pod's own and not a template's.
pub(super) fn defaults(spec: &mut Map<String, Value>, pod: bool) {
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "dnsPolicy", json!("ClusterFirst"));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    default(spec, "schedulerName", json!("default-scheduler"));
    default(spec, "securityContext", json!({}));
    if pod {
        default(spec, "enableServiceLinks", json!(true));
    }
    if let Some(account) = spec.get("serviceAccountName").filter(|name| !name.is_null()).cloned() {
        default(spec, "serviceAccount", account);
    }
    for list in ["initContainers", "containers"] {
        for container in maps_in(spec, list) {
            container_defaults(container);
        }
    }
    for volume in maps_in(spec, "volumes") {
        volume_defaults(volume);
    }
}

fn container_defaults(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let tag = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!tag.contains(':') || tag.ends_with(":latest"));
    default(container, "imagePullPolicy", json!(if latest { "Always" } else { "IfNotPresent" }));
    default(container, "terminationMessagePath", json!("/dev/termination-log"));
    default(container, "terminationMessagePolicy", json!("File"));
    let resources = map_in(container, "resources");
    if let Some(Value::Object(limits)) = resources.get("limits").cloned() {
        let requests = map_in(resources, "requests");
        for (name, limit) in limits {
            default(requests, &name, limit);
        }
    }
    for port in maps_in(container, "ports") {
        default(port, "protocol", json!("TCP"));
    }
    for variable in maps_in(container, "env") {
        let reference = variable.get_mut("valueFrom").and_then(|from| from.get_mut("fieldRef")).and_then(Value::as_object_mut);
        if let Some(reference) = reference {
            default(reference, "apiVersion", json!("v1"));
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(name).and_then(Value::as_object_mut) else {
            continue;
        };
        for (field, value) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)] {
            if probe.get(field).and_then(Value::as_i64).unwrap_or(0) == 0 {
                probe.insert(field.to_owned(), json!(value));
            }
        }
        if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
            default(get, "path", json!("/"));
            default(get, "scheme", json!("HTTP"));
        }
    }
}

fn volume_defaults(volume: &mut Map<String, Value>) {
    if volume.len() == 1 {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            default(source, "defaultMode", json!(0o644));
        }
    }
    if let Some(source) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        default(source, "type", json!(""));
    }
}

/// What admission gives a new pod: its account, its priority, its patience with unready nodes, its first status.
pub(super) fn admit(pod: &mut Value) {
    let class = quality_class(pod);
    let spec = section(pod, "spec");
    default(spec, "serviceAccountName", json!("default"));
    let account = spec["serviceAccountName"].clone();
    default(spec, "serviceAccount", account);
    default(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
    default(spec, "priority", json!(0));
    let tolerations = spec.entry("tolerations".to_owned()).or_insert_with(|| json!([]));
    if let Some(list) = tolerations.as_array_mut() {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            if !list.iter().any(|toleration| tolerates(toleration, key)) {
                list.push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }));
            }
        }
    }
    let _ = metadata(pod);
    super::reset_status(pod, json!({ "phase": "Pending", "qosClass": class }));
}

fn tolerates(toleration: &Value, key: &str) -> bool {
    let field = |name: &str| toleration.get(name).and_then(Value::as_str).unwrap_or_default();
    (field("key") == key || field("key").is_empty()) && matches!(field("effect"), "" | "NoExecute")
}

fn quality_class(pod: &Value) -> &'static str {
    let lists = ["/spec/containers", "/spec/initContainers"];
    let containers = || lists.iter().filter_map(|list| pod.pointer(list).and_then(Value::as_array)).flatten();
    let part = |container: &Value, name: &str| {
        container.pointer(&format!("/resources/{name}")).and_then(Value::as_object).cloned().unwrap_or_default()
    };
    if containers().all(|container| part(container, "limits").is_empty() && part(container, "requests").is_empty()) {
        return "BestEffort";
    }
    let guaranteed = containers().all(|container| {
        let (limits, requests) = (part(container, "limits"), part(container, "requests"));
        ["cpu", "memory"].iter().all(|name| limits.get(*name).is_some_and(|limit| requests.get(*name) == Some(limit)))
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}
