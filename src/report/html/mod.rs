//! `report.html`: one self-contained page that a manager reads and an engineer acts on.
//!
//! Everything is drawn here, as text, tables and SVG, so that the page says all it has to say without its script; the script only zooms the timeline. Nothing is loaded
//! from anywhere: the page's own content security policy forbids it, and allows no script but the one whose hash it names. Every text of a run goes through
//! [`markup::Text`], which escapes it. The page stays small however long the run was: the series has a bounded number of intervals, and lists are cut where
//! [`around`] and [`sections`] say so. (Writing to a string does not fail, so its result is left alone in every part of the page.)

mod around;
mod cycle;
mod heat;
mod markup;
mod outages;
mod percentiles;
mod plot;
mod sections;
mod timeline;

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::judge::Judged;
pub(crate) use markup::{Text, outcome_word};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// The parts of the page: anchor, title and what draws it.
type Section = (&'static str, &'static str, fn(&mut String, &Judged));

const SECTIONS: [Section; 8] = [
    ("claims", "Claims", sections::claims),
    ("timeline", "Timeline", timeline::timeline),
    ("outages", "Outages", outages::outages),
    ("latency", "Latency", percentiles::latency),
    ("checks", "Checks", sections::checks),
    ("faults", "Faults", around::faults),
    ("limits", "Limits", sections::limits),
    ("environment", "Environment", sections::environment),
];

/// Renders a run as one HTML page.
pub(super) fn html(judged: &Judged) -> String {
    let report = &judged.report;
    let mut page = String::with_capacity(256 * 1024);
    sections::head(&mut page, judged);
    page.push_str("<nav aria-label=\"Sections\"><ul>");
    for (anchor, title, _) in SECTIONS {
        let _ = write!(page, "<li><a href=\"#{anchor}\">{title}</a></li>");
    }
    page.push_str("</ul></nav>\n<main>\n");
    for (anchor, title, draw) in SECTIONS {
        let _ = writeln!(page, "<section id=\"{anchor}\" aria-labelledby=\"{anchor}-title\">\n<h2 id=\"{anchor}-title\">{title}</h2>");
        draw(&mut page, judged);
        page.push_str("</section>\n");
    }
    page.push_str("</main>\n");
    sections::foot(&mut page, report);
    document(&format!("{}: {}", report.verdict, report.run.experiment), &page)
}

/// A whole page around its body, with the look and the script of every page of this program.
pub(crate) fn document(title: &str, body: &str) -> String {
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'",
        STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()))
    );
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"chaos {}\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#content\">Skip to the content</a>\n\
         <div id=\"content\">{body}</div>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        Text(title),
    )
}

#[cfg(test)]
mod tests;
