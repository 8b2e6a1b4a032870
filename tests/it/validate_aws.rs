//! `provisionerd validate --aws` checks what the configuration names in AWS, and changes nothing there.

use serde_json::{Value, json};
use toml::Value as Toml;

use crate::harness::{Account, IMAGE, Project, REGION};

/// An image for arm64 (`tests/moto/images.json`).
const ARM_IMAGE: &str = "ami-00000000000000a64";
/// An image of Windows.
const WINDOWS_IMAGE: &str = "ami-00000000000000d86";

/// Runs it, and asserts its exit code.
#[track_caller]
fn validate(project: &Project, code: i32) -> Value {
    project.provisionerd(&["validate", "--aws", "--output", "json"]).code(code).json()
}

/// The findings about one kind of thing, which there must be.
#[track_caller]
fn about<'v>(verdict: &'v Value, kind: &str, subject: &str) -> &'v Value {
    let found = verdict["findings"].as_array().expect("findings").iter().find(|finding| {
        finding["kind"] == kind
            && finding["subject"].as_str().is_some_and(|named| named.contains(subject))
    });
    let found = found.unwrap_or_else(|| panic!("nothing about {kind} {subject}: {verdict:#}"));
    assert!(!found["text"].as_str().unwrap().is_empty());
    assert!(!found["fix"].as_str().unwrap().is_empty(), "{found}");
    found
}

/// The errors, as pairs of worker type and kind.
fn errors(verdict: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = verdict["findings"].as_array().expect("findings").iter();
    findings
        .filter(|finding| finding["severity"] == "error")
        .map(|finding| (text(&finding["worker_type"]), text(&finding["kind"])))
        .collect()
}

fn checked(verdict: &Value, kind: &str, subject: &str) -> bool {
    verdict["checked"].as_array().expect("what was checked").iter().any(|checked| {
        checked["kind"] == kind
            && checked["subject"].as_str().is_some_and(|named| named.contains(subject))
    })
}

fn texts(texts: &[&str]) -> Toml {
    Toml::Array(texts.iter().map(|text| Toml::from(*text)).collect())
}

/// A VPC with a subnet in the tests' zone: ids of both.
fn make_network(account: &Account) -> (String, String) {
    let vpc = account.ec2("create_vpc", json!({ "CidrBlock": "10.7.0.0/16" }));
    let vpc = vpc["Vpc"]["VpcId"].as_str().expect("an id").to_owned();
    let with = json!({ "VpcId": vpc, "CidrBlock": "10.7.1.0/24", "AvailabilityZone": format!("{REGION}a") });
    let subnet = account.ec2("create_subnet", with);
    (vpc, subnet["Subnet"]["SubnetId"].as_str().expect("an id").to_owned())
}

#[test]
fn all_is_good() {
    let project = Project::set_up();
    project.account.make_profile("worker", &[]);
    let (vpc, subnet) = make_network(&project.account);
    let group = json!({ "GroupName": "workers", "Description": "workers", "VpcId": vpc });
    let group = project.account.ec2("create_security_group", group);
    let group = group["GroupId"].as_str().unwrap();
    project.set("worker-types.linux.iam-instance-profile", "worker");
    project.set("worker-types.linux.subnets", texts(&[&subnet]));
    project.set("worker-types.linux.security-groups", texts(&["workers", group]));

    let verdict = validate(&project, 0);
    assert_eq!(verdict["ok"], true);
    assert_eq!(verdict["region"], REGION);
    assert_eq!(verdict["account_id"], project.account.number.as_str());
    assert_eq!(errors(&verdict), []);
    for (kind, subject) in [
        ("key-pair", project.key_name().as_str()),
        ("permission", "DescribeInstances"),
        ("image", IMAGE),
        ("instance-type", "m5.large"),
        ("subnet", &subnet),
        ("security-group", "workers"),
        ("security-group", group),
        ("instance-profile", "worker"),
        ("launch", &format!("m5.large in {subnet}")),
    ] {
        assert!(checked(&verdict, kind, subject), "{kind} {subject}: {verdict:#}");
    }
    // These are never reported as good, because they cannot be known.
    for (kind, subject) in [("capacity", ""), ("quota", "L-34B43A08")] {
        assert_eq!(about(&verdict, kind, subject)["severity"], "not-checkable");
        assert!(!checked(&verdict, kind, ""));
    }
    project.provisionerd(&["validate", "--aws"]).ok().prints(&[
        "worker type linux",
        "ok             image",
        "not checkable  quota",
        "fix: aws service-quotas",
        "0 errors",
    ]);
}

#[test]
fn settings_of_the_account_that_are_in_the_way() {
    let project = Project::set_up();
    let good = validate(&project, 0);
    assert!(checked(&good, "metadata", ""));
    assert!(checked(&good, "image", "allowed images"));

    project.account.rules(&json!({ "metadata_defaults": { "HttpTokensEnforced": "enabled" } }));
    let verdict = validate(&project, 2);
    assert_eq!(errors(&verdict), [("linux".to_owned(), "metadata".to_owned())]);
    let found = about(&verdict, "metadata", "HttpTokensEnforced");
    assert!(found["fix"].as_str().unwrap().contains("modify-instance-metadata-defaults"));

    project.account.rules(&json!({ "metadata_defaults": {}, "allowed_images": "enabled" }));
    let verdict = validate(&project, 2);
    let found = about(&verdict, "image", IMAGE);
    assert!(found["text"].as_str().unwrap().contains("allowed-images"), "{found}");
    project.account.rules(&json!({ "allowed_images": "audit-mode" }));
    assert_eq!(about(&validate(&project, 0), "image", IMAGE)["severity"], "warning");
    project.account.rules(&json!({ "allowed_image_ids": [IMAGE] }));
    assert!(checked(&validate(&project, 0), "image", IMAGE));

    for action in ["GetInstanceMetadataDefaults", "GetAllowedImagesSettings"] {
        forbid(&project, action);
    }
    let verdict = validate(&project, 0);
    assert_eq!(about(&verdict, "metadata", "")["severity"], "not-checkable");
    assert_eq!(about(&verdict, "image", "allowed images")["severity"], "not-checkable");
    assert!(!checked(&verdict, "metadata", ""));
}

#[test]
fn surplus_credits_under_a_dollar_limit() {
    let project = Project::set_up();
    project.set("worker-types.linux.instance-types", texts(&["t3.large"]));
    project.set("worker-types.linux.max-price", 0.1);
    project.set("limits.max-usd-per-hour", 5.0);
    let verdict = validate(&project, 0);
    let found = about(&verdict, "credits", "t3.large");
    assert_eq!(found["severity"], "warning");
    assert!(found["text"].as_str().unwrap().contains("0.20 USD per hour, not 0.10"), "{found}");
    project.account.rules(&json!({ "default_credits": { "t3": "standard" } }));
    assert!(checked(&validate(&project, 0), "credits", "t3.large"));
}

#[test]
fn windows_takes_an_rsa_key_pair_and_its_own_price() {
    let project = Project::new();
    project.setup_aws(&["--key-type", "rsa"]).ok();
    project.set("worker-types.linux.image-id", WINDOWS_IMAGE);
    // The stand-in's price of Windows is three times that of Linux, a cent.
    project.set("worker-types.linux.max-price", 0.02);
    let verdict = validate(&project, 2);
    assert_eq!(errors(&verdict), [("linux".to_owned(), "price".to_owned())]);
    project.set("worker-types.linux.max-price", 0.03);
    validate(&project, 0);

    let other = Project::set_up();
    other.set("worker-types.linux.image-id", WINDOWS_IMAGE);
    let verdict = validate(&other, 2);
    assert_eq!(errors(&verdict), [("linux".to_owned(), "key-pair".to_owned())]);
    let findings = verdict["findings"].as_array().unwrap();
    assert!(findings.iter().any(|it| it["fix"].as_str().unwrap().contains("--key-type rsa")));
}

#[test]
fn a_highest_price_below_the_spot_price_is_found() {
    let project = Project::set_up();
    project.set("worker-types.linux.max-price", 0.001);
    let verdict = validate(&project, 2);
    assert_eq!(errors(&verdict), [("linux".to_owned(), "price".to_owned())]);
    assert!(about(&verdict, "price", "max-price")["fix"].as_str().unwrap().contains("raise"));
    project.set("worker-types.linux.max-price", 5.0);
    assert!(checked(&validate(&project, 0), "price", "max-price"));
}

#[test]
fn nothing_is_changed() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 2)]);
    project.round();
    let before = project.world();
    let changes = project.account.changes().len();
    let calls = project.account.calls().len();
    let files = project.files();

    validate(&project, 0);

    let after = project.world();
    assert_eq!(project.account.changes().len(), changes, "a call that was no look");
    let calls = project.account.calls().split_off(calls);
    for action in
        ["RequestSpotInstances", "CancelSpotInstanceRequests", "TerminateInstances", "CreateTags"]
    {
        let tried: Vec<_> = calls.iter().filter(|call| call.action == action).collect();
        assert!(!tried.is_empty(), "{action} was not tried");
        for call in tried {
            assert_eq!(call.param("DryRun"), "true", "{action}");
            assert_eq!(call.error.as_deref(), Some("DryRunOperation"), "{action}");
        }
    }
    assert_eq!(after.instances, before.instances);
    assert_eq!(after.spot_requests, before.spot_requests);
    assert_eq!(after.key_pairs, before.key_pairs);
    assert_eq!(project.files(), files);
}

#[test]
fn the_launch_that_is_tried_is_the_one_that_is_made() {
    let project = Project::set_up();
    project.set("worker-types.linux.user-data", "#!/bin/sh\n");
    project.set(
        "worker-types.linux.tags",
        Toml::Table([("team".to_owned(), "ci".into())].into_iter().collect()),
    );
    project.queue.pending(&[("linux", 1)]);
    validate(&project, 0);
    project.round();
    let mut calls = project.account.calls_of("RequestSpotInstances");
    assert_eq!(calls.len(), 2);
    for call in &mut calls {
        // Parameters that differ from call to call.
        call.params.retain(|name, value| {
            !["DryRun", "ClientToken", "ValidUntil"].contains(&name.as_str())
                && !value.starts_with("dry-run-")
        });
    }
    // The value of the intent's tag, which the launch that is tried does not have.
    calls[1].params.retain(|name, _| name != "TagSpecification.1.Tag.2.Value");
    assert_eq!(calls[0].params, calls[1].params);
}

#[test]
fn one_broken_worker_type_leaves_the_others_checked() {
    let project = Project::set_up();
    for name in ["image", "kind", "network", "profile"] {
        project.add_worker_type(name);
    }
    project.set("worker-types.image.image-id", "ami-00000000000000bad");
    project.set("worker-types.kind.instance-types", texts(&["m5.large", "zz9.huge"]));
    project.set("worker-types.network.subnets", texts(&["subnet-0123456789abcdef0"]));
    project.set("worker-types.profile.iam-instance-profile", "nobody");

    let verdict = validate(&project, 2);
    assert_eq!(verdict["ok"], false);
    let expected = [
        ("image", "image"),
        ("kind", "instance-type"),
        ("network", "subnet"),
        ("profile", "instance-profile"),
    ];
    let expected = expected.map(|(name, kind)| (name.to_owned(), kind.to_owned()));
    assert_eq!(errors(&verdict), expected, "{verdict:#}");
    let good = verdict["checked"].as_array().unwrap().iter();
    assert!(good.clone().any(|good| good["worker_type"] == "linux" && good["kind"] == "launch"));
    // EC2's own message about a resource that is already reported is not a second error.
    let launches = verdict["findings"].as_array().unwrap().iter();
    let mut launches =
        launches.filter(|finding| finding["kind"] == "launch" && finding["worker_type"] == "image");
    let launch = launches.next().expect("the launch that cannot be tried");
    assert_eq!(launch["severity"], "not-checkable");
    assert!(launch["text"].as_str().unwrap().contains("InvalidAMIID.NotFound"), "{launch}");
    project
        .provisionerd(&["validate", "--aws"])
        .code(2)
        .prints(&["error          subnet subnet-0123456789abcdef0", "4 errors"])
        .says(&["4 errors"]);
}

#[test]
fn an_image_for_another_architecture() {
    let project = Project::set_up();
    project.set("worker-types.linux.image-id", ARM_IMAGE);
    project.set("worker-types.linux.instance-types", texts(&["c7g.large", "m5.large"]));
    let verdict = validate(&project, 2);
    assert_eq!(errors(&verdict), [("linux".to_owned(), "instance-type".to_owned())]);
    let finding = about(&verdict, "instance-type", "m5.large");
    assert!(finding["text"].as_str().unwrap().contains("arm64"), "{finding}");
    assert!(checked(&verdict, "instance-type", "c7g.large"));
}

#[test]
fn instance_types_are_not_everywhere() {
    let project = Project::set_up();
    // So it is in moto's record of EC2: c4.large not in the fourth zone.
    project.set("worker-types.linux.instance-types", texts(&["c4.large", "m5.large"]));
    project.set("worker-types.linux.availability-zones", texts(&["us-west-2a", "us-west-2d"]));
    let verdict = validate(&project, 0);
    assert_eq!(about(&verdict, "instance-type", "c4.large")["severity"], "note");

    project.set("worker-types.linux.availability-zones", texts(&["us-west-2d"]));
    let verdict = validate(&project, 2);
    let finding = about(&verdict, "instance-type", "c4.large");
    assert_eq!(finding["severity"], "error");
    assert!(finding["text"].as_str().unwrap().contains("us-west-2a"), "{finding}");

    project.set("worker-types.linux.availability-zones", texts(&["us-west-2a", "us-west-2z"]));
    let finding = validate(&project, 2);
    assert_eq!(about(&finding, "zone", "us-west-2z")["severity"], "error");
}

#[test]
fn security_groups_that_mean_nothing_or_too_much() {
    let project = Project::set_up();
    project.set("worker-types.linux.security-groups", texts(&["default", "missing"]));
    let verdict = validate(&project, 2);
    assert_eq!(about(&verdict, "security-group", "missing")["severity"], "error");
    assert!(checked(&verdict, "security-group", "default"));

    // Each VPC has a group of that name.
    let one = make_network(&project.account);
    let other = make_network(&project.account);
    project.set("worker-types.linux.subnets", texts(&[&one.1, &other.1]));
    project.set("worker-types.linux.security-groups", texts(&["default"]));
    let verdict = validate(&project, 2);
    let text = about(&verdict, "security-group", "default")["text"].as_str().unwrap().to_owned();
    assert!(text.contains(&one.0) && text.contains(&other.0), "{text}");

    // One VPC's subnet and another's group.
    let with = json!({ "GroupName": "elsewhere", "Description": "-", "VpcId": other.0 });
    let group = project.account.ec2("create_security_group", with);
    let group = group["GroupId"].as_str().unwrap();
    project.set("worker-types.linux.subnets", texts(&[&one.1]));
    project.set("worker-types.linux.security-groups", texts(&[group]));
    let verdict = validate(&project, 2);
    let text = about(&verdict, "security-group", group)["text"].as_str().unwrap().to_owned();
    assert!(text.contains(&one.0) && text.contains(&other.0), "{text}");
}

#[test]
fn an_image_by_parameter() {
    let project = Project::set_up();
    let put = json!({ "Name": "/ours/image", "Value": IMAGE, "Type": "String" });
    project.account.boto3("ssm", "put_parameter", put).expect("SSM");
    project.set("worker-types.linux.image-id", "ssm:/ours/image");
    assert!(checked(&validate(&project, 0), "image", IMAGE));
    project.set("worker-types.linux.image-id", "ssm:/ours/nothing");
    let verdict = validate(&project, 2);
    assert_eq!(about(&verdict, "image", "ssm:/ours/nothing")["severity"], "error");
    assert_eq!(about(&verdict, "launch", "")["severity"], "not-checkable");
}

#[test]
fn the_key_pair_is_missing_or_somebody_elses() {
    let project = Project::with_key_pair_by_hand("by-hand");
    let verdict = validate(&project, 0);
    assert_eq!(about(&verdict, "key-pair", "by-hand")["severity"], "warning");
    project.set("provisioner.adopt-key-name", true);
    assert!(checked(&validate(&project, 0), "key-pair", "by-hand"));
    project.set("provisioner.key-name", "nobody-made-it");
    let verdict = validate(&project, 2);
    let finding = about(&verdict, "key-pair", "nobody-made-it");
    assert!(finding["fix"].as_str().unwrap().contains("setup-aws"), "{finding}");
}

/// Makes EC2 refuse an action because of a missing permission.
fn forbid(project: &Project, action: &str) {
    project.account.fault(&json!({
        "action": action, "code": "UnauthorizedOperation", "status": 403, "times": null,
        "message": "You are not authorized to perform this operation. Encoded authorization failure message: aBcD123",
    }));
}

#[test]
fn permissions_to_act() {
    let project = Project::set_up();
    forbid(&project, "RequestSpotInstances");
    forbid(&project, "TerminateInstances");
    let verdict = validate(&project, 2);
    let launch = about(&verdict, "permission", "m5.large in us-west-2a");
    assert_eq!(launch["severity"], "error");
    assert!(!launch["text"].as_str().unwrap().contains("aBcD123"), "{launch}");
    assert!(launch["fix"].as_str().unwrap().contains("iam-policy"), "{launch}");
    // No resource of ours exists, and a policy by tag refuses resources without tags.
    assert_eq!(about(&verdict, "permission", "TerminateInstances")["severity"], "not-checkable");

    let project = Project::set_up();
    project.queue.pending(&[("linux", 1)]);
    project.round();
    forbid(&project, "TerminateInstances");
    let verdict = validate(&project, 2);
    assert_eq!(about(&verdict, "permission", "TerminateInstances")["severity"], "error");
    assert!(checked(&verdict, "permission", "CancelSpotInstanceRequests"));
    assert!(checked(&verdict, "permission", "CreateTags"));
}

#[test]
fn permissions_to_look() {
    let project = Project::set_up();
    project.set("worker-types.linux.iam-instance-profile", "worker");
    project.account.make_profile("worker", &[]);
    for action in ["DescribeImages", "DescribeInstanceTypes", "DescribeInstanceTypeOfferings"] {
        forbid(&project, action);
    }
    for action in ["GetInstanceProfile", "GetRole"] {
        let fault =
            json!({ "action": action, "code": "AccessDenied", "status": 403, "times": null });
        project.account.fault(&fault);
    }
    // A daemon does without these.
    let verdict = validate(&project, 0);
    for (kind, subject) in [
        ("image", IMAGE),
        ("instance-type", "m5.large"),
        ("instance-profile", "worker"),
        ("spot-role", "AWSServiceRoleForEC2Spot"),
    ] {
        assert_eq!(about(&verdict, kind, subject)["severity"], "not-checkable");
        assert!(!checked(&verdict, kind, subject), "{kind}: {verdict:#}");
    }
    forbid(&project, "DescribeSpotInstanceRequests");
    assert_eq!(errors(&validate(&project, 2)), [(String::new(), "permission".to_owned())]);
}

#[test]
fn aws_does_not_answer() {
    let project = Project::set_up();
    let throttled = json!({ "action": "DescribeImages", "code": "RequestLimitExceeded", "status": 503, "times": null });
    project.account.fault(&throttled);
    let verdict = validate(&project, 1);
    assert_eq!(about(&verdict, "image", IMAGE)["severity"], "not-checkable");
    assert_eq!(verdict["unanswered"], 1);
    assert!(checked(&verdict, "launch", "m5.large"), "the rest is checked: {verdict:#}");
    project.provisionerd(&["validate", "--aws"]).code(1).says(&["the checks are incomplete"]);
}

#[test]
fn another_account_or_region_is_not_asked() {
    let project = Project::set_up();
    let calls = project.account.calls().len();
    project
        .provisionerd(&["validate", "--aws", "--region", "eu-west-1"])
        .code(2)
        .says(&["eu-west-1", REGION]);
    assert_eq!(project.account.calls().len(), calls);
    project.set("aws.account-id", "999999999999");
    let finished = project.provisionerd(&["validate", "--aws", "--output", "json"]).code(2);
    let verdict = finished.says(&["999999999999"]).json();
    assert_eq!(verdict["ok"], false);
    assert!(verdict["problems"][0]["message"].as_str().unwrap().contains("999999999999"));
    assert_eq!(verdict.get("findings"), None);
}

#[test]
fn a_configuration_that_cannot_be_read_asks_nobody() {
    let project = Project::set_up();
    let calls = project.account.calls().len();
    project.set("worker-types.linux.max-instances", "many");
    project.provisionerd(&["validate", "--aws"]).code(2).says(&["max-instances"]);
    assert_eq!(project.account.calls().len(), calls);
}
