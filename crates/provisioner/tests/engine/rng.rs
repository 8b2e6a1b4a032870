//! Chance from a seed, a stream per purpose: more of one kind of event does not change the others.

use std::time::Duration;

/// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn stream(seed: u64, purpose: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose);
        rng.next();
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `0..n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Up to `longest`, in whole seconds; often nothing at all.
    pub(crate) fn delay(&mut self, longest: Duration) -> Duration {
        if self.chance(30) {
            return Duration::ZERO;
        }
        Duration::from_secs(self.below(longest.as_secs() + 1))
    }

    /// Between `least` and `most`, in whole seconds.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        Duration::from_secs(least.as_secs() + self.below(most.as_secs() - least.as_secs() + 1))
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}
