//! Claims, volumes, classes, secrets and config maps.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::metadata::text;
use super::Report;

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const DATA_BYTES_MAX: usize = 1024 * 1024;

/// The value of a quantity such as `500m`, `8Gi` or `1e3`; `None` when it is none.
fn amount(text: &str) -> Option<f64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && !matches!(letter, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let factor = match unit {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0_f64.powi(2),
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        exponent => 10.0_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number * factor)
}

/// Refuses what is no quantity or a negative one.
pub(super) fn quantity(field: &str, value: &Value, report: &mut Report) -> Option<f64> {
    let amount = value.as_str().and_then(amount);
    match amount {
        None => report.invalid(field, value, QUANTITY),
        Some(amount) if amount < 0.0 => report.invalid(field, value, "must be greater than or equal to 0"),
        Some(_) => {}
    }
    amount
}

fn modes(object: &Value, report: &mut Report) {
    let list = object["spec"]["accessModes"].as_array().map_or(&[][..], Vec::as_slice);
    if list.is_empty() {
        report.required("spec.accessModes", "at least 1 access mode is required");
    }
    for mode in list {
        report.one_of("spec.accessModes", mode, &MODES);
    }
    if list.len() > 1 && list.contains(&json!("ReadWriteOncePod")) {
        report.forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes");
    }
}

pub(super) fn claim(object: &Value, report: &mut Report) {
    modes(object, report);
    let field = "spec.resources.requests.storage";
    match object.pointer("/spec/resources/requests/storage") {
        None => report.required("spec.resources[storage]", ""),
        Some(size) => {
            if quantity(field, size, report) == Some(0.0) {
                report.invalid(field, size, "must be greater than zero");
            }
        }
    }
    report.one_of("spec.volumeMode", &object["spec"]["volumeMode"], &["Block", "Filesystem"]);
}

pub(super) fn check_claim_change(old: &Value, new: &Value, report: &mut Report) {
    let fixed = |object: &Value| {
        let mut spec = object["spec"].clone();
        if let Some(map) = spec.as_object_mut() {
            map.remove("resources");
            map.remove("volumeAttributesClassName");
        }
        spec
    };
    let (had, mut has) = (fixed(old), fixed(new));
    // The one field that may still be filled in: an unbound claim's volume.
    if text(old, "/spec/volumeName").is_empty()
        && let Some(map) = has.as_object_mut()
    {
        map.remove("volumeName");
    }
    if had != has {
        report
            .forbidden("spec", "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims");
    }
    let size = |object: &Value| object.pointer("/spec/resources/requests/storage").and_then(Value::as_str).and_then(amount);
    if let (Some(had), Some(has)) = (size(old), size(new))
        && has < had
    {
        report.forbidden("spec.resources.requests.storage", "field can not be less than previous value");
    }
}

/// Fields of a volume's spec that are not its source.
const VOLUME_FIELDS: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

fn source(object: &Value) -> Vec<(&String, &Value)> {
    object["spec"].as_object().into_iter().flatten().filter(|(key, _)| !VOLUME_FIELDS.contains(&key.as_str())).collect()
}

pub(super) fn volume(object: &Value, report: &mut Report) {
    modes(object, report);
    match object.pointer("/spec/capacity/storage") {
        None => report.required("spec.capacity", ""),
        Some(size) => {
            quantity("spec.capacity[storage]", size, report);
        }
    }
    match source(object).len() {
        0 => report.required("spec", "must specify a volume type"),
        1 => {}
        _ => report.forbidden("spec", "may not specify more than 1 volume type"),
    }
    report.one_of("spec.persistentVolumeReclaimPolicy", &object["spec"]["persistentVolumeReclaimPolicy"], &["Delete", "Recycle", "Retain"]);
    report.one_of("spec.volumeMode", &object["spec"]["volumeMode"], &["Block", "Filesystem"]);
}

pub(super) fn check_volume_change(old: &Value, new: &Value, report: &mut Report) {
    if source(old) != source(new) {
        report.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation");
    }
    if !old["spec"]["nodeAffinity"].is_null() {
        report.unchanged("spec.nodeAffinity", old, new);
    }
}

pub(super) fn class(object: &Value, report: &mut Report) {
    if text(object, "/provisioner").is_empty() {
        report.required("provisioner", "");
    }
    report.one_of("reclaimPolicy", &object["reclaimPolicy"], &["Delete", "Retain"]);
    report.one_of("volumeBindingMode", &object["volumeBindingMode"], &["Immediate", "WaitForFirstConsumer"]);
}

pub(super) fn data(object: &Value, report: &mut Report) {
    let secret = object["kind"] == "Secret";
    let mut size = 0;
    for (part, encoded) in [("data", secret), ("binaryData", true)] {
        for (key, value) in object[part].as_object().into_iter().flatten() {
            let field = format!("{part}[{key}]");
            let valid =
                key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) && !matches!(key.as_str(), "" | "." | "..");
            if !valid || key.len() > 253 {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                report.invalid(field.clone(), &json!(key), why);
            }
            let text = value.as_str().unwrap_or_default();
            match encoded.then(|| STANDARD.decode(text)) {
                Some(Err(_)) => report.invalid(field, &json!("<binary>"), "must be base64"),
                Some(Ok(bytes)) => size += bytes.len(),
                None => size += text.len(),
            }
        }
    }
    if size > DATA_BYTES_MAX {
        let message = format!("Too long: may not be more than {DATA_BYTES_MAX} bytes");
        report.0.push(super::Cause { reason: "FieldValueTooLong", message, field: "data".to_owned() });
    }
}

pub(super) fn check_data_change(old: &Value, new: &Value, report: &mut Report) {
    if old["kind"] == "Secret" {
        report.unchanged("type", old, new);
    }
    if old["immutable"] == true {
        if new["immutable"] != true {
            report.forbidden("immutable", "field is immutable when `immutable` is set");
        }
        for field in ["data", "binaryData"] {
            if old[field] != new[field] {
                report.forbidden(field, "field is immutable when `immutable` is set");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::amount;

    #[test]
    fn quantities() {
        for (text, expected) in [
            ("1", Some(1.0)),
            ("500m", Some(0.5)),
            ("8Gi", Some(8_589_934_592.0)),
            ("1e3", Some(1000.0)),
            ("1.5M", Some(1.5e6)),
            ("-1", Some(-1.0)),
            ("", None),
            ("x", None),
            ("8GB", None),
        ] {
            assert_eq!(amount(text), expected, "{text}");
        }
    }
}
