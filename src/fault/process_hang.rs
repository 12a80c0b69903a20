//! SIGSTOP to the container's first process for a time: the kernel still accepts connections for it, and nobody answers.

use std::time::Duration;

use futures::future::BoxFuture;

use super::journal::Undo;
use super::{Attestation, Fault, FaultError, Site, container_of, serving_container};
use crate::cluster::Signal;
use crate::model::{ContainerState, FaultTarget};
use crate::sql::{Deadlines, Session};
use crate::target::TargetState;

/// SIGSTOP for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessHang {
    /// How long.
    pub lasts: Duration,
}

impl Fault for ProcessHang {
    fn resolve<'a>(&'a self, site: &'a Site) -> BoxFuture<'a, Result<FaultTarget, FaultError>> {
        Box::pin(async { serving_container(site) })
    }

    fn asks_engine(&self) -> bool {
        true
    }

    fn undo(&self, target: &FaultTarget) -> Undo {
        Undo::ContinueContainer { node: target.node.clone(), container_id: target.uid.clone() }
    }

    fn inject<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move { Ok(site.provider.signal_container(&site.client, &target.node, &target.uid, Signal::Stop).await?) })
    }

    /// A stopped process answers nobody, while the kernel still accepts connections for it. So the witness is a login that nobody answers: a TCP probe would
    /// be answered by the kernel.
    fn attest<'a>(&'a self, site: &'a Site, target: &'a FaultTarget, within: Duration) -> BoxFuture<'a, Attestation> {
        Box::pin(async move {
            let wait = self.lasts.min(within).min(Duration::from_secs(2));
            let deadlines = Deadlines { connect: wait, login: wait };
            let (attested, evidence) = match Session::connect(&site.sql, deadlines).await {
                Ok(_) => (false, format!("a login was accepted although container {} was sent SIGSTOP", target.uid)),
                Err(error) => (true, format!("container {} was sent SIGSTOP; a login got no answer: {error}", target.uid)),
            };
            Attestation { attested, evidence: vec![evidence] }
        })
    }

    fn lasts(&self) -> Option<Duration> {
        Some(self.lasts)
    }

    fn is_recovered(&self, state: &TargetState, _target: &FaultTarget) -> bool {
        state.serving().is_some()
    }

    fn heal<'a>(&'a self, site: &'a Site, target: &'a FaultTarget) -> BoxFuture<'a, Result<String, FaultError>> {
        Box::pin(async move {
            let state = site.watch.now();
            let running = container_of(&state, target).is_some_and(|(_, container)| {
                container.id.as_deref() == Some(&target.uid) && matches!(container.state, ContainerState::Running { .. })
            });
            if !running {
                return Ok("nothing to undo: the stopped container is gone".to_owned());
            }
            site.provider.signal_container(&site.client, &target.node, &target.uid, Signal::Continue).await?;
            Ok(format!("container {} goes on", target.uid))
        })
    }
}
