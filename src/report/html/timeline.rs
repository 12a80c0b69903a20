//! The run on one time axis: load, response times, errors, and lanes of what happened to the cluster.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::heat::heat;
use super::markup::{Text, script_json};
use super::plot::{self, HEIGHT, LogScale};
use crate::measure::{Bin, ERROR_KINDS, Series};
use crate::model::{ContainerState, ErrorKind, Event, EventKind, Millis, Phase, PodChange};
use crate::report::judge::Judged;

/// With more faults than this their names do not fit beside their bars.
const NAMED_FAULTS_MAX: usize = 12;
/// More lanes than this are not drawn; what they would hold is in the table of events.
const POD_LANES_MAX: usize = 6;

/// The axis that all rows share.
pub(super) struct Axis {
    pub(super) span_ms: f64,
}

/// A colour, and how high it reaches in an interval.
type Layer = (&'static str, fn(&Bin) -> u32);

/// A bar in a lane.
struct Bar {
    from_ms: f64,
    to_ms: f64,
    class: &'static str,
    label: String,
    title: String,
}

pub(super) fn timeline(page: &mut String, judged: &Judged) {
    let series = &judged.drawn.series;
    let bins_ms = Millis::from_ns(series.bin_ns).0 * as_f64(series.bins.len() as u64);
    let axis = Axis { span_ms: judged.report.run.duration_ms.0.max(bins_ms).max(1.0).ceil() };
    page.push_str(
        "<div class=\"card long\"><div class=\"tools\" role=\"toolbar\" aria-label=\"Zoom the timeline\">\
         <button data-do=\"in\">Zoom in</button><button data-do=\"out\">Zoom out</button><button data-do=\"left\" aria-label=\"Earlier\">←</button>\
         <button data-do=\"right\" aria-label=\"Later\">→</button><button data-do=\"previous\">Previous fault</button>\
         <button data-do=\"next\">Next fault</button><button data-do=\"all\">Whole run</button></div>\
         <p class=\"readout\" id=\"readout\" aria-live=\"polite\">Drag over the chart to zoom, or focus it and press <kbd>n</kbd> <kbd>p</kbd> for the \
         next and previous fault, <kbd>+</kbd> <kbd>-</kbd> <kbd>0</kbd> to zoom, <kbd>←</kbd> <kbd>→</kbd> to read values.</p>\n",
    );
    let _ = writeln!(
        page,
        "<div id=\"chart\" tabindex=\"0\" role=\"group\" aria-label=\"Timeline of the run; arrow keys read values, plus and minus zoom\" style=\"--from:0;--span:{:.0}\">",
        axis.span_ms
    );
    if series.bins.is_empty() {
        page.push_str("<p class=\"soft\">No op of the workload was recorded.</p>");
    } else {
        throughput(page, series, &axis);
        response(page, series, &axis);
        errors(page, series, &axis);
    }
    lanes(page, judged);
    page.push_str("<div class=\"shades\">");
    for episode in judged.report.episodes.iter().filter(|episode| episode.outage_ms.0 > 0.0) {
        let _ = write!(page, "<div class=\"at\" style=\"--s:{:.1};--w:{:.1}\"></div>", episode.start_ms.0, episode.outage_ms.0);
    }
    let _ = write!(page, "</div><div class=\"axis\" id=\"axis\">");
    for part in 0..=4 {
        let share = f64::from(part) / 4.0;
        let class = ["first", "", "", "", "last"][part as usize];
        let _ = write!(page, "<span class=\"{class}\" style=\"left:{:.0}%\">{:.0} s</span>", share * 100.0, share * axis.span_ms / 1_000.0);
    }
    page.push_str("</div></div>");
    let _ = write!(
        page,
        "<p class=\"soft\">One interval is {}; times count from the run's start. Shaded: clients were cut off.</p></div>",
        Millis::from_ns(series.bin_ns)
    );
    let _ = writeln!(page, "<script type=\"application/json\" id=\"data\">{}</script>", script_json(&data(judged, &axis)));
}

fn as_f64(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a picture are far below 2^53")]
    let number = count as f64;
    number
}

/// The middle of an interval, in ms.
fn middle_ms(series: &Series, at: usize) -> f64 {
    (as_f64(at as u64) + 0.5) * Millis::from_ns(series.bin_ns).0
}

pub(super) fn open_plot(page: &mut String, title: &str, legend: &[(&str, &str)], about: &str, size: &str, axis: &Axis) {
    let _ = write!(page, "<div class=\"row\"><h3>{title}</h3>");
    plot::legend(page, legend);
    let _ = write!(
        page,
        "<div class=\"plot {size}\"><svg class=\"series\" viewBox=\"0 0 {:.0} {HEIGHT:.0}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        axis.span_ms,
        Text(about)
    );
}

fn throughput(page: &mut String, series: &Series, axis: &Axis) {
    let seconds = Millis::from_ns(series.bin_ns).0 / 1_000.0;
    let rate = |count: u32| f64::from(count) / seconds;
    let highest = series.bins.iter().map(|bin| (bin.ok + bin.fail + bin.info).max(bin.due)).max().unwrap_or(0);
    let (top, parts) = plot::nice(rate(highest));
    let y = |count: u32| HEIGHT * (1.0 - rate(count) / top);
    let total: u64 = series.bins.iter().map(|bin| u64::from(bin.ok)).sum();
    let legend = [("ok", "ok"), ("fail", "failed"), ("info", "unknown"), ("due", "due")];
    open_plot(page, "Ops a second", &legend, &format!("Throughput over time: {total} ops ended ok"), "", axis);
    let ticks = plot::linear_ticks(top, parts);
    plot::grid(page, &ticks, 0.0, axis.span_ms);
    let layers: [Layer; 3] = [("info", |bin| bin.ok + bin.fail + bin.info), ("fail", |bin| bin.ok + bin.fail), ("ok", |bin| bin.ok)];
    for (colour, height) in layers {
        let _ = write!(page, "<path fill=\"var(--{colour})\" d=\"M{:.0} {HEIGHT:.0}", middle_ms(series, 0));
        for (at, bin) in series.bins.iter().enumerate() {
            let _ = write!(page, "L{:.0} {:.1}", middle_ms(series, at), y(height(bin)));
        }
        let _ = write!(page, "L{:.0} {HEIGHT:.0}Z\"/>", middle_ms(series, series.bins.len() - 1));
    }
    let points = series.bins.iter().enumerate().map(|(at, bin)| (middle_ms(series, at), Some(y(bin.due))));
    line(page, "due", points);
    page.push_str("</svg>");
    plot::labels(page, &ticks);
    page.push_str("</div></div>\n");
}

/// A line through the points, broken where there is none.
fn line(page: &mut String, colour: &str, points: impl Iterator<Item = (f64, Option<f64>)>) {
    let _ = write!(page, "<path class=\"line\" stroke=\"var(--{colour})\" d=\"");
    let mut pen = 'M';
    for (x, y) in points {
        match y {
            Some(y) => {
                let _ = write!(page, "{pen}{x:.0} {y:.1}");
                // A single point between two gaps is still a dot.
                if pen == 'M' {
                    page.push_str("h.01");
                }
                pen = 'L';
            }
            None => pen = 'M',
        }
    }
    page.push_str("\"/>");
}

fn response(page: &mut String, series: &Series, axis: &Axis) {
    let quantiles: Vec<Option<[u64; 3]>> =
        series.bins.iter().map(|bin| Some([bin.quantile_ns(0.5)?, bin.quantile_ns(0.99)?, bin.max_ns])).collect();
    let scale = LogScale::of(quantiles.iter().flatten().flatten().copied());
    let legend = [("p50", "median"), ("p99", "99th percentile"), ("max", "longest")];
    open_plot(page, "Response time of ops that ended ok, by when they were due", &legend, "Response times over time", "", axis);
    let ticks = scale.ticks();
    plot::grid(page, &ticks, 0.0, axis.span_ms);
    // The band between the median and the 99th percentile, a polygon for each stretch without a gap.
    page.push_str("<path fill=\"var(--p99)\" fill-opacity=\".18\" d=\"");
    let mut at = 0;
    while at < quantiles.len() {
        let end = quantiles[at..].iter().position(Option::is_none).map_or(quantiles.len(), |gap| at + gap);
        let mut pen = 'M';
        for (k, values) in (at..end).zip(&quantiles[at..end]) {
            if let Some([_, p99, _]) = values {
                let _ = write!(page, "{pen}{:.0} {:.1}", middle_ms(series, k), scale.y(*p99));
                pen = 'L';
            }
        }
        for (k, values) in (at..end).zip(&quantiles[at..end]).rev() {
            if let Some([p50, _, _]) = values {
                let _ = write!(page, "L{:.0} {:.1}", middle_ms(series, k), scale.y(*p50));
            }
        }
        if end > at {
            page.push('Z');
        }
        at = end + 1;
    }
    page.push_str("\"/>");
    for (which, colour) in [(2, "max"), (1, "p99"), (0, "p50")] {
        let points = quantiles.iter().enumerate().map(|(at, values)| (middle_ms(series, at), values.map(|values| scale.y(values[which]))));
        line(page, colour, points);
    }
    page.push_str("</svg>");
    plot::labels(page, &ticks);
    page.push_str("</div></div>\n");
    heat(page, series, scale, axis);
}

/// As people read it.
pub(super) fn kind_words(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Refused => "connection refused",
        ErrorKind::Reset => "connection reset (RST)",
        ErrorKind::Closed => "connection closed (FIN)",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Login => "login refused",
        ErrorKind::Server => "server error",
        ErrorKind::Protocol => "protocol error",
        ErrorKind::Declined => "declined",
        ErrorKind::NotSent => "not sent",
    }
}

fn errors(page: &mut String, series: &Series, axis: &Axis) {
    let totals: Vec<(usize, u64)> = (0..ERROR_KINDS.len())
        .map(|kind| (kind, series.bins.iter().map(|bin| u64::from(bin.errors[kind])).sum()))
        .filter(|&(_, total): &(usize, u64)| total > 0)
        .collect();
    if totals.is_empty() {
        page.push_str("<div class=\"row\"><h3>Errors</h3><p class=\"soft\">No op of the workload ended in an error.</p></div>\n");
        return;
    }
    let words: Vec<(String, String)> =
        totals.iter().map(|&(kind, total)| (format!("e{kind}"), format!("{} ({total})", kind_words(ERROR_KINDS[kind])))).collect();
    let legend: Vec<(&str, &str)> = words.iter().map(|(colour, words)| (colour.as_str(), words.as_str())).collect();
    let highest: u32 = series.bins.iter().map(|bin| bin.errors.iter().sum()).max().unwrap_or(0);
    let (top, parts) = plot::nice(f64::from(highest));
    let about: Vec<&str> = words.iter().map(|(_, words)| words.as_str()).collect();
    open_plot(page, "Errors an interval, by kind", &legend, &format!("Errors over time: {}", about.join(", ")), "low", axis);
    let ticks = plot::linear_ticks(top, parts);
    plot::grid(page, &ticks, 0.0, axis.span_ms);
    let width_ms = Millis::from_ns(series.bin_ns).0;
    let mut below = vec![0_u32; series.bins.len()];
    for (kind, _) in totals {
        let _ = write!(page, "<path fill=\"var(--e{kind})\" d=\"");
        for (at, bin) in series.bins.iter().enumerate().filter(|(_, bin)| bin.errors[kind] > 0) {
            let bottom = HEIGHT * (1.0 - f64::from(below[at]) / top);
            let height = HEIGHT * f64::from(bin.errors[kind]) / top;
            let _ = write!(page, "M{:.0} {bottom:.1}h{width_ms:.0}v-{height:.1}h-{width_ms:.0}Z", as_f64(at as u64) * width_ms);
            below[at] += bin.errors[kind];
        }
        page.push_str("\"/>");
    }
    page.push_str("</svg>");
    plot::labels(page, &ticks);
    page.push_str("</div></div>\n");
}

fn lanes(page: &mut String, judged: &Judged) {
    let end_ms = judged.report.run.duration_ms.0;
    let events = &judged.drawn.events;
    lane_rows(page, "Phases of the run", pack(phases(events, end_ms)), usize::MAX);
    let named = judged.report.faults.len() <= NAMED_FAULTS_MAX;
    let label = |id: &str| if named { id.to_owned() } else { String::new() };
    let faults = judged
        .report
        .faults
        .iter()
        .filter_map(|fault| {
            let from_ms = fault.injected_at_ms?.0;
            let to_ms = fault_end(judged, &fault.id).unwrap_or(end_ms);
            let target = fault.target.as_ref().map_or(String::new(), |t| format!("{} {} on {}", t.kind, t.name, t.node));
            let title = format!("{}: {target}, {} to {}", fault.id, Millis(from_ms), Millis(to_ms));
            Some(Bar { from_ms, to_ms, class: "faulty", label: label(&fault.id), title })
        })
        .collect();
    lane_rows(page, "Faults, until the target had recovered", pack(faults), 4);
    lane_rows(page, "Pods of the target (dark: ready)", pack(pods(events, end_ms)), POD_LANES_MAX);
}

/// When the target had recovered from a fault, else when it was healed.
pub(super) fn fault_end(judged: &Judged, id: &str) -> Option<f64> {
    let recovered = judged.drawn.events.iter().find_map(|event| match &event.kind {
        EventKind::FaultRecovered { fault, recovered: true, .. } if fault == id => Some(Millis::from_ns(event.time_ns).0),
        _ => None,
    });
    recovered.or_else(|| judged.report.faults.iter().find(|fault| fault.id == id)?.healed_at_ms.map(|ms| ms.0))
}

fn phases(events: &[Event], end_ms: f64) -> Vec<Bar> {
    let mut open: BTreeMap<Phase, f64> = BTreeMap::new();
    let mut bars = Vec::new();
    for event in events {
        let now_ms = Millis::from_ns(event.time_ns).0;
        match &event.kind {
            EventKind::PhaseStarted { phase } => {
                open.insert(*phase, now_ms);
            }
            EventKind::PhaseFinished { phase, .. } => {
                if let Some(from_ms) = open.remove(phase) {
                    bars.push(phase_bar(*phase, from_ms, now_ms));
                }
            }
            _ => {}
        }
    }
    bars.extend(open.into_iter().map(|(phase, from_ms)| phase_bar(phase, from_ms, end_ms)));
    bars.sort_by(|a, b| a.from_ms.total_cmp(&b.from_ms));
    bars
}

fn phase_bar(phase: Phase, from_ms: f64, to_ms: f64) -> Bar {
    let title = format!("{}: {} to {}", phase.title(), Millis(from_ms), Millis(to_ms));
    Bar { from_ms, to_ms, class: "run", label: phase.title().to_owned(), title }
}

/// A bar for each stretch of a pod's life: there, and ready.
fn pods(events: &[Event], end_ms: f64) -> Vec<Bar> {
    struct Life {
        name: String,
        node: String,
        from_ms: f64,
        to_ms: Option<f64>,
        ready: Vec<(f64, Option<f64>)>,
    }
    let mut lives: Vec<(String, Life)> = Vec::new();
    for event in events {
        let EventKind::Pod { change, pod } = &event.kind else { continue };
        let now_ms = Millis::from_ns(event.time_ns).0;
        let at = lives.iter().position(|(uid, _)| *uid == pod.uid).unwrap_or_else(|| {
            let life = Life { name: pod.name.clone(), node: String::new(), from_ms: now_ms, to_ms: None, ready: Vec::new() };
            lives.push((pod.uid.clone(), life));
            lives.len() - 1
        });
        let life = &mut lives[at].1;
        if let Some(node) = &pod.node {
            life.node.clone_from(node);
        }
        let running = pod.containers.iter().any(|container| matches!(container.state, ContainerState::Running { .. }));
        let ready = pod.ready && running && *change != PodChange::Deleted;
        match life.ready.last_mut() {
            Some((_, end @ None)) if !ready => *end = Some(now_ms),
            Some((_, None)) => {}
            _ if ready => life.ready.push((now_ms, None)),
            _ => {}
        }
        if *change == PodChange::Deleted {
            life.to_ms = Some(now_ms);
        }
    }
    let mut bars = Vec::new();
    for (_, life) in lives {
        let to_ms = life.to_ms.unwrap_or(end_ms);
        let short = life.name.rsplit('-').next().unwrap_or(&life.name);
        let title = format!("pod {} on {}: {} to {}", life.name, life.node, Millis(life.from_ms), Millis(to_ms));
        bars.push(Bar { from_ms: life.from_ms, to_ms, class: "alive", label: String::new(), title: title.clone() });
        for (from_ms, end) in life.ready {
            let to_ms = end.unwrap_or(to_ms);
            bars.push(Bar { from_ms, to_ms, class: "ready", label: format!("{short} · {}", life.node), title: title.clone() });
        }
    }
    bars
}

/// Puts bars into as few lanes as hold them without overlap. A bar that lies within the one before it, as readiness does in a pod's life, stays with it.
fn pack(bars: Vec<Bar>) -> Vec<Vec<Bar>> {
    let mut lanes: Vec<(f64, Vec<Bar>)> = Vec::new();
    let mut last = 0;
    for bar in bars {
        if bar.class == "ready" {
            if let Some((_, lane)) = lanes.get_mut(last) {
                lane.push(bar);
            }
            continue;
        }
        last = lanes.iter().position(|(until_ms, _)| *until_ms <= bar.from_ms).unwrap_or_else(|| {
            lanes.push((0.0, Vec::new()));
            lanes.len() - 1
        });
        lanes[last].0 = bar.to_ms;
        lanes[last].1.push(bar);
    }
    lanes.into_iter().map(|(_, lane)| lane).collect()
}

fn lane_rows(page: &mut String, title: &str, lanes: Vec<Vec<Bar>>, lanes_max: usize) {
    if lanes.is_empty() {
        return;
    }
    let _ = write!(page, "<div class=\"row\"><h3>{title}</h3>");
    let hidden = lanes.len().saturating_sub(lanes_max);
    for lane in lanes.into_iter().take(lanes_max) {
        page.push_str("<div class=\"lane\">");
        for bar in lane {
            let _ = write!(
                page,
                "<div class=\"at bar {}\" style=\"--s:{:.1};--w:{:.1}\" title=\"{}\"><span>{}</span></div>",
                bar.class,
                bar.from_ms,
                (bar.to_ms - bar.from_ms).max(0.0),
                Text(&bar.title),
                Text(&bar.label)
            );
        }
        page.push_str("</div>");
    }
    if hidden > 0 {
        let _ = write!(page, "<p class=\"soft\">{hidden} more lanes are not drawn; timeline.jsonl holds them.</p>");
    }
    page.push_str("</div>\n");
}

/// What the script reads values from.
fn data(judged: &Judged, axis: &Axis) -> serde_json::Value {
    let series = &judged.drawn.series;
    let counts = |of: fn(&Bin) -> u32| series.bins.iter().map(of).collect::<Vec<u32>>();
    let quantile = |q: f64| series.bins.iter().map(|bin| bin.quantile_ns(q).map(|ns| ns / 1_000)).collect::<Vec<_>>();
    let kinds: Vec<usize> = (0..ERROR_KINDS.len()).filter(|&kind| series.bins.iter().any(|bin| bin.errors[kind] > 0)).collect();
    let faults: Vec<serde_json::Value> = judged
        .report
        .faults
        .iter()
        .filter_map(|fault| {
            let from = fault.injected_at_ms?.0;
            Some(json!({ "id": fault.id, "from": from, "to": fault_end(judged, &fault.id).unwrap_or(axis.span_ms) }))
        })
        .collect();
    json!({
        "spanMs": axis.span_ms,
        "binMs": Millis::from_ns(series.bin_ns).0,
        "due": counts(|bin| bin.due),
        "ok": counts(|bin| bin.ok),
        "fail": counts(|bin| bin.fail),
        "info": counts(|bin| bin.info),
        "p50": quantile(0.5),
        "p99": quantile(0.99),
        "max": series.bins.iter().map(|bin| (bin.max_ns > 0).then_some(bin.max_ns / 1_000)).collect::<Vec<_>>(),
        "kinds": kinds.iter().map(|&kind| kind_words(ERROR_KINDS[kind])).collect::<Vec<_>>(),
        "errors": kinds.iter().map(|&kind| series.bins.iter().map(|bin| bin.errors[kind]).collect::<Vec<_>>()).collect::<Vec<_>>(),
        "faults": faults,
    })
}
