use std::time::Instant;

use jiff::Timestamp;

/// The run's one clock: monotonic nanoseconds since the run's start, and the wall-clock time of that start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    started_at: Timestamp,
}

impl Clock {
    /// Starts the clock at zero.
    pub fn start() -> Self {
        Clock { start: Instant::now(), started_at: Timestamp::now() }
    }

    /// Nanoseconds since the run's start.
    pub fn now_ns(&self) -> u64 {
        self.ns_at(Instant::now())
    }

    /// The instant's nanoseconds since the run's start; 0 for an instant before it.
    pub fn ns_at(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The wall-clock time of the run's start.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }
}
