//! Telling the engine what changed comes to the same as telling it all: in random worlds, step by step.

use std::sync::Arc;

use jiff::Timestamp;
use provisioner::domain::clock;
use provisioner::engine::Plan;
use provisioner::policy::Policy;
use provisioner::settings::Settings;
use provisioner_sim::chance::Chance;
use provisioner_sim::deployment::{at, mins, name, secs, settings, start, worker_type};
use provisioner_sim::driver::{Driver, End};
use provisioner_sim::faults::Faults;
use provisioner_sim::queue::Knowledge;
use provisioner_sim::random::{self, Case, Chaos, Meddled, Meddling, ZONES};
use provisioner_sim::world::World;

use crate::random_worlds::{begin, step};

const SEEDS: u64 = 80;

fn compare(whole: &Driver, follows: &Driver, what: &str) {
    let last = |driver: &Driver| {
        driver.story.iter().rev().take(30).rev().cloned().collect::<Vec<_>>().join("\n")
    };
    assert_eq!(whole.story.last(), follows.story.last(), "{what}\n{}", last(whole));
    assert_eq!(whole.world.now, follows.world.now, "{what}");
    assert_eq!(whole.plan, follows.plan, "{what}\n{}", last(whole));
    assert_eq!(whole.engine.ledger(), follows.engine.ledger(), "{what}\n{}", last(whole));
    assert_eq!(whole.engine.memory(), follows.engine.memory(), "{what}\n{}", last(whole));
    let capacity = |driver: &Driver| {
        let mut machines = driver.engine.capacity();
        machines.sort_by_key(|it| format!("{it:?}"));
        machines
    };
    assert_eq!(capacity(whole), capacity(follows), "{what}");
}

#[test]
fn changes_alone_come_to_the_same_as_whole_looks() {
    let mut rounds = 0;
    for seed in 0..SEEDS {
        let case = Case::new(seed);
        let [(mut whole, mut chaos), (mut follows, mut again)] = [begin(&case), begin(&case)];
        follows.follow();
        while chaos.goes_on(&whole.world) {
            for (driver, chaos) in [(&mut whole, &mut chaos), (&mut follows, &mut again)] {
                let meddled = chaos.meddle(&mut driver.world, &driver.settings);
                step(driver, meddled);
            }
            rounds += 1;
            compare(&whole, &follows, &format!("seed {seed}"));
        }
        for driver in [&mut whole, &mut follows] {
            random::heal(&mut driver.world);
            driver.crash_at = None;
        }
        let settled = clock::after(whole.world.now, mins(45));
        while whole.world.now < settled {
            for driver in [&mut whole, &mut follows] {
                step(driver, Meddled { meddling: Meddling::None, wakes: false });
            }
            compare(&whole, &follows, &format!("seed {seed}, healed"));
        }
        assert_eq!(whole.story, follows.story, "seed {seed}");
    }
    assert!(rounds > 100 * SEEDS, "{rounds}");
}

/// A random world in which calls do not fail, under policies that do not learn.
fn reliable(case: &Case) -> (World, Chaos) {
    let (mut world, chaos) = random::world(case);
    let mut settings = Settings::clone(&world.settings);
    for worker_type in settings.worker_types.values_mut() {
        worker_type.policy = Policy::BASIC;
    }
    world.settings = Arc::new(settings);
    let Faults { never_filled, never_claims, interrupted, lag, fill, .. } = world.faults;
    world.faults =
        Faults { never_filled, never_claims, interrupted, lag, fill, ..Faults::default() };
    world.throttle = None;
    (world, chaos)
}

/// Half an hour with something new every few minutes, then quiet hours. Returns the plans that were not
/// empty, with their time, and how many rounds were left out.
fn quiet_hours(seed: u64, skips: bool) -> (Driver, Vec<(Timestamp, Plan)>, u64) {
    // Not one whose workers may say something at any time.
    let case = Case { without: ["asking", "clock"].into(), ..Case::new(seed) };
    let (world, mut chaos) = reliable(&case);
    let mut rng = Chance::stream(seed, "pauses");
    let mut driver = Driver::new(world, &ZONES);
    driver.follow();
    let began = driver.world.now;
    let (mut plans, mut skipped) = (Vec::new(), 0);
    let mut next_event = began;
    while driver.world.now < clock::after(began, mins(180)) {
        if next_event <= driver.world.now {
            // What happens to the process does not happen here.
            let _ = chaos.meddle(&mut driver.world, &driver.settings);
            let early = driver.world.now < clock::after(began, mins(30));
            let pause = if early { rng.below(200) } else { rng.below(6000) };
            next_event = clock::after(next_event, secs(10 * pause));
        }
        let wake = match driver.skip().filter(|_| skips) {
            Some(wake) => {
                skipped += 1;
                wake
            }
            None => match driver.round() {
                End::Round(report) => {
                    if !driver.plan.actions.is_empty() || !driver.plan.notes.is_empty() {
                        plans.push((driver.world.now, driver.plan.clone()));
                    }
                    report.wake
                }
                End::Blind(wake) => wake,
                End::Crashed => unreachable!("nothing crashes"),
            },
        };
        driver.wait(wake);
    }
    driver.assert_sound(&format!("seed {seed}"));
    (driver, plans, skipped)
}

#[test]
fn leaving_out_rounds_that_come_to_nothing_changes_no_result() {
    let mut skipped_in_all = 0;
    for seed in 0..40 {
        let (all, plans, none) = quiet_hours(seed, false);
        let (some, plans_with_less, skipped) = quiet_hours(seed, true);
        assert_eq!(none, 0);
        skipped_in_all += skipped;
        assert_eq!(plans.len(), plans_with_less.len(), "seed {seed}");
        for (one, other) in plans.iter().zip(&plans_with_less) {
            assert_eq!(one, other, "seed {seed}");
        }
        assert_eq!(all.story, some.story, "seed {seed}");
        assert_eq!(all.world.now, some.world.now, "seed {seed}");
        assert_eq!(all.world.bill(), some.world.bill(), "seed {seed}");
        assert_eq!(all.world.calls.len(), some.world.calls.len(), "seed {seed}");
        let (served, less) = (&all.world.queue.served, &some.world.queue.served);
        assert_eq!(format!("{served:?}"), format!("{less:?}"), "seed {seed}");
        assert_eq!(all.engine.ledger(), some.engine.ledger(), "seed {seed}");
    }
    assert!(skipped_in_all > 40 * 200, "too little was left out: {skipped_in_all}");
}

/// Nothing happens but that deadlines pass: a worker that never claims a task, one that is past its life.
fn deadlines(skips: bool) -> (Driver, u64) {
    let mut linux = worker_type(&["c7g.large"], 3);
    linux.boot_timeout = mins(10);
    linux.max_lifetime = Some(mins(40));
    let settings = Arc::new(settings([("linux", linux)]));
    let mut world = World::new(settings, Knowledge::ByInstance, 1, start());
    world.faults.never_claims = 100;
    world.add_tasks(&name("linux"), 2, mins(600));
    let mut driver = Driver::new(world, &ZONES);
    driver.follow();
    let mut skipped = 0;
    while driver.world.now < at(3 * 3600) {
        if driver.world.now >= at(12 * 60) {
            driver.world.faults.never_claims = 0;
        }
        let wake = match driver.skip().filter(|_| skips) {
            Some(wake) => {
                skipped += 1;
                wake
            }
            None => match driver.round() {
                End::Round(report) => report.wake,
                End::Blind(wake) => wake,
                End::Crashed => unreachable!("nothing crashes"),
            },
        };
        driver.wait(wake);
    }
    driver.assert_sound("deadlines");
    (driver, skipped)
}

#[test]
fn no_round_is_left_out_in_which_a_deadline_passed() {
    let (all, _) = deadlines(false);
    let (some, skipped) = deadlines(true);
    assert_eq!(all.story, some.story);
    for reason in ["never claimed", "past max-lifetime"] {
        let told = |line: &&String| line.contains("plan terminate") && line.contains(reason);
        let _ =
            all.story.iter().find(told).unwrap_or_else(|| panic!("no {reason}: {:#?}", all.story));
    }
    assert!(skipped > 800, "of 1,080 rounds {skipped} were left out");
}
