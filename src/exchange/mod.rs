//! Histories of other tools: Elle's and Jepsen's EDN and JSON are read, and ours are written for Elle, Jepsen and Porcupine, so that each can check the other.

mod edn;
mod export;
mod foreign;

pub use export::{Exported, Exporter, Format};
pub use foreign::{Foreign, ForeignError, read};
