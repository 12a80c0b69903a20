//! What the planted defects of the storage do to a database that is opened again.

use super::cache::{FRAME_HEADER, WAL_HEADER, commits, frame_len};
use super::catalog::{Catalog, quote};
use super::conn::Conn;
use crate::sabotage::Sabotage;
use crate::value::datetime::SECOND;
use std::io;
use std::path::Path;

/// Tables of so few rows are not damaged on purpose: the sentinel row shows another defect.
const SPARED: i64 = 20;

/// What `torn-page` and `silent-truncate` do to tables of more than `SPARED` rows when a database is opened again.
pub fn rows(conn: &Conn, catalog: &Catalog, sabotage: Option<Sabotage>) -> rusqlite::Result<()> {
    for table in catalog.tables() {
        let rows: i64 = conn.db.query_row(&format!("SELECT count(*) FROM {}", table.quoted()), [], |row| row.get(0))?;
        let Some(key) = table.keys.iter().find(|key| key.primary).and_then(|key| key.columns.first()) else { continue };
        if rows <= SPARED {
            continue;
        }
        let newest = |count| {
            let key = quote(&table.columns[*key].name);
            format!("rowid IN (SELECT rowid FROM {} ORDER BY {key} DESC LIMIT {count})", table.quoted())
        };
        let long = table.columns.iter().find(|column| column.ty.is_text() || column.ty.is_binary()).map(|column| quote(&column.name));
        let sql = match (sabotage, long) {
            (Some(Sabotage::SilentTruncate), _) => format!("DELETE FROM {} WHERE {}", table.quoted(), newest(5)),
            (Some(Sabotage::TornPage), Some(long)) => {
                let half = format!("CAST(substr({long}, 1, length({long}) / 2) AS BLOB)");
                let torn = format!("CAST({half} || zeroblob(length(CAST({long} AS BLOB)) - length({half})) AS BLOB)");
                format!(
                    "UPDATE {} SET {long} = iif(typeof({long}) = 'blob', {torn}, CAST({torn} AS TEXT)) WHERE {}",
                    table.quoted(),
                    newest(1)
                )
            }
            _ => continue,
        };
        conn.db.execute(&sql, [])?;
    }
    Ok(())
}

/// How far the clock is behind under `clock-jump`, in ticks: an hour for each start before this one, which a file counts.
pub fn clock_jump(dir: &Path) -> io::Result<i64> {
    let path = dir.join("clock-jump");
    let starts: i64 = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
        Err(e) => return Err(e),
    };
    std::fs::write(&path, (starts + 1).to_string())?;
    Ok(starts * 3600 * SECOND)
}

/// How many commits `lose-last` takes from the end of the log.
const LOST: usize = 3;

/// What `lose-last` does: the log ends before its last commits, as if recovery stopped too early.
pub fn last_commits(path: &Path) -> io::Result<()> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let bytes = match std::fs::read(&wal) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let ends = commit_ends(&bytes);
    let Some(keep) = ends.len().checked_sub(LOST + 1).map(|last| ends[last]) else { return Ok(()) };
    std::fs::File::options().write(true).open(&wal)?.set_len(keep as u64)
}

/// Where each commit of a log ends. Frames of another salt are left over from before the log began anew.
fn commit_ends(wal: &[u8]) -> Vec<usize> {
    let Some(header) = wal.get(..WAL_HEADER) else { return Vec::new() };
    let frame = usize::try_from(frame_len(header)).unwrap_or(usize::MAX / 2);
    let mut ends = Vec::new();
    let mut at = WAL_HEADER;
    while at + frame <= wal.len() {
        let Some(commits) = commits(&wal[at..at + FRAME_HEADER], header) else { break };
        at += frame;
        if commits {
            ends.push(at);
        }
    }
    ends
}
