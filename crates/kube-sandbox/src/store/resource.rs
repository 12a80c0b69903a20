//! The table of everything that the server serves: one row a resource.

/// One resource of the API.
#[derive(Debug)]
pub struct Resource {
    pub(crate) id: usize,
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// Plural, as in URLs.
    pub plural: &'static str,
    /// Singular.
    pub singular: &'static str,
    /// Kind, as in objects.
    pub kind: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Short names of the command line.
    pub short_names: &'static [&'static str],
    /// Whether `kubectl get all` shows it.
    pub in_all: bool,
    /// Whether it has a status subresource.
    pub status: bool,
    /// Whether it has a scale subresource.
    pub scale: bool,
    /// Whether `metadata.generation` counts changes of its spec.
    pub generation: bool,
    /// Whether it can only be created and is never stored, as access reviews are.
    pub review: bool,
}

impl PartialEq for Resource {
    fn eq(&self, other: &Resource) -> bool {
        self.id == other.id
    }
}

impl Eq for Resource {}

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods` or `deployments.apps`, as messages name it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The row with this group, version and plural.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
        RESOURCES.iter().copied().find(|row| row.plural == plural && row.group == group && row.version == version)
    }

    /// The row with this group and kind.
    pub fn by_kind(group: &str, kind: &str) -> Option<&'static Resource> {
        RESOURCES.iter().copied().find(|row| row.kind == kind && row.group == group)
    }

    /// The row of a `k8s-openapi` type.
    pub fn of<T: k8s_openapi::Resource>() -> Option<&'static Resource> {
        Resource::by_kind(T::GROUP, T::KIND)
    }
}

macro_rules! resources {
    ($($name:ident = $group:literal $version:literal $plural:literal $singular:literal $kind:literal $short:expr, [$($flag:ident)*];)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Id { $($name,)* }
        $(
            #[doc = concat!("`", $plural, "` of `", $group, "/", $version, "`.")]
            pub static $name: Resource = {
                #[allow(unused_mut)]
                let mut row = Resource {
                    id: Id::$name as usize, group: $group, version: $version, plural: $plural, singular: $singular, kind: $kind,
                    namespaced: false, short_names: &$short, in_all: false, status: false, scale: false, generation: false, review: false,
                };
                $(row.$flag = true;)*
                row
            };
        )*
        /// Every resource that is served.
        pub static RESOURCES: &[&Resource] = &[$(&$name,)*];
    };
}

resources! {
    NAMESPACES = "" "v1" "namespaces" "namespace" "Namespace" ["ns"], [status];
    PODS = "" "v1" "pods" "pod" "Pod" ["po"], [namespaced in_all status generation];
    NODES = "" "v1" "nodes" "node" "Node" ["no"], [status];
    SERVICES = "" "v1" "services" "service" "Service" ["svc"], [namespaced in_all status];
    ENDPOINTS = "" "v1" "endpoints" "endpoints" "Endpoints" ["ep"], [namespaced];
    EVENTS = "" "v1" "events" "event" "Event" ["ev"], [namespaced];
    SECRETS = "" "v1" "secrets" "secret" "Secret" [], [namespaced];
    CONFIG_MAPS = "" "v1" "configmaps" "configmap" "ConfigMap" ["cm"], [namespaced];
    SERVICE_ACCOUNTS = "" "v1" "serviceaccounts" "serviceaccount" "ServiceAccount" ["sa"], [namespaced];
    PERSISTENT_VOLUME_CLAIMS = "" "v1" "persistentvolumeclaims" "persistentvolumeclaim" "PersistentVolumeClaim" ["pvc"], [namespaced status];
    PERSISTENT_VOLUMES = "" "v1" "persistentvolumes" "persistentvolume" "PersistentVolume" ["pv"], [status];
    DEPLOYMENTS = "apps" "v1" "deployments" "deployment" "Deployment" ["deploy"], [namespaced in_all status scale generation];
    REPLICA_SETS = "apps" "v1" "replicasets" "replicaset" "ReplicaSet" ["rs"], [namespaced in_all status scale generation];
    STATEFUL_SETS = "apps" "v1" "statefulsets" "statefulset" "StatefulSet" ["sts"], [namespaced in_all status scale generation];
    DAEMON_SETS = "apps" "v1" "daemonsets" "daemonset" "DaemonSet" ["ds"], [namespaced in_all status generation];
    CONTROLLER_REVISIONS = "apps" "v1" "controllerrevisions" "controllerrevision" "ControllerRevision" [], [namespaced];
    STORAGE_CLASSES = "storage.k8s.io" "v1" "storageclasses" "storageclass" "StorageClass" ["sc"], [];
    CSI_NODES = "storage.k8s.io" "v1" "csinodes" "csinode" "CSINode" [], [];
    VOLUME_ATTACHMENTS = "storage.k8s.io" "v1" "volumeattachments" "volumeattachment" "VolumeAttachment" [], [status];
    ENDPOINT_SLICES = "discovery.k8s.io" "v1" "endpointslices" "endpointslice" "EndpointSlice" [], [namespaced generation];
    LEASES = "coordination.k8s.io" "v1" "leases" "lease" "Lease" [], [namespaced];
    DISRUPTION_BUDGETS = "policy" "v1" "poddisruptionbudgets" "poddisruptionbudget" "PodDisruptionBudget" ["pdb"], [namespaced status generation];
    NETWORK_POLICIES = "networking.k8s.io" "v1" "networkpolicies" "networkpolicy" "NetworkPolicy" ["netpol"], [namespaced generation];
    EVENTS_V1 = "events.k8s.io" "v1" "events" "event" "Event" ["ev"], [namespaced];
    ROLES = "rbac.authorization.k8s.io" "v1" "roles" "role" "Role" [], [namespaced];
    ROLE_BINDINGS = "rbac.authorization.k8s.io" "v1" "rolebindings" "rolebinding" "RoleBinding" [], [namespaced];
    CLUSTER_ROLES = "rbac.authorization.k8s.io" "v1" "clusterroles" "clusterrole" "ClusterRole" [], [];
    CLUSTER_ROLE_BINDINGS = "rbac.authorization.k8s.io" "v1" "clusterrolebindings" "clusterrolebinding" "ClusterRoleBinding" [], [];
    ACCESS_REVIEWS = "authorization.k8s.io" "v1" "selfsubjectaccessreviews" "selfsubjectaccessreview" "SelfSubjectAccessReview" [], [review];
    RULES_REVIEWS = "authorization.k8s.io" "v1" "selfsubjectrulesreviews" "selfsubjectrulesreview" "SelfSubjectRulesReview" [], [review];
}
