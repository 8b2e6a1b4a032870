//! Chance from a seed, a stream per purpose: more of one kind of event does not change the others.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, LogNormal};
use rand_pcg::Pcg64Mcg;

/// One stream of chance. The generator's output is fixed across platforms and releases.
#[derive(Clone, Debug)]
pub struct Rng(Pcg64Mcg);

impl Rng {
    /// The stream for `purpose` of all that comes from `seed`. The same pair gives the same stream.
    pub fn stream(seed: u64, purpose: &str) -> Self {
        // FNV-1a: spreads the name over 64 bits; quality is the generator's business.
        let name = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        // The generator's state is odd: it takes no notice of the lowest bit.
        let name = if seed.is_multiple_of(2) { name ^ 0x9e37_79b9_7f4a_7c15 } else { name };
        let mut words = [0; 16];
        words[..8].copy_from_slice(&seed.to_le_bytes());
        words[8..].copy_from_slice(&name.to_le_bytes());
        let mut generator = Pcg64Mcg::from_seed(words);
        // Neighbouring seeds differ in few bits at first.
        for _ in 0..4 {
            let _: u64 = generator.random();
        }
        Self(generator)
    }

    /// A number from `0..n`; zero if `n` is zero.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.0.random_range(0..n) }
    }

    /// True in `share` of all cases (0 to 1).
    pub fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.0.random::<f64>() < share
    }

    /// True in `percent` of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A number from 0 (in) to 1 (out), evenly.
    pub fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// Between `least` and `most`, evenly, in whole milliseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (least, most) = (millis(least), millis(most));
        Duration::from_millis(least + self.below(most.saturating_sub(least).saturating_add(1)))
    }

    /// How long until the next event of a kind that comes at random, `mean` apart on average
    /// (exponentially distributed).
    pub fn until_next(&mut self, mean: Duration) -> Duration {
        // 1 - u lies in (0, 1]: its logarithm is finite.
        mean.mul_f64(-(1.0 - self.unit()).ln())
    }

    /// One of `from`; `None` if there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(usize::try_from(self.below(from.len() as u64)).unwrap_or(0))
    }
}

/// A lognormal time, given by its median and 99th percentile, as boot times are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lognormal {
    mu: f64,
    sigma: f64,
}

impl Lognormal {
    /// The standard normal distribution's 99th percentile.
    const Z99: f64 = 2.326_347_874_040_841;
    /// And its 90th.
    const Z90: f64 = 1.281_551_565_544_600_4;

    /// With half of all times under `median` and 99 % under `p99`. Constant at `median` if `p99` is not
    /// above it.
    pub fn new(median: Duration, p99: Duration) -> Self {
        let median = median.as_secs_f64().max(1e-3);
        let sigma = (p99.as_secs_f64() / median).ln().max(0.0) / Self::Z99;
        Self { mu: median.ln(), sigma }
    }

    /// With half of all times under `median` and 90 % under `p90`.
    pub fn with_p90(median: Duration, p90: Duration) -> Self {
        let Self { mu, sigma } = Self::new(median, p90);
        Self { mu, sigma: sigma * Self::Z99 / Self::Z90 }
    }

    /// Draws one time.
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        // Sigma is finite and not negative, so that this cannot fail.
        let seconds = LogNormal::new(self.mu, self.sigma)
            .map_or_else(|_| self.mu.exp(), |lognormal| lognormal.sample(&mut rng.0));
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// The mean of all times.
    pub fn mean(&self) -> Duration {
        Duration::try_from_secs_f64((self.mu + self.sigma * self.sigma / 2.0).exp())
            .unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose| {
            let mut rng = Rng::stream(seed, purpose);
            [rng.below(1000), rng.below(1000), rng.below(1000)]
        };
        assert_eq!(draw(1, "boots"), draw(1, "boots"));
        assert_ne!(draw(1, "boots"), draw(1, "faults"));
        for seed in 0..100 {
            assert_ne!(draw(seed, "boots"), draw(seed + 1, "boots"), "{seed}");
        }
    }

    #[test]
    fn boot_times_have_the_median_and_the_tail_asked_for() {
        let (median, p99) = (Duration::from_secs(90), Duration::from_mins(4));
        let boots = Lognormal::new(median, p99);
        assert!((boots.mean().as_secs_f64() - 98.4).abs() < 0.1, "a mean of 98.4 s");
        let mut rng = Rng::stream(7, "boots");
        let mut drawn: Vec<_> = (0..10_000).map(|_| boots.draw(&mut rng)).collect();
        drawn.sort_unstable();
        let near = |at: usize, expected: Duration| {
            (drawn[at].as_secs_f64() / expected.as_secs_f64() - 1.0).abs() < 0.06
        };
        assert!(near(5_000, median) && near(9_900, p99), "{:?} {:?}", drawn[5_000], drawn[9_900]);
    }

    #[test]
    fn without_a_tail_every_boot_takes_the_same_time() {
        let boots = Lognormal::new(Duration::from_secs(98), Duration::ZERO);
        let mut rng = Rng::stream(1, "boots");
        let off = boots.draw(&mut rng).as_secs_f64() - 98.0;
        assert!(off.abs() < 1e-6);
    }
}
