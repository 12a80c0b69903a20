//! Failures as the API reports them: Kubernetes' `Status` object.

use serde_json::{Value, json};

use super::resource::Resource;

/// One reason among several why an object was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable reason, such as `FieldValueRequired`.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
    /// The path of the field, such as `spec.containers[0].name`.
    pub field: String,
}

/// What the failure is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// Group of the resource; empty for the core group.
    pub group: String,
    /// Plural of the resource, or the kind for invalid objects.
    pub kind: String,
    /// UID of the object.
    pub uid: String,
    /// The single reasons.
    pub causes: Vec<Cause>,
    /// When a retry makes sense.
    pub retry_after_seconds: Option<u32>,
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub code: u16,
    /// Kubernetes' machine-readable reason, such as `NotFound`.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
}

impl ApiError {
    /// A failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { code, reason, message: message.into(), details: None }
    }

    fn about(code: u16, reason: &'static str, message: String, resource: &Resource, name: &str) -> ApiError {
        let details =
            Details { name: name.to_owned(), group: resource.group.to_owned(), kind: resource.plural.to_owned(), ..Details::default() };
        ApiError { code, reason, message, details: Some(Box::new(details)) }
    }

    /// 404.
    pub fn not_found(resource: &Resource, name: &str) -> ApiError {
        ApiError::about(404, "NotFound", format!("{} {name:?} not found", resource.qualified()), resource, name)
    }

    /// 409, the name is taken.
    pub fn already_exists(resource: &Resource, name: &str) -> ApiError {
        ApiError::about(409, "AlreadyExists", format!("{} {name:?} already exists", resource.qualified()), resource, name)
    }

    /// 409, the object is not what the caller thinks it is.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> ApiError {
        ApiError::about(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource.qualified()),
            resource,
            name,
        )
    }

    /// 409, someone else changed the object since the caller read it.
    pub fn modified(resource: &Resource, name: &str) -> ApiError {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        ApiError::conflict(resource, name, why)
    }

    /// 403.
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> ApiError {
        ApiError::about(403, "Forbidden", format!("{} {name:?} is forbidden: {why}", resource.qualified()), resource, name)
    }

    /// 410, the history needed is no longer kept.
    pub fn gone(wanted: u64, oldest: u64) -> ApiError {
        ApiError::new(410, "Expired", format!("too old resource version: {wanted} ({oldest})"))
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "BadRequest", message)
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(500, "InternalError", message)
    }

    /// 501, real Kubernetes can do this and the sandbox cannot.
    pub fn not_implemented(message: impl Into<String>) -> ApiError {
        ApiError::new(501, "NotImplemented", message)
    }

    /// 422 with one cause for each mistake.
    pub fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> ApiError {
        let kind = if resource.group.is_empty() { resource.kind.to_owned() } else { format!("{}.{}", resource.kind, resource.group) };
        let mut listed: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let listed = if listed.len() == 1 { listed.remove(0) } else { format!("[{}]", listed.join(", ")) };
        let details = Details {
            name: name.to_owned(),
            group: resource.group.to_owned(),
            kind: resource.kind.to_owned(),
            causes,
            ..Details::default()
        };
        let message = format!("{kind} {name:?} is invalid: {listed}");
        ApiError { code: 422, reason: "Invalid", message, details: Some(Box::new(details)) }
    }

    /// The same failure with causes added.
    #[must_use]
    pub fn with_causes(mut self, causes: Vec<Cause>) -> ApiError {
        self.details.get_or_insert_default().causes = causes;
        self
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = details.json();
        }
        status
    }
}

impl Details {
    fn json(&self) -> Value {
        let mut out = serde_json::Map::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !text.is_empty() {
                out.insert(key.to_owned(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            let causes: Vec<Value> = self.causes.iter().map(Cause::json).collect();
            out.insert("causes".to_owned(), json!(causes));
        }
        if let Some(seconds) = self.retry_after_seconds {
            out.insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        Value::Object(out)
    }
}

impl Cause {
    fn json(&self) -> Value {
        let mut out = serde_json::Map::new();
        for (key, text) in [("reason", self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                out.insert(key.to_owned(), json!(text));
            }
        }
        Value::Object(out)
    }
}
