//! The parts of the page that are words and tables.

use std::fmt::Write;

use super::cycle;
use super::markup::{Text, check_word, claim_word, count, outcome_word, plain_list};
use crate::measure::{median, percent};
use crate::model::{Millis, Outcome, Provider};
use crate::report::judge::Judged;
use crate::report::model::{CheckReport, Example, Report};
use crate::report::terminal::PHASES;

/// Evidence beyond this is folded away.
const EVIDENCE_SHOWN: usize = 6;

/// Counts of a check that are a finding when they are not 0.
const ALARMS: [&str; 6] = ["lost", "unexpected", "resurrected", "duplicated", "altered", "overlaps"];

pub(super) fn head(page: &mut String, judged: &Judged) {
    let report = &judged.report;
    let (class, word) = outcome_word(report.verdict);
    let run = &report.run;
    let place = match run.provider {
        Provider::Sandbox => "sandbox: not a real Kubernetes".to_owned(),
        Provider::Kind => format!("kind cluster {}", run.cluster),
        Provider::K3d => format!("k3d cluster {}", run.cluster),
        Provider::Context => format!("context {}", run.cluster),
    };
    // To a second: the fraction is in the table below.
    let started = run.started_at.split(['.', 'Z']).next().unwrap_or_default().replace('T', " ") + " UTC";
    let _ = write!(
        page,
        "<header>\n<div class=\"head\"><span class=\"badge {class}\">{word}</span><h1>{}</h1></div>\n<p>{}</p>\n<p class=\"soft\">{} · {} {}{} · {} · took {}</p>\n",
        Text(&run.experiment),
        Text(&run.description),
        Text(&place),
        Text(&run.engine.name),
        Text(&run.engine.version),
        run.kubernetes_version.as_ref().map_or(String::new(), |version| format!(" · Kubernetes {}", Text(version))),
        Text(&started),
        run.duration_ms
    );
    if !report.reasons.is_empty() {
        let _ = write!(page, "<ul class=\"reasons {class}\" aria-label=\"Reasons\">");
        for reason in &report.reasons {
            let _ = write!(page, "<li>{}</li>", Text(reason));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("<dl class=\"tiles\">");
    lost(page, report);
    cut_off(page, report);
    longest_phase(page, report);
    response(page, report);
    served(page, report);
    page.push_str("</dl>\n");
    for item in report.leaks() {
        let _ = write!(
            page,
            "<p class=\"reasons fail\">Left in the cluster: {}; removed by <code>{}</code></p>",
            Text(&item.what),
            Text(&item.mend)
        );
    }
    page.push_str("</header>\n");
}

fn tile(page: &mut String, title: &str, value: &str, aside: &str, alarm: bool) {
    let class = if alarm { " class=\"alarm\"" } else { "" };
    let _ = write!(page, "<div class=\"tile\"><dt>{title}</dt><dd><span{class}>{value}</span><small>{aside}</small></dd></div>");
}

fn lost(page: &mut String, report: &Report) {
    let Some(ledger) = report.checks.iter().find(|check| check.name == "ledger") else { return };
    let of = |name: &str| ledger.counts.get(name).copied();
    match (of("lost"), of("acknowledged")) {
        // What was not read to the end is not known to be there.
        (Some(lost), Some(acknowledged)) if lost > 0 || ledger.verdict == crate::model::Verdict::Valid => {
            let aside = format!("of {} acknowledged", count(acknowledged));
            tile(page, "Acknowledged commits lost", &count(lost), &aside, lost > 0);
        }
        _ => tile(page, "Acknowledged commits lost", "unknown", "the check does not decide it", false),
    }
}

fn cut_off(page: &mut String, report: &Report) {
    let reconnect = &report.latency.reconnect;
    if reconnect.count == 0 {
        let value = if report.episodes.is_empty() { "not tested" } else { "never" };
        tile(page, "Clients cut off", value, &format!("{} faults", report.episodes.len()), false);
        return;
    }
    let more = if reconnect.censored > 0 { "more than " } else { "" };
    let aside = format!("median of n = {}; longest {more}{}", reconnect.count, reconnect.max_ms);
    tile(page, "Clients cut off", &reconnect.p50_ms.to_string(), &aside, false);
}

fn longest_phase(page: &mut String, report: &Report) {
    let medians = PHASES.iter().map(|(name, _, words)| {
        let phases = report.episodes.iter().flat_map(|episode| &episode.phases);
        let mut times: Vec<f64> = phases.filter(|phase| phase.name == *name).map(|phase| phase.duration_ms.0).collect();
        times.sort_by(f64::total_cmp);
        (median(&times), *words)
    });
    let Some((ms, words)) = medians.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(ms, _)| *ms > 0.0) else { return };
    tile(page, "Most of it waiting for", words, &format!("median {}", Millis(ms)), false);
}

fn response(page: &mut String, report: &Report) {
    let (before, all) = (&report.latency.stages.before.response, &report.latency.response.ok);
    let (value, aside) = if before.count > 0 {
        (before.p99_ms, format!("before the first fault; {} over the whole run", all.p99_ms))
    } else {
        (all.p99_ms, format!("n = {}", count(all.count)))
    };
    tile(page, "Response time, p99", &value.to_string(), &aside, false);
}

fn served(page: &mut String, report: &Report) {
    if let Some(availability) = &report.availability {
        let aside = format!("no outage for {} of the time; Apdex {:.3} at 100 ms", percent(availability.time_ratio), availability.apdex);
        tile(page, "Ops answered", &percent(availability.ops_ratio), &aside, false);
    }
}

pub(super) fn claims(page: &mut String, judged: &Judged) {
    page.push_str(
        "<div class=\"card long\"><table class=\"claims\"><thead><tr><th scope=\"col\">claim</th><th scope=\"col\">verdict</th>\
         <th scope=\"col\">statement and evidence</th></tr></thead><tbody>",
    );
    for claim in &judged.report.claims {
        let (class, word) = claim_word(claim.verdict);
        let class = if claim.expected { class } else { "" };
        let aside = if claim.expected { "" } else { " <span class=\"soft\">(not expected, decides nothing)</span>" };
        let _ = write!(
            page,
            "<tr><th scope=\"row\">{}</th><td><span class=\"word {class}\">{word}</span></td><td><strong>{}</strong>{aside}",
            claim.id,
            Text(&claim.statement)
        );
        evidence(page, &claim.evidence);
        page.push_str("</td></tr>");
    }
    page.push_str("</tbody></table></div>\n");
}

/// Evidence, worst first; what is beyond a screen of it is folded.
fn evidence(page: &mut String, said: &[String]) {
    let shown = if said.len() > EVIDENCE_SHOWN + 1 { EVIDENCE_SHOWN } else { said.len() };
    plain_list(page, said[..shown].iter().map(String::as_str));
    if shown < said.len() {
        let _ = write!(page, "<details><summary>{} more</summary>", said.len() - shown);
        plain_list(page, said[shown..].iter().map(String::as_str));
        page.push_str("</details>");
    }
}

pub(super) fn checks(page: &mut String, judged: &Judged) {
    for check in &judged.report.checks {
        let (class, word) = check_word(check.verdict);
        let _ = write!(
            page,
            "<div class=\"card\"><h3>{} <span class=\"word {class}\">{word}</span> <span class=\"soft\">decides {}</span></h3>",
            Text(&check.name),
            check.decides
        );
        evidence(page, &check.evidence);
        if check.name == "ledger" && !check.counts.is_empty() {
            ledger(page, check);
        } else {
            counts(page, check);
        }
        examples(page, &check.examples);
        page.push_str("</div>\n");
    }
}

/// What was attempted and what became of it.
fn ledger(page: &mut String, check: &CheckReport) {
    let of = |name: &str| check.counts.get(name).copied().unwrap_or(0);
    let attempted = of("attempted").max(1);
    page.push_str("<div class=\"stack\" aria-hidden=\"true\">");
    for (name, colour) in [("acknowledged", "ok"), ("failed", "fail"), ("unknown", "info")] {
        #[expect(clippy::cast_precision_loss, reason = "counts of ops are far below 2^53")]
        let share = of(name) as f64 / attempted as f64 * 100.0;
        let _ = write!(page, "<span style=\"width:{share:.3}%;background:var(--{colour})\"></span>");
    }
    let _ = write!(
        page,
        "</div><p>{} attempted = {} acknowledged + {} failed + {} unknown</p>",
        count(of("attempted")),
        count(of("acknowledged")),
        count(of("failed")),
        count(of("unknown"))
    );
    const MEANINGS: [(&str, &str); 7] = [
        ("ok", "acknowledged, and there as written"),
        ("recovered", "outcome unknown to the client, and there: benign"),
        ("lost", "acknowledged, and not there"),
        ("unexpected", "there, and never attempted"),
        ("resurrected", "failed, and there all the same"),
        ("duplicated", "there more than once"),
        ("altered", "there with other content"),
    ];
    page.push_str("<div class=\"scroll\"><table><caption>Read back after everything had healed</caption><tbody>");
    for (name, meaning) in MEANINGS {
        let number = of(name);
        let class = match (number, ALARMS.contains(&name)) {
            (0, _) => "n zero",
            (_, true) => "n alarm",
            (_, false) => "n",
        };
        let _ = write!(page, "<tr><th scope=\"row\">{name}</th><td class=\"{class}\">{}</td><td>{meaning}</td></tr>", count(number));
    }
    page.push_str("</tbody></table></div>");
}

fn counts(page: &mut String, check: &CheckReport) {
    if check.counts.is_empty() {
        return;
    }
    let counts: Vec<String> = check.counts.iter().map(|(name, number)| format!("{} {name}", count(*number))).collect();
    let _ = write!(page, "<p class=\"soft\">{}</p>", Text(&counts.join(" · ")));
}

/// Each anomaly with the ops that prove it.
fn examples(page: &mut String, examples: &[Example]) {
    if examples.is_empty() {
        return;
    }
    let benign = examples.iter().all(|example| example.class == "recovered");
    let _ = write!(
        page,
        "<details{}><summary>{} {}, each with the ops that prove it</summary><div class=\"scroll\"><table><thead><tr><th scope=\"col\">what</th>\
         <th scope=\"col\">key</th><th scope=\"col\">detail</th><th scope=\"col\">ops (line of history.jsonl, time)</th></tr></thead><tbody>",
        if benign { "" } else { " open" },
        examples.len(),
        if benign { "benign recoveries" } else { "examples" }
    );
    for example in examples {
        let _ = write!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}",
            Text(&example.class),
            example.key.map_or(String::new(), |key| key.to_string()),
            Text(&example.detail)
        );
        cycle::cycle(page, example);
        page.push_str("</td><td><ul class=\"plain\">");
        for op in &example.ops {
            let kind = format!("{:?}", op.kind).to_lowercase();
            let _ = write!(page, "<li>line {} at {}: {kind} {} by process {}</li>", op.index + 1, op.time_ms, Text(&op.f), op.process);
        }
        page.push_str("</ul></td></tr>");
    }
    page.push_str("</tbody></table></div></details>");
}

pub(super) fn limits(page: &mut String, judged: &Judged) {
    page.push_str("<div class=\"card\"><p>What this run could not show:</p><ul class=\"limits\">");
    for limit in &judged.report.limits {
        let _ = write!(page, "<li>{}</li>", Text(limit));
    }
    page.push_str("</ul>");
    if !judged.report.notes.is_empty() {
        page.push_str("<p>Worth knowing, and decides nothing:</p><ul class=\"limits\">");
        for note in &judged.report.notes {
            let _ = write!(page, "<li>{}</li>", Text(note));
        }
        page.push_str("</ul>");
    }
    page.push_str("</div>\n");
}

pub(super) fn environment(page: &mut String, judged: &Judged) {
    let report = &judged.report;
    let run = &report.run;
    let commit = if run.harness.commit.is_empty() { String::new() } else { format!(" ({})", run.harness.commit) };
    let clock = run.clock.map_or("not compared".to_owned(), |clock| {
        format!("{:+.1} ms to ours, within {} (round trip {})", clock.offset_ms, clock.within_ms, clock.round_trip_ms)
    });
    let facts: [(&str, String); 11] = [
        ("run", run.id.clone()),
        ("experiment hash", run.experiment_hash.clone()),
        ("seed", run.seed.to_string()),
        ("started", run.started_at.clone()),
        ("provider", format!("{} {}", run.provider.word(), run.cluster)),
        ("the cluster's clock", clock),
        ("namespace", run.namespace.clone()),
        ("Kubernetes", run.kubernetes_version.clone().unwrap_or_else(|| "not asked".to_owned())),
        ("engine", format!("{} {}", run.engine.name, run.engine.version)),
        ("harness", format!("{}{commit}", run.harness.version)),
        (
            "recorded",
            format!(
                "{} transitions, {} ops that never ended, {} events",
                count(report.recorded.transitions),
                report.recorded.unfinished_ops,
                count(report.recorded.events)
            ),
        ),
    ];
    page.push_str("<div class=\"card long\"><div class=\"scroll\"><table><tbody>");
    for (name, value) in facts {
        let _ = write!(page, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", Text(&value));
    }
    let _ = writeln!(
        page,
        "</tbody></table></div><details><summary>The experiment as resolved</summary><pre tabindex=\"0\">{}</pre></details></div>",
        Text(&judged.drawn.experiment)
    );
}

pub(super) fn foot(page: &mut String, report: &Report) {
    let again = match report.verdict {
        Outcome::Pass => {
            "A pass means that these faults, this often, at this rate, on this cluster did not break the promise. It is evidence, not proof."
        }
        Outcome::Fail | Outcome::Inconclusive => {
            "history.jsonl holds every op and timeline.jsonl every event; <code>chaos check</code> judges them again."
        }
    };
    let _ = write!(page, "<footer><p>{again}</p><p>Drawn from the run's folder: ");
    for (at, name) in report.artifacts.iter().filter(|name| *name != "report.html").enumerate() {
        let _ = write!(page, "{}<a href=\"{1}\">{1}</a>", if at == 0 { "" } else { ", " }, Text(name));
    }
    page.push_str("</p></footer>\n");
}
