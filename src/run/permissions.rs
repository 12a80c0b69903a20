//! What a run of a plan asks of the API server: the sum of what its parts say beside their calls.

use crate::cluster::{Permission, Permissions};
use crate::experiment::{Controller, Plan, ServiceAccess};
use crate::{cluster, fault, target};

use super::preflight;

/// What a run needs to be allowed, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// In the whole cluster: what is done with cluster-scoped resources, and in namespaces that the run makes, whose names nobody knows before.
    pub everywhere: Permissions,
    /// In the namespace of a target that stands already, and in no other.
    pub inside: Option<(String, Permissions)>,
}

impl Needed {
    /// Each as namespace, group, resource and verb; without a namespace it is needed everywhere.
    pub fn each(&self) -> impl Iterator<Item = (Option<&str>, &'static str, &'static str, &'static str)> {
        let inside = self.inside.iter().flat_map(|(namespace, some)| some.each().map(move |each| (Some(namespace.as_str()), each)));
        let all = self.everywhere.each().map(|each| (None, each)).chain(inside);
        all.map(|(namespace, (group, resource, verb))| (namespace, group, resource, verb))
    }
}

/// Everything that a run of the plan needs to be allowed.
pub fn permissions(plan: &Plan) -> Needed {
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
    let cold_read: &[Permission] = if plan.cold_read { fault::PodKill::PERMISSIONS } else { &[] };
    let nodes = plan.node_access.is_some() && plan.faults.iter().any(|fault| fault::needs(&fault.spec).is_some());
    let nodes: &[Permission] = if nodes { &cluster::NODE_ACCESS_PERMISSIONS } else { &[] };
    let parts: [&[Permission]; 4] = [&preflight::PERMISSIONS, &target::WATCH_PERMISSIONS, &fault::LEAK_CHECK_PERMISSIONS, cold_read];
    let parts: Vec<&[Permission]> = parts.into_iter().chain(of_target(plan)).chain(faults).collect();
    let Some(existing) = &plan.target.existing else {
        return Needed { everywhere: Permissions::sum(parts.into_iter().chain([nodes])), inside: None };
    };
    let (cluster, inside) = Permissions::sum(parts).by_scope();
    Needed { everywhere: cluster.and(nodes), inside: Some((existing.target.namespace.clone(), inside)) }
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
