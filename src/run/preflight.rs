//! Can it work here? Everything that can be known before anything is created.

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams, PostParams};

use super::RunError;
use super::permissions::{Needed, permissions};
use crate::cluster::{CAPABLE, ClusterError, ClusterProvider, Entrance, ImageNeed, Permission, Typed};
use crate::experiment::{self, Engine, Plan};
use crate::fault;
use crate::target::stand_in::{self, image};
use crate::target::used_node_ports;

/// What a run needs to know of its cluster.
pub(super) struct Ground {
    pub kubernetes_version: String,
    pub entrances: Vec<Entrance>,
    /// What the pod calls the stand-in engine's image; empty when the engine has an image of its own.
    pub stand_in_image: String,
    /// What a reader should know before the run, one sentence each.
    pub warnings: Vec<String>,
}

/// Asks the cluster. The image archive of the stand-in engine is built in `scratch` when a node may need it.
pub(super) async fn look(
    client: &kube::Client,
    provider: &dyn ClusterProvider,
    plan: &Plan,
    scratch: &std::path::Path,
) -> Result<Ground, RunError> {
    capabilities(provider, plan)?;
    let version = client.apiserver_version().await.map_err(ClusterError::Api)?;
    permitted(client, &permissions(plan)).await?;
    let mut warnings = experiment::cautions(plan);
    let (stand_in_image, entrances) = if plan.target.existing.is_some() {
        (String::new(), Vec::new())
    } else {
        warnings.extend(storage_class(client, plan).await?);
        let image = engine_image(provider, plan, scratch).await?;
        let used = used_node_ports(client).await?;
        (image, provider.entrances(client, &used).await?)
    };
    warnings.extend(few_nodes(client).await?);
    Ok(Ground { kubernetes_version: version.git_version, entrances, stand_in_image, warnings })
}

/// An experiment that needs what the provider cannot do is refused before anything is touched.
fn capabilities(provider: &dyn ClusterProvider, plan: &Plan) -> Result<(), RunError> {
    capable(fault::refusals(plan.faults.iter().map(|fault| (fault.id.as_str(), &fault.spec)), provider.capabilities()))
}

/// Refuses when there are faults that the provider cannot make.
pub(super) fn capable(refused: Vec<String>) -> Result<(), RunError> {
    if refused.is_empty() {
        return Ok(());
    }
    let hint = CAPABLE.to_owned();
    Err(RunError::Cluster(ClusterError::Unsupported { what: refused.join("; "), hint }))
}

/// What the looks of this module ask of the API server. The reviews themselves are open to every user.
pub(super) const PERMISSIONS: [Permission; 1] = [Permission::core("nodes", &["list"])];

/// What they ask beside that for a target that is to be deployed.
pub(super) const DEPLOYING_PERMISSIONS: [Permission; 1] = [Permission::of("storage.k8s.io", "storageclasses", &["list"])];

/// How many permissions are asked about at once.
const REVIEWS_AT_ONCE: usize = 8;

/// Asks for everything that the run will need, so that a refusal comes before anything is created.
async fn permitted(client: &kube::Client, needed: &Needed) -> Result<(), RunError> {
    let reviews = Api::<Typed<SelfSubjectAccessReview>>::all(client.clone());
    let questions = needed.each().map(|(namespace, group, resource, verb)| {
        let reviews = reviews.clone();
        async move {
            let (name, subresource) = resource.split_once('/').map_or((resource, None), |(name, sub)| (name, Some(sub.to_owned())));
            let attributes = ResourceAttributes {
                namespace: namespace.map(str::to_owned),
                group: Some(group.to_owned()),
                resource: Some(name.to_owned()),
                subresource,
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            };
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..SelfSubjectAccessReviewSpec::default() },
                ..SelfSubjectAccessReview::default()
            };
            let answer = reviews.create(&PostParams::default(), &Typed(review)).await?;
            let place = namespace.map(|name| format!(" in namespace {name}")).unwrap_or_default();
            Ok::<_, kube::Error>((!answer.0.status.is_some_and(|status| status.allowed)).then(|| format!("{verb} {resource}{place}")))
        }
    });
    let questions: Vec<_> = questions.collect();
    let refused = stream::iter(questions).buffered(REVIEWS_AT_ONCE).try_filter_map(|refused| async { Ok(refused) });
    let refused: Vec<String> = refused.try_collect().await.map_err(ClusterError::Api)?;
    if refused.is_empty() {
        return Ok(());
    }
    Err(RunError::Cluster(ClusterError::Unsupported {
        what: format!("these permissions are missing: {}", refused.join(", ")),
        hint: "`chaos rbac FILE` prints the role that the run needs".to_owned(),
    }))
}

/// Refuses a class that is not there. Warns of one that may tie the volume to the node which a fault is to take away.
async fn storage_class(client: &kube::Client, plan: &Plan) -> Result<Option<String>, RunError> {
    let classes = Api::<Typed<StorageClass>>::all(client.clone()).list(&ListParams::default()).await.map_err(ClusterError::Api)?;
    let known: Vec<String> = classes.iter().filter_map(|class| class.metadata.name.clone()).collect();
    let listed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let is_default = |class: &&Typed<StorageClass>| {
        let annotations = class.metadata.annotations.as_ref();
        annotations.is_some_and(|all| all.get("storageclass.kubernetes.io/is-default-class").is_some_and(|value| value == "true"))
    };
    let wanted = plan.target.storage.class.as_ref();
    let chosen = match wanted {
        Some(name) => classes.iter().find(|class| class.metadata.name.as_ref() == Some(name)),
        None => classes.iter().find(is_default),
    };
    let Some(chosen) = chosen else {
        let (what, hint) = match wanted {
            Some(name) => (
                format!("there is no storage class `{name}` (found: {listed})"),
                "change target.storage.class, or leave it out for the cluster's default",
            ),
            None => (format!("the cluster has no default storage class (found: {listed})"), "name one with target.storage.class"),
        };
        return Err(RunError::Cluster(ClusterError::Missing { what, hint: hint.to_owned() }));
    };
    let late = chosen.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    Ok((late && plan.faults.iter().any(|fault| fault.spec.takes_node())).then(|| {
        let name = chosen.metadata.name.as_deref().unwrap_or_default();
        format!(
            "storage class {name} makes volumes where their first pod runs: if they are node-local, the pod stays Pending while a fault keeps its node away"
        )
    }))
}

/// Sees to it that the nodes can run the engine, and says what the pod calls the stand-in engine.
async fn engine_image(provider: &dyn ClusterProvider, plan: &Plan, scratch: &std::path::Path) -> Result<String, RunError> {
    if plan.target.engine != Engine::TdsSqlite {
        if !provider.runs_images() {
            return Err(RunError::Cluster(ClusterError::Unsupported {
                what: "the sandbox runs processes of this machine, so it cannot run a SQL Server image".to_owned(),
                hint: "use the stand-in engine: --engine tds-sqlite, or a real cluster: --cluster kind".to_owned(),
            }));
        }
        return Ok(String::new());
    }
    if !provider.runs_images() {
        return Ok(stand_in::SANDBOX_IMAGE.to_owned());
    }
    if let Some(image) = &plan.target.image {
        provider.ensure_image(&ImageNeed { reference: image.clone(), archive: None }).await?;
        return Ok(image.clone());
    }
    let archive = scratch.join("tds-sqlite.tar");
    let failed = |error: image::ImageError| ClusterError::Image { image: "tds-sqlite".to_owned(), why: error.to_string() };
    let binary = image::build_static_binary().await.map_err(failed)?;
    let info = image::build(&binary, &archive).map_err(failed)?;
    provider.ensure_image(&ImageNeed { reference: info.reference.clone(), archive: Some(archive) }).await?;
    Ok(info.reference)
}

async fn few_nodes(client: &kube::Client) -> Result<Option<String>, RunError> {
    let nodes = Api::<Typed<Node>>::all(client.clone()).list(&ListParams::default()).await.map_err(ClusterError::Api)?;
    let open = nodes.iter().filter(|node| {
        let spec = node.spec.clone().unwrap_or_default();
        let closed = spec.taints.iter().flatten().any(|taint| taint.effect != "PreferNoSchedule");
        !closed && !spec.unschedulable.unwrap_or(false)
    });
    match open.count() {
        0 => Err(RunError::Cluster(ClusterError::Missing {
            what: "no node takes pods: all are cordoned or tainted".to_owned(),
            hint: "kubectl get nodes; kubectl uncordon NODE".to_owned(),
        })),
        1 => Ok(Some("only one node takes pods, so the target cannot move to another".to_owned())),
        _ => Ok(None),
    }
}
