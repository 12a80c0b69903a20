//! Names, labels, annotations, owners, finalizers.

use serde_json::{Value, json};

use super::super::metadata::text;
use super::super::resource::Resource;
use super::Report;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

fn is_label_bytes(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Refuses what is no RFC 1123 label.
pub(super) fn label(field: &str, value: &str, report: &mut Report) {
    if !is_label_bytes(value) {
        report.invalid(field, &json!(value), LABEL);
    } else if value.len() > 63 {
        report.invalid(field, &json!(value), "must be no more than 63 characters");
    }
}

/// Refuses what is no RFC 1123 subdomain.
pub(super) fn subdomain(field: &str, value: &str, report: &mut Report) {
    if !value.split('.').all(is_label_bytes) {
        report.invalid(field, &json!(value), SUBDOMAIN);
    } else if value.len() > 253 {
        report.invalid(field, &json!(value), "must be no more than 253 characters");
    }
}

fn is_word(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && bytes.len() <= 63
}

/// Whether a text is a name with an optional domain before it, such as `app` or `example.com/app`.
pub(super) fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((domain, name)) => domain.split('.').all(is_label_bytes) && domain.len() <= 253 && is_word(name),
        None => is_word(text),
    }
}

/// Checks a map of labels.
pub(super) fn labels(field: &str, labels: &Value, report: &mut Report) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if !is_qualified(key) {
            report.invalid(field, &json!(key), QUALIFIED);
        }
        let value = value.as_str().unwrap_or_default();
        if !value.is_empty() && !is_word(value) {
            report.invalid(field, &json!(value), LABEL_VALUE);
        }
    }
}

fn name(resource: &Resource, name: &str, report: &mut Report) {
    const FIELD: &str = "metadata.name";
    if name.is_empty() {
        report.required(FIELD, "name or generateName is required");
        return;
    }
    match resource.plural {
        "namespaces" => label(FIELD, name, report),
        "services" => {
            if !is_label_bytes(name) || !name.starts_with(|letter: char| letter.is_ascii_lowercase()) {
                report.invalid(FIELD, &json!(name), LABEL_1035);
            } else if name.len() > 63 {
                report.invalid(FIELD, &json!(name), "must be no more than 63 characters");
            }
        }
        _ if resource.group == "rbac.authorization.k8s.io" => {
            if name == "." || name == ".." || name.contains(['/', '%']) {
                report.invalid(FIELD, &json!(name), "may not be '.', '..' or contain '/' or '%'");
            }
        }
        _ => subdomain(FIELD, name, report),
    }
}

/// Checks an object's metadata.
pub(super) fn check(resource: &Resource, object: &Value, report: &mut Report) {
    name(resource, text(object, "/metadata/name"), report);
    if resource.namespaced {
        label("metadata.namespace", text(object, "/metadata/namespace"), report);
    }
    let metadata = &object["metadata"];
    labels("metadata.labels", &metadata["labels"], report);
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        if !is_qualified(&key.to_lowercase()) {
            report.invalid("metadata.annotations", &json!(key), QUALIFIED);
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_BYTES_MAX {
        let message = format!("Too long: may not be more than {ANNOTATIONS_BYTES_MAX} bytes");
        report.0.push(super::Cause { reason: "FieldValueTooLong", message, field: "metadata.annotations".to_owned() });
    }
    for (index, owner) in metadata["ownerReferences"].as_array().into_iter().flatten().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &format!("/{field}")).is_empty() {
                report.invalid(format!("metadata.ownerReferences[{index}].{field}"), &json!(""), "must not be empty");
            }
        }
    }
    for (index, finalizer) in metadata["finalizers"].as_array().into_iter().flatten().enumerate() {
        if !finalizer.as_str().is_some_and(is_qualified) {
            report.invalid(format!("metadata.finalizers[{index}]"), finalizer, QUALIFIED);
        }
    }
}

/// Checks a change of an object's metadata.
pub(super) fn check_change(old: &Value, new: &Value, report: &mut Report) {
    if old.pointer("/metadata/deletionTimestamp").is_none() {
        return;
    }
    let had = old["metadata"]["finalizers"].as_array();
    let added =
        new["metadata"]["finalizers"].as_array().into_iter().flatten().filter(|finalizer| had.is_none_or(|had| !had.contains(finalizer)));
    let added: Vec<String> = added.map(Value::to_string).collect();
    if !added.is_empty() {
        let why =
            format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}", added.join(", "));
        report.forbidden("metadata.finalizers", &why);
    }
}
