//! TLS inside PRELOGIN packets (MS-TDS 3.3.5.1): the handshake's records travel as the payload of packets of type 0x12, after it TLS is bare.

use super::packet::kind;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A self-signed certificate for this process, TLS 1.2 only, as the handshake inside PRELOGIN needs it.
///
/// # Errors
/// A text when the cryptography library refuses.
pub fn acceptor() -> Result<TlsAcceptor, String> {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "tds-sqlite".to_owned()]).map_err(|e| e.to_string())?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .and_then(|b| b.with_no_client_auth().with_single_cert(vec![key.cert.der().clone()], der))
        .map_err(|e| e.to_string())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A TCP stream whose bytes are wrapped in PRELOGIN packets while `wrapping`.
pub struct Wrapped {
    tcp: TcpStream,
    /// False once the handshake is over.
    pub wrapping: bool,
    head: [u8; 8],
    head_len: usize,
    left: usize,
    out: Vec<u8>,
    sent: usize,
}

impl Wrapped {
    /// Wraps.
    pub fn new(tcp: TcpStream) -> Self {
        Self { tcp, wrapping: true, head: [0; 8], head_len: 0, left: 0, out: vec![], sent: 0 }
    }

    /// The TCP stream.
    pub fn into_inner(self) -> TcpStream {
        self.tcp
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let n = ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.out[self.sent..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

/// Most handshake bytes in one packet.
const WRAP_MAX: usize = 4088;

impl AsyncRead for Wrapped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.wrapping && self.left == 0 {
            return Pin::new(&mut self.tcp).poll_read(cx, buf);
        }
        while self.left == 0 {
            let me = &mut *self;
            let mut head = ReadBuf::new(&mut me.head[me.head_len..]);
            ready!(Pin::new(&mut me.tcp).poll_read(cx, &mut head))?;
            let n = head.filled().len();
            if n == 0 {
                return Poll::Ready(Ok(()));
            }
            me.head_len += n;
            if me.head_len == 8 {
                let len = usize::from(u16::from_be_bytes([me.head[2], me.head[3]]));
                if me.head[0] != kind::PRELOGIN || len < 8 {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "expected a TLS handshake in a PRELOGIN packet")));
                }
                me.left = len - 8;
                me.head_len = 0;
            }
        }
        let want = self.left.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(want));
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut part))?;
        let n = part.filled().len();
        buf.advance(n);
        self.left -= n;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wrapped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.wrapping {
            ready!(self.drain(cx))?;
            return Pin::new(&mut self.tcp).poll_write(cx, buf);
        }
        ready!(self.drain(cx))?;
        let n = buf.len().min(WRAP_MAX);
        let len = u16::try_from(n + 8).unwrap_or(u16::MAX).to_be_bytes();
        self.out.extend_from_slice(&[kind::PRELOGIN, 1, len[0], len[1], 0, 0, 1, 0]);
        self.out.extend_from_slice(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Plain or encrypted.
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<Wrapped>>),
}

impl Stream {
    /// Leaves TLS, for login-only encryption.
    pub fn into_plain(self) -> TcpStream {
        match self {
            Stream::Plain(t) => t,
            Stream::Tls(t) => t.into_inner().0.into_inner(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(t) => Pin::new(t).poll_read(cx, buf),
            Stream::Tls(t) => Pin::new(t).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(t) => Pin::new(t).poll_write(cx, buf),
            Stream::Tls(t) => Pin::new(t).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(t) => Pin::new(t).poll_flush(cx),
            Stream::Tls(t) => Pin::new(t).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(t) => Pin::new(t).poll_shutdown(cx),
            Stream::Tls(t) => Pin::new(t).poll_shutdown(cx),
        }
    }
}
