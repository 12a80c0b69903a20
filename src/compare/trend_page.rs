//! The history as one HTML page.

use std::fmt::Write;

use super::history::{Trend, TrendPoint};
use crate::model::Millis;
use crate::report::{Text, document, outcome_word};

/// The height of a sparkline, in units of its own.
const HEIGHT: f64 = 40.0;
/// The width of one run in it.
const STEP: f64 = 10.0;

/// Renders trends as a self-contained page. `folder_of` gives the link to a run's report; none where there is no page to link to.
pub fn trend_page(trends: &[Trend], link_of: impl Fn(&str) -> Option<String>) -> String {
    let mut body = String::from("<header><h1>History of runs</h1></header>\n<main>\n");
    for trend in trends {
        let _ = write!(
            body,
            "<section><h2>{}</h2><p class=\"soft\">{} · {} · n = {} · experiment {}</p><div class=\"tiles\">",
            Text(&trend.experiment),
            trend.provider.word(),
            Text(&trend.engine),
            trend.points.len(),
            Text(trend.experiment_hash.get(..12).unwrap_or("without a hash"))
        );
        spark(&mut body, "median outage", trend, &trend.outage_changes, |point| point.outage_p50_ms);
        spark(&mut body, "longest outage", trend, &[], |point| point.outage_max_ms);
        spark(&mut body, "response p99 before faults", trend, &trend.response_changes, |point| point.response_p99_ms);
        body.push_str("</div>");
        table(&mut body, trend, &link_of);
        body.push_str("</section>\n");
    }
    body.push_str(
        "</main><footer><p>Dashed: the figure took another level (Pettitt's test by ranks at 1 %, at least four runs on either side, at least 10 %).</p></footer>\n",
    );
    document("History of runs", &body)
}

fn spark(body: &mut String, title: &str, trend: &Trend, changes: &[usize], figure: fn(&TrendPoint) -> Option<f64>) {
    let values: Vec<Option<f64>> = trend.points.iter().map(figure).collect();
    let Some(last) = values.iter().rev().find_map(|value| *value) else { return };
    let top = values.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max) * 1.1;
    let _ = write!(
        body,
        "<div class=\"tile\"><div class=\"soft\">{title}</div><strong>{}</strong><div class=\"plot spark\"><svg viewBox=\"0 0 {:.0} {HEIGHT:.0}\" \
         preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{title} over {} runs; the table has the figures\">",
        Millis(last),
        STEP * as_f64(values.len()),
        values.len()
    );
    for &at in changes {
        let x = STEP * as_f64(at);
        let _ = write!(body, "<line class=\"grid\" stroke-dasharray=\"3 3\" x1=\"{x:.0}\" x2=\"{x:.0}\" y1=\"0\" y2=\"{HEIGHT:.0}\"/>");
    }
    body.push_str("<path class=\"line\" stroke=\"var(--p50)\" d=\"");
    let mut pen = 'M';
    for (at, value) in values.iter().enumerate() {
        let Some(value) = value else {
            pen = 'M';
            continue;
        };
        let _ = write!(body, "{pen}{:.0} {:.1}", STEP * (as_f64(at) + 0.5), HEIGHT * (1.0 - value / top));
        pen = 'L';
    }
    body.push_str("\"/></svg></div></div>");
}

fn as_f64(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a number of runs")]
    let number = count as f64;
    number
}

fn table(body: &mut String, trend: &Trend, link_of: &impl Fn(&str) -> Option<String>) {
    body.push_str(
        "<div class=\"card\"><div class=\"scroll\"><table><thead><tr><th scope=\"col\">run</th><th scope=\"col\">started</th><th scope=\"col\">verdict</th>\
         <th scope=\"col\" class=\"n\">lost</th><th scope=\"col\" class=\"n\">outages</th><th scope=\"col\" class=\"n\">median</th>\
         <th scope=\"col\" class=\"n\">longest</th><th scope=\"col\" class=\"n\">response p99</th><th scope=\"col\">engine</th></tr></thead><tbody>",
    );
    // The newest first: that is the one that a reader comes for.
    for (at, point) in trend.points.iter().enumerate().rev() {
        let (class, word) = outcome_word(point.verdict);
        let time = |ms: Option<f64>| ms.map_or("–".to_owned(), |ms| Millis(ms).to_string());
        let name = match link_of(&point.run) {
            Some(link) => format!("<a href=\"{}\">{}</a>", Text(&link), Text(&point.run)),
            None => Text(&point.run).to_string(),
        };
        let changed = trend.outage_changes.contains(&at) || trend.response_changes.contains(&at);
        let _ = write!(
            body,
            "<tr><th scope=\"row\">{name}{}</th><td>{}</td><td><span class=\"word {class}\">{word}</span></td><td class=\"n{}\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            if changed { " <span class=\"soft\">(change)</span>" } else { "" },
            Text(&point.started_at.get(..16).unwrap_or(&point.started_at).replace('T', " ")),
            if point.lost.is_some_and(|lost| lost > 0) { " alarm" } else { "" },
            point.lost.map_or("–".to_owned(), |lost| lost.to_string()),
            point.outages,
            time(point.outage_p50_ms),
            time(point.outage_max_ms),
            time(point.response_p99_ms),
            Text(&point.engine_version)
        );
    }
    body.push_str("</tbody></table></div></div>");
}
