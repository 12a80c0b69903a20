//! What is deployed: engine profiles, manifests, readiness, the watcher.

mod deploy;
mod existing;
mod identity;
mod logs;
mod manifests;
mod profile;
pub mod stand_in;
mod state;
mod watch;

pub use deploy::{
    DEPLOY_PERMISSIONS, LOAD_BALANCER_PERMISSIONS, TargetError, create, delete_namespace, load_balancer_address, namespaces_of,
    used_node_ports,
};
pub use existing::{EXISTING_PERMISSIONS, Found, find, look_into_pod, sql_target};
pub use identity::{DEPLOYMENT_PERMISSIONS, STATEFUL_SET_PERMISSIONS, identify};
pub use logs::follow;
pub use manifests::{ControllerManifest, LABEL_RUN, Manifests, Names};
pub use profile::{DATA_MOUNT, PORT, Profile};
pub use state::{NotSeen, TargetState};
pub use watch::{Emit, WATCH_PERMISSIONS, Watch};
