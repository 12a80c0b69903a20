//! The row of a pod: its state in one word, as the real server words it.

use serde_json::{Value, json};

use super::show::{age, items, number, or, since};
use crate::store::text;

pub(super) fn cells(pod: &Value) -> Value {
    let total = items(pod, "/spec/containers").len() + sidecars(pod).count();
    let state = State::of(pod);
    let restarts = match &state.last_restart {
        Some(time) if state.restarts > 0 => format!("{} ({} ago)", state.restarts, since(time)),
        _ => state.restarts.to_string(),
    };
    let gates = items(pod, "/spec/readinessGates");
    let gates_text = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        let met = gates.iter().filter(|gate| condition(pod, text(gate, "/conditionType")) == "True").count();
        format!("{met}/{}", gates.len())
    };
    json!([
        pod["metadata"]["name"],
        format!("{}/{total}", state.ready),
        state.word,
        restarts,
        age(pod),
        or(text(pod, "/status/podIP"), "<none>"),
        or(text(pod, "/spec/nodeName"), "<none>"),
        or(text(pod, "/status/nominatedNodeName"), "<none>"),
        gates_text,
    ])
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    items(pod, "/status/conditions").iter().find(|condition| condition["type"] == kind).map_or("", |condition| text(condition, "/status"))
}

fn sidecars(pod: &Value) -> impl Iterator<Item = &str> {
    items(pod, "/spec/initContainers")
        .iter()
        .filter(|container| container["restartPolicy"] == "Always")
        .map(|container| text(container, "/name"))
}

#[derive(Default)]
struct State {
    word: String,
    restarts: i64,
    ready: usize,
    last_restart: Option<String>,
}

impl State {
    fn of(pod: &Value) -> State {
        let mut state = State { word: or(text(pod, "/status/reason"), text(pod, "/status/phase")).to_owned(), ..State::default() };
        for gate in items(pod, "/status/conditions") {
            if gate["type"] == "PodScheduled" && gate["reason"] == "SchedulingGated" {
                state.word = "SchedulingGated".to_owned();
            }
        }
        let initialising = state.init_containers(pod);
        if !initialising || condition(pod, "Initialized") == "True" {
            state.containers(pod);
        }
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            let phase = text(pod, "/status/phase");
            if text(pod, "/status/reason") == "NodeLost" {
                state.word = "Unknown".to_owned();
            } else if !matches!(phase, "Succeeded" | "Failed") {
                state.word = "Terminating".to_owned();
            }
        }
        state
    }

    /// Returns whether an init container is what the pod waits for.
    fn init_containers(&mut self, pod: &Value) -> bool {
        let sidecars: Vec<&str> = sidecars(pod).collect();
        let total = items(pod, "/spec/initContainers").len();
        for (index, container) in items(pod, "/status/initContainerStatuses").iter().enumerate() {
            self.restarts += number(container, "/restartCount");
            let terminated = container.pointer("/state/terminated");
            if terminated.is_some_and(|ended| ended["exitCode"] == 0) {
                continue;
            }
            if sidecars.contains(&text(container, "/name")) && container["started"] == true {
                self.ready += usize::from(container["ready"] == true);
                continue;
            }
            self.word = match (terminated, text(container, "/state/waiting/reason")) {
                (Some(ended), _) => format!("Init:{}", ending(ended)),
                (None, reason) if !matches!(reason, "" | "PodInitializing") => {
                    format!("Init:{reason}")
                }
                _ => format!("Init:{index}/{total}"),
            };
            return true;
        }
        false
    }

    fn containers(&mut self, pod: &Value) {
        let mut running = false;
        for container in items(pod, "/status/containerStatuses").iter().rev() {
            self.restarts += number(container, "/restartCount");
            let finished = text(container, "/lastState/terminated/finishedAt");
            if !finished.is_empty() && self.last_restart.as_deref().is_none_or(|known| known < finished) {
                self.last_restart = Some(finished.to_owned());
            }
            let waiting = text(container, "/state/waiting/reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.word);
            } else if let Some(ended) = container.pointer("/state/terminated") {
                self.word = ending(ended);
            } else if container["ready"] == true && container.pointer("/state/running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.word == "Completed" && running {
            self.word = if condition(pod, "Ready") == "True" { "Running" } else { "NotReady" }.to_owned();
        }
    }
}

fn ending(ended: &Value) -> String {
    let reason = text(ended, "/reason");
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match number(ended, "/signal") {
        0 => format!("ExitCode:{}", number(ended, "/exitCode")),
        signal => format!("Signal:{signal}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_word_for_every_state() {
        let container = |state: Value| json!({ "spec": { "containers": [{ "name": "a" }] }, "status": { "phase": "Running", "containerStatuses": [state] } });
        for (pod, expected) in [
            (json!({ "status": { "phase": "Pending" } }), "Pending"),
            (container(json!({ "state": { "waiting": { "reason": "CrashLoopBackOff" } } })), "CrashLoopBackOff"),
            (container(json!({ "state": { "terminated": { "reason": "Error", "exitCode": 1 } } })), "Error"),
            (container(json!({ "state": { "terminated": { "exitCode": 137, "signal": 9 } } })), "Signal:9"),
            (container(json!({ "ready": true, "state": { "running": {} } })), "Running"),
            (json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" }, "status": { "phase": "Running" } }), "Terminating"),
            (
                json!({ "spec": { "initContainers": [{ "name": "i" }] }, "status": { "phase": "Pending",
                    "initContainerStatuses": [{ "name": "i", "state": { "running": {} } }] } }),
                "Init:0/1",
            ),
        ] {
            assert_eq!(State::of(&pod).word, expected, "{pod}");
        }
    }

    #[test]
    fn restarts_say_when_the_last_one_was() {
        let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{}] }, "status": { "phase": "Running", "containerStatuses": [
            { "restartCount": 2, "ready": true, "state": { "running": {} }, "lastState": { "terminated": { "finishedAt": "2020-01-01T00:00:00Z" } } },
        ] } });
        let cells = cells(&pod);
        assert_eq!(cells[1], "1/1");
        assert!(cells[3].as_str().is_some_and(|text| text.starts_with("2 (") && text.ends_with(" ago)")), "{cells}");
    }
}
