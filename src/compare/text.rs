//! Comparison and history for a terminal of 80 columns.

use std::fmt::Write;

use super::gate::{Change, Comparison, Judgement};
use super::history::Trend;
use crate::model::{Millis, Outcome};
use crate::report::wrap;

const WIDTH: usize = 80;

/// A comparison in words: the verdict, findings by when they were seen, figures.
pub fn comparison_text(comparison: &Comparison) -> String {
    let mut text = String::new();
    let word = match comparison.verdict {
        Outcome::Pass => "PASS  nothing is worse",
        Outcome::Fail => "FAIL  worse",
        Outcome::Inconclusive => "INCONCLUSIVE",
    };
    // Writing to a string does not fail, here and below.
    let _ = writeln!(text, "{word}  ({} base, {} new runs)", comparison.base.len(), comparison.new.len());
    for reason in &comparison.reasons {
        push(&mut text, reason, 2, 4);
    }
    let findings = &comparison.findings;
    let _ =
        writeln!(text, "\nFindings: {} new, {} ongoing, {} resolved", findings.new.len(), findings.ongoing.len(), findings.resolved.len());
    for finding in &findings.resolved {
        push(&mut text, &format!("resolved: {finding}"), 2, 4);
    }
    let _ = writeln!(text, "\n{:<14} {:>9} {:>9} {:>7}  {:<20} verdict", "figure", "base", "new", "change", "95 % interval");
    for figure in comparison.figures.iter().filter(|figure| figure.decides) {
        line(&mut text, figure);
    }
    let phases: Vec<&Judgement> =
        comparison.figures.iter().filter(|figure| !figure.decides && figure.change != Change::NotTested).collect();
    if phases.iter().any(|figure| figure.change != Change::TooFew) {
        let _ = writeln!(text, "where the outage differs:");
        phases.into_iter().for_each(|figure| line(&mut text, figure));
    }
    push(
        &mut text,
        "Mann-Whitney, corrected for the number of figures (Holm), level 5 % for all of them; medians, and the Hodges-Lehmann shift with its interval.",
        0,
        0,
    );
    text
}

fn push(text: &mut String, said: &str, first: usize, rest: usize) {
    for line in wrap(said, WIDTH, first, rest) {
        let _ = writeln!(text, "{line}");
    }
}

fn line(text: &mut String, figure: &Judgement) {
    let verdict = match figure.change {
        Change::Worse => "WORSE".to_owned(),
        Change::Better => "better".to_owned(),
        Change::NoEvidence => "no evidence".to_owned(),
        Change::TooFew => format!("too few ({}+{})", figure.base_n, figure.new_n),
        Change::NotTested => "-".to_owned(),
    };
    let name = figure.name.trim_end_matches("-container-gone");
    let change = figure.relative.filter(|_| figure.base_n > 0 && figure.new_n > 0);
    let change = change.map_or("-".to_owned(), |share| format!("{:+.1} %", share * 100.0));
    let interval = figure.interval_ms.map_or("-".to_owned(), |[low, high]| format!("{} to {}", signed(low), signed(high)));
    let name: String = name.chars().take(14).collect();
    let _ = writeln!(
        text,
        "{name:<14} {:>9} {:>9} {change:>7}  {interval:<20} {verdict}",
        Millis(figure.base_ms).to_string(),
        Millis(figure.new_ms).to_string()
    );
}

fn signed(ms: f64) -> String {
    let sign = if ms < 0.0 { "-" } else { "+" };
    format!("{sign}{}", Millis(ms.abs()))
}

/// Trends as tables.
pub fn history_text(trends: &[Trend]) -> String {
    let mut text = String::new();
    for trend in trends {
        let head = format!("{} on {} with {}, n = {}", trend.experiment, trend.provider.word(), trend.engine, trend.points.len());
        push(&mut text, &head, 0, 2);
        let _ = writeln!(
            text,
            "  {:<16} {:<12} {:>6} {:>4} {:>10} {:>10} {:>10}",
            "started (UTC)", "verdict", "lost", "n", "outage p50", "longest", "resp. p99"
        );
        for (at, point) in trend.points.iter().enumerate() {
            let time = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| Millis(ms).to_string());
            let mark = if trend.outage_changes.contains(&at) || trend.response_changes.contains(&at) { '>' } else { ' ' };
            let _ = writeln!(
                text,
                "{mark} {:<16} {:<12} {:>6} {:>4} {:>10} {:>10} {:>10}",
                point.started_at.get(..16).unwrap_or(&point.started_at).replace('T', " "),
                point.verdict.to_string(),
                point.lost.map_or("-".to_owned(), |lost| lost.to_string()),
                point.outages,
                time(point.outage_p50_ms),
                time(point.outage_max_ms),
                time(point.response_p99_ms),
            );
        }
        for (what, changes) in [("median outage", &trend.outage_changes), ("response p99", &trend.response_changes)] {
            for &at in changes {
                push(&mut text, &format!("> {what} took another level at {}", trend.points[at].run), 2, 4);
            }
        }
        text.push('\n');
    }
    text
}
