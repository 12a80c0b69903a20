//! What one client may not take from the others: sessions, time to log in, memory.

use crate::protocol::{Raw, login7};
use crate::support::{Conn, Rig, connect, number, one};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tds_sqlite::Log;
use tiberius::EncryptionLevel::NotSupported;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Far longer than the server needs; it proves that it hangs up at all.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes in a packet of the size that nobody has to agree on.
const PACKET: usize = 4096 - 8;
const LOGIN_MAX: usize = 128 << 10;
const MESSAGE_MAX: usize = 64 << 20;

/// The server ends the connection, and says nothing.
async fn is_hung_up(tcp: &mut TcpStream) {
    let mut said = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut said)).await.expect("the server hangs up");
    assert_eq!(said, []);
}

/// Sends a message of this length whose bytes are `body` and then zeros; an error where the server has hung up by then.
async fn message(raw: &mut Raw, kind: u8, last: u8, body: &[u8], len: usize) -> std::io::Result<()> {
    let body: Vec<u8> = body.iter().copied().chain(std::iter::repeat(0)).take(len).collect();
    let mut packets = body.chunks(PACKET).peekable();
    while let Some(packet) = packets.next() {
        raw.packet(kind, if packets.peek().is_none() { last } else { 0 }, packet).await?;
    }
    Ok(())
}

async fn answers(c: &mut Conn) {
    assert_eq!(one::<i32>(c, "SELECT 7").await, 7);
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn one_session_too_many_is_17809_until_another_ends() {
    let log = Kept::default();
    let rig = Rig::with(|c| (c.connections_max, c.log) = (2, Log::new(log.clone()))).await;
    let (mut first, second) = (rig.client().await, rig.client().await);
    let refused = connect(rig.port(), "", NotSupported).await.map(drop).unwrap_err();
    assert_eq!(number(&refused), 17_809, "{refused}");
    assert!(log.text().contains("Error: 17809, Severity: 20, State: 2."), "{}", log.text());
    answers(&mut first).await;
    drop(second);
    let admitted = async {
        loop {
            match connect(rig.port(), "", NotSupported).await {
                Ok(c) => return c,
                Err(e) => assert_eq!(number(&e), 17_809, "{e}"),
            }
        }
    };
    answers(&mut tokio::time::timeout(PATIENCE, admitted).await.expect("the session of a client that is gone is free")).await;
}

/// Beyond the sessions there is room for 64 that are still to log in.
#[tokio::test]
async fn connections_that_never_log_in_are_bounded_too() {
    let log = Kept::default();
    let rig = Rig::with(|c| (c.connections_max, c.log) = (2, Log::new(log.clone()))).await;
    let mut client = rig.client().await;
    let mut silent = Vec::new();
    for _ in 0..65 {
        silent.push(Raw::open(rig.port()).await);
    }
    assert!(!log.text().contains("17809"), "{}", log.text());
    is_hung_up(&mut TcpStream::connect(("127.0.0.1", rig.port())).await.unwrap()).await;
    assert!(log.text().contains("the maximum number of '2' user connections has already been reached"), "{}", log.text());
    answers(&mut client).await;
}

#[tokio::test]
async fn who_does_not_log_in_in_time_is_hung_up() {
    let rig = Rig::with(|c| c.login_time = Duration::from_millis(300)).await;
    let mut client = rig.client().await;
    let mut silent = TcpStream::connect(("127.0.0.1", rig.port())).await.unwrap();
    let mut half = Raw::open(rig.port()).await;
    is_hung_up(&mut silent).await;
    is_hung_up(&mut half.0).await;
    answers(&mut client).await;
}

#[tokio::test]
async fn a_login_over_128_kib_is_not_read_to_its_end() {
    let rig = Rig::new().await;
    let mut longest = Raw::open(rig.port()).await;
    message(&mut longest, 0x10, 1, &login7(4096), LOGIN_MAX).await.unwrap();
    assert!(longest.reply().await.0.contains(&0xAD), "no LOGINACK");
    let mut longer = Raw::open(rig.port()).await;
    // Its end never comes.
    let _ = message(&mut longer, 0x10, 0, &login7(4096), LOGIN_MAX + 1).await;
    is_hung_up(&mut longer.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_64_mib_is_not_read_to_its_end() {
    let rig = Rig::new().await;
    let mut longest = Raw::login(rig.port(), 4096).await;
    // The client takes it back, so that it is read and not run.
    message(&mut longest, 0x01, 3, &[], MESSAGE_MAX).await.unwrap();
    longest.batch("SELECT 7").await;
    assert_eq!(longest.reply().await.0[0], 0x81);
    let mut longer = Raw::login(rig.port(), 4096).await;
    let _ = message(&mut longer, 0x01, 0, &[], MESSAGE_MAX + 1).await;
    is_hung_up(&mut longer.0).await;
}
