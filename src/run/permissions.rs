//! What a run of a plan asks of the API server: the sum of what its parts say beside their calls.

use crate::cluster::{Permission, Permissions};
use crate::experiment::{Controller, Plan, ServiceAccess};
use crate::{fault, target};

use super::preflight;

/// Everything that a run of the plan needs to be allowed.
pub fn permissions(plan: &Plan) -> Permissions {
    let controller: &[Permission] = match plan.target.controller {
        Controller::Deployment => &target::DEPLOYMENT_PERMISSIONS,
        Controller::StatefulSet => &target::STATEFUL_SET_PERMISSIONS,
    };
    let faults = plan.faults.iter().flat_map(|planned| {
        let node = planned.spec.takes_node();
        let radius = node.then_some(&fault::BLAST_RADIUS_PERMISSIONS[..]);
        radius.into_iter().chain([fault::fault(&planned.spec).permissions(plan.target.controller)])
    });
    let faults: Vec<&[Permission]> = faults.collect();
    let balancer: &[Permission] = match plan.target.service {
        ServiceAccess::LoadBalancer => &target::LOAD_BALANCER_PERMISSIONS,
        ServiceAccess::NodePort | ServiceAccess::Address(_) => &[],
    };
    let cold_read: &[Permission] = if plan.cold_read { fault::PodKill::PERMISSIONS } else { &[] };
    let parts: [&[Permission]; 7] = [
        &preflight::PERMISSIONS,
        &target::DEPLOY_PERMISSIONS,
        controller,
        balancer,
        &target::WATCH_PERMISSIONS,
        &fault::LEAK_CHECK_PERMISSIONS,
        cold_read,
    ];
    Permissions::sum(parts.into_iter().chain(faults))
}
