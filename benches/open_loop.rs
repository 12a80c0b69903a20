//! The schedule under load: 2,000 ops a second for 30 s against the stand-in engine on the same machine. The engine runs in a process of its own, this
//! very program started again, so that the CPU time is the harness' alone. Prints how late ops were issued, what an op cost, and how the ops ended.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use chaos::experiment::{Pace, Tls, WorkloadKind, WorkloadPlan};
use chaos::measure::{Clock, Recorder, lateness_percentiles};
use chaos::model::{Isolation, Secret};
use chaos::sql::Target;
use chaos::workload::{self, Load};

const SERVE: &str = "serve-for-the-benchmark";
const PASSWORD: &str = "Pass-word-1";
const PER_SECOND: f64 = 2_000.0;
const SECONDS: u64 = 30;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if std::env::args().nth(1).as_deref() == Some(SERVE) {
        return runtime.block_on(serve());
    }
    let mut engine = Command::new(std::env::current_exe()?).arg(SERVE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut address = String::new();
    if let Some(out) = engine.stdout.take() {
        BufReader::new(out).read_line(&mut address)?;
    }
    let result = runtime.block_on(measure(address.trim()));
    // The engine ends when its standard input does.
    drop(engine.stdin.take());
    engine.wait()?;
    result
}

async fn serve() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let server = tds_sqlite::Server::start(tds_sqlite::Config::new(data.path(), PASSWORD)).await?;
    writeln!(std::io::stdout(), "{}", server.addr())?;
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    server.shutdown().await;
    Ok(())
}

async fn measure(address: &str) -> anyhow::Result<()> {
    let target = Target {
        address: address.to_owned(),
        user: "sa".to_owned(),
        password: Secret::new(PASSWORD.to_owned()),
        database: workload::DATABASE.to_owned(),
        tls: Tls::Off,
    };
    let dir = tempfile::tempdir()?;
    let clock = Clock::start();
    let recorder = Recorder::create(dir.path(), clock)?;
    let plan = WorkloadPlan {
        mix: BTreeMap::from([(WorkloadKind::Ledger, 1)]),
        clients: 16,
        rate: Pace::constant(PER_SECOND),
        warm_up: Duration::ZERO,
        op_timeout: Duration::from_secs(10),
        isolation: Isolation::ReadCommitted,
        sql: None,
    };
    workload::prepare(&plan, &target).await?;
    let load = Load::start(&plan, 1, target.clone(), recorder.sink(), clock, |_| ())?;
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let progress = load.progress();
    let summary = load.stop(Duration::from_secs(10)).await;
    let read = workload::final_read(&plan, &target, &recorder.sink(), clock, Duration::from_secs(60)).await;
    recorder.finish()?;

    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} ops due in {SECONDS} s; ok {}, fail {}, info {}, not sent {}; {} rows read back",
        summary.issued, progress.counts.ok, progress.counts.fail, progress.counts.info, summary.not_sent, read.rows
    )?;
    writeln!(out, "harness CPU {:.1} µs an op", micros(summary.cpu_per_op_ns))?;
    let [p50, p90, p99, p999, worst] = lateness_percentiles(&summary.lateness).map(micros);
    writeln!(out, "lateness p50 {p50:.0} µs, p90 {p90:.0}, p99 {p99:.0}, p99.9 {p999:.0}, worst {worst:.0}")?;
    let mut from_ns = 0;
    for bound_us in [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 10_000_000_u64] {
        let count = summary.lateness.count_between(from_ns, bound_us * 1_000);
        writeln!(out, "  up to {bound_us:>9} µs  {count:>7}")?;
        from_ns = bound_us * 1_000 + 1;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "times far below the 104 days where a float loses a nanosecond")]
fn micros(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}
