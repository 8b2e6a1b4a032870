//! Tests of the harness, on which the other tests rely.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Account, Answer, FakeQueue, IMAGE, MotoServer, SOON, eventually, get, post};

/// A launching call as the product would make it.
fn ask_for(count: u32, token: &str) -> Value {
    json!({
        "InstanceCount": count, "ClientToken": token, "SpotPrice": "0.1",
        "LaunchSpecification": {
            "ImageId": IMAGE, "InstanceType": "m5.large", "KeyName": "key",
            "Placement": { "AvailabilityZone": "us-west-2a" },
        },
        "TagSpecifications": [{
            "ResourceType": "spot-instances-request",
            "Tags": [{ "Key": "provisioner:worker-type", "Value": "linux" }],
        }],
    })
}

fn account() -> Account {
    let account = Account::new();
    account.make_key_pair("key");
    account
}

#[test]
fn accounts_see_nothing_of_each_other() {
    let one = account();
    let two = Account::new();
    one.ec2("request_spot_instances", ask_for(2, "a"));
    assert_eq!(one.world().live("key").len(), 2);
    assert!(two.world().instances.is_empty());
    assert!(!two.world().has_key_pair("key"));
    assert!(two.calls().is_empty());
    assert!(one.world_in("eu-west-1").instances.is_empty());
    let who = one.boto3("sts", "get_caller_identity", json!({})).unwrap();
    assert_eq!(who["Account"], one.number.as_str());
}

#[test]
fn boto3_and_the_back_door_agree() {
    let account = account();
    account.ec2("request_spot_instances", ask_for(3, "a"));
    let world = account.world();
    let seen = account.ec2("describe_instances", json!({}));
    let seen: Vec<&str> = seen["Reservations"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|r| r["Instances"].as_array().unwrap())
        .map(|i| i["InstanceId"].as_str().unwrap())
        .collect();
    assert_eq!(seen, world.instances.iter().map(|i| i.id.as_str()).collect::<Vec<_>>());
    let requests = account.ec2("describe_spot_instance_requests", json!({}));
    let first = &requests["SpotInstanceRequests"][0];
    assert_eq!(first["SpotInstanceRequestId"], world.spot_requests[0].id.as_str());
    assert_eq!(first["InstanceId"], world.instances[0].id.as_str());
    assert_eq!(first["Tags"][0]["Value"], "linux");
    assert!(!first["CreateTime"].as_str().unwrap().starts_with("2015"));
    assert_eq!(world.instances[0].spot_request_id.as_ref(), Some(&world.spot_requests[0].id));
    assert!(world.instances[0].tags.is_empty(), "a request's tags do not go to its instance");
}

#[test]
fn requests_are_held_until_told() {
    let account = account();
    account
        .rules(&json!({ "spot": "held", "held_code": "capacity-not-available", "held_age_s": 60 }));
    account.ec2("request_spot_instances", ask_for(2, "a"));
    account.ec2("describe_spot_instance_requests", json!({}));
    let world = account.world();
    assert_eq!(world.open("key").len(), 2);
    assert_eq!(world.spot_requests[0].status, "capacity-not-available");
    account.to_requests(&json!({ "do": "fulfil", "limit": 1 }));
    assert_eq!((account.world().live("key").len(), account.world().open("key").len()), (1, 1));

    account.rules(&json!({ "spot": { "after": 1 } }));
    account.ec2("describe_spot_instance_requests", json!({}));
    account.ec2("describe_spot_instance_requests", json!({}));
    assert_eq!(account.world().live("key").len(), 2);
}

#[test]
fn a_token_buys_once() {
    let account = account();
    let first = account.ec2("request_spot_instances", ask_for(2, "same"));
    let again = account.ec2("request_spot_instances", ask_for(2, "same"));
    assert_eq!(first, again);
    assert_eq!(account.world().spot_requests.len(), 2);
    let other = account.boto3("ec2", "request_spot_instances", ask_for(3, "same")).unwrap_err();
    assert_eq!(other.code, "IdempotentParameterMismatch");
}

#[test]
fn cancelled_requests_and_ended_instances_are_remembered() {
    let account = account();
    account.ec2("request_spot_instances", ask_for(1, "a"));
    account.rules(&json!({ "spot": "held", "shutting_down_looks": 1 }));
    account.ec2("request_spot_instances", ask_for(1, "b"));
    let world = account.world();
    let filled = &world.spot_requests[0];
    let held = &world.spot_requests[1];
    account.ec2("cancel_spot_instance_requests", json!({ "SpotInstanceRequestIds": [held.id] }));
    account.ec2("terminate_instances", json!({ "InstanceIds": [filled.instance_id] }));
    let world = account.world();
    assert_eq!(world.spot_requests[0].state, "closed");
    assert_eq!(world.spot_requests[0].status, "instance-terminated-by-user");
    assert_eq!(world.spot_requests[1].state, "cancelled");
    assert_eq!(world.instances[0].state, "shutting-down");
    account.ec2("describe_instances", json!({}));
    account.ec2("describe_instances", json!({}));
    assert_eq!(account.world().instances[0].state, "terminated");
    assert_eq!(account.world().volumes, []);
}

#[test]
fn a_type_that_a_zone_does_not_offer_fails_some_seconds_later() {
    let account = account();
    account.rules(&json!({ "not_offered": ["us-west-2a/m5.*"], "not_offered_after_s": 3600 }));
    let offerings = json!({
        "LocationType": "availability-zone",
        "Filters": [{ "Name": "instance-type", "Values": ["m5.large"] }],
    });
    let offered = account.ec2("describe_instance_type_offerings", offerings);
    let offered = offered["InstanceTypeOfferings"].as_array().unwrap();
    assert!(!offered.is_empty() && offered.iter().all(|it| it["Location"] != "us-west-2a"));

    account.ec2("request_spot_instances", ask_for(1, "a"));
    account.ec2("describe_spot_instance_requests", json!({}));
    assert_eq!(account.world().open("key").len(), 1, "the call succeeds");
    account.rules(&json!({ "not_offered_after_s": 0 }));
    let shown = account.ec2("describe_spot_instance_requests", json!({}));
    let shown = &shown["SpotInstanceRequests"][0];
    assert_eq!(
        (&shown["State"], &shown["Status"]["Code"]),
        (&json!("failed"), &json!("bad-parameters"))
    );
    let message = shown["Status"]["Message"].as_str().unwrap().to_lowercase();
    assert!(message.contains("invalid availability zone"), "{message}");
}

#[test]
fn a_subnet_without_enough_addresses_refuses_the_whole_call() {
    let account = account();
    let vpc = account.ec2("create_vpc", json!({ "CidrBlock": "10.7.0.0/16" }));
    let small = json!({
        "VpcId": vpc["Vpc"]["VpcId"], "CidrBlock": "10.7.1.0/28", "AvailabilityZone": "us-west-2a",
    });
    let subnet = account.ec2("create_subnet", small)["Subnet"]["SubnetId"].clone();
    let free = || {
        let found = account.ec2("describe_subnets", json!({ "SubnetIds": [subnet] }));
        found["Subnets"][0]["AvailableIpAddressCount"].as_u64().unwrap()
    };
    let ask = |count, token: &str| {
        let mut asked = ask_for(count, token);
        asked["LaunchSpecification"].as_object_mut().unwrap().remove("Placement");
        asked["LaunchSpecification"]["SubnetId"] = subnet.clone();
        account.boto3("ec2", "request_spot_instances", asked)
    };
    assert_eq!(free(), 11, "five are AWS's own");
    assert_eq!(ask(12, "a").unwrap_err().code, "InsufficientFreeAddressesInSubnet");
    assert!(account.world().instances.is_empty());
    ask(10, "b").unwrap();
    assert_eq!(free(), 1);
    account.to_instances(&json!({ "do": "terminate", "key_name": "key" }));
    assert_eq!(free(), 11);
}

#[test]
fn ended_instances_say_why() {
    let account = account();
    let reason = |how: Value| {
        let id = account.add_instances(&json!({ "key_name": "key" })).remove(0);
        let mut what = json!({ "ids": [id] });
        what.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
        account.to_instances(&what);
        let shown = account.ec2("describe_instances", json!({ "InstanceIds": [id] }));
        let reason = &shown["Reservations"][0]["Instances"][0]["StateReason"];
        reason["Code"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason(json!({ "do": "terminate" })), "Client.UserInitiatedShutdown");
    assert_eq!(reason(json!({ "do": "shut-down" })), "Client.InstanceInitiatedShutdown");
    assert_eq!(reason(json!({ "do": "interrupt" })), "Server.SpotInstanceTermination");
    assert_eq!(reason(json!({ "do": "fail" })), "Client.InternalError");
}

#[test]
fn volumes_of_the_image_outlive_their_instance_if_it_says_so() {
    let account = account();
    account.rules(&json!({ "lasting_devices": { IMAGE: ["/dev/sdb"] } }));
    let image = account.ec2("describe_images", json!({ "ImageIds": [IMAGE] }));
    let devices = image["Images"][0]["BlockDeviceMappings"].as_array().unwrap();
    let lasting = devices.iter().filter(|it| it["Ebs"]["DeleteOnTermination"] == false);
    assert_eq!(lasting.count(), 1, "{devices:?}");
    account.ec2("request_spot_instances", ask_for(1, "a"));
    let mut told = ask_for(1, "b");
    told["LaunchSpecification"]["BlockDeviceMappings"] =
        json!([{ "DeviceName": "/dev/sdb", "Ebs": { "DeleteOnTermination": true } }]);
    account.ec2("request_spot_instances", told);
    assert_eq!(account.world().volumes.len(), 4);
    account.to_instances(&json!({ "do": "terminate", "key_name": "key" }));
    let left = account.world().volumes;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].instance_id, None);
}

#[test]
fn pages_are_small_if_told_so() {
    let account = account();
    account.rules(&json!({ "page_size": 2 }));
    account.add_instances(&json!({ "key_name": "key", "count": 5 }));
    account.add_requests(&json!({ "key_name": "key", "count": 3 }));
    let one = account.ec2("describe_instances", json!({ "MaxResults": 1000 }));
    assert_eq!(one["Reservations"][0]["Instances"].as_array().unwrap().len(), 2);
    assert!(one["NextToken"].is_string());
    let all = account.ec2(
        "describe_spot_instance_requests",
        json!({ "Filters": [{ "Name": "launch.key-name", "Values": ["k*"] }] }),
    );
    assert_eq!(all["SpotInstanceRequests"].as_array().unwrap().len(), 3);
    assert_eq!(account.calls_of("DescribeSpotInstanceRequests").len(), 2);
}

#[test]
fn faults_befall_the_calls_they_name() {
    let account = account();
    account.fault(&json!({ "action": "RequestSpotInstances", "code": "InsufficientInstanceCapacity", "status": 500,
        "match": { "LaunchSpecification.InstanceType": "m5.*", "tag:provisioner:worker-type": "linux" } }));
    account.fault(&json!({ "action": "RequestSpotInstances", "code": "InternalError", "status": 500, "after": "applied" }));
    let ask = || account.boto3("ec2", "request_spot_instances", ask_for(1, "token"));
    assert_eq!(ask().unwrap_err().code, "InsufficientInstanceCapacity");
    assert_eq!(account.world().spot_requests.len(), 0);
    assert_eq!(ask().unwrap_err().code, "InternalError");
    assert_eq!(account.world().spot_requests.len(), 1, "applied, but the answer was lost");
    ask().unwrap();
    assert_eq!(account.world().spot_requests.len(), 1);
    let statuses: Vec<_> =
        account.calls_of("RequestSpotInstances").iter().map(|c| c.status).collect();
    assert_eq!(statuses, [Some(500), Some(500), Some(200)]);

    account.fault(&json!({ "action": "DescribeInstances", "drop": true }));
    assert!(account.boto3("ec2", "describe_instances", json!({})).is_err());
    account.fault(&json!({ "action": "DescribeInstances", "body": "<html>garbage" }));
    assert!(account.boto3("ec2", "describe_instances", json!({})).is_err());
    account.rules(&json!({ "throttle": { "DescribeInstances": [0.0, 1.0] } }));
    account.ec2("describe_instances", json!({}));
    let throttled = account.boto3("ec2", "describe_instances", json!({})).unwrap_err();
    assert_eq!(throttled.code, "RequestLimitExceeded");
}

#[test]
fn a_hanging_call_is_let_go() {
    let account = account();
    account.fault(&json!({ "action": "DescribeInstances", "hang_ms": 60_000 }));
    let other = account.clone();
    let hanging = std::thread::spawn(move || other.ec2("describe_instances", json!({})));
    eventually("the call has arrived", SOON, || account.calls_of("DescribeInstances").len() == 1);
    assert_eq!(account.calls_of("DescribeInstances")[0].status, None);
    account.clear_faults();
    hanging.join().unwrap();
}

#[test]
fn a_call_can_be_lost_on_its_way() {
    let account = account();
    account.fault(&json!({ "action": "RequestSpotInstances", "hang_ms": 60_000, "drop": true }));
    let other = account.clone();
    let hanging =
        std::thread::spawn(move || other.boto3("ec2", "request_spot_instances", ask_for(1, "a")));
    eventually("the call has arrived", SOON, || {
        account.calls_of("RequestSpotInstances").len() == 1
    });
    account.clear_faults();
    hanging.join().unwrap().unwrap_err();
    assert!(account.world().spot_requests.is_empty());
    account.ec2("request_spot_instances", ask_for(1, "a"));
    assert_eq!(account.world().spot_requests.len(), 1);
}

#[test]
fn spot_requests_have_their_surprises() {
    let account = account();
    account.rules(&json!({ "spot": "held", "fulfil_on_cancel": 1 }));
    account.ec2("request_spot_instances", ask_for(1, "a"));
    let id = account.world().spot_requests[0].id.clone();
    let cancelled =
        account.ec2("cancel_spot_instance_requests", json!({ "SpotInstanceRequestIds": [id] }));
    assert_eq!(cancelled["CancelledSpotInstanceRequests"][0]["State"], "cancelled");
    assert_eq!(account.world().request(&id).status, "request-canceled-and-instance-running");
    assert_eq!(account.world().live("key").len(), 1);

    account.rules(&json!({ "doomed": { "*/m5.*": "bad-parameters" } }));
    account.ec2("request_spot_instances", ask_for(1, "b"));
    let failed = account.world().spot_requests[1].clone();
    assert_eq!((&*failed.state, &*failed.status), ("failed", "bad-parameters"));

    account.rules(&json!({ "doomed": {}, "arrivals_key_name": "key" }));
    account.ec2("describe_spot_instance_requests", json!({}));
    assert_eq!(account.world().open("key").len(), 1);

    let odd = account.to_requests(
        &json!({ "do": "state", "state": "pondering", "key_name": "key", "limit": 1 }),
    );
    assert_eq!(account.world().request(&odd[0]).state, "pondering");
}

#[test]
fn unknown_keys_are_refused() {
    let mut stranger = Account::new();
    stranger.forge_keys();
    let refused = stranger.boto3("ec2", "describe_instances", json!({})).unwrap_err();
    assert_eq!(refused.code, "AuthFailure");
    let refused = stranger.boto3("sts", "get_caller_identity", json!({})).unwrap_err();
    assert_eq!(refused.code, "InvalidClientTokenId");
}

#[test]
fn new_things_can_be_invisible_for_a_while() {
    let account = account();
    account.rules(&json!({ "lag_looks": 2, "pending_looks": 1 }));
    account.ec2("request_spot_instances", ask_for(1, "a"));
    let id = account.world().spot_requests[0].id.clone();
    let named = || {
        account.boto3(
            "ec2",
            "describe_spot_instance_requests",
            json!({ "SpotInstanceRequestIds": [id] }),
        )
    };
    for _ in 0..2 {
        assert_eq!(named().unwrap_err().code, "InvalidSpotInstanceRequestID.NotFound");
    }
    named().unwrap();
    for state in ["", "", "pending", "running"] {
        let seen = account.ec2("describe_instances", json!({}));
        let seen = &seen["Reservations"][0]["Instances"][0]["State"]["Name"];
        assert_eq!(seen.as_str().unwrap_or_default(), state);
    }
}

#[test]
fn capacity_runs_out() {
    let account = account();
    account.rules(&json!({ "capacity": { "us-west-2a/m5.large": 1 }, "held_age_s": 45 }));
    account.ec2("request_spot_instances", ask_for(2, "a"));
    let world = account.world();
    assert_eq!((world.live("key").len(), world.open("key").len()), (1, 1));
    assert_eq!(world.open("key")[0].status, "capacity-not-available");
    account.rules(&json!({ "no_capacity": "refuse" }));
    let refused = account.boto3("ec2", "request_spot_instances", ask_for(1, "b")).unwrap_err();
    assert_eq!(refused.code, "InsufficientInstanceCapacity");
}

#[test]
fn mistakes_are_refused_as_ec2_does() {
    let account = account();
    let with = |path: &str, value: Value| {
        let mut ask = ask_for(1, "mistake");
        *ask.pointer_mut(path).unwrap() = value;
        account.boto3("ec2", "request_spot_instances", ask).unwrap_err().code
    };
    let spec = "/LaunchSpecification";
    assert_eq!(with(&format!("{spec}/KeyName"), json!("nobody")), "InvalidKeyPair.NotFound");
    assert_eq!(with(&format!("{spec}/ImageId"), json!("ami-00000000")), "InvalidAMIID.NotFound");
    assert_eq!(with(&format!("{spec}/InstanceType"), json!("m5.tiny")), "InvalidParameterValue");
    assert_eq!(
        with("/TagSpecifications/0/ResourceType", json!("instance")),
        "InvalidParameterValue"
    );
    let unknown = account.boto3(
        "ec2",
        "terminate_instances",
        json!({ "InstanceIds": ["i-0123456789abcdef0"] }),
    );
    assert_eq!(unknown.unwrap_err().code, "InvalidInstanceID.NotFound");
    let odd = json!({ "Filters": [{ "Name": "colour", "Values": ["red"] }] });
    assert_eq!(
        account.boto3("ec2", "describe_instances", odd).unwrap_err().code,
        "InvalidParameterValue"
    );
}

#[test]
fn the_server_ends_when_its_input_closes() {
    let (server, port) = MotoServer::start_apart(Stdio::null());
    assert_eq!(post(port, "/_ext/accounts", "{}").unwrap().status, 200);
    assert!(server.hang_up().unwrap().success());
    assert!(get(port, "/").is_err());
}

#[test]
fn the_queue_answers_as_told() {
    let queue = FakeQueue::start();
    let ask = |state: &str| get(queue.port(), &format!("/0.1.0/jobs?state={state}"));
    queue.pending(&[("linux", 2), ("windows", 1)]);
    let tasks: Value = serde_json::from_str(&ask("PENDING").unwrap().body).unwrap();
    assert_eq!(tasks.as_array().unwrap().len(), 3);
    assert_eq!(ask("RUNNING").unwrap().status, 404);
    queue.running(&[("linux", Some("i-1")), ("linux", None)]);
    assert!(ask("RUNNING").unwrap().body.contains(r#""workerId":"i-1""#));
    queue.answer_pending(Answer::Status(500, "broken".to_owned()));
    assert_eq!(ask("PENDING").unwrap().status, 500);
    queue.answer_pending(Answer::Close);
    assert!(ask("PENDING").is_err());
    queue.answer_pending(Answer::Slow(Duration::from_millis(50), Vec::new()));
    assert_eq!(ask("PENDING").unwrap().body, "[]");
    assert_eq!(queue.rounds(), 4);
    assert_eq!(queue.requests().len(), 6);
    assert_eq!(queue.headers()[0]["connection"], "close");
}

#[test]
fn by_chance_calls_fail_in_every_way_before_they_do_in_one_again() {
    let account = account();
    let dice = |per_cent| json!({ "seed": 1, "per_cent": per_cent, "slow_ms": 1, "hang_ms": 1 });
    account.rules(&json!({ "dice": dice(100) }));
    let before = account.calls().len();
    for _ in 0..18 {
        drop(account.boto3("ec2", "describe_instances", json!({})));
    }
    let calls = account.calls_since(before);
    let ways: BTreeSet<_> = calls.iter().map(|call| call.fault.as_deref().unwrap()).collect();
    assert_eq!((calls.len(), ways.len()), (18, 18), "{ways:?}");
    for way in ["cut-off", "broken-off", "closed-though-done", "done-late", "unauthorized"] {
        assert!(ways.contains(way), "{way}");
    }
    account.clear_faults();
    account.ec2("describe_instances", json!({}));
    assert_eq!(account.calls().last().unwrap().fault, None);
}

#[test]
fn an_answer_can_be_cut() {
    for announced in [false, true] {
        let account = account();
        account.fault(&json!({
            "action": "RequestSpotInstances", "after": "applied", "cut": 0.5, "announced": announced,
        }));
        account.boto3("ec2", "request_spot_instances", ask_for(2, "a")).unwrap_err();
        assert_eq!(account.world().spot_requests.len(), 2);
        account.ec2("request_spot_instances", ask_for(2, "a"));
        assert_eq!(account.world().spot_requests.len(), 2);
    }
}

#[test]
fn peaks_stay_and_what_ended_is_forgotten() {
    let account = account();
    account.ec2("request_spot_instances", ask_for(3, "a"));
    account.to_instances(&json!({ "key_name": "key", "limit": 2, "do": "terminate" }));
    account.ec2("request_spot_instances", ask_for(1, "b"));
    let peaks = account.peaks();
    assert_eq!((peaks["linux"], peaks["*"]), (3, 3));
    assert_eq!(account.world().instances.len(), 4);
    account.rules(&json!({ "forget_after_s": 0 }));
    account.ec2("describe_instances", json!({}));
    let world = account.world();
    assert_eq!((world.instances.len(), world.spot_requests.len()), (2, 2));
    assert_eq!(world.live("key").len(), 2);
}
