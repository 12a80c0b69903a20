//! Serves a run's figures over HTTP while it goes on: one path, one answer, nothing to configure.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::model::{Event, EventSink};
use crate::report::Metrics;

/// No scrape's request is longer.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// A client that sends no whole request is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// The figures, shared by the run that makes them and the server that tells them.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Metrics>>);

impl Shared {
    fn with<T>(&self, use_it: impl FnOnce(&mut Metrics) -> T) -> T {
        use_it(&mut self.0.lock().expect("no holder of this lock panics"))
    }
}

impl EventSink for Shared {
    fn event(&mut self, event: &Event) {
        self.with(|metrics| metrics.event(event));
    }

    fn tick(&mut self, now_ns: u64) {
        self.with(|metrics| metrics.tick(now_ns));
    }
}

/// Listens; the server ends when the task that is returned is aborted. Also tells the address, which the system chooses for port 0.
pub(super) async fn serve(address: SocketAddr, metrics: Shared) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let metrics = metrics.clone();
                    tokio::spawn(async move {
                        // A scraper that goes away is no concern of the run.
                        let _ = tokio::time::timeout(PATIENCE, answer(stream, &metrics)).await;
                    });
                }
                // Out of file descriptors, most likely; scrapes can wait, the run cannot.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok((address, server))
}

async fn answer(mut stream: TcpStream, metrics: &Shared) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split(|&byte| byte == b'?').next().unwrap_or_default();
    let (status, body) = match (method, path) {
        (b"GET" | b"HEAD", b"/metrics") => ("200 OK", metrics.with(|metrics| metrics.text())),
        (b"GET" | b"HEAD", _) => ("404 Not Found", "the figures are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if method != b"HEAD" {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("the server listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    #[tokio::test]
    async fn one_path_is_answered() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, server) = serve(address, Shared::default()).await.expect("a free port");
        let good = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(good.starts_with("HTTP/1.1 200 OK\r\n") && good.ends_with("chaos_runs_finished_total 0\n"), "{good}");
        assert!(ask(address, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, "POST /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405"));
        assert!(ask(address, "HEAD /metrics HTTP/1.1\r\n\r\n").await.ends_with("\r\n\r\n"));
        // A request that never ends and one that ends early disturb nobody.
        drop(TcpStream::connect(address).await);
        assert!(ask(address, "GET /metrics?x=1 HTTP/1.1\r\n\r\n").await.contains("200 OK"));
        server.abort();
    }
}
