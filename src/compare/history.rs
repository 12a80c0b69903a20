//! Many runs of the same experiment, oldest first.

use serde::Serialize;

use super::changes::change_points;
use crate::model::{Outcome, Provider};
use crate::report::Report;

/// A change of less than this share of the level before is not told.
const MIN_EFFECT: f64 = 0.1;

/// One run in a trend.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrendPoint {
    /// The run's id, also its folder's name.
    pub run: String,
    /// When it began.
    pub started_at: String,
    /// Its verdict.
    pub verdict: Outcome,
    /// The engine's version.
    pub engine_version: String,
    /// Acknowledged commits that were lost; none where the ledger was not accounted.
    pub lost: Option<u64>,
    /// Outages.
    pub outages: u64,
    /// Their median, in ms; none without an outage.
    pub outage_p50_ms: Option<f64>,
    /// The longest, in ms.
    pub outage_max_ms: Option<f64>,
    /// The 99th percentile of the response time before the first fault, in ms.
    pub response_p99_ms: Option<f64>,
}

/// The runs of one experiment on one kind of cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trend {
    /// The experiment.
    pub experiment: String,
    /// Its hash.
    pub experiment_hash: String,
    /// The kind of cluster.
    pub provider: Provider,
    /// The engine.
    pub engine: String,
    /// Its runs, oldest first.
    pub points: Vec<TrendPoint>,
    /// The runs at which the median outage took another level, by place.
    pub outage_changes: Vec<usize>,
    /// The runs at which the response time took another level, by place.
    pub response_changes: Vec<usize>,
}

/// Groups runs by what can be compared, in the order of each group's first run.
pub fn history(reports: &[Report]) -> Vec<Trend> {
    let mut trends: Vec<Trend> = Vec::new();
    for report in reports {
        let run = &report.run;
        let same = |trend: &&mut Trend| {
            (&trend.experiment, &trend.experiment_hash, trend.provider, &trend.engine)
                == (&run.experiment, &run.experiment_hash, run.provider, &run.engine.name)
        };
        if let Some(trend) = trends.iter_mut().find(same) {
            trend.points.push(point(report));
        } else {
            trends.push(Trend {
                experiment: run.experiment.clone(),
                experiment_hash: run.experiment_hash.clone(),
                provider: run.provider,
                engine: run.engine.name.clone(),
                points: vec![point(report)],
                outage_changes: Vec::new(),
                response_changes: Vec::new(),
            });
        }
    }
    for trend in &mut trends {
        trend.outage_changes = changes(&trend.points, |point| point.outage_p50_ms);
        trend.response_changes = changes(&trend.points, |point| point.response_p99_ms);
    }
    trends
}

/// Where a figure changed, by place among all points; runs that lack it are stepped over.
fn changes(points: &[TrendPoint], figure: fn(&TrendPoint) -> Option<f64>) -> Vec<usize> {
    let (places, values): (Vec<usize>, Vec<f64>) = points.iter().enumerate().filter_map(|(at, point)| Some((at, figure(point)?))).unzip();
    change_points(&values, MIN_EFFECT).into_iter().map(|at| places[at]).collect()
}

fn point(report: &Report) -> TrendPoint {
    let reconnect = &report.latency.reconnect;
    let outage = |ms: f64| (reconnect.count > 0).then_some(ms);
    let before = &report.latency.stages.before.response;
    TrendPoint {
        run: report.run.id.clone(),
        started_at: report.run.started_at.clone(),
        verdict: report.verdict,
        engine_version: report.run.engine.version.clone(),
        lost: report.checks.iter().find(|check| check.name == "ledger").and_then(|check| check.counts.get("lost").copied()),
        outages: reconnect.count,
        outage_p50_ms: outage(reconnect.p50_ms.0),
        outage_max_ms: outage(reconnect.max_ms.0),
        response_p99_ms: (before.count > 0).then_some(before.p99_ms.0),
    }
}
