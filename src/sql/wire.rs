//! The socket under a session, shared between the driver that reads and writes it and the session that watches it.
//!
//! The driver reports every failed read as a broken pipe, so that a reset cannot be told from an end of the stream. The socket therefore remembers what
//! it saw itself.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncWrite};
use socket2::SockRef;
use tokio::net::TcpStream;

/// A connected socket and the first failure that was seen on it.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    failure: OnceLock<(io::ErrorKind, String)>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Arc<Socket> {
        Arc::new(Socket { stream, failure: OnceLock::new() })
    }

    /// The first failure, if there was one.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.get().map(|(kind, message)| io::Error::new(*kind, message.clone()))
    }

    /// Waits until the other side is gone or says something. Only for a time when nothing is expected of it.
    pub(super) async fn gone(&self) -> io::Error {
        let mut byte = [0];
        let closed = |message| io::Error::new(io::ErrorKind::UnexpectedEof, message);
        match self.stream.peek(&mut byte).await {
            Ok(0) => closed("the server closed the idle connection"),
            Ok(_) => closed("the server spoke out of turn"),
            Err(error) => error,
        }
    }

    fn note<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done {
            let _ = self.failure.set((error.kind(), error.to_string()));
        }
        done
    }
}

/// The driver's end.
#[derive(Debug)]
pub(super) struct Wire(pub(super) Arc<Socket>);

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let socket = &self.0;
        loop {
            match socket.stream.try_read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.note(ready!(socket.stream.poll_read_ready(cx)))?;
                }
                Ok(0) if !buf.is_empty() => {
                    let _ = socket.failure.set((io::ErrorKind::UnexpectedEof, "the server closed the connection".to_owned()));
                    return Poll::Ready(Ok(0));
                }
                done => return Poll::Ready(socket.note(done)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let socket = &self.0;
        loop {
            match socket.stream.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.note(ready!(socket.stream.poll_write_ready(cx)))?;
                }
                done => return Poll::Ready(socket.note(done)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.0.stream).shutdown(std::net::Shutdown::Write))
    }
}
