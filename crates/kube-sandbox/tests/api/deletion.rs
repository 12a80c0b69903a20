//! Deleting: in grace, at once, with preconditions, by eviction, by the collection.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use kube_sandbox::store::{Key, PODS};
use serde_json::json;

use super::{Bench, code, pod};

async fn running(bench: &Bench, name: &str) -> (Api<Pod>, Pod) {
    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    pods.create(&PostParams::default(), &pod(name, &json!({ "app": "db" }))).await.unwrap();
    bench.pretend_running(name);
    let pod = pods.get(name).await.unwrap();
    (pods, pod)
}

#[tokio::test]
async fn a_running_pod_terminates_in_two_steps() {
    let bench = Bench::start().await;
    let (pods, before) = running(&bench, "a").await;
    let dying = pods.delete("a", &DeleteParams::default()).await.unwrap().left().expect("the pod itself is shown");
    assert_eq!(dying.metadata.deletion_grace_period_seconds, Some(30));
    let until = dying.metadata.deletion_timestamp.unwrap().0;
    assert!(until > jiff::Timestamp::now(), "the timestamp says when the grace ends");
    // Asking again changes nothing, asking for less time shortens it, asking for more does not lengthen it.
    pods.delete("a", &DeleteParams::default().grace_period(300)).await.unwrap();
    assert_eq!(pods.get("a").await.unwrap().metadata.deletion_grace_period_seconds, Some(30));
    pods.delete("a", &DeleteParams::default().grace_period(5)).await.unwrap();
    assert_eq!(pods.get("a").await.unwrap().metadata.deletion_grace_period_seconds, Some(5));
    let key = Key::namespaced(&PODS, "default", "a");
    assert!(bench.store.finalize(&key, "somebody else"), "another pod of that name is none of its business");
    assert!(pods.get_opt("a").await.unwrap().is_some());
    assert!(bench.store.finalize(&key, &before.uid().unwrap()));
    assert!(pods.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn force_and_never_scheduled_pods_go_at_once() {
    let bench = Bench::start().await;
    let (pods, _) = running(&bench, "a").await;
    pods.delete("a", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert!(pods.get_opt("a").await.unwrap().is_none());
    pods.create(&PostParams::default(), &pod("b", &json!({}))).await.unwrap();
    pods.delete("b", &DeleteParams::default()).await.unwrap();
    assert!(pods.get_opt("b").await.unwrap().is_none());
}

#[tokio::test]
async fn a_precondition_protects_the_successor() {
    let bench = Bench::start().await;
    let (pods, old) = running(&bench, "a").await;
    pods.delete("a", &DeleteParams::default().grace_period(0)).await.unwrap();
    let (pods, new) = running(&bench, "a").await;
    let for_old = DeleteParams::default().preconditions(Preconditions { uid: old.uid(), resource_version: None });
    let error = pods.delete("a", &for_old).await.unwrap_err();
    assert!(code(&error) == 409 && error.to_string().contains("Precondition failed: UID in precondition"), "{error}");
    assert_eq!(pods.get("a").await.unwrap().uid(), new.uid());
    let stale = DeleteParams::default().preconditions(Preconditions { uid: new.uid(), resource_version: Some("1".to_owned()) });
    assert_eq!(code(&pods.delete("a", &stale).await.unwrap_err()), 409);
    let for_new = DeleteParams::default().grace_period(0).preconditions(Preconditions { uid: new.uid(), resource_version: None });
    pods.delete("a", &for_new).await.unwrap();
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_one_goes() {
    let bench = Bench::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(bench.client.clone());
    let map = json!({ "metadata": { "name": "m", "finalizers": ["example.com/a", "example.com/b"] } });
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    maps.delete("m", &DeleteParams::default()).await.unwrap();
    assert!(maps.get("m").await.unwrap().metadata.deletion_timestamp.is_some());
    let with = |list: &[&str]| Patch::Merge(json!({ "metadata": { "finalizers": list } }));
    let error = maps.patch("m", &PatchParams::default(), &with(&["example.com/a", "example.com/c"])).await.unwrap_err();
    assert_eq!(code(&error), 422, "no new finalizer on a terminating object");
    maps.patch("m", &PatchParams::default(), &with(&["example.com/a"])).await.unwrap();
    assert!(maps.get_opt("m").await.unwrap().is_some());
    maps.patch("m", &PatchParams::default(), &with(&[])).await.unwrap();
    assert!(maps.get_opt("m").await.unwrap().is_none());
}

#[tokio::test]
async fn a_budget_refuses_the_eviction_that_would_break_it() {
    let bench = Bench::start().await;
    let (pods, _) = running(&bench, "a").await;
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(bench.client.clone());
    let budget =
        json!({ "metadata": { "name": "keep-one" }, "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "db" } } } });
    budgets.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();
    let error = pods.evict("a", &EvictParams::default()).await.unwrap_err();
    let kube::Error::Api(status) = &error else { panic!("{error}") };
    assert_eq!((status.code, status.reason.as_str()), (429, "TooManyRequests"));
    assert_eq!(status.message, "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(status.details.as_ref().unwrap().causes[0].reason, "DisruptionBudget");
    assert!(pods.get("a").await.unwrap().metadata.deletion_timestamp.is_none());

    running(&bench, "b").await;
    pods.evict("a", &EvictParams::default()).await.unwrap();
    assert!(pods.get("a").await.unwrap().metadata.deletion_timestamp.is_some());
    assert_eq!(code(&pods.evict("b", &EvictParams::default()).await.unwrap_err()), 429, "the one that is leaving counts no more");
    assert_eq!(code(&pods.evict("nope", &EvictParams::default()).await.unwrap_err()), 404);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y")] {
        pods.create(&PostParams::default(), &pod(name, &json!({ "app": app }))).await.unwrap();
    }
    pods.delete_collection(&DeleteParams::default(), &ListParams::default().labels("app=x")).await.unwrap();
    let left: Vec<String> = pods.list(&ListParams::default()).await.unwrap().items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(left, ["c"]);
}
