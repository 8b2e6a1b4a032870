//! The random worlds of the engine's tests, with the real daemon in them.

use provisioner::internal::daemon::RoundEnd;
use provisioner::internal::domain::clock;
use provisioner_sim::deployment::secs;
use provisioner_testkit::planted_bugs::PlantedBug;
use provisioner_testkit::random::{
    self, Case, Chaos, Convergence, Disturbance, Failed, Played, ProcessEvent, Trial, Tries,
};

use crate::planted_bugs;
use crate::rig::{Rig, wake};

/// The number of worlds without `PROVISIONER_SEEDS`.
const SEEDS: u64 = 100;

/// How often a failing world is played to shrink it. Each time takes about a second.
const TRIES: Tries = Tries(60);

#[expect(clippy::disallowed_methods, reason = "for people who replay or raise the number")]
fn given(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

#[test]
fn random_worlds_stay_within_their_fences_and_converge() {
    if let Some(case) = given("PROVISIONER_SEED") {
        match in_its_own_time(&case.parse().unwrap(), None) {
            Ok(rig) => println!("{}\nnothing is wrong", rig.story().join("\n")),
            Err(Failed { what, story, .. }) => panic!("{}\n{what}", story.join("\n")),
        }
        return;
    }
    let seeds = given("PROVISIONER_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let trial = Trial::run(seeds, &calls);
    if let Some((least, failed)) = trial.least(TRIES, &calls) {
        panic!(
            "{} of {seeds} worlds failed: {:#?}; the first of them, made small:\n{failed}\n\
             PROVISIONER_SEED='{least}' cargo test -p provisioner-testkit --test sdk_transport random_worlds_stay -- \
             --nocapture",
            trial.failed.len(),
            trial.failed,
        );
    }
    assert!(trial.calls > seeds * 10, "the worlds are too quiet: {} calls", trial.calls);
}

fn calls(case: &Case) -> Result<Played, Failed> {
    let rig = in_its_own_time(case, None)?;
    let calls = rig.transport.world().calls.len();
    Ok(Played { calls, ..Played::default() })
}

#[test]
fn the_same_seed_gives_the_same_story() {
    let story = |seed| in_its_own_time(&Case::new(seed), None).unwrap().story();
    assert_eq!(story(7), story(7));
}

/// Plays a world under its own paused clock, perhaps with a bug.
pub(crate) fn in_its_own_time(case: &Case, bug: Option<PlantedBug>) -> Result<Rig, Failed> {
    // The pauses of the SDK between retries need it.
    fastrand::seed(case.seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(play(case, bug))
}

async fn play(case: &Case, bug: Option<PlantedBug>) -> Result<Rig, Failed> {
    let (world, mut chaos) = random::world(case);
    let mut rig = Rig::new(world);
    if let Some(bug) = bug {
        planted_bugs::plant(&mut rig, bug);
    }
    let failure = match suffer(&mut rig, &mut chaos).await {
        Ok(()) => settle(&mut rig).await.err(),
        Err(failure) => Some(failure),
    };
    let happened = chaos.happened().clone();
    failure.map_or(Ok(()), |what| Err(Failed { what, story: rig.story(), happened }))?;
    Ok(rig)
}

/// Runs rounds while faults occur.
async fn suffer(rig: &mut Rig, chaos: &mut Chaos) -> Result<(), String> {
    while chaos.goes_on(&rig.transport.world()) {
        let Disturbance { process, wakes } =
            chaos.disturb(&mut rig.transport.world(), &rig.settings);
        let mut drop_at = u64::MAX;
        match process {
            ProcessEvent::None => {}
            ProcessEvent::Crash(steps) => drop_at = 1 + steps * 4,
            ProcessEvent::LoseDisk => rig.lose_disk(),
            ProcessEvent::Reconfigure(settings) | ProcessEvent::Reload(settings) => {
                rig.restart(&settings);
            }
            ProcessEvent::SetClock(ahead) => rig.set_clock(ahead),
        }
        let mut next = match rig.round_until(drop_at).await {
            Some((end, _)) => wake(&end),
            None => clock::after(rig.clock().now(), secs(1)),
        };
        if wakes {
            next = next.min(clock::after(rig.clock().now(), secs(2)));
        }
        rig.wait(next).await;
        rig.sound()?;
    }
    Ok(())
}

/// Heals the world and waits until it converges.
async fn settle(rig: &mut Rig) -> Result<(), String> {
    rig.set_clock(jiff::SignedDuration::ZERO);
    let mut convergence = Convergence::begin(&mut rig.transport.world(), &rig.settings);
    convergence.forgot_workers(rig.lost);
    rig.tell("------ healed");
    loop {
        let end = rig.round().await;
        if !matches!(end, RoundEnd::Done(_)) {
            return Err(format!("in a world without faults: {end:?}"));
        }
        rig.sound()?;
        let ledger = rig.ledger();
        if convergence.round(&rig.transport.world(), &rig.settings, &rig.plan, &ledger)? {
            return Ok(());
        }
        rig.wait(wake(&end)).await;
    }
}
