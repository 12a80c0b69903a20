//! Stopping: the pre-stop hook, SIGTERM, and at the end of the grace period SIGKILL for what is left.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::container::{Slot, State};
use super::environment::Sources;
use super::pod::{Message, Report, Stopping, Worker};
use super::process::Launch;

/// What every container is given between SIGTERM and SIGKILL, even when its grace was used up by a hook; the kubelet's own number.
const MINIMUM_GRACE: Duration = Duration::from_secs(2);

impl Worker {
    /// Begins to stop the pod, or takes in that its grace was shortened.
    pub(super) fn step_termination(&mut self) {
        let grace = self.object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64);
        self.stop_within(Duration::from_secs(grace.unwrap_or(30)));
    }

    /// Stops every container within this time from when the pod began to stop.
    pub(super) fn stop_within(&mut self, grace: Duration) {
        match self.stopping {
            None => {
                let stopping = Stopping { since: Instant::now(), grace };
                self.stopping = Some(stopping);
                self.stop_all(stopping.grace);
            }
            Some(stopping) if grace < stopping.grace => {
                self.stopping = Some(Stopping { grace, ..stopping });
                let end = stopping.since + grace;
                for run in self.all_slots().filter_map(Slot::run_mut) {
                    run.kill_at = run.kill_at.map(|at| at.min(end));
                }
            }
            Some(_) => {}
        }
    }

    fn stop_all(&mut self, grace: Duration) {
        for init in [true, false] {
            for index in 0..self.slots(init).len() {
                let Some(slot) = self.slots(init).get_mut(index) else {
                    continue;
                };
                match &mut slot.state {
                    State::Running(_) => {
                        let name = slot.spec.name.clone();
                        self.report(init, &name, "Normal", "Killing", &format!("Stopping container {name}"));
                        self.stop_container(init, index, grace);
                    }
                    // What waits to be started again never is.
                    State::Ended { restart, .. } => *restart = None,
                    State::Waiting { retry, .. } => *retry = None,
                }
            }
        }
    }

    /// Asks one container to stop and sets when it is killed.
    pub(super) fn stop_container(&mut self, init: bool, index: usize, grace: Duration) {
        let deadline = Instant::now() + grace.max(Duration::from_millis(1));
        let Some(slot) = self.slots(init).get_mut(index) else {
            return;
        };
        let hook = slot.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.clone());
        let (container, number) = (slot.spec.name.clone(), slot.runs);
        let Some(run) = slot.run_mut() else { return };
        if run.stopping {
            run.kill_at = Some(run.kill_at.map_or(deadline, |at| at.min(deadline)));
            return;
        }
        run.stopping = true;
        run.kill_at = Some(deadline);
        let Some(hook) = hook else {
            // A process that cannot be asked is killed when its time is up.
            let _unasked = run.process.terminate();
            return;
        };
        run.kill_at = Some(deadline.max(Instant::now() + MINIMUM_GRACE));
        let unknown = hook.http_get.is_some() || hook.tcp_socket.is_some();
        let command = hook.exec.and_then(|exec| exec.command).map(|command| Sources::exec(&run.paths, &command));
        let pause = hook.sleep.and_then(|sleep| u64::try_from(sleep.seconds).ok()).map(Duration::from_secs);
        let root = run.paths.root().to_owned();
        let launch = command.map(|argv| Launch { argv, env: run.env.clone(), dir: root.clone(), log: root.with_extension("pre-stop.log") });
        if unknown {
            self.report(init, &container, "Warning", "FailedPreStopHook", "the sandbox runs hooks of the kinds exec and sleep only");
        }
        let about = Message { init, container, run: number, report: Report::HookDone };
        let (spawner, outbox) = (Arc::clone(&self.nodes.spawner), self.outbox.clone());
        tokio::spawn(async move {
            let work = async {
                if let Some(launch) = launch
                    && let Ok(running) = spawner.spawn(launch).await
                {
                    running.wait().await;
                }
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
            };
            // A hook that takes longer than the grace period is given up; the deadline of the container ends everything.
            let _given_up = tokio::time::timeout(grace, work).await;
            let _gone = outbox.send(about).await;
        });
    }
}
