//! The fault phase: each fault at its time, and never two at once.

use std::time::Duration;

use super::RunError;
use super::phases::Run;
use crate::experiment::PlannedFault;
use crate::fault::{self, Fault};
use crate::measure::{Clock, OpSink};
use crate::model::{EventKind, FaultTarget, LeakItem, format_duration};
use crate::workload::{Draws, WORKLOAD_FS};

/// How long the load goes on after the last recovery at the least: what was slow to come back must be seen to be back.
const BASELINE_AFTER: Duration = Duration::from_secs(5);

/// A fault that was injected and is not healed yet.
pub(super) struct ActiveFault {
    id: String,
    fault: Box<dyn Fault>,
    target: FaultTarget,
    healed: bool,
}

/// Returns when no commit has been acknowledged for longer than `limit`.
async fn outage_beyond(sink: &OpSink, clock: Clock, limit: Duration) {
    let from_ns = clock.now_ns();
    loop {
        let since_ns = sink.last_ok_ns().unwrap_or(0).max(from_ns);
        let passed = Duration::from_nanos(clock.now_ns().saturating_sub(since_ns));
        if passed > limit {
            return;
        }
        // An acknowledgement that comes meanwhile puts the end off, which is seen at the next look.
        tokio::time::sleep(limit - passed + Duration::from_millis(1)).await;
    }
}

/// How much later than planned each injection is due: a draw from the seed, of a stream of its own, so that a change of one fault does not move the others.
fn delays(faults: &[PlannedFault], seed: u64) -> Vec<Duration> {
    const STREAM_BASE: u64 = 1 << 32;
    let draw = |(fault, stream): (&PlannedFault, u64)| match u64::try_from(fault.jitter.as_nanos()) {
        Ok(jitter_ns) if jitter_ns > 0 => Duration::from_nanos(Draws::new(seed, stream).below(jitter_ns)),
        _ => Duration::ZERO,
    };
    faults.iter().zip(STREAM_BASE..).map(draw).collect()
}

impl Run<'_> {
    /// The fault phase. An outage that grows longer than the plan lets it cuts the phase short: what is active is healed, and the run goes on to read what is
    /// left of the data.
    pub(super) async fn faults(&mut self) -> Result<(), RunError> {
        let Some(limit) = self.plan.abort_when_outage else {
            return self.every_fault().await;
        };
        let (sink, clock) = (self.recorder.sink(), self.clock);
        tokio::select! {
            result = self.every_fault() => return result,
            () = outage_beyond(&sink, clock, limit) => {}
        }
        self.timeline.emit(EventKind::Aborted {
            condition: format!("outage > {}", format_duration(limit)),
            fault: self.active.as_ref().map(|active| active.id.clone()),
        });
        self.heal_active(true).await;
        // Whether clients come back once everything is healed is worth the same time again; whether they did is for the episodes to say.
        let _ = tokio::time::timeout(limit, sink.acknowledged_after(clock.now_ns())).await;
        Ok(())
    }

    /// Injects every planned fault and waits out the rest of the plan's duration, which is the baseline window after the last recovery.
    async fn every_fault(&mut self) -> Result<(), RunError> {
        let plan = self.plan;
        let began = tokio::time::Instant::now();
        let mut recovered = began;
        for (planned, delay) in plan.faults.iter().zip(delays(&plan.faults, self.seed)) {
            let due = match planned.after_recovery {
                Some(pause) => recovered + pause,
                None => began + planned.at,
            };
            tokio::time::sleep_until(due + delay).await;
            self.one_fault(planned).await?;
            recovered = tokio::time::Instant::now();
        }
        let baseline = tokio::time::Instant::now() + BASELINE_AFTER;
        tokio::time::sleep_until((began + plan.duration).max(baseline)).await;
        Ok(())
    }

    /// Resolve, journal, inject, attest, wait for recovery, heal. A fault that could not be injected is recorded and the run goes on: the verdict knows.
    async fn one_fault(&mut self, planned: &PlannedFault) -> Result<(), RunError> {
        let within = planned.recover_within;
        let refused = |error: &dyn std::fmt::Display| EventKind::FaultRefused { fault: planned.id.clone(), reason: error.to_string() };
        let fault = fault::fault(&planned.spec);
        let ready = self.site()?.watch.until_serving(within).await;
        if let Err(error) = ready {
            self.timeline.emit(refused(&error));
            return Ok(());
        }
        let target = match fault::aim(&planned.spec, fault.as_ref(), self.site()?, &self.plan.blast_radius).await {
            Ok(target) => target,
            Err(error) => {
                self.timeline.emit(refused(&error));
                return Ok(());
            }
        };
        if let Some(prober) = &self.prober {
            prober.alert();
        }
        self.journal.intent(
            &planned.id,
            &format!("{}/{} uid {}", target.kind, target.name, target.uid),
            fault.undo(self.site()?, &target),
        )?;
        self.timeline.emit(EventKind::FaultStarted {
            fault: planned.id.clone(),
            kind: planned.spec.kind().to_owned(),
            target: target.clone(),
            parameters: planned.spec.parameters_in_words(),
            reach: planned.spec.reach().to_owned(),
        });
        self.active = Some(ActiveFault { id: planned.id.clone(), fault, target, healed: false });
        self.inject_and_watch(planned).await
    }

    async fn inject_and_watch(&mut self, planned: &PlannedFault) -> Result<(), RunError> {
        let id = planned.id.clone();
        let active = self.active.as_ref().ok_or_else(|| RunError::Bug("no fault is active".to_owned()))?;
        let (fault, target, site) = (&active.fault, &active.target, self.site()?);
        let in_flight = u32::try_from(self.recorder.sink().counts(&WORKLOAD_FS).in_flight).unwrap_or(u32::MAX);
        let since_last_ack_ns = self.recorder.sink().last_ok_ns().map(|ack_ns| self.clock.now_ns().saturating_sub(ack_ns));
        let done = match fault.inject(site, target).await {
            Ok(done) => done,
            Err(error) => {
                self.timeline.emit(EventKind::FaultRefused { fault: id, reason: error.to_string() });
                // Half of it may have been made: a drain cordons before it evicts.
                self.heal_active(true).await;
                return Ok(());
            }
        };
        let injected = tokio::time::Instant::now();
        self.timeline.emit(EventKind::FaultInjected { fault: id.clone(), in_flight, since_last_ack_ns });
        let attestation = fault.attest(site, target, planned.recover_within).await;
        let mut evidence: Vec<String> = done.into_iter().chain(attestation.evidence).collect();
        if attestation.attested {
            match fault.intervene(site, target).await {
                Ok(done) => evidence.extend(done),
                Err(error) => evidence.push(format!("the operator's step failed: {error}")),
            }
        }
        self.timeline.emit(EventKind::FaultAttested { fault: id.clone(), attested: attestation.attested, evidence });
        // What lasts until it is healed cannot be recovered from before.
        if let Some(lasts) = fault.lasts() {
            tokio::time::sleep_until(injected + lasts).await;
            if let Some(prober) = &self.prober {
                prober.alert();
            }
            self.heal_active(false).await;
        }
        let active = self.active.as_ref().ok_or_else(|| RunError::Bug("no fault is active".to_owned()))?;
        let detail = self.recovered(active, planned.recover_within).await.err().unwrap_or_default();
        self.timeline.emit(EventKind::FaultRecovered { fault: id, recovered: detail.is_empty(), detail });
        self.heal_active(true).await;
        Ok(())
    }

    /// Waits until the target serves again as the fault wants it, and for a commit through the Service.
    async fn recovered(&self, active: &ActiveFault, within: Duration) -> Result<(), String> {
        let site = self.site().map_err(|error| error.to_string())?;
        let serving = site.watch.until("a ready pod behind the Service", within, |state| active.fault.is_recovered(state, &active.target));
        serving.await.map_err(|error| error.to_string())?;
        // A commit that was sent before may still have been the old server's.
        let sink = self.recorder.sink();
        let committed = tokio::time::timeout(within, sink.acknowledged_after(self.clock.now_ns()));
        committed
            .await
            .map_err(|_| format!("a ready pod is behind the Service, but no commit was acknowledged within {} s", within.as_secs()))?;
        Ok(())
    }

    /// Heals the active fault, if there is one and it is not healed yet; `last` forgets it, and calls what could not be healed left behind.
    ///
    /// Until the healing has ended the fault stays the active one: this may be dropped half-way by an interrupt, and the way out heals again.
    pub(super) async fn heal_active(&mut self, last: bool) {
        let (Some(active), Some(site)) = (&self.active, &self.site) else {
            return;
        };
        let healed = if active.healed { Ok(None) } else { active.fault.heal(site, &active.target).await.map(Some) };
        let (id, target) = (active.id.clone(), active.target.name.clone());
        match healed {
            Ok(None) => {}
            Ok(Some(detail)) => {
                let noted = self.journal.undone(&id, &detail);
                self.timeline.emit(EventKind::FaultHealed { fault: id, detail });
                if let Err(error) = noted {
                    self.timeline.emit(EventKind::HarnessError { message: format!("the journal cannot be written: {error}") });
                }
                if let Some(active) = &mut self.active {
                    active.healed = true;
                }
            }
            Err(error) => {
                let message = format!("{id} could not be healed: {error}");
                self.timeline.emit(EventKind::HarnessError { message });
                if last {
                    self.unhealed.push(LeakItem::of(format!("{id} on {target}"), "chaos recover"));
                }
            }
        }
        if last {
            self.active = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::experiment::FaultSpec;

    fn planned(jitters_ms: &[u64]) -> Vec<PlannedFault> {
        let fault = |&ms: &u64| PlannedFault {
            id: String::new(),
            spec: FaultSpec::PodEvict,
            at: Duration::ZERO,
            after_recovery: None,
            jitter: Duration::from_millis(ms),
            recover_within: Duration::from_secs(1),
        };
        jitters_ms.iter().map(fault).collect()
    }

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_delays_and_none_is_longer_than_its_jitter(
            jitters_ms in prop::collection::vec(0u64..100_000, 1..30),
            seed in any::<u64>(),
        ) {
            let faults = planned(&jitters_ms);
            let drawn = delays(&faults, seed);
            prop_assert_eq!(&drawn, &delays(&faults, seed));
            for (delay, fault) in drawn.iter().zip(&faults) {
                prop_assert!(*delay < fault.jitter || fault.jitter.is_zero() && delay.is_zero());
            }
        }

        /// Of twenty draws below a hundred seconds in nanoseconds, all alike by chance is out of the question.
        #[test]
        fn another_seed_gives_other_delays(seed in any::<u64>(), other in any::<u64>()) {
            prop_assume!(seed != other);
            let faults = planned(&[100_000; 20]);
            prop_assert_ne!(delays(&faults, seed), delays(&faults, other));
        }

        #[test]
        fn a_fault_that_is_changed_does_not_move_the_others(jitter_ms in 1u64..100_000, seed in any::<u64>()) {
            let (before, after) = (delays(&planned(&[5_000; 5]), seed), delays(&planned(&[5_000, 5_000, jitter_ms, 5_000, 5_000]), seed));
            for at in [0, 1, 3, 4] {
                prop_assert_eq!(before[at], after[at]);
            }
        }
    }
}
