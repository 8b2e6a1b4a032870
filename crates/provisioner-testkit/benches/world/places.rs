//! How long it takes until a hundred tasks have instances while most of nine places are without capacity.

use std::sync::Arc;

use provisioner::internal::domain::clock;
use provisioner_sim::deployment::{at, mins, name, resolved, settings, start, worker_type};
use provisioner_sim::driver::{Driver, End};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::World;

const TYPES: [&str; 3] = ["c7g.large", "m7g.large", "r7g.large"];
const ZONES: [&str; 3] = ["us-west-2a", "us-west-2b", "us-west-2c"];

/// The result of one world.
pub(crate) struct Served {
    /// Virtual seconds until every task had an instance; `None` if that took longer than half an hour.
    pub(crate) seconds: Option<u64>,
    /// The number of launching calls.
    pub(crate) calls: usize,
    /// The number of instances at the end.
    pub(crate) instances: usize,
}

/// Lets `tasks` come at once, where the `empty` places that are preferred have no capacity.
pub(crate) fn served(tasks: u64, empty: usize) -> Served {
    let settings = Arc::new(settings([("linux", worker_type(&TYPES, 500))]));
    let mut world = World::new(settings, Knowledge::ByInstance, 1, start());
    let places = TYPES.iter().flat_map(|kind| ZONES.map(|zone| format!("{kind} in {zone}")));
    world.pools.dry.extend(places.take(empty));
    let mut driver: Driver = Driver::new(world, &ZONES);
    driver.resolved.insert(name("linux"), Ok(resolved(&ZONES)));
    driver.world.add_tasks(&name("linux"), tasks, mins(600));
    let mut seconds = None;
    while seconds.is_none() && driver.world.now < at(30 * 60) {
        let wake = match driver.round() {
            End::Round(report) => report.wake,
            End::Blind(wake) => wake,
            End::Crashed => driver.clock(),
        };
        if driver.world.live().count() as u64 >= tasks {
            seconds = Some(clock::age(start(), driver.world.now).as_secs());
        }
        driver.wait(wake);
    }
    let instances = driver.world.live().count();
    Served { seconds, calls: driver.world.calls.len(), instances }
}
