use std::time::Duration;

use super::super::build::{MS, RunBuilder, pod, running};
use super::*;
use crate::experiment::FaultSpec;
use crate::model::{ContainerState, EventKind, F, IdentityMoment, LeakItem, OpType, Phase, PodChange, TerminatedSeen};

#[path = "judge_doubt_tests.rs"]
mod doubts;

fn claim(report: &Report, id: Claim) -> &ClaimReport {
    report.claims.iter().find(|claim| claim.id == id).expect("every claim is reported")
}

fn check<'a>(report: &'a Report, name: &str) -> &'a CheckReport {
    report.checks.iter().find(|check| check.name == name).expect("the check is reported")
}

/// Judges a passing run that was changed, and wants this outcome with a reason that holds these words.
fn expect(outcome: Outcome, words: &str, change: impl FnOnce(&mut RunBuilder)) -> Report {
    let mut run = RunBuilder::passing();
    change(&mut run);
    let report = run.judge();
    assert_eq!(report.outcome(), outcome, "{words}: {:#?}", report.reasons);
    assert!(report.reasons.iter().any(|reason| reason.contains(words)), "{words}: {:#?}", report.reasons);
    report
}

fn inconclusive(words: &str, change: impl FnOnce(&mut RunBuilder)) -> Report {
    expect(Outcome::Inconclusive, words, change)
}

fn fails(words: &str, change: impl FnOnce(&mut RunBuilder)) -> Report {
    expect(Outcome::Fail, words, change)
}

#[test]
fn a_run_that_shows_everything_passes() {
    let report = RunBuilder::passing().judge();
    assert_eq!(report.reasons, Vec::<String>::new());
    assert_eq!(report.outcome(), Outcome::Pass);
    for id in [Claim::Ha2, Claim::Ha3, Claim::Ha5, Claim::Ha6, Claim::Ha7] {
        assert_eq!(claim(&report, id).verdict, Verdict::Valid, "{id}");
    }
    for id in [Claim::Ha1, Claim::Ha4] {
        assert_eq!(claim(&report, id).verdict, Verdict::Unknown, "{id}");
    }
    assert_eq!(report.faults.len(), 2);
    assert_eq!(report.run.kubernetes_version.as_deref(), Some("v1.34.0"));
    assert!(report.leaks().next().is_none());
}

#[test]
fn phases_sum_to_the_outage_in_the_report() {
    let report = RunBuilder::passing().judge();
    for episode in &report.episodes {
        let sum: f64 = episode.phases.iter().map(|phase| phase.duration_ms.0).sum();
        assert!((sum - episode.outage_ms.0).abs() < 1e-6);
        let names: Vec<&str> = episode.phases.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "first-error",
                "old-container-gone",
                "endpoint-removed",
                "new-pod-created",
                "scheduled",
                "container-started",
                "ready",
                "endpoint-added",
                "first-tcp",
                "first-login",
                "first-commit"
            ]
        );
    }
    // Last commit at 3001 ms, back at 3651 ms.
    assert_eq!(report.episodes[0].outage_ms.0, 650.0);
}

#[test]
fn judging_again_gives_the_same_report_and_it_survives_json() {
    let run = RunBuilder::passing();
    let folder = run.write();
    let judged = judge(folder.path(), &run.plan).expect("it can be judged");
    super::super::write(folder.path(), &judged).expect("it can be written");
    let first = judged.report;
    let again = judge(folder.path(), &run.plan).expect("it can be judged again").report;
    assert_eq!(first, again);
    let bytes = std::fs::read(folder.path().join("report.json")).expect("it was written");
    let read: Report = serde_json::from_slice(&bytes).expect("it can be read");
    assert_eq!(read, first);
    let json: serde_json::Value = serde_json::from_slice(&bytes).expect("it is JSON");
    assert_eq!(json["schemaVersion"], 1);
    assert_eq!(json["verdict"], "pass");
    assert_eq!(json["claims"][1]["id"], "HA-2");
    assert_eq!(json["checks"][0]["counts"]["lost"], 0);
    assert!(json["latency"]["response"]["ok"]["p99Ms"].is_number());
    assert!(json["episodes"][0]["phases"][0]["durationMs"].is_number());
}

#[test]
fn a_folder_without_a_timeline_is_not_a_run() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let error = judge(folder.path(), &super::super::build::plan(1));
    assert!(matches!(error, Err(JudgeError::NotARun { .. })));
}

#[test]
fn a_lost_commit_fails_with_its_proof() {
    let report = fails("HA-6 does not hold: ledger: 1 lost", |run| {
        let mut keys = run.acked();
        run.history.ops.retain(|op| op.f != F::LedgerRead);
        keys.remove(10);
        run.history.final_read(&keys);
    });
    let example = &check(&report, "ledger").examples[0];
    assert_eq!(example.class, "lost");
    assert_eq!(example.ops.len(), 3);
    assert_eq!(example.ops[1].kind, OpType::Ok);
    assert_eq!(claim(&report, Claim::Ha6).verdict, Verdict::Invalid);
}

#[test]
fn a_lost_commit_that_the_experiment_allows_does_not_fail() {
    let mut run = RunBuilder::passing();
    run.plan.expect.lost_commits = 1;
    let mut keys = run.acked();
    run.history.ops.retain(|op| op.f != F::LedgerRead);
    keys.remove(10);
    run.history.final_read(&keys);
    assert_eq!(run.judge().outcome(), Outcome::Pass);
}

#[test]
fn a_lost_commit_fails_even_where_the_experiment_does_not_ask_for_it() {
    let report = fails("HA-6 does not hold", |run| {
        run.plan.expect.claims.remove(&Claim::Ha6);
        let mut keys = run.acked();
        run.history.ops.retain(|op| op.f != F::LedgerRead);
        keys.remove(10);
        run.history.final_read(&keys);
    });
    assert!(!claim(&report, Claim::Ha6).expected);
}

#[test]
fn only_expected_claims_decide() {
    let mut run = RunBuilder::passing();
    run.plan.expect.reconnect.max = Duration::from_millis(100);
    run.plan.expect.claims.remove(&Claim::Ha7);
    let report = run.judge();
    assert_eq!(claim(&report, Claim::Ha7).verdict, Verdict::Invalid);
    assert_eq!(report.outcome(), Outcome::Pass);
    run.plan.expect.claims.insert(Claim::Ha4);
    assert_eq!(run.judge().outcome(), Outcome::Inconclusive);
}

#[test]
fn a_target_that_does_not_recover_fails_with_what_was_last_seen() {
    let unrecovered = |run: &mut RunBuilder| {
        run.edit(|kind| {
            if let EventKind::FaultRecovered { fault, recovered, detail } = kind
                && fault == "pod-kill-2"
            {
                *recovered = false;
                *detail = "CrashLoopBackOff".to_owned();
            }
            true
        });
    };
    let report = fails("HA-7 does not hold", |run| {
        unrecovered(run);
        run.plan.expect.reconnect.max = Duration::from_millis(100);
    });
    let evidence = &claim(&report, Claim::Ha7).evidence;
    assert!(
        evidence.iter().any(|line| line.contains("pod-kill-2: the target did not recover; last seen: CrashLoopBackOff")),
        "{evidence:?}"
    );
    // Clients that were back in time are no failure of HA-7, and a pod that nobody saw ready is no proof of it.
    inconclusive("clients were back, and the target did not recover; last seen: CrashLoopBackOff", unrecovered);
    // Without HA-7 it does not fail the run, and it does not pass either.
    inconclusive("did not recover from pod-kill-2", |run| {
        unrecovered(run);
        run.plan.expect.claims.remove(&Claim::Ha7);
    });
}

#[test]
fn an_outage_beyond_the_target_fails() {
    fails("HA-7 does not hold", |run| {
        run.plan.expect.reconnect.max = Duration::from_millis(649);
    });
    fails("99th percentile of n = 2", |run| {
        run.plan.expect.reconnect.p99 = Some(Duration::from_millis(649));
    });
}

#[test]
fn another_claim_or_a_missing_row_fails_the_storage() {
    fails("the volume changed", |run| {
        run.edit(|kind| {
            if let EventKind::TargetIdentified { moment: IdentityMoment::After, identity } = kind {
                identity.claim.volume = "pv-2".to_owned();
            }
            true
        });
    });
    fails("is gone or differs", |run| {
        run.edit(|kind| {
            if let EventKind::SentinelRead { moment: IdentityMoment::After, found } = kind {
                *found = false;
            }
            true
        });
    });
    fails("DAMAGE", |run| {
        run.edit(|kind| {
            if let EventKind::EngineFact { fact } = kind {
                fact.outcome = crate::model::FactOutcome::Bad;
            }
            true
        });
    });
    inconclusive("HA-3 is not decided", |run| {
        run.edit(|kind| !matches!(kind, EventKind::SentinelRead { moment: IdentityMoment::After, .. }));
    });
    inconclusive("HA-3 is not decided", |run| {
        run.edit(|kind| !matches!(kind, EventKind::TargetIdentified { moment: IdentityMoment::After, .. }));
    });
}

#[test]
fn another_service_address_fails() {
    fails("HA-5 does not hold", |run| {
        run.edit(|kind| {
            if let EventKind::TargetIdentified { moment: IdentityMoment::After, identity } = kind {
                identity.service.cluster_ip = "10.96.0.10".to_owned();
            }
            true
        });
    });
}

#[test]
fn a_pod_of_another_owner_fails() {
    fails("is not owned by ReplicaSet", |run| {
        run.edit(|kind| {
            if let EventKind::Pod { pod, .. } = kind
                && pod.uid == "p2"
                && let Some(owner) = &mut pod.owner
            {
                owner.uid = "rs-2".to_owned();
            }
            true
        });
    });
    fails("HA-2 does not hold: pod-kill-2: no new pod came", |run| {
        run.edit(|kind| !matches!(kind, EventKind::Pod { pod, .. } if pod.uid == "p2"));
    });
}

/// Makes the old pod of the first fault live on beside the new one.
fn overlapping(run: &mut RunBuilder, logs_lock: bool) {
    run.edit(|kind| !matches!(kind, EventKind::Pod { change: PodChange::Deleted, pod } if pod.uid == "p0"));
    let mut old = pod("p0", running(), true);
    old.terminating = true;
    run.at(3_020, EventKind::Pod { change: PodChange::Modified, pod: old.clone() });
    old.containers[0].state = ContainerState::Terminated(TerminatedSeen {
        id: old.containers[0].id.clone(),
        exit_code: 137,
        reason: "Error".to_owned(),
        started_at: None,
        finished_at: None,
    });
    run.at(4_400, EventKind::Pod { change: PodChange::Modified, pod: old });
    if logs_lock {
        let line = "error 5120: the file is in use".to_owned();
        let container_id = "containerd://p1".to_owned();
        run.at(3_450, EventKind::EngineLog { container_id, line });
    }
}

#[test]
fn how_the_engine_ended_is_told_with_each_fault() {
    let last_evidence = |change: &dyn Fn(&mut RunBuilder)| {
        let mut run = RunBuilder::passing();
        change(&mut run);
        run.judge().faults[0].evidence.last().cloned().expect("a fault has evidence")
    };
    let says = |run: &mut RunBuilder, ms: u64, line: &str| {
        run.at(ms, EventKind::EngineLog { container_id: "containerd://p0".to_owned(), line: line.to_owned() });
    };
    let unseen = last_evidence(&|_| {});
    assert_eq!(unseen, "how the engine ended was not seen: its pod went first, and its log says nothing of a stop");
    // Two lines of another container are not about this one.
    let asked = "SQL Server is terminating because of a system shutdown.";
    assert_eq!(
        unseen,
        last_evidence(&|run| run.at(3_010, EventKind::EngineLog { container_id: "containerd://p1".to_owned(), line: asked.to_owned() }))
    );
    let cut_short = last_evidence(&|run| says(run, 3_010, asked));
    assert_eq!(cut_short, "the engine was asked to stop (SIGTERM) and ended before it had stopped in order");
    // A pod that was deleted by force is gone before how its container ended is told, so that the log is all there is.
    assert_eq!(cut_short, last_evidence(&|run| says(run, 3_010, "SIGTERM ignored.")));
    let in_order = last_evidence(&|run| {
        says(run, 3_010, asked);
        says(run, 3_015, "SQL Server shutdown has been completed.");
    });
    assert_eq!(in_order, "the engine was asked to stop (SIGTERM) and stopped in order");
    let killed = last_evidence(&|run| overlapping(run, false));
    assert_eq!(killed, "the engine was killed (SIGKILL) without being asked to stop (exit code 137, Error)");
}

#[test]
fn two_containers_on_the_claim_fail_unless_they_are_expected() {
    let report = fails("ran at once for 1000 ms", |run| overlapping(run, false));
    assert!(check(&report, "single-writer").evidence[0].contains("both were ready"));
    let report = fails("ran at once", |run| overlapping(run, true));
    assert!(check(&report, "single-writer").evidence[0].contains("5120"));
    let mut run = RunBuilder::passing();
    overlapping(&mut run, false);
    run.plan.expect.overlap_allowed = true;
    let report = run.judge();
    assert_eq!(report.outcome(), Outcome::Pass);
    let single_writer = check(&report, "single-writer");
    assert_eq!(single_writer.counts["overlaps"], 1);
    assert!(single_writer.evidence[0].contains("1000 ms"));
}

#[test]
fn the_kubelets_times_outweigh_the_arrivals() {
    let with_times = |started: &str, finished: &str| {
        let mut run = RunBuilder::passing();
        overlapping(&mut run, false);
        run.edit(|kind| {
            if let EventKind::Pod { pod, .. } = kind {
                match &mut pod.containers[0].state {
                    ContainerState::Running { started_at } if pod.uid == "p1" => {
                        *started_at = Some(started.to_owned());
                    }
                    ContainerState::Terminated(terminated) => {
                        terminated.finished_at = Some(finished.to_owned());
                    }
                    _ => {}
                }
            }
            true
        });
        check(&run.judge(), "single-writer").verdict
    };
    let started = "2026-11-24T19:46:10Z";
    assert_eq!(with_times(started, "2026-11-24T19:46:09Z"), Verdict::Valid);
    assert_eq!(with_times(started, "2026-11-24T19:46:10Z"), Verdict::Unknown);
    assert_eq!(with_times(started, "2026-11-24T19:46:11Z"), Verdict::Invalid);
}

#[test]
fn a_run_that_saw_no_container_does_not_know_who_wrote() {
    inconclusive("no container of the target was seen", |run| {
        run.edit(|kind| !matches!(kind, EventKind::Pod { .. }));
    });
}

#[test]
fn what_is_left_in_the_cluster_is_told_unless_it_was_kept() {
    let namespace = LeakItem::of("namespace/chaos-pod-kill".to_owned(), "kubectl delete namespace chaos-pod-kill");
    let cordon = LeakItem::of("cordon of node/a".to_owned(), "kubectl uncordon a");
    let kept = LeakItem { kept: true, ..namespace.clone() };
    for (left, all_kept, told) in [
        (vec![namespace.clone()], false, vec!["namespace/chaos-pod-kill"]),
        // As runs recorded it whose items did not say it themselves.
        (vec![namespace], true, vec![]),
        (vec![kept.clone()], true, vec![]),
        (vec![cordon, kept], false, vec!["cordon of node/a"]),
    ] {
        let mut run = RunBuilder::passing();
        run.edit(|kind| !matches!(kind, EventKind::LeakCheck { .. }));
        run.at(14_995, EventKind::LeakCheck { left: left.clone(), kept: all_kept });
        let report = run.judge();
        assert_eq!(report.outcome(), Outcome::Pass);
        assert_eq!(report.leaks().map(|item| item.what.as_str()).collect::<Vec<_>>(), told);
        assert_eq!(report.leaks.left, left);
    }
}

#[test]
fn a_container_fault_is_judged_by_its_restart() {
    let mut run = RunBuilder::passing();
    run.plan.expect.claims = [Claim::Ha1].into();
    for fault in &mut run.plan.faults {
        fault.spec = FaultSpec::ContainerCrash;
    }
    run.edit(|kind| {
        if let EventKind::FaultStarted { target, .. } = kind {
            target.kind = "Container".to_owned();
            target.uid = format!("containerd://{}", target.uid);
            target.name += "/mssql";
        }
        true
    });
    assert_eq!(run.judge().outcome(), Outcome::Fail);
    for (uid, at) in [("p0", 3_300), ("p1", 8_300)] {
        let mut pod = pod(uid, running(), true);
        pod.containers[0].id = Some(format!("containerd://{uid}-again"));
        pod.containers[0].restarts = 1;
        run.at(at, EventKind::Pod { change: PodChange::Modified, pod });
    }
    let report = run.judge();
    assert_eq!(claim(&report, Claim::Ha1).verdict, Verdict::Valid);
    assert_eq!(claim(&report, Claim::Ha2).verdict, Verdict::Unknown);
}

#[test]
fn a_node_fault_is_judged_by_the_new_node() {
    let on = |node: &str| {
        let mut run = RunBuilder::passing();
        run.plan.expect.claims = [Claim::Ha4].into();
        for fault in &mut run.plan.faults {
            fault.spec = FaultSpec::NodeDrain;
        }
        run.edit(|kind| {
            match kind {
                EventKind::FaultStarted { target, .. } => {
                    target.kind = "Node".to_owned();
                    target.name = "node-1".to_owned();
                }
                EventKind::Pod { pod, .. } if pod.uid != "p0" => pod.node = Some(node.to_owned()),
                _ => {}
            }
            true
        });
        claim(&run.judge(), Claim::Ha4).verdict
    };
    assert_eq!(on("node-2"), Verdict::Valid);
    assert_eq!(on("node-1"), Verdict::Invalid);
}

#[test]
fn an_outage_nobody_saw_the_end_of_is_unknown_until_it_is_too_long() {
    // The run was interrupted during the second outage.
    let cut = |max_ms: u64| {
        let mut run = RunBuilder::passing();
        run.plan.expect.reconnect.max = Duration::from_millis(max_ms);
        run.events.retain(|event| event.time_ns < 8_500 * MS);
        run.history.ops.retain(|op| op.time_ns < 8_500 * MS);
        let attested = EventKind::FaultAttested { fault: "pod-kill-2".to_owned(), attested: true, evidence: Vec::new() };
        run.at(8_499, attested);
        run.judge()
    };
    // It is seen until the last event, 499 ms after the last commit.
    assert_eq!(claim(&cut(3_000), Claim::Ha7).verdict, Verdict::Unknown);
    let report = cut(300);
    assert_eq!(claim(&report, Claim::Ha7).verdict, Verdict::Invalid);
    assert!(!report.episodes[1].ended);
}

#[test]
fn limits_speak_of_what_ran() {
    let report = RunBuilder::passing().judge();
    for words in ["sandbox", "stand-in engine", "when the power fails", "dbcc-checkdb", "few"] {
        assert!(report.limits.iter().any(|limit| limit.contains(words)), "{words}: {:?}", report.limits);
    }
}

#[test]
fn an_op_error_and_a_value_of_any_spelling_are_read() {
    // The same history with blanks in every line takes the general parser and gives the same report.
    let run = RunBuilder::passing();
    let folder = run.write();
    let first = judge(folder.path(), &run.plan).expect("it can be judged").report;
    let path = folder.path().join("history.jsonl");
    let text = std::fs::read_to_string(&path).expect("it was written");
    std::fs::write(&path, text.replace(",\"", ", \"")).expect("it can be written");
    let again = judge(folder.path(), &run.plan).expect("it can be judged").report;
    assert_eq!(first, again);
}

#[test]
fn a_harness_that_is_late_says_so() {
    let mut run = RunBuilder::passing();
    run.edit(|kind| {
        if let EventKind::LoadSummary { lateness_ns, .. } = kind {
            *lateness_ns = [MS, 2 * MS, 3 * MS, 4 * MS, 5 * MS];
        }
        true
    });
    let report = run.judge();
    assert_eq!(report.outcome(), Outcome::Pass);
    assert!(report.notes[0].contains("5.00 ms late (p99 3.00 ms)"), "{:?}", report.notes);
}

#[test]
fn an_endpoint_that_outlives_its_pod_breaks_the_promise_of_the_address() {
    let report = fails("HA-5 does not hold: the Service still led to pod sql-p0", |run| {
        let first = run.events.iter().find_map(|event| match &event.kind {
            EventKind::Endpoints { endpoints } => endpoints.first().cloned(),
            _ => None,
        });
        let first = first.expect("the first pod has an endpoint");
        for event in &mut run.events {
            if let EventKind::Endpoints { endpoints } = &mut event.kind
                && !endpoints.contains(&first)
            {
                endpoints.push(first.clone());
            }
        }
    });
    assert_eq!(claim(&report, Claim::Ha7).verdict, Verdict::Valid);
}
