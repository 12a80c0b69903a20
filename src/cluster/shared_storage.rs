//! Storage that follows a pod from node to node, on a cluster that was made here: a folder of the machine that every node mounts.

use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::{ClusterError, Program, Typed};

/// The class that experiments name for it.
pub(super) const CLASS: &str = "shared";

/// Where the nodes of a cluster in the shape of `kind-config/` have the machine's folder.
const MOUNT: &str = "/var/local/sqledge-chaos/shared";

/// The folder of one cluster in it, so that clusters side by side do not meet.
fn folder(cluster: &str) -> String {
    format!("{MOUNT}/of-{cluster}")
}

/// The volumes: a claim finds one for its access mode, and the API server lets ReadWriteOncePod stand with no other.
const VOLUMES: [(&str, &[&str]); 2] = [("volume-1", &["ReadWriteOnce", "ReadWriteMany"]), ("volume-2", &["ReadWriteOncePod"])];

/// Gives a cluster that was just made the class and its volumes, unless it has a class of that name already. `node` is the container of one of its nodes.
pub(super) async fn provide(client: &kube::Client, cluster: &str, node: &str) -> Result<(), ClusterError> {
    let classes = Api::<Typed<StorageClass>>::all(client.clone());
    if classes.get_opt(CLASS).await?.is_some() {
        return Ok(());
    }
    // What a cluster of that name left is not for this one. Databases do not run as root, and a volume of this kind is not given to their group.
    let folder = folder(cluster);
    let fresh = "rm -rf \"$1\" && mkdir -p -m 777 \"$1/volume-1\" \"$1/volume-2\"";
    Program::new("docker").args(["exec", node, "sh", "-euc", fresh, "chaos", &folder]).output().await?;
    classes.create(&PostParams::default(), &Typed(typed(class()))).await?;
    let volumes = Api::<Typed<PersistentVolume>>::all(client.clone());
    for (name, modes) in VOLUMES {
        volumes.create(&PostParams::default(), &Typed(typed(volume(&folder, name, modes)))).await?;
    }
    Ok(())
}

/// Removes what such a cluster kept on the machine. Best effort: the cluster may not run, and need not have had any.
pub(super) async fn forget(cluster: &str, node: &str) {
    let removed = Program::new("docker").args(["exec", node, "rm", "-rf", &folder(cluster)]).output().await;
    if let Err(error) = removed {
        tracing::debug!(%error, "the shared folder was not removed");
    }
}

fn typed<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("an object written here has the shape of its type")
}

fn class() -> Value {
    json!({ "metadata": { "name": CLASS }, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate", "reclaimPolicy": "Retain" })
}

/// A run has one claim, so one volume of a kind is enough; it may be asked for in any size that an experiment names.
fn volume(folder: &str, name: &str, modes: &[&str]) -> Value {
    json!({
        "metadata": { "name": format!("chaos-shared-{name}"), "labels": { "app.kubernetes.io/part-of": "sqledge-chaos" } },
        "spec": {
            "storageClassName": CLASS,
            "capacity": { "storage": "64Gi" },
            "accessModes": modes,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": { "path": format!("{folder}/{name}"), "type": "Directory" },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_and_the_volume_fit_each_other_and_any_node() {
        let (class, volume): (StorageClass, PersistentVolume) =
            (typed(class()), typed(volume(&folder("x"), "volume-1", &["ReadWriteOnce"])));
        let spec = volume.spec.unwrap_or_default();
        assert_eq!((spec.storage_class_name, spec.node_affinity), (class.metadata.name, None));
        let path = spec.host_path.map(|source| source.path).unwrap_or_default();
        assert_eq!(path, "/var/local/sqledge-chaos/shared/of-x/volume-1");
        // The mount is the one of both shapes.
        for shape in [include_str!("../../kind-config/kind.yaml"), include_str!("../../kind-config/k3d.yaml")] {
            assert!(shape.contains(MOUNT));
        }
    }
}
