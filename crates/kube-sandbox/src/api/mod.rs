//! The API server: Kubernetes' HTTP API over the store.
//!
//! A request is read (`request`), routed (`route`), answered from the store, and written in the format that the client asked for
//! (`respond`, `table`). Nothing here keeps state but the snapshots of lists that are read page by page.

mod admin;
mod budgets;
mod decode;
mod deleting;
mod discovery;
mod event_view;
mod eviction;
mod identity;
mod listing;
mod logs;
mod messages;
mod openapi;
mod ownership;
mod patch;
mod protobuf;
mod request;
mod respond;
mod route;
mod scale;
mod selector;
mod server;
mod streaming;
mod table;
mod writing;

use std::sync::Arc;

use crate::hooks::{LogSource, NodeControl};

pub use server::ApiServer;

/// What the server asks of the nodes.
#[derive(Clone)]
pub struct Hooks {
    /// Signals containers.
    pub node_control: Arc<dyn NodeControl>,
    /// Finds containers' logs.
    pub logs: Arc<dyn LogSource>,
}
