//! The experiment file: raw form, validation into a plan, JSON Schema.

mod plan;

pub use plan::{
    AccessMode, ClusterRef, Controller, Engine, Expect, FaultSpec, Grace, Plan, PlannedFault, ReconnectTarget, Storage, TargetPlan, Tls,
    WorkloadKind, WorkloadPlan,
};
