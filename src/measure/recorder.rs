//! The recorder: one thread that owns the order of the history.
//!
//! Clients hand transitions over through a bounded channel, which costs them no allocation and no system call; the thread gives each its index, writes
//! `history.jsonl` in one write for each tick of 10 ms, and keeps the latency histograms whose intervals go to `latency.hlog`. What was handed over more
//! than a tick ago is with the kernel, so that a harness that is killed loses no more than that.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{
    AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::counters::{Counters, Counts};
use super::interval_log::{Interval, IntervalLog};
use crate::measure::Clock;
use crate::model::{F, Op, OpError, OpType, ProcessId, Value};

/// How often the thread looks into the channel.
const TICK: Duration = Duration::from_millis(10);
/// Transitions that fit between two ticks; a client that finds the channel full wakes the thread and waits.
const CHANNEL: usize = 16_384;
/// The buffer is written when it holds this much, or at the end of the tick.
const BUFFER_BYTES: usize = 256 * 1024;
/// The interval of the latency log.
const INTERVAL_NS: u64 = 1_000_000_000;

enum Message {
    Transition(Transition),
    /// Answered once everything before it is with the kernel.
    Flush(oneshot::Sender<()>),
    /// The end.
    End,
}

/// An [`Op`] that has no index yet. The channel is as long as a burst and colder than any cache, so that what a client pays for is the size of this.
struct Transition {
    time_ns: u64,
    kind: OpType,
    process: ProcessId,
    f: F,
    value: Value,
    error: Option<Box<OpError>>,
    intended_ns: u64,
    /// Of a completion: when the op was sent, if it was.
    sent_ns: Option<u64>,
}

const _: () = assert!(size_of::<Message>() <= 80, "a message takes more of the channel than it must");

/// What every sink and the thread share.
struct Shared {
    clock: Clock,
    counters: Counters,
    next_process: AtomicU32,
    next_key: AtomicU64,
    lists: AtomicU64,
    /// When the op was sent that is the latest sent among those that ended ok.
    newest_ok_sent_ns: AtomicU64,
    acknowledged: Notify,
    /// How many wait for `acknowledged`: waking nobody costs a client a lock.
    awaiting: AtomicUsize,
    failed: OnceLock<String>,
    broken: CancellationToken,
    writer: OnceLock<Thread>,
}

impl Shared {
    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

/// Records ops into a run's folder. Ends when [`Recorder::finish`] is called or it is dropped.
pub struct Recorder {
    sink: OpSink,
    thread: Mutex<Option<JoinHandle<u64>>>,
}

/// A client's handle to the recorder. Cheap to clone.
#[derive(Clone)]
pub struct OpSink {
    messages: SyncSender<Message>,
    shared: Arc<Shared>,
}

/// An op that was sent and not answered. Hand it back to [`OpSink::complete`]; an op that is never completed stays open in the history, which readers
/// take for unknown.
#[must_use = "an op that is not completed stays unknown"]
#[derive(Debug)]
pub struct Invoked {
    process: ProcessId,
    f: F,
    intended_ns: u64,
    sent_ns: u64,
}

impl Invoked {
    /// When it was sent, in ns since the run's start.
    pub fn sent_ns(&self) -> u64 {
        self.sent_ns
    }
}

impl Recorder {
    /// Creates `history.jsonl` and `latency.hlog` in the folder and starts the thread.
    ///
    /// # Errors
    /// When a file cannot be created or the thread cannot be started.
    pub fn create(dir: &Path, clock: Clock) -> io::Result<Recorder> {
        let history = File::create(dir.join("history.jsonl"))?;
        let log = IntervalLog::begin(File::create(dir.join("latency.hlog"))?, &clock)?;
        let shared = Arc::new(Shared {
            clock,
            counters: Counters::default(),
            next_process: AtomicU32::new(0),
            next_key: AtomicU64::new(1),
            lists: AtomicU64::new(0),
            newest_ok_sent_ns: AtomicU64::new(0),
            acknowledged: Notify::new(),
            awaiting: AtomicUsize::new(0),
            failed: OnceLock::new(),
            broken: CancellationToken::new(),
            writer: OnceLock::new(),
        });
        let (sender, receiver) = sync_channel(CHANNEL);
        let writer = Writer {
            history,
            log,
            interval: Interval::starting_at(0),
            buffer: Vec::with_capacity(BUFFER_BYTES + 64 * 1024),
            next_index: 0,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("recorder".to_owned()).spawn(move || writer.run(&receiver))?;
        let _ = shared.writer.set(thread.thread().clone());
        Ok(Recorder { sink: OpSink { messages: sender, shared }, thread: Mutex::new(Some(thread)) })
    }

    /// A handle for a client.
    pub fn sink(&self) -> OpSink {
        self.sink.clone()
    }

    /// Waits until everything that was recorded before is with the kernel.
    pub async fn flush(&self) {
        self.sink.flush().await;
    }

    /// Why recording stopped, when it did: the history is no longer complete, and the run must say so.
    pub fn failed(&self) -> Option<String> {
        self.sink.failed()
    }

    /// Cancelled as soon as [`Recorder::failed`] says why.
    pub fn broken(&self) -> CancellationToken {
        self.sink.shared.broken.clone()
    }

    /// Ends the recording and returns how many transitions were written.
    ///
    /// # Errors
    /// When something could not be written.
    pub fn finish(&self) -> io::Result<u64> {
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(thread) = thread else { return Err(io::Error::other("the recorder has ended before")) };
        self.sink.send(Message::End);
        self.sink.shared.wake();
        let lines = thread.join().map_err(|_| io::Error::other("the recorder's thread panicked"))?;
        match self.failed() {
            Some(message) => Err(io::Error::other(message)),
            None => Ok(lines),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

impl OpSink {
    /// Records that an op is being sent now. `intended_ns` is when it was due.
    pub fn invoke(&self, process: ProcessId, f: F, value: Value, intended_ns: u64) -> Invoked {
        let sent_ns = self.shared.clock.now_ns();
        self.shared.counters.invoked(f);
        self.hand_over(Transition { time_ns: sent_ns, kind: OpType::Invoke, process, f, value, error: None, intended_ns, sent_ns: None });
        Invoked { process, f, intended_ns, sent_ns }
    }

    /// Records how an op ended, now.
    pub fn complete(&self, op: Invoked, kind: OpType, value: Value, error: Option<OpError>) {
        let Invoked { process, f, intended_ns, sent_ns } = op;
        let time_ns = self.shared.clock.now_ns();
        self.shared.counters.completed(f, kind, time_ns);
        let error = error.map(Box::new);
        self.hand_over(Transition { time_ns, kind, process, f, value, error, intended_ns, sent_ns: Some(sent_ns) });
        if kind == OpType::Ok {
            self.shared.newest_ok_sent_ns.fetch_max(sent_ns, SeqCst);
            if self.shared.awaiting.load(SeqCst) > 0 {
                self.shared.acknowledged.notify_waiters();
            }
        }
    }

    /// Records an op that was due and was never sent: it certainly did not happen. It has a response time, and no service time.
    pub fn not_sent(&self, process: ProcessId, f: F, value: Value, intended_ns: u64, error: OpError) {
        let time_ns = self.shared.clock.now_ns();
        let transition = |kind, value, error| Transition { time_ns, kind, process, f, value, error, intended_ns, sent_ns: None };
        self.shared.counters.invoked(f);
        self.hand_over(transition(OpType::Invoke, value.clone(), None));
        self.shared.counters.completed(f, OpType::Fail, time_ns);
        self.hand_over(transition(OpType::Fail, value, Some(Box::new(error))));
    }

    /// A process number that nobody else has or had.
    pub fn next_process(&self) -> ProcessId {
        self.shared.next_process.fetch_add(1, Relaxed)
    }

    /// A ledger key that nobody else has or had: dense from 1 across all clients and probes.
    pub fn next_key(&self) -> u64 {
        self.shared.next_key.fetch_add(1, Relaxed)
    }

    /// The key of a list that nobody else has or had: dense from 1 across all clients.
    pub fn next_list(&self) -> u64 {
        self.shared.lists.fetch_add(1, Relaxed) + 1
    }

    /// The highest key of a list up to now; 0 while there is none.
    pub fn lists(&self) -> u64 {
        self.shared.lists.load(Relaxed)
    }

    /// The run's clock.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Ops of these kinds up to now.
    pub fn counts(&self, fs: &[F]) -> Counts {
        self.shared.counters.counts(fs)
    }

    /// When an op last ended ok.
    pub fn last_ok_ns(&self) -> Option<u64> {
        self.shared.counters.last_ok_ns()
    }

    /// Waits until an op has ended ok that was sent after `ns`.
    pub async fn acknowledged_after(&self, ns: u64) {
        let _awaiting = Awaiting::among(&self.shared.awaiting);
        loop {
            // Being counted and listening begin before the look, and a client looks whether it is waited for after it noted its op: none between is missed.
            let next = self.shared.acknowledged.notified();
            if self.shared.newest_ok_sent_ns.load(SeqCst) > ns {
                return;
            }
            next.await;
        }
    }

    /// When an op first did not end ok since the last [`OpSink::mark`].
    pub fn first_error_ns(&self) -> Option<u64> {
        self.shared.counters.first_error_ns()
    }

    /// Forgets the first error, so that the next one counts as the first.
    pub fn mark(&self) {
        self.shared.counters.mark();
    }

    /// Why recording stopped, when it did.
    pub fn failed(&self) -> Option<String> {
        self.shared.failed.get().cloned()
    }

    /// Waits until everything that was recorded before is with the kernel. Returns at once when the recorder has ended.
    pub async fn flush(&self) {
        let (done, answer) = oneshot::channel();
        self.send(Message::Flush(done));
        self.shared.wake();
        // An error means that the thread has ended, and it writes everything before it ends.
        let _ = answer.await;
    }

    fn hand_over(&self, transition: Transition) {
        self.send(Message::Transition(transition));
    }

    fn send(&self, message: Message) {
        match self.messages.try_send(message) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(message)) => {
                self.shared.wake();
                let _ = self.messages.send(message);
            }
        }
    }
}

/// One that waits, until it is dropped.
struct Awaiting<'a>(&'a AtomicUsize);

impl<'a> Awaiting<'a> {
    fn among(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Awaiting(count)
    }
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// The thread's own side.
struct Writer {
    history: File,
    log: IntervalLog<File>,
    interval: Interval,
    buffer: Vec<u8>,
    next_index: u64,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) -> u64 {
        loop {
            let tick = Instant::now();
            let mut flushes: Vec<oneshot::Sender<()>> = Vec::new();
            let mut ended = false;
            while let Ok(message) = messages.try_recv() {
                match message {
                    Message::Transition(transition) => self.take(transition),
                    Message::Flush(done) => flushes.push(done),
                    Message::End => {
                        ended = true;
                        break;
                    }
                }
            }
            self.write_history();
            let now_ns = self.shared.clock.now_ns();
            if ended || now_ns - self.interval.start_ns().min(now_ns) >= INTERVAL_NS {
                self.write_interval(now_ns);
            }
            for done in flushes {
                let _ = done.send(());
            }
            if ended {
                return self.next_index;
            }
            std::thread::park_timeout(TICK.saturating_sub(tick.elapsed()));
        }
    }

    fn take(&mut self, transition: Transition) {
        let Transition { time_ns, kind, process, f, value, error, intended_ns, sent_ns } = transition;
        if kind != OpType::Invoke {
            self.interval.record(f, kind, intended_ns, sent_ns, time_ns);
        }
        let op = Op { index: self.next_index, time_ns, kind, process, f, value, error: error.map(|error| *error), intended_ns };
        self.next_index += 1;
        op.write_line(&mut self.buffer);
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_history();
        }
    }

    fn write_history(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        // After an error nothing more is written: a history with a hole would be judged as if it were whole.
        if self.shared.failed.get().is_none() {
            let written = self.history.write_all(&self.buffer);
            self.note("history.jsonl", written);
        }
        self.buffer.clear();
    }

    fn write_interval(&mut self, now_ns: u64) {
        let written = self.log.write(&mut self.interval, now_ns);
        self.note("latency.hlog", written);
    }

    fn note(&self, file: &str, written: io::Result<()>) {
        if let Err(error) = written {
            let _ = self.shared.failed.set(format!("cannot write {file}: {error}"));
            self.shared.broken.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, ErrorKind};

    fn lines(dir: &Path) -> Vec<Op> {
        let text = std::fs::read(dir.join("history.jsonl")).expect("the history is there");
        text.split_inclusive(|&byte| byte == b'\n').map(|line| Op::parse(line).expect("a whole line")).collect()
    }

    #[tokio::test]
    async fn what_was_flushed_is_readable_while_the_recorder_runs() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let recorder = Recorder::create(dir.path(), Clock::start()).expect("a writable folder");
        let sink = recorder.sink();
        let op = sink.invoke(sink.next_process(), F::LedgerAdd, Value::Row(sink.next_key(), Digest(7)), 0);
        recorder.flush().await;
        assert_eq!(lines(dir.path()).len(), 1);
        sink.complete(op, OpType::Ok, Value::Row(1, Digest(7)), None);
        assert_eq!(recorder.finish().expect("written"), 2);
        let ops = lines(dir.path());
        assert_eq!(ops.iter().map(|op| (op.index, op.kind)).collect::<Vec<_>>(), [(0, OpType::Invoke), (1, OpType::Ok)]);
        assert!(ops[0].time_ns <= ops[1].time_ns);
    }

    #[test]
    fn many_threads_get_one_dense_order_in_which_each_op_follows_its_invocation() {
        const THREADS: u32 = 8;
        // More in all than the channel holds, so that the wait for room is exercised too.
        const OPS: usize = 4_000;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let recorder = Recorder::create(dir.path(), Clock::start()).expect("a writable folder");
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                let sink = recorder.sink();
                scope.spawn(move || {
                    let process = sink.next_process();
                    for _ in 0..OPS {
                        let value = Value::Row(sink.next_key(), Digest(1));
                        let op = sink.invoke(process, F::LedgerAdd, value.clone(), 0);
                        sink.complete(op, OpType::Ok, value, None);
                    }
                });
            }
        });
        recorder.finish().expect("written");
        let ops = lines(dir.path());
        assert_eq!(ops.len(), THREADS as usize * OPS * 2);
        let mut open: Vec<Option<Value>> = vec![None; THREADS as usize];
        let mut keys = std::collections::BTreeSet::new();
        for (at, op) in ops.iter().enumerate() {
            assert_eq!(op.index, at as u64);
            let open = &mut open[op.process as usize];
            if op.kind == OpType::Invoke {
                assert_eq!(open.replace(op.value.clone()), None);
                let Value::Row(key, _) = op.value else { panic!("a ledger op has a row") };
                assert!(keys.insert(key), "key {key} twice");
            } else {
                assert_eq!(open.take().as_ref(), Some(&op.value));
            }
        }
        assert_eq!((keys.first(), keys.last()), (Some(&1), Some(&(u64::from(THREADS) * OPS as u64))));
    }

    #[test]
    fn counts_and_times_are_live() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let recorder = Recorder::create(dir.path(), Clock::start()).expect("a writable folder");
        let sink = recorder.sink();
        let first = sink.invoke(0, F::LedgerAdd, Value::None, 0);
        let second = sink.invoke(1, F::LedgerAdd, Value::None, 0);
        let probe = sink.invoke(2, F::Probe, Value::None, 0);
        assert_eq!(sink.counts(&[F::LedgerAdd]), Counts { invoked: 2, in_flight: 2, ..Counts::default() });
        sink.complete(first, OpType::Ok, Value::None, None);
        assert_eq!((sink.last_ok_ns().is_some(), sink.first_error_ns()), (true, None));
        sink.complete(second, OpType::Info, Value::None, None);
        let error = OpError { kind: ErrorKind::NotSent, number: None, message: String::new() };
        sink.not_sent(3, F::LedgerAdd, Value::None, 0, error);
        assert_eq!(sink.counts(&[F::LedgerAdd]), Counts { invoked: 3, ok: 1, fail: 1, info: 1, in_flight: 0 });
        assert_eq!(sink.counts(&[F::LedgerAdd, F::Probe]).in_flight, 1);
        assert!(sink.first_error_ns() >= sink.last_ok_ns());
        sink.mark();
        assert_eq!(sink.first_error_ns(), None);
        sink.complete(probe, OpType::Ok, Value::None, None);
    }

    #[tokio::test]
    async fn who_waits_for_an_acknowledged_op_is_woken_by_one_that_was_sent_late_enough() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let recorder = Recorder::create(dir.path(), Clock::start()).expect("a writable folder");
        let sink = recorder.sink();
        let early = sink.invoke(0, F::LedgerAdd, Value::None, 0);
        let mark = sink.clock().now_ns();
        let mut waiting = std::pin::pin!(sink.acknowledged_after(mark));
        assert!(futures::poll!(&mut waiting).is_pending());
        sink.complete(early, OpType::Ok, Value::None, None);
        assert!(futures::poll!(&mut waiting).is_pending(), "it was sent before the mark");
        let late = sink.invoke(0, F::LedgerAdd, Value::None, 0);
        sink.complete(late, OpType::Ok, Value::None, None);
        assert!(futures::poll!(&mut waiting).is_ready());
        assert!(futures::poll!(std::pin::pin!(sink.acknowledged_after(mark))).is_ready(), "nobody has to wake who comes later");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_is_told_and_stops_nobody() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::os::unix::fs::symlink("/dev/full", dir.path().join("history.jsonl")).expect("a symlink");
        let recorder = Recorder::create(dir.path(), Clock::start()).expect("the device opens");
        let sink = recorder.sink();
        assert_eq!(recorder.failed(), None);
        assert!(!recorder.broken().is_cancelled());
        // More than the channel holds: a recorder that no longer drained it would hang here.
        for _ in 0..2 * CHANNEL {
            let op = sink.invoke(0, F::LedgerAdd, Value::None, 0);
            sink.complete(op, OpType::Ok, Value::None, None);
        }
        recorder.broken().cancelled().await;
        let message = recorder.failed().expect("the failure is told");
        assert!(message.starts_with("cannot write history.jsonl: "), "{message}");
        assert!(recorder.finish().is_err());
    }

    #[tokio::test]
    async fn a_recorder_that_has_ended_makes_nobody_wait() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let recorder = Recorder::create(dir.path(), Clock::start()).expect("a writable folder");
        let sink = recorder.sink();
        recorder.finish().expect("written");
        for _ in 0..2 * CHANNEL {
            let op = sink.invoke(0, F::LedgerAdd, Value::None, 0);
            sink.complete(op, OpType::Ok, Value::None, None);
        }
        sink.flush().await;
    }
}
