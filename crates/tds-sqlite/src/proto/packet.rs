//! Packets (MS-TDS 2.2.3): an 8-byte header, a payload, messages made of packets.

use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Packet types.
pub mod kind {
    /// SQL batch.
    pub const BATCH: u8 = 0x01;
    /// RPC.
    pub const RPC: u8 = 0x03;
    /// Everything that a server sends.
    pub const REPLY: u8 = 0x04;
    /// Attention.
    pub const ATTENTION: u8 = 0x06;
    /// Bulk load.
    pub const BULK: u8 = 0x07;
    /// Transaction manager request.
    pub const TRANSACTION: u8 = 0x0E;
    /// LOGIN7.
    pub const LOGIN: u8 = 0x10;
    /// PRELOGIN.
    pub const PRELOGIN: u8 = 0x12;
}

/// Longest message of a session in bytes.
pub const MESSAGE_MAX: usize = 64 << 20;
/// Packet size before one is agreed on.
pub const SIZE_DEFAULT: usize = 4096;
/// How long a client may refuse to take an answer.
const WRITE_TIME: Duration = Duration::from_secs(60);

const EOM: u8 = 0x01;
const IGNORE: u8 = 0x02;
const RESET: u8 = 0x08;
const RESET_KEEP: u8 = 0x10;

/// A packet.
pub struct Packet {
    /// See [`kind`].
    pub kind: u8,
    /// Status bits.
    pub status: u8,
    /// Payload.
    pub body: Bytes,
}

/// A whole message.
pub struct Message {
    /// See [`kind`].
    pub kind: u8,
    /// The client asks for the session to be reset first.
    pub reset: bool,
    /// Payload.
    pub body: Bytes,
}

/// The reading half; every wait in it can be cancelled without losing bytes.
pub struct Reader<R> {
    r: R,
    buf: BytesMut,
    partial: BytesMut,
    /// Longest message in bytes.
    pub message_max: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads from `r`.
    pub fn new(r: R, message_max: usize) -> Self {
        Self { r, buf: BytesMut::with_capacity(8192), partial: BytesMut::new(), message_max }
    }

    /// The stream, for changing its encryption; nothing may be buffered by then.
    pub fn into_inner(self) -> R {
        self.r
    }

    /// The next packet; `None` at the end of the stream.
    ///
    /// # Errors
    /// I/O errors, and a header that no packet can have.
    pub async fn packet(&mut self) -> io::Result<Option<Packet>> {
        loop {
            if self.buf.len() >= 8 {
                let len = usize::from(u16::from_be_bytes([self.buf[2], self.buf[3]]));
                if len < 8 {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "packet shorter than its header"));
                }
                if self.buf.len() >= len {
                    let mut p = self.buf.split_to(len).freeze();
                    let (kind, status) = (p[0], p[1]);
                    p.advance(8);
                    return Ok(Some(Packet { kind, status, body: p }));
                }
                self.buf.reserve(len - self.buf.len());
            }
            if self.r.read_buf(&mut self.buf).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The next message; `None` at the end of the stream.
    ///
    /// # Errors
    /// As [`Self::packet`], and messages over [`Self::message_max`].
    pub async fn message(&mut self) -> io::Result<Option<Message>> {
        let mut reset = false;
        loop {
            let Some(p) = self.packet().await? else { return Ok(None) };
            reset |= p.status & (RESET | RESET_KEEP) != 0;
            if self.partial.is_empty() && p.status & EOM != 0 && p.status & IGNORE == 0 {
                return Ok(Some(Message { kind: p.kind, reset, body: p.body }));
            }
            if self.partial.len() + p.body.len() > self.message_max {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
            }
            self.partial.extend_from_slice(&p.body);
            if p.status & EOM != 0 {
                let body = self.partial.split().freeze();
                if p.status & IGNORE != 0 {
                    continue;
                }
                return Ok(Some(Message { kind: p.kind, reset, body }));
            }
        }
    }
}

/// The writing half: collects tokens and sends them in packets.
pub struct Writer<W> {
    w: W,
    /// Tokens not sent yet.
    pub buf: Vec<u8>,
    /// Agreed packet size.
    pub size: usize,
    id: u8,
    /// See [`kind`].
    pub kind: u8,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes to `w`.
    pub fn new(w: W) -> Self {
        Self { w, buf: Vec::with_capacity(4096), size: SIZE_DEFAULT, id: 1, kind: kind::REPLY }
    }

    /// The stream, see [`Reader::into_inner`].
    pub fn into_inner(self) -> W {
        self.w
    }

    fn frame(&mut self, out: &mut Vec<u8>, body: &[u8], last: bool) {
        let len = u16::try_from(body.len() + 8).unwrap_or(u16::MAX);
        out.extend_from_slice(&[self.kind, u8::from(last)]);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&[0, 0, self.id, 0]);
        out.extend_from_slice(body);
        self.id = self.id.wrapping_add(1);
    }

    async fn send(&mut self, out: &[u8]) -> io::Result<()> {
        let write = async {
            self.w.write_all(out).await?;
            self.w.flush().await
        };
        tokio::time::timeout(WRITE_TIME, write).await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "client does not read"))?
    }

    /// Sends what fills whole packets once there is a good deal of it.
    ///
    /// # Errors
    /// I/O errors.
    pub async fn relieve(&mut self) -> io::Result<()> {
        if self.buf.len() < (16 << 10) {
            return Ok(());
        }
        let body = self.size - 8;
        let tokens = std::mem::take(&mut self.buf);
        let mut out = Vec::with_capacity(tokens.len() + tokens.len() / body * 8 + 8);
        // The last packet of a message is marked, so at least one byte stays.
        let whole = (tokens.len() - 1) / body * body;
        for chunk in tokens[..whole].chunks(body) {
            self.frame(&mut out, chunk, false);
        }
        self.buf.extend_from_slice(&tokens[whole..]);
        self.send(&out).await
    }

    /// Sends everything and ends the message.
    ///
    /// # Errors
    /// I/O errors.
    pub async fn finish(&mut self) -> io::Result<()> {
        let body = self.size - 8;
        let tokens = std::mem::take(&mut self.buf);
        let mut out = Vec::with_capacity(tokens.len() + 64);
        let n = tokens.len().div_ceil(body).max(1);
        for i in 0..n {
            self.frame(&mut out, &tokens[i * body..tokens.len().min((i + 1) * body)], i + 1 == n);
        }
        self.id = 1;
        self.buf = tokens;
        self.buf.clear();
        self.buf.shrink_to(64 << 10);
        self.send(&out).await
    }
}
