//! Mode by checker: which checker found which defect.

use std::fmt;

use serde::Serialize;

use super::Trialed;
use super::sandbox::CLAIMS;
use crate::model::{Outcome, Verdict};

/// The columns.
const CHECKERS: [&str; 9] = ["ledger", "bank", "append", "register", "queue", "volume", "clock", "single-writer", CLAIMS];

fn width(checker: &str) -> usize {
    checker.len().max(8)
}

/// The trials of one mode.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The defect; `None` for an engine or a sandbox without one.
    pub mode: Option<String>,
    /// Whether the cluster was under test, and not the engine alone.
    pub sandbox: bool,
    /// One a seed.
    pub trials: Vec<Trialed>,
}

/// Every row.
#[derive(Debug, Default, Serialize)]
pub struct Matrix {
    /// In the order in which they were tried.
    pub rows: Vec<Row>,
}

impl Trialed {
    fn caught(&self) -> bool {
        self.verdicts.values().any(|verdict| *verdict == Verdict::Invalid)
    }
}

impl Row {
    /// A defect must be found with every seed; an engine without one must be found valid by all with every seed.
    pub fn outcome(&self) -> Outcome {
        let outcomes = self.trials.iter().map(|trial| match (&self.mode, trial.caught()) {
            (None, true) | (Some(_), false) => Outcome::Fail,
            (Some(_), true) => Outcome::Pass,
            (None, false) => Outcome::from(Verdict::merge_all(trial.verdicts.values().copied())),
        });
        outcomes.max().unwrap_or(Outcome::Inconclusive)
    }

    /// The median of the ops after which the defect showed.
    fn ops_to_catch(&self) -> Option<u64> {
        let mut ops: Vec<u64> = self.trials.iter().filter_map(|trial| trial.ops_to_catch).collect();
        ops.sort_unstable();
        ops.get(ops.len().checked_sub(1)? / 2).copied()
    }

    fn cell(&self, checker: &str) -> String {
        let of = |verdict| self.trials.iter().filter(|trial| trial.verdicts.get(checker) == Some(&verdict)).count();
        let (caught, unknown) = (of(Verdict::Invalid), of(Verdict::Unknown));
        match (caught, unknown, self.trials.len()) {
            (0, 0, _) => "-".to_owned(),
            (0, _, _) => "unknown".to_owned(),
            (caught, _, all) if caught == all => "caught".to_owned(),
            (caught, _, all) => format!("{caught}/{all}"),
        }
    }
}

impl Matrix {
    /// The worst of the rows.
    pub fn outcome(&self) -> Outcome {
        self.rows.iter().map(Row::outcome).max().unwrap_or(Outcome::Inconclusive)
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<18}", "sabotage")?;
        for checker in CHECKERS {
            write!(f, "{checker:<0$} ", width(checker))?;
        }
        writeln!(f, "{:>6}  found", "ops")?;
        for row in &self.rows {
            let without = if row.sandbox { "none (sandbox)" } else { "none" };
            write!(f, "{:<18}", row.mode.as_deref().unwrap_or(without))?;
            for checker in CHECKERS {
                write!(f, "{:<1$} ", row.cell(checker), width(checker))?;
            }
            let ops = row.ops_to_catch().map_or_else(|| "-".to_owned(), |ops| ops.to_string());
            let mut classes: Vec<&str> = row.trials.iter().flat_map(|trial| trial.classes.iter().map(String::as_str)).collect();
            classes.sort_unstable();
            classes.dedup();
            let found = match (row.outcome(), classes.is_empty()) {
                (Outcome::Fail, true) => "MISSED".to_owned(),
                (Outcome::Fail, false) if row.mode.is_none() => format!("ACCUSED: {}", classes.join(", ")),
                (Outcome::Inconclusive, _) => "undecided".to_owned(),
                (_, true) => "nothing".to_owned(),
                _ => classes.join(", "),
            };
            writeln!(f, "{ops:>6}  {found}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn row(mode: Option<&str>, verdicts: &[Verdict]) -> Row {
        let trial = |(seed, verdict): (u64, &Verdict)| Trialed {
            seed,
            verdicts: BTreeMap::from([("append".to_owned(), *verdict), ("bank".to_owned(), Verdict::Valid)]),
            classes: if *verdict == Verdict::Invalid { vec!["G1a".to_owned()] } else { vec![] },
            ops_to_catch: (*verdict == Verdict::Invalid).then_some(10 * (seed + 1)),
        };
        Row { mode: mode.map(str::to_owned), sandbox: false, trials: (0..).zip(verdicts).map(trial).collect() }
    }

    #[test]
    fn a_defect_must_always_be_found_and_its_absence_never() {
        use Verdict::{Invalid, Unknown, Valid};
        for (mode, verdicts, outcome) in [
            (Some("x"), &[Invalid, Invalid][..], Outcome::Pass),
            (Some("x"), &[Invalid, Valid], Outcome::Fail),
            (Some("x"), &[Unknown], Outcome::Fail),
            (None, &[Valid, Valid], Outcome::Pass),
            (None, &[Valid, Unknown], Outcome::Inconclusive),
            (None, &[Valid, Invalid], Outcome::Fail),
            (None, &[], Outcome::Inconclusive),
        ] {
            assert_eq!(row(mode, verdicts).outcome(), outcome, "{mode:?} {verdicts:?}");
        }
    }

    #[test]
    fn the_matrix_shows_who_found_what_after_how_many_ops() {
        use Verdict::{Invalid, Valid};
        let matrix = Matrix { rows: vec![row(Some("dirty-read"), &[Invalid, Invalid, Invalid]), row(None, &[Valid])] };
        let text = matrix.to_string();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["dirty-read", "-", "-", "caught", "-", "-", "-", "-", "-", "-", "20", "G1a"]);
        assert_eq!(lines[2], ["none", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "nothing"]);
        assert_eq!(matrix.outcome(), Outcome::Pass);
    }
}
