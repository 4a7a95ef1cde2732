//! Random numbers that are the same on every machine: a published generator and the distributions drawn from it. Not for secrets.

/// Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014).
pub(super) struct SplitMix64(pub(super) u64);

impl SplitMix64 {
    /// The upper half of the next output.
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }

    /// An integer in `low..=high`. Its bias, one in millions, does not matter here.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.next() % (high - low + 1)
    }

    /// In (0, 1], exactly.
    fn fraction(&mut self) -> f64 {
        (f64::from(self.next()) + 1.0) / 4_294_967_296.0
    }

    /// A Poisson number by Knuth's product method; a mean of 0 gives 0.
    pub(super) fn poisson(&mut self, mean_tenths: u32) -> u32 {
        /// e^-0.1.
        const PER_TENTH: f64 = 0.904_837_418_035_959_6;
        let floor = (0..mean_tenths).fold(1.0, |product, _| product * PER_TENTH);
        let mut product = self.fraction();
        let mut count = 0;
        while product > floor {
            product *= self.fraction();
            count += 1;
        }
        count
    }

    /// A negative binomial number by its definition, the failures before the last of `successes`: its variance is mean + mean² / successes.
    pub(super) fn negative_binomial(&mut self, mean: f64, successes: u32) -> u32 {
        let chance = f64::from(successes) / (f64::from(successes) + mean);
        let (mut left, mut failures) = (successes, 0);
        while left > 0 {
            if self.fraction() <= chance {
                left -= 1;
            } else {
                failures += 1;
            }
        }
        failures
    }

    /// Nearly normal with mean 0 and deviation 1, never beyond 6: the sum of twelve uniform numbers, less 6.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).fold(-6.0, |sum, _| sum + self.fraction())
    }

    /// Fisher and Yates's shuffle.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.next() as usize % (last + 1);
            items.swap(last, other);
        }
    }
}

/// Slow noise around 0: a first-order autoregressive process.
pub(super) struct Drift {
    memory: f64,
    deviation: f64,
    value: f64,
}

impl Drift {
    /// `memory` is the correlation of neighbours, `deviation` the standard deviation in the long run.
    pub(super) const fn new(memory: f64, deviation: f64) -> Self {
        Self {
            memory,
            deviation,
            value: 0.0,
        }
    }

    pub(super) fn next(&mut self, random: &mut SplitMix64) -> f64 {
        let innovation = (1.0 - self.memory * self.memory).sqrt() * self.deviation;
        self.value = self.memory * self.value + innovation * random.normal();
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_and_variance(numbers: &[f64]) -> (f64, f64) {
        let n = f64::from(u32::try_from(numbers.len()).unwrap());
        let mean = numbers.iter().sum::<f64>() / n;
        let squares = numbers.iter().map(|number| (number - mean).powi(2));
        (mean, squares.sum::<f64>() / n)
    }

    #[test]
    fn outputs_match_the_published_generator() {
        // The upper halves of the first outputs of Vigna's reference code for seed 1234567.
        let mut random = SplitMix64(1_234_567);
        let expected = [
            6_457_827_717_110_365_317_u64,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(
            [random.next(), random.next(), random.next()].map(u64::from),
            expected.map(|output| output >> 32)
        );
    }

    #[test]
    fn negative_binomial_counts_are_overdispersed() {
        let mut random = SplitMix64(1);
        for (mean, successes) in [(20.0, 18), (0.3, 3), (2.0, 4)] {
            let counts: Vec<f64> = (0..20_000)
                .map(|_| f64::from(random.negative_binomial(mean, successes)))
                .collect();
            let variance = mean + mean * mean / f64::from(successes);
            let found = mean_and_variance(&counts);
            assert!((found.0 / mean - 1.0).abs() < 0.06, "mean {found:?}");
            assert!((found.1 / variance - 1.0).abs() < 0.1, "{found:?}");
        }
        assert_eq!(random.negative_binomial(0.0, 180), 0);
    }

    #[test]
    fn drift_keeps_its_deviation_and_its_memory() {
        let (mut random, mut drift) = (SplitMix64(2), Drift::new(0.9, 0.5));
        let values: Vec<f64> = (0..50_000).map(|_| drift.next(&mut random)).collect();
        let (mean, variance) = mean_and_variance(&values);
        assert!(
            mean.abs() < 0.05 && (variance - 0.25).abs() < 0.02,
            "{mean} {variance}"
        );
        let steps: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // 2 (1 - memory) of the variance.
        let (_, variance) = mean_and_variance(&steps);
        assert!((variance - 0.05).abs() < 0.004, "{variance}");
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..25).collect();
        SplitMix64(3).shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert!((0..25).eq(items));
    }
}
