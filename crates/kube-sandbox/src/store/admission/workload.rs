//! Defaults of the controllers of group `apps`.

use serde_json::{Map, Value, json};

use super::super::metadata::section;
use super::{default, map_in, pod};

fn template(spec: &mut Map<String, Value>) {
    let template = map_in(spec, "template");
    let _ = map_in(template, "metadata");
    pod::defaults(map_in(template, "spec"), false);
}

pub(super) fn deployment(object: &mut Value) {
    let spec = section(object, "spec");
    default(spec, "replicas", json!(1));
    default(spec, "revisionHistoryLimit", json!(10));
    default(spec, "progressDeadlineSeconds", json!(600));
    let strategy = map_in(spec, "strategy");
    default(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        let rolling = map_in(strategy, "rollingUpdate");
        default(rolling, "maxUnavailable", json!("25%"));
        default(rolling, "maxSurge", json!("25%"));
    }
    template(spec);
}

pub(super) fn replica_set(object: &mut Value) {
    let spec = section(object, "spec");
    default(spec, "replicas", json!(1));
    template(spec);
}

pub(super) fn stateful_set(object: &mut Value) {
    let spec = section(object, "spec");
    default(spec, "replicas", json!(1));
    default(spec, "revisionHistoryLimit", json!(10));
    default(spec, "podManagementPolicy", json!("OrderedReady"));
    let strategy = map_in(spec, "updateStrategy");
    default(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        default(map_in(strategy, "rollingUpdate"), "partition", json!(0));
    }
    let retention = map_in(spec, "persistentVolumeClaimRetentionPolicy");
    default(retention, "whenDeleted", json!("Retain"));
    default(retention, "whenScaled", json!("Retain"));
    template(spec);
    for claim in super::maps_in(spec, "volumeClaimTemplates") {
        default(claim, "apiVersion", json!("v1"));
        default(claim, "kind", json!("PersistentVolumeClaim"));
        default(map_in(claim, "spec"), "volumeMode", json!("Filesystem"));
        default(map_in(claim, "status"), "phase", json!("Pending"));
    }
}

pub(super) fn daemon_set(object: &mut Value) {
    let spec = section(object, "spec");
    default(spec, "revisionHistoryLimit", json!(10));
    let strategy = map_in(spec, "updateStrategy");
    default(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        let rolling = map_in(strategy, "rollingUpdate");
        default(rolling, "maxUnavailable", json!(1));
        default(rolling, "maxSurge", json!(0));
    }
    template(spec);
}
