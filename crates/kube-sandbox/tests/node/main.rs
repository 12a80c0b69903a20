//! The nodes, seen from outside: real processes, real connections, and the objects that tell about them.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod rig;

mod balancers;
mod client;
mod crashes;
mod isolation;
mod lifecycle;
mod outages;
mod placement;
mod rollouts;
mod volumes;
