//! The recorder of events: one line each in `timeline.jsonl`, in the order in which they were told, and a copy to whoever shows progress.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::measure::Clock;
use crate::model::{Event, EventKind, EventSink};

/// The timeline's file in a run's folder.
pub const FILE: &str = "timeline.jsonl";

/// A terminal that does not keep up loses lines of progress, never of the timeline.
const LIVE_QUEUE: usize = 1024;

/// How often progress is told the time while nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// The timeline of one run. Clones write to the same one.
#[derive(Clone)]
pub struct Timeline {
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
    broken: CancellationToken,
}

struct Inner {
    file: File,
    line: Vec<u8>,
    failed: Option<io::Error>,
    live: Option<(SyncSender<Event>, JoinHandle<()>)>,
}

impl Timeline {
    /// Creates the file. `live` runs on a thread of its own, because a terminal may block.
    pub fn create(folder: &Path, clock: Clock, live: Option<Box<dyn EventSink + Send>>) -> io::Result<Timeline> {
        let file = File::create_new(folder.join(FILE))?;
        let live = live.map(|mut sink| {
            let (sender, receiver) = sync_channel::<Event>(LIVE_QUEUE);
            let thread = std::thread::spawn(move || {
                loop {
                    match receiver.recv_timeout(TICK) {
                        Ok(event) => sink.event(&event),
                        Err(RecvTimeoutError::Timeout) => sink.tick(clock.now_ns()),
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            });
            (sender, thread)
        });
        let inner = Inner { file, line: Vec::with_capacity(1024), failed: None, live };
        Ok(Timeline { clock, inner: Arc::new(Mutex::new(inner)), broken: CancellationToken::new() })
    }

    /// Records what happened now.
    pub fn emit(&self, kind: EventKind) {
        self.emit_at(self.clock.now_ns(), kind);
    }

    /// Records what happened at `time_ns`.
    pub fn emit_at(&self, time_ns: u64, kind: EventKind) {
        let event = Event { time_ns, kind };
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        let Inner { file, line, failed, live } = &mut *inner;
        line.clear();
        serde_json::to_writer(&mut *line, &event).expect("an event has string keys and writing to memory does not fail");
        line.push(b'\n');
        // One write a line, so that a line is whole or absent after a kill. After an error nothing more is written: what follows half a line would be read
        // as a part of it.
        if failed.is_none()
            && let Err(error) = file.write_all(line)
        {
            *failed = Some(error);
            self.broken.cancel();
        }
        if let Some((sender, _)) = live {
            let _ = sender.try_send(event);
        }
    }

    /// The first error of writing, in words.
    pub fn failed(&self) -> Option<String> {
        let inner = self.inner.lock().expect("no holder of this lock panics");
        inner.failed.as_ref().map(|error| format!("cannot write {FILE}: {error}"))
    }

    /// Cancelled as soon as [`Timeline::failed`] says why.
    pub fn broken(&self) -> CancellationToken {
        self.broken.clone()
    }

    /// Syncs the file and ends the progress display.
    pub fn finish(&self) {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        if let Err(error) = inner.file.sync_all() {
            inner.failed.get_or_insert(error);
        }
        let live = inner.live.take();
        drop(inner);
        if let Some((sender, thread)) = live {
            drop(sender);
            let _ = thread.join();
        }
    }
}
