//! Open-loop clock, HDR recorders, episodes and phases.

mod clock;

pub use clock::Clock;
