//! A TDS 7.4 server over SQLite: the stand-in engine where no SQL Server image can be had.
//!
//! It speaks SQL Server's protocol and a subset of T-SQL well enough for drivers and durability tests, and keeps SQL Server's promise: what was acknowledged
//! survives a SIGKILL. Everything that it does not do is an error with SQL Server's number, never a silent success.
//!
//! | module | what it does |
//! |---|---|
//! | `sql` | text → syntax tree |
//! | `translate` | syntax tree → SQLite text with static types |
//! | `value` | stored form of values, conversions |
//! | `engine` | databases, the writer with its group commit, readers, functions, system views |
//! | `proto` | TDS packets, tokens, TLS |
//! | `session` | a client's state and the batch interpreter |
//! | `server` | start, accept, stop |
//!
//! Isolation: READ COMMITTED reads statement snapshots (as with READ_COMMITTED_SNAPSHOT); REPEATABLE READ and SERIALIZABLE lock rows and tables in two phases
//! (`engine::locks`), with 1205 for the victim of a deadlock. SNAPSHOT reads what was committed before its first statement, and ends with 3960 where it writes
//! a row that was changed since, or reads after a write while others have committed. A transaction that writes owns the writer from its first write; others
//! wait as LOCK_TIMEOUT says.

mod args;
mod engine;
mod error;
#[doc(hidden)]
pub mod fuzz;
#[cfg(test)]
mod hostile;
mod log;
mod proto;
mod sabotage;
mod server;
mod session;
mod sql;
mod translate;
mod value;

pub use args::{Args, main_with};
pub use engine::cache::CacheMode;
pub use log::Log;
pub use sabotage::Sabotage;
pub use server::{Config, Server, StartError, TlsMode};
