//! What the API server does with requests.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::arena::Arena;

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

pub async fn a_watch_tells_changes_in_order_and_goes_on_where_it_ended(arena: Arena) {
    let maps = arena.path("configmaps");
    let from = version(&arena.get(&maps).await).to_owned();
    let map = |value: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "told" }, "data": { "value": value } });
    arena.create(&maps, map("one")).await;
    let one = format!("{maps}/told");
    arena.ask(Method::PATCH, &one, Some(json!({ "data": { "value": "two" } }))).await.unwrap();
    arena.ask(Method::DELETE, &one, None).await.unwrap();
    arena.create(&maps, map("three")).await;
    // Kubernetes itself writes a map of certificates into each namespace, which is not asked for.
    let ours = format!("{maps}?fieldSelector=metadata.name%3Dtold");
    let seen = arena.watched(&ours, &from, 4).await;
    let told = |(kind, map): &(String, Value)| format!("{kind} {}", map["data"]["value"].as_str().unwrap());
    let short: Vec<String> = seen.iter().map(told).collect();
    assert_eq!(short, ["ADDED one", "MODIFIED two", "DELETED two", "ADDED three"]);
    let versions: Vec<u64> = seen.iter().map(|(_, map)| version(map).parse().unwrap()).collect();
    assert!(versions.is_sorted(), "{versions:?}");
    // From the version of an event on, a watch tells what came after it and nothing twice.
    let rest = arena.watched(&ours, version(&seen[1].1), 2).await;
    assert_eq!(rest.iter().map(told).collect::<Vec<_>>(), ["DELETED two", "ADDED three"]);
}

pub async fn a_deletion_hits_the_object_with_that_uid_and_no_other(arena: Arena) {
    let pod = arena.ready_pod("one", 0, &[], None).await;
    let path = arena.path("pods/one");
    let by_uid =
        |uid: &str| Some(json!({ "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": { "uid": uid } }));
    let refused = arena.ask(Method::DELETE, &path, by_uid("00000000-0000-0000-0000-000000000000")).await;
    assert_eq!(Arena::code(&refused), 409, "{refused:?}");
    assert_eq!(arena.get(&path).await["metadata"]["uid"], pod["metadata"]["uid"]);
    assert_eq!(Arena::code(&arena.ask(Method::DELETE, &path, by_uid(pod["metadata"]["uid"].as_str().unwrap())).await), 200);
}

pub async fn a_graceful_deletion_leaves_the_object_until_the_process_has_ended(arena: Arena) {
    arena.ready_pod("slow", 6, &["--ignore-sigterm"], None).await;
    let path = arena.path("pods/slow");
    let began = Instant::now();
    arena.ask(Method::DELETE, &path, None).await.unwrap();
    let terminating = arena.get(&path).await;
    assert!(terminating["metadata"]["deletionTimestamp"].is_string(), "{terminating}");
    assert_eq!(terminating["metadata"]["deletionGracePeriodSeconds"], 6);
    arena.until(&path, "the pod gone", Value::is_null).await;
    // A process that ignores the order to stop is killed when its grace is over, which the kubelet counts in whole seconds.
    let took = began.elapsed();
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(40), "{took:?}");
}

pub async fn a_forced_deletion_leaves_nothing(arena: Arena) {
    arena.ready_pod("forced", 30, &["--ignore-sigterm"], None).await;
    let path = arena.path("pods/forced");
    let force = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0 });
    arena.ask(Method::DELETE, &path, Some(force)).await.unwrap();
    // The very next look finds none, though its process ignores the order to stop and lives on.
    assert!(arena.get(&path).await.is_null());
}

pub async fn an_eviction_is_refused_by_a_budget_and_granted_without_it(arena: Arena) {
    arena.ready_pod("guarded", 1, &[], None).await;
    let budgets = arena.path_of("policy/v1", "poddisruptionbudgets");
    let budget = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "keep" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "engine" } } } });
    arena.create(&budgets, budget).await;
    let kept = format!("{budgets}/keep");
    arena.until(&kept, "a budget that was counted", |budget| budget["status"]["currentHealthy"] == 1).await;
    let evict =
        || json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "guarded", "namespace": arena.namespace } });
    let path = arena.path("pods/guarded/eviction");
    let refused = arena.ask(Method::POST, &path, Some(evict())).await;
    assert_eq!(Arena::code(&refused), 429, "{refused:?}");
    assert!(!arena.get(&arena.path("pods/guarded")).await["metadata"]["deletionTimestamp"].is_string());
    arena.ask(Method::DELETE, &kept, None).await.unwrap();
    // The eviction reads budgets through a cache, so the one that was deleted may be seen for a moment.
    let began = Instant::now();
    while Arena::code(&arena.ask(Method::POST, &path, Some(evict())).await) == 429 {
        assert!(began.elapsed() < Duration::from_secs(20), "a budget that is gone goes on refusing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    arena.until(&arena.path("pods/guarded"), "the pod gone", Value::is_null).await;
}

pub async fn a_dry_run_judges_as_a_real_one_and_keeps_nothing(arena: Arena) {
    let pods = format!("{}?dryRun=All", arena.path("pods"));
    let shown = arena.create(&pods, arena.pod("shown", 5, &[], None)).await;
    assert!(shown["metadata"]["uid"].is_string() && shown["spec"]["restartPolicy"] == "Always", "defaults are filled in: {shown}");
    assert!(arena.get(&arena.path("pods/shown")).await.is_null());
    let mut wrong = arena.pod("wrong", 5, &[], None);
    wrong["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(70_000);
    assert_eq!(Arena::code(&arena.ask(Method::POST, &pods, Some(wrong)).await), 422);
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "stays" } });
    arena.create(&arena.path("configmaps"), map).await;
    let path = arena.path("configmaps/stays");
    arena.ask(Method::DELETE, &format!("{path}?dryRun=All"), None).await.unwrap();
    assert!(!arena.get(&path).await.is_null());
}
