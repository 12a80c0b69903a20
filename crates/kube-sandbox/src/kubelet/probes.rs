//! Startup, readiness and liveness probes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::environment::{Paths, Sources};
use super::process::{Launch, Scope, Spawner};

/// Bytes of an answer or of an output that are looked at.
const ANSWER_BYTES_MAX: usize = 4096;

/// What a probe decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    /// As events name it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Readiness => "Readiness",
            Kind::Liveness => "Liveness",
        }
    }
}

/// One probing of one container.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub address: Ipv4Addr,
    pub container: Container,
    pub paths: Paths,
    pub env: Vec<(String, String)>,
}

/// The schedule of a probe, with the defaults of the API.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub initial_delay: Duration,
    pub period: Duration,
    pub timeout: Duration,
    pub successes: u32,
    pub failures: u32,
}

impl From<&Probe> for Schedule {
    fn from(probe: &Probe) -> Self {
        let seconds =
            |value: Option<i32>, default: u64| Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default));
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds.filter(|value| *value > 0), 10),
            timeout: seconds(probe.timeout_seconds.filter(|value| *value > 0), 1),
            successes: count(probe.success_threshold, 1),
            failures: count(probe.failure_threshold, 3),
        }
    }
}

/// Counts results until one of the thresholds is reached.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    last: Option<bool>,
    run: u32,
}

impl Tally {
    /// Adds a result; returns the verdict once enough results in a row agree.
    pub(crate) fn add(&mut self, healthy: bool, schedule: &Schedule) -> Option<bool> {
        self.run = if self.last == Some(healthy) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(healthy);
        let needed = if healthy { schedule.successes } else { schedule.failures };
        (self.run >= needed).then_some(healthy)
    }
}

/// Performs a probe once; the error says what the container did wrong.
pub(crate) async fn check(spawner: &Arc<Spawner>, target: &Target, probe: &Probe, timeout: Duration) -> Result<(), String> {
    let attempt = async {
        if let Some(tcp) = &probe.tcp_socket {
            return check_tcp(destination(target, tcp.host.as_deref(), &tcp.port)?).await;
        }
        if let Some(http) = &probe.http_get {
            if http.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") {
                return Err("the sandbox probes with plain HTTP only".to_owned());
            }
            let address = destination(target, http.host.as_deref(), &http.port)?;
            return check_http(address, http.path.as_deref().unwrap_or("/")).await;
        }
        match &probe.exec {
            Some(action) => check_exec(spawner, target, action.command.as_deref().unwrap_or_default()).await,
            None => Err("the sandbox probes with tcpSocket, httpGet and exec only".to_owned()),
        }
    };
    match tokio::time::timeout(timeout, attempt).await {
        Ok(result) => result,
        Err(_elapsed) if probe.exec.is_some() => Err(format!("command timed out after {}s", timeout.as_secs())),
        Err(_elapsed) => Err("context deadline exceeded".to_owned()),
    }
}

fn destination(target: &Target, host: Option<&str>, port: &IntOrString) -> Result<SocketAddr, String> {
    let named = |name: &str| {
        let ports = target.container.ports.iter().flatten();
        ports.into_iter().find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
    };
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => named(name).or_else(|| name.parse().ok()),
    };
    let number = number.and_then(|number| u16::try_from(number).ok()).ok_or_else(|| format!("no such port: {port:?}"))?;
    let address = match host {
        Some(host) => host.parse().map_err(|_invalid| format!("lookup {host}: no such host"))?,
        None => target.address.into(),
    };
    Ok(SocketAddr::new(address, number))
}

async fn dial(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| {
        let why = if error.kind() == std::io::ErrorKind::ConnectionRefused { "connection refused".to_owned() } else { error.to_string() };
        format!("dial tcp {address}: connect: {why}")
    })
}

async fn check_tcp(address: SocketAddr) -> Result<(), String> {
    dial(address).await.map(drop)
}

async fn check_http(address: SocketAddr, path: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("Get \"http://{address}{path}\": {error}");
    let mut stream = dial(address).await.map_err(|error| format!("Get \"http://{address}{path}\": {error}"))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: kube-probe/1.34\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX as u64).read_to_end(&mut answer).await.map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let code = answer.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
    match code {
        Some(code) if (200..400).contains(&code) => Ok(()),
        Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
        None => Err(format!("Get \"http://{address}{path}\": malformed HTTP response")),
    }
}

/// Kills the probe's processes when the probing is given up.
struct Abandoned(Arc<super::process::Process>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        // A probe that has ended needs no signal, and `signal` knows.
        let _ended = self.0.signal(Signal::KILL, Scope::Group);
    }
}

async fn check_exec(spawner: &Arc<Spawner>, target: &Target, command: &[String]) -> Result<(), String> {
    let argv = Sources::exec(&target.paths, command);
    if argv.is_empty() {
        return Err("the probe has no command".to_owned());
    }
    // A name of its own for each attempt: an attempt that was given up may still write.
    let log = target.paths.root().with_extension(format!("probe-{:08x}", rand::random::<u32>()));
    let launch = Launch { argv, env: target.env.clone(), dir: target.paths.root().to_owned(), log: log.clone() };
    let outcome = async {
        let running = spawner.spawn(launch).await.map_err(|error| error.to_string())?;
        let _ended_with_us = Abandoned(Arc::clone(&running.process));
        let exit = running.wait().await;
        if exit.code == 0 {
            return Ok(());
        }
        let mut said = tokio::fs::read(&log).await.unwrap_or_default();
        said.truncate(ANSWER_BYTES_MAX);
        Err(String::from_utf8_lossy(&said).into_owned())
    };
    let _removed = Removed(log.clone());
    outcome.await
}

/// Removes the output of a probe, however the probe ends.
struct Removed(std::path::PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _never_made = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_enough_results_in_a_row() {
        let schedule = Schedule { successes: 2, failures: 3, ..Schedule::from(&Probe::default()) };
        let mut tally = Tally::default();
        let seen: Vec<_> =
            [false, false, true, true, false, false, false].into_iter().map(|healthy| tally.add(healthy, &schedule)).collect();
        assert_eq!(seen, [None, None, None, Some(true), None, None, Some(false)]);
    }

    #[test]
    fn defaults_are_those_of_the_api() {
        let schedule = Schedule::from(&Probe::default());
        assert_eq!((schedule.period.as_secs(), schedule.timeout.as_secs(), schedule.successes, schedule.failures), (10, 1, 1, 3));
    }
}
