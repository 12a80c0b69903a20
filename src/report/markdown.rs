//! A short Markdown page, for `$GITHUB_STEP_SUMMARY`.

use std::fmt::Write;

use crate::model::{Outcome, Provider, Verdict};

use super::model::Report;

/// Keeps a text inside its table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ").replace('<', "&lt;")
}

/// Renders a report as Markdown.
pub(super) fn markdown(report: &Report) -> String {
    let mut page = String::new();
    let sign = match report.verdict {
        Outcome::Pass => "✅",
        Outcome::Inconclusive => "⚠️",
        Outcome::Fail => "❌",
    };
    let sandbox = if report.run.provider == Provider::Sandbox { " (sandbox: not a real Kubernetes)" } else { "" };
    let mut line = |text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(page, "{text}");
    };
    line(format!("## {sign} {}: {}{sandbox}", report.verdict, cell(&report.run.experiment)));
    line(String::new());
    for reason in &report.reasons {
        line(format!("- {}", cell(reason)));
    }
    line(String::new());
    line("| claim | | expected | evidence |".to_owned());
    line("|---|---|---|---|".to_owned());
    for claim in &report.claims {
        let word = match claim.verdict {
            Verdict::Valid => "holds",
            Verdict::Unknown => "unknown",
            Verdict::Invalid => "**broken**",
        };
        line(format!(
            "| {} {} | {word} | {} | {} |",
            claim.id,
            cell(&claim.statement),
            if claim.expected { "yes" } else { "no" },
            cell(claim.evidence.first().map_or("", String::as_str))
        ));
    }
    line(String::new());
    line("| outage | length | errors | longest phase |".to_owned());
    line("|---|---|---|---|".to_owned());
    for episode in &report.episodes {
        let longest = episode
            .phases
            .iter()
            .max_by(|a, b| a.duration_ms.0.total_cmp(&b.duration_ms.0))
            .map_or(String::new(), |phase| format!("{} {}", phase.name, phase.duration_ms));
        let more = if episode.ended { "" } else { "more than " };
        line(format!("| {} | {more}{} | {} | {longest} |", cell(&episode.fault_id), episode.outage_ms, episode.errors));
    }
    line(String::new());
    if report.latency.reconnect.count > 0 {
        line(format!("- outages: {}", report.latency.reconnect.describe()));
    }
    if let Some(availability) = &report.availability {
        line(format!("- {}", availability.describe()));
    }
    for check in &report.checks {
        let counts: Vec<String> = check.counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        line(format!("- **{}** {}: {}", check.name, check.verdict, counts.join(", ")));
    }
    line(String::new());
    line("<details><summary>Response times by kind of op, stage of the run and outcome</summary>".to_owned());
    line(String::new());
    line("| op | stage | outcome | n | never ended | p50 | p99 | longest |".to_owned());
    line("|---|---|---|--:|--:|--:|--:|--:|".to_owned());
    for times in &report.latency_by_op {
        let response = &times.response;
        line(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&times.f),
            times.stage.title(),
            times.outcome.word(),
            response.count,
            response.censored,
            response.p50_ms,
            response.p99_ms,
            response.max_ms
        ));
    }
    line(String::new());
    line("</details>".to_owned());
    line(String::new());
    line("<details><summary>What this run could not show</summary>".to_owned());
    line(String::new());
    for limit in &report.limits {
        line(format!("- {}", cell(limit)));
    }
    line(String::new());
    line("</details>".to_owned());
    page
}
