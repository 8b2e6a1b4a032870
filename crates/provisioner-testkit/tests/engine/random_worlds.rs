//! Random worlds with random faults, replayable by seed.

use std::collections::BTreeSet;
use std::sync::Arc;

use provisioner::internal::domain::clock;
use provisioner_sim::deployment::secs;
use provisioner_sim::driver::{Disk, End};
use provisioner_sim::world::{Machine, World};
use provisioner_testkit::Driver;
use provisioner_testkit::planted_bugs::PlantedBug;
use provisioner_testkit::random::{
    self, Case, Chaos, Convergence, Disturbance, Failed, Played, Process, ProcessEvent, Trial,
    Tries, ZONES,
};

/// The number of worlds without `PROVISIONER_SEEDS`. `.ci/run` plays 2,000 in a release build.
pub(crate) const SEEDS: u64 = 200;

/// The percentage of worlds that must converge within ten rounds and a boot without any pause.
const AT_ONCE: u64 = 35;

/// How often a failing world is played to shrink it.
pub(crate) const TRIES: Tries = Tries(400);

#[expect(clippy::disallowed_methods, reason = "for people who replay or raise the number")]
fn given(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

#[test]
fn random_worlds_stay_within_their_fences_and_converge() {
    if let Some(case) = given("PROVISIONER_SEED") {
        println!("{}\nnothing is wrong", replay(&case.parse().unwrap()));
        return;
    }
    let seeds = given("PROVISIONER_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let trial = Trial::run(seeds, &calls);
    if let Some((least, failed)) = trial.least(TRIES, &calls) {
        panic!(
            "{} of {seeds} worlds failed: {:#?}; the first of them, made small:\n{failed}\n{}",
            trial.failed.len(),
            trial.failed,
            command(&least)
        );
    }
    assert_eq!(trial.worlds, seeds);
    assert!(trial.calls > seeds * 10, "the worlds are too quiet: {} calls", trial.calls);
    // Otherwise the exemptions would excuse everything.
    let at_once = trial.at_once;
    assert!(at_once * 100 > seeds * AT_ONCE, "{at_once} of {seeds} settled without a pause");
}

/// Returns the story of a world. Panics with the command for a smaller one if it fails.
fn replay(case: &Case) -> String {
    match play(case, None) {
        Ok((driver, _)) => driver.story().join("\n"),
        Err(Failed { what, story, .. }) => {
            let least = random::least(case, TRIES, &calls).map(|(least, _)| command(&least));
            panic!("{}\n{what}\n{}", story.join("\n"), least.unwrap_or_default());
        }
    }
}

/// Returns the command that replays a world.
pub(crate) fn command(case: &Case) -> String {
    format!(
        "PROVISIONER_SEED='{case}' cargo test -p provisioner-testkit --test engine random_worlds_stay -- \
         --nocapture"
    )
}

fn calls(case: &Case) -> Result<Played, Failed> {
    play(case, None).map(|(driver, at_once)| Played { calls: driver.world.calls.len(), at_once })
}

#[test]
fn the_same_seed_gives_the_same_story() {
    let story = |seed| play(&Case::new(seed), None).unwrap().0.story().join("\n");
    for seed in 0..5 {
        assert_eq!(story(seed), story(seed));
    }
    assert_ne!(story(0), story(1));
}

/// Plays a world, perhaps with a planted bug, until it fails or converges. Also returns whether it converged
/// without a pause.
pub(crate) fn play(case: &Case, bug: Option<PlantedBug>) -> Result<(Driver, bool), Failed> {
    let (mut driver, mut chaos) = begin(case);
    driver.hooks.bug = bug;
    match suffer(&mut driver, &mut chaos).and_then(|()| settle(&mut driver)) {
        Ok(at_once) => Ok((driver, at_once)),
        Err(what) => {
            let happened: BTreeSet<u64> = chaos.happened().clone();
            Err(Failed { what, story: driver.story().to_vec(), happened })
        }
    }
}

/// Creates a world and an engine in it.
pub(crate) fn begin(case: &Case) -> (Driver, Chaos) {
    let (world, chaos) = random::world(case);
    let mut driver = if world.zones.is_empty() {
        Driver::new(world, &ZONES)
    } else {
        // EC2 chooses among the zones of the world.
        Driver::new(world, &[])
    };
    driver.look_up_image();
    driver.look_up_subnets();
    driver.world.keep_habits(random::habits(case.seed));
    let process = Process::of(case);
    // With a limit per day the spending must not be lost.
    let capped = driver.settings.limits.max_usd_per_day.is_some();
    (driver.saves_memory, driver.pace) = (process.saves_memory || capped, process.pace);
    (driver, chaos)
}

/// Runs rounds while faults occur.
fn suffer(driver: &mut Driver, chaos: &mut Chaos) -> Result<(), String> {
    while chaos.goes_on(&driver.world) {
        let disturbance = chaos.disturb(&mut driver.world, &driver.settings);
        step(driver, disturbance);
        driver.sound()?;
    }
    Ok(())
}

/// Carries out the event of the process, runs a round, and waits for the next one.
pub(crate) fn step(driver: &mut Driver, Disturbance { process, wakes }: Disturbance) {
    match process {
        ProcessEvent::None => {}
        ProcessEvent::Crash(steps) => driver.crash_at = Some(driver.steps + steps),
        ProcessEvent::LoseDisk => {
            driver.disk = Disk::default();
            driver.restart(Arc::clone(&driver.settings));
        }
        ProcessEvent::Reconfigure(settings) => driver.restart(Arc::from(settings)),
        ProcessEvent::Reload(settings) => driver.reconfigure(Arc::from(settings)),
        ProcessEvent::SetClock(to) => driver.set_clock(to),
    }
    let mut wake = match driver.round() {
        End::Round(report) => report.wake,
        End::Blind(wake) => wake,
        End::Crashed => {
            driver.crash_at = None;
            driver.restart(Arc::clone(&driver.settings));
            clock::after(driver.clock(), secs(1))
        }
    };
    if wakes {
        wake = wake.min(clock::after(driver.clock(), secs(2)));
    }
    driver.wait(wake);
}

/// Checks that every launch of ours said that its volume ends with it.
fn leaves_no_volume(world: &World) -> Result<(), String> {
    let leaves = |machine: &&Machine| machine.call.is_some() && !machine.deletes_volume;
    match world.machines.all().find(leaves) {
        Some(machine) => Err(format!("{} leaves its volume behind", machine.truth().id)),
        None => Ok(()),
    }
}

/// Heals the world and waits until it converges. Returns whether it did so without a pause.
fn settle(driver: &mut Driver) -> Result<bool, String> {
    driver.crash_at = None;
    driver.set_clock(jiff::SignedDuration::ZERO);
    let mut convergence = Convergence::begin(&mut driver.world, &driver.settings);
    driver.tell(|| "------ healed".to_owned());
    loop {
        let End::Round(report) = driver.round() else {
            return Err("a round fails in a world without faults".to_owned());
        };
        driver.sound()?;
        let (world, ledger) = (&driver.world, driver.engine.ledger());
        if convergence.round(world, &driver.settings, &driver.plan, ledger)? {
            return leaves_no_volume(world).map(|()| convergence.was_at_once());
        }
        driver.wait(report.wake);
    }
}
