//! The versioned report model and its renderers.
//!
//! [`judge()`] is a pure fold over the files of a run's folder: `chaos run` calls it at its end and `chaos check` calls it later, so the two agree by construction.
//! Every renderer shows the [`Report`] that it returned and decides nothing.

mod accounts;
mod annotations;
mod capacity;
mod claims;
mod csv;
mod ending;
mod history;
mod honesty;
mod html;
mod index;
mod judge;
mod junit;
mod limits;
mod live;
mod markdown;
mod metrics;
mod model;
mod openmetrics;
#[cfg(feature = "otlp")]
mod otlp;
mod paint;
mod schema;
mod terminal;
mod timeline;
mod write;

pub use capacity::{CAPACITY_VERSION, Capacity, CapacityStep, capacity_json, capacity_text};
pub use history::History;
pub(crate) use html::{Text, document, outcome_word};
pub use index::{Entry, index};
pub use judge::{JudgeError, Judged, judge, judge_so_far};
pub use junit::junit_of;
pub use live::Live;
pub use metrics::Metrics;
pub use model::{
    CheckReport, ClaimReport, ClockReport, EngineReport, EpisodeReport, Example, FaultReport, Lateness, Leaks, PhaseReport, ProofOp,
    Recorded, Report, RunReport, SCHEMA_VERSION, Schedule,
};
#[cfg(feature = "otlp")]
pub use otlp::trace;
pub(crate) use paint::wrap;
pub use schema::schema;
pub use terminal::terminal;
pub use write::{Format, render, replace, write};

#[cfg(test)]
pub(crate) mod build;
#[cfg(test)]
mod render_tests;
