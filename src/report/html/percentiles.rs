//! Latency by percentile and stage of the run.

use std::fmt::Write;

use super::markup::{Text, count};
use super::plot::{self, HEIGHT, LogScale};
use crate::measure::{Curve, Stage, Summary};
use crate::report::judge::Judged;
use crate::report::model::Report;

/// One nine of the percentile axis, in units of the plot.
const NINE: f64 = 100.0;

fn stage_colour(stage: Stage) -> &'static str {
    match stage {
        Stage::Before => "due",
        Stage::During => "max",
        Stage::After => "p50",
    }
}

pub(super) fn latency(page: &mut String, judged: &Judged) {
    let curves = &judged.drawn.curves;
    page.push_str("<div class=\"card long\">");
    if curves.is_empty() {
        page.push_str("<p class=\"soft\">No op of the workload was recorded.</p>");
    } else {
        draw(page, curves);
    }
    steps(page, &judged.report);
    figures(page, &judged.report);
    by_op(page, &judged.report);
    page.push_str("</div>\n");
}

fn draw(page: &mut String, curves: &[Curve]) {
    let scale = LogScale::of(curves.iter().flat_map(|curve| &curve.points).map(|&(_, ns)| ns));
    let nines = curves.iter().flat_map(|curve| &curve.points).map(|&(nines, _)| nines).fold(2.0, f64::max).ceil();
    page.push_str("<h3>Response time by percentile, by the stage of the run in which an op was due</h3>");
    let words: Vec<(&str, String)> = curves.iter().map(|curve| (stage_colour(curve.stage), curve_words(curve))).collect();
    let legend: Vec<(&str, &str)> = words.iter().map(|(colour, words)| (*colour, words.as_str())).collect();
    plot::legend(page, &legend);
    let _ = write!(
        page,
        "<div class=\"plot tall\"><svg viewBox=\"0 0 {:.0} {HEIGHT:.0}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"Percentiles of the response time; the table below has the figures\">",
        nines * NINE
    );
    let ticks = scale.ticks();
    plot::grid(page, &ticks, 0.0, nines * NINE);
    let mut nine = 1.0;
    while nine < nines {
        let _ = write!(page, "<line class=\"grid\" x1=\"{x:.0}\" x2=\"{x:.0}\" y1=\"0\" y2=\"{HEIGHT:.0}\"/>", x = nine * NINE);
        nine += 1.0;
    }
    for curve in curves {
        let _ = write!(page, "<path class=\"line\" stroke=\"var(--{})\" d=\"", stage_colour(curve.stage));
        for (at, &(nines, ns)) in curve.points.iter().enumerate() {
            let _ = write!(page, "{}{:.1} {:.1}", if at == 0 { 'M' } else { 'L' }, nines * NINE, scale.y(ns));
        }
        // Beyond its end nothing succeeded: the line goes up and out of the picture.
        if let Some(&(nines, _)) = curve.points.last().filter(|_| curve.ok < curve.due) {
            let _ = write!(page, "L{:.1} 0", nines * NINE);
        }
        page.push_str("\"/>");
    }
    page.push_str("</svg>");
    plot::labels(page, &ticks);
    page.push_str("</div><div class=\"axis\">");
    let mut nine = 0.0;
    while nine <= nines {
        let label = match nine {
            n if n < 0.5 => "all".to_owned(),
            n if n < 1.5 => "90 %".to_owned(),
            n if n < 2.5 => "99 %".to_owned(),
            n => format!("99.{} %", "9".repeat(repeats(n))),
        };
        let class = if nine < 0.5 {
            "first"
        } else if nine >= nines {
            "last"
        } else {
            ""
        };
        let _ = write!(page, "<span class=\"{class}\" style=\"left:{:.2}%\">{label}</span>", nine / nines * 100.0);
        nine += 1.0;
    }
    page.push_str(
        "</div><p class=\"soft\">Of all ops that were due. An op that failed, is unknown or never ended counts as slower than every other, so a line \
         that leaves the plot at its top tells the share of ops that succeeded.</p>",
    );
}

/// How many nines stand behind the point.
fn repeats(nines: f64) -> usize {
    (3..=9_u32).find(|&n| f64::from(n) >= nines - 0.5).map_or(1, |n| n as usize - 2)
}

fn curve_words(curve: &Curve) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts of ops are far below 2^53")]
    let share = curve.ok as f64 / curve.due.max(1) as f64 * 100.0;
    // Not to be rounded to a whole that it is not.
    let share = if curve.ok == curve.due { "100".to_owned() } else { format!("{:.2}", share.min(99.99)) };
    format!("{}: n = {}, {share} % ok", curve.stage.title(), count(curve.due))
}

/// At which rate the target still answered in time.
fn steps(page: &mut String, report: &Report) {
    if report.load_steps.is_empty() {
        return;
    }
    page.push_str(
        "<h3>Steps of the load</h3><div class=\"scroll\"><table><caption>Ops that were due while a fault was in force are left out.</caption><thead><tr>\
         <th scope=\"col\">step</th><th scope=\"col\" class=\"n\">from</th><th scope=\"col\" class=\"n\">ok</th><th scope=\"col\" class=\"n\">failed</th>\
         <th scope=\"col\" class=\"n\">unknown or open</th><th scope=\"col\" class=\"n\">p50</th><th scope=\"col\" class=\"n\">p99</th>\
         <th scope=\"col\" class=\"n\">longest</th></tr></thead><tbody>",
    );
    for step in &report.load_steps {
        let _ = write!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            Text(&step.step),
            step.from_ms,
            count(step.response.count),
            count(step.failed),
            count(step.unknown + step.response.censored),
            step.response.p50_ms,
            step.response.p99_ms,
            step.response.max_ms
        );
    }
    page.push_str("</tbody></table></div>");
}

/// What every table of times tells.
const COLUMNS: &str = "<th scope=\"col\" class=\"n\">n</th><th scope=\"col\" class=\"n\">never ended</th><th scope=\"col\" class=\"n\">p50</th>\
     <th scope=\"col\" class=\"n\">p90</th><th scope=\"col\" class=\"n\">p99</th><th scope=\"col\" class=\"n\">p99.9</th>\
     <th scope=\"col\" class=\"n\">longest</th>";

fn figures(page: &mut String, report: &Report) {
    let _ = write!(
        page,
        "<div class=\"scroll\"><table><caption>Response time counts from when an op was due (open loop, so that a stall counts for every op that it \
         held up), service time from when it was sent.</caption><thead><tr><th scope=\"col\">what</th>{COLUMNS}</tr></thead><tbody>"
    );
    let latency = &report.latency;
    for stage in Stage::ALL {
        let of = latency.stages.of(stage);
        row(page, &format!("response, {}", stage.title()), &of.response);
    }
    row(page, "response, ops that ended ok", &latency.response.ok);
    row(page, "response, ops that failed", &latency.response.fail);
    row(page, "response, ops that are unknown", &latency.response.info);
    row(page, "service, ops that ended ok", &latency.service.ok);
    row(page, "new connection, login and commit (prober)", &latency.connect);
    page.push_str("</tbody></table></div>");
    if report.schedule.as_ref().is_some_and(|schedule| schedule.closed_loop) {
        page.push_str("<p><strong>Closed loop:</strong> clients waited for each answer, so these times leave out what clients that do not wait would have met.</p>");
    } else if let Some(schedule) = &report.schedule {
        let _ = write!(
            page,
            "<p class=\"soft\">The harness issued {} ops, late by {} at p99 and {} at worst; {} were due and not sent; {:.1} µs of CPU an op.</p>",
            count(schedule.issued),
            schedule.lateness.p99_ms,
            schedule.lateness.max_ms,
            count(schedule.not_sent),
            schedule.cpu_per_op_us
        );
    }
}

/// Every kind of op by stage and outcome.
fn by_op(page: &mut String, report: &Report) {
    if report.latency_by_op.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "<details><summary>By kind of op, stage of the run and outcome</summary><div class=\"scroll\"><table><caption>Response time.</caption>\
         <thead><tr><th scope=\"col\">what</th>{COLUMNS}</tr></thead><tbody>"
    );
    for times in &report.latency_by_op {
        row(page, &format!("{}, {}: {}", times.f, times.stage.title(), times.outcome.word()), &times.response);
    }
    page.push_str("</tbody></table></div></details>");
}

fn row(page: &mut String, what: &str, times: &Summary) {
    if times.count == 0 && times.censored == 0 {
        return;
    }
    let _ = write!(
        page,
        "<tr><th scope=\"row\">{what}</th><td class=\"n\">{}</td><td class=\"n{}\">{}</td>",
        count(times.count),
        if times.censored == 0 { " zero" } else { "" },
        count(times.censored)
    );
    for ms in [times.p50_ms, times.p90_ms, times.p99_ms, times.p999_ms, times.max_ms] {
        let _ = write!(page, "<td class=\"n\">{ms}</td>");
    }
    page.push_str("</tr>");
}
