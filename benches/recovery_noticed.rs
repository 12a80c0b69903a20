//! How soon the prober has a commit acknowledged after the first moment at which one was possible.
//!
//! `cargo bench --bench recovery_noticed` puts a gate before a stand-in engine that is up all the time. The gate refuses connections, and opens at a known instant; what
//! is measured is from then to the acknowledged commit, so connecting, login and the commit itself are in it. The bound on a quiet machine: 10 ms at p99.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use chaos::experiment::{Pace, Tls, WorkloadKind, WorkloadPlan};
use chaos::measure::{Clock, Recorder};
use chaos::model::{EventKind, Isolation, ProbeStage, Secret};
use chaos::sql::Target;
use chaos::workload::{self, Prober};
use tds_sqlite::{Config, Server};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const ROUNDS: u64 = 200;
const PASSWORD: &str = "Pass-word-1";
const PATIENCE: Duration = Duration::from_secs(30);

/// Passes connections on while it is open; closing it refuses new ones and ends those that it passed on.
struct Gate {
    accepting: JoinHandle<()>,
}

impl Gate {
    async fn open(at: SocketAddr, to: SocketAddr) -> std::io::Result<(Gate, SocketAddr, Instant)> {
        let listener = TcpListener::bind(at).await?;
        let opened = Instant::now();
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            let mut passed = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                passed.spawn(async move {
                    let Ok(mut server) = TcpStream::connect(to).await else { return };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    // Either side may hang up at any time: that is the prober's end of an attempt.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Ok((Gate { accepting }, address, opened))
    }

    async fn close(self) {
        self.accepting.abort();
        let _ = self.accepting.await;
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = Server::start(Config::new(folder.path(), PASSWORD)).await?;
    let target = |address: SocketAddr| Target {
        address: address.to_string(),
        user: "sa".to_owned(),
        password: Secret::new(PASSWORD.to_owned()),
        database: workload::DATABASE.to_owned(),
        tls: Tls::Off,
    };
    let plan = WorkloadPlan {
        mix: BTreeMap::from([(WorkloadKind::Ledger, 1)]),
        clients: 1,
        rate: Pace::constant(1.0),
        warm_up: Duration::ZERO,
        op_timeout: Duration::from_secs(5),
        isolation: Isolation::ReadCommitted,
        sql: None,
    };
    workload::prepare(&plan, &target(engine.addr())).await?;
    let (mut gate, address, _) = Gate::open(SocketAddr::from(([127, 0, 0, 1], 0)), engine.addr()).await?;

    let run = tempfile::tempdir()?;
    let clock = Clock::start();
    let recorder = Recorder::create(run.path(), clock)?;
    let (tell, told) = channel();
    let prober = Prober::start(target(address), recorder.sink(), clock, move |event| {
        let _ = tell.send((Instant::now(), event));
    })?;
    wait(&told, |event| matches!(event, EventKind::Probe { stage: ProbeStage::Commit, .. }))?;

    let mut took = Vec::new();
    for round in 0..ROUNDS {
        prober.alert();
        gate.close().await;
        wait(&told, |event| matches!(event, EventKind::ProbeFailed { .. }))?;
        // An odd time apart, so that openings fall on every part of the prober's beat.
        tokio::time::sleep(Duration::from_micros(20_300 + 613 * (round % 37))).await;
        let opened;
        (gate, _, opened) = Gate::open(address, engine.addr()).await?;
        let back = wait(&told, |event| matches!(event, EventKind::Probe { stage: ProbeStage::Commit, .. }))?;
        took.push(back.saturating_duration_since(opened));
    }
    prober.stop().await;
    gate.close().await;
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3;
    writeln!(
        std::io::stdout(),
        "a commit after the first possible moment, n = {ROUNDS}: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        at(50),
        at(90),
        at(99),
        at(100)
    )?;
    Ok(())
}

/// When the next event of this kind came.
fn wait(told: &Receiver<(Instant, EventKind)>, wanted: impl Fn(&EventKind) -> bool) -> anyhow::Result<Instant> {
    loop {
        let (at, event) = told.recv_timeout(PATIENCE).context("the prober says nothing more")?;
        if wanted(&event) {
            return Ok(at);
        }
    }
}
