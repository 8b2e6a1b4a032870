//! `provisionerd iam-policy` prints a policy that suffices for a complete life, and allows no more.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::harness::{Account, IMAGE, Project, REGION, lint};

/// The policy of a program.
#[track_caller]
pub(crate) fn policy(project: &Project, program: &str, args: &[&str]) -> Value {
    let mut line = vec!["iam-policy", "--for", program, "--output", "json"];
    line.extend(args);
    let said = project.provisionerd(&line).ok().json();
    assert_eq!(said["for"], program);
    said["policy"].clone()
}

/// The actions in a policy, each with the name of its statement.
pub(crate) fn actions(policy: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let statements = policy["Statement"].as_array().expect("statements");
    let mut actions = Vec::new();
    for statement in statements {
        let one_or_more = &statement["Action"];
        let listed = one_or_more.as_array().cloned().unwrap_or(vec![one_or_more.clone()]);
        actions.extend(listed.iter().map(|action| (text(action), text(&statement["Sid"]))));
    }
    actions
}

/// Configures everything that a policy may depend on: an image by parameter, a custom network with a group by
/// name, and an instance profile whose role has another name.
pub(crate) fn full_configuration(project: &Project) {
    let account = &project.account;
    let parameter = json!({ "Name": "/ours/image", "Value": IMAGE, "Type": "String" });
    account.boto3("ssm", "put_parameter", parameter).expect("SSM");
    let vpc = account.ec2("create_vpc", json!({ "CidrBlock": "10.7.0.0/16" }));
    let vpc = &vpc["Vpc"]["VpcId"];
    let zone = format!("{REGION}a");
    let subnet = json!({ "VpcId": vpc, "CidrBlock": "10.7.1.0/24", "AvailabilityZone": zone });
    let subnet = account.ec2("create_subnet", subnet);
    let group = json!({ "GroupName": "workers", "Description": "workers", "VpcId": vpc });
    account.ec2("create_security_group", group);
    let iam = |call: &str, with: Value| account.boto3("iam", call, with).expect("IAM");
    for role in ["their-role", "another-role"] {
        let trust = "{\"Version\":\"2012-10-17\",\"Statement\":[]}";
        iam("create_role", json!({ "RoleName": role, "AssumeRolePolicyDocument": trust }));
    }
    for (profile, role) in [("theirs", "their-role"), ("another", "another-role")] {
        iam("create_instance_profile", json!({ "InstanceProfileName": profile }));
        let joined = json!({ "InstanceProfileName": profile, "RoleName": role });
        iam("add_role_to_instance_profile", joined);
    }
    project.add_worker_type("windows");
    let windows = "worker-types.windows";
    project.set(&format!("{windows}.image-id"), "ssm:/ours/image");
    project
        .set(&format!("{windows}.subnets"), vec![subnet["Subnet"]["SubnetId"].as_str().unwrap()]);
    project.unset(&format!("{windows}.availability-zones"));
    project.set(&format!("{windows}.security-groups"), vec!["workers"]);
    project.set(&format!("{windows}.iam-instance-profile"), "theirs");
    project.set(&format!("{windows}.tags.team"), "ci");
}

/// The flag that goes with it.
const WORKER_ROLE: &[&str] = &["--worker-role", "their-role"];

#[test]
fn the_document_is_what_is_printed() {
    let project = Project::set_up();
    let printed = project.provisionerd(&["iam-policy"]).ok();
    let document: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(document["Version"], "2012-10-17");
    assert_eq!(document, policy(&project, "run", &[]));
    // The breadth that remains, and the reason.
    printed.says(&["warning: instances in us-west-2", "terminated", "hint: EC2 has no condition"]);
    let said = project.provisionerd(&["iam-policy", "--output", "json"]).ok().json();
    assert_eq!(said["warnings"][0]["kind"], "terminate");
}

#[test]
fn nobody_is_asked() {
    let project = Project::set_up();
    let before = project.account.calls().len();
    for program in ["run", "setup", "cleanup"] {
        policy(&project, program, &[]);
    }
    assert_eq!(project.account.calls().len(), before);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let project = Project::new();
    project.provisionerd(&["iam-policy"]).code(2).says(&["provisioner.key-name", "setup-aws"]);
    project.provisionerd(&["iam-policy", "--for", "cleanup"]).code(2).says(&["key-name"]);
    project.provisionerd(&["iam-policy", "--for", "setup"]).ok();
    project.provisionerd(&["iam-policy", "--for", "cleanup", "--key-name", "mine"]).ok();
    project.setup_aws(&[]).ok();
    for (args, flag) in [
        (&["--prefix", "x-"][..], "--for setup"),
        (&["--with-worker-profile"], "--for setup"),
        (&["--key-name", "mine"], "--for cleanup"),
        (&["--region", "eu-west-1"], "eu-west-1"),
        (&["--worker-role", "a role"], "--worker-role"),
        (&["--for", "everything"], "--for"),
    ] {
        let line: Vec<&str> = ["iam-policy"].iter().chain(args).copied().collect();
        project.provisionerd(&line).code(2).says(&[flag]);
    }
}

/// Without a region or an account it holds everywhere, and says so.
#[test]
fn what_is_not_known_is_any() {
    let project = Project::new();
    project.unset("aws.region");
    let said = project.provisionerd(&["iam-policy", "--for", "setup"]).ok();
    assert!(
        said.stdout.contains("\"arn:aws:ec2:*:*:key-pair/provisioner-test-"),
        "{}",
        said.stdout
    );
    assert!(!said.stdout.contains("ec2:Region"));
    said.says(&["no region is known", "no account is known"]);
    // As the SDK has it, the environment may say.
    let mut command = project.command("provisionerd", &["iam-policy", "--for", "setup"]);
    let said = Project::finish(command.env("AWS_REGION", "cn-north-1")).ok();
    assert!(said.stdout.contains("\"arn:aws-cn:ec2:cn-north-1:*:key-pair/"), "{}", said.stdout);
}

/// parliament knows AWS's actions, resources and condition keys.
#[test]
fn parliament_has_no_complaints() {
    let project = Project::set_up();
    let of = |program: &str, args: &[&str]| policy(&project, program, args);
    let mut policies = vec![of("run", &[]), of("setup", &[]), of("cleanup", &[])];
    full_configuration(&project);
    policies.push(of("run", WORKER_ROLE));
    policies.push(of("setup", &["--with-worker-profile", "--prefix", "team+ci="]));
    policies.push(of("cleanup", &["--key-name", "mine"]));
    let interface = toml::toml! { AssociatePublicIpAddress = true };
    let linux = "worker-types.linux.launch-specification";
    project.set(&format!("{linux}.NetworkInterfaces"), vec![toml::Value::from(interface)]);
    let disk = toml::toml! { DeviceName = "/dev/sdb"
    Ebs = { SnapshotId = "snap-12345678" } };
    project.set(&format!("{linux}.BlockDeviceMappings"), vec![toml::Value::from(disk)]);
    policies.push(of("run", WORKER_ROLE));
    project.unset("aws.account-id");
    policies.push(of("run", WORKER_ROLE));

    // Checks the complete policy and each statement, to find the statement that a finding is about.
    let mut documents = Vec::new();
    for policy in policies {
        for statement in policy["Statement"].as_array().unwrap() {
            documents.push(json!({ "Version": "2012-10-17", "Statement": [statement] }));
        }
        documents.push(policy);
    }
    for (document, findings) in documents.iter().zip(lint(&documents)) {
        for finding in findings.as_array().unwrap() {
            // It expects the spot request in every statement of RequestSpotInstances. But the tags of a
            // call only exist for that resource, so the others are in a separate statement.
            let apart = finding["issue"] == "RESOURCE_MISMATCH"
                && finding["detail"][0]["action"] == "ec2:RequestSpotInstances"
                && document.to_string().contains("\"LaunchWith\"");
            assert!(apart, "{finding:#}\nin {document:#}");
        }
    }
    // It is no lint that finds nothing in anything.
    let wrong = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Action": "ec2:TerminateInstances", "Resource": "arn:aws:ec2:*:*:instance/*",
            "Condition": { "StringEquals": { "ec2:KeyPairName": "mine" } },
        }],
    });
    assert_eq!(lint(&[wrong])[0][0]["issue"], "UNKNOWN_CONDITION_FOR_ACTION");
}

/// A set-up that fails, one that works, and another after its key pair was deleted, each under the
/// policy printed before. Returns the accounts it was done through, each with its policy.
fn set_up_under_policy(project: &mut Project) -> Vec<(Account, Value)> {
    let admin = project.account.clone();
    let under = |project: &mut Project| {
        project.account = admin.clone();
        let policy = policy(project, "setup", &["--with-worker-profile"]);
        project.account = admin.under(&policy);
        (project.account.clone(), policy)
    };
    let mut done = vec![under(project)];
    let state_dir = project.state_dir().display().to_string();
    let file = project.write("not-a-directory", "");
    project.set("provisioner.state-dir", file.join("state").to_str().unwrap());
    project.setup_aws(&["--with-worker-profile"]).fails();
    assert_eq!(admin.world().key_pairs, [], "undone");
    let left = admin.boto3("iam", "list_instance_profiles", json!({})).unwrap();
    assert_eq!(left["InstanceProfiles"].as_array().unwrap().len(), 2, "undone: {left}");
    project.set("provisioner.state-dir", state_dir.as_str());
    fs::remove_file(file).unwrap();

    no_sts(&admin);
    project.setup_aws(&["--with-worker-profile"]).ok();
    let earlier = project.key_name();
    admin.ec2("delete_key_pair", json!({ "KeyName": earlier }));
    done.push(under(project));
    project.write("id.pub", crate::setup::PUBLIC_KEY);
    project.setup_aws(&["--with-worker-profile", "--public-key", "id.pub"]).ok();
    assert_ne!(project.key_name(), earlier);
    project.account = admin;
    done
}

/// Makes STS unreachable for one call, because EC2 can report the account too.
fn no_sts(account: &Account) {
    let fault = json!({ "action": "GetCallerIdentity", "code": "InternalFailure", "status": 500 });
    account.fault(&fault);
}

/// Runs rounds that request, tag, cancel and terminate, and checks the configuration.
fn run_under_policy(project: &Project) {
    let account = &project.account;
    project.queue.pending(&[("linux", 2), ("windows", 1)]);
    let mut daemon = project.daemon();
    daemon.until("three tagged machines", || {
        let world = account.world();
        world
            .live(&project.key_name())
            .iter()
            .filter(|instance| instance.worker_type().is_some())
            .count()
            == 3
    });
    // A stray under our key pair.
    let stray = account.add_instances(&json!({ "key_name": project.key_name() })).remove(0);
    daemon.until("the stray is ended", || !account.world().instance(&stray).is_live());
    account.rules(&json!({ "spot": "held" }));
    project.queue.pending(&[("linux", 4), ("windows", 4)]);
    daemon.until("open requests", || project.live_and_open().1 > 1);
    project.queue.pending(&[]);
    daemon.until("they are cancelled", || project.live_and_open().1 == 0);
    daemon.until("a look at prices", || {
        account.calls_of("DescribeSpotPriceHistory").iter().any(|call| call.status == Some(200))
    });
    daemon.stop();
    // Credits matter under a dollar limit.
    let before = project.config();
    project.set("worker-types.linux.instance-types", vec!["m5.large", "t3.large"]);
    project.set("worker-types.linux.max-price", 1.0);
    project.set("worker-types.windows.max-price", 1.0);
    project.set("limits.max-usd-per-hour", 50.0);
    project.provisionerd(&["validate", "--aws"]).ok();
    project.write_config(&before);
    project.provisionerd(&["plan"]).ok();
}

/// Whether EC2, IAM or SSM refused because of a missing permission.
fn is_denial(error: Option<&str>) -> bool {
    matches!(error, Some("UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException"))
}

/// Returns the calls that were denied; there should be no such call.
fn denied(account: &Account) -> Vec<String> {
    let calls = account.calls().into_iter().filter(|call| is_denial(call.error.as_deref()));
    calls.map(|call| format!("{} {:?}", call.action, call.params)).collect()
}

/// Everything that a policy allows was asked for, and nothing else would have allowed it: without any
/// part of it, something would have been denied.
#[track_caller]
fn all_is_needed(done: &[(Account, Value)]) {
    let mut needed = BTreeSet::new();
    for (account, _) in done {
        let allowed = account.allowed().into_iter();
        needed.extend(allowed.filter_map(|(action, by)| {
            let [by] = &by[..] else { return None };
            Some((action, by.clone()))
        }));
    }
    let allowed: BTreeSet<_> = done.iter().flat_map(|(_, policy)| actions(policy)).collect();
    let idle: Vec<_> = allowed.difference(&needed).collect();
    assert!(idle.is_empty(), "allowed, and not needed: {idle:?}");
}

#[test]
fn a_whole_life_under_nothing_but_the_policies() {
    let mut project = Project::new();
    full_configuration(&project);
    let admin = project.account.clone();
    let set_up = set_up_under_policy(&mut project);
    assert_eq!(denied(&admin), [""; 0]);
    all_is_needed(&set_up);

    let run = policy(&project, "run", WORKER_ROLE);
    project.account = admin.under(&run);
    run_under_policy(&project);
    // For a launch is tried with something that nothing has, where there is nothing of ours.
    let tried = |call: &str| !call.contains("\"DryRun\": \"true\"");
    assert_eq!(denied(&admin).into_iter().filter(|call| tried(call)).collect::<Vec<_>>(), [""; 0]);
    all_is_needed(&[(project.account.clone(), run)]);

    project.account = admin.clone();
    leave_all_kinds(&project);
    let cleanup = policy(&project, "cleanup", WORKER_ROLE);
    project.account = admin.under(&cleanup);
    no_sts(&admin);
    project.cleanup_aws(&["--yes"]).ok();
    assert_eq!(denied(&admin), [""; 0]);
    assert_eq!(admin.world().volumes, []);
    assert_eq!(admin.world().key_pairs, []);
    all_is_needed(&[(project.account.clone(), cleanup)]);
}

/// Leaves a launch whose answer was lost, a disk that outlives its machine, a disk, a fleet and a template.
fn leave_all_kinds(project: &Project) {
    let account = &project.account;
    let device = toml::toml! { DeviceName = "/dev/sdb"
    Ebs = { VolumeSize = 10, DeleteOnTermination = false } };
    let linux = "worker-types.linux.launch-specification";
    project.set(&format!("{linux}.BlockDeviceMappings"), vec![toml::Value::from(device)]);
    account.rules(&json!({ "spot": "at-once" }));
    project.queue.pending(&[("linux", 4)]);
    project.round().ok();
    project.queue.pending(&[("windows", 4)]);
    account.fault(&json!({ "action": "RequestSpotInstances", "drop": true }));
    project.round().fails();
    let tags = |kind: &str| {
        json!([{ "ResourceType": kind, "Tags": [
            { "Key": "provisioner:key-name", "Value": project.key_name() },
        ] }])
    };
    account.ec2(
        "create_volume",
        json!({
            "AvailabilityZone": format!("{REGION}a"), "Size": 8, "TagSpecifications": tags("volume"),
        }),
    );
    let template = account.ec2(
        "create_launch_template",
        json!({
            "LaunchTemplateName": "ours", "TagSpecifications": tags("launch-template"),
            "LaunchTemplateData": { "ImageId": IMAGE, "InstanceType": "m5.large" },
        }),
    );
    let template = &template["LaunchTemplate"]["LaunchTemplateId"];
    account.ec2(
        "create_fleet",
        json!({
            "Type": "maintain", "TagSpecifications": tags("fleet"),
            "TargetCapacitySpecification": {
                "TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand",
            },
            "LaunchTemplateConfigs": [{
                "LaunchTemplateSpecification": { "LaunchTemplateId": template, "Version": "1" },
            }],
        }),
    );
}

/// Returns how EC2 and IAM refuse a call through a restricted key, if they do.
#[track_caller]
fn may(account: &Account, service: &str, call: &str, with: Value) -> bool {
    match account.boto3(service, call, with) {
        Ok(_) => true,
        Err(error) if is_denial(Some(&error.code)) => false,
        Err(error) => panic!("{call}: {error:?}"),
    }
}

#[test]
fn the_policy_of_the_daemon_allows_nothing_of_others() {
    let project = Project::set_up();
    full_configuration(&project);
    let key_name = project.key_name();
    let admin = project.account.clone();
    admin.make_key_pair("theirs");
    let account = admin.under(&policy(&project, "run", WORKER_ROLE));
    let ec2 = |call: &str, with: Value| may(&account, "ec2", call, with);
    let ours = |name: &str| json!([{ "Key": "provisioner:key-name", "Value": name }]);

    // Launches: our key pair, our tags, no other keys, no other image, no other role.
    let launch = |change: &dyn Fn(&mut Value)| {
        let mut with = json!({
            "LaunchSpecification": {
                "ImageId": IMAGE, "InstanceType": "m5.large", "KeyName": key_name,
                "IamInstanceProfile": { "Name": "theirs" },
            },
            "TagSpecifications": [{ "ResourceType": "spot-instances-request", "Tags": ours(&key_name) }],
        });
        change(&mut with);
        ec2("request_spot_instances", with)
    };
    assert!(launch(&|_| ()));
    let spec = "LaunchSpecification";
    assert!(!launch(&|request| request[spec]["KeyName"] = json!("theirs")));
    assert!(!launch(&|request| request[spec]["IamInstanceProfile"] = json!({ "Name": "another" })));
    assert!(!launch(&|request| drop(request.as_object_mut().unwrap().remove("TagSpecifications"))));
    assert!(!launch(&|request| request["TagSpecifications"][0]["Tags"] = ours("theirs")));
    let more = json!([ours(&key_name)[0], { "Key": "Owner", "Value": "me" }]);
    assert!(!launch(&|request| request["TagSpecifications"][0]["Tags"] = more.clone()));

    // Tagging is allowed on instances without another owner, and never on requests.
    let theirs = json!({ "provisioner:key-name": "theirs" });
    let untagged = admin.add_instances(&json!({ "key_name": key_name })).remove(0);
    let tagged = admin.add_instances(&json!({ "tags": theirs })).remove(0);
    let tag =
        |id: &str, tags: Value| ec2("create_tags", json!({ "Resources": [id], "Tags": tags }));
    assert!(tag(&untagged, ours(&key_name)));
    assert!(!tag(&tagged, ours(&key_name)), "a foreign key-name is not written over");
    assert!(!tag(&untagged, ours("theirs")));
    assert!(!tag(&untagged, more));
    assert!(!tag(&untagged, json!([{ "Key": "Name", "Value": "x" }])));

    // Requests are cancelled by their tag, and terminating leaves those of others.
    admin.rules(&json!({ "spot": "held" }));
    let request = |tags: &Value| admin.add_requests(&json!({ "tags": tags })).remove(0);
    let cancel =
        |id: &str| ec2("cancel_spot_instance_requests", json!({ "SpotInstanceRequestIds": [id] }));
    assert!(cancel(&request(&json!({ "provisioner:key-name": key_name }))));
    assert!(!cancel(&request(&theirs)));
    let unclaimed = request(&json!({}));
    assert!(!cancel(&unclaimed));
    assert!(!tag(&unclaimed, ours(&key_name)), "it cannot be made ours to be cancelled then");
    let terminate = |ids: &[&str]| ec2("terminate_instances", json!({ "InstanceIds": ids }));
    assert!(!terminate(&[&untagged, &tagged]), "one that is not allowed fails the call");
    assert!(terminate(&[&untagged]));
    assert!(!terminate(&[&tagged]));

    // The rest of the account, the rest of the world.
    assert!(!ec2("create_key_pair", json!({ "KeyName": "new" })));
    assert!(!ec2("delete_key_pair", json!({ "KeyName": key_name })));
    let iam = |call: &str, with: Value| may(&account, "iam", call, with);
    assert!(iam("get_instance_profile", json!({ "InstanceProfileName": "theirs" })));
    assert!(!iam("get_instance_profile", json!({ "InstanceProfileName": "another" })));
    assert!(!iam("get_role", json!({ "RoleName": "their-role" })));
    let read = |name: &str| may(&account, "ssm", "get_parameter", json!({ "Name": name }));
    assert!(read("/ours/image"));
    assert!(!read("/ours/secret"));
    let mut command = project.command("provisionerd", &["iam-policy", "--region", "eu-west-1"]);
    Project::finish(&mut command).code(2);
}

/// A subnet and a group that another account shares (AWS RAM) have that account's number in their ARNs.
#[test]
fn what_another_account_shares_can_be_launched_in() {
    let mut project = Project::new();
    full_configuration(&project);
    project.setup_aws(&[]).ok();
    let subnet =
        project.value("worker-types.windows.subnets").unwrap()[0].as_str().unwrap().to_owned();
    let account = project.account.clone();
    let by_name = json!([{ "Name": "group-name", "Values": ["workers"] }]);
    let group = account.ec2("describe_security_groups", json!({ "Filters": by_name }));
    let group = group["SecurityGroups"][0]["GroupId"].as_str().unwrap().to_owned();
    for name in ["linux", "windows"] {
        project.set(&format!("worker-types.{name}.subnets"), vec![subnet.as_str()]);
        project.set(&format!("worker-types.{name}.security-groups"), vec![group.as_str()]);
    }
    let run = policy(&project, "run", WORKER_ROLE);
    let said = project.provisionerd(&["iam-policy", "--output", "json"]).ok().json();
    let kinds: Vec<_> = said["warnings"].as_array().unwrap().iter().map(|it| &it["kind"]).collect();
    assert!(kinds.contains(&&json!("shared")), "{kinds:?}");

    let owner = "210987654321";
    account.rules(&json!({ "owners": { subnet.as_str(): owner, group.as_str(): owner } }));
    project.account = account.under(&run);
    project.queue.pending(&[("windows", 1)]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (1, 0));
    assert_eq!(denied(&account), [""; 0]);
}

/// The policies do not cover an untagged request of another owner under our key pair, and it does not block
/// our own work.
#[test]
fn a_request_that_may_not_be_cancelled_holds_up_no_other() {
    let mut project = Project::set_up();
    let admin = project.account.clone();
    let key_name = project.key_name();
    admin.rules(&json!({ "spot": "held" }));
    let open = || {
        let world = admin.world();
        world.open(&key_name).iter().map(|request| request.id.clone()).collect::<Vec<_>>()
    };
    let run = policy(&project, "run", &[]);
    let cleanup = policy(&project, "cleanup", &[]);
    project.account = admin.under(&run);
    project.queue.pending(&[("linux", 3)]);
    project.round().ok();
    let stray = admin.add_requests(&json!({ "key_name": key_name }));
    assert_eq!(open().len(), 4);
    project.queue.pending(&[]);
    project.round().code(4).says(&["UnauthorizedOperation", &stray[0]]);
    assert_eq!(open(), stray);

    project.queue.pending(&[("linux", 2)]);
    project.round();
    project.account = admin.under(&cleanup);
    project.cleanup_aws(&["--yes"]).code(4).says(&["UnauthorizedOperation", &stray[0]]);
    assert_eq!(open(), stray);
    project.account = admin.clone();
    project.cleanup_aws(&["--yes"]).ok();
    assert_eq!(open(), [""; 0]);
}

#[test]
fn the_policies_of_setup_and_cleanup_allow_nothing_of_others() {
    let project = Project::set_up();
    let key_name = project.key_name();
    let admin = project.account.clone();
    admin.make_key_pair("theirs");
    let setup = admin.under(&policy(&project, "setup", &["--with-worker-profile"]));
    let cleanup = admin.under(&policy(&project, "cleanup", &[]));
    let tagged = |name: &str, as_name: &str| {
        let tags = [json!({ "Key": "provisioner:key-name", "Value": as_name })];
        json!({ "KeyName": name, "TagSpecifications": [{ "ResourceType": "key-pair", "Tags": tags }] })
    };
    let new = "provisioner-test-01234567-89ab-4def-8123-456789abcdef";
    let make = |with: Value| may(&setup, "ec2", "create_key_pair", with);
    assert!(make(tagged(new, new)));
    assert!(!make(json!({ "KeyName": new })), "without the tag");
    assert!(!make(tagged("provisioner-test-mine", new)), "the name is no UUID");
    assert!(!make(tagged(new, "theirs")));
    let role = |name: &str, tags: Value| {
        let trust = "{\"Version\":\"2012-10-17\",\"Statement\":[]}";
        let with = json!({ "RoleName": name, "AssumeRolePolicyDocument": trust, "Tags": tags });
        may(&setup, "iam", "create_role", with)
    };
    let own = |name: &str| json!([{ "Key": "provisioner:key-name", "Value": name }]);
    assert!(role(new, own(new)));
    assert!(!role(new, json!([])));
    assert!(!role("admin", own(new)));
    let delete = |account: &Account, name: &str| {
        may(account, "ec2", "delete_key_pair", json!({ "KeyName": name }))
    };
    assert!(!delete(&setup, "theirs"));
    assert!(!delete(&cleanup, "theirs"));
    assert!(!delete(&cleanup, new), "another deployment's");
    assert!(delete(&cleanup, &key_name));
    let delete = |account: &Account, name: &str| {
        may(account, "iam", "delete_role", json!({ "RoleName": name }))
    };
    assert!(!delete(&cleanup, new));
    assert!(!delete(&setup, "admin"));
    assert!(delete(&setup, new));
}

/// Every permission that is removed from the daemon's policy is missed, and the programs say so.
#[test]
fn without_any_statement_something_is_denied() {
    let mut project = Project::new();
    full_configuration(&project);
    project.setup_aws(&[]).ok();
    let whole = policy(&project, "run", WORKER_ROLE);
    assert_eq!(complaint(&mut project, &whole), None);
    for i in 0..whole["Statement"].as_array().unwrap().len() {
        let mut part = whole.clone();
        let taken = part["Statement"].as_array_mut().unwrap().remove(i);
        assert!(complaint(&mut project, &part).is_some(), "nobody misses {taken:#}");
    }
}

/// Returns the complaint about a missing permission under a policy: of a round that requests, one that tags
/// and terminates a stray, one that cancels, or of `validate --aws`.
fn complaint(project: &mut Project, policy: &Value) -> Option<String> {
    let admin = project.account.clone();
    project.account = admin.under(policy);
    admin.rules(&json!({ "spot": "at-once" }));
    project.queue.pending(&[("linux", 1), ("windows", 1)]);
    let mut said = None;
    for step in 0..4 {
        let done = match step {
            3 => project.provisionerd(&["validate", "--aws"]),
            _ => project.round(),
        };
        let texts = [done.stdout, done.stderr];
        let codes = ["UnauthorizedOperation", "AccessDenied", "may not call"];
        said = texts.into_iter().find(|text| codes.iter().any(|code| text.contains(code)));
        if said.is_some() {
            break;
        }
        match step {
            0 => {
                admin.add_instances(&json!({ "key_name": project.key_name() }));
                admin.rules(&json!({ "spot": "held" }));
                project.queue.pending(&[("linux", 9)]);
            }
            _ => project.queue.pending(&[]),
        }
    }
    for machine in admin.world().instances.iter().filter(|machine| machine.is_live()) {
        admin.to_instances(&json!({ "do": "terminate", "ids": [machine.id] }));
    }
    for request in admin.world().spot_requests.iter().filter(|request| request.state == "open") {
        admin.to_requests(&json!({ "do": "close", "ids": [request.id] }));
    }
    project.account = admin;
    said
}
