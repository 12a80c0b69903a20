//! The figures of runs that are compared, each as a sample.

use crate::measure::Summary;
use crate::report::Report;

/// One figure of both groups of runs, in ms; smaller is better.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its name, stable.
    pub name: String,
    /// What one value of the sample is.
    pub each: &'static str,
    /// Whether it decides; a phase only explains the outage that it is part of.
    pub decides: bool,
    /// The sample of the base.
    pub base: Vec<f64>,
    /// The sample of the new runs.
    pub new: Vec<f64>,
}

/// The sample of one figure over a group of runs.
type Sample = fn(&Report) -> Vec<f64>;

/// The figures that decide. Few, because each one more makes a real change harder to show.
///
/// Outages are one value a fault: faults follow each other with a recovery between, so they are taken as independent. Latencies are one value a run: the ops of a run share
/// its machine and its minute, and are anything but independent. Those of the stage before the first fault are compared, since what they are during a fault is the outage's doing.
const DECIDING: [(&str, &str, Sample); 4] = [
    ("outage", "fault", outages),
    ("response p50", "run", |report| of_summary(&report.latency.stages.before.response, |s| s.p50_ms.0)),
    ("response p99", "run", |report| of_summary(&report.latency.stages.before.response, |s| s.p99_ms.0)),
    ("connect p50", "run", |report| of_summary(&report.latency.connect, |s| s.p50_ms.0)),
];

/// A fault that cut nobody off counts as no time at all; one that was not seen to take effect shows nothing and does not count.
fn outages(report: &Report) -> Vec<f64> {
    let took_effect = |id: &str| report.faults.iter().any(|fault| fault.id == id && fault.attested == Some(true));
    report.episodes.iter().filter(|episode| took_effect(&episode.fault_id)).map(|episode| episode.outage_ms.0).collect()
}

fn of_summary(summary: &Summary, figure: fn(&Summary) -> f64) -> Vec<f64> {
    if summary.count == 0 { Vec::new() } else { vec![figure(summary)] }
}

/// The figures of two groups of runs.
pub fn figures(base: &[Report], new: &[Report]) -> Vec<Figure> {
    let mut figures: Vec<Figure> = DECIDING
        .iter()
        .map(|&(name, each, sample)| Figure {
            name: name.to_owned(),
            each,
            decides: true,
            base: base.iter().flat_map(sample).collect(),
            new: new.iter().flat_map(sample).collect(),
        })
        .collect();
    let mut names: Vec<&str> =
        base.iter().chain(new).flat_map(|report| &report.episodes).flat_map(|episode| &episode.phases).map(|p| p.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        figures.push(Figure { name: name.to_owned(), each: "fault", decides: false, base: phase(base, name), new: phase(new, name) });
    }
    figures
}

fn phase(reports: &[Report], name: &str) -> Vec<f64> {
    let phases = reports.iter().flat_map(|report| &report.episodes).flat_map(|episode| &episode.phases);
    phases.filter(|phase| phase.name == name).map(|phase| phase.duration_ms.0).collect()
}
