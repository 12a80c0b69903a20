//! The Deployment or StatefulSet of the target's pod: what people change when they restart or scale a database.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::{FaultError, Site};
use crate::cluster::Permission;
use crate::experiment;
use crate::model::OwnerSeen;
use crate::target::{self, TargetError};

/// Says which run scaled a controller to nothing; without it the scale is somebody else's and stays.
const ANNOTATION_SCALED_BY: &str = "chaos.sqledge.dev/scaled-by";

/// How many replicas there were before. It is written together with the scale, so that it can never be missing.
const ANNOTATION_REPLICAS_BEFORE: &str = "chaos.sqledge.dev/replicas-before";

/// How often a change is tried again because somebody changed the object in between.
const CONFLICTS_MAX: u32 = 5;

/// What is asked of the API server to find a target's controller and to change it.
pub(super) fn permissions(controller: experiment::Controller) -> &'static [Permission] {
    match controller {
        experiment::Controller::Deployment => {
            const { &[Permission::of("apps", "replicasets", &["get"]), Permission::of("apps", "deployments", &["get", "patch"])] }
        }
        experiment::Controller::StatefulSet => const { &[Permission::of("apps", "statefulsets", &["get", "patch"])] },
    }
}

/// A Deployment or StatefulSet, by what identifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Controller {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl Controller {
    /// The controller behind a pod's owner: a StatefulSet itself, or the Deployment of a ReplicaSet.
    pub async fn behind(site: &Site, owner: Option<&OwnerSeen>) -> Result<Self, FaultError> {
        let namespace = site.names.namespace.clone();
        let found = target::controller_behind(&site.client, &namespace, owner).await.map_err(|error| match error {
            TargetError::Api(error) => FaultError::Api(error),
            error => FaultError::NoTarget(error.to_string()),
        })?;
        Ok(Controller { kind: found.kind, namespace, name: found.name, uid: found.uid })
    }

    fn api(&self, client: &kube::Client) -> Api<DynamicObject> {
        let resource = match self.kind.as_str() {
            "StatefulSet" => ApiResource::erase::<StatefulSet>(&()),
            _ => ApiResource::erase::<Deployment>(&()),
        };
        Api::namespaced_with(client.clone(), &self.namespace, &resource)
    }

    /// Changes it as `change` says, which is asked again when somebody else was faster. True when there was something to change.
    pub async fn edit(&self, client: &kube::Client, change: impl Fn(&DynamicObject) -> Option<Value>) -> Result<bool, FaultError> {
        let api = self.api(client);
        let mut conflicts = 0;
        loop {
            let now = api.get(&self.name).await?;
            if now.metadata.uid.as_deref() != Some(&self.uid) {
                return Err(FaultError::Changed(format!("{} {} is another one now", self.kind, self.name)));
            }
            let Some(mut patch) = change(&now) else {
                return Ok(false);
            };
            patch["metadata"]["resourceVersion"] = json!(now.metadata.resource_version);
            match api.patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => return Ok(true),
                Err(kube::Error::Api(status)) if status.code == 409 && conflicts < CONFLICTS_MAX => conflicts += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Scales it to nothing in the run's name, and keeps with it how many replicas there were.
    pub async fn scale_to_zero(&self, client: &kube::Client, run: &str) -> Result<String, FaultError> {
        let scaled = self.edit(client, |now| {
            let replicas = replicas(now);
            (replicas > 0).then(|| {
                let annotations = json!({ ANNOTATION_SCALED_BY: run, ANNOTATION_REPLICAS_BEFORE: replicas.to_string() });
                json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": 0 } })
            })
        });
        match scaled.await? {
            true => Ok(format!("{} {} was scaled to 0", self.kind, self.name)),
            false => Err(FaultError::Already(format!("{} {} was at 0 replicas", self.kind, self.name))),
        }
    }
}

fn replicas(object: &DynamicObject) -> i64 {
    object.data.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

/// Takes back the run's own scaling to nothing, unless somebody has scaled it since. Says what was done.
pub async fn scale_back(
    client: &kube::Client,
    kind: &str,
    namespace: &str,
    name: &str,
    uid: &str,
    run: &str,
) -> Result<String, FaultError> {
    let controller = Controller { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.to_owned() };
    let scaled = controller.edit(client, |now| {
        let annotation = |key: &str| now.metadata.annotations.as_ref().and_then(|all| all.get(key));
        if annotation(ANNOTATION_SCALED_BY).is_none_or(|by| by != run) {
            return None;
        }
        let mut patch = json!({ "metadata": { "annotations": { ANNOTATION_SCALED_BY: null, ANNOTATION_REPLICAS_BEFORE: null } } });
        if replicas(now) == 0 {
            let before = annotation(ANNOTATION_REPLICAS_BEFORE).and_then(|before| before.parse::<i64>().ok());
            patch["spec"] = json!({ "replicas": before.unwrap_or(1) });
        }
        Some(patch)
    });
    match scaled.await {
        Ok(true) => Ok(format!("{kind} {name} has its replicas back")),
        Ok(false) => Ok(format!("{kind} {name} is not scaled by this run, so it stays as it is")),
        Err(FaultError::Changed(_)) => Ok(format!("{kind} {name} is gone")),
        Err(FaultError::Api(kube::Error::Api(status))) if status.code == 404 => Ok(format!("{kind} {name} is gone")),
        Err(error) => Err(error),
    }
}
