//! A cache that dies with the process (`--cache volatile`): the power-loss test.
//!
//! A SIGKILL leaves the kernel's page cache in place, so an engine that forgets to sync looks as good as one that syncs. Here what was written and not synced
//! is lost with the process, as it is when a machine loses its power.
//!
//! **How.** SQLite works on *live* files in a folder that every start empties. The *kept* files, which alone a start reads, are written at a sync and at no
//! other time: [`VolatileCache::sync`] appends the frames of the live log (WAL) from where the last sync ended to the end of the last commit, and syncs the
//! kept log. So a sync costs what was committed since the one before it, whatever the size of the database.
//!
//! **Proof obligation**: at every instant, SQLite's recovery of the kept files yields the database as of the last sync that returned, or as of a sync that is
//! under way.
//!
//! 1. [`VolatileCache::open`] leaves the kept database whole with no log, and the live database is a copy of it. SQLite in WAL mode changes a database only
//!    through its log and by checkpoints from it.
//! 2. Within one generation of the live log (one header) the kept log is always a prefix of it that ends with a commit, followed at most by a part of the
//!    append under way. Recovery stops at the last commit whose frames are all there with the right chain of checksums, so such a part counts as nothing or as
//!    the commit that it holds.
//! 3. SQLite begins a new generation only after a checkpoint of every frame of the old one. Checkpoints of the live log are ordered by the writer alone,
//!    right after a sync (SQLite's own are off), so the kept log then holds every commit of the old generation. `sync` sees the new header and first has
//!    SQLite checkpoint the kept log into the kept database, which is safe at every instant by SQLite's own rules; only then does it write the kept log anew.
//! 4. Frames that a rollback left in the live log, or an older generation, are never copied: only a commit's last frame carries the size of the database,
//!    frames of another generation carry another salt, and what lies behind the last commit is not read.
//! 5. Nobody learns of a commit before its sync: it is acknowledged after `sync`, and readers, who could see it in the live files before, wait at the
//!    [`Gate`]. A sync that fails leaves the gate shut and ends the process;
//!    who waited for it learns of the error, which is a full disk (1105) only where the commit is not among what was kept.
//!
//! What it is not: the kept files are in the kernel's page cache and the disk's own, which outlive the process. A sync that the kernel or the disk does not
//! carry out is not found.

use crate::error::SqlError;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a SIGKILL leaves of what was written and not synced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CacheMode {
    /// All of it: the kernel's page cache outlives the process.
    #[default]
    Kernel,
    /// Nothing, as a loss of power does.
    Volatile,
}

/// The folder of the live files, beside the kept ones.
pub const LIVE_FOLDER: &str = "volatile";
/// <https://sqlite.org/fileformat2.html#the_write_ahead_log>
pub const WAL_HEADER: usize = 32;
/// Length in bytes of what precedes each page in a log.
pub const FRAME_HEADER: usize = 24;
/// Length in bytes of a log that is worth a checkpoint: 4000 frames of the usual page.
const LONG: u64 = 4000 * (4096 + FRAME_HEADER as u64);
/// Under `skip-sync`, how many commits go without a sync before one comes that has it.
const SKIPPED_MAX: u32 = 1000;

/// Shut from before a commit becomes visible until it is synced.
#[derive(Debug, Default)]
pub struct Gate(Mutex<bool>);

impl Gate {
    /// Waits until every commit that is visible is synced.
    ///
    /// # Errors
    /// 9001 after a sync that failed: what is visible may not be told.
    pub fn pass(&self) -> Result<(), SqlError> {
        match self.0.lock() {
            Ok(failed) if !*failed => Ok(()),
            _ => Err(SqlError::new(9001, "The log for the database is not available.").class(21).state(4)),
        }
    }

    /// Shuts it.
    pub fn shut(&self) -> MutexGuard<'_, bool> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The kept log, once something was written to it since its last checkpoint.
#[derive(Debug)]
struct KeptLog {
    file: File,
    header: [u8; WAL_HEADER],
    /// Bytes of it, which are those of the live log.
    len: u64,
}

/// One database's live and kept files.
#[derive(Debug)]
pub struct VolatileCache {
    kept: PathBuf,
    live_log: PathBuf,
    log: Option<KeptLog>,
    skipped: u32,
    gate: Arc<Gate>,
}

fn wal_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// Has SQLite recover a database and bring everything from its log into its file.
fn checkpoint(database: &Path) -> io::Result<()> {
    let run = || -> rusqlite::Result<i64> {
        let mode = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(database, mode)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
    };
    match run() {
        Ok(0) => Ok(()),
        Ok(_) => Err(io::Error::other(format!("{} is used by another process", database.display()))),
        Err(e) => {
            let full = e.sqlite_error_code() == Some(ErrorCode::DiskFull);
            let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            Err(io::Error::new(kind, format!("cannot checkpoint {}: {e}", database.display())))
        }
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

impl VolatileCache {
    /// Recovers the kept database, which is made when it is not there, and copies it to where it is worked on.
    ///
    /// # Errors
    /// I/O, and SQLite's errors of the recovery.
    pub fn open(kept: &Path, live: &Path) -> io::Result<Self> {
        checkpoint(kept)?;
        sync_folder_of(kept)?;
        std::fs::copy(kept, live)?;
        Ok(Self { kept: kept.to_owned(), live_log: wal_of(live), log: None, skipped: 0, gate: Arc::default() })
    }

    /// The gate of its readers.
    pub fn gate(&self) -> Arc<Gate> {
        self.gate.clone()
    }

    /// Makes everything that is committed outlive the process. Blocks.
    ///
    /// # Errors
    /// I/O. The live files then hold what the kept ones may not, and the process must end. After [`io::ErrorKind::StorageFull`] the kept ones do not hold it.
    pub fn sync(&mut self) -> io::Result<()> {
        self.skipped = 0;
        let mut live = match File::open(&self.live_log) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        let mut header = [0; WAL_HEADER];
        match live.read_exact_at(&mut header, 0) {
            Ok(()) => {}
            // Nothing was ever committed, or everything is checkpointed.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(e),
        }
        if self.log.as_ref().is_some_and(|log| log.header != header) {
            self.checkpoint()?;
        }
        let from = self.log.as_ref().map_or(0, |log| log.len);
        let end = last_commit(&live, &header, from)?;
        if end == from {
            return Ok(());
        }
        let log = match &mut self.log {
            Some(log) => log,
            none => {
                let path = wal_of(&self.kept);
                let file = File::options().create(true).truncate(true).write(true).open(&path)?;
                sync_folder_of(&path)?;
                none.insert(KeptLog { file, header, len: 0 })
            }
        };
        live.seek(SeekFrom::Start(from))?;
        io::copy(&mut io::Read::take(live, end - from), &mut log.file)?;
        // A copy that failed lacks the frame that ends the commit. All of it is there now, and may stay whatever the error of the sync.
        log.file.sync_data().map_err(io::Error::other)?;
        log.len = end;
        Ok(())
    }

    /// What `skip-sync` does instead of a sync. Now and then there is one, as a kernel writes by itself what nobody asked it to.
    ///
    /// # Errors
    /// As `sync`.
    pub fn skip(&mut self) -> io::Result<()> {
        self.skipped += 1;
        if self.skipped < SKIPPED_MAX { Ok(()) } else { self.sync() }
    }

    /// Whether the live log should be checkpointed. True only where it was synced to its end.
    pub fn is_long(&self) -> bool {
        self.skipped == 0 && self.log.as_ref().is_some_and(|log| log.len > LONG)
    }

    /// Brings the kept log into the kept database. Blocks.
    ///
    /// # Errors
    /// I/O; the kept files are whole all the same.
    pub fn checkpoint(&mut self) -> io::Result<()> {
        self.log = None;
        checkpoint(&self.kept)
    }
}

/// Where the last commit of a log ends, looking from `from` on, which is zero or the end of a commit.
fn last_commit(log: &File, header: &[u8; WAL_HEADER], from: u64) -> io::Result<u64> {
    let frame = frame_len(header);
    let mut end = from;
    let mut at = from.max(WAL_HEADER as u64);
    let mut head = [0; FRAME_HEADER];
    let len = log.metadata()?.len();
    while at + frame <= len {
        log.read_exact_at(&mut head, at)?;
        let Some(commits) = commits(&head, header) else { break };
        at += frame;
        if commits {
            end = at;
        }
    }
    Ok(end)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// Length in bytes of a log's frames.
pub fn frame_len(header: &[u8]) -> u64 {
    FRAME_HEADER as u64 + u64::from(word(header, 8)).max(512)
}

/// Whether a frame ends a commit; `None` when it belongs to another generation than the log's header.
pub fn commits(frame: &[u8], header: &[u8]) -> Option<bool> {
    // The size of the database after the commit; zero in every other frame.
    (frame.get(8..16)? == header.get(16..24)?).then(|| word(frame, 4) != 0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// What a process that was killed now would find again.
    fn survivors(kept: &Path) -> Vec<i64> {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy.mdf");
        std::fs::copy(kept, &copy).unwrap();
        if wal_of(kept).exists() {
            std::fs::copy(wal_of(kept), wal_of(&copy)).unwrap();
        }
        let db = Connection::open(&copy).unwrap();
        assert_eq!(db.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
        let mut rows = db.prepare("SELECT n FROM t ORDER BY n").unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn live(path: &Path) -> Connection {
        let db = Connection::open(path).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.pragma_update(None, "synchronous", "OFF").unwrap();
        db.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        db
    }

    struct Both {
        _folder: tempfile::TempDir,
        kept: PathBuf,
        cache: VolatileCache,
        db: Connection,
    }

    fn both() -> Both {
        let folder = tempfile::tempdir().unwrap();
        let (kept, path) = (folder.path().join("kept.mdf"), folder.path().join("live.mdf"));
        let mut cache = VolatileCache::open(&kept, &path).unwrap();
        let db = live(&path);
        db.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT)").unwrap();
        cache.sync().unwrap();
        Both { _folder: folder, kept, cache, db }
    }

    fn insert(db: &Connection, n: i64) {
        db.execute("INSERT INTO t VALUES (?1, 'x')", [n]).unwrap();
    }

    #[test]
    fn only_what_was_synced_is_found_again() {
        let mut both = both();
        insert(&both.db, 1);
        assert_eq!(survivors(&both.kept), [0; 0]);
        both.cache.sync().unwrap();
        insert(&both.db, 2);
        assert_eq!(survivors(&both.kept), [1]);
    }

    #[test]
    fn what_was_rolled_back_after_it_had_reached_the_log_is_never_found() {
        let mut both = both();
        insert(&both.db, 1);
        both.cache.sync().unwrap();
        // A cache of ten pages makes SQLite write pages of an open transaction to the log.
        both.db.pragma_update(None, "cache_size", 10).unwrap();
        both.db.execute_batch("BEGIN; WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO t SELECT i, hex(randomblob(500)) FROM n").unwrap();
        both.cache.sync().unwrap();
        assert_eq!(survivors(&both.kept), [1]);
        both.db.execute_batch("ROLLBACK").unwrap();
        insert(&both.db, 2);
        both.cache.sync().unwrap();
        assert_eq!(survivors(&both.kept), [1, 2]);
    }

    /// The log begins anew again and again, also while a reader keeps a checkpoint from doing so; after every step what was synced is found, and no more.
    #[test]
    fn generations_of_the_log_follow_one_another_without_a_gap() {
        let mut both = both();
        let path = both.db.path().unwrap().to_owned();
        let reader = Connection::open(&path).unwrap();
        let mut synced = Vec::new();
        for n in 0..60 {
            if n % 7 == 3 {
                reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
            } else if n % 7 == 5 {
                reader.execute_batch("COMMIT").unwrap();
            }
            insert(&both.db, n);
            assert_eq!(survivors(&both.kept), synced, "before the sync of {n}");
            both.cache.sync().unwrap();
            synced.push(n);
            assert_eq!(survivors(&both.kept), synced, "after the sync of {n}");
            if n % 4 == 0 {
                let _done: i64 = both.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(0)).unwrap();
            }
        }
        both.cache.checkpoint().unwrap();
        assert_eq!(survivors(&both.kept), synced);
    }

    /// Every length to which an append can have come when the process is killed.
    #[test]
    fn a_log_that_was_cut_anywhere_in_an_append_holds_whole_commits() {
        let mut both = both();
        insert(&both.db, 1);
        both.cache.sync().unwrap();
        let before = std::fs::metadata(wal_of(&both.kept)).unwrap().len();
        both.db.execute_batch("BEGIN; INSERT INTO t VALUES (2, hex(randomblob(4000))); COMMIT").unwrap();
        both.cache.sync().unwrap();
        let whole = std::fs::read(wal_of(&both.kept)).unwrap();
        for cut in (before..=whole.len() as u64).step_by(509).chain([whole.len() as u64 - 1, whole.len() as u64]) {
            std::fs::write(wal_of(&both.kept), &whole[..usize::try_from(cut).unwrap()]).unwrap();
            let expected: &[i64] = if cut == whole.len() as u64 { &[1, 2] } else { &[1] };
            assert_eq!(survivors(&both.kept), expected, "cut at {cut} of {}", whole.len());
        }
    }
}
