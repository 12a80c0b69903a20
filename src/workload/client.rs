//! One logical client: one connection, one op at a time.

use std::sync::Arc;
use std::time::Duration;

use super::due::Due;
use super::load::Hall;
use super::{Draws, Outcome};
use crate::model::{ErrorKind, EventKind, OpError, OpType, ProcessId, Value};
use crate::sql::Session;

const BACK_OFF_MS_MIN: u64 = 10;
const BACK_OFF_MS_MAX: u64 = 100;

/// A client.
pub(super) struct Client {
    hall: Arc<Hall>,
    /// Stays the same while processes come and go.
    number: u64,
    process: ProcessId,
    /// The session that was lost and is not back in use yet.
    lost: Option<Lost>,
    /// Which ops it performs.
    draws: Draws,
    /// How long it waits between attempts to connect; apart, so that an outage does not change the sequence of ops.
    jitter: Draws,
    idle_since_ns: u64,
}

/// A session that was lost, in ns since the run's start.
struct Lost {
    noticed_ns: u64,
    /// When the next one had its login accepted.
    login_ns: u64,
}

impl Client {
    pub(super) fn new(hall: Arc<Hall>, seed: u64, number: u64) -> Self {
        let process = hall.sink.next_process();
        let idle_since_ns = hall.clock().now_ns();
        Client { hall, number, process, lost: None, draws: Draws::new(seed, number), jitter: Draws::new(!seed, number), idle_since_ns }
    }

    /// Connects, performs ops, connects again, until the hall closes.
    pub(super) async fn run(mut self) {
        while let Some(session) = self.connect().await {
            self.hall.client_connected();
            if let Some(lost) = &mut self.lost {
                lost.login_ns = self.hall.clock().now_ns();
            }
            let more = self.serve(session).await;
            self.hall.client_gone();
            if !more {
                return;
            }
        }
    }

    /// Attempts to connect, one attempt at a time with a pause between them, until one succeeds; `None` when the hall closes.
    ///
    /// When no client is connected, the ops that wait fail with the attempt: an outage shows in the history as it happens, and not as a backlog after it.
    /// Clients that are connected keep taking ops, so that one that is not never becomes the fastest way to fail.
    async fn connect(&mut self) -> Option<Session> {
        let hall = Arc::clone(&self.hall);
        loop {
            let attempt = Session::connect(&hall.target, hall.deadlines);
            let attempt = tokio::select! {
                biased;
                () = hall.closing.cancelled() => return None,
                attempt = attempt => attempt,
            };
            let error = match attempt {
                Ok(session) => return Some(session),
                Err(error) => error.op_error(),
            };
            if hall.connected() == 0 {
                hall.fail_waiting(self.process, &mut self.draws, &error);
            }
            let pause_ms = BACK_OFF_MS_MIN + self.jitter.below(BACK_OFF_MS_MAX - BACK_OFF_MS_MIN + 1);
            tokio::select! {
                biased;
                () = hall.closing.cancelled() => return None,
                () = tokio::time::sleep(Duration::from_millis(pause_ms)) => {}
            }
        }
    }

    /// Performs ops until the session is lost (true) or the hall closes (false).
    async fn serve(&mut self, mut session: Session) -> bool {
        let hall = Arc::clone(&self.hall);
        self.idle_since_ns = hall.clock().now_ns();
        while session.is_open() {
            // The goodbye first: an op that would be sent into a connection that is known to be gone would end unknown for no reason.
            let due = tokio::select! {
                biased;
                error = session.gone() => {
                    self.session_lost(error.op_error(), true);
                    return true;
                }
                due = hall.next_due() => due,
            };
            let Some(due) = due else { return false };
            let (kind, error) = self.perform(&mut session, due).await;
            let ended = kind == OpType::Info || !session.is_open();
            if let Some(error) = error.filter(|_| ended) {
                self.session_lost(error, false);
            }
            if kind == OpType::Ok {
                self.session_back();
            }
            if kind == OpType::Info {
                // Its outcome may still come to pass: the process retires, and nothing more is asked of its connection.
                self.process = hall.sink.next_process();
                return true;
            }
            self.idle_since_ns = hall.clock().now_ns();
        }
        true
    }

    async fn perform(&mut self, session: &mut Session, due: Due) -> (OpType, Option<OpError>) {
        let hall = &self.hall;
        hall.count_lateness(due, self.idle_since_ns, hall.clock().now_ns());
        let workload = hall.mix.draw(&mut self.draws);
        let (f, value) = workload.draw(&mut self.draws, &hall.sink);
        let op = hall.sink.invoke(self.process, f, value.clone(), due.due_ns);
        let outcome = tokio::select! {
            biased;
            outcome = workload.perform(session, &value, hall.op_timeout) => outcome,
            () = hall.cutoff.cancelled() => given_up(value.clone()),
        };
        let Outcome { kind, value, error } = outcome;
        hall.sink.complete(op, kind, value, error.clone());
        (kind, error)
    }

    /// Tells how the client noticed, unless it was the run that ended the session. A session that is lost before it did anything belongs to the loss before it.
    fn session_lost(&mut self, how: OpError, idle: bool) {
        if self.hall.closing.is_cancelled() || self.lost.is_some() {
            return;
        }
        let now_ns = self.hall.clock().now_ns();
        self.lost = Some(Lost { noticed_ns: now_ns, login_ns: now_ns });
        self.hall.tell(EventKind::SessionLost { client: self.number, how, idle });
    }

    /// The first op of a new session was acknowledged.
    fn session_back(&mut self) {
        if let Some(Lost { noticed_ns, login_ns }) = self.lost.take() {
            self.hall.tell(EventKind::SessionBack { client: self.number, noticed_ns, login_ns });
        }
    }
}

fn given_up(value: Value) -> Outcome {
    let message = "the run ended before the answer came".to_owned();
    Outcome { kind: OpType::Info, value, error: Some(OpError { kind: ErrorKind::Timeout, number: None, message }) }
}
