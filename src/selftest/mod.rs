//! The harness' own test: the stand-in engine is given each of its planted defects in turn, and the checkers must find every one of them, and nothing in an
//! engine that has none.
//!
//! A trial is what a run is, without the cluster: an engine as a process that is started again whenever it ends, all workloads at once, two SIGKILLs, the
//! final read, the checkers.

mod engine;
mod matrix;
mod trial;

pub use matrix::{Matrix, Row};
pub use trial::{Trial, TrialError, Trialed, trial};
