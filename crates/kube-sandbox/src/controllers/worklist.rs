//! The loop that every controller runs: changes name objects that need a look, each is looked at once, and may ask for another look later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::feed::{Change, Feed};
use crate::store::{Resource, Store};

/// An object of the controller's own kind: namespace and name.
pub(crate) type Item = (String, String);

/// One controller. It is level-triggered: a look compares the store with what it should be and does what is missing, whatever happened before.
pub(crate) trait Controller {
    /// Whose changes matter.
    fn resources(&self) -> Vec<&'static Resource>;
    /// The objects that a change makes worth a look.
    fn affected(&self, change: &Change) -> Vec<Item>;
    /// One look at one object. Returns when another is due without any change, such as at a deadline.
    fn reconcile(&mut self, namespace: &str, name: &str) -> Option<Duration>;
}

/// Runs a controller for as long as it is polled.
pub(crate) async fn run(store: Store, mut controller: impl Controller) {
    let mut feed = Feed::new(&store, &controller.resources());
    let mut later: BTreeMap<Item, Instant> = BTreeMap::new();
    loop {
        let due = later.values().min().copied();
        let mut items = BTreeSet::new();
        tokio::select! {
            change = feed.next() => items.extend(controller.affected(&change)),
            () = until(due) => {}
        }
        while let Some(change) = feed.ready() {
            items.extend(controller.affected(&change));
        }
        let now = Instant::now();
        items.extend(later.iter().filter(|(_, due)| **due <= now).map(|(item, _)| item.clone()));
        for item in items {
            later.remove(&item);
            if let Some(delay) = controller.reconcile(&item.0, &item.1) {
                later.insert(item, Instant::now() + delay);
            }
        }
        // A controller that keeps finding work must not keep others of the same thread from theirs.
        tokio::task::yield_now().await;
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
