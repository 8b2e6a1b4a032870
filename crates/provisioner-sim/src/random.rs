//! Random worlds with random faults, all of them from a seed.
//!
//! A driver plays one: it lets [`meddle`] do something between its rounds, [`heal`]s the world in the end,
//! goes on until [`settled`], and asks what is left [`amiss`].

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::clock;
use provisioner::engine::{NoteKind, Plan};
use provisioner::ids::{InstanceId, InstanceType, KeyName, WorkerTypeName};
use provisioner::ledger::Ledger;
use provisioner::money::UsdPerHour;
use provisioner::observed::{InstanceState, KeyPair, OwnTags};
use provisioner::settings::{Limits, Settings};

use crate::chance::Chance;
use crate::deployment::{key, mins, secs, settings, start, worker_server, worker_type};
use crate::faults::Faults;
use crate::queue::Knowledge;
use crate::world::{Habits, World};

/// Where capacity is asked for.
pub const ZONES: [&str; 2] = ["us-west-2a", "us-west-2b"];

/// How long it goes badly.
pub const CHAOS: Duration = Duration::from_mins(30);

/// The instance types in use.
const TYPES: [&str; 4] = ["c7g.large", "m7g.large", "c7a.large", "g5.xlarge"];

/// The world of a seed, and the chance of all that is done to it from outside.
pub fn world(seed: u64) -> (World, Chance) {
    let mut rng = Chance::stream(seed, "what happens");
    let mut settings = some_settings(&mut rng);
    choose_policies(&mut settings, seed);
    // Workers of every third world ask before they stop.
    let mut asks = Chance::stream(seed, "asking");
    settings.server.workers = asks.percent(33).then(worker_server);
    let settings = Arc::new(settings);
    let knowledge = one_of(
        &mut rng,
        [Knowledge::Unknown, Knowledge::Counted, Knowledge::ByInstance, Knowledge::ByInstance],
    );
    let mut world = World::new(Arc::clone(&settings), knowledge, seed, start());
    world.faults = some_faults(&mut rng, &settings);
    world.key_pair = one_of(&mut rng, [KeyPair::Ours, KeyPair::Ours, KeyPair::Foreign]);
    (world, rng)
}

/// How workers that ask keep to what they are told, in the world of a seed.
pub fn habits(seed: u64) -> Habits {
    let mut rng = Chance::stream(seed, "habits");
    let mut some = |most: u64| if rng.percent(50) { 0 } else { rng.below(most + 1) };
    let every = secs(10 + some(30));
    Habits { every, goes_on: some(40), dawdles: some(40), ends_itself: some(100) }
}

/// One of several things, each as likely.
fn one_of<T: Copy, const N: usize>(rng: &mut Chance, things: [T; N]) -> T {
    things[usize::try_from(rng.below(N as u64)).unwrap_or(0)]
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
        let other = one_of(&mut chance, others);
        if let (true, Ok(other)) = (chance.percent(50), other.parse()) {
            worker_type.policy = other;
        }
    }
}

fn some_faults(rng: &mut Chance, settings: &Settings) -> Faults {
    // In parts of the window that describe is trusted to lag.
    const LAG: [f64; 4] = [0.0, 0.2, 1.0, 1.0];
    let window = settings.provisioner.visibility_window;
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
        lag: window.mul_f64(LAG[usize::try_from(some(3)).unwrap_or(0)]),
        fill: secs(some(300)),
    }
}

/// What happens to the process and not to the world.
#[derive(Clone, Debug)]
pub enum Meddling {
    /// Nothing.
    None,
    /// It dies after so many steps more.
    Crash(u64),
    /// It loses what is on its disk, and starts again.
    LoseDisk,
    /// It starts again under another configuration.
    Reconfigure(Box<Settings>),
}

/// One thing that happens between two rounds. What happens to the process is for its driver to do;
/// `configured` is what it runs under.
pub fn meddle(world: &mut World, configured: &Settings, rng: &mut Chance) -> Meddling {
    let types: Vec<WorkerTypeName> = world.settings.worker_types.keys().cloned().collect();
    let Some(some_type) = rng.pick(&types).cloned() else { return Meddling::None };
    let running: Vec<InstanceId> = world
        .live()
        .filter(|(_, machine)| machine.truth().state == InstanceState::Running)
        .map(|(id, _)| id.clone())
        .collect();
    match rng.below(100) {
        0..=24 => {
            let n = 1 + rng.below(6);
            let duration = secs(20 + rng.below(600));
            world.add_tasks(&some_type, n, duration);
        }
        25..=30 => {
            let keep = rng.below(2);
            world.queue.withdraw(&some_type, keep);
        }
        31..=32 => {
            if let Some(id) = some_of(rng, &running) {
                world.stop(id);
            }
        }
        33..=34 => {
            if let Some(id) = some_of(rng, &running) {
                world.end(id, "instance-terminated-no-capacity");
            }
        }
        35 => launch_by_hand(world, &key(), OwnTags::default()),
        36 => launch_by_hand(world, &KeyName::from("somebody-else"), OwnTags::default()),
        37 => {
            let disputed = Some(KeyName::from("another-deployment"));
            launch_by_hand(world, &key(), OwnTags { key_name: disputed, ..OwnTags::default() });
        }
        38..=40 => world.queue.down = rng.percent(50),
        41..=44 => {
            let pool = format!("{} in {}", one_of(rng, TYPES), one_of(rng, ZONES));
            if !world.pools.dry.remove(&pool) {
                world.pools.dry.insert(pool);
            }
        }
        45..=46 => {
            let pool = format!("c7a.large in {}", one_of(rng, ZONES));
            world.pools.free.insert(pool, one_of(rng, [0, 1, 2]));
        }
        47 => drop(world.quotas.insert('c', rng.below(6))),
        48..=50 => return Meddling::Crash(1 + rng.below(12)),
        51 if rng.percent(30) => return Meddling::LoseDisk,
        52 if rng.percent(50) => {
            let mut settings = configured.clone();
            if rng.percent(30) && settings.worker_types.len() > 1 {
                settings.worker_types.remove(&some_type);
            } else if let Some(worker_type) = settings.worker_types.get_mut(&some_type) {
                worker_type.max_instances = 1 + rng.below(8);
                worker_type.min_instances =
                    worker_type.min_instances.min(worker_type.max_instances);
            }
            return Meddling::Reconfigure(Box::new(settings));
        }
        53 => {
            let all = [Knowledge::Unknown, Knowledge::Counted, Knowledge::ByInstance];
            world.queue.knowledge = one_of(rng, all);
        }
        _ => {}
    }
    Meddling::None
}

/// One of them, if there is any; without one, no chance is drawn.
fn some_of<'a, T>(rng: &mut Chance, from: &'a [T]) -> Option<&'a T> {
    if from.is_empty() { None } else { rng.pick(from) }
}

fn launch_by_hand(world: &mut World, key: &KeyName, tags: OwnTags) {
    world.launch(key, None, InstanceType::from("c7g.large"), tags, true);
}

/// Faults stop; long tasks wait.
pub fn heal(world: &mut World) {
    world.faults = Faults::default();
    world.pools.dry.clear();
    world.pools.free.clear();
    world.quotas.clear();
    world.queue.down = false;
    world.keep_habits(Habits::default());
    // What boots and never works is replaced for ever, as far as it is known.
    let broken: Vec<_> = world
        .live()
        .filter(|(_, machine)| machine.never_claims && machine.worker_type.is_some())
        .map(|(id, _)| id.clone())
        .collect();
    for id in broken {
        world.end(&id, "instance-terminated-by-user");
    }
    let types: Vec<_> = world.settings.worker_types.keys().cloned().collect();
    for (name, n) in types.iter().zip(1..) {
        world.queue.withdraw(name, 0);
        world.add_tasks(name, n, mins(600));
    }
}

/// When a world healed at `healed` must have settled: after the longest memory of a bad time, a breaker or
/// a cool-down (10 min), and a boot.
pub fn settled(healed: Timestamp) -> Timestamp {
    clock::after(healed, mins(45))
}

/// Machines that end themselves, or are ended for their age, are replaced for ever.
pub fn is_restless(settings: &Settings) -> bool {
    settings.worker_types.values().any(|worker_type| {
        worker_type.min_instances > 0 || worker_type.max_lifetime.is_some_and(|age| age < mins(120))
    })
}

/// What is not as it must be in a world that has settled.
pub fn amiss(world: &World, settings: &Settings, plan: &Plan, ledger: &Ledger) -> Vec<String> {
    let mut amiss = Vec::new();
    let restless = is_restless(settings);
    // Limits count what others run under our key-name, at the dearest of our prices.
    let closed = |kind| matches!(kind, NoteKind::PriceUnknown | NoteKind::AtLimit);
    let full = plan.notes.iter().any(|note| closed(note.kind));
    for (name, worker_type) in &settings.worker_types {
        let pending = world.queue.pending(name);
        let at_most = world.count(name) >= worker_type.max_instances;
        if pending > 0 && !at_most && !full && !restless {
            amiss.push(format!("{pending} tasks of `{name}` wait: {plan:#?}"));
        }
    }
    if !restless {
        amiss.extend(world.open().map(|request| format!("{} is left open", request.id)));
        for (id, machine) in world.live() {
            let Some(name) = &machine.worker_type else { continue };
            if !settings.worker_types.contains_key(name) {
                continue;
            }
            if world.queue.runs(id) == 0 {
                amiss.push(format!("{id} is left idle"));
            }
            if machine.truth().tags.worker_type.as_ref() != Some(name) {
                amiss.push(format!("{id} is untagged"));
            }
        }
    }
    if !ledger.intents.is_empty() || ledger.hold_until.is_some() {
        amiss.push(format!("{ledger:?}"));
    }
    if world.key_pair == KeyPair::Ours {
        let strays = world.live().filter(|(_, machine)| {
            machine.worker_type.is_none() && machine.truth().tags == OwnTags::default()
        });
        amiss.extend(strays.map(|(id, _)| format!("{id}, a stray, is left")));
    }
    amiss
}
