//! What the engine does on this machine: durable commits beside the disk's own syncs, point reads, logins. `cargo bench -p tds-sqlite [-- DIR]`
//!
//! Server and client are two processes that share the machine's cores. The client of commits and reads speaks TDS by hand, on one thread: it sends the
//! prepared bytes of an `sp_executesql` call, as a driver would, and looks at the answer's DONE token for errors and the row count; a connection sends its
//! next call when the last one is answered. A driver that decodes rows costs more, so with one the figures are lower: the last line shows tiberius. Logins
//! are tiberius' throughout.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark stops at the first surprise and prints what it measured")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tds_sqlite::{Config, Server};
use tiberius::{AuthMethod, Client, EncryptionLevel};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

const PASSWORD: &str = "bench";
const TIME: Duration = Duration::from_secs(4);
/// Rows that point reads choose from.
const ROWS: i64 = 10_000;

const INSERT: &str = "INSERT INTO t (id, s) VALUES (@P1, N'a payload of some forty characters, as usual')";
const SELECT: &str = "SELECT s FROM t WHERE id = @P1";
const EXPLICIT: &str = "BEGIN TRAN; UPDATE t SET s = N'x' WHERE id = @P1; UPDATE t SET s = N'y' WHERE id = @P1; COMMIT";

fn utf16(s: &str) -> Vec<u8> {
    s.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A connection of the lean client.
struct Raw {
    tcp: TcpStream,
    answer: Vec<u8>,
}

impl Raw {
    async fn login(port: u16) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut raw = Raw { tcp, answer: vec![0; 8192] };
        // PRELOGIN that asks for no encryption.
        raw.call(&packet(0x12, &[0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 0, 0, 0, 0, 0, 0, 2])).await;
        let (user, pass) = (utf16("sa"), utf16(PASSWORD).iter().map(|b| b.rotate_left(4) ^ 0xA5).collect::<Vec<u8>>());
        let database = utf16("bench");
        let mut login = vec![0u8; 94];
        login[4..8].copy_from_slice(&0x7400_0004u32.to_le_bytes());
        let mut at = login.len();
        for (field, bytes) in [(40, &user), (44, &pass), (68, &database)] {
            login[field..field + 2].copy_from_slice(&u16::try_from(at).unwrap().to_le_bytes());
            login[field + 2..field + 4].copy_from_slice(&u16::try_from(bytes.len() / 2).unwrap().to_le_bytes());
            at += bytes.len();
        }
        login.extend([user, pass, database].concat());
        let len = u32::try_from(login.len()).unwrap();
        login[..4].copy_from_slice(&len.to_le_bytes());
        let answer = raw.call(&packet(0x10, &login)).await;
        assert!(answer.contains(&0xAD), "no LOGINACK");
        raw
    }

    /// Sends a message and waits for the answer, which is one packet long.
    async fn call(&mut self, message: &[u8]) -> &[u8] {
        self.tcp.write_all(message).await.unwrap();
        let mut have = 0;
        loop {
            have += self.tcp.read(&mut self.answer[have..]).await.unwrap();
            assert!(have > 0, "the server went away");
            if have >= 8 && have == usize::from(u16::from_be_bytes([self.answer[2], self.answer[3]])) {
                return &self.answer[8..have];
            }
        }
    }
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut p = vec![kind, 1];
    p.extend(u16::try_from(body.len() + 8).unwrap().to_be_bytes());
    p.extend([0, 0, 1, 0]);
    p.extend(body);
    p
}

/// `sp_executesql` of a statement with one BIGINT parameter, whose value is the last eight bytes.
fn call(sql: &str) -> Vec<u8> {
    let mut body = vec![22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    body.extend([0xFF, 0xFF, 10, 0, 0, 0]);
    for text in [utf16(sql), utf16("@P1 bigint")] {
        let len = u16::try_from(text.len()).unwrap().to_le_bytes();
        // No name, no flags, NVARCHAR(4000).
        body.extend([0, 0, 0xE7, 0x40, 0x1F, 9, 4, 0xD0, 0, 0x34]);
        body.extend(len);
        body.extend(text);
    }
    body.push(3);
    body.extend(utf16("@P1"));
    body.extend([0, 0x26, 8, 8]);
    body.extend([0; 8]);
    packet(0x03, &body)
}

/// Operations a second of `clients` connections, and the latencies' median and 99th percentile in milliseconds.
async fn rate(port: u16, clients: usize, sql: &str, next: impl Fn() -> i64 + Copy) -> (f64, f64, f64) {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(Raw::login(port).await);
    }
    let start = Instant::now();
    let work = connections.into_iter().map(|mut raw| async move {
        let mut message = call(sql);
        let value = message.len() - 8;
        let mut times = Vec::new();
        while start.elapsed() < TIME {
            message[value..].copy_from_slice(&next().to_le_bytes());
            let op = Instant::now();
            let answer = raw.call(&message).await;
            times.push(op.elapsed());
            // RETURNSTATUS and DONEPROC, 5 and 13 bytes, come last, and before them DONEINPROC with the row count, but for COMMIT, which counts no rows.
            let done = &answer[answer.len() - 31..answer.len() - 18];
            assert!(
                answer[answer.len() - 13] == 0xFE && answer[answer.len() - 12] & 2 == 0 && !answer.starts_with(&[0xAA]),
                "an error: {answer:02x?}"
            );
            assert!(sql.ends_with("COMMIT") || (done[0] == 0xFF && done[1] & 2 == 0 && done[5] == 1), "one row: {answer:02x?}");
        }
        times
    });
    let mut all = futures::future::join_all(work).await.concat();
    let seconds = start.elapsed().as_secs_f64();
    all.sort();
    let at = |q: usize| all[all.len() * q / 1000].as_secs_f64() * 1e3;
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let n = all.len() as f64;
    (n / seconds, at(500), at(990))
}

async fn connect(port: u16, encryption: EncryptionLevel) -> Client<Compat<TcpStream>> {
    let mut config = tiberius::Config::new();
    config.authentication(AuthMethod::sql_server("sa", PASSWORD));
    config.trust_cert();
    config.encryption(encryption);
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    Client::connect(config, tcp.compat_write()).await.unwrap()
}

/// Connecting and logging in, one after the other: median and 99th percentile in milliseconds.
async fn logins(port: u16, encryption: EncryptionLevel) -> (f64, f64) {
    let n = 500;
    let mut times = Vec::new();
    for _ in 0..n {
        let start = Instant::now();
        let client = connect(port, encryption).await;
        times.push(start.elapsed());
        drop(client);
    }
    times.sort();
    (times[n / 2].as_secs_f64() * 1e3, times[n * 99 / 100].as_secs_f64() * 1e3)
}

/// How often a second the disk makes 4 KiB durable that were appended to a file.
fn syncs(dir: &Path) -> f64 {
    let path = dir.join("syncs");
    let mut file = File::create(&path).unwrap();
    let (start, mut n) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(2) {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        n += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    f64::from(n) / seconds
}

/// Runs the server until its standard input ends.
fn serve(dir: &str) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let server = Server::start(Config::new(dir, PASSWORD)).await.unwrap();
        println!("{}", server.addr().port());
        let _ = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await;
        server.shutdown().await;
    });
}

fn spawn(dir: &Path) -> (Child, u16) {
    let mut child =
        Command::new(std::env::current_exe().unwrap()).arg("serve").arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap())
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let first = args.next();
    if let (Some("serve"), Some(dir)) = (first.as_deref(), args.next()) {
        return serve(&dir);
    }
    let temp = std::env::temp_dir().join(format!("tds-bench-{}", std::process::id()));
    let dir = first.map_or(temp, Into::into);
    std::fs::create_dir_all(&dir).unwrap();
    let (mut child, port) = spawn(&dir);
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(measure(&dir, port));
    drop(child.stdin.take());
    child.wait().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}

async fn measure(dir: &Path, port: u16) {
    let mut c = connect(port, EncryptionLevel::NotSupported).await;
    for sql in ["CREATE DATABASE bench", "USE bench", "CREATE TABLE t (id BIGINT PRIMARY KEY, s NVARCHAR(100) NOT NULL)"] {
        c.simple_query(sql).await.unwrap().into_results().await.unwrap();
    }
    let fill = "BEGIN TRAN; DECLARE @i BIGINT = 0; WHILE @i < @P1 BEGIN INSERT INTO t VALUES (@i, N'a payload of some forty characters, as usual'); SET @i += 1 END; COMMIT";
    c.execute(fill, &[&ROWS]).await.unwrap();
    let ids = AtomicI64::new(ROWS);
    let fresh = || ids.fetch_add(1, Ordering::Relaxed);
    let known = || ids.fetch_add(7919, Ordering::Relaxed).rem_euclid(ROWS);
    let before = syncs(dir);
    for clients in [1, 16, 64] {
        show("durable commits", clients, rate(port, clients, INSERT, fresh).await);
    }
    println!("{:<44}{:>10.0}/s before, {:.0}/s after", "syncs of the disk, 4 KiB each", before, syncs(dir));
    show("explicit transactions of two updates", 16, rate(port, 16, EXPLICIT, known).await);
    for clients in [1, 16, 64] {
        show("point reads", clients, rate(port, clients, SELECT, known).await);
    }
    for (name, level) in
        [("plain", EncryptionLevel::NotSupported), ("TLS for the login", EncryptionLevel::Off), ("TLS", EncryptionLevel::On)]
    {
        let (p50, p99) = logins(port, level).await;
        println!("{:<44}p50 {p50:.2} ms   p99 {p99:.2} ms", format!("connect and log in, {name}"));
    }
    let start = Instant::now();
    let mut n = 0;
    while start.elapsed() < TIME {
        assert_eq!(c.query(SELECT, &[&known()]).await.unwrap().into_first_result().await.unwrap().len(), 1);
        n += 1;
    }
    println!("{:<44}{:>10.0}/s", "point reads of tiberius, 1 connection", f64::from(n) / start.elapsed().as_secs_f64());
}

fn show(name: &str, clients: usize, (rate, p50, p99): (f64, f64, f64)) {
    println!("{:<44}{rate:>10.0}/s   p50 {p50:.2} ms   p99 {p99:.2} ms", format!("{name}, {clients} connections"));
}
