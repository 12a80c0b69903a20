//! Open-loop clock, HDR recorders, episodes and phases.

mod clock;
mod counters;
mod episodes;
mod gaps;
mod interval_log;
mod latency;
mod phases;
mod recorder;

pub use clock::Clock;
pub use counters::Counts;
pub use episodes::{Episode, EpisodeRecorder, Outage, SeenBy, Window, windows};
pub use interval_log::lateness_percentiles;
pub(crate) use interval_log::{add, new_histogram};
pub use latency::{ByOutcome, LatencyRecorder, LatencySummary, Repeats, Summary};
pub use phases::{PhaseSpan, phases};
pub use recorder::{Invoked, OpSink, Recorder};
