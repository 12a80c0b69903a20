//! One proxied connection: bytes both ways, ends and resets passed on as they came.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Cuts;
use super::frontends::until_cut;

/// Bytes read from one side before they are written to the other.
const BUFFER_BYTES: usize = 64 * 1024;

/// Passes bytes between the two until both have ended, or one of them was reset. A reset of one side resets the other, as it would
/// when no proxy were between them. While the pod is cut off nothing is passed either way, an end or a reset no more than a byte.
pub(super) async fn relay(mut client: TcpStream, mut server: TcpStream, mut cuts: watch::Receiver<Cuts>, pod: SocketAddr) {
    let mut up = Direction::default();
    let mut down = Direction::default();
    let outcome = loop {
        let pass = poll_fn(|context| {
            let up = up.poll(context, &mut client, &mut server);
            let down = down.poll(context, &mut server, &mut client);
            match (up, down) {
                (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        });
        tokio::select! {
            biased;
            () = until_cut(&mut cuts, pod, true) => {}
            outcome = pass => break outcome,
        }
        until_cut(&mut cuts, pod, false).await;
    };
    if outcome.is_err() {
        reset(client);
        reset(server);
    }
}

/// Closes a connection so that the peer sees a reset, not an orderly end.
pub(super) fn reset(stream: TcpStream) {
    // A zero linger never blocks; it only turns the close into a reset.
    let _closed_already = stream.set_zero_linger();
    drop(stream);
}

/// Connects to a pod, without Nagle's delay.
pub(super) async fn connect(address: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(deadline, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One of the two ways. The buffer is made once and given back at the end.
#[derive(Default)]
struct Direction {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    state: State,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Ended,
    Shut,
}

impl Direction {
    fn poll(&mut self, context: &mut Context<'_>, from: &mut TcpStream, to: &mut TcpStream) -> Poll<io::Result<()>> {
        loop {
            // What was read is delivered before an end or a reset behind it is looked at: nothing is lost at a half close.
            while self.start < self.end {
                let pending = self.buffer.get(self.start..self.end).unwrap_or_default();
                let written = ready!(Pin::new(&mut *to).poll_write(context, pending))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.start += written;
            }
            match self.state {
                State::Shut => return Poll::Ready(Ok(())),
                State::Ended => {
                    ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                    self.state = State::Shut;
                    self.buffer = Vec::new();
                }
                State::Open => ready!(self.fill(context, from))?,
            }
        }
    }

    fn fill(&mut self, context: &mut Context<'_>, from: &mut TcpStream) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER_BYTES];
        }
        let mut space = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(from).poll_read(context, &mut space))?;
        self.start = 0;
        self.end = space.filled().len();
        if self.end == 0 {
            self.state = State::Ended;
        }
        Poll::Ready(Ok(()))
    }
}
