//! Small readings and writings of an object's metadata.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The present in the API's format, whole seconds.
pub fn now() -> String {
    seconds(Timestamp::now())
}

/// A time in the API's format, whole seconds.
pub(crate) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The present as `MicroTime`, which leases and event times use.
pub fn micro_time() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The string at a JSON pointer, empty when there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a list at a JSON pointer is absent or empty.
pub(crate) fn is_empty_list(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_array).is_none_or(Vec::is_empty)
}

/// The object's metadata, made when absent.
pub(crate) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    section(object, "metadata")
}

/// A top-level section of the object as a map, made when absent or when it is anything else.
pub(crate) fn section<'a>(object: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let map = object.as_object_mut().expect("made an object just above");
    let entry = map.entry(name.to_owned()).or_insert_with(|| json!({}));
    if !entry.is_object() {
        *entry = json!({});
    }
    entry.as_object_mut().expect("made an object just above")
}

/// A random version 4 UUID.
pub(crate) fn new_uid() -> String {
    let bits = (rand::random::<u128>() & !(0xf000 << 64) & !(0b11 << 62)) | (0x4000 << 64) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[0..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

/// The random tail of a generated name, from Kubernetes' alphabet, which spells no words.
pub(crate) fn name_tail() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|_| char::from(ALPHABET[rand::random::<u32>() as usize % ALPHABET.len()])).collect()
}
