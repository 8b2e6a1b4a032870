//! Levels of demand: how soon a level that fell free is needed again, and for how long.
//!
//! The demand of a worker type is cut into levels: level k is needed whenever at least k instances are. A
//! level that the demand fell below is a gap, which ends when the demand reaches the level again. An
//! instance is held for level k as long as it is likely enough that the gap ends soon. This is a
//! break-even rule per level, and it does not depend on which idle worker the queue wakes.
//!
//! The module learns a rate, in ends of gaps per second at risk, for gaps that are alike: as far above the
//! demand, as old, and at a time when about as much begins. It also learns how long such a level is then
//! needed: if it falls free again after a second, its absence costs little waiting.

mod chances;

use std::cmp::Reverse;
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{number, seconds};
use chances::{Chances, Run, age_bin, middle, order, runs};

/// What is known of the levels of one worker type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(in crate::policy) struct Levels {
    /// The demand in the last round.
    demand: u64,
    /// The time of the last round, in milliseconds.
    #[serde(rename = "looked")]
    observed_at: Option<i64>,
    /// The sum of the recent rises of the demand.
    rises: f64,
    /// When the chances last faded.
    faded: Option<i64>,
    /// The gaps, the highest level first, which is the oldest gap.
    falls: VecDeque<Fall>,
    #[serde(with = "chances::on_disk")]
    chances: Chances,
    /// The demand since the older window began.
    #[serde(skip)]
    history: VecDeque<(i64, u64)>,
    /// The window whose end is awaited, and the one that has begun since.
    #[serde(skip)]
    windows: VecDeque<Window>,
}

/// A fall of the demand, which opened a gap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Fall {
    since: i64,
    /// The highest level of this gap. The lowest follows from the next fall, or the demand.
    top: u64,
}

/// The gaps as they were at one time, kept to learn what becomes of them.
#[derive(Clone, Debug, PartialEq)]
struct Window {
    at: i64,
    demand: u64,
    /// The order of magnitude of the recent rises of the demand.
    order: usize,
    falls: Vec<Fall>,
}

/// What a held instance saves when its level is needed, in seconds of an instance, and how long it may be held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::policy) struct Worth {
    /// How long a task waits for a startup, in seconds.
    pub(in crate::policy) startup: f64,
    /// The worth of that wait.
    pub(in crate::policy) wait: f64,
    /// The worth of that wait at the configured or initial price, for which the first guess is made.
    pub(in crate::policy) first: f64,
    /// The cost of the startup that is saved.
    pub(in crate::policy) boot: f64,
    /// The longest time for which an instance is kept, in seconds.
    pub(in crate::policy) longest: f64,
}

/// Instances to hold beyond the demand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::policy) struct Held {
    /// Worth keeping if they are there.
    pub(in crate::policy) keep: u64,
    /// Worth launching if they are not. Never more than `keep`.
    pub(in crate::policy) spare: u64,
}

/// How many times its idling a launch in advance must be worth, since its boot is wasted if no task comes.
const LAUNCH_MARGIN: f64 = 2.0;

/// How long a gap is watched for its end, in milliseconds. One to four minutes gave the same results.
const WINDOW: i64 = 180_000;
/// About how long rises of the demand are remembered, in seconds. If more begins, more of the levels are
/// needed again; on busy loads this predicts better than the height of the demand.
const RECENT: f64 = 600.0;

/// The most gaps that are remembered. Beyond it the oldest is merged with its neighbour.
const MOST_FALLS: usize = 64;
/// The most rounds that are remembered: two windows with a round every six seconds. Closer rounds are merged.
const MOST_ROUNDS: usize = 64;
/// The closest distance of remembered rounds, in milliseconds.
const CLOSEST: i64 = 2 * WINDOW / 64;
/// The half-life of the chances, in milliseconds.
const HALF_LIFE: i64 = 7 * DAY;
const DAY: i64 = 86_400_000;

impl Levels {
    /// Records the demand at `now`, and returns how many instances to hold.
    pub(in crate::policy) fn observe(&mut self, now: i64, demand: u64, worth: Worth) -> Held {
        let before = self.observed_at.unwrap_or(now);
        // The clock was set back or the daemon was off, so that what happened in between is not known.
        if !(0..WINDOW / 2).contains(&(now - before)) {
            self.windows.clear();
            self.history.clear();
        }
        self.fade(now);
        self.rises *= (-seconds((now - before).max(0)) / RECENT).exp();
        self.rises += number(demand.saturating_sub(self.demand));
        if demand < self.demand {
            self.fall(before);
        }
        while self.falls.back().is_some_and(|fall| fall.top <= demand) {
            let _ = self.falls.pop_back();
        }
        self.observed_at = Some(now);
        self.demand = demand;
        self.remember(now, demand);
        self.learn(now, worth.startup);
        self.weigh(now, worth)
    }

    /// Opens a gap below the demand of the round at `before`.
    fn fall(&mut self, before: i64) {
        self.falls.push_back(Fall { since: before, top: self.demand });
        if self.falls.len() > MOST_FALLS
            && let Some(oldest) = self.falls.pop_front()
            && let Some(next) = self.falls.front_mut()
        {
            next.top = oldest.top;
        }
    }

    /// Adds a round to the history.
    fn remember(&mut self, now: i64, demand: u64) {
        let dense = self.history.len() >= MOST_ROUNDS / 2
            && self.history.back().is_some_and(|(at, _)| now - at < CLOSEST);
        match self.history.back_mut() {
            // The greater demand is kept, because what is learned is how far the demand rises.
            Some((_, most)) if dense => *most = demand.max(*most),
            _ => self.history.push_back((now, demand)),
        }
    }

    /// Learns from the oldest window, two windows after its beginning, when the fate of its gaps is known.
    fn learn(&mut self, now: i64, startup: f64) {
        if self.windows.back().is_none_or(|window| now - window.at >= WINDOW) {
            let falls = self.falls.iter().copied().collect();
            let order = order(self.rises);
            self.windows.push_back(Window { at: now, demand: self.demand, order, falls });
        }
        if self.windows.front().is_none_or(|window| now - window.at < 2 * WINDOW) {
            return;
        }
        let Some(window) = self.windows.pop_front() else { return };
        // How long the demand was at each height, the highest first, and its maximum in the window.
        let mut heights = Vec::with_capacity(self.history.len());
        let mut most = window.demand;
        let ends = self.history.iter().skip(1).map(|(at, _)| *at).chain([now]);
        for ((at, demand), end) in
            self.history.iter().zip(ends).filter(|((at, _), _)| *at > window.at)
        {
            heights.push((*demand, seconds(end - at)));
            if *at <= window.at + WINDOW {
                most = most.max(*demand);
            }
        }
        heights.sort_unstable_by_key(|(demand, _)| Reverse(*demand));
        let needed = |level: u64| {
            let above = heights.iter().take_while(|(demand, _)| *demand >= level);
            above.map(|(_, time)| time).sum::<f64>().min(startup)
        };
        let Chances { all, by_rises } = &mut self.chances;
        let alike = by_rises[window.order].get_or_insert_with(Default::default);
        let mut low = window.demand + 1;
        for fall in window.falls.iter().rev() {
            let age = age_bin(window.at - fall.since);
            for Run { distance, low, high } in runs(low, fall.top, window.demand) {
                let ended = (high.min(most) + 1).saturating_sub(low);
                let needed = if ended > 0 { needed(low + ended / 2) } else { 0.0 };
                for cell in [&mut all[distance][age], &mut alike[distance][age]] {
                    cell.seen += number(high + 1 - low);
                    cell.ended += number(ended);
                    cell.needed += number(ended) * needed;
                }
            }
            low = low.max(fall.top + 1);
        }
        while self.history.front().is_some_and(|(at, _)| *at <= window.at + WINDOW) {
            let _ = self.history.pop_front();
        }
    }

    /// Returns for how many levels of the gaps an instance is worth keeping or launching.
    fn weigh(&self, now: i64, worth: Worth) -> Held {
        let from = self.demand;
        let mut held = Held::default();
        let Chances { all, by_rises } = &self.chances;
        let alike = by_rises[order(self.rises)].as_deref();
        let mut low = from + 1;
        for fall in self.falls.iter().rev() {
            let age = age_bin(now - fall.since);
            let guess = prior(age, worth);
            for Run { distance, low, high } in runs(low, fall.top, from) {
                let all = &all[distance][age];
                // Gaps that differ only in how much begins serve as the first guess.
                let mut chance = all.chance(guess);
                if let Some(alike) = alike {
                    chance = alike[distance][age].chance(chance);
                }
                let needed = (all.needed + GUESSES * worth.startup) / (all.ended + GUESSES);
                let chance = chance.min(1.0);
                let idle = seconds(WINDOW) * (1.0 - chance / 2.0);
                let hit = chance * (needed / worth.startup).min(1.0);
                // On average the level is needed again within the longest time.
                let soon = chance * worth.longest > seconds(WINDOW);
                // A guess suffices to keep an existing instance, but not to launch one.
                let is_known = all.ended >= GUESSES;
                let launch = is_known && soon && hit * worth.wait > idle * LAUNCH_MARGIN;
                let keep = hit * (worth.wait + worth.boot) > idle
                    && seconds(now - fall.since) < worth.longest;
                let n = high + 1 - low;
                held.keep += if keep || launch { n } else { 0 };
                held.spare += if launch { n } else { 0 };
            }
            low = low.max(fall.top + 1);
        }
        held
    }

    /// Lets the chances fade once a day.
    fn fade(&mut self, now: i64) {
        let since = *self.faded.get_or_insert(now);
        if now - since >= DAY || now < since {
            let part = seconds(now - since) / seconds(HALF_LIFE);
            self.chances.fade(0.5_f64.powf(part.clamp(0.0, 10.0)));
            self.faded = Some(now);
        }
    }
}

/// The weight of a first guess, in ends of gaps.
const GUESSES: f64 = 3.0;

/// Returns the first guess of the chance that a gap of this age ends within a window.
///
/// It is chosen so that a level without experience is kept for a quarter of an hour, like workers that end
/// themselves by default: the rate at which that just pays, in proportion for younger and older gaps.
fn prior(age: usize, worth: Worth) -> f64 {
    const KEPT_SECONDS: f64 = 900.0;
    let rate = KEPT_SECONDS / (worth.boot + worth.first) / middle(age);
    (1.0 - (-rate * seconds(WINDOW)).exp()).min(0.9)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORTH: Worth =
        Worth { startup: 100.0, wait: 3500.0, first: 3500.0, boot: 65.0, longest: 900.0 };
    const ROUND: i64 = 10_000;

    /// Observes `demand`, a function of the second, in every round, and returns what was held in each.
    fn watch(levels: &mut Levels, seconds: i64, demand: impl Fn(i64) -> u64) -> Vec<(i64, Held)> {
        let start = levels.observed_at.map_or(0, |at| at + ROUND);
        let observe = |n: i64| {
            let at = start + n * ROUND;
            (at / 1000, levels.observe(at, demand(at / 1000), WORTH))
        };
        (0..seconds * 1000 / ROUND).map(observe).collect()
    }

    #[test]
    fn a_level_that_is_needed_every_few_minutes_is_kept() {
        let mut levels = Levels::default();
        // Two instances for 5 min of every 7.
        let held = watch(&mut levels, 86_400, |second| if second % 420 < 300 { 2 } else { 0 });
        for (second, held) in
            held.iter().filter(|(second, _)| *second > 82_800 && second % 420 >= 300)
        {
            assert_eq!(held.keep, 2, "{} s into the gap", second % 420 - 300);
        }
    }

    #[test]
    fn a_level_that_is_needed_every_quarter_of_an_hour_is_there_when_it_is() {
        let mut levels = Levels::default();
        // Two instances for 5 min of every 20, after gaps of 900 s.
        let held = watch(&mut levels, 2 * 86_400, |second| if second % 1200 < 300 { 2 } else { 0 });
        let last_hour = held.iter().filter(|(second, _)| *second > 169_200);
        for (second, held) in last_hour.filter(|(second, _)| second % 1200 >= 1000) {
            assert_eq!(held.spare, 2, "{} s into the gap", second % 1200 - 300);
        }
    }

    #[test]
    fn a_level_that_is_needed_every_four_hours_is_let_go_soon() {
        const PERIOD: i64 = 4 * 3600;
        let mut levels = Levels::default();
        let held = watch(&mut levels, 42 * PERIOD, |second| u64::from(second % PERIOD < 300));
        let kept = |period: i64| {
            let of_period = held.iter().filter(|(second, _)| second / PERIOD == period);
            of_period.filter(|(second, held)| second % PERIOD >= 300 && held.keep > 0).count()
        };
        // At first for most of a quarter of an hour, 90 rounds, since these minutes are experience too.
        assert!((60..=91).contains(&kept(0)), "{} rounds", kept(0));
        assert!(kept(41) < 20, "{} rounds", kept(41));
        let mut late = held.iter().filter(|(second, _)| second % PERIOD > 1800);
        assert!(late.all(|(_, held)| held.spare == 0));
    }

    #[test]
    fn where_the_demand_goes_up_and_down_all_the_time_some_are_spare() {
        let mut levels = Levels::default();
        // Between 8 and 12 within 4 min.
        let held = watch(&mut levels, 86_400, |second| 8 + (second / 30 % 8).abs_diff(4));
        let (_, last) = held[held.len() - 1];
        let (second, _) = held[held.len() - 1];
        let demand = 8 + (second / 30 % 8).abs_diff(4);
        assert_eq!(last.keep + demand, 12, "{last:?} at a demand of {demand}");
        assert!(held.iter().skip(held.len() / 2).any(|(_, held)| held.spare > 0));
    }

    #[test]
    fn what_is_learned_fades() {
        let mut levels = Levels::default();
        watch(&mut levels, 86_400, |second| u64::from(second % 600 < 300));
        let ended = |levels: &Levels| -> f64 {
            levels.chances.all.as_flattened().iter().map(|cell| cell.ended).sum()
        };
        let before = ended(&levels);
        watch(&mut levels, 8 * 86_400, |_| 0);
        assert!(ended(&levels) < before * 0.55 && ended(&levels) > before * 0.3);
    }

    /// Returns a demand between 0 and 400 that jumps and drifts.
    fn erratic(second: i64) -> u64 {
        let jump = (second / 70).wrapping_mul(2_654_435_761) >> 7 & 0xff;
        u64::try_from(jump * (second / 3000 % 3) / 2 + second / 900 % 40).unwrap()
    }

    #[test]
    fn it_stays_small_and_comes_back_from_disk() {
        let mut levels = Levels::default();
        watch(&mut levels, 3 * 86_400, erratic);
        assert!(levels.falls.len() <= MOST_FALLS);
        assert!(levels.history.len() <= 2 * MOST_ROUNDS && levels.windows.len() <= 3);
        let json = serde_json::to_string(&levels).unwrap();
        assert!(json.len() < 64 * 1024, "{} bytes", json.len());
        let mut back: Levels = serde_json::from_str(&json).unwrap();
        assert_eq!(watch(&mut levels, 60, erratic), watch(&mut back, 60, erratic));
    }

    #[test]
    fn rows_of_another_version_are_skipped() {
        let foreign = r#"{"chances":[[0,0,0,1.0,1.0,1.0],[9,0,0,1.0,1.0,1.0],[0,99,0,1.0,1.0,1.0],[0,0,0,-1.0,0.0,0.0]]}"#;
        let levels: Levels = serde_json::from_str(foreign).unwrap();
        assert_eq!(levels.chances.all, Box::default());
        assert!(levels.chances.by_rises[0].is_some());
    }

    #[test]
    fn a_clock_set_back_and_a_long_pause_do_no_harm() {
        let mut levels = Levels::default();
        for (at, demand) in [(1_000_000, 5), (500_000, 2), (90_000_000, 7), (90_010_000, 0)] {
            let held = levels.observe(at, demand, WORTH);
            assert!(held.keep <= 7 && held.spare <= held.keep);
        }
    }
}
