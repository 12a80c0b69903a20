//! The JSON Schema of experiment files, derived from the table that the reader walks, so that an editor and `chaos validate` agree.

use serde_json::{Map, Value, json};

use super::faults::{FAULTS, FaultForm};
use super::form::{
    Absent, DURATION_S_MAX, EXPERIMENT, ITEMS_MAX, Key, Kind, SCHEDULE, STATEMENT_CHARS_MAX, STEP, STEPS_MAX, Section, Span, Word,
};

/// The patterns say what a value looks like; bounds that a pattern cannot say are left to the reader.
const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$";
const GRACE: &str = r"^(pod|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+)$";
const SERVICE: &str = r"^(nodePort|loadBalancer|[^ :]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5})$";
const OUTAGE: &str = r"^outage *> *([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$";
const RATE: &str = r"^[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)? */ *(s|m|h)$";
const SIZE: &str = r"^[0-9]*[1-9][0-9]*(Ki|Mi|Gi|Ti)$";
const LABEL: &str = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
const OBJECT_NAME: &str = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$";
const WORD: &str = r"^[!-,.-~][!-~]*$";
const CLUSTER: &str = r"^((sandbox|kind|k3d)(:[^ -][^ ]*)?|context:[^ -][^ ]*)$";

/// The JSON Schema (draft 2020-12) of an experiment file.
pub fn schema() -> Value {
    let mut schema = section(&EXPERIMENT);
    let object = schema.as_object_mut().expect("a section is an object in the schema");
    let mut top = Map::new();
    top.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    top.insert("title".to_owned(), json!("chaos experiment"));
    top.append(object);
    Value::Object(top)
}

fn section(section: &Section) -> Value {
    let properties: Map<String, Value> = section.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> = section.keys.iter().filter(|key| is_required(key)).map(|key| key.name).collect();
    let mut schema = json!({
        "description": section.doc,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A section must be there when something in it must.
fn is_required(key: &Key) -> bool {
    key.absent == Absent::Mistake || matches!(key.kind, Kind::Section(inner) if inner.keys.iter().any(is_required))
}

fn property(key: &Key) -> Value {
    let mut schema = kind(&key.kind);
    schema["description"] = json!(key.doc);
    if let Absent::Default(text) = key.absent {
        schema["default"] = match key.kind {
            Kind::Integer { .. } | Kind::Switch => serde_json::from_str(text).expect("defaults of the table are valid"),
            _ => json!(text),
        };
    }
    schema
}

fn kind(of: &Kind) -> Value {
    match of {
        Kind::Label => json!({ "type": "string", "pattern": LABEL, "maxLength": 40 }),
        Kind::ObjectName => json!({ "type": "string", "pattern": OBJECT_NAME, "maxLength": 253 }),
        Kind::Text => json!({ "type": "string", "maxLength": 1000 }),
        Kind::Word => json!({ "type": "string", "pattern": WORD, "maxLength": 255 }),
        Kind::Cluster => json!({ "type": "string", "pattern": CLUSTER }),
        Kind::Integer { least, most } if *most == u64::MAX => {
            json!({ "type": "integer", "minimum": least })
        }
        Kind::Integer { least, most } => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Choice(words) => choice(&words()),
        Kind::Choices(words) => json!({
            "type": "array",
            "items": choice(&words()),
            "minItems": 1,
            "uniqueItems": true,
        }),
        Kind::Duration(span) => {
            let mut schema = json!({ "type": "string", "pattern": DURATION });
            let bound = match span {
                Span::AnyLength => "",
                Span::Positive => "more than none, ",
                Span::WholeSeconds => "whole seconds, ",
            };
            schema["$comment"] = json!(format!("{bound}at most {}h", DURATION_S_MAX / 3_600));
            schema
        }
        Kind::Grace => json!({ "type": "string", "pattern": GRACE }),
        Kind::Service => json!({ "type": "string", "pattern": SERVICE }),
        Kind::Outage => json!({ "type": "string", "pattern": OUTAGE }),
        Kind::Rate => json!({ "type": "string", "pattern": RATE }),
        Kind::Pace => json!({ "oneOf": [
            { "type": "string", "pattern": RATE },
            { "const": "closed" },
            { "type": "array", "items": section(&STEP), "minItems": 1, "maxItems": STEPS_MAX },
        ] }),
        Kind::Size => json!({ "type": "string", "pattern": SIZE }),
        Kind::Section(inner) => {
            let mut schema = section(inner);
            // Shares are all optional, and none at all is no mix.
            if inner.keys.iter().all(|key| key.absent == Absent::Nothing) {
                schema["minProperties"] = json!(1);
            }
            schema
        }
        Kind::Statement => json!({ "type": "string", "pattern": r"\S", "maxLength": STATEMENT_CHARS_MAX }),
        Kind::Statements => json!({ "type": "array", "items": kind(&Kind::Statement), "minItems": 1, "maxItems": ITEMS_MAX }),
        Kind::Items(inner) => json!({ "type": "array", "items": section(inner), "minItems": 1, "maxItems": ITEMS_MAX }),
        Kind::Faults => json!({
            "type": "array",
            "items": fault_item(),
            "minItems": 1,
        }),
    }
}

/// A word with its meaning, which editors show beside it.
fn choice(words: &[Word]) -> Value {
    let choices: Vec<Value> = words.iter().map(|word| json!({ "const": word.id, "description": word.meaning })).collect();
    json!({ "oneOf": choices })
}

fn fault_item() -> Value {
    let mut schema = section(&SCHEDULE);
    for fault in FAULTS {
        schema["properties"][fault.kind] = fault_property(fault);
    }
    let one_each: Vec<Value> = FAULTS.iter().map(|fault| json!({ "required": [fault.kind] })).collect();
    schema["oneOf"] = json!(one_each);
    schema
}

fn fault_property(fault: &FaultForm) -> Value {
    let mut schema = section(fault.parameters);
    schema["type"] = json!(["object", "null"]);
    schema["description"] = json!(format!("{} Reach: {}.", fault.doc, fault.reach));
    schema
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test ends where it finds no schema")]

    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The keywords that the schemas of this crate use, checked as JSON Schema 2020-12 tells; any other fails the test that meets it. A key that a schema does
    /// not name is refused, unless the schema says what unnamed keys hold.
    pub(crate) fn conforms(value: &Value, schema: &Value, path: &str) -> Result<(), String> {
        let fail = |what: &str| Err(format!("{path}: {what}: {value}"));
        for (keyword, rule) in schema.as_object().unwrap() {
            let ok = match keyword.as_str() {
                "$schema" | "title" | "description" | "default" | "$comment" => true,
                "type" => match rule {
                    Value::String(name) => has_type(value, name),
                    Value::Array(names) => names.iter().any(|name| has_type(value, name.as_str().unwrap())),
                    _ => false,
                },
                "const" => value == rule,
                "enum" => rule.as_array().unwrap().contains(value),
                "minimum" => value.as_f64().is_none_or(|v| v >= rule.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|v| v <= rule.as_f64().unwrap()),
                "maxLength" => value.as_str().is_none_or(|v| v.chars().count() as u64 <= rule.as_u64().unwrap()),
                "maxItems" => value.as_array().is_none_or(|v| v.len() as u64 <= rule.as_u64().unwrap()),
                "minItems" => value.as_array().is_none_or(|v| v.len() as u64 >= rule.as_u64().unwrap()),
                "minProperties" => value.as_object().is_none_or(|v| v.len() as u64 >= rule.as_u64().unwrap()),
                "uniqueItems" => value.as_array().is_none_or(|v| v.iter().map(Value::to_string).collect::<BTreeSet<_>>().len() == v.len()),
                "pattern" => value.as_str().is_none_or(|v| regex_of(rule.as_str().unwrap()).is_match(v)),
                "required" => {
                    value.as_object().is_none_or(|v| rule.as_array().unwrap().iter().all(|key| v.contains_key(key.as_str().unwrap())))
                }
                "oneOf" => {
                    let fits = rule.as_array().unwrap().iter();
                    fits.filter(|rule| conforms(value, rule, path).is_ok()).count() == 1
                }
                "properties" | "additionalProperties" => {
                    for (key, inner) in value.as_object().into_iter().flatten() {
                        match schema["properties"].get(key) {
                            Some(rule) => conforms(inner, rule, &format!("{path}.{key}"))?,
                            None if schema["additionalProperties"].is_object() => {
                                conforms(inner, &schema["additionalProperties"], &format!("{path}.{key}"))?;
                            }
                            None => return fail(&format!("unknown key {key}")),
                        }
                    }
                    true
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        conforms(item, rule, &format!("{path}[{index}]"))?;
                    }
                    true
                }
                other => panic!("the schema uses {other}, which this check does not know"),
            };
            if !ok {
                return fail(keyword);
            }
        }
        Ok(())
    }

    fn has_type(value: &Value, name: &str) -> bool {
        match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("unknown type {other}"),
        }
    }

    fn regex_of(pattern: &str) -> regex::Regex {
        regex::Regex::new(pattern).unwrap()
    }

    fn json_of(yaml: &str) -> Value {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn shipped() -> Vec<std::path::PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
        let mut files = Vec::new();
        for folder in [folder.clone(), folder.join("selftest")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "yaml") {
                    files.push(path);
                }
            }
        }
        files
    }

    #[test]
    fn every_shipped_experiment_is_valid_and_conforms() {
        let files = shipped();
        assert!(files.len() >= 4, "{files:?}");
        for file in files {
            let plan = super::super::load(&file).unwrap_or_else(|mistakes| panic!("{mistakes}"));
            let text = std::fs::read_to_string(&file).unwrap();
            conforms(&json_of(&text), &schema(), "").unwrap();
            assert!(
                text.starts_with("# yaml-language-server: $schema="),
                "{} lacks the line that makes editors complete it",
                file.display()
            );
            assert_eq!(Some(plan.name.as_str()), file.file_stem().and_then(|stem| stem.to_str()));
            conforms(&json_of(&super::super::to_yaml(&plan)), &schema(), "resolved").unwrap();
        }
    }

    #[test]
    fn the_committed_schema_is_the_one_that_is_derived() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/schema.json");
        let committed: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(committed == schema(), "experiments/schema.json is old: `chaos schema > experiments/schema.json`");
    }

    /// Every key of the schema is a key of the reader with the same type, and the other way round: both refuse and accept the same.
    #[test]
    fn schema_and_reader_agree() {
        let base = "name: x\ntarget:\n  engine: tds-sqlite\nfaults:\n  - pod-kill:\n";
        let cases = [
            "",
            "seed: 5",
            "seed: -5",
            "seed: x",
            "seed: '5'",
            "cluster: kind:rig",
            "cluster: context",
            "cluster: minikube",
            "coldRead: false",
            "coldRead: 'no'",
            "duration: 30s",
            "duration: 30",
            "abortWhen: outage > 2m",
            "abortWhen: outage > 2",
            "abortWhen: outage",
            "blastRadius: { maxUnavailableNodes: 2, controlPlaneNode: cp-1 }",
            "blastRadius: { maxUnavailableNodes: 0 }",
            "workload: { mix: {} }",
            "workload: { mix: { bank: 1 } }",
            "workload: { mix: { bank: 0 } }",
            "workload: { rate: 2.5/m }",
            "workload: { rate: 2.5 }",
            "workload: { rate: closed }",
            "workload: { rate: open }",
            "workload: { rate: [] }",
            "workload: { rate: [{ for: 30s, at: 10/s }, { for: 1m, at: 10/s, to: 50/s }, { at: 50/s }] }",
            "workload: { rate: [{ for: 30s }] }",
            "workload: { rate: [{ at: 5 }] }",
            "workload: { clients: 1001 }",
            "workload:",
            "expect: { claims: [] }",
            "expect: { claims: [HA-2, HA-2] }",
            "expect: { claims: [HA-2] }",
            "expect: { overlap: maybe }",
            "expect: { reconnect: { p99: 5s } }",
            "expect: { reconnect: 5s }",
            "unknown: 1",
        ];
        for case in cases {
            let text = format!("{base}{case}\n");
            let read = super::super::parse("x.yaml", &text);
            let conforms = conforms(&json_of(&text), &schema(), "");
            assert_eq!(read.is_ok(), conforms.is_ok(), "{case}: {read:?} {conforms:?}");
        }
        for item in [
            "- pod-kill: { grace: 5s }",
            "- pod-kill: { grace: soon }",
            "- pod-kill: { grce: 5s }",
            "- pod-kill: []",
            "- pod-kill",
            "- at: 5s",
            "- at: 5s\n    pod-kill:\n    repeat: 3\n    every: 1s",
            "- node-melt:",
        ] {
            let text = base.replace("- pod-kill:", item);
            let read = super::super::parse("x.yaml", &text);
            let conforms = conforms(&json_of(&text), &schema(), "");
            assert_eq!(read.is_ok(), conforms.is_ok(), "{item}: {read:?} {conforms:?}");
        }
    }
}
