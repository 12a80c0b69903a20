//! JSON patch, RFC 6902.

use serde_json::Value;

use crate::store::ApiError;

/// As the real server's limit.
const OPERATIONS_MAX: usize = 10_000;

fn unprocessable(message: String) -> ApiError {
    ApiError::new(422, "Invalid", format!("the server rejected our request due to an error in our request: {message}"))
}

/// Applies the operations in order. Nothing may be kept of the target when one fails.
pub(in super::super) fn apply(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let operations = patch.as_array().ok_or_else(|| ApiError::bad_request("a JSON patch is a list of operations"))?;
    if operations.len() > OPERATIONS_MAX {
        let message = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len());
        return Err(ApiError::new(413, "RequestEntityTooLarge", message));
    }
    operations.iter().try_for_each(|operation| one(target, operation))
}

fn one(target: &mut Value, operation: &Value) -> Result<(), ApiError> {
    let field = |name: &str| operation.get(name).and_then(Value::as_str);
    let need = |name: &str| field(name).ok_or_else(|| ApiError::bad_request(format!("a JSON patch operation lacks {name:?}")));
    let value = || operation.get("value").cloned().ok_or_else(|| ApiError::bad_request("a JSON patch operation lacks \"value\""));
    let path = need("path")?;
    let found = |target: &Value, path: &str| target.pointer(path).cloned().ok_or_else(|| unprocessable(format!("{path} does not exist")));
    match need("op")? {
        "add" => add(target, path, value()?),
        "remove" => remove(target, path).map(drop),
        "replace" => {
            let value = value()?;
            *target.pointer_mut(path).ok_or_else(|| unprocessable(format!("{path} does not exist")))? = value;
            Ok(())
        }
        "test" => {
            if found(target, path)? == value()? {
                Ok(())
            } else {
                Err(unprocessable(format!("testing value {path} failed")))
            }
        }
        "copy" => {
            let copied = found(target, need("from")?)?;
            add(target, path, copied)
        }
        "move" => {
            let from = need("from")?;
            if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                return Err(unprocessable(format!("{from} cannot be moved into itself")));
            }
            let moved = remove(target, from)?;
            add(target, path, moved)
        }
        other => Err(ApiError::bad_request(format!("unknown JSON patch operation {other:?}"))),
    }
}

fn parent<'a, 'b>(target: &'a mut Value, path: &'b str) -> Result<(&'a mut Value, &'b str), ApiError> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| unprocessable(format!("{path:?} is not a path")))?;
    let parent = target.pointer_mut(parent).ok_or_else(|| unprocessable(format!("{path} does not exist")))?;
    Ok((parent, last))
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn position(token: &str, limit: usize) -> Option<usize> {
    let plain = token == "0" || !token.starts_with(['0', '+']);
    token.parse().ok().filter(|index| plain && *index <= limit)
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), ApiError> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let (parent, last) = parent(target, path)?;
    match parent {
        Value::Object(map) => {
            map.insert(unescape(last), value);
        }
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => {
            let index = position(last, list.len()).ok_or_else(|| unprocessable(format!("{path} is out of bounds")))?;
            list.insert(index, value);
        }
        _ => return Err(unprocessable(format!("{path} does not exist"))),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str) -> Result<Value, ApiError> {
    let missing = || unprocessable(format!("{path} does not exist"));
    let (parent, last) = parent(target, path)?;
    match parent {
        Value::Object(map) => map.remove(&unescape(last)).ok_or_else(missing),
        Value::Array(list) => {
            let index = position(last, list.len()).filter(|index| *index < list.len()).ok_or_else(missing)?;
            Ok(list.remove(index))
        }
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
    use serde_json::json;

    use super::*;

    #[test]
    fn every_operation() {
        let mut value = json!({ "a": [1, 2], "m/n": { "x~y": 1 } });
        let patch = json!([
            { "op": "test", "path": "/a/0", "value": 1 },
            { "op": "add", "path": "/a/1", "value": 9 },
            { "op": "add", "path": "/a/-", "value": 7 },
            { "op": "remove", "path": "/a/0" },
            { "op": "replace", "path": "/m~1n/x~0y", "value": 5 },
            { "op": "copy", "from": "/a/0", "path": "/b" },
            { "op": "move", "from": "/b", "path": "/c" },
        ]);
        apply(&mut value, &patch).unwrap();
        assert_eq!(value, json!({ "a": [9, 2, 7], "m/n": { "x~y": 5 }, "c": 9 }));
        for bad in [
            json!([{ "op": "test", "path": "/c", "value": 1 }]),
            json!([{ "op": "remove", "path": "/nope" }]),
            json!([{ "op": "add", "path": "/a/9", "value": 1 }]),
            json!([{ "op": "move", "from": "/a", "path": "/a/0" }]),
        ] {
            assert_eq!(apply(&mut value.clone(), &bad).unwrap_err().code, 422, "{bad}");
        }
        assert_eq!(apply(&mut value, &json!({})).unwrap_err().code, 400);
    }
}
