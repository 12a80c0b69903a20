//! A server for tests that speaks just enough TDS 7.4 to log in and to answer every request the same way, and that can be told to stall, to fail and to
//! hang up at a known instant, which no real engine can.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Target;
use crate::experiment::Tls;
use crate::model::Secret;

const RESPONSE: u8 = 4;
const PRELOGIN: u8 = 0x12;
const LOGIN7: u8 = 0x10;

/// How requests are answered from now on.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    /// Answered with this error number; 0 for success.
    pub(crate) error: AtomicU32,
    /// Logins are answered with this error number; 0 for success.
    pub(crate) login_error: AtomicU32,
    /// Not answered until told otherwise.
    stalled: AtomicBool,
    released: Notify,
    /// Requests that are held back.
    pub(crate) held: AtomicU64,
    /// Requests that arrived.
    pub(crate) requests: AtomicU64,
    /// Sessions that logged in.
    pub(crate) logins: AtomicU64,
}

/// A running server; ends when dropped, by resetting every connection.
pub(crate) struct FakeServer {
    address: SocketAddr,
    pub(crate) behaviour: Arc<Behaviour>,
    end: CancellationToken,
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl FakeServer {
    pub(crate) async fn start() -> FakeServer {
        Self::start_at("127.0.0.1:0".parse().expect("an address")).await
    }

    /// Starts on a given address, such as the one of a server that has ended.
    pub(crate) async fn start_at(address: SocketAddr) -> FakeServer {
        let listener = TcpListener::bind(address).await.expect("a free loopback port");
        let server =
            FakeServer { address: listener.local_addr().expect("bound"), behaviour: Arc::default(), end: CancellationToken::new() };
        let (behaviour, end) = (Arc::clone(&server.behaviour), server.end.clone());
        tokio::spawn(async move {
            while let Some(Ok((stream, _))) = end.run_until_cancelled(listener.accept()).await {
                let (behaviour, end) = (Arc::clone(&behaviour), end.clone());
                tokio::spawn(async move {
                    // With linger 0 the end is a reset, as it is when a process is killed with unread data.
                    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                    let _ = end.run_until_cancelled(serve(stream, &behaviour)).await;
                });
            }
        });
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn target(&self) -> Target {
        target(self.address)
    }

    /// No request is answered until [`FakeServer::release`].
    pub(crate) fn stall(&self) {
        self.behaviour.stalled.store(true, Ordering::SeqCst);
    }

    pub(crate) fn release(&self) {
        self.behaviour.stalled.store(false, Ordering::SeqCst);
        self.behaviour.released.notify_waiters();
    }
}

/// Where a server of that address is.
pub(crate) fn target(address: SocketAddr) -> Target {
    Target {
        address: address.to_string(),
        user: "sa".to_owned(),
        password: Secret::new("x".to_owned()),
        database: "chaos".to_owned(),
        tls: Tls::Off,
    }
}

async fn serve(mut stream: TcpStream, behaviour: &Behaviour) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let answer = match read_message(&mut stream).await? {
            PRELOGIN => prelogin_answer(),
            LOGIN7 => match behaviour.login_error.load(Ordering::SeqCst) {
                0 => {
                    behaviour.logins.fetch_add(1, Ordering::SeqCst);
                    login_answer()
                }
                number => error_answer(number, 0xfd),
            },
            _ => {
                behaviour.requests.fetch_add(1, Ordering::SeqCst);
                behaviour.held.fetch_add(1, Ordering::SeqCst);
                loop {
                    let released = behaviour.released.notified();
                    if !behaviour.stalled.load(Ordering::SeqCst) {
                        break;
                    }
                    released.await;
                }
                behaviour.held.fetch_sub(1, Ordering::SeqCst);
                match behaviour.error.load(Ordering::SeqCst) {
                    0 => done(0xfe, 0x10, 1),
                    number => error_answer(number, 0xfe),
                }
            }
        };
        let mut packet = vec![RESPONSE, 1];
        packet.extend(u16::try_from(answer.len() + 8).expect("a short answer").to_be_bytes());
        packet.extend([0, 0, 1, 0]);
        packet.extend(answer);
        stream.write_all(&packet).await?;
    }
}

/// Reads one message and returns its type.
async fn read_message(stream: &mut TcpStream) -> std::io::Result<u8> {
    loop {
        let mut header = [0; 8];
        stream.read_exact(&mut header).await?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let mut body = vec![0; length.saturating_sub(8)];
        stream.read_exact(&mut body).await?;
        if header[1] & 1 == 1 {
            return Ok(header[0]);
        }
    }
}

/// MS-TDS 2.2.6.5: the version and "encryption is not supported".
fn prelogin_answer() -> Vec<u8> {
    let mut answer = vec![0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff];
    answer.extend([16, 0, 0, 0, 0, 0]);
    answer.push(2);
    answer
}

/// MS-TDS 2.2.7.14: LOGINACK.
fn login_answer() -> Vec<u8> {
    let mut ack = vec![1, 0x74, 0, 0, 4];
    put_short_text(&mut ack, "fake");
    ack.extend([16, 0, 0, 0]);
    let mut answer = vec![0xad];
    answer.extend(u16::try_from(ack.len()).expect("short").to_le_bytes());
    answer.extend(ack);
    answer.extend(done(0xfd, 0, 0));
    answer
}

/// MS-TDS 2.2.7.10: ERROR, then the DONE of the given kind.
fn error_answer(number: u32, done_token: u8) -> Vec<u8> {
    let mut error = number.to_le_bytes().to_vec();
    error.extend([1, 14]);
    error.extend([4, 0]);
    error.extend("told".encode_utf16().flat_map(u16::to_le_bytes));
    put_short_text(&mut error, "fake");
    put_short_text(&mut error, "");
    error.extend(1_u32.to_le_bytes());
    let mut answer = vec![0xaa];
    answer.extend(u16::try_from(error.len()).expect("short").to_le_bytes());
    answer.extend(error);
    answer.extend(done(done_token, 2, 0));
    answer
}

/// MS-TDS 2.2.7.6 to 2.2.7.8: DONE and its kin.
fn done(token: u8, status: u16, rows: u64) -> Vec<u8> {
    let mut answer = vec![token];
    answer.extend(status.to_le_bytes());
    answer.extend([0, 0]);
    answer.extend(rows.to_le_bytes());
    answer
}

fn put_short_text(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.encode_utf16().count()).expect("short"));
    out.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
}
