//! What a container's process is told: its arguments and environment, with variables expanded and paths of the container translated.
//!
//! A container here has no mount namespace. Its root is a directory with a symlink for each mount, and absolute paths that lie under a
//! mount are rewritten to lie under that root, in arguments wherever they begin a word, in literal environment values only where they
//! begin the value: what comes from a secret is never touched.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod};
use serde_json::Value;

use crate::store::{CONFIG_MAPS, Key, SECRETS, Store, text};

/// Where a container's paths lie on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    root: PathBuf,
    /// Mount paths, longest first, so that the most specific one wins.
    mounts: Vec<String>,
}

impl Paths {
    pub(crate) fn new(root: PathBuf, mounts: impl IntoIterator<Item = String>) -> Self {
        let mut mounts: Vec<String> =
            mounts.into_iter().map(|path| path.trim_end_matches('/').to_owned()).filter(|path| !path.is_empty()).collect();
        mounts.sort_by_key(|path| std::cmp::Reverse(path.len()));
        mounts.dedup();
        Self { root, mounts }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where an absolute path of the container lies on this machine.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The value of an environment variable: translated when it begins with a mount path.
    fn value(&self, value: &str) -> String {
        match self.mount_at(value) {
            Some(_) => format!("{}{value}", self.root.display()),
            None => value.to_owned(),
        }
    }

    /// An argument: every mount path that begins a word in it is translated.
    fn argument(&self, argument: &str) -> String {
        let mut out = String::with_capacity(argument.len());
        let mut previous = None;
        for (index, character) in argument.char_indices() {
            let begins_word = previous.is_none_or(|before: char| before.is_whitespace() || "=:,;\"'`<>&|({[".contains(before));
            if character == '/' && begins_word && argument.get(index..).is_some_and(|rest| self.mount_at(rest).is_some()) {
                out.push_str(&self.root.to_string_lossy());
            }
            out.push(character);
            previous = Some(character);
        }
        out
    }

    /// The mount that a text begins with, as a whole path and not as the beginning of a longer name.
    fn mount_at(&self, text: &str) -> Option<&str> {
        self.mounts.iter().map(String::as_str).find(|mount| {
            let Some(rest) = text.strip_prefix(mount) else {
                return false;
            };
            rest.chars().next().is_none_or(|next| !(next.is_alphanumeric() || "_-.".contains(next)))
        })
    }
}

/// Why a container cannot be configured; the kubelet shows it as `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(pub String);

/// What the environment of a container is made from.
pub(crate) struct Sources<'a> {
    pub store: &'a Store,
    pub pod: &'a Pod,
    pub pod_ip: Ipv4Addr,
    pub host_ip: Ipv4Addr,
    pub paths: &'a Paths,
}

impl Sources<'_> {
    /// The container's whole environment.
    pub(crate) fn environment(&self, container: &Container) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut env = BTreeMap::new();
        let name = self.pod.metadata.name.clone().unwrap_or_default();
        // Images are programs of this machine, so they find their helpers where this machine has them.
        env.insert("PATH".to_owned(), std::env::var("PATH").unwrap_or_else(|_unset| "/usr/local/bin:/usr/bin:/bin".to_owned()));
        env.insert("HOSTNAME".to_owned(), self.pod.spec.as_ref().and_then(|spec| spec.hostname.clone()).unwrap_or(name));
        env.insert("HOME".to_owned(), self.paths.root().display().to_string());
        for source in container.env_from.iter().flatten() {
            let prefix = source.prefix.clone().unwrap_or_default();
            if let Some(reference) = &source.secret_ref {
                let all = self.secret(&reference.name, reference.optional.unwrap_or(false))?;
                env.extend(all.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
            }
            if let Some(reference) = &source.config_map_ref {
                let all = self.config_map(&reference.name, reference.optional.unwrap_or(false))?;
                env.extend(all.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
            }
        }
        for variable in container.env.iter().flatten() {
            if let Some(value) = self.variable(container, variable, &env)? {
                env.insert(variable.name.clone(), value);
            }
        }
        Ok(env)
    }

    /// The container's arguments: the image's entry point unless the pod names a command, then the pod's arguments.
    pub(crate) fn arguments(&self, container: &Container, image: &[String], env: &BTreeMap<String, String>) -> Vec<String> {
        let command = container.command.as_ref().filter(|command| !command.is_empty());
        let own = command.into_iter().flatten().chain(container.args.iter().flatten());
        let own = own.map(|argument| self.paths.argument(&expand(argument, env)));
        if command.is_some() { own.collect() } else { image.iter().cloned().chain(own).collect() }
    }

    /// The arguments of a command that runs inside the container, such as a probe; nothing is expanded there.
    pub(crate) fn exec(paths: &Paths, command: &[String]) -> Vec<String> {
        command.iter().map(|argument| paths.argument(argument)).collect()
    }

    fn variable(&self, container: &Container, variable: &EnvVar, env: &BTreeMap<String, String>) -> Result<Option<String>, ConfigError> {
        match &variable.value_from {
            Some(source) => self.value_from(container, source),
            None => Ok(Some(self.paths.value(&expand(variable.value.as_deref().unwrap_or_default(), env)))),
        }
    }

    fn value_from(&self, container: &Container, source: &EnvVarSource) -> Result<Option<String>, ConfigError> {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        if let Some(field) = &source.field_ref {
            return self.field(&field.field_path).map(Some);
        }
        if let Some(reference) = &source.secret_key_ref {
            let optional = reference.optional.unwrap_or(false);
            let found = self.secret(&reference.name, optional)?.remove(&reference.key);
            let missing = || ConfigError(format!("couldn't find key {} in Secret {namespace}/{}", reference.key, reference.name));
            return if found.is_none() && !optional { Err(missing()) } else { Ok(found) };
        }
        if let Some(reference) = &source.config_map_key_ref {
            let optional = reference.optional.unwrap_or(false);
            let found = self.config_map(&reference.name, optional)?.remove(&reference.key);
            let missing = || ConfigError(format!("couldn't find key {} in ConfigMap {namespace}/{}", reference.key, reference.name));
            return if found.is_none() && !optional { Err(missing()) } else { Ok(found) };
        }
        if let Some(reference) = &source.resource_field_ref {
            let of = container.resources.as_ref();
            let (kind, resource) = reference.resource.split_once('.').unwrap_or_default();
            let quantities = if kind == "limits" { of.and_then(|of| of.limits.as_ref()) } else { of.and_then(|of| of.requests.as_ref()) };
            return Ok(Some(quantities.and_then(|all| all.get(resource)).map_or_else(|| "0".to_owned(), |quantity| quantity.0.clone())));
        }
        Err(ConfigError("the source of an environment variable is not one that the sandbox knows".to_owned()))
    }

    /// A field of the pod, as the downward API names it.
    pub(crate) fn field(&self, path: &str) -> Result<String, ConfigError> {
        let metadata = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let keyed = |map: &Option<BTreeMap<String, String>>, prefix: &str| {
            let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
            Some(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default())
        };
        let value = match path {
            "metadata.name" => metadata.name.clone(),
            "metadata.namespace" => metadata.namespace.clone(),
            "metadata.uid" => metadata.uid.clone(),
            "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
            "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
            "status.podIP" | "status.podIPs" => Some(self.pod_ip.to_string()),
            "status.hostIP" | "status.hostIPs" => Some(self.host_ip.to_string()),
            _ => {
                let found = keyed(&metadata.labels, "metadata.labels['").or_else(|| keyed(&metadata.annotations, "metadata.annotations['"));
                return found.ok_or_else(|| ConfigError(format!("fieldPath {path:?} is not one that the sandbox knows")));
            }
        };
        Ok(value.unwrap_or_default())
    }

    /// All keys of a secret of the pod's namespace.
    pub(crate) fn secret(&self, name: &str, optional: bool) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(object) = self.object(&SECRETS, name) else {
            return if optional { Ok(BTreeMap::new()) } else { Err(ConfigError(format!("secret {name:?} not found"))) };
        };
        let decoded = entries(&object, "/data").map(|(key, value)| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(value).unwrap_or_default();
            (key, String::from_utf8_lossy(&bytes).into_owned())
        });
        Ok(decoded.collect())
    }

    /// All keys of a config map of the pod's namespace.
    pub(crate) fn config_map(&self, name: &str, optional: bool) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(object) = self.object(&CONFIG_MAPS, name) else {
            return if optional { Ok(BTreeMap::new()) } else { Err(ConfigError(format!("configmap {name:?} not found"))) };
        };
        Ok(entries(&object, "/data").collect())
    }

    fn object(&self, resource: &'static crate::store::Resource, name: &str) -> Option<std::sync::Arc<Value>> {
        self.store.get(&Key { resource, namespace: self.pod.metadata.namespace.clone(), name: name.to_owned() })
    }
}

fn entries(object: &Value, pointer: &str) -> impl Iterator<Item = (String, String)> {
    let map = object.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default();
    map.into_iter().map(|(key, value)| (key, text(&value, "").to_owned()))
}

/// Replaces `$(NAME)` by the variable's value. `$$(NAME)` stands for itself, an unknown name stays as it is written.
pub(crate) fn expand(input: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = from.strip_prefix("$(").and_then(|inner| inner.split_once(')')) {
            match env.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
            rest = from.get(1..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Paths {
        Paths::new(PathBuf::from("/x/root"), ["/data".to_owned(), "/data/log/".to_owned(), "/var/opt/mssql".to_owned()])
    }

    #[test]
    fn variables_expand_as_in_kubernetes() {
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(expand("$(A)-$(B)-$$(A)-$A-$(A", &env), "1-$(B)-$(A)-$A-$(A");
        assert_eq!(expand("$$$(A)$", &env), "$1$");
    }

    #[test]
    fn a_mount_path_is_translated_where_a_word_begins() {
        let paths = paths();
        assert_eq!(paths.argument("/data"), "/x/root/data");
        assert_eq!(paths.argument("--dir=/data/a:/var/opt/mssql/b"), "--dir=/x/root/data/a:/x/root/var/opt/mssql/b");
        assert_eq!(paths.argument("echo hi >/data/f; cat '/data/log/x'"), "echo hi >/x/root/data/f; cat '/x/root/data/log/x'");
    }

    #[test]
    fn what_only_looks_like_a_mount_path_stays() {
        let paths = paths();
        for same in ["/database", "/data-old/x", "/srv/data/x", "http://h/data", "/dat"] {
            assert_eq!(paths.argument(same), same);
        }
        assert_eq!(paths.value("a /data"), "a /data");
        assert_eq!(paths.value("/data/x"), "/x/root/data/x");
    }
}
