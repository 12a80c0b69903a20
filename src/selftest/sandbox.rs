//! A trial of the sandbox: a whole run of one pod kill on a cluster with a defect or without one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{TrialError, Trialed};
use crate::experiment::{self, ClusterRef, Plan, SandboxSabotage};
use crate::model::{Outcome, Verdict};
use crate::report::Report;
use crate::run::{self, Keep, Options};

/// The column of what no checker finds: the claims that the report found broken.
pub(super) const CLAIMS: &str = "claims";

/// A trial of a sound sandbox takes half of it.
const RUN_WITHIN: Duration = Duration::from_secs(90);

/// Short, since the defects show at the first fault. A StatefulSet's replacement waits for the old pod, and a crash of the container replaces none, so that an
/// overlap is a finding; the split brain is that of a ReplicaSet.
fn plan(defect: Option<SandboxSabotage>, seed: u64) -> Plan {
    let sabotage = defect.map(|defect| format!("sandboxSabotage: {defect}\n")).unwrap_or_default();
    let (controller, fault) = match defect {
        Some(SandboxSabotage::SplitBrain) => ("Deployment", "container-crash:"),
        _ => ("StatefulSet", "pod-kill: { grace: 0s }"),
    };
    let text = format!(
        "name: selftest\n{sabotage}seed: {seed}\ntarget: {{ engine: tds-sqlite, controller: {controller}, storage: {{ size: 256Mi }} }}\n\
         workload: {{ mix: {{ ledger: 3, bank: 2, append: 3, register: 2, queue: 2 }}, rate: 50/s, warmUp: 2s }}\n\
         faults:\n  - {fault}\n    at: 2s\n    recoverWithin: 20s\n\
         expect: {{ reconnect: {{ max: 20s }} }}\nduration: 15s\ncoldRead: false\n"
    );
    experiment::parse("selftest.yaml", &text).expect("the experiment of the self-test is valid")
}

/// Holds a trial.
///
/// # Errors
/// When the run could not be made. That the cluster is wrong is no error.
pub async fn sandbox_trial(defect: Option<SandboxSabotage>, seed: u64) -> Result<Trialed, TrialError> {
    let folder = tempfile::tempdir()?;
    let options = Options { reports: folder.path().to_owned(), cluster: ClusterRef::Sandbox(None), keep: Keep::Never, live: None };
    let cancel = CancellationToken::new();
    // A cluster that leads nowhere any more would be asked for its rows for minutes; by then it has been seen for what it is.
    let patience = tokio::spawn({
        let cancel = cancel.clone();
        async move {
            tokio::time::sleep(RUN_WITHIN).await;
            cancel.cancel();
        }
    });
    let finished = run::run(&plan(defect, seed), options, cancel).await;
    patience.abort();
    let finished = finished.map_err(|error| TrialError::Run(run::with_causes(&error)))?;
    match (finished.report, finished.error) {
        // What went wrong once the faults had begun is what the run found.
        (Some(report), error) if error.is_none() || finished.faults_began => Ok(trialed(seed, &report)),
        (_, Some(error)) => Err(TrialError::Run(run::with_causes(&error))),
        (_, None) => Err(TrialError::Run("it left no report".to_owned())),
    }
}

fn trialed(seed: u64, report: &Report) -> Trialed {
    let mut verdicts: BTreeMap<String, Verdict> = report.checks.iter().map(|check| (check.name.clone(), check.verdict)).collect();
    let broken: Vec<String> = report
        .claims
        .iter()
        .filter(|claim| claim.expected && claim.verdict == Verdict::Invalid)
        .map(|claim| claim.id.to_string())
        .collect();
    let claims = match report.outcome() {
        _ if !broken.is_empty() => Verdict::Invalid,
        Outcome::Pass => Verdict::Valid,
        Outcome::Fail | Outcome::Inconclusive => Verdict::Unknown,
    };
    verdicts.insert(CLAIMS.to_owned(), claims);
    let invalid = report.checks.iter().filter(|check| check.verdict == Verdict::Invalid);
    let mut classes: Vec<String> = invalid.flat_map(|check| &check.examples).map(|example| example.class.clone()).collect();
    classes.extend(broken);
    classes.sort_unstable();
    classes.dedup();
    let caught = verdicts.values().any(|verdict| *verdict == Verdict::Invalid);
    // The cluster is judged by the run as a whole.
    let ops_to_catch = caught.then(|| report.recorded.transitions.div_ceil(2));
    Trialed { seed, verdicts, classes, ops_to_catch }
}
