//! The faults of a run as annotations, each an object as Grafana's `POST /api/annotations` takes it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::model::Report;

/// Renders the faults that were injected as a JSON array. Empty where the run's start is not known.
pub(super) fn annotations(report: &Report) -> String {
    let started: Option<Timestamp> = report.run.started_at.parse().ok();
    let annotations: Vec<Value> = started.map_or_else(Vec::new, |started| {
        let wall = |ms: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "Grafana's times are whole ms")]
            let ms = ms as i64;
            started.as_millisecond().saturating_add(ms)
        };
        report
            .faults
            .iter()
            .filter_map(|fault| {
                let injected = fault.injected_at_ms?.0;
                let episode = report.episodes.iter().find(|episode| episode.fault_id == fault.id);
                let end = episode.map_or(injected, |episode| (episode.start_ms.0 + episode.outage_ms.0).max(injected));
                let target = fault.target.as_ref().map_or("", |target| target.name.as_str());
                let outage = episode.map_or(String::new(), |episode| match episode.seen_by.as_str() {
                    "nobody" => ", no client was cut off".to_owned(),
                    _ => format!(", clients cut off for {}", episode.outage_ms),
                });
                Some(json!({
                    "time": wall(injected),
                    "timeEnd": wall(end),
                    "tags": ["chaos", report.run.experiment, fault.kind],
                    "text": format!("{}: {} {target}{outage}", fault.id, fault.kind),
                }))
            })
            .collect()
    });
    let mut text = serde_json::to_string_pretty(&annotations).expect("writing to memory does not fail");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::build::RunBuilder;

    #[test]
    fn a_fault_is_a_region_of_wall_clock_time() {
        let report = RunBuilder::passing().judge();
        let read: Vec<Value> = serde_json::from_str(&annotations(&report)).expect("it is JSON");
        assert_eq!(read.len(), 2);
        let started = report.run.started_at.parse::<Timestamp>().expect("a time").as_millisecond();
        assert_eq!(read[0]["time"], started + 3_005);
        assert_eq!(read[0]["timeEnd"], started + 3_651);
        assert_eq!(read[0]["tags"], json!(["chaos", "pod-kill", "pod-kill"]));
    }
}
