//! The adaptive policy: holds idle instances as long as they are likely enough to be needed again, and requests
//! as many instances as the spread of the startups makes worthwhile.
//!
//! One price decides everything: how many seconds of an instance one second of a task's waiting is worth. It
//! is configured as `wait-cost`, or learned where workers stop when they are asked to, or else a constant.
//!
//! # One round
//!
//! [`Adaptive::target`] is called once per round and makes one pass through five parts:
//!
//! 1. The demand is counted in instances: those that waiting tasks need, plus those that are busy or may be.
//!    [`Pace`] measures the interval between rounds, and the launches per new task.
//! 2. [`Startups`] summarises how long instances took to start, and picks the *hedge*: how many requests to
//!    make per missing instance, and how many instances may boot per waiting task. It is the pair whose
//!    waiting, boots and surplus instances cost least at the configured or initial price. If startups do
//!    not vary, the hedge is one for one.
//! 3. [`Reference`] plays *plain* workers, which stay up idle for `idle-timeout`, against the same demand.
//!    [`Balance`] compares their waiting and their bill with ours, and moves the price so that tasks wait a
//!    little less than with plain workers, and the bill stays below theirs.
//! 4. [`Levels`] cuts the demand into levels and learns how soon a level that fell free is needed again. An
//!    idle instance is *kept* while that chance, times the waiting and the boot that it saves, is worth
//!    more than its idling. A *spare* one is launched before a task waits if the saved waiting alone is
//!    worth twice the idling.
//! 5. The target combines these: requests for what is missing, raised by the hedge or the spares as far as the
//!    maximum has room, and permission to stop for idle instances above the total.
//!
//! # What holds it back
//!
//! - Requests beyond the need stop when launches exceed new tasks by far, as if learning had gone wrong.
//! - Nothing is hedged while calls are throttled or a quota is used up.
//! - No spare is launched if the queue does not report running tasks, since a busy instance could then look
//!   like one that is not needed.
//! - A level that is not expected to be needed within four times `idle-timeout` (once, where workers end
//!   themselves) is not held, whatever the price.
//!
//! # What it remembers
//!
//! Everything is in [`PolicyMemory`] and forgets: launches within hours, the comparison within days, levels
//! within weeks, startups after the next 128. Plain workers are not saved; they start over after a restart.

mod balance;
mod levels;
mod pace;
mod reference;
mod startups;

use super::{CapacityTarget, PolicyMemory, Situation, Why};
pub(super) use balance::Balance;
pub(crate) use balance::Comparison;
pub(super) use levels::Levels;
use levels::Worth;
pub(super) use pace::Pace;
pub(super) use reference::Reference;
use reference::{Passed, Plain};
pub(super) use startups::Startups;
use startups::{Figures, Hedge, Price};

/// The settings of the adaptive policy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Adaptive {
    /// The worth of an hour of a task's waiting, in instance-hours; `None` if it is learned.
    ///
    /// With the learned price every measured load is both cheaper and quicker than with worker-manager
    /// (`BENCHMARKS.md`).
    pub wait_cost: Option<f64>,
}

/// The longest time for which a level is held, in idle timeouts, by workers that stop when they are asked to.
/// If startups do not vary and tasks are few, levels that are needed once an hour are worth holding, which
/// a limit of one idle timeout would prevent.
const LONGEST_IN_TIMEOUTS: f64 = 4.0;

/// The price of waiting if it is not configured and workers end themselves, in seconds of an instance. It is
/// low because an instance launched in advance then stays for a complete `idle-timeout`. With it tasks wait
/// a tenth less than under `basic`, for 3 % more.
const PRICE_WITHOUT_CONSENT: f64 = 10.0;

/// Above this number of launches per new task, over about the last hour, only what tasks wait for is launched,
/// because what was learned evidently does not fit.
const MOST_LAUNCHES_PER_TASK: f64 = 2.0;

impl Adaptive {
    pub(super) fn target(self, situation: &Situation, memory: &mut PolicyMemory) -> CapacityTarget {
        let Situation { pending, booting, idle, free_slots, min, max, .. } = *situation;
        let per_instance = situation.tasks_per_instance.max(1);
        let now = situation.now.as_millisecond();

        // In instances. Tasks for which busy instances have room need no further one.
        let room = free_slots.saturating_sub((idle + booting).saturating_mul(per_instance));
        let waiting = pending.saturating_sub(room).div_ceil(per_instance);
        let occupied = situation.busy + situation.unknown;
        let ready = idle + booting + occupied;
        let demand = waiting + occupied;

        let short = waiting.saturating_sub(idle);
        let interval = memory.pace.observe(now, demand);
        // A surplus instance stops at once if it can be asked to, or else when its worker gives up.
        let idle_timeout = situation.idle_timeout.as_secs_f64();
        let consent = situation.workers_consent;
        let surplus = if consent { 0.0 } else { idle_timeout };
        let first = self.wait_cost.unwrap_or(if consent {
            balance::INITIAL_PRICE
        } else {
            PRICE_WITHOUT_CONSENT
        });
        let (figures, hedge) =
            memory.startups.figures(Price { waiting: first, surplus, lag: interval });
        let comparison = learn_price(situation, memory, figures, (demand, short), interval);
        let wait_cost = match self.wait_cost {
            None if consent => memory.balance.price(),
            set => set.unwrap_or(first),
        };
        let worth = Worth {
            startup: figures.mean,
            wait: wait_cost * figures.wait,
            first: first * figures.wait,
            boot: figures.boot,
            longest: idle_timeout * if consent { LONGEST_IN_TIMEOUTS } else { 1.0 },
        };
        let held = memory.levels.observe(now, demand, worth);
        memory.kept = held.keep;
        let guarded = memory.pace.launches_per_task() > MOST_LAUNCHES_PER_TASK
            || (comparison.is_some() && memory.balance.launches_too_many());
        let hedge = if situation.may_hedge && !guarded { hedge } else { Hedge::NONE };

        let missing = short.saturating_sub(booting);
        let hedged =
            scale(missing, hedge.ask).max(scale(short, hedge.boot).saturating_sub(booting));
        let covered = (idle + booting).saturating_sub(waiting);
        // Without knowing what runs, a busy instance could look like one that is not needed.
        let spare = match situation.running {
            Some(_) if !guarded => held.spare.saturating_sub(covered),
            Some(_) | None => 0,
        };
        let for_minimum = min.saturating_sub(ready + missing);
        let needed = missing + for_minimum;
        // Requests beyond the need take only the room that is left, so that they never count as withheld
        // by a maximum.
        let at_most = max.saturating_sub(ready + situation.stopping);
        let coming = needed.max(hedged.max(missing + spare).min(at_most));
        // Instances that would be worth keeping but do not exist are not wanted.
        let total = (demand + held.keep.min(covered + spare)).max(min);
        CapacityTarget {
            coming,
            for_minimum,
            needed,
            wanted: total,
            let_go: ready.saturating_sub(total).min(idle),
            why: Why::Adaptive {
                missing,
                ask: hedge.ask,
                startups: memory.startups.number(),
                median: figures.median,
                p90: figures.p90,
                demand,
                keep: held.keep,
                spare: held.spare,
                wait_cost,
                comparison: comparison.filter(|_| self.wait_cost.is_none()),
            },
        }
    }
}

/// Compares the time since the last round with what plain workers would have made of it, and adjusts the price.
///
/// Does nothing unless idle workers stop when they are asked to: without that ours are plain workers
/// themselves, and the price decides nothing.
fn learn_price(
    situation: &Situation,
    memory: &mut PolicyMemory,
    figures: Figures,
    (demand, short): (u64, u64),
    interval: f64,
) -> Option<Comparison> {
    if !situation.workers_consent || situation.running.is_none() {
        memory.balance.forget_launches();
        return None;
    }
    let Situation { booting, idle, busy, unknown, min, max, .. } = *situation;
    let plain = Plain {
        // On average a task is seen half a round after it was created.
        startup: figures.mean + interval / 2.0,
        billed: (figures.boot / figures.mean).clamp(0.0, 1.0),
        idle_timeout: i64::try_from(situation.idle_timeout.as_millis()).unwrap_or(i64::MAX / 2),
        min,
        max,
    };
    let passed = memory.reference.observe(situation.now.as_millisecond(), demand, short, plain);
    // Before startups are known, the figures of plain workers are too rough to compare with.
    if let Some(plain) = passed
        && memory.startups.are_known()
    {
        let servable = short.min(max.saturating_sub(busy + unknown));
        let seconds = plain.seconds;
        let ours = Passed {
            seconds,
            waited: number(servable) * seconds,
            beyond: number(short - servable) * seconds,
            billed: number(booting + idle + busy + unknown) * seconds,
            ..Passed::default()
        };
        memory.balance.weigh(ours, plain, figures.wait / figures.mean, figures.mean);
    }
    memory.balance.comparison()
}

#[expect(clippy::cast_precision_loss, reason = "times of at most years in milliseconds")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "numbers of instances")]
fn number(n: u64) -> f64 {
    n as f64
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of instances; `as` saturates, and the factor is 1 or more"
)]
fn scale(n: u64, by: f64) -> u64 {
    (n as f64 * by).ceil() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    fn situation(second: i64) -> Situation {
        let now = Timestamp::from_second(1_800_000_000 + second).unwrap();
        Situation { running: Some(0), max: 100, ..Situation::nothing(now) }
    }

    fn target(situation: &Situation, memory: &mut PolicyMemory) -> CapacityTarget {
        Adaptive { wait_cost: Some(30.0) }.target(situation, memory)
    }

    /// Returns a memory that hedges: startups vary, and the interval between rounds is known.
    fn experienced() -> PolicyMemory {
        let mut memory = PolicyMemory::default();
        for n in 0..50 {
            memory.record_startup(Duration::from_secs(10 + 3 * n), Duration::from_mins(1));
        }
        // There were tasks for these launches in the year before.
        for (second, pending) in [(-31_536_000, 60), (0, 0), (10, 0)] {
            let _ = target(&Situation { pending, ..situation(second) }, &mut memory);
        }
        memory
    }

    #[test]
    fn on_the_first_day_it_asks_for_what_is_missing() {
        let mut memory = PolicyMemory::default();
        let tasks = Situation { pending: 7, booting: 2, free_slots: 2, ..situation(0) };
        let target = target(&tasks, &mut memory);
        assert_eq!((target.coming, target.needed, target.let_go), (5, 5, 0));
    }

    #[test]
    fn with_experience_it_asks_for_more_and_only_where_it_may() {
        let tasks = Situation { pending: 7, ..situation(20) };
        let many = target(&tasks, &mut experienced());
        assert!(many.coming >= 14 && many.needed == 7, "{many:?}");
        assert!(many.why.to_string().contains("of 50 startups half took"), "{}", many.why);
        let plain = Situation { may_hedge: false, ..tasks };
        assert_eq!(target(&plain, &mut experienced()).coming, 7);
    }

    #[test]
    fn what_is_asked_for_in_excess_keeps_the_maximum() {
        let tasks = Situation { pending: 7, busy: 90, max: 100, ..situation(20) };
        assert_eq!(target(&tasks, &mut experienced()).coming, 10);
        // The target holds all that is needed nevertheless; the fence reports what it cuts.
        let over = Situation { pending: 30, ..tasks };
        assert_eq!(target(&over, &mut experienced()).coming, 30);
    }

    #[test]
    fn after_many_launches_for_few_tasks_it_asks_for_no_more_than_is_needed() {
        let mut memory = experienced();
        for _ in 0..100 {
            memory.record_startup(Duration::from_secs(10), Duration::from_mins(1));
            memory.record_startup(Duration::from_mins(4), Duration::from_mins(1));
        }
        let tasks = Situation { pending: 12, ..situation(20) };
        assert_eq!(target(&tasks, &mut memory).coming, 12, "250 launches for 72 tasks");
    }

    #[test]
    fn idle_instances_are_let_go_when_their_level_is_not_needed_any_more() {
        let mut memory = PolicyMemory::default();
        let busy = Situation { busy: 4, running: Some(4), ..situation(0) };
        assert_eq!(target(&busy, &mut memory).let_go, 0);
        let idle = |second| Situation { idle: 4, free_slots: 4, ..situation(second) };
        let first = target(&idle(10), &mut memory);
        assert_eq!((first.let_go, first.coming), (0, 0), "just fallen free");
        let mut last = first;
        for n in 2..200 {
            last = target(&idle(n * 10), &mut memory);
        }
        assert_eq!((last.let_go, last.wanted), (4, 0), "after half an hour");
        let kept = Situation { min: 3, ..idle(2000) };
        assert_eq!(target(&kept, &mut memory).let_go, 1);
    }

    #[test]
    fn without_knowledge_of_running_tasks_it_asks_as_basic_does() {
        let mut memory = experienced();
        for n in 2..500 {
            let pending = u64::from(n % 30 < 3) * 5;
            let blind = Situation {
                running: None,
                may_hedge: false,
                pending,
                booting: 1,
                unknown: 2,
                free_slots: 1,
                min: 4,
                ..situation(n * 10)
            };
            let ours = target(&blind, &mut memory);
            let basic = super::super::basic::target(&blind);
            assert_eq!((ours.coming, ours.for_minimum), (basic.coming, basic.for_minimum));
        }
    }

    #[test]
    fn the_price_is_learned_where_workers_stop_when_asked() {
        let mut memory = PolicyMemory::default();
        for _ in 0..5 {
            memory.record_startup(Duration::from_secs(35), Duration::from_secs(70));
        }
        let mut last = None;
        // Two tasks of five minutes every hour, each of which waits for three rounds.
        for n in 0..720 {
            let (pending, busy) = match n % 360 {
                0..3 => (2, 0),
                3..33 => (0, 2),
                _ => (0, 0),
            };
            let hourly = Situation {
                pending,
                busy,
                booting: pending,
                free_slots: pending,
                running: Some(busy),
                workers_consent: true,
                ..situation(n * 10)
            };
            last = Some(Adaptive::default().target(&hourly, &mut memory).why);
        }
        let Some(Why::Adaptive { wait_cost, comparison: Some(comparison), .. }) = last else {
            panic!("{last:?}");
        };
        assert!(
            wait_cost < balance::INITIAL_PRICE,
            "they wait less than for a startup of 105 s: {wait_cost}"
        );
        assert!(comparison.wait < comparison.plain_wait && comparison.cost < 0.5, "{comparison:?}");
        let configured = Adaptive { wait_cost: Some(7.0) };
        let quiet = Situation { workers_consent: true, ..situation(7200) };
        let why = configured.target(&quiet, &mut memory).why;
        assert!(matches!(why, Why::Adaptive { wait_cost: 7.0, comparison: None, .. }), "{why:?}");
    }

    #[test]
    fn what_is_worth_keeping_and_is_not_there_is_not_wanted() {
        let mut memory = PolicyMemory::default();
        let tasks = Situation { pending: 5, ..situation(0) };
        assert_eq!(target(&tasks, &mut memory).wanted, 5);
        let requested = Situation { requested: 5, ..situation(10) };
        let withdrawn = target(&requested, &mut memory);
        assert!(matches!(withdrawn.why, Why::Adaptive { keep: 5, spare: 0, .. }), "{withdrawn:?}");
        assert_eq!((withdrawn.wanted, withdrawn.coming), (0, 0));
        let idle = Situation { idle: 3, free_slots: 3, ..situation(20) };
        assert_eq!(target(&idle, &mut memory).wanted, 3);
    }

    #[test]
    fn instances_that_take_several_tasks_need_fewer() {
        let tasks = Situation {
            pending: 9,
            busy: 1,
            running: Some(2),
            tasks_per_instance: 4,
            free_slots: 2,
            ..situation(0)
        };
        assert_eq!(target(&tasks, &mut PolicyMemory::default()).coming, 2);
    }
}
