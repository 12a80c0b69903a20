//! Finds and reads reports.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::report::{Report, SCHEMA_VERSION};

/// Why reports could not be read.
#[derive(Debug, Error)]
pub enum LoadError {
    /// There is none.
    #[error("{}: no report.json here and none in a folder of it; expected the folder of a run, a folder of runs, or a report.json", path.display())]
    None {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not a report.
    #[error("{}: not a report: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A report is of another version.
    #[error("{}: version {version} of the report, this program knows {SCHEMA_VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// The reports of a `report.json`, of a run's folder, or of every run in a folder, oldest first.
///
/// # Errors
/// When there is none, or one cannot be read: a comparison that quietly left a run out would be one of other runs.
pub fn load(path: &Path) -> Result<Vec<Report>, LoadError> {
    let file = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
    if file.is_file() {
        return Ok(vec![read(&file)?]);
    }
    let entries = fs::read_dir(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => LoadError::None { path: path.to_owned() },
        _ => LoadError::Read { path: path.to_owned(), source },
    })?;
    let mut reports = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        let file = entry.path().join("report.json");
        // `latest` leads to a run that is here already.
        if !entry.path().is_symlink() && file.is_file() {
            reports.push(read(&file)?);
        }
    }
    if reports.is_empty() {
        return Err(LoadError::None { path: path.to_owned() });
    }
    reports.sort_by(|a, b| (&a.run.started_at, &a.run.id).cmp(&(&b.run.started_at, &b.run.id)));
    Ok(reports)
}

fn read(path: &Path) -> Result<Report, LoadError> {
    let bytes = fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let report: Report = serde_json::from_slice(&bytes).map_err(|source| LoadError::Parse { path: path.to_owned(), source })?;
    if report.schema_version != SCHEMA_VERSION {
        return Err(LoadError::Version { path: path.to_owned(), version: report.schema_version });
    }
    Ok(report)
}
