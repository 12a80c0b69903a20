//! Nodes that freeze, nodes that lose their power, and nodes whose kubelet stopped.
//!
//! A frozen node does nothing: its processes are stopped and its kubelet neither sees nor says anything. A node without power has lost
//! its processes, too, and its kubelet starts with what the API says once the power is back. An
//! unattended node runs on, and nobody looks after it or speaks for it. What loopback cannot show is silence of the
//! network: a connection to a pod of a powerless node is refused or reset, where in a cluster it would just not be answered.

use rustix::process::Signal;

use super::container::Slot;
use super::pod::Worker;
use super::process::Scope;

/// The state of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Power {
    On,
    Frozen,
    Off,
    /// The kubelet does not run; what it started does.
    Unattended,
}

impl Power {
    /// By the name that the API uses.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "on" => Some(Power::On),
            "frozen" => Some(Power::Frozen),
            "off" => Some(Power::Off),
            "unattended" => Some(Power::Unattended),
            _ => None,
        }
    }
}

impl Worker {
    /// Goes through a time without power; returns when the node is back, or when the sandbox ends.
    pub(super) async fn outage(&mut self) {
        let mut state = *self.power.borrow_and_update();
        if state == Power::On || self.stop.is_cancelled() {
            return;
        }
        for run in self.all_slots().filter_map(Slot::run_mut) {
            run.probes.abort_all();
        }
        while state != Power::On {
            match state {
                Power::Off => self.signal_all(Signal::KILL),
                Power::Frozen => self.signal_all(Signal::STOP),
                Power::Unattended | Power::On => {}
            }
            tokio::select! {
                _ = self.power.changed() => {}
                () = self.stop.cancelled() => return,
            }
            state = *self.power.borrow_and_update();
        }
        self.signal_all(Signal::CONT);
        for index in 0..self.main.len() {
            // What was ready stays so until a probe says otherwise.
            let ready = self.main.get(index).is_some_and(|slot| slot.ready);
            self.begin_probes(index);
            if let Some(slot) = self.main.get_mut(index).filter(|slot| slot.run().is_some()) {
                slot.ready = ready;
            }
        }
    }

    fn signal_all(&mut self, signal: Signal) {
        for run in self.all_slots().filter_map(Slot::run_mut) {
            let _gone = run.process.signal(signal, Scope::Group);
        }
    }
}
