//! Changes of several resources as one stream, which is how controllers wait for work.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::select_all;
use serde_json::Value;

use crate::store::{EventKind, Resource, Store, Watch, text};

/// One change of one object.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub resource: &'static Resource,
    pub kind: EventKind,
    pub object: Arc<Value>,
    /// The object before the change.
    pub previous: Option<Arc<Value>>,
}

impl Change {
    pub(crate) fn namespace(&self) -> &str {
        text(&self.object, "/metadata/namespace")
    }

    pub(crate) fn name(&self) -> &str {
        text(&self.object, "/metadata/name")
    }
}

/// Every object first, then every change. A watch that fell behind is taken up again with a list, and the difference is reported, so that a
/// controller never misses an object, only states in between.
#[derive(Debug)]
pub(crate) struct Feed {
    store: Store,
    sources: Vec<Source>,
    backlog: VecDeque<Change>,
}

#[derive(Debug)]
struct Source {
    resource: &'static Resource,
    watch: Watch,
    known: BTreeMap<(String, String), Arc<Value>>,
}

impl Feed {
    pub(crate) fn new(store: &Store, resources: &[&'static Resource]) -> Self {
        let mut feed = Self { store: store.clone(), sources: Vec::new(), backlog: VecDeque::new() };
        for resource in resources {
            let (watch, objects) = list_and_watch(store, resource);
            let mut source = Source { resource, watch, known: BTreeMap::new() };
            source.catch_up(objects, &mut feed.backlog);
            feed.sources.push(source);
        }
        feed
    }

    /// The next change; waits for it. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.backlog.pop_front() {
                return change;
            }
            let waits = self.sources.iter_mut().map(|source| source.watch.next().boxed());
            let (outcome, index, rest) = select_all(waits).await;
            drop(rest);
            let Some(source) = self.sources.get_mut(index) else {
                continue;
            };
            match outcome {
                Ok(event) => {
                    let change = Change { resource: source.resource, kind: event.kind, object: event.object, previous: event.previous };
                    source.remember(&change);
                    return change;
                }
                Err(_fell_behind) => {
                    let (watch, objects) = list_and_watch(&self.store, source.resource);
                    source.watch = watch;
                    source.catch_up(objects, &mut self.backlog);
                }
            }
        }
    }

    /// A change that has happened already, if there is one.
    pub(crate) fn ready(&mut self) -> Option<Change> {
        self.next().now_or_never()
    }
}

impl Source {
    fn remember(&mut self, change: &Change) {
        let key = (change.namespace().to_owned(), change.name().to_owned());
        if change.kind == EventKind::Deleted {
            self.known.remove(&key);
        } else {
            self.known.insert(key, Arc::clone(&change.object));
        }
    }

    /// Reports how a fresh list differs from what was known.
    fn catch_up(&mut self, objects: Vec<Arc<Value>>, backlog: &mut VecDeque<Change>) {
        let mut before = std::mem::take(&mut self.known);
        for object in objects {
            let key = (text(&object, "/metadata/namespace").to_owned(), text(&object, "/metadata/name").to_owned());
            let previous = before.remove(&key);
            self.known.insert(key, Arc::clone(&object));
            if previous.as_ref().is_some_and(|previous| Arc::ptr_eq(previous, &object)) {
                continue;
            }
            let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
            backlog.push_back(Change { resource: self.resource, kind, object, previous });
        }
        for (_, object) in before {
            backlog.push_back(Change { resource: self.resource, kind: EventKind::Deleted, previous: Some(Arc::clone(&object)), object });
        }
    }
}

/// A list and a watch from right behind it. Between the two the history may be overrun, and then both are done again.
fn list_and_watch(store: &Store, resource: &'static Resource) -> (Watch, Vec<Arc<Value>>) {
    loop {
        let (objects, revision) = store.list(resource, None);
        if let Ok(watch) = store.watch(resource, None, revision) {
            return (watch, objects);
        }
    }
}
