//! What the tests share: a server of their own, clients, and shorthand for results.

use tds_sqlite::{Config, Server};
use tempfile::TempDir;
use tiberius::{AuthMethod, Client, ColumnData, EncryptionLevel, FromSqlOwned, Row};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

pub const PASSWORD: &str = "Str0ng!Pass";

pub type Conn = Client<Compat<TcpStream>>;

pub struct Rig {
    pub dir: TempDir,
    pub server: Server,
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(f: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path(), PASSWORD);
        f(&mut config);
        let server = Server::start(config).await.unwrap();
        Self { dir, server }
    }

    pub fn port(&self) -> u16 {
        self.server.addr().port()
    }

    pub async fn client(&self) -> Conn {
        connect(self.port(), "", EncryptionLevel::NotSupported).await.unwrap()
    }

    /// A client in a database of its own that was just made.
    pub async fn chaos(&self) -> Conn {
        let mut c = self.client().await;
        run(&mut c, "IF DB_ID(N'chaos') IS NULL CREATE DATABASE [chaos]").await.unwrap();
        run(&mut c, "USE [chaos]").await.unwrap();
        c
    }
}

pub async fn connect(port: u16, db: &str, encryption: EncryptionLevel) -> tiberius::Result<Conn> {
    login(port, db, encryption, PASSWORD).await
}

pub async fn login(port: u16, db: &str, encryption: EncryptionLevel, password: &str) -> tiberius::Result<Conn> {
    let mut config = tiberius::Config::new();
    config.host("127.0.0.1");
    config.port(port);
    config.authentication(AuthMethod::sql_server("sa", password));
    config.trust_cert();
    config.encryption(encryption);
    if !db.is_empty() {
        config.database(db);
    }
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.set_nodelay(true)?;
    Client::connect(config, tcp.compat_write()).await
}

/// Runs a batch to its end.
pub async fn run(c: &mut Conn, sql: &str) -> tiberius::Result<Vec<Vec<Row>>> {
    c.simple_query(sql).await?.into_results().await
}

/// The only value of the last result.
pub async fn one<T: FromSqlOwned>(c: &mut Conn, sql: &str) -> T {
    maybe(c, sql).await.unwrap_or_else(|| panic!("NULL from {sql}"))
}

pub async fn maybe<T: FromSqlOwned>(c: &mut Conn, sql: &str) -> Option<T> {
    let results = run(c, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let row = results
        .into_iter()
        .last()
        .unwrap_or_else(|| panic!("no result from {sql}"))
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("no row from {sql}"));
    let data: ColumnData<'static> = row.into_iter().next().unwrap();
    T::from_sql_owned(data).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// The number of the error that a batch ends with.
pub async fn code(c: &mut Conn, sql: &str) -> u32 {
    match run(c, sql).await {
        Ok(_) => panic!("no error from {sql}"),
        Err(e) => number(&e),
    }
}

pub fn number(e: &tiberius::error::Error) -> u32 {
    e.code().unwrap_or_else(|| panic!("not a server error: {e}"))
}
