//! Reading objects strictly: along the fields of their kind, to find wrong types and unknown fields.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::event_view;
use super::messages::{Field, Message, name_of};
use super::request::Call;
use super::route::Target;
use crate::store::{ApiError, Resource, text};

/// What is done about fields that the kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    Ignore,
    Warn,
    Strict,
}

impl Strictness {
    pub(super) fn of(call: &Call) -> Result<Strictness, ApiError> {
        match call.query.get("fieldValidation") {
            None | Some("" | "Warn") => Ok(Strictness::Warn),
            Some("Ignore") => Ok(Strictness::Ignore),
            Some("Strict") => Ok(Strictness::Strict),
            Some(other) => {
                let message = format!("fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\"");
                Err(ApiError::bad_request(message))
            }
        }
    }
}

/// Checks that the object is of the target's kind and namespace, and returns it as it is to be stored, with warnings.
pub(super) fn object(target: &Target, mut object: Value, strictness: Strictness) -> Result<(Value, Vec<String>), ApiError> {
    let resource = target.resource;
    if !object.is_object() {
        return Err(ApiError::bad_request("the object provided is unrecognized (must be a JSON object)"));
    }
    let (version, kind) = (text(&object, "/apiVersion"), text(&object, "/kind"));
    if !kind.is_empty() && kind != resource.kind {
        let message = format!("{kind} in version {version:?} cannot be handled as a {}: no kind registered", resource.kind);
        return Err(ApiError::bad_request(message));
    }
    if !version.is_empty() && version != resource.api_version() {
        let message =
            format!("the API version in the data ({version}) does not match the expected API version ({})", resource.api_version());
        return Err(ApiError::bad_request(message));
    }
    if object.get("metadata").is_none_or(|metadata| !metadata.is_object()) {
        object["metadata"] = json!({});
    }
    if let Some(namespace) = &target.namespace {
        let said = text(&object, "/metadata/namespace");
        if !said.is_empty() && said != namespace {
            return Err(ApiError::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
        }
        object["metadata"]["namespace"] = json!(namespace);
    }
    let warnings = check(resource, &mut object, strictness)?;
    Ok((event_view::inward(resource, object), warnings))
}

/// Checks the shape of an object; returns the unknown fields as warnings unless they are an error. They are dropped, as a typed server drops them, and so are nulls.
pub(super) fn check(resource: &Resource, object: &mut Value, strictness: Strictness) -> Result<Vec<String>, ApiError> {
    numbers_to_quantities(object, false);
    let refuse = |why: String| {
        let kind = resource.kind;
        ApiError::bad_request(format!("{kind} in version {:?} cannot be handled as a {kind}: {why}", resource.version))
    };
    let unknown = Walk::over(resource, object).map_err(|error| refuse(format!("json: {error}")))?;
    if unknown.is_empty() || strictness == Strictness::Ignore {
        return Ok(Vec::new());
    }
    let listed: Vec<String> = unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
    if strictness == Strictness::Strict {
        return Err(refuse(format!("strict decoding error: {}", listed.join(", "))));
    }
    Ok(listed)
}

/// Quantities may be sent as numbers; they are kept as strings, as the real server keeps them.
fn numbers_to_quantities(value: &mut Value, quantities: bool) {
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                if quantities && child.is_number() {
                    *child = json!(child.to_string());
                } else if child.is_object() || child.is_array() {
                    let inner = matches!(key.as_str(), "limits" | "requests" | "capacity" | "allocatable" | "overhead");
                    numbers_to_quantities(child, inner);
                } else if key == "sizeLimit" && child.is_number() {
                    *child = json!(child.to_string());
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|child| numbers_to_quantities(child, false)),
        _ => {}
    }
}

/// Walks an object along its kind's fields. Drops the fields that the kind does not have, and gives their paths.
struct Walk {
    kind: &'static str,
    path: String,
    unknown: Vec<String>,
}

impl Walk {
    fn over(resource: &Resource, object: &mut Value) -> Result<Vec<String>, String> {
        let mut walk = Walk { kind: resource.kind, path: String::new(), unknown: Vec::new() };
        // A kind without a table is taken as it is.
        if let Some(message) = Message::named(&name_of(resource.group, resource.kind)) {
            walk.message(message, object, true)?;
        }
        Ok(walk.unknown)
    }

    /// `typed`: whether the object says its own apiVersion and kind.
    fn message(&mut self, message: &Message, value: &mut Value, typed: bool) -> Result<(), String> {
        let Some(fields) = value.as_object_mut() else { return Err(self.refused(value, "object")) };
        fields.retain(|_, child| !child.is_null());
        let mut unknown = Vec::new();
        for (key, child) in &mut *fields {
            let length = self.path.len();
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(key);
            match message.field(key) {
                Some(field) => self.field(field, child)?,
                None if typed && matches!(key.as_str(), "apiVersion" | "kind") => self.scalar("s", child)?,
                None => {
                    self.unknown.push(self.path.clone());
                    unknown.push(key.clone());
                }
            }
            self.path.truncate(length);
        }
        for key in unknown {
            fields.remove(&key);
        }
        Ok(())
    }

    fn field(&mut self, field: &Field, value: &mut Value) -> Result<(), String> {
        let length = self.path.len();
        if field.map {
            let Some(entries) = value.as_object_mut() else { return Err(self.refused(value, "map")) };
            for (key, child) in entries.iter_mut().filter(|(_, child)| !child.is_null()) {
                self.path.push('.');
                self.path.push_str(key);
                self.value(field.kind, child)?;
                self.path.truncate(length);
            }
        } else if field.repeated {
            let Some(items) = value.as_array_mut() else { return Err(self.refused(value, "list")) };
            for (index, child) in items.iter_mut().enumerate() {
                self.path.push_str(&format!("[{index}]"));
                self.value(field.kind, child)?;
                self.path.truncate(length);
            }
        } else {
            self.value(field.kind, value)?;
        }
        Ok(())
    }

    fn value(&mut self, kind: &'static str, value: &mut Value) -> Result<(), String> {
        match Message::named(kind) {
            // A claim template is a whole claim, which may say so.
            Some(message) => self.message(message, value, kind == "core.PersistentVolumeClaim"),
            None => self.scalar(kind, value),
        }
    }

    fn scalar(&self, kind: &str, value: &Value) -> Result<(), String> {
        let text = value.as_str();
        let (fits, wanted) = match kind {
            "s" => (text.is_some(), "string"),
            "b" => (value.is_boolean(), "bool"),
            "i" => (value.is_i64(), "integer"),
            "d" => (value.is_number(), "number"),
            "y" => (text.is_some_and(|text| STANDARD.decode(text).is_ok()), "base64 string"),
            "T" | "U" => (text.is_some_and(|text| text.parse::<Timestamp>().is_ok()), "RFC 3339 time"),
            "Q" => (text.is_some() || value.is_number(), "quantity"),
            "I" => (text.is_some() || value.is_i64(), "integer or string"),
            // Whatever stands in a raw extension or a field set is its owner's business.
            _ => (true, ""),
        };
        if fits { Ok(()) } else { Err(self.refused(value, wanted)) }
    }

    fn refused(&self, value: &Value, wanted: &str) -> String {
        let seen = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        format!("cannot unmarshal {seen} into field {}.{} of type {wanted}", self.kind, self.path)
    }
}
