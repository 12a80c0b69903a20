//! A server to try a cluster with: it says who it is, echoes what it is sent, and stops the way it is told to.
//!
//! A pod runs it as the image that `kube-sandbox echo` stands for. Everything it does can be chosen by its arguments, so that a
//! test can have a server that is slow to stop, refuses to, crashes, or keeps a file on its claim.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Clone, Default)]
struct Options {
    listen: String,
    /// What a client is greeted with.
    name: String,
    /// How long after SIGTERM the server still serves.
    term_delay: Duration,
    /// The exit code after SIGTERM.
    term_code: u8,
    /// Exit with this code by itself, that long after the start.
    crash: Option<(u8, Duration)>,
    /// How long after the start it begins to listen.
    listen_delay: Duration,
    /// A file that gets a line at each start and each SIGTERM; its first line is part of the greeting.
    journal: Option<PathBuf>,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { listen: "127.0.0.1:0".to_owned(), ..Options::default() };
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        let millis = |text: &str| text.parse().map(Duration::from_millis).map_err(|error| format!("{argument}: {error}"));
        let code = |text: &str| text.parse().map_err(|error| format!("{argument}: {error}"));
        match argument.as_str() {
            "--listen" => options.listen = value,
            "--name" => options.name = value,
            "--term-delay-ms" => options.term_delay = millis(&value)?,
            "--term-code" => options.term_code = code(&value)?,
            "--listen-delay-ms" => options.listen_delay = millis(&value)?,
            "--journal" => options.journal = Some(PathBuf::from(value)),
            "--crash" => {
                let (exit, after) = value.split_once('@').ok_or_else(|| format!("--crash {value:?} is not CODE@MILLISECONDS"))?;
                options.crash = Some((code(exit)?, millis(after)?));
            }
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    Ok(options)
}

/// Serves until it is told to stop; returns the exit code.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<u8, String> {
    let options = parse(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(serve(options)).map_err(|error| error.to_string())
}

async fn serve(options: Options) -> io::Result<u8> {
    let mut terminated = signal(SignalKind::terminate())?;
    let first = note(&options, "start")?;
    tokio::time::sleep(options.listen_delay).await;
    let listener = TcpListener::bind(&options.listen).await?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
    let greeting = format!("{} {first}\n", options.name);
    let crash = async {
        match options.crash {
            Some((code, after)) => {
                tokio::time::sleep(after).await;
                code
            }
            None => std::future::pending().await,
        }
    };
    tokio::pin!(crash);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(echo(stream, greeting.clone()));
            }
            _ = terminated.recv() => break,
            code = &mut crash => return Ok(code),
        }
    }
    note(&options, "term")?;
    writeln!(io::stdout(), "asked to stop")?;
    let end = tokio::time::Instant::now() + options.term_delay;
    while let Ok(Ok((stream, _))) = tokio::time::timeout_at(end, listener.accept()).await {
        tokio::spawn(echo(stream, greeting.clone()));
    }
    tokio::time::sleep_until(end).await;
    Ok(options.term_code)
}

/// Adds a line to the journal and returns its first line.
fn note(options: &Options, what: &str) -> io::Result<String> {
    let Some(journal) = &options.journal else {
        return Ok(String::new());
    };
    let mut file = std::fs::File::options().create(true).append(true).open(journal)?;
    writeln!(file, "{what} {}", options.name)?;
    let all = std::fs::read_to_string(journal)?;
    Ok(all.lines().next().unwrap_or_default().to_owned())
}

async fn echo(mut stream: TcpStream, greeting: String) {
    let mut buffer = vec![0; 64 * 1024];
    // A client that goes away in the middle is its own affair.
    if stream.set_nodelay(true).is_err() || stream.write_all(greeting.as_bytes()).await.is_err() {
        return;
    }
    while let Ok(read) = stream.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        if stream.write_all(bytes).await.is_err() {
            return;
        }
    }
}
