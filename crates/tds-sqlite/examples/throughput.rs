//! Figures of the engine on this machine: commits, point reads, logins. `cargo run --release -p tds-sqlite --example throughput [DIR]`
//!
//! Client and server share the machine and the process, so the server alone does better than these figures say.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tds_sqlite::{Config, Server};
use tiberius::{AuthMethod, Client, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

type Conn = Client<Compat<TcpStream>>;

const TIME: Duration = Duration::from_secs(4);

async fn connect(port: u16, encryption: EncryptionLevel) -> Conn {
    let mut config = tiberius::Config::new();
    config.authentication(AuthMethod::sql_server("sa", "bench"));
    config.trust_cert();
    config.encryption(encryption);
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    Client::connect(config, tcp.compat_write()).await.unwrap()
}

#[derive(Clone, Copy)]
enum Work {
    Insert,
    Explicit,
    Read,
}

/// Operations a second of `clients` sessions, and the latencies' median and 99th percentile in milliseconds.
async fn rate(port: u16, clients: usize, work: Work, next: &Arc<AtomicI64>) -> (f64, f64, f64) {
    let mut tasks = Vec::new();
    let start = Instant::now();
    for _ in 0..clients {
        let next = next.clone();
        tasks.push(tokio::spawn(async move {
            let mut c = connect(port, EncryptionLevel::NotSupported).await;
            c.simple_query("USE bench").await.unwrap().into_results().await.unwrap();
            let mut times = Vec::new();
            while start.elapsed() < TIME {
                let id = next.fetch_add(1, Ordering::Relaxed);
                let op = Instant::now();
                match work {
                    Work::Insert => {
                        c.execute("INSERT INTO t (id, s) VALUES (@P1, @P2)", &[&id, &"a payload of some forty bytes, as is usual"])
                            .await
                            .unwrap();
                    }
                    Work::Explicit => {
                        let sql = "BEGIN TRAN; UPDATE t SET s = N'x' WHERE id = 1; UPDATE t SET s = N'y' WHERE id = 2; COMMIT";
                        c.simple_query(sql).await.unwrap().into_results().await.unwrap();
                    }
                    Work::Read => {
                        let rows =
                            c.query("SELECT s FROM t WHERE id = @P1", &[&(id % 1000)]).await.unwrap().into_first_result().await.unwrap();
                        assert_eq!(rows.len(), 1);
                    }
                }
                times.push(op.elapsed());
            }
            times
        }));
    }
    let mut all = Vec::new();
    for t in tasks {
        all.extend(t.await.unwrap());
    }
    let seconds = start.elapsed().as_secs_f64();
    all.sort();
    let at = |q: usize| all[all.len() * q / 1000].as_secs_f64() * 1e3;
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let n = all.len() as f64;
    (n / seconds, at(500), at(990))
}

async fn logins(port: u16, encryption: EncryptionLevel) -> f64 {
    let n = 300;
    let mut times = Vec::new();
    for _ in 0..n {
        let start = Instant::now();
        connect(port, encryption).await;
        times.push(start.elapsed());
    }
    times.sort();
    times[n / 2].as_secs_f64() * 1e3
}

#[tokio::main]
async fn main() {
    let dir = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join(format!("tds-bench-{}", std::process::id())), Into::into);
    let server = Server::start(Config::new(&dir, "bench")).await.unwrap();
    let port = server.addr().port();
    let mut c = connect(port, EncryptionLevel::NotSupported).await;
    for sql in ["CREATE DATABASE bench", "USE bench", "CREATE TABLE t (id BIGINT PRIMARY KEY, s NVARCHAR(100) NOT NULL)"] {
        c.simple_query(sql).await.unwrap().into_results().await.unwrap();
    }
    let next = Arc::new(AtomicI64::new(0));
    let mut out = std::io::stdout();
    for (name, clients, work) in [
        ("commits, 1 connection", 1, Work::Insert),
        ("commits, 16 connections", 16, Work::Insert),
        ("commits, 64 connections", 64, Work::Insert),
        ("explicit transactions, 16 connections", 16, Work::Explicit),
        ("point reads, 1 connection", 1, Work::Read),
        ("point reads, 16 connections", 16, Work::Read),
    ] {
        let (rate, p50, p99) = rate(port, clients, work, &next).await;
        writeln!(out, "{name:<40}{rate:>10.0}/s   p50 {p50:.2} ms   p99 {p99:.2} ms").unwrap();
    }
    for (name, level) in
        [("plain", EncryptionLevel::NotSupported), ("TLS for the login", EncryptionLevel::Off), ("TLS", EncryptionLevel::On)]
    {
        writeln!(out, "{:<40}{:>10.2} ms", format!("connect and log in, {name}"), logins(port, level).await).unwrap();
    }
    server.shutdown().await;
    let _ = std::fs::remove_dir_all(&dir);
}
