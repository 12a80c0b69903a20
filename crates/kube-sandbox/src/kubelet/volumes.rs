//! A pod's volumes: where each lies on this machine, and the symlinks that mount them under a container's root.
//!
//! Sizes and read-only mounts are not enforced: a container is an ordinary process of this machine.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, Volume};

use super::environment::{Paths, Sources};
use crate::controllers::claims;
use crate::sabotage::Sabotage;
use crate::store::{Key, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Store, text};

/// The folders that one sandbox keeps its things in.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    base: PathBuf,
}

impl Folders {
    pub(crate) fn new(base: PathBuf) -> Self {
        Self { base }
    }

    /// Everything of one pod.
    pub(crate) fn pod(&self, uid: &str) -> PathBuf {
        self.base.join("pods").join(uid)
    }

    /// Everything of one container.
    pub(crate) fn container(&self, uid: &str, container: &str) -> PathBuf {
        self.pod(uid).join(container)
    }

    /// What the container's process wrote in its nth run.
    pub(crate) fn log(&self, uid: &str, container: &str, run: u32) -> PathBuf {
        self.container(uid, container).join(format!("{run}.log"))
    }

    /// The data of a persistent volume.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.base.join("volumes").join(name)
    }
}

/// Why a volume is not there, and the reason under which the kubelet reports it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct VolumeError {
    /// A sentence for the event.
    pub message: String,
}

impl VolumeError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// Finds or makes every volume of a pod; the result is where each lies.
pub(crate) fn prepare(sources: &Sources<'_>, folders: &Folders) -> Result<BTreeMap<String, PathBuf>, VolumeError> {
    let pod = sources.pod;
    let mut places = BTreeMap::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let failed = |why: String| VolumeError::new(format!("MountVolume.SetUp failed for volume {:?} : {why}", volume.name));
        let place = place(sources, folders, volume).map_err(failed)?;
        places.insert(volume.name.clone(), place);
    }
    Ok(places)
}

fn place(sources: &Sources<'_>, folders: &Folders, volume: &Volume) -> Result<PathBuf, String> {
    let pod = sources.pod;
    if let Some(claim) = &volume.persistent_volume_claim {
        return claimed(sources.store, folders, pod, &claim.claim_name);
    }
    if let Some(host) = &volume.host_path {
        return host_path(Path::new(&host.path), host.type_.as_deref().unwrap_or_default());
    }
    let own = folders.pod(pod.metadata.uid.as_deref().unwrap_or_default()).join("volumes").join(&volume.name);
    std::fs::create_dir_all(&own).map_err(|error| error.to_string())?;
    if volume.empty_dir.is_some() {
        return Ok(own);
    }
    if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let data = sources.secret(name, secret.optional.unwrap_or(false)).map_err(|error| error.0)?;
        return write_items(&own, &data, secret.items.as_deref()).map(|()| own);
    }
    if let Some(map) = &volume.config_map {
        let data = sources.config_map(&map.name, map.optional.unwrap_or(false)).map_err(|error| error.0)?;
        return write_items(&own, &data, map.items.as_deref()).map(|()| own);
    }
    if let Some(api) = &volume.downward_api {
        let fields = api.items.iter().flatten().filter_map(|item| Some((item.path.clone(), item.field_ref.as_ref()?.field_path.clone())));
        for (path, field) in fields {
            let value = sources.field(&field).map_err(|error| error.0)?;
            write_items(&own, &BTreeMap::from([(path, value)]), None)?;
        }
        return Ok(own);
    }
    if let Some(projected) = &volume.projected {
        for source in projected.sources.iter().flatten() {
            project(sources, &own, source)?;
        }
        return Ok(own);
    }
    Err("the sandbox knows claims, hostPath, emptyDir, secret, configMap, downwardAPI and projected volumes only".to_owned())
}

/// One source of a projected volume. Tokens of service accounts are left out: nothing in the sandbox would accept them.
fn project(sources: &Sources<'_>, own: &Path, source: &k8s_openapi::api::core::v1::VolumeProjection) -> Result<(), String> {
    if let Some(secret) = &source.secret {
        let data = sources.secret(&secret.name, secret.optional.unwrap_or(false)).map_err(|error| error.0)?;
        write_items(own, &data, secret.items.as_deref())?;
    }
    if let Some(map) = &source.config_map {
        // The cluster's certificate is published under this name in every namespace of a real cluster.
        let data = sources.config_map(&map.name, map.optional.unwrap_or(map.name == "kube-root-ca.crt")).map_err(|error| error.0)?;
        let items = map.items.as_deref().filter(|_| !data.is_empty());
        write_items(own, &data, items)?;
    }
    for item in source.downward_api.iter().flat_map(|api| api.items.iter().flatten()) {
        if let Some(field) = &item.field_ref {
            let value = sources.field(&field.field_path).map_err(|error| error.0)?;
            write_items(own, &BTreeMap::from([(item.path.clone(), value)]), None)?;
        }
    }
    Ok(())
}

/// The folder of a bound claim.
fn claimed(store: &Store, folders: &Folders, pod: &Pod, claim: &str) -> Result<PathBuf, String> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let object = store.get(&Key::namespaced(&PERSISTENT_VOLUME_CLAIMS, namespace, claim));
    let object = object.ok_or_else(|| format!("persistentvolumeclaim {claim:?} not found"))?;
    let volume = text(&object, "/spec/volumeName");
    if volume.is_empty() || text(&object, "/status/phase") != "Bound" {
        return Err(format!("PVC {claim:?} is not bound"));
    }
    let volume = store.get(&Key::cluster(&PERSISTENT_VOLUMES, volume)).ok_or_else(|| format!("persistentvolume {volume:?} not found"))?;
    let place = claims::directory(folders, &volume)
        .ok_or_else(|| "the sandbox knows csi, hostPath and local persistent volumes only".to_owned())?;
    if !place.is_dir() {
        return Err(format!("path {:?} does not exist", place.display()));
    }
    if store.has(Sabotage::FreshVolume) { fresh(folders, &place, pod) } else { Ok(place) }
}

/// What `fresh-volume` does: the first pod gets the volume, and every other one an empty folder.
fn fresh(folders: &Folders, place: &Path, pod: &Pod) -> Result<PathBuf, String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let mut mark = place.as_os_str().to_owned();
    mark.push(".first-pod");
    let first = match std::fs::read_to_string(&mark) {
        Ok(first) => first,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::write(&mark, uid).map_err(|error| error.to_string())?;
            uid.to_owned()
        }
        Err(error) => return Err(error.to_string()),
    };
    if first == uid {
        return Ok(place.to_owned());
    }
    let own = folders.pod(uid).join("volumes").join("fresh");
    std::fs::create_dir_all(&own).map_err(|error| error.to_string())?;
    Ok(own)
}

fn host_path(path: &Path, kind: &str) -> Result<PathBuf, String> {
    let failed = |error: io::Error| error.to_string();
    match kind {
        "" => {}
        "DirectoryOrCreate" => std::fs::create_dir_all(path).map_err(failed)?,
        "FileOrCreate" => drop(std::fs::File::options().create(true).append(true).open(path).map_err(failed)?),
        "Directory" if path.is_dir() => {}
        "File" if path.is_file() => {}
        other => {
            return Err(format!("hostPath type check failed: {} is not a {}", path.display(), other.to_lowercase()));
        }
    }
    Ok(path.to_owned())
}

fn write_items(folder: &Path, data: &BTreeMap<String, String>, items: Option<&[KeyToPath]>) -> Result<(), String> {
    let all: Vec<(String, &String)> = match items {
        Some(items) => {
            let found = items.iter().map(|item| {
                let value = data.get(&item.key).ok_or_else(|| format!("references non-existent key: {}", item.key))?;
                Ok((item.path.clone(), value))
            });
            found.collect::<Result<_, String>>()?
        }
        None => data.iter().map(|(key, value)| (key.clone(), value)).collect(),
    };
    for (path, value) in all {
        let file = inside(folder, &path).ok_or_else(|| format!("{path:?} leads out of the volume"))?;
        let written = file.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&file, value));
        written.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A relative path below a folder; `None` when it would lead out of it.
fn inside(folder: &Path, relative: &str) -> Option<PathBuf> {
    let relative = Path::new(relative);
    relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)).then(|| folder.join(relative))
}

/// Makes a container's root with a symlink for each of its mounts.
pub(crate) fn mount(root: &Path, container: &Container, places: &BTreeMap<String, PathBuf>) -> Result<Paths, VolumeError> {
    let failed = |path: &str, error: io::Error| VolumeError::new(format!("failed to mount {path}: {error}"));
    std::fs::create_dir_all(root).map_err(|error| failed("/", error))?;
    let mut mounts: Vec<_> = container.volume_mounts.iter().flatten().collect();
    // A mount inside another mount comes after it.
    mounts.sort_by_key(|mount| mount.mount_path.len());
    let paths = Paths::new(root.to_owned(), mounts.iter().map(|mount| mount.mount_path.clone()));
    for mount in mounts {
        let place = places.get(&mount.name).ok_or_else(|| VolumeError::new(format!("volume {:?} is not one of the pod", mount.name)))?;
        let target = match mount.sub_path.as_deref().filter(|sub| !sub.is_empty()) {
            Some(sub) => inside(place, sub).ok_or_else(|| VolumeError::new(format!("subPath {sub:?} leads out of the volume")))?,
            None => place.clone(),
        };
        if !target.exists() {
            std::fs::create_dir_all(&target).map_err(|error| failed(&mount.mount_path, error))?;
        }
        let link = paths.inside(&mount.mount_path);
        if let Some(parent) = link.parent() {
            std::fs::create_dir_all(parent).map_err(|error| failed(&mount.mount_path, error))?;
        }
        if link.is_symlink() {
            std::fs::remove_file(&link).map_err(|error| failed(&mount.mount_path, error))?;
        }
        symlink(&target, &link).map_err(|error| failed(&mount.mount_path, error))?;
    }
    Ok(paths)
}
