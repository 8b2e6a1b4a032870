//! The random worlds of the plain suite, with the real daemon in them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use provisioner::clock;
use provisioner::daemon::RoundEnd;
use provisioner_sim::deployment::secs;
use provisioner_sim::random::{self, CHAOS, Meddling};

use crate::rig::{Rig, wake};

/// How many worlds without `PROVISIONER_SEEDS`.
const SEEDS: u64 = 100;

/// They are shared among so many threads.
const STRIPES: usize = 2;

#[expect(clippy::disallowed_methods, reason = "for people who replay or raise the number")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn random_worlds_stay_within_their_fences_and_converge() {
    if let Some(seed) = number("PROVISIONER_SEED") {
        println!("{}", in_its_own_time(seed).story());
        return;
    }
    let seeds = number("PROVISIONER_SEEDS").unwrap_or(SEEDS);
    let stripe = |first: u64| {
        let (mut launched, mut failed) = (0, Vec::new());
        for seed in (first..seeds).step_by(STRIPES) {
            match catch_unwind(AssertUnwindSafe(|| in_its_own_time(seed))) {
                Ok(rig) => launched += rig.door.world().calls.len(),
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
        "{} of {seeds} worlds failed: {failed:?}; replay one with\n    PROVISIONER_SEED={} cargo test \
         --workspace --test sdk_door random_worlds -- --nocapture",
        failed.len(),
        failed[0]
    );
    assert!(launched as u64 > seeds * 10, "the worlds are too quiet: {launched} calls");
}

#[test]
fn the_same_seed_is_the_same_story() {
    assert_eq!(in_its_own_time(7).story(), in_its_own_time(7).story());
}

/// Plays a world under a paused clock of its own.
fn in_its_own_time(seed: u64) -> Rig {
    // The SDK's pauses between repetitions.
    fastrand::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(play(seed))
}

async fn play(seed: u64) -> Rig {
    let (world, mut rng) = random::world(seed);
    let mut rig = Rig::new(world);
    let chaos = clock::after(rig.door.clock().now(), CHAOS);
    while rig.door.clock().now() < chaos {
        let meddling = random::meddle(&mut rig.door.world(), &rig.settings, &mut rng);
        let mut drop_at = u64::MAX;
        match meddling {
            Meddling::None => {}
            Meddling::Crash(steps) => drop_at = 1 + steps * 4,
            Meddling::LoseDisk => rig.lose_disk(),
            Meddling::Reconfigure(settings) => rig.restart(&settings),
        }
        let mut next = match rig.round_until(drop_at).await {
            Some((end, _)) => wake(&end),
            None => clock::after(rig.door.clock().now(), secs(1)),
        };
        if rng.percent(10) {
            // Woken up from outside.
            next = next.min(clock::after(rig.door.clock().now(), secs(2)));
        }
        rig.wait(next).await;
        rig.assert_sound(&format!("seed {seed}"));
    }
    random::heal(&mut rig.door.world());
    converge(&mut rig, seed).await;
    rig
}

async fn converge(rig: &mut Rig, seed: u64) {
    rig.run(random::settled(rig.door.clock().now())).await;
    rig.assert_sound(&format!("seed {seed}, healed"));
    let mut quiet = 0;
    for _ in 0..30 {
        let end = rig.round().await;
        let RoundEnd::Done(report) = &end else { panic!("seed {seed}: {end:?}") };
        if report.plan.actions.is_empty() {
            quiet += 1;
        }
        rig.wait(wake(&end)).await;
    }
    assert!(
        quiet == 30 || random::is_restless(&rig.settings),
        "seed {seed}: no fixed point, {quiet} of 30 quiet\n{}",
        rig.story()
    );
    let amiss = random::amiss(&rig.door.world(), &rig.settings, &rig.plan, &rig.ledger());
    assert!(amiss.is_empty(), "seed {seed}: {amiss:#?}\n{}", rig.story());
}
