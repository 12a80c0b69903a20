//! How long `chaos run` takes from the start of its process to its first request at the API server: the experiment is read, the run's folder, journal and
//! timeline are there, the kubeconfig is loaded and the client is up. The server here is a socket that notes when the request's first line arrived.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

const RUNS: usize = 30;
const EXPERIMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/pod-kill.yaml");

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut took = (0..RUNS).map(|_| once(folder.path())).collect::<Result<Vec<_>, _>>()?;
    took.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    writeln!(
        std::io::stdout(),
        "process start to first request, n = {RUNS}: median {:.1} ms, max {:.1} ms",
        ms(took[RUNS / 2]),
        ms(took[RUNS - 1])
    )?;
    Ok(())
}

fn context_at(port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: bench\n\
         clusters: [{{ name: bench, cluster: {{ server: 'http://127.0.0.1:{port}' }} }}]\n\
         users: [{{ name: bench, user: {{}} }}]\n\
         contexts: [{{ name: bench, context: {{ cluster: bench, user: bench }} }}]\n"
    )
}

fn once(folder: &Path) -> anyhow::Result<Duration> {
    // A socket of its own for each run: the last one's further connections may still wait in the old one.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let kubeconfig = folder.join("kubeconfig");
    fs::write(&kubeconfig, context_at(listener.local_addr()?.port()))?;
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(["run", EXPERIMENT, "--cluster", "context:bench", "--yes-i-mean", "bench", "--quiet", "--reports"])
        .arg(folder.join("reports"))
        .env("KUBECONFIG", &kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("chaos does not start")?;
    let (stream, _) = listener.accept()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let took = started.elapsed();
    child.kill()?;
    child.wait()?;
    ensure!(line.starts_with("GET /"), "not a request: {line:?}");
    Ok(took)
}
