//! The engine against clients: tiberius, and bytes where tiberius does not go.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, reason = "test code")]

mod basics;
mod bounds;
mod deadlock;
mod drivers;
mod errors;
mod full_disk;
mod language;
mod locking;
mod process;
mod protocol;
mod support;
mod types;
mod views;
