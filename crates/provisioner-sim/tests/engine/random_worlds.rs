//! Random worlds with random faults, replayable by seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use provisioner::clock;
use provisioner::engine::NoteKind;
use provisioner::ids::{InstanceType, KeyName, WorkerTypeName};
use provisioner::money::UsdPerHour;
use provisioner::observed::{InstanceState, KeyPair, OwnTags};
use provisioner::settings::{Limits, Settings};

use provisioner_sim::chance::Chance;
use provisioner_sim::deployment::{key, mins, secs, settings, start, worker_type};
use provisioner_sim::driver::{Driver, End};
use provisioner_sim::faults::Faults;
use provisioner_sim::queue::Knowledge;
use provisioner_sim::sabotage::Sabotage;
use provisioner_sim::world::World;

/// How many worlds without `PROVISIONER_SEEDS`.
const SEEDS: u64 = 300;

/// They are shared among so many threads.
const STRIPES: usize = 4;

const ZONES: [&str; 2] = ["us-west-2a", "us-west-2b"];

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

fn some_settings(rng: &mut Chance) -> Settings {
    let kinds: [(&'static str, &[&str]); 3] = [
        ("alpha", &["c7g.large", "m7g.large"]),
        ("beta", &["c7a.large"]),
        ("gamma", &["g5.xlarge"]),
    ];
    let types = kinds.map(|(name, instance_types)| {
        let max = 1 + rng.below(8);
        let mut worker_type = worker_type(instance_types, max);
        worker_type.request_timeout = secs(60 + 30 * rng.below(10));
        worker_type.boot_timeout = secs(180 + 60 * rng.below(5));
        worker_type.idle_timeout = secs(60 + 30 * rng.below(5));
        worker_type.tasks_per_instance = 1 + u32::from(rng.percent(25));
        if rng.percent(8) {
            worker_type.min_instances = (1 + rng.below(2)).min(max);
        }
        if rng.percent(8) {
            worker_type.max_lifetime = Some(secs(600 + rng.below(900)));
        }
        (name, worker_type)
    });
    let mut settings = settings(types);
    settings.provisioner.visibility_window = secs(60 + rng.below(241));
    if rng.percent(40) {
        settings.limits = Limits {
            max_instances: rng.percent(60).then(|| 2 + rng.below(10)),
            max_usd_per_hour: rng
                .percent(60)
                .then(|| UsdPerHour::from_micros(100_000 * (2 + rng.below(10)))),
            max_usd_per_day: None,
        };
    }
    settings
}

/// Half of the worker types are left with the policy they have.
fn choose_policies(settings: &mut Settings, seed: u64) {
    let mut chance = Chance::stream(seed, "policies");
    let others =
        ["adaptive", "adaptive:wait-cost=1000", "worker-manager", "worker-manager-deployed"];
    for worker_type in settings.worker_types.values_mut() {
        if let Some(other) = chance.pick(&others).filter(|_| chance.clone().happens(0.5)) {
            worker_type.policy = other.parse().unwrap();
        }
    }
}

fn some_faults(rng: &mut Chance, settings: &Settings) -> Faults {
    let mut some = |most: u64| if rng.percent(50) { 0 } else { rng.below(most + 1) };
    Faults {
        lost_before: some(15),
        lost_after: some(15),
        throttled: some(10),
        no_capacity: some(30),
        partial: some(50),
        never_filled: some(20),
        bulk_not_found: some(60),
        never_claims: some(15),
        interrupted: some(20),
        disk: some(5),
        duplicated: some(10),
        blind: some(10),
        shifted: some(20),
        slow: secs(some(5)),
        lag: settings
            .provisioner
            .visibility_window
            .mul_f64([0.0, 0.2, 1.0, 1.0][usize::try_from(some(3)).unwrap()]),
        fill: secs(some(300)),
    }
}

/// One thing that happens to the world between two rounds.
fn meddle(driver: &mut Driver, rng: &mut Chance) {
    let types: Vec<WorkerTypeName> = driver.world.settings.worker_types.keys().cloned().collect();
    let some_type = rng.pick(&types).unwrap().clone();
    let running: Vec<_> = driver
        .world
        .live()
        .filter(|(_, machine)| machine.truth().state == InstanceState::Running)
        .map(|(id, _)| id.clone())
        .collect();
    match rng.below(100) {
        0..=24 => {
            let n = 1 + rng.below(6);
            let duration = secs(20 + rng.below(600));
            driver.world.add_tasks(&some_type, n, duration);
        }
        25..=30 => {
            let keep = rng.below(2);
            driver.world.queue.withdraw(&some_type, keep);
        }
        31..=32 if !running.is_empty() => driver.world.stop(&rng.pick(&running).unwrap().clone()),
        33..=34 if !running.is_empty() => {
            let id = rng.pick(&running).unwrap().clone();
            driver.world.end(&id, "instance-terminated-no-capacity");
        }
        35 => {
            let stray = InstanceType::from("c7g.large");
            driver.world.launch(&key(), None, stray, OwnTags::default(), true);
        }
        36 => {
            let other = KeyName::from("somebody-else");
            let foreign = InstanceType::from("c7g.large");
            driver.world.launch(&other, None, foreign, OwnTags::default(), true);
        }
        37 => {
            let tags = OwnTags {
                key_name: Some(KeyName::from("another-deployment")),
                ..OwnTags::default()
            };
            let disputed = InstanceType::from("c7g.large");
            driver.world.launch(&key(), None, disputed, tags, true);
        }
        38..=40 => driver.world.queue.down = rng.percent(50),
        41..=44 => {
            let pool = format!(
                "{} in {}",
                rng.pick(&["c7g.large", "m7g.large", "c7a.large", "g5.xlarge"]).unwrap(),
                rng.pick(&ZONES).unwrap()
            );
            if !driver.world.pools.dry.remove(&pool) {
                driver.world.pools.dry.insert(pool);
            }
        }
        45..=46 => {
            let pool = format!("c7a.large in {}", rng.pick(&ZONES).unwrap());
            let free = i64::try_from(rng.below(3)).unwrap();
            driver.world.pools.free.insert(pool, free);
        }
        47 => drop(driver.world.quotas.insert('c', rng.below(6))),
        48..=50 => driver.crash_at = Some(driver.steps + 1 + rng.below(12)),
        51 if rng.percent(30) => {
            // Losing the disk's state altogether.
            driver.disk = provisioner_sim::driver::Disk::default();
            let settings = Arc::clone(&driver.settings);
            driver.restart(settings);
        }
        52 if rng.percent(50) => {
            let mut settings = Settings::clone(&driver.settings);
            if rng.percent(30) && settings.worker_types.len() > 1 {
                settings.worker_types.remove(&some_type);
            } else if let Some(worker_type) = settings.worker_types.get_mut(&some_type) {
                worker_type.max_instances = 1 + rng.below(8);
                worker_type.min_instances =
                    worker_type.min_instances.min(worker_type.max_instances);
            }
            driver.restart(Arc::new(settings));
        }
        53 => {
            let all = [Knowledge::Unknown, Knowledge::Counted, Knowledge::ByInstance];
            driver.world.queue.knowledge = *rng.pick(&all).unwrap();
        }
        _ => {}
    }
}

/// Plays the world of `seed`, maybe with a bug planted; panics where something is wrong.
pub(crate) fn play(seed: u64, sabotage: Option<Sabotage>) -> Driver {
    let mut rng = Chance::stream(seed, "what happens");
    let mut settings = some_settings(&mut rng);
    choose_policies(&mut settings, seed);
    let settings = Arc::new(settings);
    let knowledge = *rng
        .pick(&[
            Knowledge::Unknown,
            Knowledge::Counted,
            Knowledge::ByInstance,
            Knowledge::ByInstance,
        ])
        .unwrap();
    let mut world = World::new(Arc::clone(&settings), knowledge, seed, start());
    world.faults = some_faults(&mut rng, &settings);
    world.key_pair = *rng.pick(&[KeyPair::Ours, KeyPair::Ours, KeyPair::Foreign]).unwrap();
    let mut driver = Driver::new(world, &ZONES);
    driver.sabotage = sabotage;
    driver.saves_memory = rng.percent(60);
    driver.pace = secs(rng.below(3));

    let chaos = clock::after(driver.world.now, mins(30));
    while driver.world.now < chaos {
        meddle(&mut driver, &mut rng);
        let mut wake = match driver.round() {
            End::Round(report) => report.wake,
            End::Blind(wake) => wake,
            End::Crashed => {
                driver.crash_at = None;
                let settings = Arc::clone(&driver.settings);
                driver.restart(settings);
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
    heal(&mut driver);
    converge(&mut driver, seed);
    driver
}

/// Faults stop; long tasks wait.
fn heal(driver: &mut Driver) {
    let world = &mut driver.world;
    world.faults = Faults::default();
    world.pools.dry.clear();
    world.pools.free.clear();
    world.quotas.clear();
    world.queue.down = false;
    driver.crash_at = None;
    // What boots and never works is replaced for ever, as far as it is known.
    let broken: Vec<_> = world
        .live()
        .filter(|(_, m)| m.never_claims && m.worker_type.is_some())
        .map(|(id, _)| id.clone())
        .collect();
    for id in broken {
        world.end(&id, "instance-terminated-by-user");
    }
    let types: Vec<_> = world.settings.worker_types.keys().cloned().collect();
    for (i, name) in types.iter().enumerate() {
        world.queue.withdraw(name, 0);
        world.add_tasks(name, i as u64 + 1, mins(600));
    }
    driver.story.push("------ healed".to_owned());
}

fn converge(driver: &mut Driver, seed: u64) {
    // The longest memory of a bad time: a breaker or a cool-down (10 min), and a boot.
    let settled = clock::after(driver.world.now, mins(45));
    driver.run(settled);
    driver.assert_sound(&format!("seed {seed}, healed"));
    let mut quiet = 0;
    for _ in 0..30 {
        let End::Round(report) = driver.round() else { unreachable!("nothing crashes any more") };
        if report.plan.actions.is_empty() {
            quiet += 1;
        }
        driver.wait(report.wake);
    }
    let settings = Arc::clone(&driver.settings);
    let story = || driver.story.iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n");
    let restless = settings.worker_types.values().any(|worker_type| {
        // Machines that end themselves, or are ended for their age, are replaced for ever.
        worker_type.min_instances > 0 || worker_type.max_lifetime.is_some_and(|age| age < mins(120))
    });
    assert!(
        quiet == 30 || restless,
        "seed {seed}: no fixed point, {quiet} of 30 quiet\n{}",
        story()
    );

    // Limits count what others run under our key-name, at the dearest of our prices.
    let closed = |kind| matches!(kind, NoteKind::PriceUnknown | NoteKind::AtLimit);
    let full = driver.plan.notes.iter().any(|note| closed(note.kind));
    for (name, worker_type) in &settings.worker_types {
        let pending = driver.world.queue.pending(name);
        let at_most = driver.world.count(name) >= worker_type.max_instances;
        assert!(
            pending == 0 || at_most || full || restless,
            "seed {seed}: {pending} tasks of `{name}` wait\n{:#?}\n{}",
            driver.plan,
            story()
        );
    }
    if !restless {
        assert_eq!(driver.world.open().count(), 0, "seed {seed}: requests left\n{}", story());
        for (id, machine) in driver.world.live() {
            let Some(name) = &machine.worker_type else { continue };
            if settings.worker_types.contains_key(name) {
                assert!(
                    driver.world.queue.runs(id) > 0,
                    "seed {seed}: {id} is left idle\n{}",
                    story()
                );
                let tags = &machine.truth().tags;
                assert_eq!(
                    tags.worker_type.as_ref(),
                    Some(name),
                    "seed {seed}: {id} untagged\n{}",
                    story()
                );
            }
        }
    }
    let ledger = driver.engine.ledger();
    assert!(
        ledger.intents.is_empty() && ledger.hold_until.is_none(),
        "seed {seed}: {ledger:?}\n{}",
        story()
    );
    let strays = driver
        .world
        .live()
        .filter(|(_, m)| m.worker_type.is_none() && m.truth().tags == OwnTags::default());
    if driver.world.key_pair == KeyPair::Ours {
        assert_eq!(strays.count(), 0, "seed {seed}: strays left\n{}", story());
    }
}
