//! Open-loop clock, HDR recorders, episodes and phases.

mod availability;
mod bootstrap;
mod capacity;
mod clock;
mod clocks;
mod counters;
mod episodes;
mod gaps;
mod interval_log;
mod latency;
mod load_steps;
mod phases;
mod reconnect;
mod recorder;
mod series;
mod stages;
mod tally;

pub use availability::{Availability, SATISFIED_NS, Served, TOLERATED_NS, percent};
pub use bootstrap::{SAMPLE_MIN, SplitMix64, median, median_interval};
pub(crate) use capacity::share;
pub use capacity::{Answer, BUSY_MAX, HarnessSeen, Objective, Search, Seen, StepVerdict, WindowRecorder, judge};
pub use clock::Clock;
pub use clocks::OffsetBounds;
pub use counters::Counts;
pub use episodes::{Episode, EpisodeRecorder, Outage, SeenBy, Window, windows};
pub use interval_log::lateness_percentiles;
pub(crate) use interval_log::{add, new_histogram};
pub use latency::{ByOutcome, ByStage, Curve, LatencyRecorder, LatencySummary, OpLatency, Repeats, StageLatency, Summary};
pub use load_steps::{StepLatency, StepRecorder};
pub use phases::{PROBE_PACE, PhaseSpan, line_time, phases};
pub use reconnect::{NewConnections, Sessions, new_connections, sessions};
pub use recorder::{Invoked, OpSink, Recorder};
pub use series::{BINS_MAX, Bin, ERROR_KINDS, Series};
pub use stages::{Stage, Stages};
pub use tally::Ended;
