//! Request bodies in Kubernetes' protobuf, which kubectl's generators and drain send whatever the server says it accepts.
//!
//! Bodies are turned into the JSON that the same client would have sent; answers are always JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::messages::{Message, name_of};
use crate::store::ApiError;

/// The media type of such bodies.
pub(super) const MEDIA: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";
/// Deeper than any kind that is served.
const DEPTH_MAX: usize = 40;

fn malformed() -> ApiError {
    ApiError::bad_request("the object provided is unrecognized (malformed protobuf)")
}

/// One field as it stands on the wire.
enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed(u64),
}

impl<'a> Wire<'a> {
    fn bytes(&self) -> Result<&'a [u8], ApiError> {
        if let Wire::Bytes(bytes) = self { Ok(bytes) } else { Err(malformed()) }
    }

    fn text(&self) -> Result<String, ApiError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| malformed())
    }

    fn integer(&self) -> Result<i64, ApiError> {
        // Negative numbers are written as their two's complement.
        if let Wire::Varint(number) = self { Ok(number.cast_signed()) } else { Err(malformed()) }
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, ApiError> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or_else(malformed)?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(malformed())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], ApiError> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(malformed)?;
    *bytes = rest;
    Ok(taken)
}

fn fixed(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// All fields of a message, in order.
fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Wire<'_>)>, ApiError> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(varint(&mut bytes)?),
            1 => Wire::Fixed(fixed(take(&mut bytes, 8)?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| malformed())?;
                Wire::Bytes(take(&mut bytes, length)?)
            }
            5 => Wire::Fixed(fixed(take(&mut bytes, 4)?)),
            _ => return Err(malformed()),
        };
        found.push((tag >> 3, wire));
    }
    Ok(found)
}

/// Turns a body into the object that it stands for.
pub(super) fn parse(body: &[u8]) -> Result<Value, ApiError> {
    let envelope = fields(body.strip_prefix(MAGIC).ok_or_else(malformed)?)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for (number, wire) in &envelope {
        match number {
            1 => {
                for (number, wire) in fields(wire.bytes()?)? {
                    match number {
                        1 => api_version = wire.text()?,
                        2 => kind = wire.text()?,
                        _ => {}
                    }
                }
            }
            2 => raw = wire.bytes()?,
            _ => {}
        }
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let name = if kind == "DeleteOptions" { "meta.DeleteOptions".to_owned() } else { name_of(group, &kind) };
    if Message::named(&name).is_none() {
        return Err(ApiError::bad_request(format!("no kind {kind:?} is registered for version {api_version:?}")));
    }
    let mut object = message(&name, raw, 0)?;
    object.insert("apiVersion".to_owned(), json!(api_version));
    object.insert("kind".to_owned(), json!(kind));
    Ok(Value::Object(object))
}

fn message(name: &str, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, ApiError> {
    let known = Message::named(name).filter(|_| depth < DEPTH_MAX).ok_or_else(malformed)?;
    let mut out = Map::new();
    for (number, wire) in fields(bytes)? {
        // A newer client may send fields that are not known here; the real server drops them too.
        let Some(field) = known.numbered(number) else { continue };
        if field.inlined {
            out.extend(message(field.kind, wire.bytes()?, depth + 1)?);
        } else if field.map {
            let (mut key, mut entry) = (String::new(), empty(field.kind));
            for (number, wire) in fields(wire.bytes()?)? {
                match number {
                    1 => key = wire.text()?,
                    2 => entry = value(field.kind, &wire, depth)?,
                    _ => {}
                }
            }
            let map = out.entry(field.name.to_owned()).or_insert_with(|| json!({}));
            map.as_object_mut().ok_or_else(malformed)?.insert(key, entry);
        } else {
            let value = value(field.kind, &wire, depth)?;
            if field.repeated {
                let list = out.entry(field.name.to_owned()).or_insert_with(|| json!([]));
                list.as_array_mut().ok_or_else(malformed)?.push(value);
            } else if !(value.is_null() || field.omit_zero && is_zero(&value)) {
                out.insert(field.name.to_owned(), value);
            }
        }
    }
    Ok(out)
}

fn empty(kind: &str) -> Value {
    match kind {
        "s" | "y" | "Q" => json!(""),
        _ => Value::Null,
    }
}

fn is_zero(value: &Value) -> bool {
    *value == json!("") || *value == json!(0) || *value == json!(false)
}

fn value(kind: &str, wire: &Wire<'_>, depth: usize) -> Result<Value, ApiError> {
    Ok(match kind {
        "s" => json!(wire.text()?),
        "b" => json!(wire.integer()? != 0),
        "i" => json!(wire.integer()?),
        "d" => {
            let Wire::Fixed(bits) = wire else { return Err(malformed()) };
            json!(f64::from_bits(*bits))
        }
        "y" => json!(STANDARD.encode(wire.bytes()?)),
        "T" => time(wire, "%Y-%m-%dT%H:%M:%SZ")?,
        "U" => time(wire, "%Y-%m-%dT%H:%M:%S.%6fZ")?,
        "Q" => {
            let text = fields(wire.bytes()?)?.into_iter().find(|(number, _)| *number == 1);
            json!(text.map_or(Ok(String::new()), |(_, wire)| wire.text())?)
        }
        "I" => int_or_string(wire)?,
        "R" | "F" => {
            let raw = fields(wire.bytes()?)?.into_iter().find(|(number, _)| *number == 1);
            raw.map_or(Ok(Value::Null), |(_, wire)| serde_json::from_slice(wire.bytes()?).map_err(|_| malformed()))?
        }
        // `ExtraValue` and the like are messages that stand for a list.
        nested => Value::Object(message(nested, wire.bytes()?, depth + 1)?),
    })
}

fn time(wire: &Wire<'_>, format: &str) -> Result<Value, ApiError> {
    let (mut seconds, mut nanos, mut present) = (0, 0, false);
    for (number, wire) in fields(wire.bytes()?)? {
        present = true;
        match number {
            1 => seconds = wire.integer()?,
            2 => nanos = wire.integer()?,
            _ => {}
        }
    }
    // The zero time is written as nothing at all.
    if !present {
        return Ok(Value::Null);
    }
    let nanos = i32::try_from(nanos).map_err(|_| malformed())?;
    let time = Timestamp::new(seconds, nanos).map_err(|_| malformed())?;
    Ok(json!(time.strftime(format).to_string()))
}

fn int_or_string(wire: &Wire<'_>) -> Result<Value, ApiError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for (field, wire) in fields(wire.bytes()?)? {
        match field {
            1 => is_text = wire.integer()? == 1,
            2 => number = wire.integer()?,
            3 => text = wire.text()?,
            _ => {}
        }
    }
    Ok(if is_text { json!(text) } else { json!(number) })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend(bytes);
        out
    }

    fn envelope(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat()
    }

    #[test]
    fn an_eviction_with_its_precondition() {
        let metadata = [field(1, b"p"), field(2, b""), field(8, b"")].concat();
        let preconditions = field(1, b"u-1");
        let options = [vec![8, 0], field(2, &preconditions)].concat();
        let body = envelope("policy/v1", "Eviction", &[field(1, &metadata), field(2, &options)].concat());
        assert_eq!(
            parse(&body).unwrap(),
            json!({
                "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "p" },
                "deleteOptions": { "gracePeriodSeconds": 0, "preconditions": { "uid": "u-1" } },
            })
        );
    }

    #[test]
    fn maps_inlined_sources_quantities_and_either_or() {
        let label = field(11, &[field(1, b"k"), field(2, b"v")].concat());
        let claim = field(10, &field(1, b"data"));
        let volume = [field(1, b"v"), field(2, &claim)].concat();
        let limit = field(1, &[field(1, b"cpu"), field(2, &field(1, b"1"))].concat());
        let handler = field(3, &field(1, &[8, 1, 26, 3, b's', b'q', b'l']));
        let container = [field(1, b"c"), field(8, &limit), field(10, &field(1, &handler))].concat();
        let spec = [field(1, &volume), field(2, &container)].concat();
        let body = envelope("v1", "Pod", &[field(1, &label), field(2, &spec)].concat());
        let pod = parse(&body).unwrap();
        assert_eq!(pod["metadata"]["labels"], json!({ "k": "v" }));
        assert_eq!(pod["spec"]["volumes"], json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }]));
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"], json!({ "cpu": "1" }));
        assert_eq!(pod["spec"]["containers"][0]["livenessProbe"], json!({ "tcpSocket": { "port": "sql" } }));
    }

    #[test]
    fn broken_bodies_are_refused() {
        for body in [&b"{}"[..], b"k8s\0\xff", b"k8s\0\x0a\x7f", &envelope("v1", "Nope", b""), &envelope("v1", "Pod", b"\x0a\x7f")] {
            assert_eq!(parse(body).unwrap_err().code, 400, "{body:?}");
        }
    }
}
