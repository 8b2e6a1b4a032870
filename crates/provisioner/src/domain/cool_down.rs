//! Penalties that grow: how long a capacity pool or a quota that refused is left alone.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock;

/// A penalty that grows with each strike.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CoolDown {
    /// Refusals in a row.
    pub(crate) strikes: u32,
    /// The last one.
    pub(crate) last: Timestamp,
    /// What it said (`InsufficientInstanceCapacity`, …).
    pub(crate) code: String,
    /// The pause lasts at least this long, in seconds: it took a request that waited to learn of the refusal,
    /// and meanwhile the other places can be tried as slowly.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) at_least_seconds: u64,
    /// Whether the place is unsuitable: its zone does not offer the instance type, or it does not exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unsuitable: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}

/// The first pause after a pool refused. EC2's capacity changes within minutes; Karpenter's flat
/// penalty is 3 min, half a minute doubling reaches it with the fourth refusal.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// How long it takes to learn that a place has no capacity: a request that waits is cancelled 15 s after its
/// status first says so, and some rounds go by before and after.
const WAIT_PER_PLACE: Duration = Duration::from_secs(30);
/// The longest. Spells without capacity have a median of about half an hour.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// The longest pause between tries of a pool that is the only one left.
const LONGEST_ONLY_PAUSE: Duration = Duration::from_mins(1);

/// `first` doubled for every strike after the first, at most `longest`.
pub(crate) fn growing(first: Duration, strikes: u32, longest: Duration) -> Duration {
    first
        .saturating_mul(1_u32.checked_shl(strikes.saturating_sub(1)).unwrap_or(u32::MAX))
        .min(longest)
}

impl CoolDown {
    /// Adds a strike to what was there.
    pub(crate) fn strike(before: Option<&Self>, code: &str, now: Timestamp) -> Self {
        let strikes = match before {
            Some(before) if !before.is_forgotten(now) => before.strikes + 1,
            _ => 1,
        };
        Self { strikes, last: now, code: code.to_owned(), at_least_seconds: 0, unsuitable: false }
    }

    /// Lets it outlast a tour of so many places, each of which takes a request that waits.
    pub(crate) fn outlasting_tour(self, places: usize) -> Self {
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        let tour = WAIT_PER_PLACE.saturating_mul(places).min(LONGEST_PAUSE);
        Self { at_least_seconds: tour.as_secs(), ..self }
    }

    /// Whether it is forgotten by now: a refusal long after the last is a new spell of its own.
    pub(crate) fn is_forgotten(&self, now: Timestamp) -> bool {
        now >= clock::after(self.until(), LONGEST_PAUSE)
    }

    /// When it ends.
    pub(crate) fn until(&self) -> Timestamp {
        let pause = growing(FIRST_PAUSE, self.strikes, LONGEST_PAUSE);
        clock::after(self.last, pause.max(Duration::from_secs(self.at_least_seconds)))
    }

    /// When it may be tried again although it has not ended, because there is nothing else.
    pub(crate) fn only_option_at(&self, interval: Duration) -> Timestamp {
        clock::after(self.last, growing(interval, self.strikes, LONGEST_ONLY_PAUSE))
            .min(self.until())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn penalties_grow_and_end() {
        let first = CoolDown::strike(None, "x", at(0));
        assert_eq!(first.until(), at(30));
        let second = CoolDown::strike(Some(&first), "x", at(31));
        assert_eq!(second.until(), at(91));
        let many = CoolDown { strikes: 40, ..second.clone() };
        assert_eq!(many.until(), at(31 + 600));
        assert_eq!(first.clone().outlasting_tour(9).until(), at(270));
        assert_eq!(first.outlasting_tour(99).until(), at(600));
        let later = CoolDown::strike(Some(&second), "x", at(5000));
        assert_eq!(later.strikes, 1);
    }

    #[test]
    fn the_only_option_is_tried_sooner() {
        let many = CoolDown { strikes: 40, ..CoolDown::strike(None, "x", at(0)) };
        assert_eq!(many.only_option_at(Duration::from_secs(10)), at(60));
        let first = CoolDown { strikes: 1, ..many };
        assert_eq!(first.only_option_at(Duration::from_secs(10)), at(10));
        // However it was learned.
        let waited = first.outlasting_tour(9);
        assert_eq!(waited.only_option_at(Duration::from_secs(10)), at(10));
    }
}
