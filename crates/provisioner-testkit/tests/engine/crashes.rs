//! Processes that die before an effect, after it, or after its answer was recorded, at each of these steps in
//! turn. Nothing is bought twice and nothing is forgotten.

use std::sync::Arc;

use provisioner::internal::domain::observed::SpotRequestState;

use provisioner_sim::deployment::{at, mins, name, secs, settings, start, worker_type};
use provisioner_sim::driver::Disk;
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::{Boot, World};
use provisioner_testkit::Driver;

/// The events, with their times in seconds.
type Script = &'static [(u64, fn(&mut World))];

/// A life of a few minutes, which differs only by the crash.
struct Life {
    name: &'static str,
    max: u64,
    set_up: fn(&mut World),
    script: Script,
    /// The number of `linux` tasks that run at the end.
    tasks: u64,
    /// The number of requests that EC2 creates in total; `None` where a crash may change it.
    requests: Option<usize>,
}

const LIVES: [Life; 7] = [
    Life {
        name: "a scale-up",
        max: 20,
        set_up: |_| {},
        script: &[(0, |world| world.add_tasks(&name("linux"), 5, mins(600)))],
        tasks: 5,
        requests: Some(5),
    },
    Life {
        name: "a scale-up that describe calls show a minute late, up to its maximum",
        max: 4,
        set_up: |world| {
            world.faults.lag = mins(4);
            world.faults.fill = mins(1);
        },
        script: &[
            (0, |world| world.add_tasks(&name("linux"), 3, mins(600))),
            (45, |world| world.add_tasks(&name("linux"), 3, mins(600))),
        ],
        tasks: 4,
        requests: Some(4),
    },
    Life {
        name: "a walk past refusals",
        max: 20,
        set_up: |world| {
            world.pools.dry.insert("c7g.large in us-west-2a".to_owned());
            world.pools.dry.insert("c7g.large in us-west-2b".to_owned());
        },
        script: &[(0, |world| world.add_tasks(&name("linux"), 4, mins(600)))],
        tasks: 4,
        // Each of the dry pools holds some for a while.
        requests: None,
    },
    Life {
        name: "partial grants",
        max: 20,
        set_up: |world| world.faults.partial = 100,
        script: &[(0, |world| world.add_tasks(&name("linux"), 7, mins(600)))],
        tasks: 7,
        requests: Some(7),
    },
    Life {
        name: "answers lost after the effect",
        max: 6,
        set_up: |world| {
            world.faults.lost_after = 50;
            world.faults.lag = mins(2);
        },
        script: &[
            (0, |world| world.add_tasks(&name("linux"), 3, mins(600))),
            (60, |world| world.add_tasks(&name("linux"), 3, mins(600))),
        ],
        tasks: 6,
        requests: Some(6),
    },
    Life {
        name: "a demand that falls while requests are being fulfilled",
        max: 6,
        set_up: |world| {
            // No worker has a task yet when most are withdrawn.
            world.boot = Boot::Between(secs(45), secs(90));
            world.faults.fill = mins(2);
            world.faults.lag = mins(3);
        },
        script: &[
            (0, |world| world.add_tasks(&name("linux"), 6, mins(600))),
            (30, |world| world.queue.withdraw(&name("linux"), 1)),
            (70, |world| world.add_tasks(&name("linux"), 4, mins(600))),
        ],
        tasks: 5,
        requests: None,
    },
    Life {
        name: "requests that wait and are moved elsewhere, and a stopped machine",
        max: 5,
        set_up: |world| {
            world.faults.lag = secs(90);
            world.pools.free.insert("c7g.large in us-west-2a".to_owned(), 2);
        },
        script: &[
            (0, |world| world.add_tasks(&name("linux"), 5, mins(600))),
            (240, |world| {
                let id = world.live().next().map(|(id, _)| id.clone());
                if let Some(id) = id {
                    world.stop(&id);
                }
            }),
        ],
        tasks: 5,
        requests: None,
    },
];

fn live(life: &Life, seed: u64, crash_at: Option<u64>, saves_memory: bool) -> Driver {
    let mut linux = worker_type(&["c7g.large", "m7g.large"], life.max);
    linux.idle_timeout = mins(3);
    let mut settings = settings([("linux", linux)]);
    settings.provisioner.interval = secs(20);
    let mut world = World::new(Arc::new(settings), Knowledge::ByInstance, seed, start());
    (life.set_up)(&mut world);
    let mut driver = Driver::new(world, &["us-west-2a", "us-west-2b"]);
    driver.crash_at = crash_at;
    driver.saves_memory = saves_memory;
    driver.pace = secs(1);
    for (when, happen) in life.script {
        driver.run(at(*when));
        happen(&mut driver.world);
    }
    driver.run(at(9 * 60));
    driver.world.faults = provisioner_sim::faults::Faults::default();
    driver.world.pools.free.clear();
    driver.run(at(18 * 60));
    driver
}

fn assert_nothing_doubled_or_leaked(life: &Life, driver: &Driver, context: &str) {
    let context = format!("{}, {context}", life.name);
    driver.assert_sound(&context);
    let world = &driver.world;
    let story = || driver.story().join("\n");
    let busy = world.live().filter(|(id, _)| world.queue.runs(id) > 0).count() as u64;
    assert_eq!(busy, life.tasks, "{context}: busy\n{}", story());
    assert_eq!(world.live().count() as u64, life.tasks, "{context}: live\n{}", story());
    assert_eq!(world.open().count(), 0, "{context}: open\n{}", story());
    if let Some(requests) = life.requests {
        assert_eq!(world.requests.len(), requests, "{context}: requests in all\n{}", story());
    }
    let ledger = driver.engine.ledger();
    assert!(ledger.intents.is_empty() && ledger.granted.is_empty(), "{context}: {ledger:?}");
    for (id, machine) in world.live() {
        let tags = &machine.truth().tags;
        assert_eq!(tags.worker_type, Some(name("linux")), "{context}: {id} is not tagged");
    }
}

fn crash_everywhere(life: &Life) {
    for seed in 0..2 {
        let without_crash = live(life, seed, None, true);
        assert_nothing_doubled_or_leaked(life, &without_crash, "no crash");
        assert!(without_crash.steps >= 9, "{}: only {} steps", life.name, without_crash.steps);
        for step in 1..=without_crash.steps {
            for saves_memory in [true, false] {
                let driver = live(life, seed, Some(step), saves_memory);
                let context = format!(
                    "seed {seed}, a crash at step {step}, {} memory",
                    if saves_memory { "with" } else { "without" }
                );
                assert_nothing_doubled_or_leaked(life, &driver, &context);
            }
        }
    }
}

#[test]
fn a_crash_anywhere_doubles_and_leaks_nothing() {
    std::thread::scope(|scope| {
        for life in &LIVES {
            scope.spawn(move || crash_everywhere(life));
        }
    });
}

#[test]
fn a_lost_ledger_launches_nothing_within_the_visibility_window() {
    let life = &LIVES[1];
    let mut linux = worker_type(&["c7g.large"], life.max);
    linux.idle_timeout = mins(3);
    let settings = Arc::new(settings([("linux", linux)]));
    for seed in 0..20 {
        let mut world = World::new(Arc::clone(&settings), Knowledge::ByInstance, seed, start());
        (life.set_up)(&mut world);
        let mut driver = Driver::new(world, &["us-west-2a"]);
        driver.world.add_tasks(&name("linux"), 6, mins(600));
        driver.run(at(5));
        driver.disk = Disk::default();
        let settings = Arc::clone(&driver.settings);
        driver.restart(settings);
        let calls = driver.world.calls.len();
        driver.run(at(5 * 60));
        assert_eq!(driver.world.calls.len(), calls, "launched while the ledger is lost");
        // A crash in between does not shorten the hold, which is on disk.
        let settings = Arc::clone(&driver.settings);
        driver.restart(settings);
        driver.run(at(30 * 60));
        driver.assert_sound(&format!("seed {seed}"));
        assert_eq!(driver.world.count(&name("linux")), 4);
        let made = driver.world.requests.len();
        assert_eq!(made, 4, "seed {seed}: bought twice");
    }
}

#[test]
fn an_assumed_clean_ledger_launches_at_once() {
    use provisioner::internal::engine::{Engine, LedgerFound, Memory, Start};
    let settings = Arc::new(settings([("linux", worker_type(&["c7g.large"], 5))]));
    let mut world = World::new(Arc::clone(&settings), Knowledge::ByInstance, 1, start());
    world.add_tasks(&name("linux"), 2, mins(600));
    let mut driver = Driver::new(world, &["us-west-2a"]);
    driver.disk = Disk::default();
    let begin = Start { ledger: LedgerFound::AssumedClean, memory: Memory::default(), nonce: 9 };
    driver.engine = Engine::new(settings, provisioner_sim::deployment::key(), begin, start());
    driver.run(at(5));
    assert_eq!(driver.world.requests.len(), 2);
}

#[test]
fn a_ledger_that_cannot_be_written_launches_nothing() {
    let settings = Arc::new(settings([("linux", worker_type(&["c7g.large"], 5))]));
    let mut world = World::new(settings, Knowledge::ByInstance, 1, start());
    world.add_tasks(&name("linux"), 2, mins(600));
    world.faults.disk = 100;
    let mut driver = Driver::new(world, &["us-west-2a"]);
    driver.run(at(60));
    assert!(driver.world.calls.is_empty());
    driver.world.faults.disk = 0;
    driver.run(at(120));
    assert_eq!(driver.world.requests.len(), 2);
    let active = |request: &provisioner_sim::world::Request| {
        request.truth().state == SpotRequestState::Active
    };
    assert!(driver.world.requests.iter().all(active));
}
