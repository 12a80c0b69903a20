//! A run's folder: its id, its place under the reports folder, and `latest`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rand::RngExt;

/// Letters and digits that cannot be mistaken for one another.
const ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// Some random letters and digits.
pub fn random_word(length: usize) -> String {
    let mut random = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

/// A run's id: the experiment, the time to a second (UTC), and something that makes it unique.
pub fn run_id(experiment: &str, at: Timestamp) -> String {
    format!("{experiment}-{}-{}", at.strftime("%Y%m%dT%H%M%SZ"), random_word(4))
}

/// The namespace of a run: short enough for an RFC 1123 label whatever the experiment's name.
pub fn namespace(experiment: &str) -> String {
    let head: String = experiment.chars().take(40).collect();
    format!("chaos-{}-{}", head.trim_end_matches('-'), random_word(6))
}

/// Creates a run's folder under the reports folder and points `latest` to it.
pub fn create(reports: &Path, id: &str) -> io::Result<PathBuf> {
    let folder = reports.join(id);
    fs::create_dir_all(reports)?;
    fs::create_dir(&folder)?;
    point_latest(reports, id)?;
    Ok(folder)
}

/// Replaces the link at once, so that a reader finds the old or the new target and never none.
fn point_latest(reports: &Path, id: &str) -> io::Result<()> {
    let fresh = reports.join(format!(".latest-{id}"));
    std::os::unix::fs::symlink(id, &fresh)?;
    fs::rename(&fresh, reports.join("latest"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_label_whatever_the_name() {
        let long = namespace(&"a-very-long-experiment-name-".repeat(5));
        assert!(long.len() <= 63, "{long}");
        assert!(!long.contains("--"), "{long}");
    }

    #[test]
    fn latest_follows_the_newest_run() {
        let reports = tempfile::tempdir().unwrap();
        create(reports.path(), "first").unwrap();
        let second = create(reports.path(), "second").unwrap();
        assert_eq!(fs::canonicalize(reports.path().join("latest")).unwrap(), fs::canonicalize(second).unwrap());
        assert!(create(reports.path(), "second").is_err(), "a folder is never used twice");
    }
}
