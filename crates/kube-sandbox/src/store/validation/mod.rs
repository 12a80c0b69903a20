//! What the real server refuses: one cause for each mistake, all mistakes at once, in the real server's words where people see them.

mod metadata;
mod pod;
mod service;
mod storage;
mod workload;

use serde_json::Value;

use super::error::{ApiError, Cause};
use super::metadata::text;
use super::resource::Resource;

/// The mistakes found so far.
#[derive(Debug, Default)]
struct Report(Vec<Cause>);

impl Report {
    fn required(&mut self, field: impl Into<String>, why: &str) {
        let message = if why.is_empty() { "Required value".to_owned() } else { format!("Required value: {why}") };
        self.0.push(Cause { reason: "FieldValueRequired", message, field: field.into() });
    }

    fn invalid(&mut self, field: impl Into<String>, value: &Value, why: &str) {
        self.0.push(Cause { reason: "FieldValueInvalid", message: format!("Invalid value: {value}: {why}"), field: field.into() });
    }

    fn forbidden(&mut self, field: impl Into<String>, why: &str) {
        self.0.push(Cause { reason: "FieldValueForbidden", message: format!("Forbidden: {why}"), field: field.into() });
    }

    fn duplicate(&mut self, field: impl Into<String>, value: &Value) {
        self.0.push(Cause { reason: "FieldValueDuplicate", message: format!("Duplicate value: {value}"), field: field.into() });
    }

    fn missing(&mut self, field: impl Into<String>, value: &Value) {
        self.0.push(Cause { reason: "FieldValueNotFound", message: format!("Not found: {value}"), field: field.into() });
    }

    /// Refuses a value that is present and not one of those that are known.
    fn one_of(&mut self, field: impl Into<String>, value: &Value, known: &[&str]) {
        if value.is_null() || value.as_str().is_some_and(|value| known.contains(&value)) {
            return;
        }
        let listed: Vec<String> = known.iter().map(|known| format!("{known:?}")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", listed.join(", "));
        self.0.push(Cause { reason: "FieldValueNotSupported", message, field: field.into() });
    }

    /// Refuses a number below zero.
    fn not_negative(&mut self, field: impl Into<String>, value: &Value) {
        if value.as_i64().is_some_and(|number| number < 0) {
            self.invalid(field, value, "must be greater than or equal to 0");
        }
    }

    /// Refuses any change of a field.
    fn unchanged(&mut self, field: &str, old: &Value, new: &Value) {
        let pointer = format!("/{}", field.replace('.', "/"));
        let (old, new) = (old.pointer(&pointer).unwrap_or(&Value::Null), new.pointer(&pointer).unwrap_or(&Value::Null));
        if old != new {
            self.invalid(field, new, "field is immutable");
        }
    }

    fn finish(self, resource: &Resource, object: &Value) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::invalid(resource, text(object, "/metadata/name"), self.0)) }
    }
}

/// Checks a new object, defaults filled in.
pub(super) fn check_new(resource: &Resource, object: &Value) -> Result<(), ApiError> {
    let mut report = Report::default();
    metadata::check(resource, object, &mut report);
    content(resource, object, &mut report);
    report.finish(resource, object)
}

/// Checks a change of an object by the API.
pub(super) fn check_change(resource: &Resource, old: &Value, new: &Value) -> Result<(), ApiError> {
    if old == new {
        return Ok(());
    }
    let mut report = Report::default();
    metadata::check(resource, new, &mut report);
    metadata::check_change(old, new, &mut report);
    match resource.plural {
        "pods" => pod::check_change(old, new, &mut report),
        "deployments" | "replicasets" | "daemonsets" => report.unchanged("spec.selector", old, new),
        "statefulsets" => workload::check_stateful_set_change(old, new, &mut report),
        "services" => service::check_change(old, new, &mut report),
        "persistentvolumeclaims" => storage::check_claim_change(old, new, &mut report),
        "persistentvolumes" => storage::check_volume_change(old, new, &mut report),
        "storageclasses" => {
            ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"].iter().for_each(|field| report.unchanged(field, old, new))
        }
        "secrets" | "configmaps" => storage::check_data_change(old, new, &mut report),
        "endpointslices" => report.unchanged("addressType", old, new),
        _ => {}
    }
    content(resource, new, &mut report);
    report.finish(resource, new)
}

fn content(resource: &Resource, object: &Value, report: &mut Report) {
    match resource.plural {
        "pods" => pod::check("spec", &object["spec"], &[], report),
        "deployments" => workload::deployment(object, report),
        "replicasets" => workload::replica_set(object, report),
        "statefulsets" => workload::stateful_set(object, report),
        "daemonsets" => workload::daemon_set(object, report),
        "poddisruptionbudgets" => workload::disruption_budget(object, report),
        "services" => service::check(object, report),
        "endpointslices" => service::check_slice(object, report),
        "persistentvolumeclaims" => storage::claim(object, report),
        "persistentvolumes" => storage::volume(object, report),
        "storageclasses" => storage::class(object, report),
        "secrets" | "configmaps" => storage::data(object, report),
        "nodes" => workload::node(object, report),
        "events" => workload::event(object, report),
        "leases" => workload::lease(object, report),
        _ => {}
    }
}
