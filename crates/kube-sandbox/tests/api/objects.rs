//! Creating, reading, listing, replacing; the shape of refusals.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Bench, code, deployment, pod};

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[tokio::test]
async fn create_get_list_delete() {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    let created = pods.create(&PostParams::default(), &pod("a", &json!({}))).await.unwrap();
    assert!(created.uid().is_some() && created.creation_timestamp().is_some() && created.resource_version().is_some());
    let spec = created.spec.clone().unwrap();
    assert_eq!(spec.termination_grace_period_seconds, Some(30));
    assert_eq!(spec.restart_policy.as_deref(), Some("Always"));
    assert_eq!(spec.tolerations.unwrap().len(), 2);
    assert_eq!(pods.get("a").await.unwrap(), created);
    let list = pods.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(code(&pods.create(&PostParams::default(), &pod("a", &json!({}))).await.unwrap_err()), 409);
    pods.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(&pods.get("a").await.unwrap_err()), 404);
    assert!(pods.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_generated_name_is_new_each_time() {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    let mut template = pod("x", &json!({}));
    template.metadata.name = None;
    template.metadata.generate_name = Some("web-".to_owned());
    let first = pods.create(&PostParams::default(), &template).await.unwrap().name_any();
    let second = pods.create(&PostParams::default(), &template).await.unwrap().name_any();
    assert!(first.starts_with("web-") && first.len() == 9 && first != second, "{first} {second}");
}

#[tokio::test]
async fn a_stale_replacement_is_a_conflict_and_an_idle_one_no_change() {
    let bench = Bench::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(bench.client.clone());
    let map: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "m" }, "data": { "a": "1" } })).unwrap();
    let first = maps.create(&PostParams::default(), &map).await.unwrap();
    let same = maps.replace("m", &PostParams::default(), &first).await.unwrap();
    assert_eq!(same.resource_version(), first.resource_version());
    let mut changed = first.clone();
    changed.data.get_or_insert_default().insert("a".to_owned(), "2".to_owned());
    let second = maps.replace("m", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(second.resource_version(), first.resource_version());
    let error = maps.replace("m", &PostParams::default(), &changed).await.unwrap_err();
    assert_eq!(code(&error), 409);
    assert!(error.to_string().contains("the object has been modified"), "{error}");
}

#[tokio::test]
async fn generation_counts_changes_of_the_spec_alone() {
    let bench = Bench::start().await;
    let api: Api<Deployment> = Api::default_namespaced(bench.client.clone());
    let mut object = api.create(&PostParams::default(), &deployment("d")).await.unwrap();
    assert_eq!(object.metadata.generation, Some(1));
    object.labels_mut().insert("x".to_owned(), "y".to_owned());
    object = api.replace("d", &PostParams::default(), &object).await.unwrap();
    assert_eq!(object.metadata.generation, Some(1));
    object.status.get_or_insert_default().replicas = Some(3);
    object = api.replace_status("d", &PostParams::default(), &object).await.unwrap();
    assert_eq!((object.metadata.generation, object.status.clone().unwrap().replicas), (Some(1), Some(3)));
    object.spec.as_mut().unwrap().replicas = Some(7);
    object.status = None;
    object = api.replace("d", &PostParams::default(), &object).await.unwrap();
    assert_eq!(object.metadata.generation, Some(2));
    assert_eq!(object.status.unwrap().replicas, Some(3), "a write of the main resource leaves the status alone");
}

#[tokio::test]
async fn every_mistake_is_a_cause_of_one_refusal() {
    let bench = Bench::start().await;
    let bad = json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "A_" }, "spec": { "restartPolicy": "bad", "containers": [{ "name": "B" }] } });
    let (status, body) = bench.send("POST", "/api/v1/namespaces/default/pods", &[JSON], bad.to_string()).await;
    assert_eq!((status, &body["kind"], &body["reason"]), (422, &json!("Status"), &json!("Invalid")));
    let fields: Vec<&str> = body["details"]["causes"].as_array().unwrap().iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["metadata.name", "spec.containers[0].name", "spec.containers[0].image", "spec.restartPolicy"]);
    assert_eq!(
        body["details"]["causes"][3]["message"],
        "Unsupported value: \"bad\": supported values: \"Always\", \"OnFailure\", \"Never\""
    );
}

#[tokio::test]
async fn what_may_not_change_is_refused() {
    let bench = Bench::start().await;
    let post = PostParams::default();
    let api: Api<Deployment> = Api::default_namespaced(bench.client.clone());
    let mut object = api.create(&post, &deployment("d")).await.unwrap();
    let spec = object.spec.as_mut().unwrap();
    spec.selector.match_labels = Some([("app".to_owned(), "other".to_owned())].into());
    spec.template.metadata.as_mut().unwrap().labels = Some([("app".to_owned(), "other".to_owned())].into());
    let error = api.replace("d", &post, &object).await.unwrap_err();
    assert!(code(&error) == 422 && error.to_string().contains("field is immutable"), "{error}");

    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    let mut object = pods.create(&post, &pod("p", &json!({}))).await.unwrap();
    object.spec.as_mut().unwrap().containers[0].image = Some("busybox:2".to_owned());
    object = pods.replace("p", &post, &object).await.unwrap();
    object.spec.as_mut().unwrap().containers[0].args = Some(vec!["x".to_owned()]);
    assert_eq!(code(&pods.replace("p", &post, &object).await.unwrap_err()), 422);

    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(bench.client.clone());
    let claim = json!({ "metadata": { "name": "c" }, "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
    let mut claim = claims.create(&post, &serde_json::from_value(claim).unwrap()).await.unwrap();
    assert_eq!(claim.finalizers(), ["kubernetes.io/pvc-protection"]);
    claim.spec.as_mut().unwrap().access_modes = Some(vec!["ReadWriteMany".to_owned()]);
    assert_eq!(code(&claims.replace("c", &post, &claim).await.unwrap_err()), 422);
}

#[tokio::test]
async fn unknown_fields_are_refused_when_the_client_is_strict_and_warned_of_otherwise() {
    let bench = Bench::start().await;
    let mut bad = serde_json::to_value(deployment("d")).unwrap();
    bad["spec"]["replikas"] = json!(1);
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let (status, body) = bench.send("POST", &format!("{path}?fieldValidation=Strict"), &[JSON], bad.to_string()).await;
    assert_eq!(status, 400);
    assert!(body["message"].as_str().unwrap().contains("strict decoding error: unknown field \"spec.replikas\""), "{body}");
    bad["spec"]["replicas"] = json!("three");
    let (status, _) = bench.send("POST", path, &[JSON], bad.to_string()).await;
    assert_eq!(status, 400, "a wrong type is refused however lenient the client is");
    for (pointer, wrong, said) in [
        ("/spec/replicas", json!("three"), "cannot unmarshal string into field Deployment.spec.replicas of type integer"),
        (
            "/spec/template/spec/containers",
            json!({}),
            "cannot unmarshal object into field Deployment.spec.template.spec.containers of type list",
        ),
        ("/spec/template/metadata/labels", json!({ "a": 1 }), "field Deployment.spec.template.metadata.labels.a of type string"),
        ("/spec/template/spec/containers/0/env", json!([{ "name": true }]), "containers[0].env[0].name of type string"),
        ("/metadata/creationTimestamp", json!("yesterday"), "metadata.creationTimestamp of type RFC 3339 time"),
    ] {
        let mut wrongly = serde_json::to_value(deployment("d")).unwrap();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        wrongly.pointer_mut(parent).unwrap()[key] = wrong;
        let (status, body) = bench.send("POST", path, &[JSON], wrongly.to_string()).await;
        assert!(status == 400 && body["message"].as_str().unwrap().contains(said), "{said}: {body}");
    }
    let mut nested = serde_json::to_value(deployment("d")).unwrap();
    nested["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 1433, "port": 1433 }]);
    nested["spec"]["template"]["kind"] = json!("PodTemplate");
    let (_, body) = bench.send("POST", &format!("{path}?fieldValidation=Strict"), &[JSON], nested.to_string()).await;
    for field in ["spec.template.spec.containers[0].ports[0].port", "spec.template.kind"] {
        assert!(body["message"].as_str().unwrap().contains(&format!("unknown field \"{field}\"")), "{body}");
    }
    let secret = json!({ "metadata": { "name": "s" }, "stringData": { "a": "b" } });
    let (status, body) = bench.send("POST", "/api/v1/namespaces/default/secrets?fieldValidation=Strict", &[JSON], secret.to_string()).await;
    assert_eq!(status, 201, "{body}");
    bad["spec"]["replicas"] = json!(3);
    bad["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
    let request = hyper::Request::post(path).header(JSON.0, JSON.1).body(bad.to_string().into_bytes().into()).unwrap();
    let response = bench.client.send(request).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["Warning"], "299 - \"unknown field \\\"spec.replikas\\\"\"");
    // Warned of and dropped, as null is, so that no later request is warned of it again.
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let made: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((made["spec"].get("replikas"), made["spec"]["template"]["metadata"].get("creationTimestamp")), (None, None), "{made}");
}

#[tokio::test]
async fn refusals_have_the_shape_of_a_status() {
    let bench = Bench::start().await;
    for (method, path, content, body, expected, reason) in [
        ("GET", "/api/v1/namespaces/default/pods/nope", "", "", 404, "NotFound"),
        ("GET", "/apis/nope/v1/things", "", "", 404, "NotFound"),
        ("GET", "/api/v1/pods/nope", "", "", 404, "NotFound"),
        ("PUT", "/api/v1/namespaces", "application/json", "{}", 405, "MethodNotAllowed"),
        ("PATCH", "/api/v1/namespaces/default", "text/plain", "{}", 415, "UnsupportedMediaType"),
        ("POST", "/api/v1/namespaces", "application/yaml", "a: b", 415, "UnsupportedMediaType"),
        ("POST", "/api/v1/namespaces", "application/json", "nonsense", 400, "BadRequest"),
        ("POST", "/api/v1/namespaces", "application/json", r#"{"kind":"Pod"}"#, 400, "BadRequest"),
        ("POST", "/api/v1/namespaces?dryRun=Some", "application/json", r#"{"metadata":{"name":"x"}}"#, 400, "BadRequest"),
        ("GET", "/api/v1/pods?fieldSelector=spec.foo%3D1", "", "", 400, "BadRequest"),
        ("GET", "/api/v1/pods?labelSelector=a%3D%3Db%3Dc", "", "", 400, "BadRequest"),
        ("GET", "/api/v1/pods?resourceVersion=99999999", "", "", 504, "Timeout"),
        ("POST", "/api/v1/namespaces/default/pods/x/exec", "", "", 501, "NotImplemented"),
        ("DELETE", "/api/v1/namespaces/default", "", "", 403, "Forbidden"),
    ] {
        let headers = [("Content-Type", content)];
        let (status, answer) = bench.send(method, path, if content.is_empty() { &[] } else { &headers }, body).await;
        let shape = (&answer["kind"], &answer["apiVersion"], &answer["status"], &answer["reason"], &answer["code"]);
        assert_eq!(status, expected, "{method} {path}: {answer}");
        assert_eq!(shape, (&json!("Status"), &json!("v1"), &json!("Failure"), &json!(reason), &json!(expected)), "{method} {path}");
    }
    let (status, _) = bench.send("GET", "/api/v1/pods", &[("Accept", "text/plain")], "").await;
    assert_eq!(status, 406);
}

#[tokio::test]
async fn a_dry_run_keeps_nothing() {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let before = bench.store.revision();
    let shown = pods.create(&dry, &pod("a", &json!({}))).await.unwrap();
    assert_eq!(shown.spec.unwrap().termination_grace_period_seconds, Some(30));
    assert_eq!(code(&pods.create(&dry, &pod("A_", &json!({}))).await.unwrap_err()), 422);
    assert_eq!(bench.store.revision(), before);
    pods.create(&PostParams::default(), &pod("a", &json!({}))).await.unwrap();
    pods.delete("a", &DeleteParams::default().dry_run()).await.unwrap();
    assert!(pods.get_opt("a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_namespace_must_exist_and_live() {
    let bench = Bench::start().await;
    let namespaces: Api<Namespace> = Api::all(bench.client.clone());
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), "team");
    assert_eq!(code(&pods.create(&PostParams::default(), &pod("a", &json!({}))).await.unwrap_err()), 404);
    let team: Namespace = serde_json::from_value(json!({ "metadata": { "name": "team" } })).unwrap();
    namespaces.create(&PostParams::default(), &team).await.unwrap();
    pods.create(&PostParams::default(), &pod("a", &json!({}))).await.unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    let dying = namespaces.get("team").await.unwrap();
    assert_eq!(dying.status.unwrap().phase.as_deref(), Some("Terminating"));
    assert_eq!(code(&pods.create(&PostParams::default(), &pod("b", &json!({}))).await.unwrap_err()), 403);
    let done = json!({ "metadata": { "name": "team" }, "spec": { "finalizers": [] } });
    let (status, _) = bench.send("PUT", "/api/v1/namespaces/team/finalize", &[JSON], done.to_string()).await;
    assert_eq!(status, 200);
    assert!(namespaces.get_opt("team").await.unwrap().is_none());
}

#[tokio::test]
async fn selectors_choose() {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    for (name, labels) in [("a", json!({ "app": "x" })), ("b", json!({ "app": "y", "old": "1" })), ("c", json!({}))] {
        pods.create(&PostParams::default(), &pod(name, &labels)).await.unwrap();
    }
    bench.pretend_running("b");
    let names = async |params: ListParams| pods.list(&params).await.unwrap().items.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    assert_eq!(names(ListParams::default().labels("app=x")).await, ["a"]);
    assert_eq!(names(ListParams::default().labels("app in (x, y),!old")).await, ["a"]);
    assert_eq!(names(ListParams::default().labels("app!=x")).await, ["b", "c"]);
    assert_eq!(names(ListParams::default().fields("spec.nodeName=n1,status.phase!=Failed")).await, ["b"]);
    assert_eq!(names(ListParams::default().fields("metadata.name=c")).await, ["c"]);
}

#[tokio::test]
async fn pages_show_one_moment() {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    for name in ["a", "b", "c", "d", "e"] {
        pods.create(&PostParams::default(), &pod(name, &json!({}))).await.unwrap();
    }
    let first = pods.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    pods.delete("c", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    let second = pods.list(&ListParams::default().limit(2).continue_token(&token)).await.unwrap();
    assert_eq!(second.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["c", "d"]);
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    let token = second.metadata.continue_.unwrap();
    let last = pods.list(&ListParams::default().limit(2).continue_token(&token)).await.unwrap();
    assert_eq!((last.items.len(), last.metadata.continue_.unwrap_or_default().as_str()), (1, ""));
    // Sixty-four later lists push the first one out.
    for _ in 0..64 {
        pods.list(&ListParams::default().limit(1)).await.unwrap();
    }
    assert_eq!(code(&pods.list(&ListParams::default().continue_token(&token)).await.unwrap_err()), 410);
}

#[tokio::test]
async fn services_get_addresses_and_keep_them() {
    let bench = Bench::start().await;
    let api: Api<Service> = Api::default_namespaced(bench.client.clone());
    let service = json!({ "metadata": { "name": "s" }, "spec": { "type": "NodePort", "ports": [{ "port": 1433 }] } });
    let mut service = api.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
    let spec = service.spec.clone().unwrap();
    let (address, port) = (spec.cluster_ip.clone().unwrap(), spec.ports.clone().unwrap()[0].node_port.unwrap());
    assert!(address.starts_with("127.") && (30000..=32767).contains(&port));
    let spec = service.spec.as_mut().unwrap();
    (spec.cluster_ip, spec.cluster_ips) = (None, None);
    spec.ports.as_mut().unwrap()[0].node_port = None;
    let kept = api.replace("s", &PostParams::default(), &service).await.unwrap().spec.unwrap();
    assert_eq!((kept.cluster_ip, kept.ports.unwrap()[0].node_port), (Some(address.clone()), Some(port)));
    service.spec.as_mut().unwrap().cluster_ip = Some("127.99.0.1".to_owned());
    assert_eq!(code(&api.replace("s", &PostParams::default(), &service).await.unwrap_err()), 422);
    let taken = json!({ "metadata": { "name": "t" }, "spec": { "type": "NodePort", "ports": [{ "port": 1, "nodePort": port }] } });
    let error = api.create(&PostParams::default(), &serde_json::from_value(taken.clone()).unwrap()).await.unwrap_err();
    assert!(code(&error) == 422 && error.to_string().contains("provided port is already allocated"), "{error}");
    api.delete("s", &DeleteParams::default()).await.unwrap();
    api.create(&PostParams::default(), &serde_json::from_value(taken).unwrap()).await.unwrap();
}

#[tokio::test]
async fn secrets_are_encoded_and_events_have_two_views() {
    let bench = Bench::start().await;
    let secrets: Api<Secret> = Api::default_namespaced(bench.client.clone());
    let secret = json!({ "metadata": { "name": "s" }, "stringData": { "password": "hunter2" } });
    let secret = secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    assert_eq!(secret.data.unwrap()["password"].0, b"hunter2");
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));

    let events: Api<k8s_openapi::api::events::v1::Event> = Api::default_namespaced(bench.client.clone());
    let event = json!({ "metadata": { "name": "e" }, "regarding": { "kind": "Pod", "name": "p", "namespace": "default" }, "note": "hello",
        "reason": "Testing", "type": "Normal", "action": "Test", "reportingController": "t", "reportingInstance": "t-1", "eventTime": "2026-01-01T00:00:00.000001Z" });
    events.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
    let core: Api<Event> = Api::default_namespaced(bench.client.clone());
    let found = core.list(&ListParams::default().fields("involvedObject.name=p,reason=Testing")).await.unwrap();
    assert_eq!(found.items[0].message.as_deref(), Some("hello"));
    assert_eq!(events.list(&ListParams::default().fields("regarding.name=p")).await.unwrap().items[0].note.as_deref(), Some("hello"));
}

#[tokio::test]
async fn tables_have_the_real_columns() {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    pods.create(&PostParams::default(), &pod("a", &json!({}))).await.unwrap();
    bench.pretend_running("a");
    let accept = [("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let (_, table) = bench.send("GET", "/api/v1/namespaces/default/pods", &accept, "").await;
    assert_eq!(table["kind"], "Table");
    let columns: Vec<(&str, i64)> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| (column["name"].as_str().unwrap(), column["priority"].as_i64().unwrap()))
        .collect();
    let expected = [
        ("Name", 0),
        ("Ready", 0),
        ("Status", 0),
        ("Restarts", 0),
        ("Age", 0),
        ("IP", 1),
        ("Node", 1),
        ("Nominated Node", 1),
        ("Readiness Gates", 1),
    ];
    assert_eq!(columns, expected);
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    let mut cells: Vec<&Value> = cells.iter().collect();
    cells.remove(4);
    assert_eq!(json!(cells), json!(["a", "0/1", "Running", "0", "<none>", "n1", "<none>", "<none>"]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    // Every resource has as many cells as columns.
    for path in ["/api/v1/namespaces", "/api/v1/serviceaccounts"] {
        let (_, table) = bench.send("GET", path, &accept, "").await;
        assert_eq!(table["rows"][0]["cells"].as_array().unwrap().len(), table["columnDefinitions"].as_array().unwrap().len(), "{path}");
    }
}

#[tokio::test]
async fn discovery_lists_what_is_served() {
    let bench = Bench::start().await;
    let discovery = kube::Discovery::new(bench.client.clone()).run().await.unwrap();
    let kinds: Vec<String> =
        discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources).map(|(resource, _)| resource.kind).collect();
    for kind in ["Pod", "Deployment", "StatefulSet", "EndpointSlice", "Lease", "PodDisruptionBudget", "StorageClass"] {
        assert!(kinds.iter().any(|known| known == kind), "{kind} in {kinds:?}");
    }
    let version = bench.client.apiserver_version().await.unwrap();
    assert_eq!(version.git_version, "v1.34.0+sandbox");
}
