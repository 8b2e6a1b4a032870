//! An observation through the adapter equals an observation in plain code.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::aws::Client;
use provisioner::internal::domain::ids::{InstanceType, KeyName, SpotRequestId, Zone};
use provisioner::internal::domain::launch::Pool;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::observed::{KeyPair, Observation, OwnTags};
use provisioner::internal::domain::refusal::RefusalClass;
use provisioner_sim::deployment::{at, key, name, secs, settings, start, worker_type};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::sdk_transport::SdkTransport;
use provisioner_sim::world::World;
use provisioner_sim::world::throttle::Throttle;

use crate::rig::Rig;

fn quiet_world() -> World {
    let settings = settings([("linux", worker_type(&["c7g.large"], 100))]);
    World::new(Arc::new(settings), Knowledge::ByInstance, 1, start())
}

/// Truncates times to seconds, as EC2 does, and sorts by id.
fn shown(mut observation: Observation) -> Observation {
    let in_seconds = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap();
    for instance in &mut observation.instances {
        instance.launch_time = in_seconds(instance.launch_time);
    }
    for request in &mut observation.spot_requests {
        request.created = in_seconds(request.created);
        request.status_time = request.status_time.map(in_seconds);
    }
    observation.instances.sort_by(|a, b| a.id.cmp(&b.id));
    observation.spot_requests.sort_by(|a, b| a.id.cmp(&b.id));
    observation
}

/// Observes through the adapter and in plain code at the same time.
async fn both(
    transport: &SdkTransport,
    tracked: &BTreeSet<SpotRequestId>,
) -> (Observation, Observation, u32) {
    let client = transport.client().unwrap();
    let observed = client.observe(&key(), tracked, true, transport.clock().now()).await.unwrap();
    assert!(observed.warnings.is_empty(), "{:?}", observed.warnings);
    (shown(observed.observation), shown(transport.world().observe(tracked)), observed.calls)
}

#[tokio::test(start_paused = true)]
async fn the_adapter_sees_the_world_over_many_pages() {
    let mut world = quiet_world();
    world.page = 5;
    world.add_tasks(&name("linux"), 17, Duration::from_hours(3));
    world.faults.fill = secs(120);
    let strange = OwnTags { worker_type: Some(name("gone")), ..OwnTags::default() };
    world.launch(&key(), None, InstanceType::from("c7g.large"), strange, true);
    let other = KeyName::from("somebody-else");
    world.launch(&other, None, InstanceType::from("c7g.large"), OwnTags::default(), true);
    let mut rig = Rig::new(world);
    let mut most = 0;
    for seconds in [5, 60, 200, 4000] {
        rig.run(at(seconds)).await;
        let (seen, there, calls) = both(&rig.transport, &BTreeSet::new()).await;
        assert_eq!(seen, there, "after {seconds} s");
        most = most.max(calls);
    }
    // 17 instances and their requests, at 5 a page, and the key pair.
    assert!(most >= 9, "{most} calls at most");
    rig.assert_sound("a quiet world");
    assert_eq!(rig.transport.world().live().count(), 17);

    // All requests that ended are looked up by id.
    let tracked: BTreeSet<_> =
        rig.transport.world().requests.iter().map(|request| request.truth().id.clone()).collect();
    let (seen, there, _) = both(&rig.transport, &tracked).await;
    assert_eq!(seen, there);
    assert!(seen.spot_requests.len() >= 17);

    // Pages that shift show some records twice and lose no record.
    rig.transport.world().faults.shifted = 100;
    let (seen, there, _) = both(&rig.transport, &tracked).await;
    assert_eq!(seen, there);
    for key_pair in [KeyPair::Foreign, KeyPair::Absent] {
        rig.transport.world().key_pair = key_pair;
        assert_eq!(both(&rig.transport, &tracked).await.0.key_pair, key_pair);
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_calls_are_repeated_and_a_failed_page_fails_the_observation() {
    let mut world = quiet_world();
    world.throttle = Some(Throttle::default());
    let transport = SdkTransport::new(world);
    let client = transport.client().unwrap();
    // Two or three tokens are left, and 20 come back every second.
    let began = transport.clock().now();
    {
        let mut world = transport.world();
        while provisioner_sim::query_api::answer(&mut world, "Action=DescribeVpcs").status == 200 {}
    }
    let observed = client.observe(&key(), &BTreeSet::new(), false, began).await;
    assert!(observed.is_ok(), "{observed:?}");
    let throttled = client
        .call_counter()
        .counts()
        .into_iter()
        .filter(|((_, class), _)| *class == Some(RefusalClass::Throttled));
    assert!(throttled.map(|(_, n)| n).sum::<u64>() >= 1, "{:?}", client.call_counter().counts());

    transport.world().faults.blind = 100;
    let error = client.observe(&key(), &BTreeSet::new(), false, began).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (RefusalClass::Transient, "InternalError"));

    transport.world().faults.blind = 0;
    transport.world().faults.lost_before = 100;
    let before = attempts(&client);
    let error = client.observe(&key(), &BTreeSet::new(), false, began).await.unwrap_err();
    assert_eq!(error.class(), RefusalClass::Transient);
    assert_eq!(attempts(&client) - before, 3, "a connection that breaks is tried again");
}

/// Returns how often the spot requests were described, successfully or not.
fn attempts(client: &Client) -> u64 {
    let counts = client.call_counter().counts().into_iter();
    counts.filter(|((name, _), _)| name == "DescribeSpotInstanceRequests").map(|(_, n)| n).sum()
}

#[tokio::test(start_paused = true)]
async fn prices_are_those_of_the_market() {
    let mut world = quiet_world();
    let pool = |zone: &str| Pool {
        instance_type: InstanceType::from("c7g.large"),
        zone: Some(Zone::from(zone)),
    };
    for n in 0..12 {
        let price = UsdPerHour::from_micros(30_000 + 100 * n);
        world.set_price("c7g.large in us-west-2a", at(60 * n), price);
    }
    world.set_price("c7g.large in us-west-2b", start(), UsdPerHour::from_micros(50_000));
    world.page = 5;
    let transport = SdkTransport::new(world);
    tokio::time::sleep(Duration::from_secs(330)).await;
    let pools = BTreeSet::from([pool("us-west-2a"), pool("us-west-2b"), pool("us-west-2c")]);
    let prices =
        transport.client().unwrap().spot_prices(&pools, transport.clock().now()).await.unwrap();
    let micros: Vec<_> = prices.into_iter().map(|(pool, price)| (pool, price.micros())).collect();
    assert_eq!(micros, [(pool("us-west-2a"), 30_500), (pool("us-west-2b"), 50_000)]);
}

#[tokio::test(start_paused = true)]
async fn the_account_of_the_credentials_is_known() {
    let transport = SdkTransport::new(quiet_world());
    assert_eq!(transport.client().unwrap().account_id().await.unwrap(), "000000000000");
}
