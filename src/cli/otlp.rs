//! Sends a run's trace to an OpenTelemetry collector: OTLP over plain HTTP, one request a run.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A collector that does not answer holds up nobody for longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// No answer's head is longer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const PORT: u16 = 4318;

/// Where a collector listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Collector {
    host: String,
    port: u16,
}

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not the address of a collector, expected one such as http://127.0.0.1:{PORT}");
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?.trim_end_matches('/');
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match rest.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (rest, PORT),
        };
        if host.is_empty() || host.contains('/') {
            return Err(wrong());
        }
        Ok(Collector { host: host.to_owned(), port })
    }
}

impl Collector {
    /// Sends a trace.
    ///
    /// # Errors
    /// When the collector cannot be reached, does not answer in time, or does not take it.
    pub(super) async fn send(&self, trace: &Value) -> io::Result<()> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs()));
        let head = tokio::time::timeout(PATIENCE, self.post(&trace.to_string())).await.map_err(late)??;
        let line = head.lines().next().unwrap_or_default();
        match line.split(' ').nth(1) {
            Some(status) if status.starts_with('2') => Ok(()),
            _ => Err(io::Error::other(format!("it answered `{line}`"))),
        }
    }

    async fn post(&self, body: &str) -> io::Result<String> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let mut stream = TcpStream::connect((host, self.port)).await?;
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.host,
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.windows(2).any(|end| end == b"\r\n") && answer.len() < HEAD_BYTES_MAX {
            if stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request and returns it.
    async fn collect(listener: TcpListener, answer: &str) -> String {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = String::new();
        let mut bytes = [0; 4096];
        while !request.ends_with('}') {
            let read = stream.read(&mut bytes).await.expect("a request");
            assert!(read > 0, "the request ends early: {request}");
            request.push_str(std::str::from_utf8(&bytes[..read]).expect("text"));
        }
        stream.write_all(answer.as_bytes()).await.expect("it listens");
        request
    }

    #[tokio::test]
    async fn a_trace_is_posted_and_a_refusal_is_told() {
        for (answer, taken) in [("HTTP/1.1 200 OK\r\n\r\n{}", true), ("HTTP/1.1 503 Busy\r\n\r\n", false), ("", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let port = listener.local_addr().expect("bound").port();
            let collector: Collector = format!("http://127.0.0.1:{port}/").parse().expect("an address");
            let trace = serde_json::json!({ "resourceSpans": [] });
            let (sent, request) = tokio::join!(collector.send(&trace), collect(listener, answer));
            assert_eq!(sent.is_ok(), taken, "{sent:?}");
            assert!(request.starts_with("POST /v1/traces HTTP/1.1\r\n") && request.ends_with(&format!("\r\n\r\n{trace}")), "{request}");
        }
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!("http://otel".parse(), Ok(Collector { host: "otel".to_owned(), port: 4318 }));
        assert_eq!("http://[::1]:99".parse(), Ok(Collector { host: "[::1]".to_owned(), port: 99 }));
        for wrong in ["otel:4318", "https://otel", "http://", "http://a/b", "http://a:b"] {
            assert!(wrong.parse::<Collector>().expect_err(wrong).contains("4318"), "{wrong}");
        }
    }
}
