//! Places and EC2's limits under bugs that are planted into what the engine remembers: a story that goes well
//! with the engine as it is must fail with each of them.

use std::sync::Arc;
use std::time::Duration;

use provisioner_sim::deployment::{at, mins, name, resolved, settings, worker_type};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::throttle::{Call, Rate, Throttle};
use serde_json::{Value, json};

use crate::stories::{round, with};
use provisioner::internal::domain::clock;
use provisioner_testkit::Driver;

/// A bug in what is remembered from round to round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlantedMemory {
    Nothing,
    /// A refusal of a place counts as failed launches of the worker type.
    StrikeOnWorkerType,
    /// A refusal is remembered against the place beside the one that refused.
    StrikeOnWrongPlace,
    /// A place that refused after a wait may be asked again long before the others had their turn.
    PenaltyTooShort,
}

const TYPES: [&str; 3] = ["c7g.large", "m7g.large", "r7g.large"];
const ZONES: [&str; 3] = ["us-west-2a", "us-west-2b", "us-west-2c"];

impl PlantedMemory {
    /// Changes the soft state, which maps the names of places to their records.
    fn tamper(self, memory: &mut Value, now: &str) {
        let Some(pools) = memory["pools"].as_object_mut() else { return };
        match self {
            Self::Nothing => {}
            Self::StrikeOnWorkerType => {
                let was_refused = |record: &Value| !record["refused"].is_null();
                if pools.values().any(was_refused) {
                    pools.clear();
                    let failures = json!({"in-a-row": 3, "last": now, "text": "no capacity"});
                    memory["failures"] = json!({"linux": failures});
                }
            }
            Self::StrikeOnWrongPlace => {
                let moved = std::mem::take(pools).into_iter();
                *pools = moved.map(|(place, record)| (beside(&place), record)).collect();
            }
            Self::PenaltyTooShort => pools.values_mut().for_each(shorten),
        }
    }
}

/// The same instance type in the next zone.
fn beside(place: &str) -> String {
    let at = ZONES.iter().position(|zone| place.ends_with(zone)).unwrap();
    place.replace(ZONES[at], ZONES[(at + 1) % ZONES.len()])
}

fn shorten(record: &mut Value) {
    if let Some(refused) = record["refused"].as_object_mut() {
        refused.insert("at-least-seconds".to_owned(), json!(0));
        refused.insert("strikes".to_owned(), json!(1));
    }
}

/// Runs a round. Then another process continues from the stored memory, as the bug has changed it.
fn round_and_restart(driver: &mut Driver, bug: PlantedMemory) {
    let report = round(driver);
    let now = driver.clock().to_string();
    let mut memory = serde_json::to_value(driver.engine.memory()).unwrap();
    bug.tamper(&mut memory, &now);
    driver.disk.memory = Some(serde_json::from_value(memory).unwrap());
    driver.restart(Arc::clone(&driver.settings));
    driver.wait(report.wake);
}

/// Of nine places only the last one has capacity. Each is to be asked once before any is asked twice, and the
/// task is to have its instance within three minutes.
fn nine_places(bug: PlantedMemory) -> Result<(), String> {
    let linux = settings([("linux", worker_type(&TYPES, 10))]);
    let mut driver = with(linux, Knowledge::ByInstance);
    driver.resolved.insert(name("linux"), Ok(resolved(&ZONES)));
    let places: Vec<_> = TYPES
        .iter()
        .flat_map(|instance_type| ZONES.map(|zone| format!("{instance_type} in {zone}")))
        .collect();
    driver.world.pools.dry.extend(places[..8].iter().cloned());
    driver.world.add_tasks(&name("linux"), 1, mins(600));
    while driver.world.now < at(180) {
        round_and_restart(&mut driver, bug);
    }
    let asked: Vec<_> = driver.world.calls.iter().map(|call| call.pool.to_string()).collect();
    if asked != places {
        return Err(format!("asked: {asked:?}"));
    }
    match driver.world.live().count() {
        1 => Ok(()),
        n => Err(format!("{n} instances")),
    }
}

#[test]
fn each_of_nine_places_is_asked_once_and_planted_bugs_are_caught() {
    assert_eq!(nine_places(PlantedMemory::Nothing), Ok(()));
    for bug in [
        PlantedMemory::StrikeOnWorkerType,
        PlantedMemory::StrikeOnWrongPlace,
        PlantedMemory::PenaltyTooShort,
    ] {
        assert!(nine_places(bug).is_err(), "{bug:?} is not caught");
    }
}

/// What became of worker types with a task each, where EC2 allows so many launching calls at once and so many a
/// second.
struct Burst {
    /// Seconds until the last worker type was asked for.
    took: u64,
    /// The worker types in the order in which they were asked for.
    order: Vec<String>,
}

/// `repeated` of the worker types get a new task in every round. With `forgets`, the engine loses from round to
/// round what it has learned of EC2's limits, and which worker types have waited.
fn burst(types: usize, (at_once, per_second): (f64, f64), repeated: usize, forgets: bool) -> Burst {
    let names: Vec<_> = (0..types).map(|n| format!("w{n:03}")).collect();
    let types = names.iter().map(|name| (name.as_str(), worker_type(&["c7g.large"], 500)));
    let mut driver = with(settings(types), Knowledge::ByInstance);
    let mut throttle = Throttle::default();
    throttle.set_rate(Call::Request, Rate { burst: at_once, per_second });
    driver.world.throttle = Some(throttle);
    for worker_type in &names {
        driver.world.add_tasks(&name(worker_type), 1, mins(600));
    }
    let mut order = Vec::new();
    let mut seen = 0;
    let until = if forgets { at(60) } else { at(1500) };
    while order.len() < names.len() && driver.world.now < until {
        let report = round(&mut driver);
        for call in &driver.world.calls[seen..] {
            let worker_type = call.worker_type.to_string();
            if call.answer.ends_with("granted") && !order.contains(&worker_type) {
                order.push(worker_type);
            }
        }
        seen = driver.world.calls.len();
        for worker_type in names.iter().take(repeated) {
            driver.world.add_tasks(&name(worker_type), 1, mins(600));
        }
        if forgets {
            driver.restart(Arc::clone(&driver.settings));
        }
        driver.wait(report.wake);
    }
    let took = clock::age(at(0), driver.world.calls.last().unwrap().at).as_secs();
    Burst { took, order }
}

#[test]
fn the_worker_type_that_has_waited_longest_for_ec2_comes_first() {
    let Burst { order, .. } = burst(12, (5.0, 2.0), 5, false);
    assert_eq!(order.len(), 12);
    assert!(order.is_sorted(), "{order:?}");
    // Otherwise those that get new tasks are served again and again.
    let forgotten = burst(12, (5.0, 2.0), 5, true);
    assert!(forgotten.order.len() < 12, "a forgotten bucket is not caught");
}

#[test]
fn a_burst_takes_little_longer_than_ec2_allows() {
    let buckets = [(5.0, 2.0), (50.0, 5.0), (2.0, 0.5)];
    let few = [12_u32, 60].into_iter().flat_map(|types| buckets.map(|bucket| (types, bucket)));
    // An hour of rounds with 600 worker types takes minutes in a development build.
    let many = buckets.map(|bucket| (600, bucket)).into_iter().filter(|_| !cfg!(debug_assertions));
    for (types, bucket) in few.chain(many) {
        let (at_once, per_second) = bucket;
        let n = usize::try_from(types).unwrap();
        let Burst { took, order } = burst(n, bucket, 0, false);
        let allowed = ((f64::from(types) - at_once) / per_second).max(0.0);
        let case = format!("{types} types, {at_once} at once, {per_second} a second: {took} s");
        println!("{case}, of {allowed:.1} s");
        assert_eq!(order.len(), n, "{case}");
        let most = Duration::from_secs_f64(1.3 * allowed + 3.0);
        assert!(Duration::from_secs(took) <= most, "{case}, of {allowed} s");
    }
}
