//! What the faults may touch at the most, looked at right before each of them: the cluster may have lost a node since the run began.

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};

use super::FaultError;
use crate::cluster::{Permission, Typed};
use crate::experiment::BlastRadius;

const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// What the look asks of the API server.
pub const BLAST_RADIUS_PERMISSIONS: [Permission; 1] = [Permission::core("nodes", &["list"])];

/// Refuses to take `node` away where that reaches further than the radius allows.
pub(super) async fn within(client: &kube::Client, radius: &BlastRadius, node: &str) -> Result<(), FaultError> {
    let nodes = Api::<Typed<Node>>::all(client.clone()).list(&ListParams::default()).await?;
    judge(&nodes.items, radius, node).map_err(FaultError::BlastRadius)
}

fn judge(nodes: &[Typed<Node>], radius: &BlastRadius, target: &str) -> Result<(), String> {
    let name = |node: &Typed<Node>| node.metadata.name.clone().unwrap_or_default();
    let of_control_plane = |node: &&Typed<Node>| node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(CONTROL_PLANE));
    if let Some(node) = nodes.iter().filter(of_control_plane).map(name).find(|node| node == target)
        && radius.control_plane_node.as_ref() != Some(&node)
    {
        return Err(format!("node {node} is of the control plane; blastRadius.controlPlaneNode would have to name it"));
    }
    let mut away: Vec<String> = nodes.iter().filter(|node| is_away(node)).map(name).filter(|node| node != target).collect();
    away.sort_unstable();
    if away.len() + 1 > radius.max_unavailable_nodes as usize {
        return Err(format!(
            "node {target} would be the {} that is unavailable beside {}, and blastRadius.maxUnavailableNodes is {}",
            ordinal(away.len() + 1),
            away.join(", "),
            radius.max_unavailable_nodes
        ));
    }
    Ok(())
}

fn ordinal(number: usize) -> String {
    match number {
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        number => format!("{number}th"),
    }
}

/// Cordoned, or not ready.
fn is_away(node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.is_some_and(|all| all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"));
    cordoned || !ready
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, ready: bool, cordoned: bool, control_plane: bool) -> Typed<Node> {
        let labels = if control_plane { json!({ CONTROL_PLANE: "" }) } else { json!({}) };
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": labels },
            "spec": { "unschedulable": cordoned },
            "status": { "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "Unknown" } }] },
        }))
        .unwrap()
    }

    fn radius(max: u32, control_plane: Option<&str>) -> BlastRadius {
        BlastRadius { max_unavailable_nodes: max, control_plane_node: control_plane.map(str::to_owned) }
    }

    #[test]
    fn nodes_that_others_took_away_count() {
        let healthy = [node("cp", true, false, true), node("a", true, false, false), node("b", true, false, false)];
        assert_eq!(judge(&healthy, &radius(1, None), "a"), Ok(()));
        for lost in [node("b", false, false, false), node("b", true, true, false)] {
            let nodes = [healthy[0].clone(), healthy[1].clone(), lost];
            let refused = judge(&nodes, &radius(1, None), "a").unwrap_err();
            assert!(refused.contains("second that is unavailable beside b"), "{refused}");
            assert_eq!(judge(&nodes, &radius(2, None), "a"), Ok(()));
            // Taking the same node away once more takes no further one.
            assert_eq!(judge(&nodes, &radius(1, None), "b"), Ok(()));
        }
    }

    #[test]
    fn the_control_plane_is_hit_only_when_named() {
        let nodes = [node("cp", true, false, true), node("a", true, false, false)];
        assert!(judge(&nodes, &radius(1, None), "cp").unwrap_err().contains("control plane"));
        assert!(judge(&nodes, &radius(1, Some("cp-2")), "cp").is_err());
        assert_eq!(judge(&nodes, &radius(1, Some("cp")), "cp"), Ok(()));
    }
}
