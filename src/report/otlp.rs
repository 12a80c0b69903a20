//! A run as one trace, in the JSON form of OTLP (opentelemetry-proto, `trace/v1/trace.proto`; hexadecimal ids and times in ns as text, as `docs/specification.md` of
//! that repository has it): the run, its faults, and under each fault the outage with its phases.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::model::{EpisodeReport, Report};
use crate::model::Outcome;

/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;
const STATUS_OK: u8 = 1;
const STATUS_ERROR: u8 = 2;

/// Renders the run as the body of a request to `/v1/traces`. None where the run's start is not known.
pub fn trace(report: &Report) -> Option<Value> {
    let started: Timestamp = report.run.started_at.parse().ok()?;
    let trace = Trace { report, started };
    let mut spans = vec![trace.run()];
    for fault in &report.faults {
        let Some(injected) = fault.injected_at_ms else { continue };
        let episode = report.episodes.iter().find(|episode| episode.fault_id == fault.id);
        let end = episode.map_or(injected.0, |episode| (episode.start_ms.0 + episode.outage_ms.0).max(injected.0));
        let target = fault.target.as_ref().map_or("", |target| target.name.as_str());
        let attributes = [("chaos.fault.kind", json!(fault.kind)), ("chaos.fault.target", json!(target))];
        spans.push(trace.span(
            &fault.id,
            "run",
            &fault.id,
            (injected.0, fault.healed_at_ms.map_or(end, |healed| healed.0.max(end))),
            &attributes,
        ));
        spans.extend(episode.into_iter().flat_map(|episode| trace.outage(episode)));
    }
    let run = &report.run;
    Some(json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(&[
            ("service.name", json!("chaos")),
            ("service.version", json!(run.harness.version)),
            ("chaos.cluster", json!(format!("{} {}", run.provider.word(), run.cluster))),
            ("chaos.engine", json!(format!("{} {}", run.engine.name, run.engine.version))),
        ]) },
        "scopeSpans": [{ "scope": { "name": "chaos", "version": run.harness.version }, "spans": spans }],
    }] }))
}

struct Trace<'a> {
    report: &'a Report,
    started: Timestamp,
}

impl Trace<'_> {
    fn run(&self) -> Value {
        let run = &self.report.run;
        let facts =
            [("chaos.run", json!(run.id)), ("chaos.verdict", json!(self.report.verdict.to_string())), ("chaos.seed", json!(run.seed))];
        let mut span = self.span("run", "", &run.experiment, (0.0, run.duration_ms.0), &facts);
        let code = if self.report.verdict == Outcome::Pass { STATUS_OK } else { STATUS_ERROR };
        span["status"] = json!({ "code": code, "message": self.report.reasons.join("; ") });
        span
    }

    /// The outage under its fault, and its phases under it.
    fn outage(&self, episode: &EpisodeReport) -> Vec<Value> {
        if episode.outage_ms.0 <= 0.0 {
            return Vec::new();
        }
        let key = format!("{}/outage", episode.fault_id);
        let span = (episode.start_ms.0, episode.start_ms.0 + episode.outage_ms.0);
        let facts = [("chaos.errors", json!(episode.errors)), ("chaos.ended", json!(episode.ended))];
        let mut spans = vec![self.span(&key, &episode.fault_id, "outage", span, &facts)];
        spans.extend(episode.phases.iter().filter(|phase| phase.duration_ms.0 > 0.0).map(|phase| {
            let span = (phase.start_ms.0, phase.start_ms.0 + phase.duration_ms.0);
            self.span(&format!("{key}/{}", phase.name), &key, &phase.name, span, &[("chaos.source", json!(phase.source))])
        }));
        spans
    }

    /// A span with times in ms since the run's start. `key` is unique in the run, and so is the id that is made from it.
    fn span(&self, key: &str, parent: &str, name: &str, (from_ms, to_ms): (f64, f64), facts: &[(&str, Value)]) -> Value {
        let run = &self.report.run.id;
        json!({
            "traceId": id(&[run], 16),
            "spanId": id(&[run, key], 8),
            "parentSpanId": if parent.is_empty() { String::new() } else { id(&[run, parent], 8) },
            "name": name,
            "kind": INTERNAL,
            "startTimeUnixNano": self.wall_ns(from_ms),
            "endTimeUnixNano": self.wall_ns(to_ms),
            "attributes": attributes(facts),
        })
    }

    fn wall_ns(&self, ms: f64) -> String {
        #[expect(clippy::cast_possible_truncation, reason = "a run is far shorter than 292 years")]
        let since_ns = (ms * 1e6).round() as i64;
        (self.started.as_nanosecond() + i128::from(since_ns)).to_string()
    }
}

/// Bytes of a digest, in hexadecimal: the same run has the same ids whenever it is told.
fn id(parts: &[&str], bytes: usize) -> String {
    let digest = parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part).chain_update([0])).finalize();
    digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(facts: &[(&str, Value)]) -> Vec<Value> {
    let told = |value: &Value| match value {
        Value::Bool(_) => json!({ "boolValue": value }),
        // 64-bit integers are text in the JSON form of protobuf.
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::String(_) => json!({ "stringValue": value }),
        other => json!({ "stringValue": other.to_string() }),
    };
    facts.iter().map(|(key, value)| json!({ "key": key, "value": told(value) })).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::build::RunBuilder;

    #[test]
    fn a_run_is_one_tree_of_spans() {
        let report = RunBuilder::passing().judge();
        let trace = trace(&report).expect("its start is known");
        let spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("a list");
        let text = |span: &Value, key: &str| span[key].as_str().expect("text").to_owned();
        let by_id: BTreeMap<String, &Value> = spans.iter().map(|span| (text(span, "spanId"), span)).collect();
        assert_eq!(by_id.len(), spans.len(), "ids are unique");
        let roots: Vec<String> = spans.iter().filter(|span| span["parentSpanId"] == "").map(|span| text(span, "name")).collect();
        assert_eq!(roots, ["pod-kill"]);
        for span in spans.iter().filter(|span| span["parentSpanId"] != "") {
            assert!(by_id.contains_key(&text(span, "parentSpanId")), "{span}");
            assert_eq!((span["traceId"].as_str().map(str::len), text(span, "spanId").len()), (Some(32), 16));
            assert!(text(span, "startTimeUnixNano").parse::<u64>().ok() <= text(span, "endTimeUnixNano").parse().ok(), "{span}");
        }
        let outages = spans.iter().filter(|span| span["name"] == "outage").count();
        assert_eq!(outages, report.episodes.len());
        let started = report.run.started_at.parse::<Timestamp>().expect("a time").as_nanosecond();
        let fault = spans.iter().find(|span| span["name"] == "pod-kill-1").expect("the fault is there");
        assert_eq!(text(fault, "startTimeUnixNano"), (started + 3_005_000_000).to_string());
    }
}
