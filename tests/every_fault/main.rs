//! What must hold of every fault of the catalogue, so that a new one is held to it by itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod existing;
mod gateway;
mod inject;
mod left;
mod objects;
mod others;
mod rbac;
mod recover;
