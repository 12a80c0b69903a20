//! Several runs on one page.

use std::fmt::Write;

use super::html::{Text, document, outcome_word};
use super::model::Report;
use crate::model::{Outcome, Verdict};

/// One run of several: its folder's name and what it showed, or why it shows nothing.
pub struct Entry {
    /// The experiment.
    pub experiment: String,
    /// The name of the run's folder, beside the page; none where the run did not get so far as to have one.
    pub folder: Option<String>,
    /// What it showed.
    pub report: Option<Report>,
    /// Why it ended early.
    pub error: Option<String>,
}

/// Renders a page that leads to the report of every run. `not_run` names the experiments that were left out because an earlier one did not pass.
pub fn index(entries: &[Entry], not_run: &[String]) -> String {
    let outcome = |entry: &Entry| entry.report.as_ref().map_or(Outcome::Inconclusive, |report| report.verdict);
    let worst = entries.iter().map(outcome).max().unwrap_or(Outcome::Inconclusive);
    let (class, word) = outcome_word(worst);
    let count = |wanted| entries.iter().filter(|entry| outcome(entry) == wanted).count();
    let mut body = format!(
        "<header><div class=\"head\"><span class=\"badge {class}\">{word}</span><h1>{} runs</h1></div><p>{} passed, {} failed, {} inconclusive</p></header>\n<main><div class=\"card\">\
         <div class=\"scroll\"><table><thead><tr><th scope=\"col\">experiment</th><th scope=\"col\">verdict</th><th scope=\"col\">why</th>\
         <th scope=\"col\">broken claims</th><th scope=\"col\" class=\"n\">outages</th><th scope=\"col\" class=\"n\">median</th>\
         <th scope=\"col\" class=\"n\">longest</th></tr></thead><tbody>",
        entries.len(),
        count(Outcome::Pass),
        count(Outcome::Fail),
        count(Outcome::Inconclusive)
    );
    for entry in entries {
        row(&mut body, entry, outcome(entry));
    }
    body.push_str("</tbody></table></div>");
    if !not_run.is_empty() {
        let _ = write!(body, "<p class=\"alarm\">Not run, because an earlier run did not pass: {}</p>", Text(&not_run.join(", ")));
    }
    body.push_str("</div></main>\n");
    document(&format!("{worst}: {} runs", entries.len()), &body)
}

fn row(body: &mut String, entry: &Entry, outcome: Outcome) {
    let (class, word) = outcome_word(outcome);
    let name = match &entry.folder {
        Some(folder) => {
            format!("<a href=\"{0}/report.html\">{1}</a><br><span class=\"soft\">{0}</span>", Text(folder), Text(&entry.experiment))
        }
        None => Text(&entry.experiment).to_string(),
    };
    let report = entry.report.as_ref();
    let why = entry.error.clone().or_else(|| report?.reasons.first().cloned()).unwrap_or_default();
    let broken: Vec<&str> = report
        .iter()
        .flat_map(|report| &report.claims)
        .filter(|claim| claim.expected && claim.verdict == Verdict::Invalid)
        .map(|claim| claim.id.id())
        .collect();
    let reconnect = report.map(|report| report.latency.reconnect).unwrap_or_default();
    let time = |ms: crate::model::Millis| if reconnect.count == 0 { "–".to_owned() } else { ms.to_string() };
    let _ = write!(
        body,
        "<tr><th scope=\"row\">{name}</th><td><span class=\"word {class}\">{word}</span></td><td>{}</td><td>{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
        Text(&why),
        broken.join(", "),
        reconnect.count,
        time(reconnect.p50_ms),
        time(reconnect.max_ms)
    );
}
