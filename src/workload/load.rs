//! The load: a schedule, a queue and a fixed number of clients.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::ClockId;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::due::{Due, DueQueue};
use super::schedule::Schedule;
use super::vitals::{Pulse, Vitals, cpu_ns};
use super::{Draws, Mix};
use crate::experiment::{Pace, WorkloadPlan};
use crate::measure::{Clock, Counts, OpSink, add, lateness_percentiles, new_histogram};
use crate::model::{ErrorKind, EventKind, F, OpError, ProcessId};
use crate::sql::{Deadlines, Target};

/// The ops of the load, as opposed to those of the prober and of the final read.
pub const WORKLOAD_FS: [F; 10] =
    [F::LedgerAdd, F::BankTransfer, F::BankRead, F::Txn, F::RegisterRead, F::RegisterWrite, F::RegisterCas, F::Enqueue, F::Dequeue, F::Sql];

/// The queue holds ops of this long at the given rate.
const QUEUE_S: f64 = 10.0;
const QUEUE_PER_CLIENT: usize = 64;
const QUEUE_MAX: usize = 1_000_000;

/// What clients, schedule and handle share.
pub(super) struct Hall {
    pub(super) target: Target,
    pub(super) sink: OpSink,
    pub(super) mix: Mix,
    pub(super) queue: DueQueue,
    /// Whether clients issue their own ops instead of taking them from the queue.
    closed_loop: bool,
    pub(super) op_timeout: Duration,
    pub(super) deadlines: Deadlines,
    /// Clients that hold a session.
    connected: AtomicUsize,
    /// Told whenever there is one more of those.
    arrived: Notify,
    clients: usize,
    /// Cancelled when no further op may begin.
    pub(super) closing: CancellationToken,
    /// Cancelled when ops in flight are given up.
    pub(super) cutoff: CancellationToken,
    clock: Clock,
    /// Who is told of sessions that are lost and regained.
    on_session: Box<dyn Fn(EventKind) + Send + Sync>,
    issued: std::sync::atomic::AtomicU64,
    not_sent: std::sync::atomic::AtomicU64,
    lateness: Mutex<Histogram<u64>>,
    pulse: Pulse,
    /// Who records the ops that no client took, and what they would have been.
    leftovers: Mutex<(ProcessId, Draws)>,
    stopped: AtomicBool,
}

impl Hall {
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn is_closing(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// A client has a session.
    pub(super) fn client_connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
        self.arrived.notify_waiters();
    }

    /// A client has none any more.
    pub(super) fn client_gone(&self) {
        self.connected.fetch_sub(1, Ordering::Relaxed);
    }

    /// Clients that hold a session.
    pub(super) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// The next op for a client with a session; `None` once the hall closes. In a closed loop it is due as soon as it is asked for.
    pub(super) async fn next_due(&self) -> Option<Due> {
        if !self.closed_loop {
            return self.queue.next().await;
        }
        if self.is_closing() {
            return None;
        }
        self.issued.fetch_add(1, Ordering::Relaxed);
        let now_ns = self.clock.now_ns();
        Some(Due { due_ns: now_ns, issued_ns: now_ns })
    }

    /// Tells of a session that was lost or regained.
    pub(super) fn tell(&self, event: EventKind) {
        (self.on_session)(event);
    }

    /// An op is due: into the queue with it, or, when that is full, into the history as one that was not sent.
    pub(super) fn issue(&self, due: Due) {
        self.issued.fetch_add(1, Ordering::Relaxed);
        if let Err(due) = self.queue.push(due) {
            self.leave_over(due, "no client was free and the queue was full");
        }
    }

    /// Counts how late the harness itself was with an op: up to the hand-over when every client was busy, which is the target's doing, and up to the
    /// client when one was waiting for it.
    pub(super) fn count_lateness(&self, due: Due, idle_since_ns: u64, taken_ns: u64) {
        let ready_ns = if idle_since_ns <= due.due_ns { taken_ns } else { due.issued_ns };
        let late_ns = ready_ns.saturating_sub(due.due_ns);
        add(&mut self.lateness.lock().unwrap_or_else(PoisonError::into_inner), late_ns);
        self.pulse.late(late_ns);
    }

    fn leave_over(&self, due: Due, why: &str) {
        self.not_sent.fetch_add(1, Ordering::Relaxed);
        let mut leftovers = self.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
        let (f, value) = self.mix.draw(&mut leftovers.1).draw(&mut leftovers.1, &self.sink);
        let error = OpError { kind: ErrorKind::NotSent, number: None, message: why.to_owned() };
        self.sink.not_sent(leftovers.0, f, value, due.due_ns, error);
    }

    /// Fails everything that waits with the error of the attempt to connect that just failed.
    pub(super) fn fail_waiting(&self, process: ProcessId, draws: &mut Draws, error: &OpError) {
        for due in self.queue.drain() {
            self.not_sent.fetch_add(1, Ordering::Relaxed);
            let (f, value) = self.mix.draw(draws).draw(draws, &self.sink);
            self.sink.not_sent(process, f, value, due.due_ns, error.clone());
        }
    }
}

/// How far the load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Ops that were due.
    pub due: u64,
    /// Ops of the load by outcome.
    pub counts: Counts,
    /// Ops that wait for a free client.
    pub waiting: u64,
    /// Clients that hold a session.
    pub connected: u64,
    /// When an op last ended ok, in ns since the run's start.
    pub last_ok_ns: Option<u64>,
    /// When an op first did not end ok since [`OpSink::mark`].
    pub first_error_ns: Option<u64>,
}

/// What the load was, all in all.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadSummary {
    /// Ops that were due.
    pub issued: u64,
    /// Ops that were due and never sent: no connection, no free client, or the end of the run.
    pub not_sent: u64,
    /// How late the harness handed ops to clients, in ns.
    pub lateness: Histogram<u64>,
    /// CPU time of the whole harness over ops issued, in ns.
    pub cpu_per_op_ns: u64,
}

impl LoadSummary {
    /// The event for the timeline.
    pub fn event(&self) -> EventKind {
        EventKind::LoadSummary {
            issued: self.issued,
            not_sent: self.not_sent,
            lateness_ns: lateness_percentiles(&self.lateness),
            cpu_per_op_ns: self.cpu_per_op_ns,
        }
    }
}

/// A running load. It goes on until [`Load::stop`]; dropping it ends it at once, and leaves ops in flight open in the history.
pub struct Load {
    hall: Arc<Hall>,
    schedule: Option<JoinHandle<()>>,
    clients: Option<JoinHandle<()>>,
    clients_ended: Option<oneshot::Receiver<()>>,
    cpu_at_start_ns: u64,
}

impl Load {
    /// Starts the clients and the schedule. The first op is due now. `on_session` gets [`EventKind::SessionLost`] and [`EventKind::SessionBack`]; it must
    /// not block.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        plan: &WorkloadPlan,
        seed: u64,
        target: Target,
        sink: OpSink,
        clock: Clock,
        on_session: impl Fn(EventKind) + Send + Sync + 'static,
    ) -> io::Result<Load> {
        let clients = usize::try_from(plan.clients).unwrap_or(usize::MAX).clamp(1, 10_000);
        let deadlines = Deadlines::default();
        let hall = Arc::new(Hall {
            target,
            mix: Mix::new(plan, seed),
            queue: DueQueue::new(queue_capacity(clients, plan.rate.highest().unwrap_or(0.0))),
            closed_loop: plan.rate == Pace::Closed,
            op_timeout: plan.op_timeout,
            deadlines: Deadlines { connect: deadlines.connect.min(plan.op_timeout), login: deadlines.login.min(plan.op_timeout) },
            connected: AtomicUsize::new(0),
            arrived: Notify::new(),
            clients,
            closing: CancellationToken::new(),
            cutoff: CancellationToken::new(),
            clock,
            on_session: Box::new(on_session),
            issued: 0.into(),
            not_sent: 0.into(),
            lateness: Mutex::new(new_histogram()),
            pulse: Pulse::new(clock),
            leftovers: Mutex::new((sink.next_process(), Draws::new(seed, u64::MAX))),
            stopped: AtomicBool::new(false),
            sink,
        });
        let (ended, clients_ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let of_clients = Arc::clone(&hall);
        let clients = std::thread::Builder::new().name("clients".to_owned()).spawn(move || {
            runtime.block_on(run_clients(&of_clients, clients, seed));
            let _ = ended.send(());
        })?;
        let schedule = match &plan.rate {
            Pace::Open(steps) => {
                let schedule = Schedule::new(clock.now_ns(), steps);
                let of_schedule = Arc::clone(&hall);
                Some(std::thread::Builder::new().name("schedule".to_owned()).spawn(move || schedule.run(&of_schedule))?)
            }
            Pace::Closed => None,
        };
        Ok(Load {
            hall,
            schedule,
            clients: Some(clients),
            clients_ended: Some(clients_ended),
            cpu_at_start_ns: cpu_ns(ClockId::ProcessCPUTime),
        })
    }

    /// How far it is, now.
    pub fn progress(&self) -> Progress {
        let counts = self.hall.sink.counts(&WORKLOAD_FS);
        Progress {
            due: self.hall.issued.load(Ordering::Relaxed),
            counts,
            waiting: self.hall.queue.len() as u64,
            connected: self.hall.connected() as u64,
            last_ok_ns: self.hall.sink.last_ok_ns(),
            first_error_ns: self.hall.sink.first_error_ns(),
        }
    }

    /// Waits until every client holds a session.
    pub async fn all_connected(&self) {
        loop {
            // Listening begins before the look, so that no client between the two is missed.
            let next = self.hall.arrived.notified();
            if self.hall.connected() >= self.hall.clients {
                return;
            }
            next.await;
        }
    }

    /// How the harness itself did since the start, or since this was last asked.
    pub fn take_vitals(&self) -> Vitals {
        self.hall.pulse.take()
    }

    /// Issues nothing more, lets ops in flight end within the limit and records the rest as unknown. Ops that still waited for a client are recorded as
    /// not sent.
    pub async fn stop(mut self, within: Duration) -> LoadSummary {
        self.close();
        let cpu_ns = cpu_ns(ClockId::ProcessCPUTime).saturating_sub(self.cpu_at_start_ns);
        if let Some(mut ended) = self.clients_ended.take()
            && tokio::time::timeout(within, &mut ended).await.is_err()
        {
            self.hall.cutoff.cancel();
            let _ = ended.await;
        }
        // Both have ended or are about to: the schedule's sleep is interrupted, the clients have said so.
        for thread in [self.schedule.take(), self.clients.take()].into_iter().flatten() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        for due in self.hall.queue.drain() {
            self.hall.leave_over(due, "the run was ending");
        }
        let issued = self.hall.issued.load(Ordering::Relaxed);
        LoadSummary {
            issued,
            not_sent: self.hall.not_sent.load(Ordering::Relaxed),
            lateness: self.hall.lateness.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            cpu_per_op_ns: cpu_ns / issued.max(1),
        }
    }

    fn close(&self) {
        self.hall.stopped.store(true, Ordering::Release);
        if let Some(schedule) = &self.schedule {
            schedule.thread().unpark();
        }
        self.hall.closing.cancel();
        self.hall.queue.close();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.close();
        self.hall.cutoff.cancel();
    }
}

async fn run_clients(hall: &Arc<Hall>, clients: usize, seed: u64) {
    let mut running = tokio::task::JoinSet::new();
    for number in 0..clients {
        running.spawn(Client::new(Arc::clone(hall), seed, number as u64).run());
    }
    tokio::select! {
        () = async { while running.join_next().await.is_some() {} } => {}
        () = hall.pulse.beat() => {}
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float beyond the range saturates, and the result is clamped"
)]
fn queue_capacity(clients: usize, per_second: f64) -> usize {
    ((per_second * QUEUE_S).ceil() as usize).max(clients.saturating_mul(QUEUE_PER_CLIENT)).min(QUEUE_MAX)
}
