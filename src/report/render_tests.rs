//! Every renderer against the same reports, and against each other.

use proptest::prelude::*;

use super::build::{MS, RunBuilder, pod, running};
use super::junit::{junit, junit_of};
use super::markdown::markdown;
use super::{Live, Report, terminal};
use crate::model::{Claim, Event, EventKind, EventSink, F, LeakItem, Outcome, PodChange, Provider, Verdict};

const PASSING: &str = "\
PASS  pod-kill  (sandbox: not a real Kubernetes)
  run pod-kill-20261124-194600, seed 7, took 15.0 s, tds-sqlite 0.1.0,
  Kubernetes v1.34.0

Claims
  HA-2  holds    a failed pod is replaced by its controller
                 pod-kill-1: pod sql-p1 of the same ReplicaSet sql-6d4 became
                   ready
  HA-3  holds    the new pod uses the same persistent storage
                 volume: claim data kept its volume pv-1 (/volumes/pv-1)
  HA-5  holds    the Service address stays the same and leads to the new pod
                 Service sql kept its address 10.96.0.9
  HA-6  holds    no acknowledged commit is lost, altered or doubled
                 ledger: 1072 of 1072 acknowledged commits read back in 1072
                   rows
  HA-7  holds    clients are back within the promised time
                 longest of n = 2 outages 650 ms, allowed 3.00 s
  not exercised and not expected: HA-1, HA-4

Outages as clients saw them
  pod-kill-1     650 ms  eonsccccccccccccccccccccccccccccccrrrrrrrraalllll======
  pod-kill-2     650 ms  eonsccccccccccccccccccccccccccccccrrrrrrrraalllll======
  e until the first error 10.0 ms, x endpoint removed 5.00 ms, o old container
    gone 9.00 ms, n new pod created 15.0 ms, s scheduled 10.0 ms, c container
    started 350 ms, t first TCP 5.00 ms, l first login 50.0 ms, r ready 100 ms,
    a endpoint added 20.0 ms, = first commit 76.0 ms (medians)
  median 650 ms, shortest 650 ms, p99 650 ms, longest 650 ms (n = 2)

Checks
  ledger         valid    1086 attempted = 1072 acknowledged + 14 failed + 0
                          unknown; read back: 1072 ok, 0 recovered, 0 lost, 0
                          unexpected, 0 resurrected, 0 duplicated, 0 altered
  single-writer  valid    3 container instances were seen, never two at once; of
                          2 nobody reported the end, since their pods were
                          deleted by force
  volume         valid    claim data kept its volume pv-1 (/volumes/pv-1)

Load
  response p50 1.00 ms, p99 1.00 ms, longest 1.00 ms (n = 1072); a new
    connection and its commit p50 0.00 ms, p99 0.00 ms (n = 0)
  100 % of ops answered, no outage for 89.157 % of the time; Apdex 1.000
    (satisfied within 100 ms, tolerated within 400 ms)
  1100 ops issued, late by 0.20 ms at p99 and 0.90 ms at worst; 30.5 µs of CPU
    an op

What this run could not show
  - This ran on the built-in sandbox, not on a real Kubernetes: processes, files
";

/// A run that fails in as many ways as fit: a lost commit, an overlap, a leak.
fn failing() -> Report {
    let mut run = RunBuilder::passing();
    let mut keys = run.acked();
    run.history.ops.retain(|op| op.f != F::LedgerRead);
    keys.remove(10);
    run.history.final_read(&keys);
    run.edit(|kind| !matches!(kind, EventKind::Pod { change: PodChange::Deleted, pod } if pod.uid == "p0"));
    run.at(4_400, EventKind::Pod { change: PodChange::Deleted, pod: pod("p0", running(), true) });
    run.edit(|kind| !matches!(kind, EventKind::LeakCheck { .. }));
    let left = vec![LeakItem::of("namespace/chaos-x".to_owned(), "kubectl delete namespace chaos-x")];
    run.at(14_995, EventKind::LeakCheck { left, kept: false });
    run.judge()
}

#[test]
fn the_summary_says_the_verdict_first_and_all_that_matters() {
    let text = terminal(&RunBuilder::passing().judge(), 80, false);
    assert!(text.starts_with(PASSING), "{text}");
}

#[test]
fn a_failure_says_what_broke_and_where_to_look() {
    let text = terminal(&failing(), 80, false);
    let first: Vec<&str> = text.lines().take(2).collect();
    assert_eq!(
        first,
        ["FAIL  pod-kill  (sandbox: not a real Kubernetes)", "  HA-6 does not hold: ledger: 1 lost: acknowledged and not there (keys 11)"]
    );
    for words in ["HA-6  BROKEN", "ledger         INVALID", "lost key 11", "history.jsonl line 21", "kubectl delete namespace chaos-x"] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
}

/// Removes the colour codes.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, code)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = code.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[test]
fn the_summary_fits_its_width_and_loses_nothing_without_colour() {
    for report in [RunBuilder::passing().judge(), failing()] {
        for width in [60, 80, 132] {
            let text = terminal(&report, width, false);
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            let coloured = terminal(&report, width, true);
            assert_ne!(coloured, text);
            assert_eq!(plain(&coloured), text);
        }
    }
}

#[test]
fn many_outages_are_cut_to_the_longest() {
    let mut report = RunBuilder::passing().judge();
    let one = report.episodes[0].clone();
    report.episodes = (0..30)
        .map(|n| {
            let mut episode = one.clone();
            episode.fault_id = format!("pod-kill-{n}");
            episode.outage_ms.0 += f64::from(n);
            episode
        })
        .collect();
    let text = terminal(&report, 80, false);
    assert!(text.contains("and 18 shorter ones"));
    assert!(text.contains("  pod-kill-29 ") && !text.contains("  pod-kill-3 "), "{text}");
}

#[test]
fn markdown_tells_the_same() {
    let page = markdown(&failing());
    for words in ["## ❌ FAIL: pod-kill (sandbox: not a real Kubernetes)", "| HA-6 ", "**broken**", "| pod-kill-1 | 650 ms |", "1 lost"] {
        assert!(page.contains(words), "{words}:\n{page}");
    }
    let mut report = RunBuilder::passing().judge();
    report.claims[1].evidence[0] = "a|b\n<script>".to_owned();
    let page = markdown(&report);
    assert!(page.contains("a\\|b &lt;script>"), "{page}");
}

#[test]
fn junit_has_one_case_for_each_claim_and_check_with_stable_ids() {
    let xml = junit(&failing());
    let names: Vec<&str> = xml.lines().filter_map(|line| line.trim().strip_prefix("<testcase classname=\"")?.split('>').next()).collect();
    let expected = [
        "pod-kill.run\" name=\"verdict\"",
        "pod-kill.claims\" name=\"HA-1\"",
        "pod-kill.claims\" name=\"HA-2\"",
        "pod-kill.claims\" name=\"HA-3\"",
        "pod-kill.claims\" name=\"HA-4\"",
        "pod-kill.claims\" name=\"HA-5\"",
        "pod-kill.claims\" name=\"HA-6\"",
        "pod-kill.claims\" name=\"HA-7\"",
        "pod-kill.checks\" name=\"ledger\"",
        "pod-kill.checks\" name=\"single-writer\"",
        "pod-kill.checks\" name=\"volume\"",
    ];
    assert_eq!(names, expected);
    assert!(xml.contains("tests=\"11\" failures=\"4\" errors=\"0\" skipped=\"2\""), "{xml}");
}

#[test]
fn repeats_of_an_experiment_are_testcases_of_their_own() {
    let (report, mut other) = (failing(), RunBuilder::passing().judge());
    other.run.experiment = "other".to_owned();
    let xml = junit_of([&report, &other, &report]);
    let cases: Vec<&str> = xml.lines().filter_map(|line| line.trim().strip_prefix("<testcase ")?.split('>').next()).collect();
    assert_eq!(cases.len(), 33);
    assert_eq!(cases.iter().collect::<std::collections::BTreeSet<_>>().len(), 33, "{xml}");
    assert!(xml.contains("<testsuite name=\"pod-kill #2\"") && xml.contains("classname=\"pod-kill #2.claims\""), "{xml}");
}

#[test]
fn junit_escapes_what_xml_reserves() {
    let mut report = RunBuilder::passing().judge();
    report.run.experiment = "a<b>&\"c\"\u{1}".to_owned();
    let xml = junit(&report);
    assert!(xml.contains("name=\"a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}\""), "{xml}");
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Valid), Just(Verdict::Unknown), Just(Verdict::Invalid)]
}

proptest! {
    /// Whatever claims and checks say, the exit code, the JUnit file, the summary and the page agree.
    #[test]
    fn every_renderer_agrees_with_the_verdict(
        claims in proptest::collection::vec((any_verdict(), any::<bool>()), 7),
        checks in proptest::collection::vec(any_verdict(), 3),
        doubt in any::<bool>(),
    ) {
        let mut report = passing().clone();
        let mut outcome = if doubt { Outcome::Inconclusive } else { Outcome::Pass };
        for (claim, (verdict, expected)) in report.claims.iter_mut().zip(claims) {
            (claim.verdict, claim.expected) = (verdict, expected);
            if expected {
                outcome = outcome.max(Outcome::from(verdict));
            }
        }
        for (check, verdict) in report.checks.iter_mut().zip(checks) {
            check.verdict = verdict;
        }
        report.verdict = outcome;
        let xml = junit(&report);
        prop_assert_eq!(xml.contains("<failure") , outcome == Outcome::Fail);
        prop_assert_eq!(xml.contains("<failure") || xml.contains("<error"), outcome != Outcome::Pass);
        let first = format!("{outcome}  pod-kill");
        prop_assert!(terminal(&report, 80, false).starts_with(&first));
        let words = format!("{outcome}: pod-kill");
        prop_assert!(markdown(&report).lines().next().is_some_and(|line| line.contains(&words)));
    }

    /// Merging verdicts is associative, does not ask for an order, and never improves one.
    #[test]
    fn merging_is_associative_and_never_improves(a in any_verdict(), b in any_verdict(), c in any_verdict()) {
        prop_assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
        prop_assert_eq!(a.merge(b), b.merge(a));
        prop_assert!(a.merge(b) >= a);
        prop_assert_eq!(Outcome::from(a.merge(b)), Outcome::from(a).max(Outcome::from(b)));
        prop_assert_eq!(Verdict::merge_all([a, b, c]), a.merge(b).merge(c));
    }
}

fn passing() -> &'static Report {
    static REPORT: std::sync::OnceLock<Report> = std::sync::OnceLock::new();
    REPORT.get_or_init(|| RunBuilder::passing().judge())
}

fn live(width: Option<usize>, events: &[Event]) -> String {
    let run = RunBuilder::passing();
    let mut out = Vec::new();
    let mut live = Live::new(&mut out, width, &run.plan);
    for event in events {
        live.event(event);
    }
    drop(live);
    String::from_utf8(out).expect("progress is text")
}

#[test]
fn progress_off_a_terminal_is_one_line_an_event_that_matters() {
    let mut run = RunBuilder::passing();
    for second in 1..15 {
        run.at(second * 1_000, EventKind::Throughput { due: 100, ok: 100, fail: 0, info: 0, in_flight: 1 });
    }
    let text = live(None, &run.events);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "  0.00 ms  sandbox: not a real Kubernetes; run pod-kill-20261124-194600 of pod-kill, seed 7");
    assert!(!text.contains('\u{1b}') && !text.contains("ops/s"), "{text}");
    assert!(lines.contains(&"   3.00 s  pod-kill-1: pod sql-p0 (grace 0s)"), "{text}");
    assert!(lines.contains(&"   3.70 s  pod-kill-1: recovered"), "{text}");
    assert_eq!(lines.last(), Some(&"   15.0 s  run finished"));
}

#[test]
fn progress_on_a_terminal_is_redrawn_at_most_ten_times_a_second() {
    let mut events = vec![Event { time_ns: 0, kind: EventKind::PhaseStarted { phase: crate::model::Phase::Faults } }];
    for ms in 1..=2_000 {
        let kind = EventKind::Throughput { due: 1, ok: 1, fail: 0, info: 0, in_flight: 2 };
        events.push(Event { time_ns: ms * MS, kind });
    }
    let text = live(Some(80), &events);
    // Once with the line of the phase, then once each 100 ms of two seconds.
    assert_eq!(text.matches("faults 0 of 2").count(), 21);
    assert!(text.contains("next pod-kill-1 in 1.00 s"), "{text}");
    for line in plain_block(&text) {
        assert!(line.chars().count() < 80, "{line}");
    }
}

/// The lines of redrawn blocks without what moves the cursor.
fn plain_block(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.rsplit("\u{1b}[J").next().unwrap_or(line)).collect()
}

#[test]
fn an_outage_is_seen_to_grow_and_the_block_goes_away_at_the_end() {
    let run = RunBuilder::passing();
    let mut out = Vec::new();
    let mut live = Live::new(&mut out, Some(80), &run.plan);
    let error = crate::model::OpError { kind: crate::model::ErrorKind::Refused, number: None, message: String::new() };
    let stage = crate::model::ProbeStage::Tcp;
    live.event(&Event { time_ns: 1_000 * MS, kind: EventKind::ProbeFailed { stage, attempt_ns: 999 * MS, error } });
    live.tick(3_500 * MS);
    live.event(&Event { time_ns: 4_000 * MS, kind: EventKind::RunFinished });
    drop(live);
    let text = String::from_utf8(out).expect("progress is text");
    assert!(text.contains("new connections fail since 2.50 s"), "{text}");
    assert!(text.ends_with("\u{1b}[J   4.00 s  run finished\n"), "{text:?}");
}

#[test]
fn the_place_is_said_wherever_it_is() {
    let mut report = RunBuilder::passing().judge();
    report.run.provider = Provider::Kind;
    report.run.cluster = "rig".to_owned();
    assert!(terminal(&report, 80, false).starts_with("PASS  pod-kill  (kind cluster rig)\n"));
    assert_eq!(report.claims.iter().filter(|claim| claim.id == Claim::Ha6).count(), 1);
}
