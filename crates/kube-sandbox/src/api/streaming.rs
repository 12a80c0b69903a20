//! Watch streams: one JSON document a line, for as long as the client wants to listen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::listing::{check_revision, metadata_only, selected};
use super::request::{Call, Format};
use super::respond::{self, Reply};
use super::route::Target;
use super::selector::Selection;
use super::server::Shared;
use super::{event_view, table};
use crate::store::{ApiError, EventKind, Watch, WatchEvent, event_line};

/// How long a stream lasts when the client does not say.
const DEFAULT_SECONDS: u64 = 1800;
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);

/// One stream.
struct Stream {
    watch: Result<Watch, ApiError>,
    /// Lines that are ready to be sent.
    ready: VecDeque<Bytes>,
    selection: Selection,
    target: Target,
    format: Format,
    include: table::Include,
    columns_sent: bool,
    bookmarks: bool,
    next_bookmark: Instant,
    ends: Instant,
    over: bool,
}

/// GET with `watch=true`.
pub(super) fn watch(shared: &Arc<Shared>, call: &Call, target: &Target) -> Result<Reply, ApiError> {
    let mut selection = Selection::of(target.resource, &call.query)?;
    if let Some(name) = &target.name {
        selection = selection.named(name);
    }
    let seconds = call.query.number::<u64>("timeoutSeconds")?.filter(|seconds| *seconds > 0).unwrap_or(DEFAULT_SECONDS);
    let initial = call.query.on("sendInitialEvents");
    let bookmarks = call.query.on("allowWatchBookmarks");
    check_initial(call, initial)?;
    let since = check_revision(&shared.store, call.query.get("resourceVersion"))?;
    let suppressed = call.query.get("sendInitialEvents").is_some() && !initial;
    let mut stream = Stream {
        watch: Err(ApiError::internal("no watch yet")),
        ready: VecDeque::new(),
        selection,
        target: target.clone(),
        format: call.format()?,
        include: table::Include::of(call),
        columns_sent: false,
        bookmarks,
        next_bookmark: Instant::now() + BOOKMARK_EVERY,
        ends: Instant::now() + Duration::from_secs(seconds.min(24 * 3600)),
        over: false,
    };
    let start = if initial || (since == 0 && !suppressed) {
        let (objects, revision) = selected(&shared.store, target.stored(), target.namespace.as_deref(), &stream.selection);
        for object in &objects {
            let line = stream.line("ADDED", object, None);
            stream.ready.push_back(line);
        }
        if initial && bookmarks {
            let line = stream.bookmark(revision, true);
            stream.ready.push_back(line);
        }
        revision
    } else if since == 0 {
        shared.store.revision()
    } else {
        since
    };
    stream.watch = shared.store.watch(target.stored(), target.namespace.as_deref(), start);
    let chunks = futures::stream::unfold(stream, |mut stream| async move {
        let chunk = stream.chunk().await?;
        Some((chunk, stream))
    });
    Ok(respond::stream(respond::JSON, chunks))
}

/// The rules for initial events that the real server has.
fn check_initial(call: &Call, initial: bool) -> Result<(), ApiError> {
    let matching = call.query.get("resourceVersionMatch").filter(|text| !text.is_empty());
    let named = call.query.get("sendInitialEvents").is_some();
    let forbidden = |field: &str, why: &str| {
        Err(ApiError::new(422, "Invalid", format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: Forbidden: {why}")))
    };
    match matching {
        Some(_) if !named => {
            forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        }
        None if named => forbidden("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        Some(other) if other != "NotOlderThan" => {
            forbidden("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        }
        Some(_) if initial && !call.query.on("allowWatchBookmarks") => {
            forbidden("allowWatchBookmarks", "sendInitialEvents requires setting allowWatchBookmarks")
        }
        _ => Ok(()),
    }
}

impl Stream {
    /// Everything that can be sent now, or what comes next; `None` at the end.
    async fn chunk(&mut self) -> Option<Bytes> {
        loop {
            self.drain();
            if !self.ready.is_empty() {
                return Some(self.take());
            }
            if self.over {
                return None;
            }
            let wake = if self.bookmarks { self.ends.min(self.next_bookmark) } else { self.ends };
            let Ok(watch) = &mut self.watch else { continue };
            tokio::select! {
                event = watch.next() => self.accept(event),
                () = tokio::time::sleep_until(wake) => self.tick(),
            }
        }
    }

    fn take(&mut self) -> Bytes {
        if self.ready.len() == 1 {
            return self.ready.pop_front().unwrap_or_default();
        }
        let joined: Vec<u8> = self.ready.drain(..).flat_map(|line| line.to_vec()).collect();
        Bytes::from(joined)
    }

    /// Takes what has happened already, up to a chunk's worth.
    fn drain(&mut self) {
        while !self.over && self.ready.len() < 256 {
            let event = match &mut self.watch {
                Ok(watch) => watch.try_next(),
                Err(error) => Err(error.clone()),
            };
            match event {
                Ok(None) => return,
                Ok(Some(event)) => self.accept(Ok(event)),
                Err(error) => self.accept(Err(error)),
            }
        }
    }

    fn tick(&mut self) {
        // Looking once more moves the position past what happened to other resources meanwhile.
        self.drain();
        let position = self.watch.as_ref().map_or(0, Watch::position);
        if self.bookmarks {
            let line = self.bookmark(position, false);
            self.ready.push_back(line);
            self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
        }
        self.over = Instant::now() >= self.ends;
    }

    fn accept(&mut self, event: Result<WatchEvent, ApiError>) {
        match event {
            Ok(event) => {
                if let Some(line) = self.seen(&event) {
                    self.ready.push_back(line);
                }
            }
            Err(error) => {
                self.ready.push_back(event_line("ERROR", &error.status()));
                self.over = true;
            }
        }
    }

    /// The event as this watcher sees it: an object that stops matching is gone for it, one that starts to match is new.
    fn seen(&mut self, event: &WatchEvent) -> Option<Bytes> {
        let now = event.kind != EventKind::Deleted && self.selection.matches(&event.object);
        let before = event.previous.as_ref().is_some_and(|previous| self.selection.matches(previous));
        let kind = match (before, now) {
            (false, false) => return None,
            (false, true) => EventKind::Added,
            (true, true) => EventKind::Modified,
            (true, false) => EventKind::Deleted,
        };
        Some(self.line(kind.as_str(), &event.object, Some(event).filter(|event| event.kind == kind)))
    }

    fn line(&mut self, kind: &str, object: &Arc<Value>, event: Option<&WatchEvent>) -> Bytes {
        match self.format {
            Format::Json if self.target.resource == self.target.stored() => {
                event.map_or_else(|| event_line(kind, object), WatchEvent::line)
            }
            Format::Json => event_line(kind, &event_view::outward(self.target.resource, object)),
            Format::Metadata => event_line(kind, &metadata_only(object)),
            Format::Table => {
                let columns = !std::mem::replace(&mut self.columns_sent, true);
                let version = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
                event_line(kind, &table::build(self.target.stored(), &[Arc::clone(object)], self.include, &version, columns))
            }
        }
    }

    fn bookmark(&mut self, position: u64, initial_end: bool) -> Bytes {
        let mut metadata = json!({ "creationTimestamp": null, "resourceVersion": position.to_string() });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let resource = self.target.resource;
        let object = match self.format {
            Format::Json => {
                json!({ "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata })
            }
            Format::Metadata => {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata })
            }
            Format::Table => {
                let row = Arc::new(json!({ "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata }));
                let columns = !std::mem::replace(&mut self.columns_sent, true);
                table::build(self.target.stored(), &[row], self.include, &json!({ "resourceVersion": position.to_string() }), columns)
            }
        };
        event_line("BOOKMARK", &object)
    }
}
