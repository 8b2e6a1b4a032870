//! `cleanup-aws` removes everything under the key-name and nothing else, and reports what is left.
//!
//! Its two listings in a row are at least 5 s apart, so most of these tests wait rather than work.

use serde_json::json;

use crate::harness::{Account, Project};

/// A project with one machine, one that boots and one open request of ours, and others' things.
fn busy_project() -> (Project, Others) {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 2)]);
    project.round().ok();
    project.account.rules(&json!({ "spot": "held" }));
    project.queue.pending(&[("linux", 3)]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (2, 1));
    let others = Others::arrive(&project.account);
    (project, others)
}

/// The resources of another owner in the same account.
pub(crate) struct Others {
    instances: Vec<String>,
    requests: Vec<String>,
}

impl Others {
    pub(crate) fn arrive(account: &Account) -> Self {
        account.make_key_pair("somebody-else");
        let what = json!({ "key_name": "somebody-else", "count": 2 });
        let none = json!({ "count": 1 });
        let mut instances = account.add_instances(&what);
        instances.extend(account.add_instances(&none));
        Self { instances, requests: account.add_requests(&what) }
    }

    #[track_caller]
    pub(crate) fn are_untouched(&self, account: &Account) {
        let world = account.world();
        assert!(world.has_key_pair("somebody-else"));
        assert!(self.instances.iter().all(|id| world.instance(id).is_live()));
        assert!(
            self.requests.iter().all(|id| ["open", "active"].contains(&&*world.request(id).state))
        );
    }
}

/// Nothing of this key-name is left.
#[track_caller]
pub(crate) fn nothing_is_left(account: &Account, key_name: &str) {
    let world = account.world();
    assert!(!world.has_key_pair(key_name));
    assert_eq!(world.live(key_name), Vec::<&_>::new());
    assert!(world.requests(key_name).iter().all(|r| !["open", "active"].contains(&&*r.state)));
    assert!(
        world
            .instances
            .iter()
            .all(|i| i.key_name.as_deref() != Some(key_name) || i.state == "terminated")
    );
}

#[test]
fn takes_everything_of_ours_and_nothing_else() {
    let (project, others) = busy_project();
    let key_name = project.key_name();
    project.account.to_instances(&json!({ "do": "stop", "key_name": key_name, "limit": 1 }));
    project.cleanup_aws(&["--yes"]).ok();
    nothing_is_left(&project.account, &key_name);
    others.are_untouched(&project.account);
    for gone in ["provisioner.key-name", "aws.account-id"] {
        assert!(project.value(gone).is_none(), "{gone} in\n{}", project.config());
    }
    assert!(project.value("worker-types.linux.image-id").is_some());
    assert!(project.config().starts_with("# The tests' own.\n"));
    assert_eq!(project.files(), ["provisioner.toml"], "the private key goes, too");

    let actions: Vec<_> = project.account.changes().into_iter().map(|call| call.action).collect();
    let first = |action: &str| actions.iter().position(|a| a == action).expect(action);
    assert!(first("CancelSpotInstanceRequests") < first("TerminateInstances"));
    assert!(first("TerminateInstances") < first("DeleteKeyPair"));

    project.cleanup_aws(&["--yes"]).ok();
}

#[test]
fn asks_first() {
    let (project, _) = busy_project();
    let before = project.config();
    let calls = project.account.changes().len();
    project.cleanup_aws(&[]).code(2).says(&["--yes"]);
    let listed = project.cleanup_aws(&["--dry-run"]).ok();
    let world = project.world();
    for request in world.requests(&project.key_name()) {
        assert!(
            listed.stdout.contains(&request.id) || request.state != "open",
            "{}",
            listed.stdout
        );
    }
    for machine in world.live(&project.key_name()) {
        assert!(listed.stdout.contains(&machine.id), "{}", listed.stdout);
    }
    project.cleanup_aws(&["--dry-run", "--output", "json"]).ok().json();
    assert_eq!(project.config(), before);
    assert_eq!(project.account.changes().len(), calls);
}

#[test]
fn waits_for_the_end_of_machines() {
    let (project, _) = busy_project();
    let key_name = project.key_name();
    project.account.rules(&json!({ "shutting_down_looks": 3 }));
    project.cleanup_aws(&["--yes"]).ok();
    nothing_is_left(&project.account, &key_name);
}

#[test]
fn a_request_filled_between_look_and_cancel_leaves_no_machine() {
    let (project, _) = busy_project();
    let key_name = project.key_name();
    project.account.rules(&json!({ "fulfil_on_cancel": 5 }));
    project.cleanup_aws(&["--yes"]).ok();
    nothing_is_left(&project.account, &key_name);
    assert_eq!(project.world().requests(&key_name).len(), 3);
}

#[test]
fn describe_may_lag() {
    let project = Project::set_up();
    let key_name = project.key_name();
    project.account.rules(&json!({ "lag_looks": 1 }));
    project.queue.pending(&[("linux", 3)]);
    project.round();
    project.cleanup_aws(&["--yes"]).ok();
    nothing_is_left(&project.account, &key_name);
}

#[test]
fn what_is_protected_is_named_and_the_rest_goes() {
    let (project, _) = busy_project();
    let key_name = project.key_name();
    let before = project.config();
    let kept =
        project.account.to_instances(&json!({ "do": "protect", "key_name": key_name, "limit": 1 }));
    project.cleanup_aws(&["--yes"]).code(4).says(&[&kept[0]]);
    let world = project.world();
    assert_eq!(world.live(&key_name).iter().map(|i| &i.id).collect::<Vec<_>>(), [&kept[0]]);
    assert!(world.open(&key_name).is_empty());
    assert!(world.has_key_pair(&key_name), "the key pair goes last");
    assert_eq!(project.config(), before);

    let allow = json!({ "InstanceId": kept[0], "DisableApiTermination": { "Value": false } });
    project.account.ec2("modify_instance_attribute", allow);
    project.cleanup_aws(&["--yes"]).ok();
    nothing_is_left(&project.account, &key_name);
}

#[test]
fn refusals_leave_the_configuration() {
    let (project, _) = busy_project();
    let before = project.config();
    let key_name = project.key_name();
    for action in ["TerminateInstances", "CancelSpotInstanceRequests", "DeleteKeyPair"] {
        project.account.fault(&json!({
            "action": action, "code": "UnauthorizedOperation", "status": 403, "times": null,
        }));
    }
    project.cleanup_aws(&["--yes", "--timeout", "20s"]).fails().says(&["UnauthorizedOperation"]);
    assert_eq!(project.config(), before);
    assert_eq!(project.live_and_open(), (2, 1));
    project.account.clear_faults();
    project.cleanup_aws(&["--yes"]).ok();
    nothing_is_left(&project.account, &key_name);
}

#[test]
fn an_account_that_cannot_be_read_is_not_clean() {
    let project = Project::set_up();
    let before = project.config();
    project.account.fault(&json!({
        "action": "DescribeInstances", "code": "UnauthorizedOperation", "status": 403, "times": null,
    }));
    project.cleanup_aws(&["--yes", "--timeout", "20s"]).code(1).says(&["UnauthorizedOperation"]);
    assert_eq!(project.config(), before);
    assert!(project.world().has_key_pair(&project.key_name()));
}

#[test]
fn throttling_is_waited_out() {
    let (project, _) = busy_project();
    let key_name = project.key_name();
    for action in ["TerminateInstances", "DescribeInstances", "CancelSpotInstanceRequests"] {
        project.account.fault(&json!({
            "action": action, "code": "RequestLimitExceeded", "status": 503, "times": 2,
        }));
    }
    project.cleanup_aws(&["--yes"]).ok();
    nothing_is_left(&project.account, &key_name);
}

#[test]
fn requests_that_keep_arriving_mean_a_running_daemon() {
    let project = Project::set_up();
    let before = project.config();
    let key_name = project.key_name();
    project.account.rules(&json!({ "arrivals_key_name": key_name }));
    project.cleanup_aws(&["--yes", "--timeout", "20s"]).code(4).says(&["provisionerd"]);
    assert_eq!(project.config(), before);
    assert!(project.world().has_key_pair(&key_name));
}

#[test]
fn a_running_daemon_of_this_machine_is_named() {
    let project = Project::set_up();
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 1);
    project.cleanup_aws(&["--yes"]).code(1).says(&[&daemon.pid().to_string()]);
    assert!(project.world().has_key_pair(&project.key_name()));
    daemon.stop();
}

#[test]
fn retired_names_are_covered() {
    let project = Project::set_up();
    let first = project.key_name();
    project.account.add_instances(&json!({ "key_name": first }));
    project.setup_aws(&["--force"]).ok();
    let second = project.key_name();
    project.cleanup_aws(&["--yes"]).ok();
    nothing_is_left(&project.account, &first);
    nothing_is_left(&project.account, &second);
    assert!(project.value("provisioner.retired").is_none());
    assert_eq!(project.files(), ["provisioner.toml"]);
}

#[test]
fn a_key_name_in_the_environment_is_covered_like_one_in_the_file() {
    let (project, others) = busy_project();
    let key_name = project.key_name();
    project.unset("provisioner.key-name");
    let command = |args: &[&str]| {
        let mut command = project.command("cleanup-aws", args);
        command.env("PROVISIONER__PROVISIONER__KEY_NAME", &key_name);
        command
    };
    Project::finish(&mut command(&[])).code(2).says(&["--yes"]);
    Project::finish(command(&["--yes"]).envs(Account::new().env()))
        .code(2)
        .says(&[&project.account.number]);
    Project::finish(&mut command(&["--yes", "--region", "eu-west-1"])).code(2).says(&["us-west-2"]);
    assert!(project.world().has_key_pair(&key_name));

    let done = Project::finish(&mut command(&["--yes"])).ok();
    nothing_is_left(&project.account, &key_name);
    others.are_untouched(&project.account);
    done.prints(&["Still in PROVISIONER__PROVISIONER__KEY_NAME: provisioner.key-name"]);
    assert!(project.value("aws.account-id").is_none(), "{}", project.config());
    assert_eq!(project.files(), ["provisioner.toml"]);

    // Another one than the file's: that one is no business of this run.
    project.setup_aws(&[]).ok();
    let before = project.config();
    let other = project.key_name();
    Project::finish(&mut command(&["--yes"])).ok().says(&[&other, "not the key-name in force"]);
    assert_eq!(project.config(), before);
    assert!(project.world().has_key_pair(&other));
}

#[test]
fn a_key_name_in_another_file_is_covered_and_left_there() {
    let project = Project::set_up();
    let key_name = project.key_name();
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    let dir = project.xdg_config().join("provisioner");
    std::fs::create_dir(&dir).unwrap();
    let users = dir.join("provisioner.toml");
    std::fs::rename(project.config_path(), &users).unwrap();
    let text = std::fs::read_to_string(&users).unwrap();

    let done = project.cleanup_aws(&["--yes", "--output", "json"]).ok().json();
    nothing_is_left(&project.account, &key_name);
    assert_eq!(done["removed_from"], json!(null));
    assert_eq!(done["still_named"][0]["key"], "provisioner.key-name");
    let place = done["still_named"][0]["place"].as_str().unwrap();
    assert!(place.starts_with(users.to_str().unwrap()), "{place}");
    assert_eq!(std::fs::read_to_string(&users).unwrap(), text);
    assert!(!project.config_path().exists(), "no file is made");
}

#[test]
fn somebodys_own_key_pair_is_kept() {
    let project = Project::with_key_pair_by_hand("mine");
    let machine = project.account.add_instances(&json!({ "key_name": "mine" })).remove(0);
    project.cleanup_aws(&["--yes"]).fails().says(&["--key-name"]);
    assert!(project.world().instance(&machine).is_live());
    project.cleanup_aws(&["--yes", "--key-name", "mine"]).ok();
    assert!(!project.world().instance(&machine).is_live());
    assert!(project.world().has_key_pair("mine"));
}

#[test]
fn volumes_that_survive_are_named() {
    let project = Project::set_up();
    let device = |name: &str| {
        let ebs = toml::toml! { VolumeSize = 10
        DeleteOnTermination = false };
        let mut table = toml::Table::new();
        table.insert("DeviceName".to_owned(), name.into());
        table.insert("Ebs".to_owned(), ebs.into());
        toml::Value::from(table)
    };
    project.set(
        "worker-types.linux.launch-specification.BlockDeviceMappings",
        vec![device("/dev/sdb")],
    );
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    let cleaned = project.cleanup_aws(&["--yes"]).code(4);
    let world = project.world();
    let [volume] = &world.volumes[..] else { panic!("{:?}", world.volumes) };
    cleaned.says(&[&volume.id, "delete-volume"]);
    assert!(world.live(&project.key_name()).is_empty());
    project.account.ec2("delete_volume", json!({ "VolumeId": volume.id }));
    project.cleanup_aws(&["--yes"]).ok();
}

#[test]
fn volumes_with_our_tag_are_deleted_and_those_of_others_are_not() {
    let project = Project::set_up();
    let make = |owner: &str| {
        let tags = [json!({ "Key": "provisioner:key-name", "Value": owner })];
        let made = project.account.ec2(
            "create_volume",
            json!({
                "AvailabilityZone": "us-west-2a", "Size": 8,
                "TagSpecifications": [{ "ResourceType": "volume", "Tags": tags }],
            }),
        );
        made["VolumeId"].as_str().unwrap().to_owned()
    };
    let ours = make(&project.key_name());
    let theirs = make("somebody-else");
    let listed = project.cleanup_aws(&["--dry-run"]).ok();
    assert!(listed.stdout.contains(&ours) && !listed.stdout.contains(&theirs), "{}", listed.stdout);
    let denied =
        json!({ "action": "DeleteVolume", "code": "UnauthorizedOperation", "status": 403 });
    project.account.fault(&denied);
    project.cleanup_aws(&["--yes"]).code(4).says(&[&ours, "UnauthorizedOperation"]);
    project.cleanup_aws(&["--yes"]).ok();
    let left: Vec<_> = project.world().volumes.into_iter().map(|volume| volume.id).collect();
    assert_eq!(left, [theirs]);
}

#[test]
fn the_wrong_account_or_region_is_refused() {
    let project = Project::set_up();
    let before = project.config();
    let stranger = Account::new();
    let mut command = project.command("cleanup-aws", &["--yes"]);
    command.envs(stranger.env());
    Project::finish(&mut command).code(2).says(&[&project.account.number, &stranger.number]);
    project
        .cleanup_aws(&["--yes", "--region", "eu-west-1"])
        .code(2)
        .says(&["eu-west-1", "us-west-2"]);
    assert_eq!(project.config(), before);
    assert!(project.world().has_key_pair(&project.key_name()));
}

#[test]
fn many_pages_are_all_cleaned() {
    let (project, _) = busy_project();
    let key_name = project.key_name();
    project.account.add_instances(&json!({ "key_name": key_name, "count": 7 }));
    project.account.add_requests(&json!({ "key_name": key_name, "count": 7 }));
    project.account.rules(&json!({ "page_size": 3 }));
    project.cleanup_aws(&["--yes"]).ok();
    nothing_is_left(&project.account, &key_name);
}
