//! Every object of a cluster, to compare what it was with what it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

/// Objects by `resource namespace/name`, without what Kubernetes itself changes all the time.
pub type Objects = BTreeMap<String, Value>;

/// How long a cluster may take to be as it was: nodes become ready again, controllers catch up.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// A cluster that is looked at through its API alone.
pub struct Cluster {
    client: kube::Client,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    /// The cluster of that kubeconfig.
    pub fn open(kubeconfig: &Path) -> Cluster {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let client = runtime.block_on(async {
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            kube::Client::try_from(config).unwrap()
        });
        Cluster { client, runtime }
    }

    /// What the API server answers to a GET.
    pub fn get(&self, path: &str) -> Value {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        self.runtime.block_on(self.client.request(request)).unwrap()
    }

    /// Creates an object, and returns it as it is then.
    pub fn create(&self, path: &str, object: &Value) -> Value {
        let request = http::Request::post(path).header("content-type", "application/json").body(object.to_string().into_bytes()).unwrap();
        self.runtime.block_on(self.client.request(request)).unwrap()
    }

    /// Changes an object by a JSON patch.
    pub fn patch(&self, path: &str, patch: &Value) -> Value {
        let request = http::Request::patch(path).header("content-type", "application/json-patch+json");
        self.runtime.block_on(self.client.request(request.body(patch.to_string().into_bytes()).unwrap())).unwrap()
    }

    /// Removes an object at once.
    pub fn delete(&self, path: &str) {
        let request = http::Request::delete(format!("{path}?gracePeriodSeconds=0")).body(Vec::new()).unwrap();
        let _removed: Value = self.runtime.block_on(self.client.request(request)).unwrap();
    }

    /// Every object of every kind that can be listed.
    pub fn objects(&self) -> Objects {
        let groups = self.get("/apis");
        let groups = groups["groups"].as_array().unwrap().iter().map(|group| group["preferredVersion"]["groupVersion"].as_str().unwrap());
        let versions: Vec<String> = std::iter::once("/api/v1".to_owned()).chain(groups.map(|version| format!("/apis/{version}"))).collect();
        let mut found = Objects::new();
        for version in versions {
            for resource in self.get(&version)["resources"].as_array().unwrap() {
                let name = resource["name"].as_str().unwrap();
                let lists = resource["verbs"].as_array().unwrap().iter().any(|verb| verb == "list");
                // Events are a log and leases are heartbeats: both are Kubernetes' own.
                if lists && !name.contains('/') && !["events", "leases"].contains(&name) {
                    let list = self.get(&format!("{version}/{name}"));
                    found.extend(list["items"].as_array().unwrap().iter().map(|object| keyed(name, object)));
                }
            }
        }
        found
    }

    /// The objects once two looks at them, half a second apart, are the same.
    pub fn settled(&self) -> Objects {
        let deadline = Instant::now() + SETTLED_WITHIN;
        let mut last = self.objects();
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = self.objects();
            if now == last {
                return now;
            }
            assert!(Instant::now() < deadline, "the cluster does not settle: {:?}", differences(&last, &now));
            last = now;
        }
    }

    /// Waits until the objects are these; tells what differs when they do not become so.
    pub fn wait_for(&self, wanted: &Objects) -> Result<(), String> {
        self.wait(wanted, |_| true)
    }

    /// Waits until these objects are as they are here, whatever the others are.
    pub fn wait_for_some(&self, wanted: &Objects) -> Result<(), String> {
        self.wait(wanted, |key| wanted.contains_key(key))
    }

    fn wait(&self, wanted: &Objects, counts: impl Fn(&String) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        loop {
            let mut now = self.objects();
            now.retain(|key, _| counts(key));
            if now == *wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(differences(wanted, &now).join("\n"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn keyed(resource: &str, object: &Value) -> (String, Value) {
    let mut object = object.clone();
    let metadata = &object["metadata"];
    let key = format!(
        "{resource} {}/{} uid {}",
        metadata["namespace"].as_str().unwrap_or_default(),
        metadata["name"].as_str().unwrap(),
        metadata["uid"].as_str().unwrap_or_default()
    );
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    for condition in object.pointer_mut("/status/conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(condition) = condition.as_object_mut() {
            condition.retain(|field, _| {
                !["lastHeartbeatTime", "lastTransitionTime", "lastProbeTime", "lastUpdateTime"].contains(&field.as_str())
            });
        }
    }
    (key, object)
}

/// What is missing, what is new and what has changed.
fn differences(before: &Objects, now: &Objects) -> Vec<String> {
    let gone = before.keys().filter(|key| !now.contains_key(*key)).map(|key| format!("gone: {key}"));
    let new = now.keys().filter(|key| !before.contains_key(*key)).map(|key| format!("new: {key}"));
    let changed = before.iter().filter_map(|(key, was)| {
        let is = now.get(key)?;
        (is != was).then(|| format!("changed: {key}\n  was {was}\n  is  {is}"))
    });
    gone.chain(new).chain(changed).collect()
}
