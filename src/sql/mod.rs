//! TDS sessions, deadlines, and the classification of every error into ok, fail or info.
//!
//! This is the one place that names the driver. Every wait here is bounded by its caller, and a session whose state is not known for certain (a deadline
//! passed, the connection broke, an answer made no sense) is closed at once: the driver would drain the rest of such an answer on the next call, and
//! nothing bounds that drain.

mod error;
#[cfg(test)]
pub(crate) mod fake;
mod patience;
mod session;
mod value;
mod wire;

pub use error::{Cause, Sent, SqlError, Stage};
pub use patience::Patience;
pub use session::{Deadlines, Dialed, Session, Target};
pub use value::{Param, Row};
