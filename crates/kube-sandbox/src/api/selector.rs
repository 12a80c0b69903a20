//! Label and field selectors.

use serde_json::Value;

use crate::store::{ApiError, Resource};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
    Above(i64),
    Below(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

/// A label selector as text, such as `app=db,tier in (a, b),!old`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Labels(Vec<Requirement>);

impl Labels {
    pub(super) fn parse(text: &str) -> Result<Labels, ApiError> {
        let parts = split_outside_parentheses(text);
        let requirements = parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).map(requirement);
        requirements.collect::<Result<_, _>>().map(Labels)
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.0.iter().all(|requirement| {
            let value = labels.and_then(|labels| labels.get(&requirement.key)).and_then(Value::as_str);
            match &requirement.test {
                Test::In(wanted) => value.is_some_and(|value| wanted.iter().any(|wanted| wanted == value)),
                Test::NotIn(unwanted) => value.is_none_or(|value| !unwanted.iter().any(|unwanted| unwanted == value)),
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::Above(bound) => value.and_then(|value| value.parse::<i64>().ok()).is_some_and(|value| value > *bound),
                Test::Below(bound) => value.and_then(|value| value.parse::<i64>().ok()).is_some_and(|value| value < *bound),
            }
        })
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_usize, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Result<Requirement, ApiError> {
    let bad = || ApiError::bad_request(format!("unable to parse requirement: {part:?}"));
    let is_key =
        |key: &str| !key.is_empty() && key.len() <= 317 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte));
    let build = |key: &str, test: Test| {
        let key = key.trim();
        if is_key(key) { Ok(Requirement { key: key.to_owned(), test }) } else { Err(bad()) }
    };
    let value = |text: &str| {
        let text = text.trim();
        let valid = text.len() <= 63 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if valid { Ok(text.to_owned()) } else { Err(bad()) }
    };
    if let Some(key) = part.strip_prefix('!') {
        return build(key, Test::Missing);
    }
    if let Some((head, list)) = part.split_once('(') {
        let list = list.strip_suffix(')').ok_or_else(bad)?;
        let values = list.split(',').map(value).collect::<Result<Vec<_>, _>>()?;
        let mut words = head.split_whitespace();
        let (key, word) = (words.next().ok_or_else(bad)?, words.next().ok_or_else(bad)?);
        return match (word, words.next()) {
            ("in", None) => build(key, Test::In(values)),
            ("notin", None) => build(key, Test::NotIn(values)),
            _ => Err(bad()),
        };
    }
    for (sign, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, text)) = part.split_once(sign) {
            let values = vec![value(text)?];
            return build(key, if negated { Test::NotIn(values) } else { Test::In(values) });
        }
    }
    for (sign, above) in [('>', true), ('<', false)] {
        if let Some((key, text)) = part.split_once(sign) {
            let bound = text.trim().parse().map_err(|_| bad())?;
            return build(key, if above { Test::Above(bound) } else { Test::Below(bound) });
        }
    }
    build(part, Test::Exists)
}

/// A label selector as objects carry it: `matchLabels` and `matchExpressions`.
pub(super) fn matches_object_selector(selector: &Value, object: &Value) -> bool {
    let label = |key: &str| object.pointer("/metadata/labels").and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let mut equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let mut tests = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    equal.all(|(key, value)| label(key) == value.as_str())
        && tests.all(|test| {
            let found = label(test.get("key").and_then(Value::as_str).unwrap_or_default());
            let listed = found.is_some_and(|found| {
                test.get("values").and_then(Value::as_array).is_some_and(|list| list.iter().any(|value| value == found))
            });
            match test.get("operator").and_then(Value::as_str) {
                Some("In") => listed,
                Some("NotIn") => !listed,
                Some("Exists") => found.is_some(),
                Some("DoesNotExist") => found.is_none(),
                _ => false,
            }
        })
}

/// A field selector, such as `spec.nodeName=n1,status.phase!=Failed`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, bool, String)>);

impl Fields {
    pub(super) fn parse(resource: &Resource, text: &str) -> Result<Fields, ApiError> {
        let mut terms = Vec::new();
        for part in split_unescaped(text).into_iter().filter(|part| !part.is_empty()) {
            let (key, equal, value) = if let Some((key, value)) = part.split_once("!=") {
                (key, false, value)
            } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (key, true, value)
            } else {
                return Err(ApiError::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            if !supported(resource, key) {
                return Err(ApiError::bad_request(format!("field label not supported: {key}")));
            }
            let pointer = format!("/{}", stored_path(key).replace('.', "/"));
            terms.push((pointer, equal, value.replace("\\,", ",").replace("\\=", "=").replace("\\\\", "\\")));
        }
        Ok(Fields(terms))
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(pointer, equal, wanted)| (plain(object, pointer) == *wanted) == *equal)
    }
}

fn split_unescaped(text: &str) -> Vec<String> {
    let (mut parts, mut current, mut escaped) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        if letter == ',' && !escaped {
            parts.push(std::mem::take(&mut current));
        } else {
            current.push(letter);
        }
        escaped = letter == '\\' && !escaped;
    }
    parts.push(current);
    parts
}

/// Fields of `events.k8s.io` events are stored under the names of core events.
fn stored_path(key: &str) -> String {
    match key {
        "reportingController" => "reportingComponent".to_owned(),
        "source" => "source.component".to_owned(),
        other => other.strip_prefix("regarding.").map_or_else(|| other.to_owned(), |rest| format!("involvedObject.{rest}")),
    }
}

fn plain(object: &Value, pointer: &str) -> String {
    match object.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        _ if matches!(pointer, "/spec/unschedulable" | "/spec/hostNetwork") => "false".to_owned(),
        _ if pointer == "/status/replicas" => "0".to_owned(),
        _ => String::new(),
    }
}

fn supported(resource: &Resource, key: &str) -> bool {
    if key == "metadata.name" || (key == "metadata.namespace" && resource.namespaced) {
        return true;
    }
    let more: &[&str] = match resource.plural {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "events" if resource.group.is_empty() => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "events" => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        "secrets" => &["type"],
        "namespaces" => &["status.phase"],
        "nodes" => &["spec.unschedulable"],
        "services" => &["spec.clusterIP", "spec.type"],
        "replicasets" => &["status.replicas"],
        _ => &[],
    };
    more.contains(&key)
}

/// Both selectors of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selection {
    labels: Labels,
    fields: Fields,
}

impl Selection {
    pub(super) fn of(resource: &Resource, query: &super::request::Query) -> Result<Selection, ApiError> {
        Ok(Selection {
            labels: Labels::parse(query.get("labelSelector").unwrap_or_default())?,
            fields: Fields::parse(resource, query.get("fieldSelector").unwrap_or_default())?,
        })
    }

    /// Narrows the selection to one name.
    pub(super) fn named(mut self, name: &str) -> Selection {
        self.fields.0.push(("/metadata/name".to_owned(), true, name.to_owned()));
        self
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        self.labels.matches(object) && self.fields.matches(object)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
    use serde_json::json;

    use super::*;
    use crate::store::PODS;

    #[test]
    fn labels_by_equality_and_by_set() {
        let object = json!({ "metadata": { "labels": { "app": "db", "tier": "a", "n": "7" } } });
        for (text, expected) in [
            ("", true),
            ("app=db", true),
            ("app==db,tier!=b", true),
            ("app!=db", false),
            ("other!=x", true),
            ("tier in (a, b)", true),
            ("tier notin (a,b)", false),
            ("app,!old", true),
            ("!app", false),
            ("n>6", true),
            ("n<7", false),
        ] {
            assert_eq!(Labels::parse(text).unwrap().matches(&object), expected, "{text}");
        }
        for text in ["a==b=c", "x in a", "(a)", "a b", "tier in (a"] {
            assert_eq!(Labels::parse(text).unwrap_err().code, 400, "{text}");
        }
    }

    #[test]
    fn fields_that_the_real_server_knows() {
        let pod = json!({ "metadata": { "name": "p" }, "spec": { "nodeName": "n" }, "status": { "phase": "Running" } });
        let fields = Fields::parse(&PODS, "spec.nodeName=n,status.phase!=Failed,status.phase!=Succeeded").unwrap();
        assert!(fields.matches(&pod));
        assert!(!Fields::parse(&PODS, "metadata.name=q").unwrap().matches(&pod));
        assert_eq!(Fields::parse(&PODS, "spec.foo=1").unwrap_err().message, "field label not supported: spec.foo");
    }
}
