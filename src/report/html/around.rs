//! What happened around each fault: what was done, what the cluster said and what the database wrote.

use std::fmt::Write;

use super::markup::Text;
use super::timeline::{fault_end, kind_words};
use crate::model::{ContainerState, Event, EventKind, Millis, PodChange, PodSeen};
use crate::report::judge::Judged;
use crate::report::model::FaultReport;

/// How long before a fault and after its recovery events belong to it.
const MARGIN_MS: f64 = 2_000.0;
/// Events of one fault; what is beyond is counted.
const ROWS_MAX: usize = 150;
/// Events of the whole page, so that a run with a thousand faults has a page that opens.
const ROWS_ALL_MAX: usize = 4_000;

pub(super) fn faults(page: &mut String, judged: &Judged) {
    if judged.report.faults.is_empty() {
        page.push_str("<p class=\"soft\">No fault was started.</p>");
        return;
    }
    let mut rows_left = ROWS_ALL_MAX;
    for (at, fault) in judged.report.faults.iter().enumerate() {
        let troubled = fault.attested != Some(true) || fault.recovered != Some(true);
        let _ = write!(page, "<div class=\"card long\"><h3>{} {}</h3>", Text(&fault.id), state(fault));
        story(page, judged, fault);
        if let Some(injected) = fault.injected_at_ms {
            let open = at == 0 || troubled;
            events(page, judged, fault, injected.0, open, &mut rows_left);
        }
        page.push_str("</div>\n");
    }
}

fn state(fault: &FaultReport) -> String {
    let (class, word) = match (&fault.refused, fault.attested, fault.recovered) {
        (Some(_), _, _) => ("unknown", "? refused"),
        (None, Some(true), Some(true)) => ("valid", "✓ took effect, recovered"),
        (None, Some(true), Some(false)) => ("invalid", "✗ did not recover"),
        (None, Some(true), None) => ("unknown", "? recovery not seen"),
        (None, Some(false), _) => ("unknown", "? did not take effect"),
        (None, None, _) => ("unknown", "? not attested"),
    };
    format!("<span class=\"word {class}\">{word}</span>")
}

fn story(page: &mut String, judged: &Judged, fault: &FaultReport) {
    page.push_str("<p>");
    if let Some(target) = &fault.target {
        let _ = write!(page, "{} at {} {}", Text(&fault.kind), Text(&target.kind), Text(&target.name));
        if !target.node.is_empty() && target.node != target.name {
            let _ = write!(page, " on {}", Text(&target.node));
        }
        let _ = write!(page, " ({}). ", Text(&fault.parameters));
    }
    if let Some(injected) = fault.injected_at_ms {
        let _ = write!(page, "Injected at {injected}");
        if let Some(ops) = fault.in_flight {
            let _ = write!(page, " with {ops} ops in flight");
        }
        if let Some(ago) = fault.since_last_ack_ms {
            let _ = write!(page, ", {ago} after the last acknowledged commit");
        }
        if let Some(end_ms) = fault_end(judged, &fault.id) {
            let _ = write!(page, "; recovered after {}", Millis((end_ms - injected.0).max(0.0)));
        }
        page.push_str(". ");
    }
    let _ = write!(page, "<span class=\"soft\">Can reveal: {}.</span></p>", Text(&fault.reach));
    if let Some(why) = &fault.refused {
        let _ = write!(page, "<p>Refused: {}</p>", Text(why));
    }
    if !fault.last_seen.is_empty() {
        let _ = write!(page, "<p class=\"alarm\">Last seen: {}</p>", Text(&fault.last_seen));
    }
    if !fault.evidence.is_empty() {
        page.push_str("<p class=\"soft\">Attested by:</p>");
        super::markup::plain_list(page, fault.evidence.iter().map(String::as_str));
    }
}

fn events(page: &mut String, judged: &Judged, fault: &FaultReport, injected_ms: f64, open: bool, rows_left: &mut usize) {
    let end_ms = fault_end(judged, &fault.id).unwrap_or(f64::INFINITY) + MARGIN_MS;
    let within = |event: &&Event| {
        let at_ms = Millis::from_ns(event.time_ns).0;
        at_ms >= injected_ms - MARGIN_MS && at_ms <= end_ms
    };
    let told: Vec<(f64, &'static str, String)> = judged
        .drawn
        .events
        .iter()
        .filter(within)
        .filter_map(|event| {
            let (source, text) = describe(&event.kind)?;
            Some((Millis::from_ns(event.time_ns).0 - injected_ms, source, text))
        })
        .collect();
    let shown = told.len().min(ROWS_MAX).min(*rows_left);
    *rows_left -= shown;
    let _ = write!(
        page,
        "<details{}><summary>{} events, Kubernetes and database log lines around it</summary><div class=\"scroll\"><table class=\"log\"><thead><tr>\
         <th scope=\"col\" class=\"n\">since the fault</th><th scope=\"col\">seen by</th><th scope=\"col\">what</th></tr></thead><tbody>",
        if open { " open" } else { "" },
        told.len()
    );
    for (since_ms, source, text) in &told[..shown] {
        let _ = write!(
            page,
            "<tr><td class=\"n\">{:+.3} s</td><td class=\"where\">{source}</td><td>{}</td></tr>",
            since_ms / 1_000.0,
            Text(text)
        );
    }
    page.push_str("</tbody></table></div>");
    if shown < told.len() {
        let _ = write!(page, "<p class=\"soft\">{} more are in timeline.jsonl.</p>", told.len() - shown);
    }
    page.push_str("</details>");
}

/// Who saw an event, and the event in words; none of what other parts of the page show.
fn describe(kind: &EventKind) -> Option<(&'static str, String)> {
    Some(match kind {
        EventKind::Pod { change, pod } => ("pod watch", pod_words(*change, pod)),
        EventKind::Endpoints { endpoints } => {
            let ready: Vec<&str> = endpoints.iter().filter(|e| e.ready).map(|e| e.address.as_str()).collect();
            let said = if ready.is_empty() { "no ready endpoint".to_owned() } else { format!("ready: {}", ready.join(", ")) };
            ("endpoint watch", said)
        }
        EventKind::KubeEvent { object, reason, message, count, .. } => {
            let times = if *count > 1 { format!(" ({count} times)") } else { String::new() };
            ("event watch", format!("{object}: {reason}: {message}{times}"))
        }
        EventKind::Node { name, ready, unschedulable, taints } => {
            let state = if *ready { "ready" } else { "not ready" };
            let cordon = if *unschedulable { ", cordoned" } else { "" };
            let taints = if taints.is_empty() { String::new() } else { format!(", taints {}", taints.join(", ")) };
            ("node watch", format!("{name}: {state}{cordon}{taints}"))
        }
        EventKind::EngineLog { line, .. } => ("database log", line.clone()),
        EventKind::Probe { stage, .. } => ("prober", format!("{stage:?} succeeds again").to_lowercase()),
        EventKind::ProbeFailed { stage, error, .. } => {
            let number = error.number.map_or(String::new(), |number| format!(" {number}"));
            ("prober", format!("{} fails: {}{number} {}", format!("{stage:?}").to_lowercase(), kind_words(error.kind), error.message))
        }
        EventKind::FaultStarted { fault, .. } => ("harness", format!("{fault}: target resolved, undo journalled")),
        EventKind::FaultInjected { fault, .. } => ("harness", format!("{fault}: injected")),
        EventKind::FaultAttested { fault, attested, .. } => {
            ("harness", format!("{fault}: {}", if *attested { "took effect" } else { "did not take effect" }))
        }
        EventKind::FaultRecovered { fault, recovered, detail } => {
            ("harness", format!("{fault}: {} {detail}", if *recovered { "recovered" } else { "did not recover" }))
        }
        EventKind::FaultHealed { fault, detail } => ("harness", format!("{fault}: healed: {detail}")),
        EventKind::FaultRefused { fault, reason } => ("harness", format!("{fault}: refused: {reason}")),
        EventKind::HarnessError { message } => ("harness", format!("error: {message}")),
        _ => return None,
    })
}

fn pod_words(change: PodChange, pod: &PodSeen) -> String {
    let mut words = match change {
        PodChange::Added => format!("{} added", pod.name),
        PodChange::Modified => pod.name.clone(),
        PodChange::Deleted => return format!("{} is gone", pod.name),
    };
    let _ = write!(words, ": {}", pod.phase);
    if let Some(node) = &pod.node {
        let _ = write!(words, " on {node}");
    }
    for container in &pod.containers {
        let _ = match &container.state {
            ContainerState::Waiting { reason, .. } => write!(words, ", {} waiting ({reason})", container.name),
            ContainerState::Running { .. } => write!(words, ", {} running", container.name),
            ContainerState::Terminated(end) => write!(words, ", {} ended with {} {}", container.name, end.exit_code, end.reason),
        };
        if container.restarts > 0 {
            let _ = write!(words, ", {} restarts", container.restarts);
        }
    }
    if pod.ready {
        words.push_str(", ready");
    }
    if pod.terminating {
        words.push_str(", terminating");
    }
    if !pod.reason.is_empty() {
        let _ = write!(words, " ({})", pod.reason);
    }
    words
}
