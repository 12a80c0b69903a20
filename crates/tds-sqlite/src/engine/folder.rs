//! The data directory: its lock, its file names, and the folder of live files where the cache is volatile.

use super::cache::{CacheMode, LIVE_FOLDER};
use super::store::Options;
use crate::sabotage::Sabotage;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Makes what was created in or removed from a directory outlive a loss of power.
///
/// # Errors
/// I/O.
pub fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A file name for a database name: letters, digits, `_` and `-` stand for themselves.
pub fn file_name(name: &str) -> String {
    let mut s = String::new();
    for b in name.bytes() {
        if b.is_ascii_alphanumeric() || b == b'_' || b == b'-' { s.push(char::from(b)) } else { s.push_str(&format!("%{b:02X}")) }
    }
    s
}

/// Where a database is worked on when the cache is volatile.
pub fn live_path(kept: &Path) -> PathBuf {
    let folder = kept.parent().unwrap_or(Path::new("")).join(LIVE_FOLDER);
    kept.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))
}

/// Removes the live files of a process that was killed, and makes the folder for this one's where it needs it.
///
/// # Errors
/// A text for the log.
pub fn prepare_live_folder(dir: &Path, cache: CacheMode) -> Result<(), String> {
    let folder = dir.join(LIVE_FOLDER);
    let removed = match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    let made = removed.and_then(|()| if cache == CacheMode::Volatile { std::fs::create_dir(&folder) } else { Ok(()) });
    made.map_err(|e| format!("cannot empty {}: {e}", folder.display()))
}

/// Removes a database's files.
pub fn remove_files(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut p = path.as_os_str().to_owned();
        p.push(suffix);
        let _ = std::fs::remove_file(p);
    }
}

/// Where the files are. Under `wrong-volume` that is another directory with every start.
pub fn data_dir(options: &Options) -> PathBuf {
    let usual = options.dir.join("data");
    if options.sabotage != Some(Sabotage::WrongVolume) {
        return usual;
    }
    let mut others = (1..).map(|n| options.dir.join(format!("data.{n}")));
    std::iter::once(usual).chain(others.by_ref()).find(|dir| !dir.exists()).unwrap_or_default()
}

/// The lock that SQL Server gets by opening its files exclusively.
///
/// # Errors
/// A text for the log: another process has it.
pub fn lock(dir: &Path) -> Result<File, String> {
    let path = dir.join("tds-sqlite.lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(e) => Err(format!(
            "Unable to open the physical file \"{}\". Operating system error 32: \"32(The process cannot access the file because it is being used by another process.)\" ({e})",
            dir.join("master.mdf").display()
        )),
    }
}
