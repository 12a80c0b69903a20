//! Progress while a run goes on: one block that is redrawn in place on a terminal, plain lines elsewhere.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use crate::experiment::Plan;
use crate::model::{Event, EventKind, EventSink, Millis, Phase, ProbeStage, Provider};

use super::paint::cut;

/// The block is redrawn at most this often.
const REDRAW_NS: u64 = 100_000_000;

/// Shows a run's progress on a writer, by the clock of its events.
pub struct Live<W> {
    out: W,
    /// The terminal's width; none where the writer is not one.
    width: Option<usize>,
    /// Faults to come: id, and when from the start of the fault phase.
    planned: VecDeque<(String, Duration)>,
    faults_total: usize,
    faults_done: usize,
    phase: Option<Phase>,
    faults_began_ns: u64,
    last_second: Option<(u64, u64)>,
    errors: u64,
    in_flight: u64,
    outage_since_ns: Option<u64>,
    drawn_ns: Option<u64>,
    drawn_lines: usize,
}

impl<W: Write> Live<W> {
    /// Shows progress on a terminal of this width, or as plain lines where `width` is none.
    pub fn new(out: W, width: Option<usize>, plan: &Plan) -> Self {
        Live {
            out,
            width,
            planned: plan.faults.iter().map(|fault| (fault.id.clone(), fault.at)).collect(),
            faults_total: plan.faults.len(),
            faults_done: 0,
            phase: None,
            faults_began_ns: 0,
            last_second: None,
            errors: 0,
            in_flight: 0,
            outage_since_ns: None,
            drawn_ns: None,
            drawn_lines: 0,
        }
    }

    /// Takes the block away, before something else is written to the terminal.
    pub fn clear(&mut self) {
        self.erase();
        let _ = self.out.flush();
    }

    fn take(&mut self, event: &Event) {
        match &event.kind {
            EventKind::PhaseStarted { phase } => {
                self.phase = Some(*phase);
                if *phase == Phase::Faults {
                    self.faults_began_ns = event.time_ns;
                }
                if *phase >= Phase::Quiesce {
                    self.outage_since_ns = None;
                    self.last_second = None;
                }
            }
            EventKind::Throughput { ok, fail, info, in_flight, .. } => {
                self.last_second = Some((*ok, fail + info));
                self.errors += fail + info;
                self.in_flight = *in_flight;
            }
            EventKind::ProbeFailed { .. } => {
                self.outage_since_ns.get_or_insert(event.time_ns);
            }
            EventKind::Probe { stage: ProbeStage::Commit, .. } => self.outage_since_ns = None,
            EventKind::FaultStarted { fault, .. } | EventKind::FaultRefused { fault, .. } => {
                let before = self.planned.len();
                self.planned.retain(|(id, _)| id != fault);
                self.faults_done += before - self.planned.len();
            }
            _ => {}
        }
    }

    fn erase(&mut self) {
        if self.drawn_lines > 0 {
            let _ = write!(self.out, "\u{1b}[{}A\r\u{1b}[J", self.drawn_lines);
            self.drawn_lines = 0;
        }
    }

    fn draw(&mut self, now_ns: u64) {
        let Some(width) = self.width else {
            return;
        };
        let phase = self.phase.map_or("starting", Phase::title);
        let mut line = format!("  {phase}  {}", Millis::from_ns(now_ns));
        if let Some((ok, wrong)) = self.last_second {
            line += &format!("  {ok} ops/s  {wrong} errors/s  {} errors in all  {} in flight", self.errors, self.in_flight);
        }
        let mut second = format!("  faults {} of {}", self.faults_done, self.faults_total);
        if let Some(since) = self.outage_since_ns {
            second += &format!("  new connections fail since {}", Millis::from_ns(now_ns.saturating_sub(since)));
        } else if let (Some((id, at)), Some(Phase::Faults)) = (self.planned.front(), self.phase) {
            let due_ns = self.faults_began_ns + u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
            let left = Millis::from_ns(due_ns.saturating_sub(now_ns));
            second += &format!("  next {id} in {left}");
        }
        for line in [line, second] {
            let _ = writeln!(self.out, "{}", cut(&line, width.saturating_sub(1)));
        }
        self.drawn_lines = 2;
        self.drawn_ns = Some(now_ns);
    }
}

impl<W: Write> EventSink for Live<W> {
    fn event(&mut self, event: &Event) {
        self.take(event);
        if let Some(said) = said(&event.kind) {
            self.erase();
            // Progress that cannot be shown must not stop a run.
            let _ = writeln!(self.out, "{:>9}  {said}", Millis::from_ns(event.time_ns).to_string());
            self.drawn_ns = None;
        }
        if event.kind == EventKind::RunFinished {
            self.clear();
        } else {
            self.tick(event.time_ns);
        }
    }

    /// Redraws the block for this moment if it is due, so that an outage is seen to grow while nothing else happens.
    fn tick(&mut self, now_ns: u64) {
        if self.width.is_none() {
            return;
        }
        if self.drawn_ns.is_some_and(|drawn| now_ns < drawn + REDRAW_NS) {
            return;
        }
        self.erase();
        self.draw(now_ns);
        // Progress that cannot be shown must not stop a run.
        let _ = self.out.flush();
    }
}

/// An event that matters, as a line.
fn said(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::RunStarted { run } => {
            let place = match run.provider {
                Provider::Sandbox => "sandbox: not a real Kubernetes".to_owned(),
                Provider::Kind => format!("kind cluster {}", run.cluster),
                Provider::K3d => format!("k3d cluster {}", run.cluster),
                Provider::Context => format!("context {}", run.cluster),
            };
            format!("{place}; run {} of {}, seed {}", run.id, run.experiment, run.seed)
        }
        EventKind::PhaseStarted { phase } => phase.title().to_owned(),
        EventKind::PhaseFinished { phase: Phase::Preflight | Phase::SteadyState, ok: true, detail } if !detail.is_empty() => {
            format!("mind: {detail}")
        }
        EventKind::PhaseFinished { phase, ok: false, detail } => format!("{} did not succeed: {detail}", phase.title()),
        EventKind::EngineSeen { engine } => format!("engine {} {}", engine.name, engine.version),
        EventKind::FaultStarted { fault, target, parameters, .. } => {
            format!("{fault}: {} {} ({parameters})", target.kind.to_lowercase(), target.name)
        }
        EventKind::FaultInjected { fault, in_flight, .. } => {
            format!("{fault}: injected with {in_flight} ops in flight")
        }
        EventKind::FaultAttested { fault, attested: true, .. } => format!("{fault}: took effect"),
        EventKind::FaultAttested { fault, evidence, .. } => format!("{fault}: did NOT take effect: {}", evidence.join("; ")),
        EventKind::FaultRecovered { fault, recovered: true, .. } => format!("{fault}: recovered"),
        EventKind::FaultRecovered { fault, detail, .. } => {
            format!("{fault}: did NOT recover; last seen: {detail}")
        }
        EventKind::FaultRefused { fault, reason } => format!("{fault}: refused: {reason}"),
        EventKind::EngineFact { fact } => format!("{}: {:?}", fact.name, fact.outcome).to_lowercase(),
        EventKind::StepMeasured { per_second, verdict, why } => format!("{per_second}/s {verdict}: {why}"),
        EventKind::HarnessError { message } => format!("harness error: {message}"),
        EventKind::Aborted { condition, .. } => format!("aborted: {condition}; healing"),
        EventKind::Interrupted { signal } => format!("{signal}: healing and reporting"),
        EventKind::LeakCheck { left, .. } if !left.is_empty() => {
            let what: Vec<&str> = left.iter().filter(|item| !item.kept).map(|item| item.what.as_str()).collect();
            let mend: Vec<&str> = left.iter().filter(|item| item.kept).map(|item| item.mend.as_str()).collect();
            let left = (!what.is_empty()).then(|| format!("left in the cluster: {}", what.join(", ")));
            let kept = (!mend.is_empty()).then(|| format!("kept for a look; remove it with: {}", mend.join("; ")));
            left.into_iter().chain(kept).collect::<Vec<_>>().join("; ")
        }
        EventKind::RunFinished => "run finished".to_owned(),
        _ => return None,
    })
}
