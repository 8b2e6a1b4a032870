//! Random worlds with random faults, replayable by seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use provisioner::clock;
use provisioner_sim::deployment::secs;
use provisioner_sim::driver::{Disk, Driver, End};
use provisioner_sim::random::{self, CHAOS, Meddling, ZONES};
use provisioner_sim::sabotage::Sabotage;

/// How many worlds without `PROVISIONER_SEEDS`.
const SEEDS: u64 = 300;

/// They are shared among so many threads.
const STRIPES: usize = 4;

#[expect(clippy::disallowed_methods, reason = "for people who replay or raise the number")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn random_worlds_stay_within_their_fences_and_converge() {
    if let Some(seed) = number("PROVISIONER_SEED") {
        let driver = play(seed, None);
        println!("{}", driver.story.join("\n"));
        return;
    }
    let seeds = number("PROVISIONER_SEEDS").unwrap_or(SEEDS);
    let stripe = |first: u64| {
        let (mut launched, mut failed) = (0, Vec::new());
        for seed in (first..seeds).step_by(STRIPES) {
            match catch_unwind(AssertUnwindSafe(|| play(seed, None))) {
                Ok(driver) => launched += driver.world.calls.len(),
                Err(_) => failed.push(seed),
            }
        }
        (launched, failed)
    };
    let (mut launched, mut failed) = (0, Vec::new());
    std::thread::scope(|scope| {
        let stripes: Vec<_> =
            (0..STRIPES as u64).map(|first| scope.spawn(move || stripe(first))).collect();
        for one in stripes {
            let (calls, seeds) = one.join().unwrap();
            launched += calls;
            failed.extend(seeds);
        }
    });
    failed.sort_unstable();
    assert!(
        failed.is_empty(),
        "{} of {seeds} worlds failed: {failed:?}; replay one with\n    PROVISIONER_SEED={} cargo test -p \
         provisioner-sim --test engine random_worlds",
        failed.len(),
        failed[0]
    );
    assert!(launched as u64 > seeds * 10, "the worlds are too quiet: {launched} calls");
}

/// Plays the world of `seed`, maybe with a bug planted; panics where something is wrong.
pub(crate) fn play(seed: u64, sabotage: Option<Sabotage>) -> Driver {
    let (world, mut rng) = random::world(seed);
    let mut driver = Driver::new(world, &ZONES);
    driver.world.keep_habits(random::habits(seed));
    driver.sabotage = sabotage;
    driver.saves_memory = rng.percent(60);
    driver.pace = secs(rng.below(3));

    let chaos = clock::after(driver.world.now, CHAOS);
    while driver.world.now < chaos {
        match random::meddle(&mut driver.world, &driver.settings, &mut rng) {
            Meddling::None => {}
            Meddling::Crash(steps) => driver.crash_at = Some(driver.steps + steps),
            Meddling::LoseDisk => {
                driver.disk = Disk::default();
                driver.restart(Arc::clone(&driver.settings));
            }
            Meddling::Reconfigure(settings) => driver.restart(Arc::from(settings)),
        }
        let mut wake = match driver.round() {
            End::Round(report) => report.wake,
            End::Blind(wake) => wake,
            End::Crashed => {
                driver.crash_at = None;
                driver.restart(Arc::clone(&driver.settings));
                clock::after(driver.world.now, secs(1))
            }
        };
        if rng.percent(10) {
            // Woken up from outside.
            wake = wake.min(clock::after(driver.world.now, secs(2)));
        }
        driver.wait(wake);
        driver.assert_sound(&format!("seed {seed}"));
    }
    random::heal(&mut driver.world);
    driver.crash_at = None;
    driver.story.push("------ healed".to_owned());
    converge(&mut driver, seed);
    driver
}

fn converge(driver: &mut Driver, seed: u64) {
    driver.run(random::settled(driver.world.now));
    driver.assert_sound(&format!("seed {seed}, healed"));
    let mut quiet = 0;
    for _ in 0..30 {
        let End::Round(report) = driver.round() else { unreachable!("nothing crashes any more") };
        if report.plan.actions.is_empty() {
            quiet += 1;
        }
        driver.wait(report.wake);
    }
    let story = || driver.story.iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n");
    assert!(
        quiet == 30 || random::is_restless(&driver.settings),
        "seed {seed}: no fixed point, {quiet} of 30 quiet\n{}",
        story()
    );
    let ledger = driver.engine.ledger();
    let amiss = random::amiss(&driver.world, &driver.settings, &driver.plan, ledger);
    assert!(amiss.is_empty(), "seed {seed}: {amiss:#?}\n{}", story());
}
