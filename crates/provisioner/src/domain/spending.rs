//! What was spent, by day in UTC: what `limits.max-usd-per-day` is held against.
//!
//! The count is in the ledger, and a copy of it in the soft state; the larger one counts. A day's count
//! survives a clock that is off for some rounds: each day is counted for itself, up to its own time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::domain::clock;
use crate::domain::money::Usd;

/// Dollars spent in the last days, at the highest possible prices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Spending {
    /// By day in UTC.
    #[serde(default)]
    days: BTreeMap<Date, DaySpending>,
    /// When it was last counted, by a clock that may have been off.
    #[serde(default)]
    counted: Option<Timestamp>,
}

/// Dollars spent on one day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct DaySpending {
    usd: Usd,
    /// Up to when it was counted.
    counted_to: Timestamp,
    /// What was counted before was lost, and this is only what EC2 still showed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lower_bound: bool,
}

/// So many days are kept up to today, and as many beyond, in case that today is wrong.
const DAYS_KEPT: usize = 2;

impl Spending {
    /// A count of one day, up to `counted_to`.
    pub(crate) fn of_day(counted_to: Timestamp, usd: Usd) -> Self {
        let day = DaySpending { usd, counted_to, lower_bound: false };
        let days = BTreeMap::from([(date(counted_to), day)]);
        Self { days, counted: Some(counted_to) }
    }

    /// Whether nothing was counted yet, or all of it was lost.
    pub(crate) fn is_unknown(&self) -> bool {
        self.days.is_empty()
    }

    /// Takes the larger count of each day from a copy.
    pub(crate) fn merge(&mut self, copy: &Self) {
        for (date, theirs) in &copy.days {
            let ours = self.days.get(date);
            if ours.is_none_or(|ours| (theirs.usd, theirs.counted_to) > (ours.usd, ours.counted_to))
            {
                self.days.insert(*date, theirs.clone());
            }
        }
        self.counted = self.counted.max(copy.counted);
    }

    /// Begins to count on. Returns from when on `now`'s day has not been counted yet.
    pub(crate) fn begin(&mut self, now: Timestamp) -> Timestamp {
        let today = date(now);
        let midnight = clock::last_midnight(now);
        let was_earlier = self.counted.is_some_and(|counted| date(counted) < today);
        // A day that begins, and was counted beyond now: a clock was ahead, and that costs nothing.
        self.days.retain(|date, day| *date != today || !was_earlier || day.counted_to <= now);
        self.counted = Some(now);
        let first = DaySpending { usd: Usd::ZERO, counted_to: midnight, lower_bound: false };
        let day = self.days.entry(today).or_insert(first);
        let from = day.counted_to.clamp(midnight, now);
        day.counted_to = now;
        self.forget_old(today);
        from
    }

    fn forget_old(&mut self, today: Date) {
        let past: Vec<_> =
            self.days.range(..=today).rev().skip(DAYS_KEPT).map(|it| *it.0).collect();
        let ahead: Vec<_> = self.days.range(today..).skip(DAYS_KEPT).map(|it| *it.0).collect();
        for date in past.into_iter().chain(ahead) {
            self.days.remove(&date);
        }
    }

    /// Adds to `now`'s day, once it was [begun](Self::begin).
    pub(crate) fn add(&mut self, usd: Usd, now: Timestamp) {
        if let Some(day) = self.days.get_mut(&date(now)) {
            day.usd = day.usd.plus(usd);
        }
    }

    /// Notes that what was counted of `now`'s day before was lost.
    pub(crate) fn is_lower_bound_from(&mut self, now: Timestamp) {
        if let Some(day) = self.days.get_mut(&date(now)) {
            day.lower_bound = true;
        }
    }

    /// What was spent since the midnight before `now`.
    pub fn on_day_of(&self, now: Timestamp) -> Usd {
        self.days.get(&date(now)).map_or(Usd::ZERO, |day| day.usd)
    }

    /// Whether nothing was spent on `now`'s day.
    pub(crate) fn is_zero(&self, now: Timestamp) -> bool {
        self.on_day_of(now) == Usd::ZERO
    }

    /// Whether [`on_day_of`](Self::on_day_of) is less than what was really spent, perhaps.
    pub fn is_lower_bound(&self, now: Timestamp) -> bool {
        self.days.get(&date(now)).is_some_and(|day| day.lower_bound)
    }

    /// What contradicts itself in it, if something does.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let wrong = self.days.iter().find(|(day, of_it)| {
            let next = day.tomorrow().unwrap_or(**day);
            date(of_it.counted_to) != **day && date(of_it.counted_to) != next
        });
        wrong.map(|(day, of_it)| format!("{day} was counted up to {}", of_it.counted_to))
    }
}

fn date(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Counts as if one dollar was spent each hour.
    fn count(spending: &mut Spending, now: Timestamp) -> f64 {
        let from = spending.begin(now);
        let hours = clock::age(from, now).as_secs_f64() / 3600.0;
        spending.add(Usd::from_dollars(hours).unwrap(), now);
        spending.on_day_of(now).dollars()
    }

    #[test]
    fn a_round_with_the_clock_a_day_off_neither_opens_the_limit_nor_uses_it_up() {
        let noon = at("2026-11-23T12:00:00Z");
        let (day, later) = (Duration::from_hours(24), clock::after(noon, Duration::from_secs(10)));
        for off in
            [clock::after(later, day), clock::before(later, day), clock::after(later, 2 * day)]
        {
            let mut spending = Spending::default();
            assert!((count(&mut spending, noon) - 12.0).abs() < 0.001);
            count(&mut spending, off);
            assert!(
                (count(&mut spending, clock::after(noon, Duration::from_secs(20))) - 12.006).abs()
                    < 0.001,
                "{off}"
            );
            // What was counted ahead of time is forgotten when that day begins.
            count(&mut spending, at("2026-11-23T23:59:50Z"));
            assert!(count(&mut spending, at("2026-11-24T00:00:10Z")) < 0.01, "{off}");
            count(&mut spending, at("2026-11-24T23:59:50Z"));
            assert!(count(&mut spending, at("2026-11-25T00:00:10Z")) < 0.01, "{off}");
        }
    }

    #[test]
    fn the_larger_of_two_copies_counts() {
        let now = at("2026-11-23T12:00:00Z");
        let (less, more) = (Usd::from_dollars(1.0).unwrap(), Usd::from_dollars(2.0).unwrap());
        for (ours, theirs) in [(less, more), (more, less)] {
            let mut spending = Spending::of_day(now, ours);
            spending.merge(&Spending::of_day(clock::before(now, Duration::from_hours(1)), theirs));
            assert_eq!(spending.on_day_of(now), more);
        }
        let mut lost = Spending::default();
        lost.merge(&Spending::of_day(now, more));
        assert_eq!(lost.on_day_of(now), more);
    }

    #[test]
    fn the_last_two_days_are_kept() {
        let mut spending = Spending::default();
        for day in 10..20 {
            count(&mut spending, at(&format!("2026-11-{day}T12:00:00Z")));
        }
        assert_eq!(spending.days.len(), 2);
        assert_eq!(spending.contradiction(), None);
    }
}
