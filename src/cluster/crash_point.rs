//! Places at which the harness can be told to die, so that a test can show that `chaos recover` puts its death right at every one of them.
//!
//! `CHAOS_CRASH_AT=17` ends the process by SIGKILL at the seventeenth place that it passes. There is one on either side of everything that outlives the
//! process: around each entry of the journal and in the middle of its line, around each request that changes the cluster, and around each program of a
//! provider. They are in the journal's writer, the API client and [`super::Program`] and nowhere else, so that a new fault has them by itself.
//! Each place is told as it is passed: `--log off,chaos::cluster::crash_point=trace`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of the place at which the process dies.
pub const CRASH_AT: &str = "CHAOS_CRASH_AT";

static PASSED: AtomicU64 = AtomicU64::new(0);

/// Passes a place, or dies there. `what` says which.
pub fn crash_point(what: impl FnOnce() -> String) {
    static AT: OnceLock<Option<u64>> = OnceLock::new();
    let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    tracing::trace!("{number} {}", what());
    let at = AT.get_or_init(|| std::env::var(CRASH_AT).ok().and_then(|number| number.parse().ok()));
    if *at == Some(number) {
        // Nothing is flushed, dropped or healed: that is the point. The signal is pending before the call returns, so nothing after it is reached.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}
