//! A small stateful Kubernetes in one process.
//!
//! The API server keeps real objects and speaks the Kubernetes API over TLS on loopback; controllers react to its watches; nodes run
//! containers as child processes. Whoever talks to it uses the same client as for a real cluster: nothing here is meant to be
//! called as a library except [`Sandbox::start`].

pub mod api;
mod config;
mod controllers;
mod events;
pub mod hooks;
mod kubelet;
pub mod program;
mod proxy;
mod sabotage;
mod sandbox;
pub mod shim;
pub mod store;

pub use config::{Config, Image, StartError};
pub use hooks::{Allocator, LogSource, NodeControl};
pub use sabotage::Sabotage;
pub use sandbox::Sandbox;
