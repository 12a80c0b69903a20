//! Every kind of patch, through the client that sends them.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::{Bench, code, deployment};

async fn with_deployment(bench: &Bench) -> Api<Deployment> {
    let api: Api<Deployment> = Api::default_namespaced(bench.client.clone());
    api.create(&PostParams::default(), &deployment("d")).await.unwrap();
    api
}

fn container(object: &Deployment) -> &k8s_openapi::api::core::v1::Container {
    &object.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0]
}

#[tokio::test]
async fn merge_and_json_patch() {
    let bench = Bench::start().await;
    let api = with_deployment(&bench).await;
    let params = PatchParams::default();
    let merged = api.patch("d", &params, &Patch::Merge(json!({ "spec": { "replicas": 4 } }))).await.unwrap();
    assert_eq!(merged.spec.unwrap().replicas, Some(4));
    let patch = json!([
        { "op": "test", "path": "/spec/replicas", "value": 4 },
        { "op": "replace", "path": "/spec/replicas", "value": 2 },
    ])
    .to_string();
    let path = "/apis/apps/v1/namespaces/default/deployments/d";
    let media = [("Content-Type", "application/json-patch+json")];
    let (status, patched) = bench.send("PATCH", path, &media, patch.clone()).await;
    assert_eq!((status, &patched["spec"]["replicas"]), (200, &json!(2)));
    // The test at its head fails now, so nothing of the patch happens.
    assert_eq!(bench.send("PATCH", path, &media, patch).await.0, 422);
    let stale = Patch::Merge(json!({ "metadata": { "resourceVersion": "1" }, "spec": { "replicas": 9 } }));
    assert_eq!(code(&api.patch("d", &params, &stale).await.unwrap_err()), 409);
    assert_eq!(code(&api.patch("nope", &params, &Patch::Merge(json!({}))).await.unwrap_err()), 404);
    assert_eq!(code(&api.patch("d", &params, &Patch::Merge(json!({ "spec": { "replicas": -1 } }))).await.unwrap_err()), 422);
    assert_eq!(api.get("d").await.unwrap().spec.unwrap().replicas, Some(2));
}

#[tokio::test]
async fn strategic_patch_merges_lists_by_their_keys() {
    let bench = Bench::start().await;
    let api = with_deployment(&bench).await;
    let patch =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "env": [{ "name": "B", "value": "2" }] }] } } } });
    let patched = api.patch("d", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    let container = container(&patched);
    assert_eq!(container.image.as_deref(), Some("busybox:1"));
    let env: Vec<&str> = container.env.as_ref().unwrap().iter().map(|variable| variable.name.as_str()).collect();
    assert_eq!(env, ["A", "B"]);
    assert_eq!(patched.metadata.generation, Some(2));
}

#[tokio::test]
async fn switching_to_recreate_needs_the_rolling_part_removed() {
    let bench = Bench::start().await;
    let api = with_deployment(&bench).await;
    let alone = Patch::Strategic(json!({ "spec": { "strategy": { "type": "Recreate" } } }));
    let error = api.patch("d", &PatchParams::default(), &alone).await.unwrap_err();
    assert!(code(&error) == 422 && error.to_string().contains("may not be specified when strategy `type` is 'Recreate'"), "{error}");
    let both = Patch::Strategic(json!({ "spec": { "strategy": { "$retainKeys": ["type"], "type": "Recreate" } } }));
    let patched = api.patch("d", &PatchParams::default(), &both).await.unwrap();
    assert!(patched.spec.unwrap().strategy.unwrap().rolling_update.is_none());
}

#[tokio::test]
async fn server_side_apply_creates_merges_and_protects_owners() {
    let bench = Bench::start().await;
    let api: Api<Deployment> = Api::default_namespaced(bench.client.clone());
    let mut wanted = serde_json::to_value(deployment("d")).unwrap();
    wanted["spec"]["replicas"] = json!(1);
    let mine = PatchParams::apply("mine");
    let created = api.patch("d", &mine, &Patch::Apply(&wanted)).await.unwrap();
    assert_eq!(created.managed_fields()[0].manager.as_deref(), Some("mine"));
    let again = api.patch("d", &mine, &Patch::Apply(&wanted)).await.unwrap();
    assert_eq!(again.resource_version(), created.resource_version(), "applying the same again is no change");

    let other = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "replicas": 3 } });
    let theirs = PatchParams::apply("theirs");
    let error = api.patch("d", &theirs, &Patch::Apply(&other)).await.unwrap_err();
    assert!(code(&error) == 409 && error.to_string().contains("conflict with \"mine\" using apps/v1: .spec.replicas"), "{error}");
    let forced = api.patch("d", &theirs.clone().force(), &Patch::Apply(&other)).await.unwrap();
    assert_eq!(forced.spec.unwrap().replicas, Some(3));

    // What one stops to apply goes, unless somebody else owns it.
    wanted["spec"].as_object_mut().unwrap().remove("replicas");
    wanted["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("env");
    let less = api.patch("d", &mine, &Patch::Apply(&wanted)).await.unwrap();
    assert_eq!(less.spec.as_ref().unwrap().replicas, Some(3));
    assert!(container(&less).env.as_ref().is_none_or(Vec::is_empty));
    assert_eq!(container(&less).image.as_deref(), Some("busybox:1"));
}

#[tokio::test]
async fn status_and_scale_are_written_apart() {
    let bench = Bench::start().await;
    let api = with_deployment(&bench).await;
    let params = PatchParams::default();
    let patch =
        json!({ "spec": { "replicas": 9 }, "status": { "readyReplicas": 1, "conditions": [{ "type": "Available", "status": "True" }] } });
    let patched = api.patch_status("d", &params, &Patch::Merge(patch)).await.unwrap();
    assert_eq!((patched.spec.unwrap().replicas, patched.status.unwrap().ready_replicas), (Some(1), Some(1)));
    let more = json!({ "status": { "conditions": [{ "type": "Progressing", "status": "True" }] } });
    let patched = api.patch_status("d", &params, &Patch::Strategic(more)).await.unwrap();
    assert_eq!(patched.status.unwrap().conditions.unwrap().len(), 2);
    let scale = api.patch_scale("d", &params, &Patch::Merge(json!({ "spec": { "replicas": 6 } }))).await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(6));
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=d"));
    assert_eq!(api.get_scale("d").await.unwrap().spec.unwrap().replicas, Some(6));
    assert_eq!(api.get("d").await.unwrap().spec.unwrap().replicas, Some(6));
}

#[tokio::test]
async fn a_dry_run_patches_nothing() {
    let bench = Bench::start().await;
    let api = with_deployment(&bench).await;
    let before = bench.store.revision();
    let patch = Patch::Merge(json!({ "spec": { "replicas": 4 } }));
    let shown = api.patch("d", &PatchParams::default().dry_run(), &patch).await.unwrap();
    assert_eq!(shown.spec.unwrap().replicas, Some(4));
    assert_eq!(bench.store.revision(), before);
}
