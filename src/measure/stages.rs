//! Before, during and after the faults: the baseline beside what it is compared with.

use serde::{Deserialize, Serialize};

use super::episodes::windows;
use crate::model::Event;

/// Where in a run an op was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Before the first fault: the baseline.
    Before,
    /// Between the start of a fault and its recovery.
    During,
    /// After a recovery, until the next fault or the end.
    After,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Stage; 3] = [Stage::Before, Stage::During, Stage::After];

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Stage::Before => "before the first fault",
            Stage::During => "while a fault was in force",
            Stage::After => "after a recovery",
        }
    }
}

/// The faults of a run as spans of time.
#[derive(Debug, Clone, Default)]
pub struct Stages {
    /// Start and end of each fault, in ns since the run's start, in order.
    spans: Vec<(u64, u64)>,
}

impl Stages {
    /// From a timeline. A fault that the target did not recover from lasts until the next one.
    pub fn new(events: &[Event]) -> Self {
        let spans = windows(events).into_iter().map(|w| (w.start_ns, w.recovered_ns.unwrap_or(w.end_ns).min(w.end_ns))).collect();
        Stages { spans }
    }

    /// Where an op that was due then belongs.
    pub fn of(&self, due_ns: u64) -> Stage {
        let begun = self.spans.partition_point(|&(start_ns, _)| start_ns <= due_ns);
        match begun.checked_sub(1).map(|at| self.spans[at]) {
            None => Stage::Before,
            Some((_, end_ns)) if due_ns < end_ns => Stage::During,
            Some(_) => Stage::After,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_op_belongs_to_the_stage_in_which_it_was_due() {
        let stages = Stages { spans: vec![(100, 200), (300, 350)] };
        let of: Vec<Stage> = [99, 100, 199, 200, 299, 320, 351].map(|ns| stages.of(ns)).to_vec();
        use Stage::{After, Before, During};
        assert_eq!(of, [Before, During, During, After, After, During, After]);
        assert_eq!(Stages::default().of(7), Before);
    }
}
