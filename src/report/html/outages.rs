//! Where the time of each outage went, and of all together.

use std::fmt::Write;

use super::markup::Text;
use crate::measure::median;
use crate::model::Millis;
use crate::report::judge::Judged;
use crate::report::model::{EpisodeReport, PhaseReport, Report};
use crate::report::terminal::PHASES;

/// How many outages are drawn before the rest is folded away.
const SHOWN: usize = 25;

pub(super) fn outages(page: &mut String, judged: &Judged) {
    let report = &judged.report;
    let longest = report.episodes.iter().map(|episode| episode.outage_ms.0).fold(0.0, f64::max);
    if report.episodes.is_empty() {
        page.push_str("<p class=\"soft\">No fault was injected, so no outage was looked for.</p>");
        return;
    }
    page.push_str("<div class=\"card long\">");
    summary(page, report);
    legend(page, report);
    page.push_str("<div class=\"falls\">");
    medians(page, report, longest);
    for episode in report.episodes.iter().take(SHOWN) {
        fall(page, episode, longest);
    }
    page.push_str("</div>");
    if report.episodes.len() > SHOWN {
        let _ = write!(page, "<details><summary>{} more outages</summary><div class=\"falls\">", report.episodes.len() - SHOWN);
        for episode in &report.episodes[SHOWN..] {
            fall(page, episode, longest);
        }
        page.push_str("</div></details>");
    }
    phase_table(page, report);
    ways_back(page, report);
    page.push_str("</div>\n");
}

fn summary(page: &mut String, report: &Report) {
    let reconnect = &report.latency.reconnect;
    if reconnect.count == 0 {
        page.push_str("<p>No client saw an error.</p>");
        return;
    }
    let interval = match reconnect.p50_interval_ms {
        Some([low, high]) => format!(" (95 % confidence interval {low} to {high}, bootstrap)"),
        None => " (too few for a confidence interval)".to_owned(),
    };
    let open = match reconnect.censored {
        0 => String::new(),
        n => format!("; {n} of them did not end while anyone looked"),
    };
    let _ = write!(
        page,
        "<p>n = {}: median {}{interval}, shortest {}, p99 {}, longest {}{open}.</p>",
        reconnect.count, reconnect.p50_ms, reconnect.min_ms, reconnect.p99_ms, reconnect.max_ms
    );
    if report.episodes.iter().any(|episode| episode.seen_by == "new-connections") {
        page.push_str(
            "<p class=\"soft\">In some outages only new connections were cut off; sessions that existed went on for a while.</p>",
        );
    }
}

/// Its place in the table of phases is its colour.
fn colour(name: &str) -> usize {
    PHASES.iter().position(|(known, _, _)| *known == name).unwrap_or(0)
}

fn words(name: &str) -> &str {
    PHASES.iter().find(|(known, _, _)| *known == name).map_or(name, |(_, _, words)| words)
}

/// The durations of a phase over all outages, sorted.
fn durations(report: &Report, name: &str) -> Vec<f64> {
    let phases = report.episodes.iter().flat_map(|episode| &episode.phases);
    let mut durations: Vec<f64> = phases.filter(|phase| phase.name == name).map(|phase| phase.duration_ms.0).collect();
    durations.sort_by(f64::total_cmp);
    durations
}

fn legend(page: &mut String, report: &Report) {
    page.push_str("<ul class=\"legend\">");
    for (at, (name, _, words)) in PHASES.iter().enumerate() {
        if durations(report, name).last().is_some_and(|&longest| longest > 0.0) {
            let _ = write!(page, "<li><i style=\"background:var(--ph{at})\"></i>{words}</li>");
        }
    }
    page.push_str("</ul>");
}

fn segment(page: &mut String, name: &str, duration_ms: f64, longest_ms: f64, source: &str) {
    let _ = write!(
        page,
        "<span style=\"width:{:.3}%;background:var(--ph{})\" title=\"{}: {}{}\"></span>",
        duration_ms / longest_ms * 100.0,
        colour(name),
        Text(words(name)),
        Millis(duration_ms),
        Text(source)
    );
}

/// The median of each phase, one after the other. Their sum is near the median outage and not equal to it.
fn medians(page: &mut String, report: &Report, longest_ms: f64) {
    if longest_ms <= 0.0 || report.latency.reconnect.count < 2 {
        return;
    }
    let of_phases: Vec<(&str, f64)> = PHASES.iter().map(|(name, _, _)| (*name, median(&durations(report, name)))).collect();
    let _ = write!(
        page,
        "<span class=\"total\">all, median of each phase</span><span class=\"n total\">{}</span><div class=\"fall\" role=\"img\" aria-label=\"Median of each phase\">",
        report.latency.reconnect.p50_ms
    );
    let sum: f64 = of_phases.iter().map(|(_, ms)| ms).sum();
    for (name, ms) in of_phases.into_iter().filter(|&(_, ms)| ms > 0.0) {
        segment(page, name, ms, longest_ms.max(sum), "");
    }
    page.push_str("</div>");
}

fn fall(page: &mut String, episode: &EpisodeReport, longest_ms: f64) {
    let more = if episode.ended { "" } else { "&gt;" };
    let _ = write!(
        page,
        "<span class=\"id\">{}</span><span class=\"n\">{more}{}</span><div class=\"fall\" role=\"img\" aria-label=\"Phases of {}\">",
        Text(&episode.fault_id),
        episode.outage_ms,
        Text(&episode.fault_id)
    );
    if longest_ms > 0.0 {
        for phase in episode.phases.iter().filter(|phase| phase.duration_ms.0 > 0.0) {
            let unsure = phase.uncertainty_ms.filter(|ms| ms.0 > 0.0).map_or(String::new(), |ms| format!(", up to {ms} before"));
            let source = format!(", seen by {}{unsure}", phase.source);
            segment(page, &phase.name, phase.duration_ms.0, longest_ms, &source);
        }
    }
    if episode.phases.is_empty() {
        let _ = write!(page, "<em class=\"soft\">no client saw an error; longest gap between commits {}</em>", episode.largest_gap_ms);
    }
    page.push_str("</div>");
}

fn phase_table(page: &mut String, report: &Report) {
    let total: f64 = report.episodes.iter().flat_map(|episode| &episode.phases).map(|phase| phase.duration_ms.0).sum();
    if total <= 0.0 {
        return;
    }
    page.push_str(
        "<details><summary>Phases in figures</summary><div class=\"scroll\"><table><caption>Contiguous, from the last commit before the outage to \
         the first after it; the phases of one outage sum exactly to it.</caption><thead><tr><th scope=\"col\">phase ends with</th>\
         <th scope=\"col\" class=\"n\">n</th><th scope=\"col\" class=\"n\">median</th><th scope=\"col\" class=\"n\">shortest</th>\
         <th scope=\"col\" class=\"n\">longest</th><th scope=\"col\" class=\"n\">share</th><th scope=\"col\" class=\"n\">seen late by up to</th>\
         <th scope=\"col\">seen by</th></tr></thead><tbody>",
    );
    for (name, _, words) in PHASES {
        let times = durations(report, name);
        let (Some(first), Some(last)) = (times.first(), times.last()) else { continue };
        let phases = report.episodes.iter().flat_map(|episode| &episode.phases);
        let of_name: Vec<&PhaseReport> = phases.filter(|phase| phase.name == name).collect();
        let unsure = of_name.iter().filter_map(|phase| phase.uncertainty_ms).max_by(|a, b| a.0.total_cmp(&b.0));
        let mut sources: Vec<&str> = of_name.iter().map(|phase| phase.source.as_str()).collect();
        sources.sort_unstable();
        sources.dedup();
        let _ = write!(
            page,
            "<tr><th scope=\"row\">{words}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{:.1} %</td><td class=\"n\">{}</td><td>{}</td></tr>",
            times.len(),
            Millis(median(&times)),
            Millis(*first),
            Millis(*last),
            times.iter().sum::<f64>() / total * 100.0,
            unsure.map_or("not known".to_owned(), |ms| ms.to_string()),
            Text(&sources.join(", "))
        );
    }
    page.push_str("</tbody></table></div></details>");
}

/// How clients came back: three stages of new connections, and what became of sessions that existed.
fn ways_back(page: &mut String, report: &Report) {
    let told = |episode: &&EpisodeReport| episode.new_connections.is_some() || episode.sessions.is_some();
    if !report.episodes.iter().any(|episode| told(&episode)) {
        return;
    }
    page.push_str(
        "<h3>How clients came back</h3><div class=\"scroll\"><table><caption>New connections count from the start of the outage; sessions from when their \
         client noticed, which itself counts from the start of the fault. Median and longest.</caption><thead><tr><th scope=\"col\">fault</th>\
         <th scope=\"col\" class=\"n\">new: TCP</th><th scope=\"col\" class=\"n\">login</th><th scope=\"col\" class=\"n\">commit</th>\
         <th scope=\"col\" class=\"n\">sessions lost</th><th scope=\"col\">noticed by</th><th scope=\"col\" class=\"n\">noticed after</th>\
         <th scope=\"col\" class=\"n\">login</th><th scope=\"col\" class=\"n\">first commit</th></tr></thead><tbody>",
    );
    for episode in report.episodes.iter().filter(told).take(SHOWN) {
        let _ = write!(page, "<tr><th scope=\"row\">{}</th>", Text(&episode.fault_id));
        let new = episode.new_connections.unwrap_or_default();
        for stage in [new.tcp_ms, new.login_ms, new.commit_ms] {
            let _ = write!(page, "<td class=\"n\">{}</td>", stage.map_or("–".to_owned(), |ms| ms.to_string()));
        }
        let Some(sessions) = &episode.sessions else {
            page.push_str("<td class=\"n zero\">0</td><td></td><td class=\"n\">–</td><td class=\"n\">–</td><td class=\"n\">–</td></tr>");
            continue;
        };
        let ways: Vec<String> = sessions.noticed_by.iter().map(|(way, count)| format!("{count} {way}")).collect();
        let away = sessions.lost.saturating_sub(sessions.back);
        let away = if away > 0 { format!(" ({away} not back)") } else { String::new() };
        let _ = write!(page, "<td class=\"n\">{}{away}</td><td>{}</td>", sessions.lost, Text(&ways.join(", ")));
        for times in [&sessions.noticed, &sessions.login, &sessions.commit] {
            let both = if times.count == 0 { "–".to_owned() } else { format!("{}, {}", times.p50_ms, times.max_ms) };
            let _ = write!(page, "<td class=\"n\">{both}</td>");
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>");
}
