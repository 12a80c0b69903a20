//! The harness' own test: the stand-in engine is given each of its planted defects in turn, and the checkers must find every one of them, and nothing in an
//! engine that has none.
//!
//! A trial is what a run is, without the cluster: an engine as a process that is started again whenever it ends, all workloads at once, four SIGKILLs, the
//! final read, the checkers. A defect of the cluster is tried by a whole run on a sandbox that has it.

mod engine;
mod matrix;
mod sandbox;
mod trial;

pub use matrix::{Matrix, Row};
pub use sandbox::sandbox_trial;
pub use trial::{Trial, TrialError, Trialed, trial};
