//! The summary for a terminal: verdict first, fits its width, loses nothing without colour.

use std::collections::BTreeMap;

use crate::measure::{NewConnections, Sessions, median};
use crate::model::{Millis, Outcome, Provider, Verdict};

use super::model::{CheckReport, EpisodeReport, Report};
use super::paint::{Ink, Paint, cut, wrap};

/// The phases of an outage, each with its letter in the bar and its words in the legend.
pub(super) const PHASES: [(&str, char, &str); 15] = [
    ("first-error", 'e', "until the first error"),
    ("endpoint-removed", 'x', "endpoint removed"),
    ("old-container-gone", 'o', "old container gone"),
    ("new-pod-created", 'n', "new pod created"),
    ("scheduled", 's', "scheduled"),
    ("volume-ready", 'v', "volume ready"),
    ("container-started", 'c', "container started"),
    ("recovery-started", 'b', "recovery started"),
    ("recovery-ended", 'd', "recovery ended"),
    ("first-tcp", 't', "first TCP"),
    ("first-login", 'l', "first login"),
    ("ready", 'r', "ready"),
    ("endpoint-added", 'a', "endpoint added"),
    ("first-commit", '=', "first commit"),
    ("no-commit-yet", '?', "no commit yet"),
];

/// How many outages are listed.
const OUTAGES_MAX: usize = 12;

struct Page {
    lines: Vec<String>,
    width: usize,
    paint: Paint,
}

impl Page {
    fn text(&mut self, text: &str, first: usize, rest: usize) {
        self.lines.extend(wrap(text, self.width, first, rest));
    }

    fn title(&mut self, text: &str) {
        self.lines.push(String::new());
        let text = self.paint.ink(Ink::Title, text);
        self.lines.push(text);
    }
}

/// Renders a report for a terminal of this width, 60 columns at the least.
pub fn terminal(report: &Report, width: usize, colour: bool) -> String {
    let mut page = Page { lines: Vec::new(), width: width.max(60), paint: Paint { colour } };
    head(&mut page, report);
    claims(&mut page, report);
    outages(&mut page, report);
    accounting(&mut page, report);
    load(&mut page, report);
    list(&mut page, "What this run could not show", &report.limits);
    list(&mut page, "Notes", &report.notes);
    next(&mut page, report);
    let mut text = page.lines.join("\n");
    text.push('\n');
    text
}

fn head(page: &mut Page, report: &Report) {
    let ink = match report.verdict {
        Outcome::Pass => Ink::Good,
        Outcome::Inconclusive => Ink::Doubt,
        Outcome::Fail => Ink::Bad,
    };
    let verdict = report.verdict.to_string();
    let place = match report.run.provider {
        Provider::Sandbox => "sandbox: not a real Kubernetes".to_owned(),
        Provider::Kind => format!("kind cluster {}", report.run.cluster),
        Provider::K3d => format!("k3d cluster {}", report.run.cluster),
        Provider::Context => format!("context {}", report.run.cluster),
    };
    let room = page.width.saturating_sub(verdict.len() + place.chars().count() + 6);
    let name = cut(&report.run.experiment, room);
    page.lines.push(format!("{}  {name}  ({place})", page.paint.ink(ink, &verdict)));
    for reason in &report.reasons {
        page.text(reason, 2, 4);
    }
    let mut facts = vec![
        format!("run {}", report.run.id),
        format!("seed {}", report.run.seed),
        format!("took {}", report.run.duration_ms),
        format!("{} {}", report.run.engine.name, report.run.engine.version),
    ];
    if let Some(version) = &report.run.kubernetes_version {
        facts.push(format!("Kubernetes {version}"));
    }
    page.text(&facts.join(", "), 2, 2);
}

fn claims(page: &mut Page, report: &Report) {
    page.title("Claims");
    let mut silent = Vec::new();
    for claim in &report.claims {
        if !claim.expected && claim.verdict == Verdict::Unknown {
            silent.push(claim.id.id());
            continue;
        }
        let (ink, word) = match claim.verdict {
            Verdict::Valid => (Ink::Good, "holds  "),
            Verdict::Unknown => (Ink::Doubt, "unknown"),
            Verdict::Invalid => (Ink::Bad, "BROKEN "),
        };
        let aside = if claim.expected { "" } else { " (not expected)" };
        let statement = cut(&format!("{}{aside}", claim.statement), page.width - 17);
        page.lines.push(format!("  {}  {}  {statement}", claim.id, page.paint.ink(ink, word)));
        // One line of evidence where it holds, enough to act on where it does not.
        let shown = if claim.verdict == Verdict::Valid { 1 } else { 3 };
        for evidence in claim.evidence.iter().take(shown) {
            page.text(evidence, 17, 19);
        }
    }
    if !silent.is_empty() {
        page.text(&format!("not exercised and not expected: {}", silent.join(", ")), 2, 4);
    }
}

fn outages(page: &mut Page, report: &Report) {
    if report.episodes.is_empty() {
        return;
    }
    page.title("Outages as clients saw them");
    let longest = report.episodes.iter().map(|episode| episode.outage_ms.0).fold(0.0, f64::max);
    let label = report.episodes.iter().map(|episode| episode.fault_id.chars().count()).max().unwrap_or(0).min(24);
    let room = page.width - label - 15;
    let mut shown: Vec<&EpisodeReport> = report.episodes.iter().collect();
    if shown.len() > OUTAGES_MAX {
        // The longest ones are what a reader acts on; the order of the run is kept.
        shown.sort_by(|a, b| b.outage_ms.0.total_cmp(&a.outage_ms.0));
        shown.truncate(OUTAGES_MAX);
        shown.sort_by(|a, b| a.start_ms.0.total_cmp(&b.start_ms.0));
    }
    for episode in &shown {
        let id = cut(&episode.fault_id, label);
        let bar = if episode.phases.is_empty() {
            format!("no client saw an error, largest gap {}", episode.largest_gap_ms)
        } else {
            bar(episode, longest, room)
        };
        let length = if episode.ended { episode.outage_ms.to_string() } else { format!(">{}", episode.outage_ms) };
        page.lines.push(format!("  {id:<label$}  {length:>9}  {}", cut(&bar, room)));
    }
    if shown.len() < report.episodes.len() {
        let rest = report.episodes.len() - shown.len();
        page.text(&format!("and {rest} shorter ones"), 2, 4);
    }
    legend(page, report);
    let reconnect = &report.latency.reconnect;
    if reconnect.count > 0 {
        page.text(&reconnect.describe(), 2, 4);
    }
    ways_back(page, report);
    if report.episodes.iter().any(|e| e.seen_by == "new-connections") {
        page.text("In some outages only new connections were cut off; sessions that existed went on for a while.", 2, 4);
    }
}

/// How clients came back, over all outages: new connections by stage, and sessions that existed by how their loss was noticed.
fn ways_back(page: &mut Page, report: &Report) {
    let medians = |of: fn(&NewConnections) -> Option<Millis>| {
        let mut times: Vec<f64> =
            report.episodes.iter().filter_map(|episode| of(episode.new_connections.as_ref()?)).map(|ms| ms.0).collect();
        times.sort_by(f64::total_cmp);
        (!times.is_empty()).then(|| Millis(median(&times)))
    };
    let stages = [("TCP", medians(|new| new.tcp_ms)), ("login", medians(|new| new.login_ms)), ("commit", medians(|new| new.commit_ms))];
    let words: Vec<String> = stages.into_iter().filter_map(|(stage, ms)| Some(format!("{stage} after {}", ms?))).collect();
    if !words.is_empty() {
        page.text(&format!("new connections: {} (medians)", words.join(", ")), 2, 4);
    }
    let sessions: Vec<&Sessions> = report.episodes.iter().filter_map(|episode| episode.sessions.as_ref()).collect();
    if sessions.is_empty() {
        return;
    }
    let mut ways: BTreeMap<&str, u64> = BTreeMap::new();
    for (way, count) in sessions.iter().flat_map(|sessions| &sessions.noticed_by) {
        *ways.entry(way).or_default() += count;
    }
    let ways: Vec<String> = ways.into_iter().map(|(way, count)| format!("{count} {way}")).collect();
    let total = |of: fn(&Sessions) -> u64| sessions.iter().map(|sessions| of(sessions)).sum::<u64>();
    let longest = |of: fn(&Sessions) -> Millis| Millis(sessions.iter().map(|sessions| of(sessions).0).fold(0.0, f64::max));
    let text = format!(
        "existing sessions: {} lost ({}), {} back; noticed after {} at most, committing again {} after that at most",
        total(|s| s.lost),
        ways.join(", "),
        total(|s| s.back),
        longest(|s| s.noticed.max_ms),
        longest(|s| s.commit.max_ms)
    );
    page.text(&text, 2, 4);
}

/// The outage as a bar, as long in proportion as the longest, one letter a phase.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a bar has at most as many cells as the terminal has columns"
)]
fn bar(episode: &EpisodeReport, longest_ms: f64, room: usize) -> String {
    if longest_ms <= 0.0 {
        return String::new();
    }
    let cell = |ms: f64| (ms / longest_ms * room as f64).round() as usize;
    let mut bar = String::new();
    for phase in &episode.phases {
        let end = phase.start_ms.0 + phase.duration_ms.0 - episode.start_ms.0;
        let letter = PHASES.iter().find(|(name, _, _)| *name == phase.name).map_or('.', |&(_, letter, _)| letter);
        while bar.chars().count() < cell(end).min(room) {
            bar.push(letter);
        }
    }
    if bar.is_empty() {
        bar.push('|');
    }
    bar
}

/// The phases that took time, each with its median over the outages.
fn legend(page: &mut Page, report: &Report) {
    let mut words = Vec::new();
    for (name, letter, title) in PHASES {
        let mut times: Vec<f64> = report
            .episodes
            .iter()
            .flat_map(|episode| &episode.phases)
            .filter(|phase| phase.name == name && phase.duration_ms.0 > 0.0)
            .map(|phase| phase.duration_ms.0)
            .collect();
        if times.is_empty() {
            continue;
        }
        times.sort_by(f64::total_cmp);
        words.push(format!("{letter} {title} {}", Millis(median(&times))));
    }
    if !words.is_empty() {
        page.text(&format!("{} (medians)", words.join(", ")), 2, 4);
    }
}

fn accounting(page: &mut Page, report: &Report) {
    page.title("Checks");
    for check in &report.checks {
        let (ink, word) = match check.verdict {
            Verdict::Valid => (Ink::Good, "valid  "),
            Verdict::Unknown => (Ink::Doubt, "unknown"),
            Verdict::Invalid => (Ink::Bad, "INVALID"),
        };
        let painted = page.paint.ink(ink, word);
        let text = if check.name == "ledger" { ledger(check) } else { check.evidence.first().cloned().unwrap_or_default() };
        let mut lines = wrap(&text, page.width, 26, 26).into_iter();
        let first = lines.next().unwrap_or_default();
        page.lines.push(format!("  {:<13}  {painted}  {}", check.name, first.trim_start()));
        page.lines.extend(lines);
    }
}

fn ledger(check: &CheckReport) -> String {
    let count = |name: &str| check.counts.get(name).copied().unwrap_or(0);
    if check.counts.is_empty() {
        return check.evidence.first().cloned().unwrap_or_default();
    }
    format!(
        "{} attempted = {} acknowledged + {} failed + {} unknown; read back: {} ok, {} recovered, {} lost, {} unexpected, {} \
         resurrected, {} duplicated, {} altered",
        count("attempted"),
        count("acknowledged"),
        count("failed"),
        count("unknown"),
        count("ok"),
        count("recovered"),
        count("lost"),
        count("unexpected"),
        count("resurrected"),
        count("duplicated"),
        count("altered"),
    )
}

fn load(page: &mut Page, report: &Report) {
    let closed = report.schedule.as_ref().is_some_and(|schedule| schedule.closed_loop);
    page.title(if closed { "Load (closed loop)" } else { "Load" });
    let latency = &report.latency;
    let response = &latency.response.ok;
    let open = match response.censored {
        0 => String::new(),
        n => format!(", {n} never ended"),
    };
    page.text(
        &format!(
            "response p50 {}, p99 {}, longest {} (n = {}{open}); a new connection and its commit p50 {}, p99 {} (n = {})",
            response.p50_ms,
            response.p99_ms,
            response.max_ms,
            response.count,
            latency.connect.p50_ms,
            latency.connect.p99_ms,
            latency.connect.count
        ),
        2,
        4,
    );
    if let Some(availability) = &report.availability {
        page.text(&availability.describe(), 2, 4);
    }
    for step in &report.load_steps {
        let text = format!(
            "{}: p50 {}, p99 {}, longest {} (n = {}; {} failed, {} unknown)",
            step.step,
            step.response.p50_ms,
            step.response.p99_ms,
            step.response.max_ms,
            step.response.count,
            step.failed,
            step.unknown + step.response.censored
        );
        page.text(&text, 2, 4);
    }
    if let Some(schedule) = report.schedule.as_ref().filter(|schedule| !schedule.closed_loop) {
        let text = format!(
            "{} ops issued, late by {} at p99 and {} at worst; {:.1} µs of CPU an op",
            schedule.issued, schedule.lateness.p99_ms, schedule.lateness.max_ms, schedule.cpu_per_op_us
        );
        page.text(&text, 2, 4);
    }
}

fn list(page: &mut Page, title: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    page.title(title);
    for item in items {
        page.text(&format!("- {item}"), 2, 4);
    }
}

fn next(page: &mut Page, report: &Report) {
    let anomalies = report.checks.iter().flat_map(|check| &check.examples).filter(|example| example.class != "recovered");
    let mut lines = Vec::new();
    for example in anomalies.take(3) {
        let key = example.key.map_or(String::new(), |key| format!(" key {key}"));
        let ops: Vec<String> = example.ops.iter().map(|op| format!("line {} at {}", op.index + 1, op.time_ms)).collect();
        lines.push(format!("{}{key}: {}; history.jsonl {}", example.class, example.detail, ops.join(", ")));
    }
    if report.verdict != Outcome::Pass {
        lines.push("report.json holds every number and every piece of evidence; timeline.jsonl holds every event".to_owned());
    }
    list(page, "What to look at next", &lines);
    if report.leaks().next().is_some() {
        page.title("Left in the cluster");
    }
    for item in report.leaks() {
        page.text(&format!("- {}, removed by:", item.what), 2, 4);
        // A command is copied as it is, so it is not broken.
        page.lines.push(format!("    {}", item.mend));
    }
}
