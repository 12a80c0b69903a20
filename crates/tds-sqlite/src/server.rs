//! The server: start, accept, stop. Also what all sessions share.

use crate::engine::cache::CacheMode;
use crate::engine::store::{Options, Store};
use crate::engine::views::SessionRow;
use crate::error::SqlError;
use crate::log::Log;
use crate::proto::tls;
use crate::sabotage::Sabotage;
use crate::session::{program::ProgramCache, serve};
use crate::sql::ast::Isolation;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TlsMode {
    /// As the client wants: nothing, the login, or everything.
    On,
    /// Never.
    Off,
    /// Everything, always.
    Required,
}

/// Everything that a server needs to know.
#[derive(Clone)]
pub struct Config {
    /// Address; port 0 picks one.
    pub listen: SocketAddr,
    /// Directory whose `data` holds the files.
    pub data: PathBuf,
    /// Password of `sa`.
    pub password: String,
    /// Encryption.
    pub tls: TlsMode,
    /// Planted fault.
    pub sabotage: Option<Sabotage>,
    /// What a SIGKILL leaves of what was written and not synced.
    pub cache: CacheMode,
    /// Simulated recovery time.
    pub startup_delay: Duration,
    /// Longest pause between two requests of an explicit transaction that holds locks.
    pub idle_transaction: Duration,
    /// Longest time from the connection to the end of LOGIN7.
    pub login_time: Duration,
    /// Most sessions.
    pub connections_max: usize,
    /// Where the error log goes.
    pub log: Log,
}

impl Config {
    /// Defaults for a directory and a password: any port on 127.0.0.1, TLS as clients want, no log.
    pub fn new(data: impl Into<PathBuf>, password: impl Into<String>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: data.into(),
            password: password.into(),
            tls: TlsMode::On,
            sabotage: None,
            cache: CacheMode::Kernel,
            startup_delay: Duration::ZERO,
            idle_transaction: Duration::from_secs(60),
            login_time: Duration::from_secs(15),
            connections_max: 4096,
            log: Log::new(std::io::sink()),
        }
    }
}

/// Why a server did not start. It has been logged as SQL Server would.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("{0}")]
    Data(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Tls(String),
}

/// What sessions share.
pub struct Shared {
    /// Databases.
    pub store: Arc<Store>,
    /// @@SERVERNAME.
    pub name: String,
    /// @@VERSION.
    pub version: String,
    password: String,
    /// Encryption.
    pub tls: TlsMode,
    /// Certificate, unless TLS is off.
    pub acceptor: Option<TlsAcceptor>,
    /// Compiled batches.
    pub programs: ProgramCache,
    sessions: Mutex<BTreeMap<u16, SessionRow>>,
    /// Longest time from the connection to the end of LOGIN7.
    pub login_time: Duration,
    connections_max: usize,
    /// Longest pause between two requests of a transaction that holds locks.
    pub idle_transaction: Duration,
    /// Error log.
    pub log: Log,
    transactions: AtomicU64,
    /// Sessions answer what they have been asked, and end.
    pub ending: CancellationToken,
    /// Held while a database is created or dropped.
    pub databases_lock: Arc<tokio::sync::Mutex<()>>,
}

impl Shared {
    /// Compares in a time that does not depend on where the difference is.
    pub fn password_is(&self, given: &str) -> bool {
        let (a, b) = (self.password.as_bytes(), given.as_bytes());
        a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
    }

    /// Takes the lowest free session number.
    pub fn enter(&self, row: SessionRow) -> Option<u16> {
        let mut s = self.sessions.lock().ok()?;
        if s.len() >= self.connections_max {
            return None;
        }
        let spid = (51..u16::MAX).find(|n| !s.contains_key(n))?;
        s.insert(spid, SessionRow { spid, ..row });
        Some(spid)
    }

    /// Logs and returns the error of a client for which there is no session left.
    pub fn refuse_connection(&self, peer: &str) -> SqlError {
        let text = format!(
            "Could not connect because the maximum number of '{}' user connections has already been reached. The system administrator can use sp_configure to increase the maximum value. The connection has been closed.",
            self.connections_max
        );
        self.log.error("Logon", 17_809, 20, 2, &format!("{text} [CLIENT: {peer}]"));
        SqlError::new(17_809, text).class(20).state(2)
    }

    /// Gives a session number back.
    pub fn leave(&self, spid: u16) {
        if let Ok(mut s) = self.sessions.lock() {
            s.remove(&spid);
        }
    }

    /// Notes a session's database and isolation level.
    pub fn update(&self, spid: u16, database: i64, isolation: Isolation) {
        if let Ok(mut s) = self.sessions.lock()
            && let Some(row) = s.get_mut(&spid)
        {
            row.database = database;
            row.isolation = isolation;
        }
    }

    /// All sessions.
    pub fn sessions(&self) -> Vec<SessionRow> {
        self.sessions.lock().map(|s| s.values().cloned().collect()).unwrap_or_default()
    }

    /// A new transaction descriptor.
    pub fn next_transaction(&self) -> u64 {
        self.transactions.fetch_add(1, Ordering::SeqCst)
    }
}

/// A running server.
pub struct Server {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    accepting: tokio::task::JoinHandle<()>,
    fatal: mpsc::Receiver<String>,
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|s| s.trim().to_owned())
        .ok()
        .filter(|s| !s.is_empty())
        .unwrap_or_else(|| "tds-sqlite".to_owned())
}

fn version(sabotage: Option<Sabotage>) -> String {
    let mut v = format!(
        "Microsoft SQL Server 2022 compatible stand-in - 16.0.1000.6 (tds-sqlite {} over SQLite {}) on Linux",
        env!("CARGO_PKG_VERSION"),
        rusqlite::version()
    );
    if let Some(s) = sabotage {
        v.push_str(&format!(" [SABOTAGE: {}]", s.name()));
    }
    v
}

fn properties(name: &str, dir: &std::path::Path) -> BTreeMap<String, String> {
    [
        ("productversion", "16.0.1000.6".to_owned()),
        ("productlevel", "RTM".to_owned()),
        ("productmajorversion", "16".to_owned()),
        ("productminorversion", "0".to_owned()),
        ("edition", "tds-sqlite (stand-in for Developer Edition)".to_owned()),
        ("engineedition", "3".to_owned()),
        ("servername", name.to_owned()),
        ("machinename", name.to_owned()),
        ("computernamephysicalnetbios", name.to_owned()),
        ("collation", "SQL_Latin1_General_CP1_CI_AS".to_owned()),
        ("isclustered", "0".to_owned()),
        ("ishadrenabled", "0".to_owned()),
        ("isintegratedsecurityonly", "0".to_owned()),
        ("issingleuser", "0".to_owned()),
        ("processid", std::process::id().to_string()),
        ("instancedefaultdatapath", dir.join("data").display().to_string()),
        ("instancedefaultlogpath", dir.join("data").display().to_string()),
        ("connection.net_transport", "TCP".to_owned()),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect()
}

impl Server {
    /// Recovers the databases, then listens.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let log = config.log.clone();
        let name = host_name();
        let version = version(config.sabotage);
        log.line("Server", &version);
        log.line("Server", &format!("Server process ID is {}.", std::process::id()));
        log.line("Server", &format!("Default data directory: {}.", config.data.join("data").display()));
        if let Some(s) = config.sabotage {
            log.line("Server", &format!("WARNING: sabotage mode '{}' is on. This server is wrong on purpose.", s.name()));
        }
        if config.cache == CacheMode::Volatile {
            log.line("Server", "The cache is volatile: what is written and not synced is lost with the process.");
        }
        let acceptor = match config.tls {
            TlsMode::Off => None,
            _ => Some(tls::acceptor().map_err(StartError::Tls)?),
        };
        let (fatal_tx, fatal) = mpsc::channel(1);
        let options = Options {
            dir: config.data.clone(),
            sabotage: config.sabotage,
            cache: config.cache,
            properties: properties(&name, &config.data),
        };
        let opening = {
            let log = log.clone();
            let delay = config.startup_delay;
            tokio::task::spawn_blocking(move || {
                std::thread::sleep(delay);
                Store::open(options, log, fatal_tx)
            })
        };
        let opened = opening.await.unwrap_or_else(|e| Err(e.to_string()));
        let store = opened.map_err(|e| {
            log.error("Server", 5120, 16, 101, &e);
            StartError::Data(e)
        })?;
        let listener = match TcpListener::bind(config.listen).await {
            Ok(l) => l,
            Err(e) => {
                let text = format!("Server failed to listen on {} <ipv4>. Error: {e}.", config.listen);
                log.error("Server", 26_023, 16, 1, &text);
                let _ = tokio::task::spawn_blocking(move || store.close()).await;
                return Err(StartError::Listen(config.listen, e));
            }
        };
        let addr = listener.local_addr().unwrap_or(config.listen);
        let shared = Arc::new(Shared {
            store,
            name,
            version,
            password: config.password,
            tls: config.tls,
            acceptor,
            programs: ProgramCache::default(),
            sessions: Mutex::default(),
            login_time: config.login_time,
            connections_max: config.connections_max,
            idle_transaction: config.idle_transaction,
            log: log.clone(),
            transactions: AtomicU64::new(1),
            ending: CancellationToken::new(),
            databases_lock: Arc::default(),
        });
        log.line("Server", &format!("Server is listening on [ {} <ipv4> {}] accept sockets 1.", addr.ip(), addr.port()));
        log.line("spid7s", "SQL Server is now ready for client connections. This is an informational message; no user action is required.");
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept(listener, shared.clone(), stop.clone()));
        Ok(Self { addr, shared, stop, accepting, fatal })
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Resolves when the storage failed in a way after which nothing may be acknowledged any more; [`Self::give_up`] must follow, and the process end.
    pub async fn fatal(&mut self) -> String {
        match self.fatal.recv().await {
            Some(e) => e,
            None => std::future::pending().await,
        }
    }

    /// After [`Self::fatal`]: lets sessions answer what they have been asked, for a second at most. Nothing is committed or closed.
    pub async fn give_up(self) {
        self.shared.ending.cancel();
        let _ = tokio::time::timeout(ANSWER_TIME, self.accepting).await;
    }

    /// Stops accepting, ends sessions (open transactions roll back), checkpoints and closes every database.
    pub async fn shutdown(self) {
        self.shared.log.line(
            "Server",
            "SQL Server is terminating because of a system shutdown. This is an informational message only. No user action is required.",
        );
        self.stop.cancel();
        let _ = self.accepting.await;
        let store = self.shared.store.clone();
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
        self.shared.log.line("Server", "SQL Server shutdown has been completed.");
    }
}

/// Connections beyond those of the most sessions, so that one more client can log in and be told that there is none left.
const LOGINS_MAX: usize = 64;
/// How long answers may take once the storage has failed.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// Pause after a failed accept (no descriptors left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = shared.ending.cancelled() => {
                drop(listener);
                while sessions.join_next().await.is_some() {}
                return;
            }
            Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
            conn = listener.accept() => match conn {
                Ok((tcp, _)) if sessions.len() < shared.connections_max.saturating_add(LOGINS_MAX) => {
                    let _ = tcp.set_nodelay(true);
                    let keep = rustix::net::sockopt::set_socket_keepalive(&tcp, true)
                        .and_then(|()| rustix::net::sockopt::set_tcp_keepidle(&tcp, Duration::from_secs(30)))
                        .and_then(|()| rustix::net::sockopt::set_tcp_keepintvl(&tcp, Duration::from_secs(1)));
                    let _ = keep;
                    let shared = shared.clone();
                    sessions.spawn(async move {
                        // A client that goes away or talks nonsense is its own affair.
                        let _ = serve(shared, tcp).await;
                    });
                }
                // Too many to tell each of them.
                Ok((_, peer)) => {
                    shared.refuse_connection(&peer.ip().to_string());
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    sessions.shutdown().await;
}
