//! A run's live figures as Prometheus text: a fold over the same events as every other view of a run.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::{Event, EventKind, EventSink, Phase, ProbeStage};

/// The figures of the runs of this process. Counters go on from run to run, so that their rates are right over a row of runs.
#[derive(Debug, Default)]
pub struct Metrics {
    run: Option<Labels>,
    phase: Option<Phase>,
    now_ns: u64,
    due: u64,
    ok: u64,
    fail: u64,
    info: u64,
    in_flight: u64,
    /// Faults that were injected and not yet recovered from: id and kind.
    active: BTreeMap<String, String>,
    injected: u64,
    refused: u64,
    /// TCP, login and commit of a new connection.
    probe: [bool; 3],
    endpoints_ready: usize,
    /// Ready pods, by uid.
    pods_ready: BTreeMap<String, bool>,
    finished: u64,
}

/// Who runs.
#[derive(Debug)]
struct Labels {
    run: String,
    experiment: String,
    provider: &'static str,
}

const STAGES: [(ProbeStage, &str); 3] = [(ProbeStage::Tcp, "tcp"), (ProbeStage::Login, "login"), (ProbeStage::Commit, "commit")];

impl EventSink for Metrics {
    fn event(&mut self, event: &Event) {
        self.now_ns = event.time_ns;
        match &event.kind {
            EventKind::RunStarted { run } => {
                let labels = Labels { run: run.id.clone(), experiment: run.experiment.clone(), provider: run.provider.word() };
                let Metrics { due, ok, fail, info, injected, refused, finished, .. } = *self;
                *self = Metrics { run: Some(labels), due, ok, fail, info, injected, refused, finished, ..Metrics::default() };
            }
            EventKind::PhaseStarted { phase } => self.phase = Some(*phase),
            EventKind::Throughput { due, ok, fail, info, in_flight } => {
                self.due += due;
                self.ok += ok;
                self.fail += fail;
                self.info += info;
                self.in_flight = *in_flight;
            }
            EventKind::FaultStarted { fault, kind, .. } => {
                self.active.insert(fault.clone(), kind.clone());
            }
            EventKind::FaultInjected { .. } => self.injected += 1,
            EventKind::FaultRecovered { fault, recovered: true, .. } | EventKind::FaultHealed { fault, .. } => {
                self.active.remove(fault);
            }
            EventKind::FaultRefused { fault, .. } => {
                self.active.remove(fault);
                self.refused += 1;
            }
            EventKind::Probe { stage, .. } => self.probe[*stage as usize] = true,
            // What fails at one stage does not get to the next.
            EventKind::ProbeFailed { stage, .. } => self.probe[*stage as usize..].fill(false),
            EventKind::Endpoints { endpoints } => self.endpoints_ready = endpoints.iter().filter(|endpoint| endpoint.ready).count(),
            EventKind::Pod { change, pod } => {
                if *change == crate::model::PodChange::Deleted {
                    self.pods_ready.remove(&pod.uid);
                } else {
                    self.pods_ready.insert(pod.uid.clone(), pod.ready);
                }
            }
            EventKind::RunFinished => self.finished += 1,
            _ => {}
        }
    }

    fn tick(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Metrics {
    /// The text that a scrape gets (Prometheus text format 0.0.4).
    pub fn text(&self) -> String {
        let mut text = String::new();
        family(&mut text, "chaos_runs_finished_total", "counter", "Runs of this process that reached their end.");
        let _ = writeln!(text, "chaos_runs_finished_total {}", self.finished);
        let Some(run) = &self.run else { return text };
        family(&mut text, "chaos_run_info", "gauge", "The run that goes on.");
        let _ = writeln!(
            text,
            "chaos_run_info{{run=\"{}\",experiment=\"{}\",provider=\"{}\"}} 1",
            escape(&run.run),
            escape(&run.experiment),
            run.provider
        );
        family(&mut text, "chaos_run_seconds", "gauge", "Seconds since the start of the run.");
        let _ = writeln!(text, "chaos_run_seconds {}", seconds(self.now_ns));
        family(&mut text, "chaos_phase", "gauge", "The phase that the run is in.");
        if let Some(phase) = self.phase {
            let _ = writeln!(text, "chaos_phase{{phase=\"{}\"}} 1", phase.title());
        }
        family(&mut text, "chaos_ops_total", "counter", "Ops of the workload that ended, by outcome.");
        for (outcome, count) in [("ok", self.ok), ("fail", self.fail), ("info", self.info)] {
            let _ = writeln!(text, "chaos_ops_total{{outcome=\"{outcome}\"}} {count}");
        }
        for (name, kind, help, value) in [
            ("chaos_ops_due_total", "counter", "Ops of the workload that were due.", self.due),
            ("chaos_ops_in_flight", "gauge", "Ops that were sent and not answered.", self.in_flight),
            ("chaos_faults_injected_total", "counter", "Faults that were injected.", self.injected),
            ("chaos_faults_refused_total", "counter", "Faults that were refused.", self.refused),
            ("chaos_endpoints_ready", "gauge", "Ready endpoints of the Service.", self.endpoints_ready as u64),
            ("chaos_pods_ready", "gauge", "Ready pods of the target.", self.pods_ready.values().filter(|ready| **ready).count() as u64),
        ] {
            family(&mut text, name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
        family(&mut text, "chaos_fault_active", "gauge", "Faults that the target has not recovered from.");
        for (fault, kind) in &self.active {
            let _ = writeln!(text, "chaos_fault_active{{fault=\"{}\",kind=\"{}\"}} 1", escape(fault), escape(kind));
        }
        family(&mut text, "chaos_probe_up", "gauge", "Whether new connections get this far.");
        for (stage, word) in STAGES {
            let _ = writeln!(text, "chaos_probe_up{{stage=\"{word}\"}} {}", u8::from(self.probe[stage as usize]));
        }
        text
    }
}

fn seconds(ns: u64) -> f64 {
    crate::model::Millis::from_ns(ns).0 / 1_000.0
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::build::{MS, RunBuilder};

    fn until(run: &RunBuilder, ms: u64) -> String {
        let mut metrics = Metrics::default();
        run.events.iter().filter(|event| event.time_ns <= ms * MS).for_each(|event| metrics.event(event));
        metrics.text()
    }

    #[test]
    fn a_scrape_tells_where_the_run_is() {
        let mut run = RunBuilder::passing();
        for second in 2..12 {
            run.at(second * 1_000, EventKind::Throughput { due: 100, ok: 90, fail: 8, info: 2, in_flight: 3 });
        }
        let idle = until(&run, 2_500);
        let out = until(&run, 3_100);
        let back = until(&run, 3_750);
        for (text, has, lacks) in [
            (&idle, "chaos_ops_total{outcome=\"ok\"} 90\n", "chaos_fault_active{"),
            (&out, "chaos_fault_active{fault=\"pod-kill-1\",kind=\"pod-kill\"} 1\n", "chaos_endpoints_ready 1\n"),
            (&back, "chaos_probe_up{stage=\"commit\"} 1\n", "chaos_fault_active{"),
        ] {
            assert!(text.contains(has) && !text.contains(lacks), "{text}");
        }
        assert!(back.contains("chaos_endpoints_ready 1\n") && back.contains("chaos_faults_injected_total 1\n"), "{back}");
        let whole = until(&run, u64::MAX / MS);
        assert!(whole.contains("chaos_runs_finished_total 1\n") && whole.contains("chaos_ops_total{outcome=\"fail\"} 80\n"), "{whole}");
    }

    #[test]
    fn counters_go_on_from_run_to_run() {
        let run = RunBuilder::passing();
        let mut metrics = Metrics::default();
        for _ in 0..2 {
            run.events.iter().for_each(|event| metrics.event(event));
        }
        assert!(metrics.text().contains("chaos_faults_injected_total 4\n"), "{}", metrics.text());
    }
}
