//! Random worlds with random faults, generated from a seed.
//!
//! A test calls [`Chaos::disturb`] between rounds, [`heal`]s the world in the end, and lets [`Convergence`]
//! check how soon everything is in order. [`shrink()`] reduces a world that fails, and its [`Case`] replays
//! it.

mod case;
mod chaos;
mod convergence;
mod shrink;
mod trial;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::launch::Pool;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::observed::KeyPair;
use provisioner::internal::settings::{Limits, Settings};

use provisioner_sim::deployment::{mins, secs, settings, start, worker_server, worker_type};
use provisioner_sim::faults::Faults;
use provisioner_sim::queue::Knowledge;
use provisioner_sim::rng::Rng;
use provisioner_sim::world::throttle::Throttle;
use provisioner_sim::world::trace::Trace;
use provisioner_sim::world::{Habits, Subnet, World};

pub use case::{Case, NoCase};
pub use chaos::{Disturbance, ProcessEvent};
pub use convergence::{Convergence, heal};
pub use shrink::{Tries, shrink};
pub use trial::{Failed, Played, Trial, least};

/// The zones in which capacity is requested.
pub const ZONES: [&str; 2] = ["us-west-2a", "us-west-2b"];

/// The default subnets of these zones.
const SUBNETS: [&str; 2] = ["subnet-sim0a", "subnet-sim0b"];

/// How long faults occur.
pub const CHAOS: Duration = Duration::from_mins(30);

/// The price of every instance once prices no longer move.
const CALM_PRICE: UsdPerHour = UsdPerHour::from_micros(30_000);

/// The instance types in use.
const TYPES: [&str; 4] = ["c7g.large", "m7g.large", "c7a.large", "g5.xlarge"];

/// The events of a case that disturb the world and the process from outside, round by round.
#[derive(Clone, Debug)]
pub struct Chaos {
    case: Case,
    /// The number of rounds that have begun.
    rounds: u64,
    ends: Timestamp,
    /// How far the provisioner's clock may be off.
    clock_off: Duration,
    /// Whether the provisioner's clock is set days ahead or back at times.
    clock_days: bool,
    /// The rounds before which something happened.
    happened: BTreeSet<u64>,
}

/// Properties of the process, by seed.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Whether its soft state is written to disk after each round.
    pub saves_memory: bool,
    /// The time between effects.
    pub pace: Duration,
}

impl Process {
    /// Returns the properties for the seed of a case.
    pub fn of(case: &Case) -> Self {
        let mut rng = Rng::stream(case.seed, "process");
        Self { saves_memory: rng.percent(60), pace: secs(rng.below(3)) }
    }
}

/// Creates the world of a case, and the events that disturb it.
pub fn world(case: &Case) -> (World, Chaos) {
    let seed = case.seed;
    let mut rng = Rng::stream(seed, "what happens");
    let mut settings = some_settings(&mut rng);
    choose_policies(&mut settings, seed);
    cap_the_day(&mut settings, case);
    // In every third world, workers ask before they stop.
    let mut asks = Rng::stream(seed, "asking");
    settings.server.workers = (asks.percent(33) && case.has("asking")).then(worker_server);
    let settings = Arc::new(settings);
    let knowledge = one_of(
        &mut rng,
        [Knowledge::Unknown, Knowledge::Counted, Knowledge::ByInstance, Knowledge::ByInstance],
    );
    // With a limit per day, the day ends in the middle of the chaos.
    let capped = settings.limits.max_usd_per_day.is_some();
    let begins = if capped { clock::after(start(), TO_MIDNIGHT) } else { start() };
    let mut world = World::new(Arc::clone(&settings), knowledge, seed, begins);
    world.key_pair = one_of(&mut rng, [KeyPair::Ours, KeyPair::Ours, KeyPair::Foreign]);
    let ends = clock::after(begins, CHAOS);
    let (faults, clock_off) = some_faults(seed, settings.provisioner.visibility_window);
    world.faults = faults;
    for kind in &case.without {
        // `end` fails for the kinds that are not faults of the world.
        let _ = world.faults.end(kind);
    }
    let mut more = Rng::stream(seed, "more faults");
    if more.percent(25) && case.has("buckets") {
        world.throttle = Some(Throttle::with_share(0.05));
    }
    if more.percent(30) && case.has("prices") {
        move_prices(&mut world, &mut more, ends);
    }
    if more.percent(15) && case.has("traces") {
        follow_traces(&mut world, &mut more);
    }
    answer_as_ec2_does(&mut world, case);
    let clock_off = if case.has("clock") { clock_off } else { Duration::ZERO };
    let clock_days = Rng::stream(seed, "days of the clock").percent(20) && case.has("clock-days");
    let happened = BTreeSet::new();
    let chaos = Chaos { case: case.clone(), rounds: 0, ends, clock_off, clock_days, happened };
    (world, chaos)
}

/// Returns how workers that ask obey the answer, by seed.
pub fn habits(seed: u64) -> Habits {
    let mut rng = Rng::stream(seed, "habits");
    let mut some = |most: u64| if rng.percent(50) { 0 } else { rng.below(most + 1) };
    let every = secs(10 + some(30));
    Habits { every, goes_on: some(40), dawdles: some(40), ends_itself: some(100) }
}

/// Picks one of several values with equal probability.
fn one_of<T: Copy, const N: usize>(rng: &mut Rng, values: [T; N]) -> T {
    values[usize::try_from(rng.below(N as u64)).unwrap_or(0)]
}

fn some_settings(rng: &mut Rng) -> Settings {
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
        // Never both: a minimum of machines with a maximum age is replaced forever.
        match rng.below(100) {
            0..8 => worker_type.min_instances = (1 + rng.below(2)).min(max),
            8..16 => worker_type.max_lifetime = Some(secs(600 + rng.below(900))),
            _ => {}
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

/// The time from the start of all scenarios to shortly before midnight.
const TO_MIDNIGHT: Duration = Duration::from_mins(15 * 60 + 40);

/// Gives some worlds a limit per day, which is sometimes reached.
fn cap_the_day(settings: &mut Settings, case: &Case) {
    let mut rng = Rng::stream(case.seed, "day");
    if rng.percent(12) && case.has("day") {
        // An instance may cost 0.03 USD until midnight, and 2.40 USD on the next day.
        let cents = one_of(&mut rng, [5, 20, 500, 1500]) + rng.below(20);
        settings.limits.max_usd_per_day =
            Some(UsdPerHour::from_micros(cents * 10_000).over(Duration::from_hours(1)));
    }
}

/// Gives half of the worker types another policy.
fn choose_policies(settings: &mut Settings, seed: u64) {
    let mut rng = Rng::stream(seed, "policies");
    let others =
        ["adaptive", "adaptive:wait-cost=1000", "worker-manager", "worker-manager-deployed"];
    for worker_type in settings.worker_types.values_mut() {
        let other = one_of(&mut rng, others);
        if let (true, Ok(other)) = (rng.percent(50), other.parse()) {
            worker_type.policy = other;
        }
    }
}

/// Returns the faults of a seed, and how far the clock may be off.
///
/// `visibility-window` is the longest lag of describe calls that the provisioner tolerates, by its own clock.
/// Lag, pages that go back in time and steps of the clock share this window.
fn some_faults(seed: u64, window: Duration) -> (Faults, Duration) {
    let mut rng = Rng::stream(seed, "faults");
    let mut some = |most: u64| if rng.percent(50) { 0 } else { rng.below(most + 1) };
    let faults = Faults {
        lost_before: some(15),
        lost_after: some(15),
        throttled: some(10),
        no_capacity: some(30),
        status_moves: 0,
        partial: some(50),
        never_filled: some(20),
        bulk_not_found: some(60),
        never_claims: some(15),
        interrupted: some(20),
        disk: some(5),
        duplicated: some(10),
        blind: some(10),
        shifted: some(20),
        queue_wrong: some(20),
        backwards: 0,
        slow: secs(some(5)),
        fill: secs(some(300)),
        queue_slow: secs(some(12)),
        lag: Duration::ZERO,
        back: Duration::ZERO,
    };
    let share = |share: f64| window.mul_f64(share);
    match rng.below(10) {
        0..4 => (faults, Duration::ZERO),
        4..6 => (Faults { lag: share(1.0), ..faults }, Duration::ZERO),
        6..8 => {
            let backwards = 5 + rng.below(30);
            (Faults { lag: share(0.5), back: share(0.5), backwards, ..faults }, Duration::ZERO)
        }
        8 => (Faults { lag: share(0.2), ..faults }, share(0.4)),
        _ => (faults, share(0.5)),
    }
}

/// Gives some worlds what EC2's accounts have: zones that do not offer a type, images whose volumes last, status
/// times that move, workers that take one task, launches that come to nothing until the faults end, subnets with
/// few free addresses, and requests whose zone EC2 chooses.
fn answer_as_ec2_does(world: &mut World, case: &Case) {
    let mut rng = Rng::stream(case.seed, "as EC2 does");
    let types: Vec<_> = world.settings.worker_types.keys().cloned().collect();
    // One zone offers every type.
    if rng.percent(25) && case.has("offerings") {
        for instance_type in TYPES {
            if rng.percent(50) {
                world.pools.not_offered.insert(format!("{instance_type} in {}", ZONES[0]));
            }
        }
    }
    if rng.percent(20) && case.has("status-moves") {
        world.faults.status_moves = 100;
    }
    world.lasting_volumes = rng.percent(30) && case.has("volumes");
    if rng.percent(15) && case.has("one-shot") {
        world.one_shot.extend(rng.pick(&types).cloned());
    }
    if rng.percent(10)
        && case.has("powers-off")
        && let Some(name) = rng.pick(&types)
    {
        world.powers_off.insert(name.clone(), secs(20 + rng.below(60)));
    }
    if rng.percent(10)
        && case.has("ends-launches")
        && let Some(name) = rng.pick(&types)
    {
        let codes = ["Client.InternalError", "Client.VolumeLimitExceeded"];
        world.ends_launches.insert(name.clone(), one_of(&mut rng, codes).to_owned());
    }
    if rng.percent(20) && case.has("subnets") {
        // The last subnet has room for all.
        for ((zone, subnet), free) in ZONES.iter().zip(SUBNETS).zip([rng.below(6), 60]) {
            world.subnets.insert(subnet.into(), Subnet { zone: (*zone).into(), free });
        }
    } else if rng.percent(12) && case.has("chosen-zones") {
        world.zones = ZONES.map(Into::into).to_vec();
    }
}

/// Lets capacity come and go in half of the pools, like in recorded traces.
fn follow_traces(world: &mut World, rng: &mut Rng) {
    for (instance_type, zone) in TYPES.iter().flat_map(|t| ZONES.map(|zone| (t, zone))) {
        let pool = Pool { instance_type: (*instance_type).into(), zone: Some(zone.into()) };
        let most = one_of(rng, [1, 3, 8]);
        let samples = 2 + rng.below(12);
        let room = (0..samples).map(|_| u32::try_from(rng.below(most + 1)).unwrap_or(0)).collect();
        let trace = Trace::new(world.now, mins(1 + rng.below(6)), room);
        if let (Ok(trace), true) = (trace, rng.percent(50)) {
            world.follow(&pool.to_string(), trace);
        }
    }
}

/// Lets prices change every few minutes; they sometimes exceed the configured maximum.
fn move_prices(world: &mut World, rng: &mut Rng, ends: Timestamp) {
    for (instance_type, zone) in TYPES.iter().flat_map(|t| ZONES.map(|zone| (t, zone))) {
        let pool = Pool { instance_type: (*instance_type).into(), zone: Some(zone.into()) };
        let pool = pool.to_string();
        let mut at = world.now;
        while at < ends {
            // Three in ten exceed the 0.10 USD that worker types may pay.
            let price = UsdPerHour::from_micros(30_000 + rng.below(100_000));
            world.set_price(&pool, at, price);
            at = clock::after(at, mins(1 + rng.below(12)));
        }
    }
}
