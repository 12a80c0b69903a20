//! Which rows were changed when: what SNAPSHOT needs to refuse a transaction that would overwrite what it could not see (3960).

use crate::error::SqlError;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows remembered. When there are more, they are forgotten, and a snapshot from before that conflicts with everything.
const ROWS_MAX: usize = 65_536;

/// A row of a table. Two rows with the same hash make a conflict where there is none, which is as rare as 64 bits are many.
pub type RowHash = u64;

/// The hash of a row.
pub fn row(table: &str, rowid: i64) -> RowHash {
    let mut hasher = DefaultHasher::new();
    (table, rowid).hash(&mut hasher);
    hasher.finish()
}

#[derive(Default)]
struct Rows {
    /// The commit that changed each last.
    last: HashMap<RowHash, u64>,
    /// Commits up to this one are not remembered.
    forgotten: u64,
}

/// The commits of one database.
#[derive(Default)]
pub struct Changes {
    commits: AtomicU64,
    rows: Mutex<Rows>,
}

impl Changes {
    /// How many commits there were.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Notes a commit.
    pub fn committed(&self, changed: &mut Vec<RowHash>) {
        if changed.is_empty() {
            return;
        }
        let commit = self.commits() + 1;
        if let Ok(mut rows) = self.rows.lock() {
            if rows.last.len() > ROWS_MAX {
                rows.last.clear();
                rows.forgotten = commit - 1;
            }
            rows.last.extend(changed.drain(..).map(|row| (row, commit)));
        }
        // After the rows: a snapshot that counts this commit finds them.
        self.commits.store(commit, Ordering::SeqCst);
    }

    /// Whether one of these rows was changed by a commit after the first `since` of them.
    pub fn conflict(&self, rows: &[RowHash], since: u64) -> bool {
        self.rows.lock().is_ok_and(|known| {
            !rows.is_empty() && known.forgotten > since || rows.iter().any(|row| known.last.get(row).is_some_and(|commit| *commit > since))
        })
    }
}

/// 3960.
pub fn update_conflict() -> SqlError {
    SqlError::new(
        3960,
        "Snapshot isolation transaction aborted due to update conflict. You cannot use snapshot isolation to access the database directly or indirectly to update, delete, or insert a row that has been modified or deleted by another transaction. Retry the transaction or change the isolation level for the update/delete statement.",
    )
    .state(2)
}
