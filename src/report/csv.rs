//! One line an outage, for spreadsheets and data frames (RFC 4180).

use super::model::Report;
use super::terminal::PHASES;
use crate::model::Millis;

const COLUMNS: [&str; 17] = [
    "run",
    "experiment",
    "experiment_hash",
    "provider",
    "engine",
    "fault",
    "kind",
    "start_ms",
    "outage_ms",
    "ended",
    "seen_by",
    "first_error_ms",
    "last_error_ms",
    "first_commit_ms",
    "largest_gap_ms",
    "errors",
    "commits",
];

/// Renders the outages of a report as CSV. A phase that an outage did not have is empty, not 0.
pub(super) fn csv(report: &Report) -> String {
    let phases = PHASES.iter().map(|(name, _, _)| format!("phase_{}_ms", name.replace('-', "_")));
    let mut table = record(COLUMNS.iter().map(|&name| name.to_owned()).chain(phases));
    let run = &report.run;
    for episode in &report.episodes {
        let kind = report.faults.iter().find(|fault| fault.id == episode.fault_id).map_or("", |fault| fault.kind.as_str());
        let maybe = |ms: Option<Millis>| ms.map_or(String::new(), number);
        let fields = [
            run.id.clone(),
            run.experiment.clone(),
            run.experiment_hash.clone(),
            run.provider.word().to_owned(),
            run.engine.name.clone(),
            episode.fault_id.clone(),
            kind.to_owned(),
            number(episode.start_ms),
            number(episode.outage_ms),
            episode.ended.to_string(),
            episode.seen_by.clone(),
            maybe(episode.first_error_ms),
            maybe(episode.last_error_ms),
            maybe(episode.first_commit_ms),
            number(episode.largest_gap_ms),
            episode.errors.to_string(),
            episode.commits.to_string(),
        ];
        let durations = PHASES.iter().map(|(name, _, _)| maybe(episode.phases.iter().find(|p| p.name == *name).map(|p| p.duration_ms)));
        table.push_str(&record(fields.into_iter().chain(durations)));
    }
    table
}

fn number(ms: Millis) -> String {
    format!("{:.3}", ms.0)
}

fn record(fields: impl Iterator<Item = String>) -> String {
    let fields: Vec<String> = fields.map(quoted).collect();
    fields.join(",") + "\r\n"
}

fn quoted(field: String) -> String {
    if field.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::build::RunBuilder;

    #[test]
    fn every_line_has_every_column_and_the_phases_sum_to_the_outage() {
        let mut report = RunBuilder::passing().judge();
        report.run.experiment = "a \"name\", quoted".to_owned();
        let table = csv(&report);
        let lines: Vec<&str> = table.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 3);
        let names: Vec<&str> = lines[0].split(',').collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len(), "a name stands twice");
        for line in &lines[1..] {
            let line = line.replace("\"a \"\"name\"\", quoted\"", "quoted");
            let fields: Vec<&str> = line.split(',').collect();
            assert_eq!(fields.len(), names.len(), "{line}");
            let of = |name: &str| fields[names.iter().position(|known| *known == name).expect("it is a column")];
            let phases = names.iter().filter(|name| name.starts_with("phase_")).filter_map(|name| of(name).parse::<f64>().ok());
            assert_eq!(of("outage_ms"), format!("{:.3}", phases.sum::<f64>()));
            assert_eq!(of("phase_no_commit_yet_ms"), "");
        }
    }
}
