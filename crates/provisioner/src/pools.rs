//! What is learned about capacity pools: whether one has capacity now, and how long instances live in it.
//!
//! The two are independent: a pool that fulfils every request may take its instances back within the hour,
//! and losing a long task there costs more than waiting for a better pool.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::clock;
use crate::domain::cool_down::CoolDown;

/// What is known about one capacity pool. Its size is fixed, and old observations fade.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct PoolRecord {
    /// The refusals since the last launch.
    refused: Option<CoolDown>,
    /// Whether it launched since the last refusal.
    proven: bool,
    /// The faded sum of hours that ended instances lived.
    lived: f64,
    /// The faded number of instances that were taken back.
    reclaimed: f64,
    /// When the sums last faded.
    faded: Option<Timestamp>,
}

/// The expected life of an instance in a pool that was not observed yet, in hours. The Spot Instance
/// Advisor gives less than 5 % of interruptions for most pools; that is taken per hour here.
const USUAL_LIFE_HOURS: f64 = 20.0;
/// After this many seconds, an observation counts half: markets change from day to day.
const HALF_LIFE_SECONDS: f64 = 86_400.0;

impl PoolRecord {
    /// Notes that a launch was fulfilled.
    pub fn filled(&mut self) {
        self.refused = None;
        self.proven = true;
    }

    /// Notes that a launch was refused or that instances were taken back, so that there is no capacity now.
    pub fn refused(&mut self, code: &str, now: Timestamp) {
        self.refused = Some(CoolDown::strike(self.refused.as_ref(), code, now));
        self.proven = false;
    }

    /// Notes a refusal that it took a request that waited to learn of, where the other places of `places` could
    /// be tried meanwhile.
    pub(crate) fn refused_after_wait(&mut self, code: &str, places: usize, now: Timestamp) {
        let strike = CoolDown::strike(self.refused.as_ref(), code, now);
        self.refused = Some(strike.outlasting_tour(places));
        self.proven = false;
    }

    /// Notes that the place does not offer this pool, or does not exist.
    pub(crate) fn unsuitable(&mut self, code: &str, places: usize, now: Timestamp) {
        let strike = CoolDown::strike(self.refused.as_ref(), code, now);
        self.refused = Some(CoolDown { unsuitable: true, ..strike.outlasting_tour(places) });
        self.proven = false;
    }

    /// Returns the refusals since the last launch.
    pub(crate) fn penalty(&self) -> Option<&CoolDown> {
        self.refused.as_ref()
    }

    /// Whether it launched since its last refusal.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven
    }

    /// Every instant that is remembered.
    pub(crate) fn instants(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        let refused = self.refused.as_mut().map(|refused| &mut refused.last);
        refused.into_iter().chain(self.faded.as_mut())
    }

    /// Forgets a refusal of long ago.
    pub(crate) fn age(&mut self, now: Timestamp) {
        self.refused.take_if(|refused| refused.is_forgotten(now));
    }

    /// Whether nothing is known of it.
    pub(crate) fn is_blank(&self) -> bool {
        *self == Self::default()
    }

    /// Notes that an instance ended after it had `lived`, because it was taken back or for another reason.
    pub fn ended(&mut self, lived: Duration, reclaimed: bool, now: Timestamp) {
        if let Some(before) = self.faded.replace(now) {
            let factor = 0.5_f64.powf(clock::age(before, now).as_secs_f64() / HALF_LIFE_SECONDS);
            self.lived *= factor;
            self.reclaimed *= factor;
        }
        self.lived += lived.as_secs_f64() / 3600.0;
        self.reclaimed += if reclaimed { 1.0 } else { 0.0 };
    }

    /// Returns how long an instance is expected to live, in hours: the average of the observations and one
    /// instance of the usual life.
    pub fn life_hours(&self) -> f64 {
        (USUAL_LIFE_HOURS + self.lived) / (1.0 + self.reclaimed)
    }

    fn is_cooling(&self, now: Timestamp) -> bool {
        self.refused.as_ref().is_some_and(|refused| now < refused.until())
    }
}

/// Divides `n` launches among pools, and returns the number for each.
///
/// The pool in which instances live longest comes first. A pool that has not launched since its last refusal
/// is tried with a single instance, while a proven pool takes the rest; if no pool is proven, all that are
/// not cooling down share. If all pools are cooling down, the one that is due first is tried, at growing
/// pauses.
pub fn divide(pools: &[PoolRecord], n: u64, interval: Duration, now: Timestamp) -> Vec<u64> {
    let mut asked = vec![0; pools.len()];
    let mut open: Vec<usize> = (0..pools.len()).filter(|at| !pools[*at].is_cooling(now)).collect();
    // The sort is stable, so that equal pools stay in their order of preference.
    open.sort_by(|a, b| pools[*b].life_hours().total_cmp(&pools[*a].life_hours()));
    let mut left = n;
    if let Some(place) = open.iter().position(|at| pools[*at].proven) {
        for at in &open[..place] {
            let one = left.min(1);
            asked[*at] = one;
            left -= one;
        }
        asked[open[place]] = left;
    } else if open.is_empty() {
        let due = |at: &usize| {
            let refused = pools[*at].refused.as_ref()?;
            Some((refused.only_option_at(interval), *at))
        };
        let first = (0..pools.len()).filter_map(|at| due(&at)).min();
        if let Some((_, at)) = first.filter(|(due, _)| *due <= now) {
            asked[at] = n;
        }
    } else {
        for (place, at) in open.iter().enumerate() {
            let share = left.div_ceil((open.len() - place) as u64);
            asked[*at] = share;
            left -= share;
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Timestamp {
        clock::after(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    fn lived(hours: u64, reclaimed: bool) -> PoolRecord {
        let mut record = PoolRecord::default();
        record.filled();
        for _ in 0..10 {
            record.ended(Duration::from_hours(hours), reclaimed, at(0));
        }
        record
    }

    fn divided(pools: &[&PoolRecord], n: u64, seconds: u64) -> Vec<u64> {
        let pools: Vec<_> = pools.iter().map(|pool| (*pool).clone()).collect();
        divide(&pools, n, INTERVAL, at(seconds))
    }

    #[test]
    fn where_instances_live_longer_comes_first() {
        let (short, long) = (lived(1, true), lived(1, false));
        assert!(short.life_hours() < 3.0 && long.life_hours() > 20.0);
        assert_eq!(divided(&[&short, &long], 5, 1), [0, 5]);
    }

    #[test]
    fn what_is_not_proven_is_tried_with_one() {
        let (mut long, short) = (lived(1, false), lived(1, true));
        long.refused("no-capacity", at(0));
        assert_eq!(divided(&[&long, &short], 5, 10), [0, 5], "it cools down");
        assert_eq!(divided(&[&long, &short], 5, 40), [1, 4]);
        assert_eq!(divided(&[&long, &short], 1, 40), [1, 0]);
        long.filled();
        assert_eq!(divided(&[&long, &short], 5, 40), [5, 0]);
    }

    #[test]
    fn where_nothing_is_known_all_share() {
        let new = PoolRecord::default();
        assert_eq!(divided(&[&new, &new, &new], 5, 0), [2, 2, 1]);
        assert_eq!(divided(&[], 5, 0), [0; 0]);
    }

    #[test]
    fn the_only_option_is_never_starved() {
        let (mut one, mut other) = (PoolRecord::default(), PoolRecord::default());
        one.refused("no-capacity", at(0));
        other.refused("no-capacity", at(5));
        assert_eq!(divided(&[&one, &other], 3, 9), [0, 0]);
        assert_eq!(divided(&[&one, &other], 3, 10), [3, 0]);
    }

    #[test]
    fn what_was_seen_fades() {
        let mut record = lived(1, true);
        let before = record.life_hours();
        record.ended(Duration::from_hours(1), false, at(30 * 86_400));
        assert!(record.life_hours() > 5.0 * before, "{}", record.life_hours());
    }
}
