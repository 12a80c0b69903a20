//! One episode a fault: how long clients were cut off.
//!
//! An outage is a gap between two acknowledged commits that errors mark as one; the longest such gap between the start of a fault and the start of the
//! next is the episode. That definition holds where simpler ones fail:
//!
//! - A commit that was under way at the kill and whose answer still arrives only moves the start of the gap.
//! - An op that hangs and times out long after the others are back marks the gap that it was under way in, not the moment of its timeout.
//! - While the old pod still answers on connections that exist and a new connection is refused, nobody's gap is long, yet whoever must connect is cut
//!   off. So the gap is looked for twice: between commits of anyone, and between commits of the prober, whose every commit has a connection
//!   of its own. Where new connections were cut off for noticeably longer, theirs is the outage.
//! - The prober's attempts that do not get as far as a commit are no ops; the timeline tells of them, and they count as errors of new connections.
//! - A fault that no client noticed has no outage; its largest gap is told, so that a reader sees what zero means.

use std::collections::VecDeque;

use crate::model::{Begun, ErrorKind, Event, EventKind, F, OpType, OpView, Phase, ProbeStage};

use super::gaps::{Gap, Gaps};

/// By how much new connections must be cut off longer than everyone for theirs to be the outage: below it the two differ only by who
/// came first.
const NOTICEABLY_NS: u64 = 250_000_000;

/// A gap this short at the very end of the fault phase, after the target had recovered, is the workload winding down.
const SETTLING_NS: u64 = 1_000_000_000;

/// The part of a run that belongs to one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The fault's id.
    pub fault: String,
    /// When it started, in ns since the run's start.
    pub start_ns: u64,
    /// When the next one started or the workload began to end.
    pub end_ns: u64,
    /// When the run saw the target whole again.
    pub recovered_ns: Option<u64>,
}

/// The windows of a timeline, in order.
pub fn windows(events: &[Event]) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut open = false;
    for event in events {
        let ends = matches!(
            &event.kind,
            EventKind::FaultStarted { .. } | EventKind::PhaseStarted { phase: Phase::Quiesce | Phase::ColdRestart | Phase::FinalRead }
        );
        if ends
            && open
            && let Some(last) = windows.last_mut()
        {
            last.end_ns = event.time_ns;
            open = false;
        }
        match &event.kind {
            EventKind::FaultStarted { fault, .. } => {
                windows.push(Window { fault: fault.clone(), start_ns: event.time_ns, end_ns: u64::MAX, recovered_ns: None });
                open = true;
            }
            EventKind::FaultRecovered { fault, recovered: true, .. } => {
                if let Some(window) = windows.iter_mut().find(|window| &window.fault == fault) {
                    window.recovered_ns.get_or_insert(event.time_ns);
                }
            }
            _ => {}
        }
    }
    if let Some(last) = windows.last_mut()
        && open
    {
        last.end_ns = events.last().map_or(last.start_ns, |event| event.time_ns);
    }
    windows
}

/// Whose commits show the outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenBy {
    /// Nobody could commit.
    Everyone,
    /// Whoever had to connect was cut off; sessions that existed went on for a while.
    NewConnections,
}

/// How clients were cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The last acknowledgement before it, in ns since the run's start.
    pub start_ns: u64,
    /// The first error that was seen in it; none where every op hung.
    pub first_error_ns: Option<u64>,
    /// The first commit after it, or, of an outage that did not end, when it was last looked at.
    pub end_ns: u64,
    /// Whether it ended.
    pub ended: bool,
    /// Whose commits show it.
    pub seen_by: SeenBy,
}

impl Outage {
    /// How long it was, at the least.
    pub fn length_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

/// What clients saw of one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// The part of the run that it was looked for in.
    pub window: Window,
    /// How they were cut off; none where no error was seen.
    pub outage: Option<Outage>,
    /// The longest time between two commits of anyone.
    pub largest_gap_ns: u64,
    /// The first error in the window, which may lie before the outage.
    pub first_error_ns: Option<u64>,
    /// The last error that belongs to the fault, which may lie behind the outage: a hung op.
    pub last_error_ns: Option<u64>,
    /// How many errors clients saw.
    pub errors: u64,
    /// How many commits were acknowledged in the window.
    pub commits: u64,
}

/// An attempt of the prober that got no connection: when it began and when it failed, in ns since the run's start.
type Attempt = (u64, u64);

/// Finds the episodes in one pass over the history.
#[derive(Debug)]
pub struct EpisodeRecorder {
    windows: Vec<Window>,
    /// How many windows have begun.
    begun: usize,
    /// In order of their failing.
    attempts: VecDeque<Attempt>,
    everyone: Gaps,
    newcomers: Gaps,
    errors: u64,
    commits: u64,
    first_error_ns: Option<u64>,
    last_error_ns: Option<u64>,
    last_ns: u64,
    done: Vec<Episode>,
}

impl EpisodeRecorder {
    /// Looks for one episode in each window of a timeline.
    pub fn new(events: &[Event]) -> Self {
        let mut attempts: Vec<Attempt> = events
            .iter()
            .filter_map(|event| match event.kind {
                // An attempt that got as far as a commit is an op of the history.
                EventKind::ProbeFailed { stage: ProbeStage::Tcp | ProbeStage::Login, attempt_ns, .. } => Some((attempt_ns, event.time_ns)),
                _ => None,
            })
            .collect();
        attempts.sort_by_key(|&(_, failed_ns)| failed_ns);
        EpisodeRecorder {
            windows: windows(events),
            begun: 0,
            attempts: attempts.into(),
            everyone: Gaps::default(),
            newcomers: Gaps::default(),
            errors: 0,
            commits: 0,
            first_error_ns: None,
            last_error_ns: None,
            last_ns: 0,
            done: Vec::new(),
        }
    }

    /// Takes one transition.
    pub fn op(&mut self, op: &OpView<'_>, begun: Option<&Begun>) {
        let Some(begun) = begun else {
            return;
        };
        self.advance(op.time_ns);
        self.last_ns = self.last_ns.max(op.time_ns);
        match (op.kind, op.f) {
            (OpType::Ok, _) if op.acknowledges_commit() => {
                self.commits += 1;
                self.everyone.ack(op.time_ns);
            }
            (OpType::Ok, F::Probe) => {
                self.commits += 1;
                self.everyone.ack(op.time_ns);
                self.newcomers.ack(op.time_ns);
            }
            (OpType::Fail | OpType::Info, f) if (f.is_load() || f == F::Probe) && cuts_off(op) => {
                self.error(begun.sent_ns, op.time_ns, op.f == F::Probe);
            }
            _ => {}
        }
    }

    /// Takes the prober's failures and begins the windows up to this moment, in order.
    fn advance(&mut self, time_ns: u64) {
        loop {
            let turn_ns = self.windows.get(self.begun).map_or(u64::MAX, |window| window.start_ns);
            let fail_ns = self.attempts.front().map_or(u64::MAX, |&(_, failed_ns)| failed_ns);
            if turn_ns.min(fail_ns) > time_ns || turn_ns.min(fail_ns) == u64::MAX {
                return;
            }
            if turn_ns <= fail_ns {
                self.turn();
            } else if let Some((sent_ns, failed_ns)) = self.attempts.pop_front() {
                self.error(sent_ns, failed_ns, true);
            }
        }
    }

    fn error(&mut self, sent_ns: u64, done_ns: u64, newcomer: bool) {
        let Some(window) = self.begun.checked_sub(1).map(|at| &self.windows[at]) else {
            return;
        };
        // What was sent in the outage of an earlier fault tells of that one, whenever it ends.
        if sent_ns < window.start_ns
            && let Some(earlier) = self.done.last_mut()
            && let Some(outage) = earlier.outage
            && sent_ns <= outage.end_ns
        {
            earlier.last_error_ns = earlier.last_error_ns.max(Some(done_ns));
            earlier.errors += 1;
            return;
        }
        if done_ns > window.end_ns {
            return;
        }
        self.errors += 1;
        self.first_error_ns.get_or_insert(done_ns);
        self.last_error_ns = self.last_error_ns.max(Some(done_ns));
        let any = self.everyone.last_ack_ns();
        self.everyone.error(sent_ns, done_ns, any);
        if newcomer {
            self.newcomers.error(sent_ns, done_ns, any);
        }
    }

    /// Ends the window that is open and begins the next.
    fn turn(&mut self) {
        let boundary_ns = self.windows[self.begun].start_ns;
        let lost = self.begun > 0 && self.windows[self.begun - 1].recovered_ns.is_none();
        if self.begun > 0 {
            let episode = self.episode(boundary_ns);
            self.done.push(episode);
        }
        for gaps in [&mut self.everyone, &mut self.newcomers] {
            let cut = (lost && gaps.open(boundary_ns).is_some()).then_some(boundary_ns);
            gaps.next(cut);
        }
        self.begun += 1;
        self.errors = 0;
        self.commits = 0;
        self.first_error_ns = None;
        self.last_error_ns = None;
    }

    fn episode(&self, end_ns: u64) -> Episode {
        let window = self.windows[self.begun - 1].clone();
        let outage = |gaps: &Gaps, seen_by| {
            let ended = gaps.outage().map(|gap| as_outage(&gap, true, seen_by));
            let open = gaps
                .open(end_ns)
                .filter(|gap| window.recovered_ns.is_none_or(|recovered| gap.start_ns < recovered) || gap.length_ns() >= SETTLING_NS)
                .map(|gap| as_outage(&gap, false, seen_by));
            // An outage that did not end outweighs every one that did.
            open.or(ended)
        };
        let everyone = outage(&self.everyone, SeenBy::Everyone);
        let newcomers = outage(&self.newcomers, SeenBy::NewConnections);
        let outage = match (everyone, newcomers) {
            (Some(all), Some(new))
                if (all.ended && !new.ended) || (all.ended == new.ended && new.length_ns() > all.length_ns() + NOTICEABLY_NS) =>
            {
                Some(new)
            }
            (None, Some(new)) => Some(new),
            (all, _) => all,
        };
        Episode {
            window,
            outage,
            largest_gap_ns: self.everyone.longest_ns(),
            first_error_ns: self.first_error_ns,
            last_error_ns: self.last_error_ns,
            errors: self.errors,
            commits: self.commits,
        }
    }

    /// The episodes, one for each window, in order. A window that no op reached has an empty one.
    pub fn finish(mut self) -> Vec<Episode> {
        let reached = self.last_ns;
        self.advance(u64::MAX);
        if self.begun > 0 {
            let end_ns = self.windows[self.begun - 1].end_ns;
            let episode = self.episode(end_ns.min(reached.max(self.windows[self.begun - 1].start_ns)));
            self.done.push(episode);
        }
        self.done
    }
}

fn as_outage(gap: &Gap, ended: bool, seen_by: SeenBy) -> Outage {
    let start_ns = match seen_by {
        SeenBy::Everyone => gap.start_ns,
        // The prober's own last commit may be older than what others still committed.
        SeenBy::NewConnections => {
            gap.any_ack_ns.filter(|_| gap.first_error_ns.is_some()).map_or(gap.start_ns, |any| any.clamp(gap.start_ns, gap.end_ns))
        }
    };
    Outage { start_ns, first_error_ns: gap.first_error_ns, end_ns: gap.end_ns, ended, seen_by }
}

/// Server errors that say that the server is there and working.
const WORKING: [u32; 5] = [1205, 1222, 2601, 2627, 3960];

/// Whether an error says that the client was cut off, rather than that its transaction met another one.
fn cuts_off(op: &OpView<'_>) -> bool {
    match op.error {
        Some(error) if error.kind == ErrorKind::Declined => false,
        Some(error) if error.kind == ErrorKind::Server => error.number.is_none_or(|number| !WORKING.contains(&number)),
        _ => true,
    }
}

#[cfg(test)]
#[path = "episodes_tests.rs"]
mod tests;
