//! What the real server refuses: one cause for each mistake, all mistakes at once.

use serde_json::Value;

use super::error::{ApiError, Cause};
use super::metadata::text;
use super::resource::Resource;

/// Checks a new object, defaults filled in.
pub(super) fn check_new(resource: &Resource, object: &Value) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    if text(object, "/metadata/name").is_empty() {
        causes.push(Cause {
            reason: "FieldValueRequired",
            message: "Required value: name or generateName is required".to_owned(),
            field: "metadata.name".to_owned(),
        });
    }
    finish(resource, object, causes)
}

/// Checks a change of an object by the API.
pub(super) fn check_change(resource: &Resource, _old: &Value, new: &Value) -> Result<(), ApiError> {
    finish(resource, new, Vec::new())
}

fn finish(resource: &Resource, object: &Value, causes: Vec<Cause>) -> Result<(), ApiError> {
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid(resource, text(object, "/metadata/name"), causes)) }
}
