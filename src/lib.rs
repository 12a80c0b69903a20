//! `chaos` proves or disproves that SQL Server on Kubernetes keeps its promise when processes, containers, pods and nodes
//! die: it keeps a transaction workload running through the Service, injects faults, reads every acknowledged commit back
//! and says pass, fail or inconclusive with the evidence.

pub mod check;
pub mod cli;
pub mod cluster;
pub mod compare;
pub mod exchange;
pub mod experiment;
pub mod fault;
pub mod measure;
pub mod model;
pub mod report;
pub mod run;
pub mod selftest;
pub mod sql;
pub mod target;
pub mod workload;
