//! The forms of a report, and the one place where they become files.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::annotations::annotations;
use super::csv::csv;
use super::html::html;
use super::judge::Judged;
use super::junit::junit;
use super::markdown::markdown;
use super::openmetrics::openmetrics;

/// A form of a report that is a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The whole report, for programs.
    Json,
    /// One self-contained page.
    Html,
    /// For the summary page of a build.
    Markdown,
    /// For test reporters.
    Junit,
    /// One line an outage.
    Csv,
    /// The figures, as Prometheus and its kind read them.
    OpenMetrics,
    /// The faults as annotations for Grafana.
    Annotations,
}

impl Format {
    /// All that a run's folder gets.
    pub const ALL: [Format; 7] =
        [Format::Json, Format::Html, Format::Markdown, Format::Junit, Format::Csv, Format::OpenMetrics, Format::Annotations];

    /// The name of its file in a run's folder.
    pub fn file(self) -> &'static str {
        match self {
            Format::Json => "report.json",
            Format::Html => "report.html",
            Format::Markdown => "report.md",
            Format::Junit => "junit.xml",
            Format::Csv => "episodes.csv",
            Format::OpenMetrics => "metrics.txt",
            Format::Annotations => "annotations.json",
        }
    }
}

/// Renders a judged run.
pub fn render(judged: &Judged, format: Format) -> String {
    let report = &judged.report;
    match format {
        Format::Json => {
            let mut json = serde_json::to_string_pretty(report).expect("a report has string keys and writing to memory does not fail");
            json.push('\n');
            json
        }
        Format::Html => html(judged),
        Format::Markdown => markdown(report),
        Format::Junit => junit(report),
        Format::Csv => csv(report),
        Format::OpenMetrics => openmetrics(report),
        Format::Annotations => annotations(report),
    }
}

/// Writes every [`Format`] into a run's folder. Each file replaces an older one whole or not at all.
///
/// # Errors
/// When a file cannot be written.
pub fn write(dir: &Path, judged: &Judged) -> io::Result<()> {
    Format::ALL.into_iter().try_for_each(|format| replace(&dir.join(format.file()), render(judged, format).as_bytes()))
}

/// Writes a file whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let draft = path.with_file_name(format!(".{}.tmp", name.to_string_lossy()));
    let mut file = fs::File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}
