//! The store itself: creating, changing, deleting and finding objects.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::admission::{self, Context};
use super::error::ApiError;
use super::metadata::{is_empty_list, metadata, name_tail, new_uid, now, section, text};
use super::resource::{NAMESPACES, PODS, RESOURCES, Resource, SERVICE_ACCOUNTS};
use super::watching::{EventKind, History, Watch, WatchEvent};
use super::{deletion, validation};
use crate::hooks::{Allocator, CountingAllocator};
use crate::sabotage::Sabotage;

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its resource.
    pub resource: &'static Resource,
    /// Its namespace, for namespaced resources.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The key of an object in a namespace.
    pub fn namespaced(resource: &'static Resource, namespace: impl Into<String>, name: impl Into<String>) -> Key {
        Key { resource, namespace: Some(namespace.into()), name: name.into() }
    }

    /// The key of an object of the whole cluster.
    pub fn cluster(resource: &'static Resource, name: impl Into<String>) -> Key {
        Key { resource, namespace: None, name: name.into() }
    }

    /// The key of an object that is at hand.
    pub fn of(resource: &'static Resource, object: &Value) -> Key {
        let namespace = resource.namespaced.then(|| text(object, "/metadata/namespace").to_owned());
        Key { resource, namespace, name: text(object, "/metadata/name").to_owned() }
    }
}

/// What must hold for a change to happen.
#[derive(Debug, Clone, Default)]
pub struct Preconditions {
    /// The object's UID.
    pub uid: Option<String>,
    /// The object's resourceVersion.
    pub resource_version: Option<String>,
}

/// Which part of an object an update may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but the status, checked as the API checks it.
    Main,
    /// The status alone.
    Status,
    /// Everything, immutable fields included: for controllers that play a part which the API has no verb for, such as binding.
    Whole,
}

/// How dependents are treated when their owner is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// The owner goes first, the dependents follow.
    Background,
    /// The dependents go first.
    Foreground,
    /// The dependents stay.
    Orphan,
}

/// How an object is deleted.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Seconds that the object gets to end in order; its own default when absent.
    pub grace_period_seconds: Option<i64>,
    /// What must hold.
    pub preconditions: Preconditions,
    /// What happens to dependents.
    pub propagation: Option<Propagation>,
    /// Check everything, change nothing.
    pub dry_run: bool,
}

/// The outcome of a deletion.
#[derive(Debug, Clone)]
pub struct Deleted {
    /// The object as it was left, or as it last was.
    pub object: Arc<Value>,
    /// Whether it is gone; otherwise it is terminating.
    pub removed: bool,
}

/// How an object is created.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// Check everything, keep nothing.
    pub dry_run: bool,
}

/// How an object is updated.
#[derive(Debug, Clone, Default)]
pub struct UpdateOptions {
    /// Check everything, keep nothing.
    pub dry_run: bool,
}

/// What a store is made with.
pub struct StoreOptions {
    /// Changes kept for each resource.
    pub history: usize,
    /// Who hands out addresses to Services.
    pub allocator: Arc<dyn Allocator>,
    /// The planted defect of the cluster.
    pub sabotage: Option<Sabotage>,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions { history: 8192, allocator: Arc::new(CountingAllocator::default()), sabotage: None }
    }
}

pub(super) type Objects = BTreeMap<(String, String), Arc<Value>>;

pub(super) struct Table {
    pub(super) objects: Objects,
    history: History,
}

pub(super) struct State {
    rv: u64,
    tables: Vec<Table>,
}

impl State {
    fn table(&self, resource: &Resource) -> &Table {
        &self.tables[resource.id]
    }

    pub(super) fn find(&self, resource: &Resource, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.table(resource).objects.get(&(namespace.to_owned(), name.to_owned()))
    }

    pub(super) fn objects(&self, resource: &Resource) -> impl Iterator<Item = &Arc<Value>> {
        self.table(resource).objects.values()
    }

    /// Puts the object in place under a new resourceVersion and tells the watchers.
    pub(super) fn put(&mut self, key: &Key, mut object: Value) -> Arc<Value> {
        self.rv += 1;
        let rv = self.rv;
        metadata(&mut object).insert("resourceVersion".to_owned(), json!(rv.to_string()));
        let object = Arc::new(object);
        let table = &mut self.tables[key.resource.id];
        let previous = table.objects.insert(map_key(key), Arc::clone(&object));
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        table.history.push(WatchEvent::new(kind, Arc::clone(&object), previous, rv));
        object
    }

    /// Takes the object away under a new resourceVersion and tells the watchers.
    pub(super) fn remove(&mut self, key: &Key, mut last: Value) -> Arc<Value> {
        self.rv += 1;
        let rv = self.rv;
        metadata(&mut last).insert("resourceVersion".to_owned(), json!(rv.to_string()));
        let last = Arc::new(last);
        let table = &mut self.tables[key.resource.id];
        let previous = table.objects.remove(&map_key(key));
        table.history.push(WatchEvent::new(EventKind::Deleted, Arc::clone(&last), previous, rv));
        last
    }
}

fn map_key(key: &Key) -> (String, String) {
    (key.namespace.clone().unwrap_or_default(), key.name.clone())
}

pub(super) struct Inner {
    state: Mutex<State>,
    pub(super) allocator: Arc<dyn Allocator>,
    sabotage: Option<Sabotage>,
}

/// All objects of one sandbox. Clones share them.
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Default for Store {
    fn default() -> Store {
        Store::new()
    }
}

impl Store {
    /// A store with Kubernetes' own namespaces and nothing else.
    pub fn new() -> Store {
        Store::with(StoreOptions::default())
    }

    /// As [`Store::new`], with a say in history and addresses.
    pub fn with(options: StoreOptions) -> Store {
        let tables = RESOURCES.iter().map(|_| Table { objects: BTreeMap::new(), history: History::new(options.history) }).collect();
        let state = Mutex::new(State { rv: 1, tables });
        let store = Store { inner: Arc::new(Inner { state, allocator: options.allocator, sabotage: options.sabotage }) };
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            store.create(&NAMESPACES, json!({ "metadata": { "name": name } })).expect("the names are valid and not taken");
        }
        store
    }

    /// Whether the cluster has this planted defect.
    pub(crate) fn has(&self, defect: Sabotage) -> bool {
        self.inner.sabotage == Some(defect)
    }

    /// The planted defect of the cluster, if it has one.
    pub(crate) fn sabotage(&self) -> Option<Sabotage> {
        self.inner.sabotage
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock can only come from a bug in a check that runs before anything is changed.
        self.inner.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The resourceVersion of the newest change.
    pub fn revision(&self) -> u64 {
        self.lock().rv
    }

    /// The object, if it exists.
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.lock().table(key.resource).objects.get(&map_key(key)).cloned()
    }

    /// The object as a typed value, if it exists and has that shape.
    pub fn read<T: DeserializeOwned>(&self, key: &Key) -> Option<T> {
        T::deserialize(self.get(key)?.as_ref()).ok()
    }

    /// The objects of a resource, in order of namespace and name, and the resourceVersion at which this was the truth.
    pub fn list(&self, resource: &'static Resource, namespace: Option<&str>) -> (Vec<Arc<Value>>, u64) {
        let state = self.lock();
        let objects = &state.table(resource).objects;
        let found = match namespace {
            None => objects.values().cloned().collect(),
            Some(wanted) => {
                let start = (wanted.to_owned(), String::new());
                let range = objects.range((Bound::Included(start), Bound::Unbounded));
                range.take_while(|((namespace, _), _)| namespace == wanted).map(|(_, object)| Arc::clone(object)).collect()
            }
        };
        (found, state.rv)
    }

    /// The objects of a `k8s-openapi` type that have its shape.
    pub fn typed_list<T: k8s_openapi::Resource + DeserializeOwned>(&self, namespace: Option<&str>) -> Vec<T> {
        let Some(resource) = Resource::of::<T>() else {
            return Vec::new();
        };
        self.list(resource, namespace).0.iter().filter_map(|object| T::deserialize(object.as_ref()).ok()).collect()
    }

    /// Changes since a resourceVersion, usually the one that [`Store::list`] returned.
    ///
    /// # Errors
    /// 410 when the history does not reach back that far.
    pub fn watch(&self, resource: &'static Resource, namespace: Option<&str>, since: u64) -> Result<Watch, ApiError> {
        let state = self.lock();
        let history = &state.table(resource).history;
        history.reaches(since)?;
        Ok(Watch::new(self.clone(), resource, namespace, since, history.signal.subscribe()))
    }

    pub(super) fn after(&self, resource: &Resource, since: &mut u64, namespace: Option<&str>) -> Result<Option<WatchEvent>, ApiError> {
        let state = self.lock();
        let found = state.table(resource).history.after(since, namespace)?;
        if found.is_none() {
            // Nothing of this resource is newer, so the watcher has seen all there is up to the present.
            *since = state.rv.max(*since);
        }
        Ok(found)
    }

    /// Creates an object with defaults filled in, as admission does.
    ///
    /// # Errors
    /// 409 when the name is taken, 422 when the object is invalid, 404 or 403 when its namespace is missing or terminating.
    pub fn create(&self, resource: &'static Resource, object: Value) -> Result<Arc<Value>, ApiError> {
        self.create_with(resource, object, &CreateOptions::default())
    }

    /// As [`Store::create`], with options.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub fn create_with(&self, resource: &'static Resource, mut object: Value, options: &CreateOptions) -> Result<Arc<Value>, ApiError> {
        prepare_new(resource, &mut object);
        let key = Key::of(resource, &object);
        let mut state = self.lock();
        admit_namespace(&state, &key)?;
        admission::fill(resource, &mut object);
        validation::check_new(resource, &object)?;
        if state.find(resource, key.namespace.as_deref().unwrap_or_default(), &key.name).is_some() {
            return Err(ApiError::already_exists(resource, &key.name));
        }
        let context = Context { state: &state, allocator: self.inner.allocator.as_ref(), dry_run: options.dry_run };
        admission::assign(resource, &mut object, &context)?;
        if options.dry_run {
            return Ok(Arc::new(object));
        }
        let created = state.put(&key, object);
        if resource == &NAMESPACES {
            let mut account = json!({ "metadata": { "name": "default", "namespace": key.name } });
            prepare_new(&SERVICE_ACCOUNTS, &mut account);
            let key = Key::of(&SERVICE_ACCOUNTS, &account);
            state.put(&key, account);
        }
        Ok(created)
    }

    /// Changes one part of an object. `change` gets a copy of the whole object; what it does to other parts is undone. A change
    /// that changes nothing makes no new version. A terminating object whose last finalizer goes is removed.
    ///
    /// # Errors
    /// 404, 409 when a precondition fails, 422 when the result is invalid, and whatever `change` returns.
    pub fn update(
        &self,
        key: &Key,
        preconditions: &Preconditions,
        part: Part,
        change: &mut dyn FnMut(&mut Value) -> Result<(), ApiError>,
    ) -> Result<Arc<Value>, ApiError> {
        self.update_with(key, preconditions, part, &UpdateOptions::default(), change)
    }

    /// As [`Store::update`], with options.
    ///
    /// # Errors
    /// As [`Store::update`].
    pub fn update_with(
        &self,
        key: &Key,
        preconditions: &Preconditions,
        part: Part,
        options: &UpdateOptions,
        change: &mut dyn FnMut(&mut Value) -> Result<(), ApiError>,
    ) -> Result<Arc<Value>, ApiError> {
        let mut state = self.lock();
        let old = state.find(key.resource, key.namespace.as_deref().unwrap_or_default(), &key.name).cloned();
        let old = old.ok_or_else(|| ApiError::not_found(key.resource, &key.name))?;
        check_preconditions(key, &old, preconditions)?;
        let mut new = (*old).clone();
        change(&mut new)?;
        restore_system_fields(key.resource, &old, &mut new, part);
        if part == Part::Main {
            admission::fill(key.resource, &mut new);
            validation::check_change(key.resource, &old, &new)?;
            let context = Context { state: &state, allocator: self.inner.allocator.as_ref(), dry_run: options.dry_run };
            admission::reassign(key.resource, &old, &mut new, &context)?;
        }
        if new == *old {
            return Ok(old);
        }
        // Binding a pod to its node goes through a subresource in the real API, and counts no generation there.
        if key.resource.generation && part != Part::Whole && spec_differs(&old, &new) {
            let generation = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0) + 1;
            metadata(&mut new).insert("generation".to_owned(), json!(generation));
        }
        if options.dry_run {
            return Ok(Arc::new(new));
        }
        if deletion::may_go(key.resource, &new) {
            admission::release(key.resource, &new, self.inner.allocator.as_ref());
            return Ok(state.remove(key, new));
        }
        Ok(state.put(key, new))
    }
}

fn prepare_new(resource: &Resource, object: &mut Value) {
    let generate = text(object, "/metadata/generateName").to_owned();
    if text(object, "/metadata/name").is_empty() && !generate.is_empty() {
        let stem: String = generate.chars().take(58).collect();
        metadata(object).insert("name".to_owned(), json!(format!("{stem}{}", name_tail())));
    }
    let meta = metadata(object);
    for field in ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        meta.remove(field);
    }
    meta.retain(|_, value| !value.is_null());
    meta.insert("uid".to_owned(), json!(new_uid()));
    meta.insert("creationTimestamp".to_owned(), json!(now()));
    if resource.generation {
        meta.insert("generation".to_owned(), json!(1));
    }
    if resource.namespaced {
        meta.entry("namespace".to_owned()).or_insert_with(|| json!("default"));
    } else {
        meta.remove("namespace");
    }
    let map = object.as_object_mut().expect("metadata() made it an object");
    map.insert("apiVersion".to_owned(), json!(resource.api_version()));
    map.insert("kind".to_owned(), json!(resource.kind));
}

fn admit_namespace(state: &State, key: &Key) -> Result<(), ApiError> {
    let Some(namespace) = &key.namespace else {
        return Ok(());
    };
    let found = state.find(&NAMESPACES, "", namespace).ok_or_else(|| ApiError::not_found(&NAMESPACES, namespace))?;
    if found.pointer("/metadata/deletionTimestamp").is_none() {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let cause = super::error::Cause {
        reason: "NamespaceTerminating",
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    };
    Err(ApiError::forbidden(key.resource, &key.name, &why).with_causes(vec![cause]))
}

pub(super) fn check_preconditions(key: &Key, object: &Value, wanted: &Preconditions) -> Result<(), ApiError> {
    let uid = text(object, "/metadata/uid");
    if let Some(wanted) = wanted.uid.as_deref().filter(|wanted| *wanted != uid) {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
        return Err(ApiError::conflict(key.resource, &key.name, &why));
    }
    let version = text(object, "/metadata/resourceVersion");
    if wanted.resource_version.as_deref().is_some_and(|wanted| wanted != version) {
        return Err(ApiError::modified(key.resource, &key.name));
    }
    Ok(())
}

/// Undoes what no update may change, and what this part does not cover.
fn restore_system_fields(resource: &Resource, old: &Value, new: &mut Value, part: Part) {
    let labels = part == Part::Status && (resource == &PODS || resource.plural == "nodes");
    if part == Part::Status {
        let (status, meta) = (new.get("status").cloned(), new.get("metadata").cloned());
        *new = old.clone();
        let map = section_owner(new);
        match status {
            Some(status) => map.insert("status".to_owned(), status),
            None => map.remove("status"),
        };
        let kept = metadata(new);
        for field in ["annotations", "labels", "managedFields"] {
            let value = meta.as_ref().and_then(|meta| meta.get(field));
            if let Some(value) = value.filter(|_| labels || field == "managedFields") {
                kept.insert(field.to_owned(), value.clone());
            }
        }
    } else if part == Part::Main && resource.status {
        match old.get("status").cloned() {
            Some(status) => section_owner(new).insert("status".to_owned(), status),
            None => section_owner(new).remove("status"),
        };
    }
    let meta = metadata(new);
    let system = ["name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion", "generateName"];
    for field in system.into_iter().chain(["deletionTimestamp", "deletionGracePeriodSeconds"]) {
        match old.pointer("/metadata").and_then(|meta| meta.get(field)) {
            Some(value) => meta.insert(field.to_owned(), value.clone()),
            None => meta.remove(field),
        };
    }
    meta.remove("selfLink");
    meta.retain(|_, value| !value.is_null());
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
        if meta.get(field).is_some_and(empty) {
            meta.remove(field);
        }
    }
    let map = section_owner(new);
    for field in ["apiVersion", "kind"] {
        map.insert(field.to_owned(), old[field].clone());
    }
}

fn section_owner(object: &mut Value) -> &mut serde_json::Map<String, Value> {
    let _ = section(object, "metadata");
    object.as_object_mut().expect("section() made it an object")
}

fn spec_differs(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return true;
    };
    let relevant = |key: &str| !matches!(key, "metadata" | "status");
    old.iter().filter(|(key, _)| relevant(key)).ne(new.iter().filter(|(key, _)| relevant(key)))
}

pub(super) fn has_no_finalizers(object: &Value) -> bool {
    is_empty_list(object, "/metadata/finalizers") && is_empty_list(object, "/spec/finalizers")
}
