//! Storage: databases, their writers, the readers, and the functions that translated SQL calls.

pub mod cache;
pub mod catalog;
pub mod changes;
pub mod conn;
mod damage;
mod dates;
mod folder;
pub mod functions;
mod like;
pub mod locks;
mod numbers;
pub mod orders;
mod planted;
pub mod reader;
pub mod store;
pub mod views;
pub mod writer;
