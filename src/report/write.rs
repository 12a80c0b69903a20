//! The one place where a report becomes files.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::junit::junit;
use super::markdown::markdown;
use super::model::Report;

/// Writes `report.json`, `report.md` and `junit.xml` into a run's folder. Each replaces an older one whole or not at all.
///
/// # Errors
/// When a file cannot be written.
pub fn write(dir: &Path, report: &Report) -> io::Result<()> {
    let mut json = serde_json::to_vec_pretty(report).map_err(io::Error::other)?;
    json.push(b'\n');
    replace(dir, "report.json", &json)?;
    replace(dir, "report.md", markdown(report).as_bytes())?;
    replace(dir, "junit.xml", junit(report).as_bytes())
}

fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let draft = dir.join(format!(".{name}.tmp"));
    let mut file = fs::File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, dir.join(name))
}
