//! What is deployed: engine profiles, manifests, readiness, the watcher.

mod deploy;
mod existing;
mod identity;
mod load_balancer;
mod logs;
mod manifests;
mod profile;
pub mod stand_in;
mod state;
mod watch;

pub use deploy::{DEPLOY_PERMISSIONS, TargetError, create, create_node_namespace, delete_namespace, namespaces_of, used_node_ports};
pub use existing::{CONTROLLER_PERMISSIONS, EXISTING_PERMISSIONS, Found, LookedInto, controller_behind, find, look_into_pod, sql_target};
pub use identity::{DEPLOYMENT_PERMISSIONS, IDENTIFY_EXISTING_PERMISSIONS, STATEFUL_SET_PERMISSIONS, identify};
pub use load_balancer::{LOAD_BALANCER_PERMISSIONS, load_balancer_address};
pub use logs::follow;
pub use manifests::{ControllerManifest, LABEL_RUN, Manifests, Names};
pub use profile::{DATA_MOUNT, LOG_MARKS, PORT, Profile};
pub use state::{NotSeen, TargetState};
pub use watch::{Emit, WATCH_PERMISSIONS, Watch};
