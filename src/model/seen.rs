//! What was seen of the cluster's objects: the parts of them that a verdict rests on.

use serde::{Deserialize, Serialize};

/// Who and where the target is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetIdentity {
    /// The Service.
    pub service: ServiceSeen,
    /// The claim, and the volume that it is bound to.
    pub claim: ClaimSeen,
    /// The controller that owns the pod.
    pub controller: ControllerSeen,
    /// The ready pod's uid.
    pub pod_uid: String,
    /// The node that it runs on.
    pub node: String,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSeen {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its cluster address.
    pub cluster_ip: String,
    /// Where the workload connects.
    pub address: String,
}

/// A claim and its volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimSeen {
    /// The claim's name.
    pub name: String,
    /// The claim's uid.
    pub uid: String,
    /// The volume's name.
    pub volume: String,
    /// What identifies the storage behind the volume: a CSI handle, or a path and the node it is on.
    pub volume_handle: String,
    /// The storage class.
    pub storage_class: String,
    /// The node that the volume is bound to, where it is bound to one.
    pub bound_to_node: Option<String>,
}

/// The controller of the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerSeen {
    /// `Deployment` or `StatefulSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What a watch said of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodChange {
    /// It is there: new, or found when the watch began.
    Added,
    /// It changed.
    Modified,
    /// Its object is gone.
    Deleted,
}

/// A pod as a watch told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSeen {
    /// Its uid: the identity.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// The node it was bound to.
    pub node: Option<String>,
    /// Its own address.
    pub ip: Option<String>,
    /// Its controlling owner.
    pub owner: Option<OwnerSeen>,
    /// `status.phase`.
    pub phase: String,
    /// The Ready condition.
    pub ready: bool,
    /// When that last changed, as the kubelet tells it, one-second resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<String>,
    /// Whether it has a deletion timestamp.
    pub terminating: bool,
    /// The grace period of its deletion, in seconds, once it has one.
    pub grace_s: Option<i64>,
    /// The conditions that are true.
    pub conditions: Vec<String>,
    /// `status.reason` and `message`, or the reason why it is not scheduled.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// `metadata.creationTimestamp`, one-second resolution.
    pub created_at: Option<String>,
    /// Its containers, in the order of the status.
    pub containers: Vec<ContainerSeen>,
}

/// The controlling owner of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerSeen {
    /// `ReplicaSet` or `StatefulSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A container as a pod's status told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSeen {
    /// Its name in the pod.
    pub name: String,
    /// The runtime's id of the current or last instance.
    pub id: Option<String>,
    /// How often it was restarted.
    pub restarts: i32,
    /// The container's ready flag.
    pub ready: bool,
    /// Its state now.
    pub state: ContainerState,
    /// How the instance before this one ended.
    pub last: Option<TerminatedSeen>,
}

/// The state of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum ContainerState {
    /// Not started.
    Waiting {
        /// Such as `CrashLoopBackOff` or `ContainerCreating`.
        reason: String,
        /// The message that goes with it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// Running.
    Running {
        /// As the kubelet tells it, one-second resolution.
        started_at: Option<String>,
    },
    /// Ended.
    Terminated(TerminatedSeen),
}

/// How a container instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TerminatedSeen {
    /// The instance.
    pub id: Option<String>,
    /// Its exit code: 137 is SIGKILL, 143 is SIGTERM.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`.
    pub reason: String,
    /// As the kubelet tells it, one-second resolution.
    pub started_at: Option<String>,
    /// As the kubelet tells it, one-second resolution.
    pub finished_at: Option<String>,
}

/// One endpoint of the Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSeen {
    /// Its address.
    pub address: String,
    /// The pod behind it.
    pub pod_uid: Option<String>,
    /// Takes new connections.
    pub ready: bool,
    /// Answers, whether or not it is terminating.
    pub serving: bool,
    /// Its pod is terminating.
    pub terminating: bool,
}
