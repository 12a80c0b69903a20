//! Open-loop clock, HDR recorders, episodes and phases.

mod clock;
mod counters;
mod interval_log;
mod recorder;

pub use clock::Clock;
pub use counters::Counts;
pub use interval_log::lateness_percentiles;
pub(crate) use interval_log::{add, new_histogram};
pub use recorder::{Invoked, OpSink, Recorder};
