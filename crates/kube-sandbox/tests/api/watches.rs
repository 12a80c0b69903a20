//! Watches: order, resumption, expiry, bookmarks, selectors.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use kube_sandbox::api::Hooks;
use kube_sandbox::hooks::NoNodes;
use kube_sandbox::store::{CONFIG_MAPS, Store};
use serde_json::json;

use super::{Bench, pod};

/// Long enough for a loaded machine; a watch that delivers does so in milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap()
}

fn short(event: &WatchEvent<ConfigMap>) -> String {
    match event {
        WatchEvent::Added(object) => format!("+{}", object.name_any()),
        WatchEvent::Modified(object) => format!("~{}", object.name_any()),
        WatchEvent::Deleted(object) => format!("-{}", object.name_any()),
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
        WatchEvent::Error(status) => format!("error {}", status.code),
    }
}

#[tokio::test]
async fn events_come_in_order_and_resume_without_gaps() {
    let bench = Bench::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(bench.client.clone());
    let start = bench.store.revision().to_string();
    for index in 0..50 {
        let name = format!("m{index}");
        maps.create(&PostParams::default(), &map(&name)).await.unwrap();
        if index % 5 == 0 {
            maps.patch(&name, &PatchParams::default(), &Patch::Merge(json!({ "data": { "a": "b" } }))).await.unwrap();
            maps.delete(&name, &DeleteParams::default()).await.unwrap();
        }
    }
    let mut expected = Vec::new();
    for index in 0..50 {
        expected.push(format!("+m{index}"));
        if index % 5 == 0 {
            expected.push(format!("~m{index}"));
            expected.push(format!("-m{index}"));
        }
    }
    let params = WatchParams::default().timeout(60);
    let stream = maps.watch(&params, &start).await.unwrap();
    let events: Vec<WatchEvent<ConfigMap>> =
        tokio::time::timeout(PATIENCE, stream.take(expected.len()).try_collect()).await.unwrap().unwrap();
    assert_eq!(events.iter().map(short).collect::<Vec<_>>(), expected);
    let WatchEvent::Added(tenth) = &events[10] else { panic!("{:?}", events[10]) };
    let stream = maps.watch(&params, &tenth.resource_version().unwrap()).await.unwrap();
    let rest: Vec<WatchEvent<ConfigMap>> =
        tokio::time::timeout(PATIENCE, stream.take(expected.len() - 11).try_collect()).await.unwrap().unwrap();
    assert_eq!(rest.iter().map(short).collect::<Vec<_>>(), expected[11..]);
}

#[tokio::test]
async fn a_watch_from_before_the_history_is_told_so() {
    let hooks = Hooks { node_control: Arc::new(NoNodes), logs: Arc::new(NoNodes) };
    let bench = Bench::with(4, hooks).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(bench.client.clone());
    let start = bench.store.revision().to_string();
    for index in 0..6 {
        maps.create(&PostParams::default(), &map(&format!("m{index}"))).await.unwrap();
    }
    let stream = maps.watch(&WatchParams::default().timeout(60), &start).await.unwrap();
    let events: Vec<WatchEvent<ConfigMap>> = tokio::time::timeout(PATIENCE, stream.try_collect()).await.unwrap().unwrap();
    assert_eq!(events.iter().map(short).collect::<Vec<_>>(), ["error 410"]);
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told_so_and_holds_nobody_up() {
    let store = Store::with(kube_sandbox::store::StoreOptions { history: 4, ..Default::default() });
    let mut watch = store.watch(&CONFIG_MAPS, None, store.revision()).unwrap();
    for index in 0..6 {
        store.create(&CONFIG_MAPS, json!({ "metadata": { "name": format!("m{index}") } })).unwrap();
    }
    assert_eq!(watch.next().await.unwrap_err().code, 410);
}

#[tokio::test]
async fn a_quiet_watch_ends_with_a_bookmark() {
    let bench = Bench::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(bench.client.clone());
    let start = bench.store.revision().to_string();
    let stream = maps.watch(&WatchParams::default().timeout(2), &start).await.unwrap();
    // A change elsewhere moves the bookmark on although this watch shows nothing of it.
    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    let other = pods.create(&PostParams::default(), &pod("a", &json!({}))).await.unwrap();
    let events: Vec<WatchEvent<ConfigMap>> = tokio::time::timeout(PATIENCE, stream.try_collect()).await.unwrap().unwrap();
    let [WatchEvent::Bookmark(bookmark)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(Some(&bookmark.metadata.resource_version), other.resource_version().as_ref());
}

#[tokio::test]
async fn a_selector_makes_objects_come_and_go() {
    let bench = Bench::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(bench.client.clone());
    let start = bench.store.revision().to_string();
    maps.create(&PostParams::default(), &map("m")).await.unwrap();
    for value in ["yes", "still", "no", "yes"] {
        let label = if value == "no" { json!(null) } else { json!(value) };
        maps.patch("m", &PatchParams::default(), &Patch::Merge(json!({ "metadata": { "labels": { "chosen": label } } }))).await.unwrap();
    }
    maps.delete("m", &DeleteParams::default()).await.unwrap();
    let stream = maps.watch(&WatchParams::default().labels("chosen").timeout(60), &start).await.unwrap();
    let events: Vec<WatchEvent<ConfigMap>> = tokio::time::timeout(PATIENCE, stream.take(5).try_collect()).await.unwrap().unwrap();
    assert_eq!(events.iter().map(short).collect::<Vec<_>>(), ["+m", "~m", "-m", "+m", "-m"]);
}

#[tokio::test]
async fn both_kinds_of_watcher_see_what_is_there_and_what_comes() {
    let bench = Bench::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(bench.client.clone());
    maps.create(&PostParams::default(), &map("before")).await.unwrap();
    for (round, config) in [watcher::Config::default(), watcher::Config::default().streaming_lists()].into_iter().enumerate() {
        let mut stream = pin!(watcher(maps.clone(), config).applied_objects());
        let mut next = async || tokio::time::timeout(PATIENCE, stream.try_next()).await.unwrap().unwrap().unwrap().name_any();
        assert_eq!(next().await, "before");
        let name = format!("during-{round}");
        if round == 1 {
            assert_eq!(next().await, "during-0");
        }
        maps.create(&PostParams::default(), &map(&name)).await.unwrap();
        assert_eq!(next().await, name);
    }
}
