//! The search for the highest rate at which the target still answers within an objective.
//!
//! The rate doubles from the lowest until a step misses the objective, then the gap between what was carried and what was missed is halved until it is small
//! enough. A step that is not carried is tried once more and the second try decides, so that one hiccup is not taken for the target's limit. A step that is missed
//! counts against the target only if the harness itself was in time: a busy harness makes every target look slow.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::latency::{Summary, summary};
use super::tally::Tally;
use crate::model::{Begun, Millis, OpView, parse_duration};

/// Of a thread that is busy for more than this share of the time it cannot be said that it was in time.
pub const BUSY_MAX: f64 = 0.9;

/// What share of the ops must be answered within which time of when they were due. An op that fails, or is not answered at all, is never within it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// Above 0 and at most 1.
    pub quantile: f64,
    /// In ns.
    pub limit_ns: u64,
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is not an objective: {why}, expected one such as p99=50ms or max=1s");
        let (what, limit) = text.split_once('=').ok_or_else(|| wrong("it has no `=`"))?;
        let quantile = match what.strip_prefix('p') {
            None if what == "max" => 1.0,
            None => return Err(wrong("it begins neither with `p` nor with `max`")),
            Some(percent) => match percent.parse::<f64>() {
                Ok(percent) if percent > 0.0 && percent <= 100.0 => percent / 100.0,
                _ => return Err(wrong("the percentile is not above 0 and at most 100")),
            },
        };
        let limit = parse_duration(limit).map_err(|error| wrong(&error.to_string()))?;
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        if limit_ns == 0 { Err(wrong("no op is answered in no time")) } else { Ok(Objective { quantile, limit_ns }) }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = Millis::from_ns(self.limit_ns);
        if self.quantile >= 1.0 {
            return write!(f, "max ≤ {limit}");
        }
        // To a thousandth of a percent, without the noise of the binary fraction.
        let percent = (self.quantile * 1e5).round() / 1e3;
        write!(f, "p{percent} ≤ {limit}")
    }
}

/// Ops that were due in a part of the run.
#[derive(Debug)]
pub struct WindowRecorder {
    from_ns: u64,
    to_ns: u64,
    tally: Tally,
    in_service_ns: u64,
}

impl WindowRecorder {
    /// For the ops of the load that are due from then on and before then, in ns since the run's start.
    pub fn new(from_ns: u64, to_ns: u64) -> Self {
        WindowRecorder { from_ns, to_ns, tally: Tally::new(), in_service_ns: 0 }
    }

    fn holds(&self, begun: &Begun) -> bool {
        begun.f.is_load() && (self.from_ns..self.to_ns).contains(&begun.intended_ns)
    }

    /// Takes one transition.
    pub fn op(&mut self, op: &OpView<'_>, begun: Option<&Begun>) {
        if let Some(begun) = begun.filter(|begun| self.holds(begun)) {
            self.tally.end(op, begun);
            self.in_service_ns += op.time_ns.saturating_sub(begun.sent_ns);
        }
    }

    /// What was seen. `open` are the ops that never ended.
    pub fn finish<'a>(self, open: impl Iterator<Item = &'a Begun>, objective: Objective) -> Seen {
        let censored = open.filter(|begun| self.holds(begun)).count() as u64;
        let due = self.tally.ended() + censored;
        Seen {
            due,
            response: summary(&self.tally.answered, censored),
            failed: self.tally.failed,
            unknown: self.tally.unknown,
            at_objective_ms: self.tally.at(objective.quantile, due).map(Millis::from_ns),
            clients_busy: share(self.in_service_ns, self.to_ns.saturating_sub(self.from_ns)),
        }
    }
}

/// Part of a whole.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits hold a hundred days of ns")]
    let share = part as f64 / whole.max(1) as f64;
    // To a thousandth: more is noise in a report.
    (share * 1e3).round() / 1e3
}

/// How the target answered at one rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// Ops that were due.
    pub due: u64,
    /// Of those that happened, or were declined by their own condition; those that never ended are censored.
    pub response: Summary,
    /// How many others did not happen.
    pub failed: u64,
    /// How many may have happened.
    pub unknown: u64,
    /// The response time that the objective's share of all ops did not exceed; none where not so many were answered.
    pub at_objective_ms: Option<Millis>,
    /// How many clients were waiting for an answer, on average.
    pub clients_busy: f64,
}

/// How well the harness itself did at one rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HarnessSeen {
    /// Ops that should have been due in the window.
    pub expected: u64,
    /// At the objective's percentile: how late ops reached a client that was free, or the clients' thread came back to what it had to do; the larger.
    pub late_ms: Millis,
    /// The share of the time for which the clients' thread held a core.
    pub busy: f64,
}

/// What a step says of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepVerdict {
    /// The objective was met.
    Carried,
    /// It was not, and the harness was in time.
    Missed,
    /// The harness was too slow to tell.
    Inconclusive,
}

impl fmt::Display for StepVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            StepVerdict::Carried => "carried",
            StepVerdict::Missed => "missed",
            StepVerdict::Inconclusive => "inconclusive",
        })
    }
}

/// Judges one step, in a word and a sentence.
pub fn judge(objective: Objective, seen: &Seen, harness: &HarnessSeen) -> (StepVerdict, String) {
    let limit = Millis::from_ns(objective.limit_ns);
    // One op more or less is a matter of where the window begins.
    if seen.due + 1 + harness.expected / 100 < harness.expected {
        let why = format!("the harness issued {} of {} ops", seen.due, harness.expected);
        return (StepVerdict::Inconclusive, why);
    }
    let said = match seen.at_objective_ms {
        Some(at) if at <= limit => return (StepVerdict::Carried, format!("{at} where {limit} is allowed")),
        Some(at) => format!("{at} where {limit} is allowed"),
        None => format!("{} of {} ops were answered", seen.response.count, seen.due),
    };
    let late = harness.late_ms;
    let blame = if harness.busy >= BUSY_MAX {
        Some(format!("the harness's clients held a core for {:.0} % of the time", harness.busy * 100.0))
    } else if late.0 * 2.0 >= limit.0 {
        Some(format!("the harness itself was up to {late} late"))
    } else {
        seen.at_objective_ms.filter(|at| at.0 - late.0 <= limit.0).map(|_| format!("without the harness's own {late} it might have held"))
    };
    match blame {
        Some(blame) => (StepVerdict::Inconclusive, format!("{said}, but {blame}")),
        None => (StepVerdict::Missed, said),
    }
}

/// What the search found. Rates in ops a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Answer {
    /// The highest rate that was carried and the lowest that was not.
    Between {
        /// Carried.
        carried: f64,
        /// Missed.
        missed: f64,
    },
    /// Even the highest rate of the range was carried.
    AtLeast {
        /// Carried.
        carried: f64,
    },
    /// Not even the lowest rate of the range was carried.
    Below {
        /// Missed.
        missed: f64,
    },
    /// From some rate on the harness was too slow to tell, or the search was cut short.
    Undecided {
        /// The highest rate that was carried, if any.
        carried: Option<f64>,
    },
}

/// The search itself: tell it how each step went, and it says which rate is next.
#[derive(Debug, Clone)]
pub struct Search {
    from: f64,
    to: f64,
    /// The gap that is small enough, as a share of what was carried.
    precision: f64,
    carried: Option<f64>,
    missed: Option<f64>,
    /// The rate whose first try was not carried.
    again: Option<f64>,
    undecided: bool,
}

impl Search {
    /// Between two rates in ops a second, `from` above 0 and at most `to`. `precision` is a share of the answer, above 0.
    pub fn new(from: f64, to: f64, precision: f64) -> Self {
        Search { from, to, precision, carried: None, missed: None, again: None, undecided: false }
    }

    /// The next rate to try; none when the search is over.
    pub fn next_rate(&self) -> Option<f64> {
        if self.undecided {
            return None;
        }
        if self.again.is_some() {
            return self.again;
        }
        match (self.carried, self.missed) {
            (None, None) => Some(self.from),
            (None, Some(_)) => None,
            (Some(carried), None) if carried >= self.to => None,
            (Some(carried), None) => Some((carried * 2.0).min(self.to)),
            (Some(carried), Some(missed)) => {
                let middle = rounded(f64::midpoint(carried, missed));
                // Rounding may leave nothing in between.
                ((missed - carried) > self.precision * carried && middle > carried && middle < missed).then_some(middle)
            }
        }
    }

    /// Takes how the step at [`Search::next_rate`] went.
    pub fn tell(&mut self, rate: f64, verdict: StepVerdict) {
        let first = self.again.take().is_none();
        match verdict {
            StepVerdict::Carried => self.carried = Some(rate),
            _ if first => self.again = Some(rate),
            StepVerdict::Missed => self.missed = Some(rate),
            StepVerdict::Inconclusive => self.undecided = true,
        }
    }

    /// What is known now.
    pub fn answer(&self) -> Answer {
        match (self.carried, self.missed) {
            _ if self.next_rate().is_some() || self.undecided => Answer::Undecided { carried: self.carried },
            (Some(carried), Some(missed)) => Answer::Between { carried, missed },
            (Some(carried), None) => Answer::AtLeast { carried },
            (None, Some(missed)) => Answer::Below { missed },
            (None, None) => Answer::Undecided { carried: None },
        }
    }
}

/// To three digits, as people write rates.
fn rounded(rate: f64) -> f64 {
    let unit = 10_f64.powf(rate.log10().floor() - 2.0);
    (rate / unit).round() * unit
}

#[cfg(test)]
#[path = "capacity_tests.rs"]
mod tests;
