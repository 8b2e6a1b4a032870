//! Every effect of the engine, through the adapter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use provisioner::internal::aws::{Call, Client};
use provisioner::internal::domain::ids::{ClientToken, InstanceId, InstanceType, SubnetId, Zone};
use provisioner::internal::domain::launch::{
    BlockDeviceMapping, Ebs, LaunchCall, LaunchSpecification, Monitoring, NetworkInterface,
    Placement, TAG_KEY_NAME, TAG_WORKER_TYPE,
};
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::observed::{InstanceState, SpotRequestState};
use provisioner::internal::domain::refusal::{Refusal, RefusalClass};
use provisioner::internal::engine::Outcome;
use provisioner_sim::deployment::{at, key, name, settings, start, worker_type};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::sdk_transport::SdkTransport;
use provisioner_sim::world::World;

fn connected() -> (SdkTransport, Client) {
    let settings = settings([("linux", worker_type(&["c7g.large"], 100))]);
    let transport =
        SdkTransport::new(World::new(Arc::new(settings), Knowledge::ByInstance, 1, start()));
    let client = transport.client().unwrap();
    (transport, client)
}

fn call(token: &str, count: u32) -> LaunchCall {
    LaunchCall {
        token: ClientToken::from(token),
        worker_type: name("linux"),
        decided: jiff::Timestamp::UNIX_EPOCH,
        count,
        key_name: key(),
        image_id: "ami-1".to_owned(),
        instance_type: InstanceType::from("c7g.large"),
        zone: Some(Zone::from("us-west-2a")),
        subnet: None,
        security_group_ids: vec!["sg-1".to_owned(), "sg-2".to_owned()],
        iam_instance_profile: Some("arn:aws:iam::000000000000:instance-profile/p".to_owned()),
        user_data: Some("IyEvYmluL3NoCg==".to_owned()),
        max_price: Some(UsdPerHour::from_micros(31_200)),
        valid_until: at(600),
        tags: BTreeMap::from([
            (TAG_KEY_NAME.to_owned(), key().to_string()),
            (TAG_WORKER_TYPE.to_owned(), "linux".to_owned()),
            ("team".to_owned(), "ci & <more>".to_owned()),
        ]),
        launch_specification: LaunchSpecification::default(),
    }
}

fn granted(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Requested(granted) => granted.len(),
        other => panic!("not granted: {other:?}"),
    }
}

fn refused(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_launching_call_arrives_completely() {
    let (transport, client) = connected();
    let full = LaunchSpecification {
        block_device_mappings: vec![
            BlockDeviceMapping {
                device_name: Some("/dev/xvda".to_owned()),
                ebs: Some(Ebs {
                    delete_on_termination: Some(true),
                    encrypted: Some(false),
                    iops: Some(3000),
                    throughput: Some(125),
                    kms_key_id: Some("key".to_owned()),
                    snapshot_id: Some("snap-1".to_owned()),
                    volume_size: Some(100),
                    volume_type: Some("gp3".to_owned()),
                }),
                ..BlockDeviceMapping::default()
            },
            BlockDeviceMapping {
                device_name: Some("/dev/sdb".to_owned()),
                virtual_name: Some("ephemeral0".to_owned()),
                no_device: Some(String::new()),
                ebs: None,
            },
        ],
        ebs_optimized: Some(true),
        monitoring: Some(Monitoring { enabled: true }),
        placement: Some(Placement { tenancy: "dedicated".to_owned() }),
        network_interfaces: Vec::new(),
    };
    let by_zone = LaunchCall { launch_specification: full, ..call("by-zone", 2) };
    let by_subnet = LaunchCall {
        zone: Some(Zone::from("us-west-2b")),
        subnet: Some(SubnetId::from("subnet-sim0b")),
        iam_instance_profile: Some("profile".to_owned()),
        user_data: None,
        max_price: None,
        tags: BTreeMap::from([(TAG_WORKER_TYPE.to_owned(), "linux".to_owned())]),
        ..call("by-subnet", 1)
    };
    let mut by_interface =
        LaunchCall { token: ClientToken::from("by-interface"), ..by_subnet.clone() };
    by_interface.launch_specification.network_interfaces = vec![NetworkInterface {
        device_index: 0,
        associate_public_ip_address: Some(false),
        delete_on_termination: Some(true),
        description: Some("the only one".to_owned()),
        groups: vec!["sg-1".to_owned(), "sg-2".to_owned()],
        ipv6_address_count: Some(1),
        subnet_id: Some("subnet-sim0b".to_owned()),
        interface_type: Some("efa".to_owned()),
    }];
    for call in [by_zone, by_subnet, by_interface] {
        let outcome = client.execute(Call::Request(&call)).await;
        assert_eq!(granted(outcome), call.count as usize, "{}", call.token);
        let world = transport.world();
        let last = world.requests.iter().last().unwrap();
        assert_eq!(*last.call, call);
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_has_its_effect() {
    let (transport, client) = connected();
    assert_eq!(granted(client.execute(Call::Request(&call("a", 3))).await), 3);
    assert_eq!(granted(client.execute(Call::Request(&call("a", 3))).await), 3, "the same three");
    assert_eq!(transport.world().requests.len(), 3);
    let other = refused(client.execute(Call::Request(&call("a", 2))).await);
    assert_eq!(other.class, RefusalClass::IdempotentMismatch);
    tokio::time::sleep(Duration::from_mins(1)).await;

    let ids: Vec<InstanceId> = transport.world().live().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids.len(), 3);
    let tags = BTreeMap::from([(TAG_WORKER_TYPE.to_owned(), "linux".to_owned())]);
    let outcome = client.execute(Call::Tag { instances: &ids, volumes: &[], tags: &tags }).await;
    assert_eq!(outcome, Outcome::Done);
    let seen = transport.world().observe(&std::collections::BTreeSet::new());
    assert!(seen.instances.iter().all(|instance| instance.tags.worker_type == Some(name("linux"))));

    assert_eq!(client.execute(Call::Terminate(&ids[..1])).await, Outcome::Done);
    assert_eq!(transport.world().state(&ids[0]), Some(InstanceState::ShuttingDown));
    let stranger = [ids[1].clone(), InstanceId::from("i-0123456789abcdef0")];
    let refusal = refused(client.execute(Call::Terminate(&stranger)).await);
    assert_eq!(refusal.class, RefusalClass::NotFound);
    assert!(refusal.names("i-0123456789abcdef0") && !refusal.names(ids[1].as_str()), "{refusal}");
    assert!(refusal.request_id.is_some());
    assert_eq!(transport.world().state(&ids[1]), Some(InstanceState::Running), "all or nothing");

    transport.world().pools.free.insert("c7g.large in us-west-2a".to_owned(), 0);
    client.execute(Call::Request(&call("b", 2))).await;
    let open: Vec<_> = transport.world().open().map(|request| request.id.clone()).collect();
    assert_eq!(open.len(), 2);
    assert_eq!(client.execute(Call::Cancel(&open)).await, Outcome::Done);
    let state = |n: usize| transport.world().requests.get(&open[n]).unwrap().truth().state.clone();
    assert_eq!([state(0), state(1)], [SpotRequestState::Cancelled, SpotRequestState::Cancelled]);
    assert!(transport.world().violations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn launching_calls_are_sent_once_and_others_until_they_arrive() {
    let (transport, client) = connected();
    let attempts = |operation: &str| -> u64 {
        let counts = client.call_counter().counts().into_iter();
        counts.filter(|((name, _), _)| name == operation).map(|(_, n)| n).sum()
    };
    // The answer is lost. The adapter must assume that the call was done, which it was.
    transport.world().faults.lost_after = 100;
    let refusal = refused(client.execute(Call::Request(&call("a", 1))).await);
    assert_eq!((refusal.class, refusal.class.is_definite()), (RefusalClass::Transient, false));
    assert_eq!((attempts("RequestSpotInstances"), transport.world().requests.len()), (1, 1));
    transport.world().faults.lost_after = 0;
    assert_eq!(granted(client.execute(Call::Request(&call("a", 1))).await), 1);
    assert_eq!(transport.world().requests.len(), 1, "the same one");

    transport.world().faults.throttled = 100;
    let refusal = refused(client.execute(Call::Request(&call("b", 1))).await);
    assert_eq!(refusal.class, RefusalClass::Throttled);
    assert_eq!(attempts("RequestSpotInstances"), 3, "never repeated by the SDK");

    tokio::time::sleep(Duration::from_mins(1)).await;
    let ids: Vec<InstanceId> = transport.world().live().map(|(id, _)| id.clone()).collect();
    let refusal = refused(client.execute(Call::Terminate(&ids)).await);
    assert_eq!((refusal.class, attempts("TerminateInstances")), (RefusalClass::Throttled, 3));
    let began = transport.clock().now();
    transport.world().faults.throttled = 0;
    transport.world().faults.lost_before = 100;
    refused(client.execute(Call::Terminate(&ids)).await);
    assert_eq!(attempts("TerminateInstances"), 6);
    assert_ne!(transport.clock().now(), began, "the pauses between them are the world's too");
    transport.world().faults.lost_before = 0;
    assert_eq!(client.execute(Call::Terminate(&ids)).await, Outcome::Done);
    assert_eq!(transport.world().live().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_counts_as_lost() {
    let (transport, client) = connected();
    transport.world().faults.slow = Duration::from_hours(10);
    let refusal = refused(client.execute(Call::Request(&call("a", 1))).await);
    assert_eq!((refusal.class, refusal.code.as_str()), (RefusalClass::Transient, "timeout"));
    assert_eq!(transport.world().requests.len(), 1);
    assert!(transport.clock().now() <= at(61), "{}", transport.clock().now());
}
