//! What the API server must allow. Each part of the harness says it beside the calls that need it; preflight asks for the sum, and `chaos rbac` prints it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Resources of no namespace: what is done with them, only a ClusterRole can allow.
const CLUSTER_SCOPED: [&str; 4] = ["namespaces", "nodes", "persistentvolumes", "storageclasses"];

/// One kind of object and what is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, with its subresource where one is meant: `pods`, `pods/eviction`.
    pub resource: &'static str,
    /// What is done.
    pub verbs: &'static [&'static str],
}

impl Permission {
    /// A permission of the core group.
    pub const fn core(resource: &'static str, verbs: &'static [&'static str]) -> Self {
        Permission { group: "", resource, verbs }
    }

    /// A permission of another group.
    pub const fn of(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Self {
        Permission { group, resource, verbs }
    }
}

/// A set of permissions, each once and in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions(BTreeMap<(&'static str, &'static str), BTreeSet<&'static str>>);

impl Permissions {
    /// The sum of all that is given.
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a [Permission]>) -> Self {
        all.into_iter().fold(Permissions::default(), Permissions::and)
    }

    /// These and more.
    #[must_use]
    pub fn and(mut self, more: &[Permission]) -> Self {
        for permission in more {
            self.0.entry((permission.group, permission.resource)).or_default().extend(permission.verbs);
        }
        self
    }

    /// Those of cluster-scoped resources, and those of resources that are in a namespace.
    pub fn by_scope(self) -> (Self, Self) {
        let (cluster, namespaced) = self.0.into_iter().partition(|((_, resource), _)| CLUSTER_SCOPED.contains(resource));
        (Permissions(cluster), Permissions(namespaced))
    }

    /// Each as group, resource and verb.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> + '_ {
        self.0.iter().flat_map(|((group, resource), verbs)| verbs.iter().map(move |verb| (*group, *resource, *verb)))
    }

    /// Whether it is among them.
    pub fn allow(&self, group: &str, resource: &str, verb: &str) -> bool {
        self.each().any(|each| each == (group, resource, verb))
    }

    /// The `rules` of a role, as YAML with this indent.
    pub fn rules(&self) -> String {
        let mut text = String::from("rules:\n");
        for ((group, resource), verbs) in &self.0 {
            let verbs: Vec<&str> = verbs.iter().copied().collect();
            let _ = writeln!(text, "  - apiGroups: [\"{group}\"]\n    resources: [{resource}]\n    verbs: [{}]", verbs.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_names_each_resource_once() {
        let one = [Permission::core("pods", &["watch", "list"]), Permission::of("apps", "deployments", &["get"])];
        let other = [Permission::core("pods", &["delete", "list"])];
        let sum = Permissions::sum([&one[..], &other[..]]);
        assert_eq!(
            sum.rules(),
            "rules:\n  - apiGroups: [\"\"]\n    resources: [pods]\n    verbs: [delete, list, watch]\n  \
             - apiGroups: [\"apps\"]\n    resources: [deployments]\n    verbs: [get]\n"
        );
        assert!(sum.allow("", "pods", "delete") && !sum.allow("apps", "pods", "delete"));
        assert_eq!(sum.each().count(), 4);
    }

    #[test]
    fn what_has_no_namespace_is_told_from_what_has_one() {
        let one =
            [Permission::core("nodes", &["list"]), Permission::core("pods", &["list"]), Permission::core("persistentvolumes", &["get"])];
        let (cluster, namespaced) = Permissions::sum([&one[..]]).by_scope();
        assert_eq!(cluster.each().map(|(_, resource, _)| resource).collect::<Vec<_>>(), ["nodes", "persistentvolumes"]);
        assert_eq!(namespaced.each().map(|(_, resource, _)| resource).collect::<Vec<_>>(), ["pods"]);
    }
}
