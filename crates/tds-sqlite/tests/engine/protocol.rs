//! The protocol: encryption levels, logins, attention, packet sizes, prepared statements; raw bytes where tiberius sends none.

use crate::support::{PASSWORD, Rig, connect, login, number, one, run};
use std::time::Duration;
use tds_sqlite::TlsMode;
use tiberius::EncryptionLevel::{NotSupported, Off, On, Required};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn every_encryption_level() {
    let rig = Rig::new().await;
    for level in [NotSupported, Off, On, Required] {
        let mut c = connect(rig.port(), "", level).await.unwrap_or_else(|e| panic!("{level:?}: {e}"));
        assert_eq!(
            one::<String>(&mut c, "SELECT REPLICATE(CAST(N'é' AS NVARCHAR(MAX)), 20000)").await.chars().count(),
            20_000,
            "{level:?}"
        );
    }
    let plain = Rig::with(|c| c.tls = TlsMode::Off).await;
    connect(plain.port(), "", NotSupported).await.unwrap();
    assert!(connect(plain.port(), "", Required).await.is_err());
    let strict = Rig::with(|c| c.tls = TlsMode::Required).await;
    connect(strict.port(), "", On).await.unwrap();
    assert!(connect(strict.port(), "", NotSupported).await.is_err());
}

#[tokio::test]
async fn logins() {
    let rig = Rig::new().await;
    assert_eq!(number(&login(rig.port(), "", NotSupported, "wrong").await.unwrap_err()), 18_456);
    assert_eq!(number(&login(rig.port(), "nope", NotSupported, PASSWORD).await.unwrap_err()), 4060);
    let mut c = rig.chaos().await;
    assert_eq!(one::<String>(&mut c, "SELECT DB_NAME()").await, "chaos");
    let mut d = connect(rig.port(), "chaos", NotSupported).await.unwrap();
    assert_eq!(one::<String>(&mut d, "SELECT DB_NAME()").await, "chaos");
}

/// A client of a few lines that speaks TDS by hand.
pub struct Raw(pub TcpStream);

impl Raw {
    /// A connection that has said PRELOGIN.
    pub async fn open(port: u16) -> Self {
        let mut raw = Raw(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        raw.send(0x12, &[0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 0, 0, 0, 0, 0, 0, 2]).await;
        raw.reply().await;
        raw
    }

    pub async fn login(port: u16, packet_size: u32) -> Self {
        let mut raw = Self::open(port).await;
        raw.send(0x10, &login7(packet_size)).await;
        let (reply, _) = raw.reply().await;
        assert!(reply.contains(&0xAD), "no LOGINACK");
        raw
    }

    pub async fn send(&mut self, kind: u8, body: &[u8]) {
        self.packet(kind, 1, body).await.unwrap();
    }

    pub async fn packet(&mut self, kind: u8, status: u8, body: &[u8]) -> std::io::Result<()> {
        let mut p = vec![kind, status];
        p.extend_from_slice(&u16::try_from(body.len() + 8).unwrap().to_be_bytes());
        p.extend_from_slice(&[0, 0, 1, 0]);
        p.extend_from_slice(body);
        self.0.write_all(&p).await
    }

    pub async fn batch(&mut self, sql: &str) {
        let mut body = vec![22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        body.extend(sql.encode_utf16().flat_map(u16::to_le_bytes));
        self.send(0x01, &body).await;
    }

    /// One message and the length of its longest packet.
    pub async fn reply(&mut self) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        let mut longest = 0;
        loop {
            let mut head = [0; 8];
            self.0.read_exact(&mut head).await.unwrap();
            let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
            longest = longest.max(len);
            let mut body = vec![0; len - 8];
            self.0.read_exact(&mut body).await.unwrap();
            out.extend(body);
            if head[1] & 1 == 1 {
                return (out, longest);
            }
        }
    }
}

/// A LOGIN7 of `sa`.
pub fn login7(packet_size: u32) -> Vec<u8> {
    let utf16 = |s: &str| s.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let (user, pass) = (utf16("sa"), utf16(PASSWORD).iter().map(|b| b.rotate_left(4) ^ 0xA5).collect::<Vec<u8>>());
    let mut body = vec![0u8; 94];
    body[4..8].copy_from_slice(&0x7400_0004u32.to_le_bytes());
    body[8..12].copy_from_slice(&packet_size.to_le_bytes());
    let mut put = |at: usize, offset: usize, units: usize| {
        body[at..at + 2].copy_from_slice(&u16::try_from(offset).unwrap().to_le_bytes());
        body[at + 2..at + 4].copy_from_slice(&u16::try_from(units).unwrap().to_le_bytes());
    };
    put(40, 94, user.len() / 2);
    put(44, 94 + user.len(), pass.len() / 2);
    body.extend(user);
    body.extend(pass);
    let len = u32::try_from(body.len()).unwrap();
    body[..4].copy_from_slice(&len.to_le_bytes());
    body
}

/// DONE with the ATTN bit, the last 13 bytes of an acknowledgement.
fn is_attention(reply: &[u8]) -> bool {
    reply.len() >= 13 && reply[reply.len() - 13] == 0xFD && reply[reply.len() - 12] & 0x20 != 0
}

#[tokio::test]
async fn attention_stops_a_wait_and_a_query() {
    let rig = Rig::new().await;
    let mut raw = Raw::login(rig.port(), 4096).await;
    for sql in [
        "WAITFOR DELAY '01:00:00'",
        "WITH n AS (SELECT x FROM (VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9),(10)) AS v(x)) SELECT COUNT_BIG(*) FROM n a, n b, n c, n d, n e, n f, n g, n h, n i, n j, n k, n l",
        "WHILE 1 = 1 PRINT 'x'",
    ] {
        raw.batch(sql).await;
        raw.send(0x06, &[]).await;
        let (reply, _) = tokio::time::timeout(Duration::from_secs(20), raw.reply()).await.expect("the attention is answered");
        assert!(is_attention(&reply), "{sql}: {reply:?}");
    }
    raw.send(0x06, &[]).await;
    assert!(is_attention(&raw.reply().await.0), "an attention with nothing to stop");
    raw.batch("SELECT 7").await;
    assert!(!is_attention(&raw.reply().await.0));
}

#[tokio::test]
async fn packet_sizes() {
    let rig = Rig::new().await;
    for (asked, most) in [(512, 512), (32_767, 32_767), (100, 512), (0, 4096)] {
        let mut raw = Raw::login(rig.port(), asked).await;
        raw.batch("SELECT REPLICATE(CAST('x' AS VARCHAR(MAX)), 100000)").await;
        let (reply, longest) = raw.reply().await;
        assert!(reply.len() > 100_000);
        assert_eq!(longest, most, "asked for {asked}");
    }
}

#[tokio::test]
async fn nonsense_ends_the_connection_and_nothing_else() {
    let rig = Rig::new().await;
    for bytes in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0x12, 1, 0, 3, 0, 0, 0, 0], &[0x10, 1, 0, 12, 0, 0, 0, 0, 255, 255, 255, 255]] {
        let mut tcp = TcpStream::connect(("127.0.0.1", rig.port())).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(10), tcp.read_to_end(&mut rest)).await.expect("the server hangs up");
    }
    let mut raw = Raw::login(rig.port(), 4096).await;
    // A call of procedure 10 whose parameter claims more than there is.
    raw.send(0x03, &[4, 0, 0, 0, 255, 255, 10, 0, 0, 0, 0, 0, 0xE7, 100, 0, 0, 0, 0, 0, 0, 200, 0]).await;
    assert_eq!(raw.reply().await.0[0], 0xAA, "an ERROR token");
    raw.batch("SELECT 1").await;
    assert_eq!(raw.reply().await.0[0], 0x81, "the session goes on");
    let mut c = rig.client().await;
    assert_eq!(one::<i32>(&mut c, "SELECT 1").await, 1);
}

#[tokio::test]
async fn prepared_statements_by_name() {
    let rig = Rig::new().await;
    let mut raw = Raw::login(rig.port(), 4096).await;
    let utf16 = |s: &str| s.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let nvarchar = |s: &str| {
        let mut p = vec![0, 0, 0xE7, 0x40, 0x1F, 9, 4, 0xD0, 0, 0x34];
        p.extend_from_slice(&u16::try_from(s.len() * 2).unwrap().to_le_bytes());
        p.extend(utf16(s));
        p
    };
    let int = |flags: u8, n: Option<i32>| {
        let mut p = vec![0, flags, 0x26, 4];
        match n {
            Some(n) => {
                p.push(4);
                p.extend_from_slice(&n.to_le_bytes());
            }
            None => p.push(0),
        }
        p
    };
    let call = |proc: &str, params: &[Vec<u8>]| {
        let mut b = vec![4, 0, 0, 0];
        b.extend_from_slice(&u16::try_from(proc.len()).unwrap().to_le_bytes());
        b.extend(utf16(proc));
        b.extend_from_slice(&[0, 0]);
        params.iter().for_each(|p| b.extend(p));
        b
    };
    let body = call("sp_prepexec", &[int(1, None), nvarchar("@a int"), nvarchar("SELECT @a * 2"), int(0, Some(21))]);
    raw.send(0x03, &body).await;
    let reply = raw.reply().await.0;
    assert!(reply.windows(6).any(|w| w == [0xD1, 4, 42, 0, 0, 0]), "the row 42: {reply:?}");
    assert!(reply.contains(&0xAC), "RETURNVALUE with the handle");
    raw.send(0x03, &call("sp_execute", &[int(0, Some(1)), int(0, Some(4))])).await;
    assert!(raw.reply().await.0.windows(6).any(|w| w == [0xD1, 4, 8, 0, 0, 0]));
    raw.send(0x03, &call("sp_unprepare", &[int(0, Some(1))])).await;
    raw.reply().await;
    raw.send(0x03, &call("sp_execute", &[int(0, Some(1)), int(0, Some(4))])).await;
    let reply = raw.reply().await.0;
    let at = reply.iter().position(|b| *b == 0xAA).expect("an ERROR token");
    assert_eq!(i32::from_le_bytes(reply[at + 3..at + 7].try_into().unwrap()), 8179);
    raw.send(0x03, &call("sp_cursoropen", &[int(1, None)])).await;
    let reply = raw.reply().await.0;
    let at = reply.iter().position(|b| *b == 0xAA).expect("an ERROR token");
    assert_eq!(i32::from_le_bytes(reply[at + 3..at + 7].try_into().unwrap()), 40_510);
}

#[tokio::test]
async fn many_rows_are_streamed() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, "CREATE TABLE n (id INT PRIMARY KEY, s NVARCHAR(100)); INSERT INTO n SELECT a.x * 100 + b.x * 10 + c.x, REPLICATE(N'y', 100) FROM (VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)) a(x), (VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)) b(x), (VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)) c(x)").await.unwrap();
    let rows = run(&mut c, "SELECT x.id, y.s FROM n AS x JOIN n AS y ON y.id < 10").await.unwrap();
    assert_eq!(rows[0].len(), 10_000);
}

#[tokio::test]
async fn an_error_in_dynamic_sql_is_reported_once() {
    let rig = Rig::new().await;
    let mut raw = Raw::login(rig.port(), 4096).await;
    let divide: Vec<u8> = "Divide by zero".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (sql, want) in [
        ("EXEC(N'SELECT 1 / 0')", 1),
        ("SET XACT_ABORT ON EXEC(N'EXEC(N''SELECT 1 / 0'')')", 1),
        ("BEGIN TRY EXEC(N'SELECT 1 / 0') END TRY BEGIN CATCH THROW END CATCH", 1),
        ("BEGIN TRY EXEC(N'SELECT 1 / 0') END TRY BEGIN CATCH PRINT N'caught' END CATCH", 0),
    ] {
        raw.batch(sql).await;
        let (reply, _) = raw.reply().await;
        assert_eq!(reply.windows(divide.len()).filter(|w| *w == divide).count(), want, "{sql}");
    }
}
