//! What leaves a run undecided.

use super::*;

#[test]
fn a_fault_that_did_not_take_effect_proves_nothing() {
    inconclusive("did not take effect", |run| {
        run.edit(|kind| {
            if let EventKind::FaultAttested { fault, attested, .. } = kind {
                *attested = fault != "pod-kill-2";
            }
            true
        });
    });
    inconclusive("was not attested", |run| {
        run.edit(|kind| !matches!(kind, EventKind::FaultAttested { fault, .. } if fault == "pod-kill-2"));
    });
}

#[test]
fn a_refused_fault_proves_nothing() {
    inconclusive("pod-kill-2 was refused: vanished", |run| {
        run.edit(|kind| !matches!(kind, EventKind::FaultInjected { fault, .. } if fault == "pod-kill-2"));
        let refused = EventKind::FaultRefused { fault: "pod-kill-2".to_owned(), reason: "vanished".to_owned() };
        run.at(8_001, refused);
    });
}

#[test]
fn fewer_faults_than_planned_prove_nothing() {
    inconclusive("2 of 3 planned faults", |run| run.plan = crate::report::build::plan(3));
    inconclusive("no fault was injected", |run| {
        run.edit(|kind| !matches!(kind, EventKind::FaultStarted { .. } | EventKind::FaultInjected { .. }));
    });
}

#[test]
fn faults_that_hit_no_op_prove_nothing() {
    let idle = |all: bool| {
        move |run: &mut RunBuilder| {
            run.edit(|kind| {
                if let EventKind::FaultInjected { fault, in_flight, since_last_ack_ns } = kind
                    && (all || fault == "pod-kill-1")
                {
                    *in_flight = 0;
                    *since_last_ack_ns = Some(1_500_000_000);
                }
                true
            });
        }
    };
    inconclusive("nothing was at stake", idle(true));
    let mut run = RunBuilder::passing();
    idle(false)(&mut run);
    let report = run.judge();
    assert_eq!(report.outcome(), Outcome::Pass);
    assert_eq!(report.notes, ["no commit was at stake when pod-kill-1 hit: none was in flight or acknowledged in the second before"]);
}

#[test]
fn a_workload_that_never_commits_proves_nothing() {
    inconclusive("never committed", |run| {
        for op in &mut run.history.ops {
            if op.f == F::LedgerAdd && op.kind == OpType::Ok {
                op.kind = OpType::Info;
            }
        }
    });
    inconclusive("the history is empty", |run| run.history.ops.clear());
}

#[test]
fn without_a_final_read_nothing_is_decided() {
    inconclusive("HA-6 is not decided", |run| {
        run.history.ops.retain(|op| op.f != F::LedgerRead);
    });
    inconclusive("not read to the end", |run| {
        run.edit(|kind| !matches!(kind, EventKind::PhaseFinished { phase: Phase::FinalRead, .. }));
    });
    inconclusive("memory", |run| {
        run.edit(|kind| !matches!(kind, EventKind::PhaseFinished { phase: Phase::ColdRestart, .. }));
    });
}

#[test]
fn a_history_that_is_shorter_than_what_was_recorded_decides_nothing() {
    let mut run = RunBuilder::passing();
    let transitions = run.history.ops.len() as u64;
    run.at(14_935, EventKind::HistoryClosed { transitions });
    assert_eq!(run.judge().outcome(), Outcome::Pass);
    run.history.ops.pop();
    let report = run.judge();
    assert_eq!(report.outcome(), Outcome::Inconclusive);
    assert!(report.reasons[0].contains("the history was closed with"), "{:?}", report.reasons);
}

#[test]
fn an_interrupted_run_is_inconclusive() {
    let signal = "SIGINT".to_owned();
    inconclusive("interrupted by SIGINT", |run| {
        run.at(14_000, EventKind::Interrupted { signal });
    });
    inconclusive("the run was aborted during pod-kill-1: abortWhen outage > 2m", |run| {
        run.at(14_000, EventKind::Aborted { condition: "outage > 2m".to_owned(), fault: Some("pod-kill-1".to_owned()) });
    });
    inconclusive("did not reach its end", |run| {
        run.edit(|kind| *kind != EventKind::RunFinished);
    });
    inconclusive("the harness failed: disk full", |run| {
        let message = "disk full".to_owned();
        run.at(9_000, EventKind::HarnessError { message });
    });
    inconclusive("deploy did not succeed", |run| {
        run.edit(|kind| {
            if let EventKind::PhaseFinished { phase: Phase::Deploy, ok, .. } = kind {
                *ok = false;
            }
            true
        });
    });
}

#[test]
fn a_run_that_has_not_ended_is_not_asked_for_its_end() {
    let mut run = RunBuilder::passing();
    run.edit(|kind| *kind != EventKind::RunFinished);
    let folder = run.write();
    let report = judge_so_far(folder.path(), &run.plan).expect("it can be judged");
    assert_eq!(report.outcome(), Outcome::Pass);
}

#[test]
fn a_run_killed_in_the_middle_is_judged_by_what_was_recorded() {
    let mut run = RunBuilder::passing();
    run.events.retain(|event| event.time_ns < 9_000 * MS);
    run.history.ops.retain(|op| op.time_ns < 9_000 * MS);
    let folder = run.write();
    for name in ["history.jsonl", "timeline.jsonl"] {
        let path = folder.path().join(name);
        let mut bytes = std::fs::read(&path).expect("it was written");
        bytes.truncate(bytes.len() - 7);
        std::fs::write(&path, bytes).expect("it can be written");
    }
    let report = judge(folder.path(), &run.plan).expect("it can be judged").report;
    assert_eq!(report.outcome(), Outcome::Inconclusive);
    assert!(report.recorded.torn_bytes > 0);
    assert_eq!(report.episodes.len(), 2);
}

#[test]
fn a_damaged_history_decides_nothing() {
    let run = RunBuilder::passing();
    for (name, words) in [("history.jsonl", "the history cannot be trusted"), ("timeline.jsonl", "the timeline cannot be trusted")] {
        let folder = run.write();
        let path = folder.path().join(name);
        let mut bytes = std::fs::read(&path).expect("it was written");
        let middle = bytes.len() / 2;
        bytes[middle..middle + 200].fill(b'\n');
        std::fs::write(&path, bytes).expect("it can be written");
        let report = judge(folder.path(), &run.plan).expect("it can be judged").report;
        assert_eq!(report.outcome(), Outcome::Inconclusive, "{name}");
        assert!(report.reasons.iter().any(|r| r.contains(words)), "{:?}", report.reasons);
    }
}

#[test]
fn an_experiment_that_expects_nothing_is_inconclusive() {
    inconclusive("expects no claim", |run| run.plan.expect.claims.clear());
}
