//! Events (core/v1) as the parts of a cluster report them: a repeated one is counted, not written again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::store::{EVENTS, Key, Part, Preconditions, Store, now, text};

/// Events about one object that are told apart; a pod that crashes for hours repeats the same few.
const EVENTS_PER_OBJECT_MAX: usize = 100;

/// Writes events under the name of one component.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    store: Store,
    component: &'static str,
    host: Option<String>,
}

impl Recorder {
    pub(crate) fn new(store: &Store, component: &'static str) -> Self {
        Self { store: store.clone(), component, host: None }
    }

    /// A recorder of a component that runs on a node.
    pub(crate) fn on_node(store: &Store, component: &'static str, node: &str) -> Self {
        Self { store: store.clone(), component, host: Some(node.to_owned()) }
    }

    /// Reports that something went as it should.
    pub(crate) fn normal(&self, about: &Value, reason: &str, message: &str) {
        self.record(about, "Normal", reason, message, "");
    }

    /// Reports that something went wrong.
    pub(crate) fn warning(&self, about: &Value, reason: &str, message: &str) {
        self.record(about, "Warning", reason, message, "");
    }

    /// Reports something about a part of the object, such as `spec.containers{db}`.
    pub(crate) fn record(&self, about: &Value, kind: &str, reason: &str, message: &str, field: &str) {
        let namespace = match text(about, "/metadata/namespace") {
            "" => "default",
            namespace => namespace,
        };
        let uid = text(about, "/metadata/uid");
        let (events, _) = self.store.list(&EVENTS, Some(namespace));
        let mut same_object = events.iter().filter(|event| text(event, "/involvedObject/uid") == uid).collect::<Vec<_>>();
        let same = same_object.iter().find(|event| {
            text(event, "/reason") == reason && text(event, "/message") == message && text(event, "/involvedObject/fieldPath") == field
        });
        if let Some(same) = same {
            let again = |event: &mut Value| {
                event["count"] = json!(event["count"].as_i64().unwrap_or(1) + 1);
                event["lastTimestamp"] = json!(now());
                Ok(())
            };
            // An event that was deleted in between is not worth another attempt.
            let _gone = self.store.update(&Key::of(&EVENTS, same), &Preconditions::default(), Part::Whole, &mut { again });
            return;
        }
        if same_object.len() >= EVENTS_PER_OBJECT_MAX
            && let Some(oldest) = same_object.drain(..).min_by_key(|event| text(event, "/lastTimestamp").to_owned())
        {
            let _gone = self.store.delete(&Key::of(&EVENTS, oldest), &crate::store::DeleteOptions::default());
        }
        let event = self.event(about, namespace, kind, reason, message, field);
        // A namespace that terminates takes no new events, as in the real thing.
        let _refused = self.store.create(&EVENTS, event);
    }

    fn event(&self, about: &Value, namespace: &str, kind: &str, reason: &str, message: &str, field: &str) -> Value {
        let name = text(about, "/metadata/name");
        let mut involved = json!({
            "apiVersion": about["apiVersion"], "kind": about["kind"], "name": name,
            "uid": text(about, "/metadata/uid"), "resourceVersion": text(about, "/metadata/resourceVersion"),
        });
        if !text(about, "/metadata/namespace").is_empty() {
            involved["namespace"] = json!(namespace);
        }
        if !field.is_empty() {
            involved["fieldPath"] = json!(field);
        }
        let mut source = json!({ "component": self.component });
        if let Some(host) = &self.host {
            source["host"] = json!(host);
        }
        let time = now();
        json!({
            "metadata": { "name": format!("{name}.{:x}", moment()), "namespace": namespace },
            "involvedObject": involved, "reason": reason, "message": message, "type": kind, "count": 1,
            "firstTimestamp": time, "lastTimestamp": time, "eventTime": null,
            "source": source, "reportingComponent": self.component, "reportingInstance": self.host.clone().unwrap_or_default(),
        })
    }
}

/// The present in nanoseconds, later than any answer before: events sort by their names in the order in which they happened.
fn moment() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let present = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    let next = |last: u64| Some(present.max(last.saturating_add(1)));
    // The closure always answers, so both arms carry the value before this one.
    let last = LAST.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).unwrap_or_else(|last| last);
    present.max(last.saturating_add(1))
}
