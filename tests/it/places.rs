//! What is known of the places before launching: default subnets, what zones offer, free addresses, volumes.

use serde_json::json;

use crate::harness::{IMAGE, Project, REGION};

/// The subnets that the launching calls named so far, or nothing for a call without one.
fn asked(project: &Project) -> Vec<String> {
    let calls = project.account.calls_of("RequestSpotInstances");
    calls.iter().map(|call| call.param("LaunchSpecification.SubnetId").to_owned()).collect()
}

/// The default subnet of a zone.
fn default_subnet(project: &Project, zone: &str) -> String {
    let of_zone = json!([{ "Name": "availability-zone", "Values": [format!("{REGION}{zone}")] }]);
    let found = project.account.ec2("describe_subnets", json!({ "Filters": of_zone }));
    found["Subnets"][0]["SubnetId"].as_str().expect("an id").to_owned()
}

#[test]
fn a_zone_that_does_not_offer_the_type_is_not_asked() {
    let project = Project::set_up();
    project.unset("worker-types.linux.availability-zones");
    let missing = ["a", "b", "c"].map(|zone| format!("{REGION}{zone}/*"));
    project.account.rules(&json!({ "not_offered": missing }));
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    assert_eq!(asked(&project), [default_subnet(&project, "d")]);
    assert_eq!(project.live_and_open(), (1, 0));
}

#[test]
fn what_the_account_does_not_tell_holds_up_no_launch() {
    let project = Project::set_up();
    project.unset("worker-types.linux.availability-zones");
    for action in ["DescribeSubnets", "DescribeInstanceTypeOfferings", "DescribeImages"] {
        let denied = json!({ "action": action, "code": "UnauthorizedOperation", "status": 403, "times": null });
        project.account.fault(&denied);
    }
    project.queue.pending(&[("linux", 2)]);
    let round = project.round().ok();
    // EC2 chooses the place, as nothing is known of any.
    assert_eq!(asked(&project), [""]);
    assert_eq!(project.live_and_open(), (2, 0));
    round.says(&["the default subnets", "UnauthorizedOperation", "launches go on without"]);
}

#[test]
fn volumes_that_the_image_would_leave_end_with_their_machine() {
    let project = Project::set_up();
    project.account.rules(&json!({ "lasting_devices": { IMAGE: ["/dev/sdb"] } }));
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    assert_eq!(project.world().volumes.len(), 2, "the root and another");
    project.account.to_instances(&json!({ "do": "terminate", "key_name": project.key_name() }));
    assert_eq!(project.world().volumes, []);
}

#[test]
fn a_subnet_is_asked_for_as_many_as_it_has_free_addresses() {
    let project = Project::set_up();
    let vpc = project.account.ec2("create_vpc", json!({ "CidrBlock": "10.7.0.0/16" }));
    let vpc = vpc["Vpc"]["VpcId"].as_str().unwrap();
    let zone = format!("{REGION}a");
    // Sixteen addresses, five of which are AWS's own.
    let small = json!({ "VpcId": vpc, "CidrBlock": "10.7.1.0/28", "AvailabilityZone": zone });
    let small = project.account.ec2("create_subnet", small);
    let small = small["Subnet"]["SubnetId"].as_str().unwrap().to_owned();
    project.set("worker-types.linux.subnets", vec![small.as_str()]);
    project.queue.pending(&[("linux", 20)]);
    project.round();
    assert_eq!(project.live_and_open(), (11, 0));
    let calls = project.account.calls_of("RequestSpotInstances");
    assert_eq!(calls[0].param("InstanceCount"), "11", "and not twenty, of which none would come");
}
