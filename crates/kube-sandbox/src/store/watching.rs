//! Watches: cursors into the bounded history that the store keeps for each resource.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::error::ApiError;
use super::memory::Store;
use super::resource::Resource;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It appeared.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
}

impl EventKind {
    /// As watch streams spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
        }
    }
}

/// One change of one object.
#[derive(Debug, Clone)]
pub struct WatchEvent {
    /// What happened.
    pub kind: EventKind,
    /// The object after the change, or its last state when it is gone.
    pub object: Arc<Value>,
    /// The object before the change.
    pub previous: Option<Arc<Value>>,
    /// The resourceVersion of the change.
    pub rv: u64,
    /// The event as a line of a watch stream, made once for all watchers.
    line: Arc<OnceLock<Bytes>>,
}

impl WatchEvent {
    pub(super) fn new(kind: EventKind, object: Arc<Value>, previous: Option<Arc<Value>>, rv: u64) -> WatchEvent {
        WatchEvent { kind, object, previous, rv, line: Arc::default() }
    }

    /// The event as a line of a watch stream.
    pub fn line(&self) -> Bytes {
        self.line.get_or_init(|| event_line(self.kind.as_str(), &self.object)).clone()
    }
}

/// A line of a watch stream.
pub(crate) fn event_line(kind: &str, object: &Value) -> Bytes {
    let mut line = json!({ "type": kind, "object": object }).to_string();
    line.push('\n');
    Bytes::from(line)
}

/// The recent changes of one resource, oldest first.
#[derive(Debug)]
pub(super) struct History {
    events: VecDeque<WatchEvent>,
    limit: usize,
    /// The resourceVersion of the newest change that was dropped: nobody can resume from before it.
    floor: u64,
    pub(super) signal: watch::Sender<u64>,
}

impl History {
    pub(super) fn new(limit: usize) -> History {
        History { events: VecDeque::new(), limit: limit.max(1), floor: 0, signal: watch::Sender::new(0) }
    }

    pub(super) fn push(&mut self, event: WatchEvent) {
        if self.events.len() >= self.limit
            && let Some(dropped) = self.events.pop_front()
        {
            self.floor = dropped.rv;
        }
        let rv = event.rv;
        self.events.push_back(event);
        self.signal.send_replace(rv);
    }

    /// Fails when the history no longer reaches back to `since`.
    pub(super) fn reaches(&self, since: u64) -> Result<(), ApiError> {
        if since < self.floor { Err(ApiError::gone(since, self.floor)) } else { Ok(()) }
    }

    /// The first change after `since`, in the namespace if one is given. Moves `since` past everything that was looked at.
    pub(super) fn after(&self, since: &mut u64, namespace: Option<&str>) -> Result<Option<WatchEvent>, ApiError> {
        self.reaches(*since)?;
        let start = self.events.partition_point(|event| event.rv <= *since);
        for event in self.events.range(start..) {
            *since = event.rv;
            if namespace.is_none_or(|wanted| super::metadata::text(&event.object, "/metadata/namespace") == wanted) {
                return Ok(Some(event.clone()));
            }
        }
        Ok(None)
    }
}

/// A stream of the changes of one resource since a resourceVersion, in order, without gaps.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    resource: &'static Resource,
    namespace: Option<String>,
    since: u64,
    signal: watch::Receiver<u64>,
}

impl Watch {
    pub(super) fn new(
        store: Store,
        resource: &'static Resource,
        namespace: Option<&str>,
        since: u64,
        signal: watch::Receiver<u64>,
    ) -> Watch {
        Watch { store, resource, namespace: namespace.map(str::to_owned), since, signal }
    }

    /// The next change; waits for it. Dropping the future loses nothing.
    ///
    /// # Errors
    /// 410 when the watcher was too slow and changes were dropped in between; the watch is over then.
    pub async fn next(&mut self) -> Result<WatchEvent, ApiError> {
        loop {
            self.signal.mark_unchanged();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            if self.signal.changed().await.is_err() {
                return Err(ApiError::new(410, "Expired", "the store is gone"));
            }
        }
    }

    /// The next change if it has happened already.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub fn try_next(&mut self) -> Result<Option<WatchEvent>, ApiError> {
        let mut since = self.since;
        let found = self.store.after(self.resource, &mut since, self.namespace.as_deref());
        self.since = since;
        found
    }

    /// The resourceVersion up to which everything has been delivered.
    pub fn position(&self) -> u64 {
        self.since
    }
}
