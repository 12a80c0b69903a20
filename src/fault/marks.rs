//! What a run leaves on nodes while a fault lasts: cordons and taints, marked as its own, so that only those are taken back.

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::FaultError;
use crate::cluster::{Permission, Typed};
use crate::model::{FaultTarget, LeakItem};

/// Says which run cordoned a node; a cordon without it is somebody else's and stays.
pub const ANNOTATION_CORDONED_BY: &str = "chaos.sqledge.dev/cordoned-by";

/// How often a change is tried again because somebody changed the node in between. A kubelet writes every few seconds at the most.
const CONFLICTS_MAX: u32 = 5;

/// What marks things of a run where a label's value is what fits: the end of its id, which is what makes it unique.
pub fn run_mark(run: &str) -> String {
    const LABEL_VALUE_MAX: usize = 63;
    let surplus = run.len().saturating_sub(LABEL_VALUE_MAX);
    let tail = run.get(surplus..).unwrap_or(run);
    tail.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}

fn cordoned_by_run(node: &Node, run: &str) -> bool {
    node.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_CORDONED_BY)).is_some_and(|by| by == run)
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

fn is_of_run(taint: &Taint, run: &str) -> bool {
    taint.value.as_deref() == Some(run_mark(run).as_str())
}

/// Changes a node as `change` says, which is asked again when somebody else was faster. True when there was something to change.
///
/// The resource version makes looking and changing one step.
async fn edit(client: &kube::Client, node: &str, uid: &str, change: impl Fn(&Node) -> Option<Value>) -> Result<bool, FaultError> {
    let nodes = Api::<Typed<Node>>::all(client.clone());
    let mut conflicts = 0;
    loop {
        let now = nodes.get(node).await?;
        if now.metadata.uid.as_deref() != Some(uid) {
            return Err(FaultError::Changed(format!("node {node} is another one now")));
        }
        let Some(mut patch) = change(&now) else {
            return Ok(false);
        };
        patch["metadata"]["resourceVersion"] = json!(now.metadata.resource_version);
        match nodes.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 && conflicts < CONFLICTS_MAX => conflicts += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the cordon of a node is the run's.
pub(super) async fn cordons(client: &kube::Client, node: &str, run: &str) -> Result<bool, kube::Error> {
    let Typed(node) = Api::<Typed<Node>>::all(client.clone()).get(node).await?;
    Ok(is_cordoned(&node) && cordoned_by_run(&node, run))
}

/// Cordons a node in the run's name. A node that was cordoned before is left as it is.
pub(super) async fn cordon(client: &kube::Client, node: &FaultTarget, run: &str) -> Result<String, FaultError> {
    let cordoned = edit(client, &node.name, &node.uid, |now| {
        (!is_cordoned(now))
            .then(|| json!({ "metadata": { "annotations": { ANNOTATION_CORDONED_BY: run } }, "spec": { "unschedulable": true } }))
    });
    Ok(match cordoned.await? {
        true => format!("node {} was cordoned", node.name),
        false => format!("node {} had been cordoned by somebody else, and stays so", node.name),
    })
}

/// Takes back the run's own cordon. Says what was done.
pub async fn uncordon(client: &kube::Client, node: &str, uid: &str, run: &str) -> Result<String, FaultError> {
    let uncordoned = edit(client, node, uid, |now| {
        let undo = || json!({ "metadata": { "annotations": { ANNOTATION_CORDONED_BY: null } }, "spec": { "unschedulable": null } });
        cordoned_by_run(now, run).then(undo)
    });
    gone_is_undone(node, uncordoned.await, "is uncordoned", "is not cordoned by this run, so it stays as it is")
}

/// Taints a node so that pods which do not tolerate it are removed. The value marks the taint as the run's. A taint of that key that was there before is left as
/// it is, and refused.
pub(super) async fn taint(client: &kube::Client, node: &FaultTarget, key: &str, run: &str) -> Result<String, FaultError> {
    let value = run_mark(run);
    let tainted = edit(client, &node.name, &node.uid, |now| {
        let mut all = taints(now).to_vec();
        if all.iter().any(|taint| taint.key == key && taint.effect == "NoExecute") {
            return None;
        }
        all.push(Taint { key: key.to_owned(), value: Some(value.clone()), effect: "NoExecute".to_owned(), time_added: None });
        Some(json!({ "metadata": {}, "spec": { "taints": all } }))
    });
    match tainted.await? {
        true => Ok(format!("node {} has the taint {key}={value}:NoExecute", node.name)),
        false => Err(FaultError::Already(format!("node {} has a taint {key}:NoExecute that is not this run's, and keeps it", node.name))),
    }
}

/// Takes back the run's own taints, whatever their key; those of others stay. Says what was done.
pub async fn untaint(client: &kube::Client, node: &str, uid: &str, run: &str) -> Result<String, FaultError> {
    let untainted = edit(client, node, uid, |now| {
        let left: Vec<&Taint> = taints(now).iter().filter(|taint| !is_of_run(taint, run)).collect();
        let taints = if left.is_empty() { Value::Null } else { json!(left) };
        taints_differ(now, run).then(|| json!({ "metadata": {}, "spec": { "taints": taints } }))
    });
    gone_is_undone(node, untainted.await, "has lost this run's taints", "has no taint of this run")
}

fn taints_differ(node: &Node, run: &str) -> bool {
    taints(node).iter().any(|taint| is_of_run(taint, run))
}

/// A node that is not there any more, or is another one by the same name, has nothing of ours.
fn gone_is_undone(node: &str, undone: Result<bool, FaultError>, done: &str, nothing: &str) -> Result<String, FaultError> {
    match undone {
        Ok(true) => Ok(format!("node {node} {done}")),
        Ok(false) => Ok(format!("node {node} {nothing}")),
        Err(FaultError::Changed(_)) => Ok(format!("node {node} is gone")),
        Err(FaultError::Api(kube::Error::Api(status))) if status.code == 404 => Ok(format!("node {node} is gone")),
        Err(error) => Err(error),
    }
}

/// What [`marked_by`] asks of the API server.
pub const LEAK_CHECK_PERMISSIONS: [Permission; 1] = [Permission::core("nodes", &["list"])];

/// What cordoning, tainting and their undoing ask of it.
pub(super) const MARK: Permission = Permission::core("nodes", &["get", "patch"]);

/// What of a run is on nodes, each with the command that removes it.
pub async fn marked_by(client: &kube::Client, run: &str) -> Result<Vec<LeakItem>, kube::Error> {
    let mut found = Vec::new();
    for node in Api::<Typed<Node>>::all(client.clone()).list(&ListParams::default()).await? {
        let name = node.metadata.name.clone().unwrap_or_default();
        if cordoned_by_run(&node, run) {
            found.push(LeakItem::of(format!("cordon of node/{name}"), format!("kubectl uncordon {name}")));
        }
        found.extend(taints(&node).iter().filter(|taint| is_of_run(taint, run)).map(|taint| {
            LeakItem::of(
                format!("taint {} of node/{name}", taint.key),
                format!("kubectl taint node {name} {}:{}-", taint.key, taint.effect),
            )
        }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_labels_value_and_keeps_what_is_unique() {
        assert_eq!(run_mark("pod-kill-20261128T090000Z-ab3d"), "pod-kill-20261128T090000Z-ab3d");
        let long = format!("{}-20261128T090000Z-ab3d", "x-".repeat(31));
        let mark = run_mark(&long);
        assert!(mark.len() <= 63 && mark.starts_with('x') && mark.ends_with("-20261128T090000Z-ab3d"), "{mark}");
    }
}
