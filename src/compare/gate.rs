//! The gate between runs.
//!
//! Each deciding figure is tested by Mann-Whitney at a level of 5 % for all of them together (Holm's correction). It counts as *worse* or *better* when the corrected
//! p-value is below the level **and** the difference is at least the minimum effect: with many repeats the smallest difference becomes certain, and nobody wants to
//! be woken for it. Figures with so few values that even the most extreme outcome would prove nothing are *too few* and are left out of the correction. The phases of the
//! outages are a family of their own that is looked at only when the outages themselves differ: they say where the difference is and decide nothing.
//!
//! Findings are not statistics: a claim that is broken in a new run and in no run of the base is worse, once is enough.

use serde::Serialize;

use super::figures::{Figure, figures};
use super::ranks::{holm, mann_whitney, shift, smallest_p};
use crate::measure::median;
use crate::model::{Outcome, Verdict};
use crate::report::Report;

/// The chance of a false alarm over all deciding figures of a comparison.
const LEVEL: f64 = 0.05;

/// How strict the gate is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    /// The least difference that matters, as a share of the base's median.
    pub min_effect: f64,
}

impl Default for Gate {
    fn default() -> Self {
        Gate { min_effect: 0.1 }
    }
}

/// What became of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Larger, and not by chance.
    Worse,
    /// Smaller, and not by chance.
    Better,
    /// The runs do not show a difference.
    NoEvidence,
    /// There are too few values to show anything.
    TooFew,
    /// Not looked at, because the outages as a whole do not differ.
    NotTested,
}

/// One figure, judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// The figure.
    pub name: String,
    /// What one value of the sample is.
    pub each: &'static str,
    /// Whether it decides.
    pub decides: bool,
    /// Values of the base.
    pub base_n: usize,
    /// Values of the new runs.
    pub new_n: usize,
    /// The base's median, in ms.
    pub base_ms: f64,
    /// The new runs' median, in ms.
    pub new_ms: f64,
    /// The Hodges-Lehmann shift, in ms: how much more it is now.
    pub shift_ms: f64,
    /// The 95 % interval of the shift, in ms, where there are enough values.
    pub interval_ms: Option<[f64; 2]>,
    /// The shift as a share of the base's median; none where that is 0.
    pub relative: Option<f64>,
    /// The p-value, corrected for the figures of its family.
    pub p: f64,
    /// What it means.
    pub change: Change,
}

/// Broken claims, by when they were seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Findings {
    /// Only in the new runs.
    pub new: Vec<String>,
    /// In both.
    pub ongoing: Vec<String>,
    /// Only in the base.
    pub resolved: Vec<String>,
}

/// Two groups of runs, compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The ids of the base's runs.
    pub base: Vec<String>,
    /// The ids of the new runs.
    pub new: Vec<String>,
    /// Pass: nothing is worse. Fail: something is, or a claim is broken. Inconclusive: nothing was shown either way.
    pub verdict: Outcome,
    /// Why it is not a pass.
    pub reasons: Vec<String>,
    /// Broken claims.
    pub findings: Findings,
    /// Every figure.
    pub figures: Vec<Judgement>,
}

/// Why two groups of runs cannot be compared; empty where they can.
fn differences(base: &[Report], new: &[Report]) -> Vec<String> {
    let all = || base.iter().chain(new);
    let differ = |what: &str, of: fn(&Report) -> String| {
        let mut values: Vec<String> = all().map(of).collect();
        values.sort_unstable();
        values.dedup();
        (values.len() > 1).then(|| format!("{what} differs: {}", values.join(", ")))
    };
    let mut why: Vec<String> = [
        differ("the experiment", |report| format!("{} {}", report.run.experiment, report.run.experiment_hash.get(..12).unwrap_or(""))),
        differ("the kind of cluster", |report| report.run.provider.word().to_owned()),
        differ("the engine", |report| report.run.engine.name.clone()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if all().any(|report| report.run.experiment_hash.is_empty()) {
        why.push("a report does not tell the hash of its experiment; write it anew with `chaos report RUN`".to_owned());
    }
    why
}

/// Compares runs. `different` lets runs of different experiments, clusters or engines be compared all the same.
///
/// # Errors
/// Why they cannot be compared.
pub fn compare(base: &[Report], new: &[Report], gate: Gate, different: bool) -> Result<Comparison, Vec<String>> {
    let why = differences(base, new);
    if !why.is_empty() && !different {
        return Err(why);
    }
    let figures = judge(&figures(base, new), gate);
    let findings = findings(base, new);
    let mut reasons: Vec<String> = findings.new.iter().map(|finding| format!("new: {finding}")).collect();
    reasons.extend(findings.ongoing.iter().map(|finding| format!("ongoing: {finding}")));
    reasons.extend(figures.iter().filter(|f| f.decides && f.change == Change::Worse).map(worse));
    let mut verdict = if reasons.is_empty() { Outcome::Pass } else { Outcome::Fail };
    let mut doubts: Vec<String> = new
        .iter()
        .filter(|report| report.verdict == Outcome::Inconclusive)
        .map(|report| format!("{} is inconclusive", report.run.id))
        .collect();
    if figures.iter().filter(|f| f.decides).all(|f| f.change == Change::TooFew) {
        doubts.push("there are too few values to show a difference in any figure; use --repeat, or more faults a run".to_owned());
    }
    if !doubts.is_empty() && verdict == Outcome::Pass {
        verdict = Outcome::Inconclusive;
    }
    reasons.extend(doubts);
    let ids = |reports: &[Report]| reports.iter().map(|report| report.run.id.clone()).collect();
    Ok(Comparison { base: ids(base), new: ids(new), verdict, reasons, findings, figures })
}

fn worse(judged: &Judgement) -> String {
    let share = judged.relative.map_or(String::new(), |share| format!(" ({:+.0} %)", share * 100.0));
    format!("{} is worse: {:+.1} ms{share}, p = {:.4}", judged.name, judged.shift_ms, judged.p)
}

/// Tests every figure in its family.
pub(super) fn judge(figures: &[Figure], gate: Gate) -> Vec<Judgement> {
    let mut judged: Vec<Judgement> = figures.iter().map(measure).collect();
    family(&mut judged, true, gate);
    let outage_differs = judged.iter().any(|f| f.name == "outage" && matches!(f.change, Change::Worse | Change::Better));
    if outage_differs {
        family(&mut judged, false, gate);
    }
    judged
}

/// A figure with everything but its corrected p-value and what it means.
fn measure(figure: &Figure) -> Judgement {
    let sorted_median = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        median(&sorted)
    };
    let base_ms = sorted_median(&figure.base);
    let (shift_ms, interval_ms) = shift(&figure.base, &figure.new);
    let too_few = smallest_p(figure.base.len(), figure.new.len()) > LEVEL;
    Judgement {
        name: figure.name.clone(),
        each: figure.each,
        decides: figure.decides,
        base_n: figure.base.len(),
        new_n: figure.new.len(),
        base_ms,
        new_ms: sorted_median(&figure.new),
        shift_ms,
        interval_ms,
        relative: (base_ms > 0.0).then_some(shift_ms / base_ms),
        p: mann_whitney(&figure.base, &figure.new),
        change: if too_few { Change::TooFew } else { Change::NotTested },
    }
}

fn family(judged: &mut [Judgement], decides: bool, gate: Gate) {
    let members: Vec<usize> =
        (0..judged.len()).filter(|&at| judged[at].decides == decides && judged[at].change == Change::NotTested).collect();
    let p_values: Vec<f64> = members.iter().map(|&at| judged[at].p).collect();
    for (&at, p) in members.iter().zip(holm(&p_values)) {
        let figure = &mut judged[at];
        figure.p = p;
        let matters = figure.relative.is_none_or(|share| share.abs() >= gate.min_effect);
        figure.change = match (p <= LEVEL && matters, figure.shift_ms > 0.0) {
            (true, true) => Change::Worse,
            (true, false) => Change::Better,
            (false, _) => Change::NoEvidence,
        };
    }
}

fn findings(base: &[Report], new: &[Report]) -> Findings {
    let (before, now) = (broken(base), broken(new));
    let only = |these: &[String], others: &[String]| these.iter().filter(|finding| !others.contains(finding)).cloned().collect();
    Findings {
        new: only(&now, &before),
        ongoing: now.iter().filter(|finding| before.contains(finding)).cloned().collect(),
        resolved: only(&before, &now),
    }
}

/// The expected claims that are broken in any of the runs.
fn broken(reports: &[Report]) -> Vec<String> {
    let claims = reports.iter().flat_map(|report| &report.claims);
    let mut broken: Vec<String> = claims
        .filter(|claim| claim.expected && claim.verdict == Verdict::Invalid)
        .map(|claim| format!("{} does not hold: {}", claim.id, claim.statement))
        .collect();
    broken.sort_unstable();
    broken.dedup();
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::SplitMix64;
    use crate::report::build::RunBuilder;

    /// A normal deviate (Box and Muller).
    fn normal(random: &mut SplitMix64) -> f64 {
        (-2.0 * (1.0 - random.unit()).ln()).sqrt() * (std::f64::consts::TAU * random.unit()).cos()
    }

    /// A log-normal sample with a spread of 12 %: three times that of pod kills on the sandbox.
    fn sample(random: &mut SplitMix64, median_ms: f64, n: usize) -> Vec<f64> {
        (0..n).map(|_| median_ms * (0.12 * normal(random)).exp()).collect()
    }

    /// Four figures of 20 values each, the outage slower by a factor.
    fn pair(random: &mut SplitMix64, factor: f64) -> Vec<Figure> {
        [("outage", 1_100.0, factor), ("response p50", 3.0, 1.0), ("response p99", 40.0, 1.0), ("connect p50", 9.0, 1.0)]
            .into_iter()
            .map(|(name, median_ms, factor)| Figure {
                name: name.to_owned(),
                each: "run",
                decides: true,
                base: sample(random, median_ms, 20),
                new: sample(random, median_ms * factor, 20),
            })
            .collect()
    }

    const PAIRS: u32 = 1_000;

    fn alarms(seed: u64, factor: f64, gate: Gate, alarm: impl Fn(&Judgement) -> bool) -> u32 {
        let mut random = SplitMix64::new(seed);
        (0..PAIRS).map(|_| u32::from(judge(&pair(&mut random, factor), gate).iter().any(&alarm))).sum()
    }

    fn differs(judged: &Judgement) -> bool {
        matches!(judged.change, Change::Worse | Change::Better)
    }

    /// The promise of the gate is 5 % over all figures. Without the minimum effect the tests alone must keep it: 5 % of 1,000 is 50, and three standard deviations
    /// of a binomial above it are 71.
    #[test]
    fn equal_runs_raise_an_alarm_in_at_most_five_percent() {
        let with_effect = alarms(1, 1.0, Gate::default(), differs);
        assert!(with_effect <= 50, "{with_effect} of {PAIRS}");
        let tests_alone = alarms(2, 1.0, Gate { min_effect: 0.0 }, differs);
        assert!((20..=71).contains(&tests_alone), "{tests_alone} of {PAIRS}: the level is not what it says");
    }

    #[test]
    fn a_slowdown_of_a_fifth_is_found_in_at_least_ninety_percent() {
        let found = alarms(3, 1.2, Gate::default(), |judged| judged.name == "outage" && judged.change == Change::Worse);
        assert!(found >= 900, "{found} of {PAIRS}");
        let better = alarms(4, 1.2, Gate::default(), |judged| judged.name == "outage" && judged.change == Change::Better);
        assert_eq!(better, 0);
    }

    /// A difference that is certain and does not matter: 3 % over 2,000 values.
    #[test]
    fn a_difference_below_the_minimum_effect_wakes_nobody() {
        let mut random = SplitMix64::new(5);
        let figure = Figure {
            name: "outage".to_owned(),
            each: "fault",
            decides: true,
            base: sample(&mut random, 1_000.0, 400),
            new: sample(&mut random, 1_040.0, 400),
        };
        let judged = judge(std::slice::from_ref(&figure), Gate::default());
        assert!(judged[0].p < 0.001 && judged[0].change == Change::NoEvidence, "{judged:?}");
        let strict = judge(&[figure], Gate { min_effect: 0.0 });
        assert_eq!(strict[0].change, Change::Worse);
    }

    #[test]
    fn too_few_values_are_said_and_never_pass() {
        let report = RunBuilder::passing().judge();
        let comparison = compare(std::slice::from_ref(&report), std::slice::from_ref(&report), Gate::default(), false);
        let comparison = comparison.expect("a run is comparable with itself");
        assert_eq!(comparison.verdict, Outcome::Inconclusive);
        assert!(comparison.reasons[0].contains("too few"), "{:?}", comparison.reasons);
    }

    #[test]
    fn another_experiment_is_refused_unless_it_is_meant() {
        let base = RunBuilder::passing().judge();
        let mut other = RunBuilder::passing();
        other.plan.workload.clients += 1;
        let other = other.judge();
        let why = compare(std::slice::from_ref(&base), std::slice::from_ref(&other), Gate::default(), false).expect_err("it is another");
        assert!(why[0].contains("the experiment differs"), "{why:?}");
        assert!(compare(&[base], &[other], Gate::default(), true).is_ok());
    }

    #[test]
    fn a_claim_that_broke_is_worse_and_one_that_was_mended_is_told() {
        let good = RunBuilder::passing().judge();
        let mut bad = good.clone();
        let claim = bad.claims.iter_mut().find(|claim| claim.expected).expect("some are expected");
        claim.verdict = Verdict::Invalid;
        let (good, bad) = (std::slice::from_ref(&good), std::slice::from_ref(&bad));
        let broke = compare(good, bad, Gate::default(), false).expect("comparable");
        assert_eq!((broke.verdict, broke.findings.new.len()), (Outcome::Fail, 1));
        let mended = compare(bad, good, Gate::default(), false).expect("comparable");
        assert_eq!((mended.findings.new.len(), mended.findings.resolved.len()), (0, 1));
        let still = compare(bad, bad, Gate::default(), false).expect("comparable");
        assert_eq!((still.verdict, still.findings.ongoing.len()), (Outcome::Fail, 1));
    }
}
