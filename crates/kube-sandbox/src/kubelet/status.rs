//! A pod's status as the kubelet reports it: phase and conditions from the states of the containers.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::container::{Slot, State};
use crate::store::{now, text};

/// What a status is made from.
pub(super) struct Facts<'a> {
    pub pod: &'a Value,
    pub init: &'a [Slot],
    pub main: &'a [Slot],
    pub host: Ipv4Addr,
    pub address: Option<Ipv4Addr>,
    pub start_time: &'a str,
    /// Whether the pod is being stopped: what ends now is not started again.
    pub stopping: bool,
}

impl Facts<'_> {
    fn restart_policy(&self) -> &str {
        if self.stopping { "Never" } else { text(self.pod, "/spec/restartPolicy") }
    }

    pub(super) fn initialized(&self) -> bool {
        self.init.iter().all(|slot| slot.over().is_some_and(|run| run.code == 0))
    }

    /// The pod's phase, by the kubelet's rules.
    pub(super) fn phase(&self) -> &'static str {
        let init_failed = self.init.iter().any(|slot| slot.over().is_some_and(|run| run.code != 0));
        if init_failed {
            return "Failed";
        }
        if !self.initialized() && !self.stopping {
            return "Pending";
        }
        let never_ran = |slot: &Slot| matches!(slot.state, State::Waiting { .. }) && slot.last.is_none();
        let running = self.main.iter().any(|slot| slot.run().is_some());
        if self.main.iter().any(never_ran) && (running || !self.stopping) {
            return "Pending";
        }
        if running {
            return "Running";
        }
        let codes = || self.main.iter().map(|slot| if let State::Ended { run, .. } = &slot.state { run.code } else { 137 });
        match self.restart_policy() {
            "Always" => "Running",
            _ if codes().all(|code| code == 0) => "Succeeded",
            "OnFailure" => "Running",
            _ => "Failed",
        }
    }

    /// The whole status.
    pub(super) fn status(&self) -> Value {
        let generation = &self.pod["metadata"]["generation"];
        let mut status = self.pod.get("status").cloned().unwrap_or_else(|| json!({}));
        let phase = self.phase();
        let conditions = self.conditions(phase, generation);
        status["phase"] = json!(phase);
        status["conditions"] = json!(conditions);
        status["observedGeneration"] = generation.clone();
        status["hostIP"] = json!(self.host.to_string());
        status["hostIPs"] = json!([{ "ip": self.host.to_string() }]);
        status["startTime"] = json!(self.start_time);
        if let Some(address) = self.address {
            status["podIP"] = json!(address.to_string());
            status["podIPs"] = json!([{ "ip": address.to_string() }]);
        }
        status["containerStatuses"] = self.main.iter().map(Slot::status).collect();
        if !self.init.is_empty() {
            status["initContainerStatuses"] = self.init.iter().map(Slot::status).collect();
        }
        status
    }

    fn conditions(&self, phase: &str, generation: &Value) -> Vec<Value> {
        let over = matches!(phase, "Succeeded" | "Failed");
        let names = |slots: Vec<&Slot>| slots.iter().map(|slot| slot.spec.name.clone()).collect::<Vec<_>>().join(" ");
        let unready = names(self.main.iter().filter(|slot| !slot.ready).collect());
        let uninitialized = names(self.init.iter().filter(|slot| slot.over().is_none_or(|run| run.code != 0)).collect());
        let not_ready = match phase {
            "Succeeded" => Some(("PodCompleted", String::new())),
            "Failed" => Some(("PodFailed", String::new())),
            _ if !unready.is_empty() => Some(("ContainersNotReady", format!("containers with unready status: [{unready}]"))),
            _ => None,
        };
        let not_initialized =
            (!self.initialized()).then(|| ("ContainersNotInitialized", format!("containers with incomplete status: [{uninitialized}]")));
        let sandbox_up = self.address.is_some() && !over;
        let mut conditions = vec![
            self.condition("PodReadyToStartContainers", sandbox_up, None, generation),
            self.condition("Initialized", not_initialized.is_none(), not_initialized, generation),
        ];
        let gate = self.closed_gate();
        let pod_not_ready =
            not_ready.clone().or(gate
                .map(|gate| ("ReadinessGatesNotReady", format!("the status of pod readiness gate {gate:?} is not \"True\", but False"))));
        conditions.push(self.condition("Ready", pod_not_ready.is_none(), pod_not_ready, generation));
        conditions.push(self.condition("ContainersReady", not_ready.is_none(), not_ready, generation));
        // Conditions of others, the scheduler's among them, stay.
        let ours = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];
        let others = self.pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        conditions.extend(others.filter(|other| !ours.contains(&text(other, "/type"))).cloned().map(|mut other| {
            if text(&other, "/type") == "PodScheduled" {
                other["observedGeneration"] = generation.clone();
            }
            other
        }));
        conditions
    }

    fn closed_gate(&self) -> Option<String> {
        let gates = self.pod.pointer("/spec/readinessGates").and_then(Value::as_array).into_iter().flatten();
        let mut names = gates.map(|gate| text(gate, "/conditionType"));
        names
            .find(|name| {
                crate::controllers::ownership::condition(self.pod, name).is_none_or(|condition| text(condition, "/status") != "True")
            })
            .map(str::to_owned)
    }

    fn condition(&self, kind: &str, holds: bool, why_not: Option<(&str, String)>, generation: &Value) -> Value {
        let status = if holds { "True" } else { "False" };
        let before = crate::controllers::ownership::condition(self.pod, kind).filter(|before| text(before, "/status") == status);
        let since = before.map_or_else(|| json!(now()), |before| before["lastTransitionTime"].clone());
        let mut condition = json!({
            "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since, "observedGeneration": generation,
        });
        if let Some((reason, message)) = why_not {
            condition["reason"] = json!(reason);
            if !message.is_empty() {
                condition["message"] = json!(message);
            }
        }
        condition
    }
}
