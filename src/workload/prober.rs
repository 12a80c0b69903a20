//! The prober: a new connection through the Service on a fixed schedule, beside the workload, so that the moment of recovery is seen as it comes and not
//! when a client happens to try.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Ledger;
use super::probe_state::ProbeState;
use crate::measure::{Clock, OpSink, PROBE_PACE};
use crate::model::{EventKind, F, OpType, ProbeStage, ProcessId};
use crate::sql::{Dialed, SqlError, Stage, Target};

/// Between attempts while nothing is expected to happen.
const CALM: Duration = Duration::from_millis(250);
/// Between attempts while something is expected, and all is well.
const ALERT: Duration = Duration::from_millis(10);
/// Between attempts while there is no commit. Half of what recovery may go unseen, since an attempt takes its time too and a timer is late by a
/// millisecond; a refused one costs next to nothing.
const OUTAGE: Duration = PROBE_PACE;
/// How long all must be well before the prober is calm again.
const SETTLE_NS: u64 = 5_000_000_000;

const CONNECT: Duration = Duration::from_secs(1);
const LOGIN: Duration = Duration::from_secs(2);
const COMMIT: Duration = Duration::from_secs(2);

/// Attempts at once. A second of connecting at the pace of an outage is 200.
const ATTEMPTS_MAX: usize = 256;

/// The payloads of probes need no seed of the run: their digests are in the history.
const SEED: u64 = 0x70_72_6f_62_65;

/// A running prober. It goes on until [`Prober::stop`]; dropping it ends it at once.
pub struct Prober {
    shared: Arc<Shared>,
    ended: Option<oneshot::Receiver<()>>,
}

struct Shared {
    target: Target,
    sink: OpSink,
    clock: Clock,
    on_transition: Box<dyn Fn(EventKind) + Send + Sync>,
    state: Mutex<ProbeState>,
    /// Until when to be alert, in ns since the run's start.
    alert_until_ns: AtomicU64,
    alerted: Notify,
    closing: CancellationToken,
    /// Processes that are free: attempts overlap, and a process has one op at a time.
    processes: Mutex<Vec<ProcessId>>,
}

impl Prober {
    /// Starts probing. `on_transition` gets [`EventKind::Probe`] and [`EventKind::ProbeFailed`], in the order in which they happened; it must not block.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn start(
        target: Target,
        sink: OpSink,
        clock: Clock,
        on_transition: impl Fn(EventKind) + Send + Sync + 'static,
    ) -> io::Result<Prober> {
        let shared = Arc::new(Shared {
            target,
            sink,
            clock,
            on_transition: Box::new(on_transition),
            state: Mutex::default(),
            alert_until_ns: AtomicU64::new(0),
            alerted: Notify::new(),
            closing: CancellationToken::new(),
            processes: Mutex::default(),
        });
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("prober".to_owned()).spawn(move || {
            runtime.block_on(run(of_thread));
            let _ = end.send(());
        })?;
        Ok(Prober { shared, ended: Some(ended) })
    }

    /// Something is about to happen: probes at the fast pace from now on, until a commit has succeeded and all was well for a while.
    pub fn alert(&self) {
        self.shared.alert();
    }

    /// Ends it. Attempts that have sent their commit are given the time to hear of it.
    pub async fn stop(mut self) {
        self.shared.closing.cancel();
        if let Some(ended) = self.ended.take() {
            let _ = ended.await;
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shared.closing.cancel();
    }
}

async fn run(shared: Arc<Shared>) {
    let slots = Arc::new(Semaphore::new(ATTEMPTS_MAX));
    let mut attempts = JoinSet::new();
    let mut next = Instant::now();
    loop {
        while attempts.try_join_next().is_some() {}
        // With no slot free the attempts that are under way will tell.
        if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            let shared = Arc::clone(&shared);
            attempts.spawn(async move {
                attempt(&shared).await;
                drop(slot);
            });
        }
        next = (next + shared.pace()).max(Instant::now());
        tokio::select! {
            biased;
            () = shared.closing.cancelled() => break,
            () = shared.alerted.notified() => next = Instant::now(),
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
    while attempts.join_next().await.is_some() {}
}

/// One attempt, from a new connection to an acknowledged commit.
async fn attempt(shared: &Shared) {
    let attempt_ns = shared.clock.now_ns();
    let login = async {
        let dialed = Dialed::connect(&shared.target, CONNECT).await?;
        shared.passed(ProbeStage::Tcp, attempt_ns);
        dialed.login(&shared.target, LOGIN).await
    };
    let session = tokio::select! {
        biased;
        () = shared.closing.cancelled() => return,
        session = login => session,
    };
    let mut session = match session {
        Ok(session) => session,
        Err(error) => return shared.failed(attempt_ns, &error),
    };
    shared.passed(ProbeStage::Login, attempt_ns);
    let ledger = Ledger::new(SEED);
    let value = ledger.next_row(&shared.sink);
    let process = shared.lock(&shared.processes).pop().unwrap_or_else(|| shared.sink.next_process());
    let op = shared.sink.invoke(process, F::Probe, value.clone(), attempt_ns);
    let outcome = ledger.insert(&mut session, &value, COMMIT).await;
    let kind = outcome.kind;
    shared.sink.complete(op, kind, outcome.value, outcome.error.clone());
    if kind != OpType::Info {
        shared.lock(&shared.processes).push(process);
    }
    match outcome.error {
        None => shared.passed(ProbeStage::Commit, attempt_ns),
        Some(error) => shared.tell_failure(ProbeStage::Commit, attempt_ns, error),
    }
}

impl Shared {
    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> std::sync::MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alert(&self) {
        self.alert_until_ns.fetch_max(self.clock.now_ns() + SETTLE_NS, Ordering::Relaxed);
        self.alerted.notify_one();
    }

    fn pace(&self) -> Duration {
        if !self.lock(&self.state).is_good() {
            OUTAGE
        } else if self.clock.now_ns() < self.alert_until_ns.load(Ordering::Relaxed) {
            ALERT
        } else {
            CALM
        }
    }

    fn passed(&self, stage: ProbeStage, attempt_ns: u64) {
        let event = self.lock(&self.state).passed(stage, attempt_ns);
        if let Some(event) = event {
            (self.on_transition)(event);
        }
    }

    fn failed(&self, attempt_ns: u64, error: &SqlError) {
        let stage = match error.stage {
            Stage::Connect => ProbeStage::Tcp,
            Stage::Login => ProbeStage::Login,
            Stage::Request => ProbeStage::Commit,
        };
        self.tell_failure(stage, attempt_ns, error.op_error());
    }

    fn tell_failure(&self, stage: ProbeStage, attempt_ns: u64, error: crate::model::OpError) {
        let (event, counts) = self.lock(&self.state).failed(stage, attempt_ns, error);
        if counts {
            // The first failure ends the calm at once; later ones only prolong the alert.
            self.alert_until_ns.fetch_max(self.clock.now_ns() + SETTLE_NS, Ordering::Relaxed);
        }
        if let Some(event) = event {
            self.alerted.notify_one();
            (self.on_transition)(event);
        }
    }
}
