//! Confidence intervals of a median by the bootstrap.
//!
//! The percentile bootstrap (Efron, *Bootstrap Methods: Another Look at the Jackknife*, 1979): the sample is drawn from with replacement many times, and the middle 95 %
//! of the medians so found is the interval. It assumes that the repeats are independent and of one distribution, and nothing about its shape. Below
//! [`SAMPLE_MIN`] values no interval is given: even from the smallest to the largest of five values, the median is covered in only 94 % of all samples.

/// The fewest values that an interval is computed from.
pub const SAMPLE_MIN: usize = 6;
/// How often the sample is drawn from.
const RESAMPLES: usize = 2_000;

/// A small generator (Steele, Lea and Flood's SplitMix64) with a fixed sequence, so that the same run gives the same interval on every machine and in every version.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        SplitMix64(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(self.next_u64()) * end as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number from 0 up to and without 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what such a number has")]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The median of sorted values: the middle one, or the mean of the middle two. 0 of none.
pub fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The 95 % interval of the median; none of fewer than [`SAMPLE_MIN`] values.
pub fn median_interval(values: &[f64]) -> Option<[f64; 2]> {
    if values.len() < SAMPLE_MIN {
        return None;
    }
    let mut random = SplitMix64::new(0x5eed);
    let mut drawn = vec![0.0; values.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for value in &mut drawn {
                *value = values[random.below(values.len())];
            }
            drawn.sort_by(f64::total_cmp);
            median(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let cut = RESAMPLES / 40;
    Some([medians[cut], medians[RESAMPLES - 1 - cut]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn too_few_values_have_no_interval() {
        assert_eq!(median_interval(&[1.0; 5]), None);
        assert_eq!(median_interval(&[1.0; 6]), Some([1.0, 1.0]));
    }

    /// 400 samples of 20: if the interval covered less than 92 % or more than 98.5 %, a binomial of 95 % would be that far off once in hundreds of times.
    #[test]
    fn the_interval_covers_the_true_median_as_often_as_it_says() {
        let mut random = SplitMix64::new(11);
        let mut covered = 0;
        for _ in 0..400 {
            // Exponential with median ln 2: skewed, as recovery times are.
            let sample: Vec<f64> = (0..20).map(|_| -(1.0 - random.unit()).ln()).collect();
            let [low, high] = median_interval(&sample).expect("20 values are enough");
            covered += u32::from((low..=high).contains(&std::f64::consts::LN_2));
        }
        assert!((368..=394).contains(&covered), "{covered} of 400");
    }
}
