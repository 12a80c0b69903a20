//! What a run of a plan asks of the API server: the sum of what its parts say beside their calls.

use crate::cluster::{Permission, Permissions};
use crate::experiment::{Controller, Plan, ServiceAccess};
use crate::{cluster, fault, target};

use super::preflight;

/// Everything that a run of the plan needs to be allowed.
pub fn permissions(plan: &Plan) -> Permissions {
    // What the controller of a target is that somebody else deployed shows only when it is found.
    let controllers = match plan.target.existing {
        Some(_) => vec![Controller::Deployment, Controller::StatefulSet],
        None => vec![plan.target.controller],
    };
    let faults = plan.faults.iter().flat_map(|planned| {
        let node = planned.spec.takes_node();
        let radius = node.then_some(&fault::BLAST_RADIUS_PERMISSIONS[..]);
        let fault = fault::fault(&planned.spec);
        radius.into_iter().chain(controllers.iter().map(move |controller| fault.permissions(*controller)))
    });
    let faults: Vec<&[Permission]> = faults.collect();
    let cold_read: &[Permission] = if plan.cold_read { fault::PodKill::PERMISSIONS } else { &[] };
    let nodes = plan.node_access.is_some() && plan.faults.iter().any(|fault| fault::needs(&fault.spec).is_some());
    let nodes: &[Permission] = if nodes { &cluster::NODE_ACCESS_PERMISSIONS } else { &[] };
    let parts: [&[Permission]; 5] = [nodes, &preflight::PERMISSIONS, &target::WATCH_PERMISSIONS, &fault::LEAK_CHECK_PERMISSIONS, cold_read];
    Permissions::sum(parts.into_iter().chain(of_target(plan)).chain(faults))
}

/// What coming to the target needs.
fn of_target(plan: &Plan) -> Vec<&'static [Permission]> {
    if plan.target.existing.is_some() {
        return vec![&target::EXISTING_PERMISSIONS, &target::CONTROLLER_PERMISSIONS, &target::IDENTIFY_EXISTING_PERMISSIONS];
    }
    let controller: &[Permission] = match plan.target.controller {
        Controller::Deployment => &target::DEPLOYMENT_PERMISSIONS,
        Controller::StatefulSet => &target::STATEFUL_SET_PERMISSIONS,
    };
    let balancer: &[Permission] = match plan.target.service {
        ServiceAccess::LoadBalancer => &target::LOAD_BALANCER_PERMISSIONS,
        ServiceAccess::NodePort | ServiceAccess::Address(_) => &[],
    };
    vec![&preflight::DEPLOYING_PERMISSIONS, &target::DEPLOY_PERMISSIONS, controller, balancer]
}
