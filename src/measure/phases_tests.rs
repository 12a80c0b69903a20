use proptest::prelude::*;

use super::*;

use crate::measure::SeenBy;
use crate::model::{EndpointSeen, HarnessInfo, Provider, RunInfo};
use crate::report::build::{pod, running, waiting};

const MS: u64 = 1_000_000;

/// Each phase that took time, with its length in ms, of an outage from 100 ms to 1,100 ms.
fn split_up(events: Vec<(u64, EventKind)>) -> Vec<(&'static str, u64)> {
    let mut all = vec![(1, told(PodChange::Added, pod("p0", running(), true))), (2, endpoints(&["p0"]))];
    all.extend(events);
    let events: Vec<Event> = all.into_iter().map(|(ms, kind)| Event { time_ns: ms * MS, kind }).collect();
    let window = Window { fault: String::new(), start_ns: 95 * MS, end_ns: 5_000 * MS, recovered_ns: None };
    let outage = Outage { start_ns: 100 * MS, first_error_ns: Some(110 * MS), end_ns: 1_100 * MS, ended: true, seen_by: SeenBy::Everyone };
    let spans = phases(&events, &window, &outage);
    assert_eq!(spans.iter().map(|span| span.duration_us).sum::<u64>(), 1_000_000);
    spans.iter().filter(|span| span.duration_us > 0).map(|span| (span.name, span.duration_us / 1_000)).collect()
}

fn told(change: PodChange, pod: PodSeen) -> EventKind {
    EventKind::Pod { change, pod }
}

fn endpoints(ready: &[&str]) -> EventKind {
    let endpoint = |uid: &&str| EndpointSeen {
        address: "10.0.0.1".to_owned(),
        pod_uid: Some((*uid).to_owned()),
        ready: true,
        serving: true,
        terminating: false,
    };
    EventKind::Endpoints { endpoints: ready.iter().map(endpoint).collect() }
}

fn probe(stage: ProbeStage) -> EventKind {
    EventKind::Probe { stage, attempt_ns: 0 }
}

#[test]
fn a_replacement_created_beside_the_old_container_comes_before_its_end() {
    let names = split_up(vec![
        (120, told(PodChange::Added, pod("p1", waiting(), false))),
        (130, endpoints(&[])),
        (700, told(PodChange::Deleted, pod("p0", running(), false))),
        (800, told(PodChange::Modified, pod("p1", running(), false))),
        (1_000, told(PodChange::Modified, pod("p1", running(), true))),
        (1_050, endpoints(&["p1"])),
    ]);
    assert_eq!(
        names,
        [
            ("first-error", 10),
            ("new-pod-created", 10),
            ("endpoint-removed", 10),
            ("old-container-gone", 570),
            ("container-started", 100),
            ("ready", 200),
            ("endpoint-added", 50),
            ("first-commit", 50)
        ]
    );
}

#[test]
fn a_container_that_starts_again_in_its_pod_has_no_new_pod() {
    let again = |ready| {
        let mut pod = pod("p0", running(), ready);
        pod.containers[0].id = Some("containerd://again".to_owned());
        pod
    };
    let mut ended = pod("p0", running(), false);
    ended.containers[0].state = ContainerState::Terminated(crate::model::TerminatedSeen {
        id: ended.containers[0].id.clone(),
        exit_code: 137,
        reason: "Error".to_owned(),
        started_at: None,
        finished_at: None,
    });
    let names = split_up(vec![
        (150, told(PodChange::Modified, ended)),
        (160, endpoints(&[])),
        (500, told(PodChange::Modified, again(false))),
        (900, told(PodChange::Modified, again(true))),
        (910, endpoints(&["p0"])),
    ]);
    assert_eq!(
        names,
        [
            ("first-error", 10),
            ("old-container-gone", 40),
            ("endpoint-removed", 10),
            ("container-started", 340),
            ("ready", 400),
            ("endpoint-added", 10),
            ("first-commit", 190)
        ]
    );
}

#[test]
fn the_last_time_a_stage_was_reached_counts_and_what_comes_after_the_commit_does_not() {
    let names = split_up(vec![
        (200, probe(ProbeStage::Tcp)),
        (600, probe(ProbeStage::Tcp)),
        (700, probe(ProbeStage::Login)),
        (1_200, endpoints(&["p1"])),
    ]);
    assert_eq!(names, [("first-error", 10), ("first-tcp", 490), ("first-login", 100), ("first-commit", 400)]);
}

/// A connection through the Service needs the new endpoint, whichever of the watch and the prober tells first, and even if all clients are back before the watch.
#[test]
fn an_endpoint_that_is_told_after_the_connection_through_it_keeps_its_time() {
    let told_at = |endpoint_ms| {
        split_up(vec![
            (120, endpoints(&[])),
            (150, told(PodChange::Added, pod("p1", waiting(), false))),
            (200, told(PodChange::Modified, pod("p1", running(), false))),
            (1_095, probe(ProbeStage::Tcp)),
            (1_097, probe(ProbeStage::Login)),
            (endpoint_ms, told(PodChange::Modified, pod("p1", running(), true))),
            (endpoint_ms + 1, endpoints(&["p1"])),
        ])
    };
    let begun = [("first-error", 10), ("endpoint-removed", 10), ("new-pod-created", 30), ("container-started", 50)];
    let told_first =
        [&begun[..], &[("ready", 892), ("endpoint-added", 1), ("first-tcp", 2), ("first-login", 2), ("first-commit", 3)]].concat();
    let told_later = [&begun[..], &[("ready", 895), ("first-login", 2), ("first-commit", 3)]].concat();
    assert_eq!(told_at(1_092), told_first);
    for later_ms in [1_096, 1_099, 1_110] {
        assert_eq!(told_at(later_ms), told_later, "told at {later_ms} ms");
    }
}

/// Of a process that hangs the kernel accepts connections all the time: that is no way through the new endpoint.
#[test]
fn a_connection_before_the_endpoint_was_removed_says_nothing_of_the_new_one() {
    let names = split_up(vec![(150, probe(ProbeStage::Tcp)), (400, endpoints(&[])), (900, endpoints(&["p0"]))]);
    assert_eq!(names, [("first-error", 10), ("first-tcp", 40), ("endpoint-removed", 250), ("endpoint-added", 500), ("first-commit", 200)]);
}

fn log(container: &str, line: &str) -> EventKind {
    EventKind::EngineLog { container_id: container.to_owned(), line: line.to_owned() }
}

fn spans(events: Vec<(u64, EventKind)>) -> Vec<PhaseSpan> {
    let started_at = "2026-11-24T19:46:00Z".to_owned();
    let harness = HarnessInfo { version: String::new(), commit: String::new() };
    let run = RunInfo {
        id: String::new(),
        experiment: String::new(),
        seed: 1,
        started_at,
        provider: Provider::Kind,
        cluster: String::new(),
        namespace: String::new(),
        harness,
    };
    let mut all = vec![
        (0, EventKind::RunStarted { run }),
        // The cluster's clock is two seconds ahead.
        (1, EventKind::ClockCompared { offset_ns: 2_000_000_000, within_ns: 3_000_000, round_trip_ns: 4_000_000 }),
        (2, told(PodChange::Added, pod("p0", running(), true))),
    ];
    all.extend(events);
    let events: Vec<Event> = all.into_iter().map(|(ms, kind)| Event { time_ns: ms * MS, kind }).collect();
    let window = Window { fault: String::new(), start_ns: 95 * MS, end_ns: 9_000 * MS, recovered_ns: None };
    let outage = Outage { start_ns: 100 * MS, first_error_ns: Some(110 * MS), end_ns: 5_000 * MS, ended: true, seen_by: SeenBy::Everyone };
    phases(&events, &window, &outage)
}

#[test]
fn recovery_is_told_by_the_time_that_the_engines_log_names_however_late_its_lines_come() {
    let spans = spans(vec![
        (50, log("containerd://p0", "2026-11-24 19:46:02.05 spid7s      Recovery is complete.")),
        (600, told(PodChange::Added, pod("p1", waiting(), false))),
        (900, told(PodChange::Modified, pod("p1", running(), false))),
        (4_000, log("containerd://p1", "2026-11-24 19:46:03.00 spid9s      Starting up database 'master'.")),
        (4_000, log("containerd://p1", "2026-11-24 19:46:03.20 spid9s      Starting up database 'chaos'.")),
        // Behind the end of the outage, and of a time before it.
        (
            5_100,
            log(
                "containerd://p1",
                "2026-11-24 19:46:04.50 spid9s      Recovery completed for database chaos (database ID 5) in 1 second(s)",
            ),
        ),
        (5_100, log("containerd://p1", "2026-11-24 19:46:04.80 spid9s      Recovery is complete. This is an informational message only.")),
    ]);
    let of = |name: &str| spans.iter().find(|span| span.name == name).expect("the phase is there");
    let end_ms = |name: &str| (of(name).start_us + of(name).duration_us) / 1_000;
    assert_eq!((end_ms("recovery-started"), end_ms("recovery-ended")), (1_000, 2_800));
    assert_eq!((of("recovery-ended").source, of("recovery-ended").uncertainty_us), ("database log", Some(13_000)));
    assert_eq!(spans.iter().map(|span| span.duration_us).sum::<u64>(), 4_900_000);
}

#[test]
fn a_cause_that_is_told_after_its_effect_keeps_its_time() {
    let spans = spans(vec![
        (600, told(PodChange::Added, pod("p1", waiting(), false))),
        (650, endpoints(&[])),
        (800, told(PodChange::Modified, pod("p1", running(), false))),
        (1_900, endpoints(&["p1"])),
        (1_903, told(PodChange::Modified, pod("p1", running(), true))),
    ]);
    let of = |name: &str| spans.iter().find(|span| span.name == name).expect("the phase is there");
    assert_eq!((of("ready").duration_us, of("endpoint-added").duration_us), (1_100_000, 0));
    // Without a stamp it is known only that it happened after the container had started.
    assert_eq!(of("ready").uncertainty_us, Some(1_304_000));
}

#[test]
fn each_source_has_its_uncertainty() {
    let mut fresh = pod("p1", ContainerState::Running { started_at: Some("2026-11-24T19:46:03Z".to_owned()) }, false);
    let started = told(PodChange::Modified, fresh.clone());
    fresh.ready = true;
    fresh.ready_since = Some("2026-11-24T19:46:05Z".to_owned());
    let spans = spans(vec![
        (600, told(PodChange::Added, pod("p1", waiting(), false))),
        (1_400, started),
        (2_990, EventKind::Probe { stage: ProbeStage::Tcp, attempt_ns: 2_988 * MS }),
        (3_100, told(PodChange::Modified, fresh)),
    ]);
    let told: Vec<(&str, &str, Option<u64>)> = spans.iter().map(|span| (span.name, span.source, span.uncertainty_us)).collect();
    assert_eq!(
        told,
        [
            ("first-error", HISTORY, Some(0)),
            ("new-pod-created", POD_WATCH, Some(4_000)),
            ("scheduled", POD_WATCH, Some(4_000)),
            // It started at 1.0 s by the cluster's stamp, as far as the clocks are known.
            ("container-started", KUBELET, Some(403_000)),
            ("first-tcp", PROBER, Some(7_000)),
            ("ready", KUBELET, Some(103_000)),
            ("first-commit", HISTORY, Some(0)),
        ]
    );
}

proptest! {
    /// Whatever was seen whenever, the phases are contiguous and sum exactly to the outage.
    #[test]
    fn phases_are_contiguous_and_sum_to_the_outage(
        start in 0u64..1_000,
        length in 0u64..1_000,
        seen in proptest::collection::vec(proptest::option::of(0u64..2_500), 0..12),
    ) {
        let boundaries: Vec<Boundary> = seen
            .into_iter()
            .map(|seen_us| Boundary {
                name: "b",
                seen: seen_us.map(|us| Sight { at_ns: us * 1_000, source: "s", unsure_ns: None }),
            })
            .collect();
        let spans = split(&boundaries, "first-commit", start, start + length);
        let mut at = start;
        for span in &spans {
            prop_assert_eq!(span.start_us, at);
            at += span.duration_us;
        }
        prop_assert_eq!(at, start + length);
    }
}
