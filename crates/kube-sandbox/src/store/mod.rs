//! The one place where objects live. Everything else, the API server included, reads and writes them through [`Store`].
//!
//! Objects are immutable `Arc<Value>`s: a reader keeps what it got, a writer replaces it. One lock guards the whole store and is
//! held for microseconds; nothing is awaited under it. Watches are cursors into a bounded history for each resource: a watcher
//! that falls behind the history gets 410 and lists again, and no watcher can hold up a writer.
//!
//! What the store leaves to controllers, as the real server does: emptying a terminating namespace and then clearing its
//! `spec.finalizers`; clearing `kubernetes.io/pvc-protection` and `kubernetes.io/pv-protection` from terminating claims and
//! volumes that nobody uses any more; clearing the finalizers `orphan` and `foregroundDeletion`; deleting what a removed owner owned.

mod admission;
mod deletion;
mod error;
mod memory;
mod metadata;
mod resource;
mod validation;
mod watching;

pub(crate) use admission::fill as fill_defaults;
pub use error::{ApiError, Cause, Details};
pub use memory::{CreateOptions, DeleteOptions, Deleted, Key, Part, Preconditions, Propagation, Store, StoreOptions, UpdateOptions};
pub use metadata::{micro_time, now, text};
pub use resource::{
    ACCESS_REVIEWS, CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, CONFIG_MAPS, CONTROLLER_REVISIONS, CSI_NODES, DAEMON_SETS, DEPLOYMENTS,
    DISRUPTION_BUDGETS, ENDPOINT_SLICES, ENDPOINTS, EVENTS, EVENTS_V1, LEASES, NAMESPACES, NETWORK_POLICIES, NODES,
    PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, REPLICA_SETS, RESOURCES, ROLE_BINDINGS, ROLES, RULES_REVIEWS, Resource, SECRETS,
    SERVICE_ACCOUNTS, SERVICES, STATEFUL_SETS, STORAGE_CLASSES, VOLUME_ATTACHMENTS,
};
pub(crate) use watching::event_line;
pub use watching::{EventKind, Watch, WatchEvent};
