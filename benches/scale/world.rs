//! The simulated EC2 that the program is measured on: machines of 100 worker types, each with its spot
//! request, as a deployment has them that has grown for an hour.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::InstanceId;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::engine::Effect;
use provisioner_sim::deployment::{GROUP, IMAGE, key, settings};
use provisioner_sim::query_api;
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::World;

pub(crate) const WORKER_TYPES: usize = 100;
pub(crate) const INSTANCE_TYPES: [&str; 4] =
    ["c7g.large", "c7g.xlarge", "m7g.large", "r7g.2xlarge"];
pub(crate) const ZONES: [&str; 3] = ["us-west-2a", "us-west-2b", "us-west-2c"];
/// One launching call requests at most so many machines, whose tags name the same intent.
const PER_CALL: usize = 50;
/// The machines were launched evenly over this time, and as long ago at least.
const LAUNCHED_OVER: Duration = Duration::from_hours(1);

/// The name of a worker type.
pub(crate) fn worker_type(number: usize) -> String {
    format!("builder-linux-{:03}", number % WORKER_TYPES)
}

/// Returns a world with `machines` evenly of all worker types, which run and have our tags.
pub(crate) fn world(machines: usize) -> World {
    let now = Timestamp::now();
    let began = now.checked_sub(2 * LAUNCHED_OVER).expect("a time after the epoch");
    let mut world = World::new(Arc::new(settings([])), Knowledge::ByInstance, 1, began);
    // The queue is answered by the bench, which also says which machines are busy.
    world.faults.never_claims = 100;
    for instance_type in INSTANCE_TYPES {
        for zone in ZONES {
            let price = UsdPerHour::from_micros(31_200);
            world.set_price(&format!("{instance_type} in {zone}"), began, price);
        }
    }
    let calls = calls(machines);
    let pause = LAUNCHED_OVER.div_f64(f64::from(u32::try_from(calls.len()).expect("few calls")));
    for (number, (worker_type, count)) in calls.into_iter().enumerate() {
        launch(&mut world, number, &worker_type, count);
        world.advance(clock::after(world.now, pause));
    }
    world.advance(now);
    assert_eq!(world.live().count(), machines, "every request is fulfilled");
    assert_eq!(world.violations, [""; 0]);
    world
}

/// The worker types and counts of all launching calls.
fn calls(machines: usize) -> Vec<(String, usize)> {
    let mut calls = Vec::new();
    for number in 0..WORKER_TYPES {
        let mut left = (machines + WORKER_TYPES - 1 - number) / WORKER_TYPES;
        while left > 0 {
            let count = left.min(PER_CALL);
            calls.push((worker_type(number), count));
            left -= count;
        }
    }
    calls
}

/// Launches machines and puts the tags of their requests on them, as the daemon does.
fn launch(world: &mut World, call: usize, worker_type: &str, count: usize) {
    let key = key();
    // An intent of ours is a version 7 UUID.
    let intent = format!("01934f00-0000-7000-8000-{call:012x}");
    let mut form = format!(
        "Action=RequestSpotInstances&Version=2016-11-15&ClientToken={intent}&InstanceCount={count}\
         &SpotPrice=0.100000&Type=one-time&LaunchSpecification.ImageId={IMAGE}\
         &LaunchSpecification.InstanceType={}&LaunchSpecification.KeyName={key}\
         &LaunchSpecification.SecurityGroupId.1={GROUP}\
         &LaunchSpecification.Placement.AvailabilityZone={}\
         &TagSpecification.1.ResourceType=spot-instances-request",
        INSTANCE_TYPES[call / ZONES.len() % INSTANCE_TYPES.len()],
        ZONES[call % ZONES.len()],
    );
    let tags = [
        ("Name", worker_type),
        ("provisioner:intent", &intent),
        ("provisioner:key-name", key.as_str()),
        ("provisioner:worker-type", worker_type),
        ("team", "ci"),
    ];
    for (number, (key, value)) in (1..).zip(tags) {
        let tag = format!("&TagSpecification.1.Tag.{number}");
        form.extend([&tag, ".Key=", key, &tag, ".Value=", value]);
    }
    let before = world.machines.len();
    let answer = query_api::answer(world, &form);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let launched: Vec<InstanceId> =
        world.machines.iter().skip(before).map(|(id, _)| id.clone()).collect();
    let call = launched.first().and_then(|id| world.machines.get(id)?.call.clone());
    let tags = call.expect("a machine at once").tags.clone();
    world.obey(&Effect::Tag { instances: launched, volumes: Vec::new(), tags });
}

/// Every tenth machine, whose worker has just ended its task.
pub(crate) fn every_tenth(world: &World) -> BTreeSet<InstanceId> {
    world.live().step_by(10).map(|(id, _)| id.clone()).collect()
}
