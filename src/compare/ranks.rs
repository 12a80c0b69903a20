//! Rank statistics of two samples.
//!
//! The Mann-Whitney test (Mann and Whitney 1947) asks whether values of one sample tend to be larger than those of the other. It assumes that values are independent of each
//! other and can be ordered, and nothing about the shape of their distributions, which for recovery times is skewed and often has two humps. Up to [`EXACT_MAX`] values the
//! distribution of the rank sum is counted out exactly, ties included; beyond, it is approximated by the normal one with corrections for ties and continuity. The
//! size of the difference is the Hodges-Lehmann shift, the median of all pairwise differences, with the confidence interval that belongs to the same test.

/// Above this many values in both samples together the normal approximation is used; its error is then far below a thousandth.
const EXACT_MAX: usize = 24;
/// The 97.5th percentile of the normal distribution.
const Z95: f64 = 1.959_963_985;

/// The two-sided p-value of the Mann-Whitney test: how often chance alone separates samples of one distribution as far as these. 1 where a sample is empty.
pub fn mann_whitney(base: &[f64], new: &[f64]) -> f64 {
    if base.is_empty() || new.is_empty() {
        return 1.0;
    }
    let ranked = Ranked::of(base, new);
    let total = base.len() + new.len();
    if total <= EXACT_MAX { ranked.exact(new.len()) } else { ranked.normal(base.len(), new.len()) }
}

/// The smallest p-value that samples of these sizes can have: below it nothing can ever be shown.
pub fn smallest_p(base: usize, new: usize) -> f64 {
    // 2 / C(base + new, new)
    let mut choices = 1.0_f64;
    for k in 1..=new.min(base) {
        choices *= as_f64(base.max(new) + k) / as_f64(k);
    }
    if base == 0 || new == 0 { 1.0 } else { (2.0 / choices).min(1.0) }
}

/// How far the new sample lies above the base: the median of all pairwise differences, and its 95 % interval where there are enough values for one.
pub fn shift(base: &[f64], new: &[f64]) -> (f64, Option<[f64; 2]>) {
    let mut differences: Vec<f64> = new.iter().flat_map(|n| base.iter().map(move |b| n - b)).collect();
    differences.sort_by(f64::total_cmp);
    let pairs = differences.len();
    let (n1, n2) = (as_f64(base.len()), as_f64(new.len()));
    let cut = n1 * n2 / 2.0 - Z95 * (n1 * n2 * (n1 + n2 + 1.0) / 12.0).sqrt();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of pairs, and not negative")]
    let interval = (cut >= 1.0).then(|| {
        let cut = cut as usize;
        [differences[cut - 1], differences[pairs - cut]]
    });
    (crate::measure::median(&differences), interval)
}

/// Holm's step-down correction (Holm 1979): p-values of a family of tests, adjusted so that the chance of any false alarm in the whole family stays what it is for one.
/// It assumes nothing about how the tests depend on each other.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (step, &at) in order.iter().enumerate() {
        largest = largest.max(p_values[at] * as_f64(p_values.len() - step)).min(1.0);
        adjusted[at] = largest;
    }
    adjusted
}

/// Two samples as ranks of both together.
struct Ranked {
    /// Twice the mid-rank of every value, the base's first: whole numbers even with ties.
    doubled: Vec<usize>,
    /// Twice the rank sum of the new sample.
    new_sum: usize,
    /// Sum of t³ − t over groups of t equal values.
    ties: f64,
}

impl Ranked {
    fn of(base: &[f64], new: &[f64]) -> Self {
        let values: Vec<f64> = base.iter().chain(new).copied().collect();
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let mut doubled = vec![0; values.len()];
        let mut ties = 0.0;
        let mut from = 0;
        while from < order.len() {
            let equal = order[from..].iter().take_while(|&&at| values[at].total_cmp(&values[order[from]]).is_eq()).count();
            for &at in &order[from..from + equal] {
                // Ranks from + 1 to from + equal, twice their mean.
                doubled[at] = 2 * from + equal + 1;
            }
            ties += as_f64(equal).powi(3) - as_f64(equal);
            from += equal;
        }
        let new_sum = doubled[base.len()..].iter().sum();
        Ranked { doubled, new_sum, ties }
    }

    /// Counts the choices of `new` values out of all whose rank sum is at least as far from its mean.
    fn exact(&self, new: usize) -> f64 {
        let total: usize = self.doubled.iter().sum();
        let mut ways = vec![vec![0.0_f64; total + 1]; new + 1];
        ways[0][0] = 1.0;
        for &rank in &self.doubled {
            for chosen in (1..=new).rev() {
                for sum in (rank..=total).rev() {
                    ways[chosen][sum] += ways[chosen - 1][sum - rank];
                }
            }
        }
        // Four times the mean's distance, in whole numbers: the mean of the doubled sum is new · (n + 1).
        let mean = new * (self.doubled.len() + 1);
        let far = self.new_sum.abs_diff(mean);
        let all: f64 = ways[new].iter().sum();
        let extreme: f64 = ways[new].iter().enumerate().filter(|(sum, _)| sum.abs_diff(mean) >= far).map(|(_, ways)| ways).sum();
        (extreme / all).min(1.0)
    }

    fn normal(&self, base: usize, new: usize) -> f64 {
        let (n1, n2, n) = (as_f64(base), as_f64(new), as_f64(base + new));
        let variance = n1 * n2 / 12.0 * (n + 1.0 - self.ties / (n * (n - 1.0)));
        if variance <= 0.0 {
            return 1.0;
        }
        let far = (as_f64(self.new_sum) / 2.0 - n2 * (n + 1.0) / 2.0).abs();
        // A half for continuity.
        let z = (far - 0.5).max(0.0) / variance.sqrt();
        erfc(z / std::f64::consts::SQRT_2).min(1.0)
    }
}

/// The complementary error function for x ≥ 0, to a relative 1.2e-7 (Press et al., *Numerical Recipes*, 6.2).
fn erfc(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x);
    let series = COEFFICIENTS.iter().rev().fold(0.0, |sum, coefficient| coefficient + t * sum);
    t * (series - x * x).exp()
}

fn as_f64(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "sizes of samples are far below 2^53")]
    let number = count as f64;
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::SplitMix64;

    fn close(a: f64, b: f64, within: f64) -> bool {
        (a - b).abs() <= within
    }

    /// Values of R 4: `wilcox.test(c(1.1,2.2,3.3,4.4,5.5), c(6,7,8,9,10))` and the same with one exchanged.
    #[test]
    fn small_samples_are_counted_out() {
        let base = [1.1, 2.2, 3.3, 4.4, 5.5];
        assert!(close(mann_whitney(&base, &[6.0, 7.0, 8.0, 9.0, 10.0]), 2.0 / 252.0, 1e-12));
        assert!(close(mann_whitney(&base, &[5.0, 7.0, 8.0, 9.0, 10.0]), 4.0 / 252.0, 1e-12));
        assert!(close(smallest_p(5, 5), 2.0 / 252.0, 1e-12));
        assert!(close(smallest_p(3, 3), 0.1, 1e-12));
        assert!(close(mann_whitney(&base, &base), 1.0, 1e-12));
        assert!(close(mann_whitney(&base, &[]), 1.0, 0.0));
    }

    #[test]
    fn ties_share_their_ranks() {
        // Ranks 1.5, 1.5, 3.5 against 3.5, 5.5, 5.5: of the 20 choices of three, one is as extreme at each end.
        let p = mann_whitney(&[1.0, 1.0, 2.0], &[2.0, 3.0, 3.0]);
        assert!(close(p, 4.0 / 20.0, 1e-12), "{p}");
        assert!(close(mann_whitney(&[1.0; 40], &[1.0; 40]), 1.0, 0.0));
    }

    #[test]
    fn the_approximation_meets_the_exact_count() {
        let mut random = SplitMix64::new(3);
        for _ in 0..20 {
            let base: Vec<f64> = (0..12).map(|_| random.unit()).collect();
            let new: Vec<f64> = (0..12).map(|_| random.unit() + 0.3).collect();
            let ranked = Ranked::of(&base, &new);
            let (exact, normal) = (ranked.exact(12), ranked.normal(12, 12));
            assert!(close(exact, normal, 0.012), "{exact} {normal}");
        }
        assert!(close(erfc(0.0), 1.0, 1e-6));
        assert!(close(erfc(Z95 / std::f64::consts::SQRT_2), 0.05, 1e-6));
    }

    #[test]
    fn holm_is_never_kinder_than_the_p_value_and_never_changes_the_order() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }

    #[test]
    fn the_shift_is_the_median_of_differences() {
        let base: Vec<f64> = (0..20).map(f64::from).collect();
        let new: Vec<f64> = base.iter().map(|value| value + 7.0).collect();
        let (shift, interval) = shift(&base, &new);
        let [low, high] = interval.expect("20 values are enough");
        assert!(close(shift, 7.0, 1e-12) && low < 7.0 && 7.0 < high && low > 0.0, "{low} {shift} {high}");
        assert_eq!(super::shift(&[1.0], &[2.0]).1, None);
    }
}
