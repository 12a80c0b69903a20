//! How late the boundaries of an outage's phases are, by what `/proc` shows of the engine's processes on the sandbox.
//!
//! `cargo bench --bench phase_truth` runs an experiment of eight pod kills and a crash, about a minute and a half. The bound on a quiet machine: 10 ms.

use std::io::Write;

#[path = "../tests/truth/observer.rs"]
mod observer;

fn main() -> std::io::Result<()> {
    let late = observer::run(8);
    let mut out = std::io::stdout();
    for name in ["old-container-gone", "container-started"] {
        let mut times: Vec<f64> = late.iter().filter(|late| late.name == name).map(|late| late.by_ms).collect();
        times.sort_by(f64::total_cmp);
        let (Some(first), Some(last)) = (times.first(), times.last()) else { continue };
        let median = times[times.len() / 2];
        writeln!(out, "{name}: late by {median:.1} ms at the median, {first:.1} to {last:.1} ms, n = {}", times.len())?;
    }
    Ok(())
}
