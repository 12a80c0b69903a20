//! The data directory: its lock, the registry of databases in `master`, opening at start and closing at the end.

use super::cache::{CacheMode, Gate, LIVE_FOLDER, VolatileCache};
use super::catalog::{Catalog, Table};
use super::changes::Changes;
use super::conn::{Conn, Done, Failed, Job, storage_error, storage_io};
use super::damage;
use super::folder::{data_dir, file_name, live_path, lock, prepare_live_folder, remove_files, sync_dir};
use super::functions::Facts;
use super::locks::Locks;
use super::orders::Msg;
use super::reader::Readers;
use super::writer::{Settings, run};
use crate::error::{SqlError, SqlResult};
use crate::log::Log;
use crate::sabotage::Sabotage;
use crate::sql::ast::{ObjName, StmtKind};
use crate::sql::parser::parse_batch;
use crate::value::datetime;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};
use std::thread::JoinHandle;

type Identities = Arc<Mutex<HashMap<i64, Arc<Table>>>>;

/// One database.
pub struct Database {
    /// database_id.
    pub id: i64,
    /// Name as created.
    pub name: String,
    /// The file that outlives the process.
    pub path: PathBuf,
    /// The file that is worked on; another one where the cache is volatile.
    live: PathBuf,
    gate: Option<Arc<Gate>>,
    /// Creation time in ticks.
    pub created: i64,
    catalog: Arc<RwLock<Arc<Catalog>>>,
    writer: Sender<Msg>,
    /// Its commits.
    pub changes: Arc<Changes>,
    /// Connections for reads that are over at once.
    short: Mutex<Vec<Conn>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    identities: Identities,
    dropped: AtomicBool,
    store: Weak<Store>,
}

impl Database {
    /// The published catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.read().map(|c| c.clone()).unwrap_or_default()
    }

    /// Hands a message to the writer.
    ///
    /// # Errors
    /// 945 when the writer is gone.
    pub fn send(&self, m: Msg) -> SqlResult<()> {
        self.writer.send(m).map_err(|_| self.unavailable())
    }

    /// The error of a database whose writer is gone.
    pub fn unavailable(&self) -> SqlError {
        SqlError::new(
            945,
            format!("Database '{}' cannot be opened due to inaccessible files or insufficient memory or disk space.", self.name),
        )
        .class(14)
    }

    /// Makes the identity column of a new or emptied table known, and forgets those that no catalog and no statement holds any more.
    pub fn add_identity(&self, t: &Arc<Table>) {
        if let Ok(mut i) = self.identities.lock() {
            i.retain(|_, t| Arc::strong_count(t) > 1 || Arc::strong_count(&t.last_identity) > 1);
            i.insert(t.counter, t.clone());
        }
    }

    /// True after DROP DATABASE.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::SeqCst)
    }

    /// A reading connection.
    ///
    /// # Errors
    /// SQLite's.
    pub fn open_reader(&self) -> rusqlite::Result<Conn> {
        let facts = DbFacts { store: self.store.clone(), identities: self.identities.clone() };
        let mut conn = Conn::open(&self.live, false, Arc::new(facts))?;
        conn.gate.clone_from(&self.gate);
        Ok(conn)
    }

    /// Runs a read on the thread of the caller, where it must be over at once: most reads are of a few rows, and to hand them to another thread and back costs
    /// more than they do. `None` when it took too long, which is noted in `long`, or would have had to wait; it is to be run by the readers then.
    pub fn read_here(&self, job: &mut Job, long: &AtomicBool) -> Option<Result<Done, Failed>> {
        // Behind a gate a read may have to wait for a sync.
        if self.gate.is_some() {
            return None;
        }
        let kept = self.short.lock().ok()?.pop();
        let conn = match kept {
            Some(conn) => conn,
            None => {
                let mut conn = self.open_reader().ok()?;
                conn.only_short().ok()?;
                conn
            }
        };
        let result = conn.run(job);
        // After DROP DATABASE nobody empties the list any more.
        if !self.is_dropped() {
            self.short.lock().ok()?.push(conn);
        }
        match result {
            Err(failed) if failed.error.number == 3617 => {
                long.store(!job.cancel.load(Ordering::Relaxed), Ordering::Relaxed);
                None
            }
            Err(failed) if failed.error.number == 1222 => None,
            other => Some(other),
        }
    }

    fn close(&self) {
        if let Ok(mut short) = self.short.lock() {
            short.clear();
        }
        let _ = self.writer.send(Msg::Close);
        let thread = self.thread.lock().ok().and_then(|mut t| t.take());
        if let Some(t) = thread {
            let _ = t.join();
        }
    }
}

struct DbFacts {
    store: Weak<Store>,
    identities: Identities,
}

impl Facts for DbFacts {
    fn db_id(&self, name: &str) -> Option<i64> {
        self.store.upgrade()?.database(name).map(|d| d.id)
    }
    fn db_name(&self, id: i64) -> Option<String> {
        self.store.upgrade()?.databases().into_iter().find(|d| d.id == id).map(|d| d.name.clone())
    }
    fn object_id(&self, db: &str, name: &str, kind: &str) -> Option<i64> {
        let stmts = parse_batch(&format!("TRUNCATE TABLE {name}")).ok()?;
        let StmtKind::Truncate(obj) = &stmts.first()?.kind else { return None };
        let store = self.store.upgrade()?;
        let db = store.database(obj.db.as_deref().unwrap_or(db))?;
        let id = db.catalog().table(obj).map(|t| t.id);
        id.filter(|_| kind.trim().is_empty() || kind.trim().eq_ignore_ascii_case("U"))
    }
    fn object_name(&self, db: &str, id: i64) -> Option<String> {
        let c = self.store.upgrade()?.database(db)?.catalog();
        c.tables().find(|t| t.id == id).map(|t| t.name.clone())
    }
    fn server_property(&self, name: &str) -> Option<String> {
        self.store.upgrade()?.property(name)
    }
    fn db_property(&self, db: &str, name: &str) -> Option<String> {
        self.store.upgrade()?.database(db)?;
        Some(
            match name.to_lowercase().as_str() {
                "status" => "ONLINE",
                "updateability" => "READ_WRITE",
                "useraccess" => "MULTI_USER",
                "recovery" => "SIMPLE",
                "collation" => "SQL_Latin1_General_CP1_CI_AS",
                _ => return None,
            }
            .to_owned(),
        )
    }
    fn next_identity(&self, counter: i64) -> Option<i64> {
        self.identities.lock().ok()?.get(&counter).map(|t| t.next_identity())
    }
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--data`.
    pub dir: PathBuf,
    /// The planted defect.
    pub sabotage: Option<Sabotage>,
    /// What a SIGKILL leaves.
    pub cache: CacheMode,
    /// SERVERPROPERTY values that depend on the server's settings: name in lower case, value.
    pub properties: BTreeMap<String, String>,
}

/// All databases.
pub struct Store {
    dir: PathBuf,
    options: Options,
    databases: RwLock<BTreeMap<String, Arc<Database>>>,
    next_id: AtomicI64,
    /// Reading threads.
    pub readers: Arc<Readers>,
    /// Locks on what is in the databases.
    pub locks: Arc<Locks>,
    fatal: tokio::sync::mpsc::Sender<String>,
    log: Log,
    me: OnceLock<Weak<Store>>,
    /// Ticks at which the server started.
    pub started: i64,
    /// Ticks by which its clock is behind, which only `clock-jump` makes other than zero.
    clock_behind: i64,
    _lock: File,
}

/// First id of a user database, as in SQL Server.
const FIRST_USER_ID: i64 = 5;
const SYSTEM: [(&str, i64); 4] = [("master", 1), ("tempdb", 2), ("model", 3), ("msdb", 4)];

impl Store {
    /// Locks the directory and opens every database in it.
    ///
    /// # Errors
    /// A text for the log: the directory cannot be used, or another process uses it.
    pub fn open(options: Options, log: Log, fatal: tokio::sync::mpsc::Sender<String>) -> Result<Arc<Self>, String> {
        let dir = data_dir(&options);
        std::fs::create_dir_all(&dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
        let lock = lock(&dir)?;
        sync_dir(&dir).and_then(|()| sync_dir(&options.dir)).map_err(|e| format!("cannot sync {}: {e}", dir.display()))?;
        prepare_live_folder(&dir, options.cache)?;
        let clock_behind = if options.sabotage == Some(Sabotage::ClockJump) {
            damage::clock_jump(&options.dir).map_err(|e| format!("cannot count starts in {}: {e}", options.dir.display()))?
        } else {
            0
        };
        let stale = options.sabotage == Some(Sabotage::StaleRead);
        let store = Arc::new(Self {
            dir,
            options,
            databases: RwLock::default(),
            next_id: AtomicI64::new(FIRST_USER_ID),
            readers: Arc::new(Readers::new(stale)),
            locks: Arc::default(),
            fatal,
            log,
            me: OnceLock::new(),
            started: datetime::now() - clock_behind,
            clock_behind,
            _lock: lock,
        });
        let _ = store.me.set(Arc::downgrade(&store));
        store.open_all().map_err(|e| e.to_string())?;
        Ok(store)
    }

    fn open_all(&self) -> SqlResult<()> {
        for (name, id) in SYSTEM {
            self.open_database(name, id, &self.dir.join(format!("{name}.mdf")), self.started)?;
        }
        let master = self.database("master").ok_or_else(|| SqlError::new(911, "master is missing"))?;
        let conn = master.open_reader().map_err(|e| storage_error(&e))?;
        let list = || -> rusqlite::Result<Vec<(String, i64, String, i64)>> {
            let mut s = conn.db.prepare("SELECT name, id, file, created FROM \"tds.databases\" ORDER BY id")?;
            let rows = s.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
            rows.collect()
        };
        for (name, id, file, created) in list().map_err(|e| storage_error(&e))? {
            self.next_id.fetch_max(id + 1, Ordering::SeqCst);
            self.open_database(&name, id, &self.dir.join(file), created)?;
        }
        self.log.line("spid7s", "Recovery is complete. This is an informational message only. No user action is required.");
        Ok(())
    }

    fn open_database(&self, name: &str, id: i64, path: &Path, created: i64) -> SqlResult<Arc<Database>> {
        self.log.line("spid7s", &format!("Starting up database '{name}'."));
        let store = self.me.get().cloned().unwrap_or_default();
        let identities: Identities = Arc::default();
        let facts = Arc::new(DbFacts { store: store.clone(), identities: identities.clone() });
        if id >= FIRST_USER_ID && self.options.sabotage == Some(Sabotage::LoseLast) {
            damage::last_commits(path).map_err(|e| storage_io(&e))?;
        }
        let volatile = self.options.cache == CacheMode::Volatile;
        let live = if volatile { live_path(path) } else { path.to_owned() };
        let mut cache = volatile.then(|| VolatileCache::open(path, &live)).transpose().map_err(|e| storage_io(&e))?;
        let conn = Conn::open(&live, true, facts).map_err(|e| storage_error(&e))?;
        // What the server knows of itself stays whole, or no client would come in to see the rest.
        let sabotage = self.options.sabotage.filter(|_| id >= FIRST_USER_ID);
        if volatile || sabotage == Some(Sabotage::SkipSync) {
            conn.db.pragma_update(None, "synchronous", "OFF").map_err(|e| storage_error(&e))?;
        }
        if volatile {
            conn.db.pragma_update(None, "wal_autocheckpoint", 0).map_err(|e| storage_error(&e))?;
        }
        conn.db
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS \"tds.ddl\"(id INTEGER PRIMARY KEY, object TEXT NOT NULL, sql TEXT NOT NULL, created INTEGER NOT NULL);
                 CREATE TABLE IF NOT EXISTS \"tds.databases\"(name TEXT PRIMARY KEY, id INTEGER NOT NULL, file TEXT NOT NULL, created INTEGER NOT NULL);",
            )
            .map_err(|e| storage_error(&e))?;
        let catalog = load_catalog(&conn)?;
        if sabotage.is_some() {
            damage::rows(&conn, &catalog, sabotage).map_err(|e| storage_error(&e))?;
        }
        if let Some(cache) = &mut cache {
            cache.sync().map_err(|e| storage_io(&e))?;
        }
        let gate = cache.as_ref().map(VolatileCache::gate);
        if let Ok(mut i) = identities.lock() {
            i.extend(catalog.tables().map(|t| (t.counter, t.clone())));
        }
        let catalog = Arc::new(RwLock::new(Arc::new(catalog)));
        let (tx, rx) = channel();
        let changes: Arc<Changes> = Arc::default();
        let set = Settings { sabotage, fatal: self.fatal.clone(), catalog: catalog.clone(), changes: changes.clone(), cache };
        let thread = std::thread::Builder::new()
            .name(format!("writer-{id}"))
            .spawn(move || run(conn, rx, set))
            .map_err(|e| SqlError::new(701, format!("cannot start a thread: {e}")).class(17))?;
        let db = Arc::new(Database {
            id,
            name: name.to_owned(),
            path: path.to_owned(),
            live,
            gate,
            created,
            catalog,
            writer: tx,
            changes,
            short: Mutex::default(),
            thread: Mutex::new(Some(thread)),
            identities,
            dropped: AtomicBool::new(false),
            store,
        });
        if let Ok(mut d) = self.databases.write() {
            d.insert(name.to_lowercase(), db.clone());
        }
        Ok(db)
    }

    /// The server's time in ticks.
    pub fn now(&self) -> i64 {
        datetime::now() - self.clock_behind
    }

    /// Finds a database.
    pub fn database(&self, name: &str) -> Option<Arc<Database>> {
        self.databases.read().ok()?.get(&name.to_lowercase()).cloned()
    }

    /// All of them by id.
    pub fn databases(&self) -> Vec<Arc<Database>> {
        let mut list: Vec<_> = self.databases.read().map(|d| d.values().cloned().collect()).unwrap_or_default();
        list.sort_by_key(|d: &Arc<Database>| d.id);
        list
    }

    /// Whether readers must see what the writer has not committed: because it was acknowledged, or because they are to be dirty.
    pub fn reads_through_writer(&self) -> bool {
        self.options.sabotage.is_some_and(|mode| mode.acknowledges_early() || mode == Sabotage::DirtyRead)
    }

    /// The planted defect.
    pub fn sabotage(&self) -> Option<Sabotage> {
        self.options.sabotage
    }

    /// SERVERPROPERTY.
    pub fn property(&self, name: &str) -> Option<String> {
        self.options.properties.get(&name.to_lowercase()).cloned()
    }

    /// Makes the file of a new database and opens it; registering it in master is the caller's next step. Blocks.
    ///
    /// # Errors
    /// 1801, 5170.
    pub fn create_database(&self, name: &str) -> SqlResult<(Arc<Database>, String)> {
        if self.database(name).is_some() {
            return Err(SqlError::new(1801, format!("Database '{name}' already exists. Choose a different database name.")).state(3));
        }
        let file = format!("{}.mdf", file_name(name));
        let path = self.dir.join(&file);
        if path.exists() {
            self.remove_orphan(&path)?;
        }
        let id = self.next_id.fetch_add(1, Ordering::SeqCst);
        let db = self.open_database(name, id, &path, self.now())?;
        sync_dir(&self.dir).map_err(|e| {
            SqlError::new(
                5123,
                format!(
                    "CREATE FILE encountered operating system error {e} while attempting to open or create the physical file '{}'.",
                    path.display()
                ),
            )
        })?;
        Ok((db, file))
    }

    /// A file that no registry names: left by a crash between its creation and its registration when it has no tables, and only then removed.
    fn remove_orphan(&self, path: &Path) -> SqlResult<()> {
        let exists = || {
            SqlError::new(
                5170,
                format!(
                    "Cannot create file '{}' because it already exists. Change the file path or the file name, and retry the operation.",
                    path.display()
                ),
            )
        };
        let db = rusqlite::Connection::open(path).map_err(|_| exists())?;
        let n: i64 = db
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'tds.%' AND name NOT LIKE 'sqlite_%'", [], |r| r.get(0))
            .map_err(|_| exists())?;
        drop(db);
        if n > 0 {
            return Err(exists());
        }
        remove_files(path);
        Ok(())
    }

    /// Takes a database out of service and deletes its files; it is no longer registered. Blocks.
    pub fn drop_database(&self, db: &Arc<Database>) {
        db.dropped.store(true, Ordering::SeqCst);
        if let Ok(mut d) = self.databases.write() {
            d.remove(&db.name.to_lowercase());
        }
        db.close();
        remove_files(&db.path);
        remove_files(&db.live);
        let _ = sync_dir(&self.dir);
    }

    /// Commits and checkpoints everything. Blocks.
    pub fn close(&self) {
        self.readers.close();
        for db in self.databases() {
            db.close();
        }
        let _ = std::fs::remove_dir_all(self.dir.join(LIVE_FOLDER));
    }
}

/// Replays the DDL that the file keeps.
fn load_catalog(conn: &Conn) -> SqlResult<Catalog> {
    let list = || -> rusqlite::Result<Vec<(String, i64)>> {
        let mut s = conn.db.prepare("SELECT sql, created FROM \"tds.ddl\" ORDER BY id")?;
        let rows = s.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
        rows.collect()
    };
    let mut c = Catalog::default();
    for (sql, created) in list().map_err(|e| storage_error(&e))? {
        for stmt in parse_batch(&sql)? {
            match &stmt.kind {
                StmtKind::CreateTable(t) => {
                    c.create_table(t, created)?;
                }
                StmtKind::CreateIndex(i) => {
                    c.create_index(i)?;
                }
                _ => {}
            }
        }
    }
    for t in c.tables() {
        if let Some(col) = t.columns.iter().find(|c| c.identity.is_some()) {
            let up = col.identity.is_some_and(|i| i.1 > 0);
            let sql = format!("SELECT {}({}) FROM {}", if up { "max" } else { "min" }, super::catalog::quote(&col.name), t.quoted());
            if let Ok(Some(n)) = conn.db.query_row(&sql, [], |r| r.get::<_, Option<i64>>(0)) {
                t.last_identity.store(n, Ordering::SeqCst);
            }
        }
    }
    Ok(c)
}

/// The key under which an object's DDL is kept.
pub fn ddl_key(name: &ObjName) -> String {
    format!("dbo.{}", name.name.to_lowercase())
}
