//! When a figure changed for good.
//!
//! Pettitt's test (Pettitt 1979) finds the point that splits a series best by ranks, and how likely chance alone splits one of equal values as well. The parts are
//! searched again, so that several changes are found. It assumes that runs are independent of each other; like every test by ranks it does not mind a few wild values.

/// The fewest runs on either side of a change.
const SIDE_MIN: usize = 4;
/// Lower than usual, because a series is looked at after every run.
const LEVEL: f64 = 0.01;

/// The places in a series where a new level begins, in order. A change of less than `min_effect` of the level before is none.
pub fn change_points(values: &[f64], min_effect: f64) -> Vec<usize> {
    let mut found = Vec::new();
    search(values, 0, min_effect, &mut found);
    found.sort_unstable();
    found
}

fn search(values: &[f64], offset: usize, min_effect: f64, found: &mut Vec<usize>) {
    if values.len() < 2 * SIDE_MIN {
        return;
    }
    let Some(at) = split(values) else { return };
    let level = |part: &[f64]| {
        let mut sorted = part.to_vec();
        sorted.sort_by(f64::total_cmp);
        crate::measure::median(&sorted)
    };
    let (before, after) = (level(&values[..at]), level(&values[at..]));
    if (after - before).abs() < min_effect * before.abs() {
        return;
    }
    found.push(offset + at);
    search(&values[..at], offset, min_effect, found);
    search(&values[at..], offset + at, min_effect, found);
}

/// The most likely place of a change, if chance does not explain it.
fn split(values: &[f64]) -> Option<usize> {
    let mut sum = 0.0_f64;
    let mut best = (0.0_f64, 0);
    for at in 1..values.len() {
        // U(t) = U(t - 1) + Σ sign(x_t - x_j)
        let value = values[at - 1];
        sum += values.iter().map(|other| f64::from((value > *other) as i8 - (value < *other) as i8)).sum::<f64>();
        if (SIDE_MIN..=values.len() - SIDE_MIN).contains(&at) && sum.abs() > best.0 {
            best = (sum.abs(), at);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of runs")]
    let n = values.len() as f64;
    let p = 2.0 * (-6.0 * best.0.powi(2) / (n.powi(3) + n.powi(2))).exp();
    (p <= LEVEL).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::SplitMix64;

    /// Thirty nightly runs with a spread of ±15 %, slower by a factor from the fifteenth on.
    fn series(random: &mut SplitMix64, factor: f64) -> Vec<f64> {
        (0..30).map(|night| 1_000.0 * (0.85 + 0.3 * random.unit()) * if night < 15 { 1.0 } else { factor }).collect()
    }

    #[test]
    fn a_series_without_a_change_has_none() {
        let mut random = SplitMix64::new(21);
        let alarms = (0..500).filter(|_| !change_points(&series(&mut random, 1.0), 0.1).is_empty()).count();
        // 1 % of 500 is 5; the approximation of the test is on the safe side.
        assert!(alarms <= 12, "{alarms}");
    }

    #[test]
    fn a_step_of_a_quarter_is_found_where_it_is() {
        let mut random = SplitMix64::new(22);
        let found = (0..200)
            .filter(|_| {
                let points = change_points(&series(&mut random, 1.25), 0.1);
                points.iter().any(|point| (13..=17).contains(point))
            })
            .count();
        assert!(found >= 190, "{found} of 200");
    }

    #[test]
    fn two_steps_are_two_changes() {
        let values: Vec<f64> = (0..36).map(|night| f64::from(night % 3) + [100.0, 200.0, 120.0][night as usize / 12]).collect();
        assert_eq!(change_points(&values, 0.1), [12, 24]);
        assert_eq!(change_points(&values[..6], 0.1), Vec::<usize>::new());
    }
}
