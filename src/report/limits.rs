//! What a run could not show, in words that a manager understands.

use crate::experiment::{Cache, Engine, Pace, Plan};
use crate::model::{Event, EventKind, FactOutcome, Provider};

use super::ending;
use super::model::{FaultReport, RunReport};

/// The limits of this run, the gravest first.
pub(super) fn limits(plan: &Plan, run: &RunReport, events: &[Event], faults: &[FaultReport]) -> Vec<String> {
    let mut limits = Vec::new();
    let mut say = |said: &str| limits.push(said.to_owned());
    match run.provider {
        Provider::Sandbox => {
            say("This ran on the built-in sandbox, not on a real Kubernetes: processes, files and network were real, the cluster \
             around them was not. Times say nothing about a real cluster. Run it again with --cluster to know.")
        }
        Provider::Kind | Provider::K3d => {
            say("All nodes of this cluster share one machine, its kernel and its disk. What happens when a machine or \
             its disk dies was not tested.")
        }
        Provider::Context => {}
    }
    match plan.target.engine {
        Engine::TdsSqlite => {
            say("The database was this project's stand-in engine, not SQL Server. The run speaks of the way the cluster and \
             the clients recover; it says nothing about how SQL Server stores its data.")
        }
        Engine::AzureSqlEdge => {
            say("Azure SQL Edge was retired by its vendor on 2025-09-30 and gets no more fixes, whatever this run shows.")
        }
        Engine::Existing => say(
            "The database was deployed by somebody else. Who else used it while this ran, and what of that load the figures hold, is not known.",
        ),
        Engine::MssqlServer => {}
    }
    if let Some(defect) = &plan.target.sabotage {
        limits.push(format!("The engine was told to have a defect ({defect}). This run tests the harness, not the engine."));
    }
    if let Some(defect) = plan.sandbox_sabotage {
        limits.push(format!("The sandbox was told to have a defect ({defect}). This run tests the harness, not the cluster."));
    }
    // Only on machines of their own does switching one off take its memory with it.
    let power = |fault: &FaultReport| fault.attested == Some(true) && fault.kind == "node-power-off" && run.provider == Provider::Context;
    let abrupt = faults.iter().filter(|fault| ending::was_abrupt(fault)).count();
    if plan.target.cache == Cache::Volatile && abrupt > 0 {
        limits.push(format!(
            "This run reaches a loss of power as far as the engine's own cache goes: in {abrupt} of {} faults the engine was ended without stopping in order, \
             and what it had written and not synced was lost. The operating system's cache and the disk's own outlived every fault: a sync that they \
             do not carry out would pass here.",
            faults.len()
        ));
    } else if !faults.iter().any(power) {
        if plan.target.cache == Cache::Volatile {
            limits.push(
                "The engine's cache was volatile, but no fault was seen to end the engine without letting it stop in order, so that nothing \
                 unsynced was lost."
                    .to_owned(),
            );
        }
        limits.push(
            "Every fault ended processes and left the machine's memory in place. A database that confirms a commit before it is \
             safely on disk would pass here and lose data when the power fails."
                .to_owned(),
        );
    }
    if !plan.cold_read {
        limits.push(
            "The final read was answered by the process that had taken the last commits, so some rows may have come from its \
             memory and not from the volume."
                .to_owned(),
        );
    }
    if plan.workload.rate == Pace::Closed {
        limits.push(
            "The load was a closed loop: each client waited for its last answer before it asked again. A stall held the load back, so the \
             latencies leave out what clients that do not wait would have met."
                .to_owned(),
        );
    }
    let injected = faults.iter().filter(|f| f.injected_at_ms.is_some()).count();
    if injected < 20 {
        limits.push(format!(
            "{} few: with fewer than 20, anything that goes wrong once in a while can be missed, and the 99th \
             percentile is simply the longest.",
            if injected == 1 { "1 outage is".to_owned() } else { format!("{injected} outages are") }
        ));
    }
    let mut unsupported: Vec<&str> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::EngineFact { fact } if fact.outcome == FactOutcome::Unsupported => Some(fact.name.as_str()),
            _ => None,
        })
        .collect();
    unsupported.sort_unstable();
    unsupported.dedup();
    if !unsupported.is_empty() {
        limits.push(format!("This engine cannot check itself for damage in these ways: {}.", unsupported.join(", ")));
    }
    limits
}
