//! How single values are shown.

use jiff::Timestamp;
use serde_json::Value;

use crate::store::text;

/// The time since the object was created.
pub(super) fn age(object: &Value) -> String {
    since(text(object, "/metadata/creationTimestamp"))
}

/// The time since a timestamp.
pub(super) fn since(timestamp: &str) -> String {
    let Ok(then) = timestamp.parse::<Timestamp>() else {
        return "<unknown>".to_owned();
    };
    duration((Timestamp::now().as_millisecond() - then.as_millisecond()).div_euclid(1000))
}

/// Seconds as Kubernetes shows them: two units at most, one where the second says little.
pub(super) fn duration(seconds: i64) -> String {
    let two = |big: i64, unit: &str, small: i64, second: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{second}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(hours / 24, "d", hours % 24, "h"),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// The items of a list, empty when there is none.
pub(super) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The number at a pointer, 0 when there is none.
pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The text, or a word for its absence.
pub(super) fn or<'a>(value: &'a str, absent: &'a str) -> &'a str {
    if value.is_empty() { absent } else { value }
}

/// Labels as text, `<none>` when there are none.
pub(super) fn labels_text(labels: &Value) -> String {
    let labels: Vec<String> =
        labels.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    or(&labels.join(","), "<none>").to_owned()
}

/// A label selector as text; empty for one that chooses everything.
pub(in super::super) fn selector_text(selector: &Value) -> String {
    let equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let mut parts: Vec<String> = equal.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    for test in items(selector, "/matchExpressions") {
        let key = text(test, "/key");
        let values: Vec<&str> = items(test, "/values").iter().filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match text(test, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

/// Access modes in their short form.
pub(super) fn access_modes(list: &[Value]) -> String {
    let short = |mode: &Value| match mode.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "",
    };
    list.iter().map(short).collect::<Vec<_>>().join(",")
}

/// At most three of a list, and how many more there are.
pub(super) fn first_three(values: &[String], absent: &str) -> String {
    match values.len() {
        0 => absent.to_owned(),
        1..=3 => values.join(","),
        more => format!("{} + {} more...", values[..3].join(","), more - 3),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_as_kubectl_shows_them() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 120, "3h2m"),
            (9 * 3600 + 120, "9h"),
            (50 * 3600, "2d2h"),
            (30 * 86400, "30d"),
        ] {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }
}
