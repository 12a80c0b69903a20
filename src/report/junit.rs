//! JUnit XML: one testcase for the run, one for each claim and one for each check, with ids that stay the same from run to run.
//!
//! The file holds a failure or an error exactly when the run is not a pass: what the experiment does not expect is skipped, with its finding as the message.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::{Outcome, Verdict};

use super::model::Report;

/// How a testcase ended.
enum Ending {
    Passed,
    Skipped,
    Error,
    Failure,
}

impl Ending {
    fn of(verdict: Verdict, decides: bool) -> Ending {
        match verdict {
            Verdict::Valid => Ending::Passed,
            _ if !decides => Ending::Skipped,
            Verdict::Unknown => Ending::Error,
            Verdict::Invalid => Ending::Failure,
        }
    }
}

struct Case<'a> {
    class: &'static str,
    name: &'a str,
    ending: Ending,
    message: String,
    text: String,
}

/// Renders a report as JUnit XML.
pub(super) fn junit(report: &Report) -> String {
    junit_of([report])
}

/// Renders several reports as one JUnit file, a suite each: an experiment's repeats are numbered from the second on.
pub fn junit_of<'a>(reports: impl IntoIterator<Item = &'a Report>) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let mut runs: BTreeMap<&str, u32> = BTreeMap::new();
    for report in reports {
        let runs = runs.entry(&report.run.experiment).or_default();
        *runs += 1;
        // Of testcases with one name CI systems keep only one, so each repeat has its own.
        let name = if *runs == 1 { report.run.experiment.clone() } else { format!("{} #{runs}", report.run.experiment) };
        suite(&mut xml, report, &name);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(xml: &mut String, report: &Report, name: &str) {
    let mut cases = vec![Case {
        class: "run",
        name: "verdict",
        ending: match report.verdict {
            Outcome::Pass => Ending::Passed,
            Outcome::Inconclusive => Ending::Error,
            Outcome::Fail => Ending::Failure,
        },
        message: report.reasons.first().cloned().unwrap_or_default(),
        text: report.reasons.join("\n"),
    }];
    for claim in &report.claims {
        cases.push(Case {
            class: "claims",
            name: claim.id.id(),
            ending: Ending::of(claim.verdict, claim.expected),
            message: format!("{}: {}", claim.statement, claim.verdict),
            text: claim.evidence.join("\n"),
        });
    }
    for check in &report.checks {
        // A check decides through its claim, and is as bad as the claim makes it.
        let decides = report.claims.iter().any(|claim| claim.expected && claim.id == check.decides && claim.verdict >= check.verdict);
        cases.push(Case {
            class: "checks",
            name: &check.name,
            ending: Ending::of(check.verdict, decides),
            message: format!("{}: {}", check.name, check.verdict),
            text: check.evidence.join("\n"),
        });
    }
    render(xml, report, name, &cases);
}

fn render(xml: &mut String, report: &Report, name: &str, cases: &[Case<'_>]) {
    let count = |wanted: fn(&Ending) -> bool| cases.iter().filter(|c| wanted(&c.ending)).count();
    let suite = escape(name);
    // Writing to a string does not fail.
    let _ = writeln!(
        xml,
        "<testsuite name=\"{suite}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\" timestamp=\"{}\">",
        cases.len(),
        count(|e| matches!(e, Ending::Failure)),
        count(|e| matches!(e, Ending::Error)),
        count(|e| matches!(e, Ending::Skipped)),
        report.run.duration_ms.0 / 1_000.0,
        escape(&report.run.started_at),
    );
    for case in cases {
        let _ = write!(xml, "  <testcase classname=\"{suite}.{}\" name=\"{}\">", case.class, escape(case.name));
        let (message, text) = (escape(&case.message), escape(&case.text));
        let _ = match case.ending {
            Ending::Passed => write!(xml, "<system-out>{text}</system-out>"),
            Ending::Skipped => write!(xml, "<skipped message=\"{message}\"/>"),
            Ending::Error => write!(xml, "<error message=\"{message}\">{text}</error>"),
            Ending::Failure => write!(xml, "<failure message=\"{message}\">{text}</failure>"),
        };
        xml.push_str("</testcase>\n");
    }
    xml.push_str("</testsuite>\n");
}

/// Escapes what XML reserves and drops what it cannot hold at all.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push('\t'),
            c if c < ' ' || c == '\u{fffe}' || c == '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
