//! Claims and volumes: binding, provisioning, protection while in use, and what happens to the data when the claim is gone.
//!
//! Two provisioners: [`NODE_LOCAL`] waits for the first pod and pins the volume to that pod's node; [`SHARED`] provisions at once and the volume
//! can be used from any node. Both keep the data in one folder of the sandbox; sizes are not enforced.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::feed::Change;
use super::ownership::{finished, terminating, uid_of};
use super::worklist::{Controller, Item};
use crate::events::Recorder;
use crate::kubelet::Folders;
use crate::store::{
    DeleteOptions, EventKind, Key, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, Part, Resource, STORAGE_CLASSES, Store, now, text,
};

/// The provisioner of volumes that belong to one node.
pub(crate) const NODE_LOCAL: &str = "node.sandbox";
/// The provisioner of volumes that every node can use.
pub(crate) const SHARED: &str = "shared.sandbox";

const PVC_PROTECTION: &str = "kubernetes.io/pvc-protection";
const PV_PROTECTION: &str = "kubernetes.io/pv-protection";
/// Where the scheduler writes its choice for claims that wait for their first pod.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// The folder of a persistent volume on this machine; `None` for kinds of volumes that the sandbox does not know.
pub(crate) fn directory(folders: &Folders, volume: &Value) -> Option<PathBuf> {
    if matches!(text(volume, "/spec/csi/driver"), NODE_LOCAL | SHARED) {
        return Some(folders.volume(text(volume, "/spec/csi/volumeHandle")));
    }
    let path = [text(volume, "/spec/hostPath/path"), text(volume, "/spec/local/path")].into_iter().find(|path| !path.is_empty())?;
    Some(PathBuf::from(path))
}

/// The claims that a pod of the API names.
pub(crate) fn claims_of(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
    volumes.map(|volume| text(volume, "/persistentVolumeClaim/claimName")).filter(|name| !name.is_empty())
}

/// Binds claims to volumes.
pub(super) struct Claims {
    store: Store,
    events: Recorder,
    folders: Folders,
}

impl Claims {
    pub(super) fn new(store: &Store, folders: Folders) -> Self {
        Self { store: store.clone(), events: Recorder::new(store, "persistentvolume-controller"), folders }
    }

    fn in_use(&self, claim: &Value) -> bool {
        let name = text(claim, "/metadata/name");
        let (pods, _) = self.store.list(&PODS, Some(text(claim, "/metadata/namespace")));
        pods.iter().any(|pod| !finished(pod) && !text(pod, "/spec/nodeName").is_empty() && claims_of(pod).any(|used| used == name))
    }

    /// Lets a terminating claim go once no pod uses it.
    fn release(&self, claim: &Value) {
        if self.in_use(claim) {
            return;
        }
        drop_finalizer(&self.store, &PERSISTENT_VOLUME_CLAIMS, claim, PVC_PROTECTION);
    }

    /// Finds or makes a volume for a claim that has none.
    fn provide(&self, claim: &Value) {
        let class_name = text(claim, "/spec/storageClassName");
        if let Some(volume) = self.matching(claim) {
            self.bind(claim, &volume);
            return;
        }
        if class_name.is_empty() {
            self.events.normal(claim, "FailedBinding", "no persistent volumes available for this claim and no storage class is set");
            return;
        }
        let Some(class) = self.store.get(&Key::cluster(&STORAGE_CLASSES, class_name)) else {
            self.events.warning(claim, "ProvisioningFailed", &format!("storageclass.storage.k8s.io {class_name:?} not found"));
            return;
        };
        let node = claim.pointer("/metadata/annotations/volume.kubernetes.io~1selected-node").and_then(Value::as_str);
        if text(&class, "/volumeBindingMode") == "WaitForFirstConsumer" && node.is_none() {
            self.events.normal(claim, "WaitForFirstConsumer", "waiting for first consumer to be created before binding");
            return;
        }
        let provisioner = text(&class, "/provisioner");
        match provisioner {
            NODE_LOCAL | SHARED => self.provision(claim, &class, node),
            other => {
                let message = format!(
                    "Waiting for a volume to be created either by the external provisioner '{other}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
                );
                self.events.normal(claim, "ExternalProvisioning", &message);
            }
        }
    }

    /// A volume that exists already and suits the claim: the one that it names, one reserved for it, or one that is free.
    fn matching(&self, claim: &Value) -> Option<Arc<Value>> {
        let named = text(claim, "/spec/volumeName");
        if !named.is_empty() {
            return self
                .store
                .get(&Key::cluster(&PERSISTENT_VOLUMES, named))
                .filter(|volume| !terminating(volume) && reserved(volume, claim, true));
        }
        let (volumes, _) = self.store.list(&PERSISTENT_VOLUMES, None);
        let suits = |volume: &&Arc<Value>| {
            let modes = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
            let offered = modes(volume, "/spec/accessModes");
            !terminating(volume)
                && text(volume, "/spec/storageClassName") == text(claim, "/spec/storageClassName")
                && modes(claim, "/spec/accessModes").iter().all(|mode| offered.contains(mode))
                && super::quantity::parse(text(volume, "/spec/capacity/storage"))
                    >= super::quantity::parse(text(claim, "/spec/resources/requests/storage"))
        };
        let exactly = volumes.iter().find(|volume| reserved(volume, claim, false) && suits(volume));
        exactly.or_else(|| volumes.iter().find(|volume| volume.pointer("/spec/claimRef").is_none() && suits(volume))).cloned()
    }

    fn provision(&self, claim: &Value, class: &Value, node: Option<&str>) {
        let name = format!("pvc-{}", text(claim, "/metadata/uid"));
        let folder = self.folders.volume(&name);
        if let Err(error) = std::fs::create_dir_all(&folder) {
            self.events.warning(claim, "ProvisioningFailed", &format!("failed to provision volume {name:?}: {error}"));
            return;
        }
        let provisioner = text(class, "/provisioner");
        let mut spec = json!({
            "accessModes": claim["spec"]["accessModes"], "capacity": { "storage": claim["spec"]["resources"]["requests"]["storage"] },
            "claimRef": claim_reference(claim), "persistentVolumeReclaimPolicy": text(class, "/reclaimPolicy"),
            "storageClassName": text(class, "/metadata/name"), "volumeMode": "Filesystem",
            "csi": { "driver": provisioner, "volumeHandle": name, "volumeAttributes": { "path": folder.display().to_string() } },
        });
        if let Some(node) = node.filter(|_| provisioner == NODE_LOCAL) {
            spec["nodeAffinity"] = json!({ "required": { "nodeSelectorTerms": [
                { "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] }] }
            ] } });
        }
        let volume =
            json!({ "metadata": { "name": name, "annotations": { "pv.kubernetes.io/provisioned-by": provisioner } }, "spec": spec });
        match self.store.create(&PERSISTENT_VOLUMES, volume) {
            Ok(volume) => {
                self.events.normal(claim, "ProvisioningSucceeded", &format!("Successfully provisioned volume {name}"));
                self.bind(claim, &volume);
            }
            Err(error) => self.events.warning(claim, "ProvisioningFailed", &error.to_string()),
        }
    }

    fn bind(&self, claim: &Value, volume: &Value) {
        let reference = claim_reference(claim);
        let bound = self.store.update(&Key::of(&PERSISTENT_VOLUMES, volume), &uid_of(volume), Part::Whole, &mut |volume| {
            volume["spec"]["claimRef"] = reference.clone();
            set_phase(volume, "Bound");
            Ok(())
        });
        let Ok(volume) = bound else { return };
        let name = text(&volume, "/metadata/name").to_owned();
        let provisioner = volume.pointer("/metadata/annotations/pv.kubernetes.io~1provisioned-by").cloned();
        // A claim that went away meanwhile leaves its volume to be reclaimed.
        let _gone = self.store.update(&Key::of(&PERSISTENT_VOLUME_CLAIMS, claim), &uid_of(claim), Part::Whole, &mut |claim| {
            let annotations = &mut claim["metadata"]["annotations"];
            annotations["pv.kubernetes.io/bind-completed"] = json!("yes");
            if text(claim, "/spec/volumeName").is_empty() {
                claim["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"] = json!("yes");
            }
            if let Some(provisioner) = &provisioner {
                claim["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"] = provisioner.clone();
            }
            claim["spec"]["volumeName"] = json!(name);
            claim["status"] =
                json!({ "phase": "Bound", "accessModes": volume["spec"]["accessModes"], "capacity": volume["spec"]["capacity"] });
            Ok(())
        });
    }
}

impl Controller for Claims {
    fn resources(&self) -> Vec<&'static Resource> {
        vec![&PERSISTENT_VOLUME_CLAIMS, &PERSISTENT_VOLUMES, &PODS, &STORAGE_CLASSES]
    }

    fn affected(&self, change: &Change) -> Vec<Item> {
        let namespace = change.namespace().to_owned();
        let waiting = || {
            let (claims, _) = self.store.list(&PERSISTENT_VOLUME_CLAIMS, None);
            let waiting = claims.into_iter().filter(|claim| text(claim, "/status/phase") != "Bound");
            waiting.map(|claim| (text(&claim, "/metadata/namespace").to_owned(), text(&claim, "/metadata/name").to_owned())).collect()
        };
        if change.resource == &PERSISTENT_VOLUME_CLAIMS {
            return vec![(namespace, change.name().to_owned())];
        }
        if change.resource == &PODS {
            let over = change.kind == EventKind::Deleted || finished(&change.object);
            return if over { claims_of(&change.object).map(|claim| (namespace.clone(), claim.to_owned())).collect() } else { Vec::new() };
        }
        if change.kind == EventKind::Added { waiting() } else { Vec::new() }
    }

    fn reconcile(&mut self, namespace: &str, name: &str) -> Option<Duration> {
        let claim = self.store.get(&Key::namespaced(&PERSISTENT_VOLUME_CLAIMS, namespace, name))?;
        if terminating(&claim) {
            self.release(&claim);
        } else if text(&claim, "/status/phase") == "Bound" {
            self.check_bound(&claim);
        } else {
            self.provide(&claim);
        }
        None
    }
}

impl Claims {
    /// A bound claim whose volume is gone is lost, and says so.
    fn check_bound(&self, claim: &Value) {
        let volume = text(claim, "/spec/volumeName");
        if self.store.get(&Key::cluster(&PERSISTENT_VOLUMES, volume)).is_none() {
            let _gone = self.store.update(&Key::of(&PERSISTENT_VOLUME_CLAIMS, claim), &uid_of(claim), Part::Whole, &mut |claim| {
                claim["status"]["phase"] = json!("Lost");
                Ok(())
            });
            self.events.warning(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
        }
    }
}

/// Frees, reclaims and removes volumes whose claims are gone.
pub(super) struct Volumes {
    store: Store,
    folders: Folders,
}

impl Volumes {
    pub(super) fn new(store: &Store, folders: Folders) -> Self {
        Self { store: store.clone(), folders }
    }

    fn claim_of(&self, volume: &Value) -> Option<Arc<Value>> {
        let reference = volume.pointer("/spec/claimRef")?;
        let claim = self.store.get(&Key::namespaced(&PERSISTENT_VOLUME_CLAIMS, text(reference, "/namespace"), text(reference, "/name")))?;
        let uid = text(reference, "/uid");
        (uid.is_empty() || text(&claim, "/metadata/uid") == uid).then_some(claim)
    }

    fn reclaim(&self, volume: &Value) {
        let ours = matches!(text(volume, "/spec/csi/driver"), NODE_LOCAL | SHARED);
        set_volume_phase(&self.store, volume, "Released");
        if text(volume, "/spec/persistentVolumeReclaimPolicy") != "Delete" || !ours {
            return;
        }
        if let Some(folder) = directory(&self.folders, volume) {
            remove_in_background(&folder);
        }
        if self
            .store
            .delete(&Key::of(&PERSISTENT_VOLUMES, volume), &DeleteOptions { preconditions: uid_of(volume), ..DeleteOptions::default() })
            .is_ok()
        {
            drop_finalizer(&self.store, &PERSISTENT_VOLUMES, volume, PV_PROTECTION);
        }
    }
}

impl Controller for Volumes {
    fn resources(&self) -> Vec<&'static Resource> {
        vec![&PERSISTENT_VOLUMES, &PERSISTENT_VOLUME_CLAIMS]
    }

    fn affected(&self, change: &Change) -> Vec<Item> {
        if change.resource == &PERSISTENT_VOLUMES {
            return vec![(String::new(), change.name().to_owned())];
        }
        let volume = text(&change.object, "/spec/volumeName");
        if volume.is_empty() { Vec::new() } else { vec![(String::new(), volume.to_owned())] }
    }

    fn reconcile(&mut self, _namespace: &str, name: &str) -> Option<Duration> {
        let volume = self.store.get(&Key::cluster(&PERSISTENT_VOLUMES, name))?;
        let claimed = !text(&volume, "/spec/claimRef/uid").is_empty();
        match (claimed, self.claim_of(&volume)) {
            (true, Some(_)) => {}
            (true, None) => self.reclaim(&volume),
            (false, _) if terminating(&volume) => drop_finalizer(&self.store, &PERSISTENT_VOLUMES, &volume, PV_PROTECTION),
            (false, _) => set_volume_phase(&self.store, &volume, "Available"),
        }
        if terminating(&volume) && claimed && self.claim_of(&volume).is_none() {
            drop_finalizer(&self.store, &PERSISTENT_VOLUMES, &volume, PV_PROTECTION);
        }
        None
    }
}

fn set_volume_phase(store: &Store, volume: &Value, phase: &str) {
    if text(volume, "/status/phase") == phase {
        return;
    }
    let _gone = store.update(&Key::of(&PERSISTENT_VOLUMES, volume), &uid_of(volume), Part::Whole, &mut |volume| {
        set_phase(volume, phase);
        Ok(())
    });
}

fn set_phase(volume: &mut Value, phase: &str) {
    if text(volume, "/status/phase") != phase {
        volume["status"]["phase"] = json!(phase);
        volume["status"]["lastPhaseTransitionTime"] = json!(now());
    }
}

/// Data may be large, and nobody waits for it to be gone. The folder moves aside first, so that its name is free at once.
fn remove_in_background(folder: &Path) {
    let aside = folder.with_extension("removed");
    if std::fs::rename(folder, &aside).is_ok() {
        drop(tokio::task::spawn_blocking(move || std::fs::remove_dir_all(aside)));
    }
}

fn drop_finalizer(store: &Store, resource: &'static Resource, object: &Value, finalizer: &str) {
    let _gone = store.update(&Key::of(resource, object), &uid_of(object), Part::Whole, &mut |object| {
        if let Some(list) = object.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) {
            list.retain(|other| other != finalizer);
        }
        Ok(())
    });
}

fn claim_reference(claim: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": text(claim, "/metadata/namespace"), "name": text(claim, "/metadata/name"),
        "uid": text(claim, "/metadata/uid"), "resourceVersion": text(claim, "/metadata/resourceVersion"),
    })
}

/// Whether a volume is reserved for the claim; `or_free` also accepts one that is nobody's.
fn reserved(volume: &Value, claim: &Value, or_free: bool) -> bool {
    let Some(reference) = volume.pointer("/spec/claimRef") else {
        return or_free;
    };
    let uid = text(reference, "/uid");
    text(reference, "/namespace") == text(claim, "/metadata/namespace")
        && text(reference, "/name") == text(claim, "/metadata/name")
        && (uid.is_empty() || uid == text(claim, "/metadata/uid"))
}
