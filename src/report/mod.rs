//! The versioned report model and its renderers.
//!
//! [`judge()`] is a pure fold over the files of a run's folder: `chaos run` calls it at its end and `chaos check` calls it later, so the two agree by construction.
//! Every renderer shows the [`Report`] that it returned and decides nothing.

mod accounts;
mod claims;
mod history;
mod honesty;
mod judge;
mod junit;
mod limits;
mod live;
mod markdown;
mod model;
mod paint;
mod terminal;
mod timeline;
mod write;

pub use judge::{JudgeError, judge, judge_so_far};
pub use live::Live;
pub use model::{
    CheckReport, ClaimReport, EngineReport, EpisodeReport, Example, FaultReport, Lateness, Leaks, PhaseReport, ProofOp, Recorded, Report,
    RunReport, SCHEMA_VERSION, Schedule,
};
pub use terminal::terminal;
pub use write::write;

#[cfg(test)]
pub(crate) mod build;
#[cfg(test)]
mod render_tests;
