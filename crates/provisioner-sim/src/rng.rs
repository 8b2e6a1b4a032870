//! Random numbers from a seed, with a stream per purpose, so that more events of one kind do not change the
//! others.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, LogNormal};
use rand_pcg::Pcg64Mcg;

/// A stream of random numbers. The generator's output is the same on all platforms and in all releases.
#[derive(Clone, Debug)]
pub struct Rng(Pcg64Mcg);

impl Rng {
    /// Returns the stream of `seed` for `purpose`. The same pair gives the same stream.
    pub fn stream(seed: u64, purpose: &str) -> Self {
        // FNV-1a: spreads the name over 64 bits; quality is the generator's business.
        let name = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        // The generator ignores the lowest bit of the seed, since its state is odd.
        let name = if seed.is_multiple_of(2) { name ^ 0x9e37_79b9_7f4a_7c15 } else { name };
        let mut words = [0; 16];
        words[..8].copy_from_slice(&seed.to_le_bytes());
        words[8..].copy_from_slice(&name.to_le_bytes());
        let mut generator = Pcg64Mcg::from_seed(words);
        // The first outputs of neighbouring seeds differ in few bits.
        for _ in 0..4 {
            let _: u64 = generator.random();
        }
        Self(generator)
    }

    /// Returns a number from `0..n`, or zero if `n` is zero.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.0.random_range(0..n) }
    }

    /// Returns true with the probability `share`, from 0 to 1.
    pub fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.0.random::<f64>() < share
    }

    /// Returns true with a probability of `percent` %.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns a uniformly distributed number from 0 to 1, excluding 1.
    pub fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// Returns a uniformly distributed time from `least` to `most`, in whole milliseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (least, most) = (millis(least), millis(most));
        Duration::from_millis(least + self.below(most.saturating_sub(least).saturating_add(1)))
    }

    /// Returns the time until the next of events that occur at random, `mean` apart on average (exponentially
    /// distributed).
    pub fn until_next(&mut self, mean: Duration) -> Duration {
        // 1 - u lies in (0, 1]: its logarithm is finite.
        mean.mul_f64(-(1.0 - self.unit()).ln())
    }

    /// Picks a random element; `None` if there are no elements.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(usize::try_from(self.below(from.len() as u64)).unwrap_or(0))
    }
}

/// A lognormally distributed time, like boot times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lognormal {
    mu: f64,
    sigma: f64,
}

impl Lognormal {
    /// The standard normal distribution's 99th percentile.
    const Z99: f64 = 2.326_347_874_040_841;
    /// The standard normal distribution's 90th percentile.
    const Z90: f64 = 1.281_551_565_544_600_4;

    /// Creates a distribution with half of all times under `median` and 99 % under `p99`. It is constant if
    /// `p99` is not above `median`.
    pub fn new(median: Duration, p99: Duration) -> Self {
        let median = median.as_secs_f64().max(1e-3);
        let sigma = (p99.as_secs_f64() / median).ln().max(0.0) / Self::Z99;
        Self { mu: median.ln(), sigma }
    }

    /// Creates a distribution with half of all times under `median` and 90 % under `p90`.
    pub fn with_p90(median: Duration, p90: Duration) -> Self {
        let Self { mu, sigma } = Self::new(median, p90);
        Self { mu, sigma: sigma * Self::Z99 / Self::Z90 }
    }

    /// Draws a time.
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        // This cannot fail, since sigma is finite and not negative.
        let seconds = LogNormal::new(self.mu, self.sigma)
            .map_or_else(|_| self.mu.exp(), |lognormal| lognormal.sample(&mut rng.0));
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Returns the mean of all times.
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
