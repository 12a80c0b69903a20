//! What it costs a client to record an op: its invocation and its completion. In bursts that fit the channel, as a load issues them, so that the figure is
//! the caller's cost and not the writer's throughput, which is measured after.

use std::io::Write;
use std::time::{Duration, Instant};

use chaos::measure::{Clock, Recorder};
use chaos::model::{Digest, F, OpType, Value};

const BURSTS: usize = 200;
const OPS: usize = 2_000;
const FLOOD_OPS: u64 = 1_000_000;

fn main() -> anyhow::Result<()> {
    // Cargo hands every benchmark the same arguments; this one takes none of them.
    let dir = tempfile::tempdir()?;
    let recorder = Recorder::create(dir.path(), Clock::start())?;
    let sink = recorder.sink();
    let process = sink.next_process();
    let mut bursts = Vec::with_capacity(BURSTS);
    for burst in 0..BURSTS {
        let start = Instant::now();
        for op in 0..OPS {
            let value = Value::Row((burst * OPS + op) as u64, Digest(0x9f86_d081_884c_7d65));
            let invoked = sink.invoke(process, F::LedgerAdd, value.clone(), 0);
            sink.complete(invoked, OpType::Ok, value, None);
        }
        bursts.push(start.elapsed());
        std::thread::sleep(Duration::from_millis(15));
    }
    bursts.sort_unstable();
    let per_op_ns = |burst: Duration| burst.as_nanos() / OPS as u128;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "recorder: {} ns an op at the median burst, {} at the 90th percentile, {} at the worst",
        per_op_ns(bursts[BURSTS / 2]),
        per_op_ns(bursts[BURSTS * 9 / 10]),
        per_op_ns(bursts[BURSTS - 1])
    )?;

    let start = Instant::now();
    for key in 0..FLOOD_OPS {
        let value = Value::Row(key, Digest(key));
        let invoked = sink.invoke(process, F::LedgerAdd, value.clone(), 0);
        sink.complete(invoked, OpType::Ok, value, None);
    }
    let lines = recorder.finish()?;
    let elapsed = start.elapsed();
    writeln!(
        out,
        "flood: {FLOOD_OPS} ops on disk in {elapsed:.2?}, {} ns an op; {lines} lines in all",
        elapsed.as_nanos() / u128::from(FLOOD_OPS)
    )?;
    Ok(())
}
