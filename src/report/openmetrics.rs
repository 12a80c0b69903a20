//! The figures of a run as OpenMetrics text (OpenMetrics 1.0.0), without time stamps and with no type that the older Prometheus text format lacks, so that
//! node_exporter's textfile collector and the push gateway take it too.

use std::fmt::Write;

use super::model::Report;
use super::terminal::PHASES;
use crate::measure::{ByOutcome, Stage, Summary, median};
use crate::model::{Millis, Outcome, Verdict};

/// Text under construction. Every sample carries the experiment, so that runs of several can be kept side by side.
struct Exposition {
    text: String,
    experiment: String,
}

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {name} {help}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = write!(self.text, "{name}{{experiment=\"{}\"", self.experiment);
        for (label, text) in labels {
            let _ = write!(self.text, ",{label}=\"{}\"", escape(text));
        }
        let _ = writeln!(self.text, "}} {value}");
    }

    /// 1 for the state that holds, 0 for the others.
    fn states(&mut self, name: &str, labels: &[(&str, &str)], states: &[&str], now: &str) {
        for state in states {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([(name, *state)]).collect();
            self.sample(name, &labels, u8::from(*state == now));
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(ms: Millis) -> f64 {
    ms.0 / 1_000.0
}

/// Renders a report as OpenMetrics text.
pub(super) fn openmetrics(report: &Report) -> String {
    let mut out = Exposition { text: String::new(), experiment: escape(&report.run.experiment) };
    run(&mut out, report);
    findings(&mut out, report);
    outages(&mut out, report);
    latency(&mut out, report);
    out.text.push_str("# EOF\n");
    out.text
}

fn run(out: &mut Exposition, report: &Report) {
    let run = &report.run;
    out.family("chaos_run_info", "gauge", "", "Who, what, where.");
    let labels = [
        ("run", run.id.as_str()),
        ("experiment_hash", run.experiment_hash.as_str()),
        ("provider", run.provider.word()),
        ("engine", run.engine.name.as_str()),
        ("engine_version", run.engine.version.as_str()),
        ("harness", run.harness.version.as_str()),
    ];
    out.sample("chaos_run_info", &labels, 1);
    out.family("chaos_run_duration_seconds", "gauge", "seconds", "From the start to the last event.");
    out.sample("chaos_run_duration_seconds", &[], seconds(run.duration_ms));
    out.family("chaos_verdict", "gauge", "", "The verdict of the run.");
    let now = match report.verdict {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Inconclusive => "inconclusive",
    };
    out.states("chaos_verdict", &[], &["pass", "fail", "inconclusive"], now);
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Unknown => "unknown",
        Verdict::Invalid => "invalid",
    }
}

const VERDICTS: [&str; 3] = ["valid", "unknown", "invalid"];

fn findings(out: &mut Exposition, report: &Report) {
    out.family("chaos_claim", "gauge", "", "The verdict on each clause of the promise.");
    for claim in &report.claims {
        let expected = if claim.expected { "true" } else { "false" };
        out.states("chaos_claim", &[("claim", claim.id.id()), ("expected", expected)], &VERDICTS, verdict_word(claim.verdict));
    }
    out.family("chaos_check", "gauge", "", "The verdict of each check.");
    for check in &report.checks {
        out.states("chaos_check", &[("check", &check.name)], &VERDICTS, verdict_word(check.verdict));
    }
    out.family("chaos_check_count", "gauge", "", "The accounting of each check.");
    for check in &report.checks {
        for (class, count) in &check.counts {
            out.sample("chaos_check_count", &[("check", &check.name), ("class", class)], count);
        }
    }
}

fn outages(out: &mut Exposition, report: &Report) {
    let reconnect = &report.latency.reconnect;
    out.family("chaos_outage_seconds", "summary", "seconds", "How long clients were cut off, over the faults of the run.");
    if reconnect.count > 0 {
        for (quantile, ms) in [("0.5", reconnect.p50_ms), ("0.99", reconnect.p99_ms), ("1.0", reconnect.max_ms)] {
            out.sample("chaos_outage_seconds", &[("quantile", quantile)], seconds(ms));
        }
    }
    let sum: f64 = report.episodes.iter().map(|episode| seconds(episode.outage_ms)).sum();
    out.sample("chaos_outage_seconds_sum", &[], sum);
    out.sample("chaos_outage_seconds_count", &[], reconnect.count);
    out.family("chaos_outages_censored", "gauge", "", "Outages that had not ended when nobody looked any more.");
    out.sample("chaos_outages_censored", &[], reconnect.censored);
    out.family("chaos_phase_median_seconds", "gauge", "seconds", "The median of each phase of the outages.");
    for (name, _, _) in PHASES {
        let phases = report.episodes.iter().flat_map(|episode| &episode.phases);
        let mut times: Vec<f64> = phases.filter(|phase| phase.name == name).map(|phase| seconds(phase.duration_ms)).collect();
        times.sort_by(f64::total_cmp);
        if !times.is_empty() {
            out.sample("chaos_phase_median_seconds", &[("phase", name)], median(&times));
        }
    }
}

fn latency(out: &mut Exposition, report: &Report) {
    if let Some(availability) = &report.availability {
        out.family("chaos_availability_ratio", "gauge", "", "Ops that were answered, time without an outage, and Apdex at 100 ms.");
        for (by, ratio) in [("ops", availability.ops_ratio), ("time", availability.time_ratio), ("apdex", availability.apdex)] {
            out.sample("chaos_availability_ratio", &[("by", by)], ratio);
        }
    }
    let latency = &report.latency;
    for (name, help, of) in [
        ("chaos_response_seconds", "From when an op was due to its end.", &latency.response),
        ("chaos_service_seconds", "From when an op was sent to its end.", &latency.service),
    ] {
        out.family(name, "gauge", "seconds", help);
        let ByOutcome { ok, fail, info } = of;
        for (outcome, times) in [("ok", ok), ("fail", fail), ("info", info)] {
            quantiles(out, name, ("outcome", outcome), times);
        }
    }
    out.family(
        "chaos_stage_response_seconds",
        "gauge",
        "seconds",
        "Response time before, during and after the faults, of ops that ended ok.",
    );
    for stage in Stage::ALL {
        let word = match stage {
            Stage::Before => "before",
            Stage::During => "during",
            Stage::After => "after",
        };
        quantiles(out, "chaos_stage_response_seconds", ("stage", word), &latency.stages.of(stage).response);
    }
    out.family("chaos_connect_seconds", "gauge", "seconds", "A new connection, its login and a commit.");
    quantiles(out, "chaos_connect_seconds", ("stage", "commit"), &latency.connect);
}

fn quantiles(out: &mut Exposition, name: &str, label: (&str, &str), times: &Summary) {
    if times.count == 0 {
        return;
    }
    for (quantile, ms) in
        [("0.5", times.p50_ms), ("0.9", times.p90_ms), ("0.99", times.p99_ms), ("0.999", times.p999_ms), ("1", times.max_ms)]
    {
        out.sample(name, &[label, ("quantile", quantile)], seconds(ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::build::RunBuilder;

    #[test]
    fn every_sample_belongs_to_the_family_that_stands_above_it() {
        let mut report = RunBuilder::passing().judge();
        report.run.experiment = "a \"name\"\\".to_owned();
        let text = openmetrics(&report);
        assert!(text.ends_with("\n# EOF\n"));
        let mut family = "";
        let mut families = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().expect("a name");
                assert!(families.insert(family), "{family} stands twice");
                // What expfmt's TextParser knows, which node_exporter reads with: any other type costs the whole file.
                assert!(["counter", "gauge", "summary", "histogram", "untyped"].iter().any(|kind| line.ends_with(kind)), "{line}");
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{line} stands under {family}");
                assert!(line.contains("experiment=\"a \\\"name\\\"\\\\\""), "{line}");
                let value = line.rsplit(' ').next().expect("a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(text.contains("chaos_verdict=\"pass\"} 1\n"));
        assert!(text.contains("chaos_outage_seconds{experiment=\"a \\\"name\\\"\\\\\",quantile=\"0.5\"} 0.65\n"), "{text}");
    }
}
