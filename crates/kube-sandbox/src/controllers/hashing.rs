//! The short names that templates get: `web-7498d9b67d`.

use serde_json::Value;

/// The alphabet in which Kubernetes writes hashes; it spells no words.
const HASH_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A short name for a template, stable for as long as the template is the same.
pub(super) fn template_hash(template: &Value, collisions: i64) -> String {
    // FNV-1a with 32 bits, over the template with its keys in order.
    let mut hash: u32 = 0x811c_9dc5;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    feed(canonical(template).as_bytes());
    if collisions > 0 {
        feed(&collisions.to_le_bytes());
    }
    hash.to_string().bytes().map(|byte| char::from(HASH_ALPHABET[usize::from(byte) % HASH_ALPHABET.len()])).collect()
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let inner: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key:?}:{}", canonical(value))).collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::template_hash;
    use serde_json::json;

    #[test]
    fn a_hash_depends_on_the_template_and_on_collisions_alone() {
        let template = json!({ "spec": { "a": 1, "b": [1, 2] } });
        assert_eq!(template_hash(&template, 0), template_hash(&json!({ "spec": { "b": [1, 2], "a": 1 } }), 0));
        assert_ne!(template_hash(&template, 0), template_hash(&json!({ "spec": { "a": 1, "b": [2, 1] } }), 0));
        assert_ne!(template_hash(&template, 0), template_hash(&template, 1));
    }
}
