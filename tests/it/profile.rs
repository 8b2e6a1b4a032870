//! The workers' IAM role and instance profile are created and removed with the key-name, and others are not
//! touched.

use serde_json::{Value, json};

use crate::harness::{Account, IMAGE, Project, REGION};

const FLAG: &str = "--with-worker-profile";
const SPOT_ROLE: &str = "AWSServiceRoleForEC2Spot";

/// The names of roles (but AWS's own) and of instance profiles.
fn there(account: &Account) -> (Vec<String>, Vec<String>) {
    let names = |listed: &Value, key: &str| -> Vec<String> {
        let items = listed.as_array().expect("a list").iter();
        let items = items.filter(|item| item["Path"] == "/");
        items.map(|item| item[key].as_str().expect("a name").to_owned()).collect()
    };
    let roles = account.iam("list_roles", json!({}));
    let profiles = account.iam("list_instance_profiles", json!({}));
    (
        names(&roles["Roles"], "RoleName"),
        names(&profiles["InstanceProfiles"], "InstanceProfileName"),
    )
}

fn has_spot_role(account: &Account) -> bool {
    account.boto3("iam", "get_role", json!({ "RoleName": SPOT_ROLE })).is_ok()
}

/// Every call of `actions` is denied until the faults are cleared.
fn deny(account: &Account, actions: &[&str]) {
    for action in actions {
        account.fault(&json!({
            "action": action, "code": "AccessDenied", "status": 403, "times": null,
            "message": "User is not authorized to perform this.",
        }));
    }
}

/// Every call of IAM that these programs make.
const IAM_CALLS: [&str; 11] = [
    "GetRole",
    "GetInstanceProfile",
    "ListRolePolicies",
    "ListAttachedRolePolicies",
    "CreateRole",
    "CreateInstanceProfile",
    "AddRoleToInstanceProfile",
    "RemoveRoleFromInstanceProfile",
    "DeleteInstanceProfile",
    "DeleteRole",
    "CreateServiceLinkedRole",
];

#[test]
fn makes_a_role_without_permissions_and_a_profile_with_it() {
    let project = Project::new();
    let before = format!(
        "# top\n[aws]\nregion = '{REGION}'\n\n[worker-defaults]  # for all\n# what they have in common\n\
         max-price = 0.1\n# the end\n\n[worker-types.z]   # odd\nimage-id   = \"{IMAGE}\"\n\
         instance-types = [ \"m5.large\",  ]\n"
    );
    project.write_config(&before);
    let done = project.setup_aws(&[FLAG, "--output", "json"]).ok().json();
    let key_name = project.key_name();
    assert_eq!(done["iam_instance_profile"], key_name.as_str());
    assert_eq!(done["spot_role"], "made");
    assert_eq!(done["warnings"], json!([]));
    assert_eq!(there(&project.account), (vec![key_name.clone()], vec![key_name.clone()]));

    let tags = json!([
        { "Key": "provisioner:key-name", "Value": key_name },
        { "Key": "provisioner:region", "Value": REGION },
    ]);
    let role = &project.account.iam("get_role", json!({ "RoleName": key_name }))["Role"];
    assert_eq!(role["Tags"], tags);
    assert!(!role["Description"].as_str().unwrap().is_empty());
    let trust = &role["AssumeRolePolicyDocument"]["Statement"];
    assert_eq!(
        trust,
        &json!([{
            "Effect": "Allow",
            "Principal": { "Service": "ec2.amazonaws.com" },
            "Action": "sts:AssumeRole",
        }])
    );
    let of_role = || json!({ "RoleName": key_name });
    let attached = project.account.iam("list_attached_role_policies", of_role());
    assert_eq!(attached["AttachedPolicies"], json!([]));
    assert_eq!(project.account.iam("list_role_policies", of_role())["PolicyNames"], json!([]));
    let with = json!({ "InstanceProfileName": key_name });
    let profile = &project.account.iam("get_instance_profile", with)["InstanceProfile"];
    assert_eq!(profile["Tags"], tags);
    assert_eq!(profile["Roles"][0]["RoleName"], key_name.as_str());

    let saved = project.value("worker-defaults.iam-instance-profile").unwrap();
    assert_eq!(saved.as_str(), Some(&*key_name));
    let after = project.config();
    let mut rest = after.lines();
    for line in before.lines() {
        assert!(rest.any(|other| other == line), "{line:?} is gone or moved in\n{after}");
    }
    // All of it goes again, and the file is as it was but for the region.
    project.cleanup_aws(&["--yes"]).ok();
    assert_eq!(there(&project.account), (vec![], vec![]));
    assert_eq!(project.files(), ["provisioner.toml"]);
    assert!(project.value("worker-defaults.iam-instance-profile").is_none());
    let mut rest = project.config();
    rest.retain(|c| c != '\n');
    assert_eq!(rest.replace("[provisioner]", ""), before.replace('\n', ""));
    assert!(has_spot_role(&project.account), "it is the account's");

    let actions: Vec<_> = project.account.changes().into_iter().map(|call| call.action).collect();
    let first = |action: &str| actions.iter().position(|a| a == action).expect(action);
    assert!(first("DeleteKeyPair") < first("RemoveRoleFromInstanceProfile"));
    assert!(first("DeleteInstanceProfile") < first("DeleteRole"));
}

#[test]
fn workers_start_with_it_as_soon_as_ec2_knows_it() {
    let project = Project::new();
    project.account.rules(&json!({ "profiles_lag": true }));
    project.setup_aws(&[FLAG]).ok().prints(&["IAM role", "without permissions"]);
    // IAM has it, so nothing is wrong.
    let verdict = project.provisionerd(&["validate", "--aws", "--output", "json"]).ok().json();
    let of_kind = |list: &str, kind: &str| {
        verdict[list].as_array().unwrap().iter().find(|entry| entry["kind"] == kind).cloned()
    };
    assert!(of_kind("checked", "instance-profile").is_some(), "{verdict:#}");
    assert!(of_kind("checked", "spot-role").is_some(), "{verdict:#}");
    assert_eq!(of_kind("findings", "launch").expect("a warning")["severity"], "warning");

    project.queue.pending(&[("linux", 2)]);
    project.round().code(4);
    let mut daemon = project.daemon();
    daemon.until_it_says("does not know the instance profile");
    // Many refusals do not stop the worker type.
    let tries = || project.account.calls_of("RequestSpotInstances").len();
    let so_far = tries();
    daemon.until("several tries", || tries() >= so_far + 4);
    assert_eq!(project.live_and_open(), (0, 0));
    project.account.rules(&json!({ "profiles_lag": false }));
    daemon.until("two instances", || project.live_and_open() == (2, 0));
    daemon.stop();
    let arn =
        format!("arn:aws:iam::{}:instance-profile/{}", project.account.number, project.key_name());
    let world = project.world();
    for machine in world.live(&project.key_name()) {
        assert_eq!(machine.profile_arn.as_ref(), Some(&arn));
    }
    project.provisionerd(&["validate", "--aws"]).ok();
}

#[test]
fn iam_may_show_it_later() {
    let project = Project::new();
    project.account.fault(&json!({
        "action": "GetInstanceProfile", "code": "NoSuchEntity", "status": 404, "times": 1,
    }));
    project.account.fault(&json!({
        "action": "AddRoleToInstanceProfile", "code": "NoSuchEntity", "status": 404, "times": 1,
    }));
    project.setup_aws(&[FLAG]).ok().says(&["waiting for IAM"]);
    assert_eq!(there(&project.account).1, [project.key_name()]);
}

#[test]
fn an_interrupt_ends_the_waiting_and_undoes_nothing() {
    let project = Project::new();
    project.account.fault(&json!({
        "action": "GetInstanceProfile", "code": "NoSuchEntity", "status": 404, "times": null,
    }));
    let mut setup = project.spawn(&mut project.command("setup-aws", &[FLAG]));
    setup.until_it_says("waiting for IAM");
    setup.stop().prints(&["saved"]);
    assert_eq!(there(&project.account).0, [project.key_name()]);
}

#[test]
fn a_dry_run_says_what_would_be_made() {
    let project = Project::new();
    let before = project.config();
    project
        .setup_aws(&[FLAG, "--dry-run"])
        .ok()
        .prints(&["would make the IAM role and instance profile", SPOT_ROLE]);
    let said = project.setup_aws(&[FLAG, "--dry-run", "--output", "json"]).ok().json();
    assert_eq!(said["iam_instance_profile"], said["key_name"]);
    assert_eq!(said["spot_role"], "absent");
    assert_eq!(project.config(), before);
    assert!(project.account.changes().is_empty());
}

#[test]
fn what_fails_half_way_is_undone() {
    for action in ["CreateRole", "CreateInstanceProfile", "AddRoleToInstanceProfile"] {
        let project = Project::new();
        let before = project.config();
        deny(&project.account, &[action]);
        project.setup_aws(&[FLAG]).code(1).says(&["AccessDenied", action, "is undone"]);
        assert_eq!(there(&project.account), (vec![], vec![]), "{action}");
        assert_eq!(project.config(), before);
        assert_eq!(project.files(), ["provisioner.toml"]);
        assert!(project.world().key_pairs.is_empty());

        // The call succeeded but its answer was lost, and what may exist is undone too.
        project.account.clear_faults();
        let lost = json!({ "action": action, "after": "applied", "drop": true, "times": null });
        project.account.fault(&lost);
        project.setup_aws(&[FLAG]).code(1).says(&[action, "is undone"]);
        assert_eq!(there(&project.account), (vec![], vec![]), "{action}");
        assert_eq!(project.config(), before);
        assert!(project.world().key_pairs.is_empty());
    }
}

#[test]
fn a_lost_answer_is_made_good() {
    let project = Project::new();
    for action in ["CreateRole", "CreateInstanceProfile", "AddRoleToInstanceProfile"] {
        project.account.fault(&json!({ "action": action, "after": "applied", "drop": true }));
    }
    project.setup_aws(&[FLAG]).ok();
    let key_name = project.key_name();
    assert_eq!(there(&project.account), (vec![key_name.clone()], vec![key_name.clone()]));
}

#[test]
fn what_cannot_be_undone_is_named() {
    let project = Project::new();
    let before = project.config();
    deny(&project.account, &["CreateInstanceProfile", "DeleteRole"]);
    let done = project.setup_aws(&[FLAG]).code(1);
    let (roles, profiles) = there(&project.account);
    assert_eq!((roles.len(), profiles.len()), (1, 0));
    done.says(&["could not be undone", &format!("IAM role `{}`", roles[0])]);
    assert_eq!(project.config(), before);
    assert!(project.world().key_pairs.is_empty());
}

#[test]
fn a_file_that_cannot_be_saved_leaves_no_role() {
    let project = Project::new();
    project.account.fault(&json!({ "action": "AddRoleToInstanceProfile", "hang_ms": 60_000 }));
    let setup = project.spawn(&mut project.command("setup-aws", &[FLAG]));
    crate::harness::eventually("the role is made", crate::harness::SOON, || {
        !there(&project.account).1.is_empty()
    });
    let theirs = format!("{}# theirs\n", project.config());
    project.write_config(&theirs);
    project.account.clear_faults();
    setup.wait().fails().says(&["another process", "is undone"]);
    assert_eq!(there(&project.account), (vec![], vec![]));
    assert_eq!(project.config(), theirs);
}

#[test]
fn a_profile_of_the_users_own_is_not_replaced() {
    let project = Project::new();
    project.account.make_profile("own", &[]);
    project.set("worker-defaults.iam-instance-profile", "own");
    let before = project.config();
    let changes = project.account.changes().len();
    project.setup_aws(&[FLAG]).code(2).says(&["`own`", FLAG]);
    assert_eq!(project.config(), before);
    assert_eq!(project.account.changes().len(), changes);

    project.setup_aws(&[]).ok();
    project.cleanup_aws(&["--yes"]).ok();
    let kept = project.value("worker-defaults.iam-instance-profile").unwrap();
    assert_eq!(kept.as_str(), Some("own"));
    assert_eq!(there(&project.account), (vec!["own".to_owned()], vec!["own".to_owned()]));
}

#[test]
fn force_keeps_the_old_profile_for_cleanup() {
    let project = Project::new();
    project.setup_aws(&[FLAG]).ok();
    let first = project.key_name();
    project.setup_aws(&[FLAG]).code(1).says(&["cleanup-aws", &first]);
    assert_eq!(there(&project.account).0.len(), 1);
    project.setup_aws(&[FLAG, "--force"]).ok();
    let second = project.key_name();
    let saved = project.value("worker-defaults.iam-instance-profile").unwrap();
    assert_eq!(saved.as_str(), Some(&*second));
    // Without the flag, the one there is stays in use.
    project.setup_aws(&["--force"]).ok();
    let saved = project.value("worker-defaults.iam-instance-profile").unwrap();
    assert_eq!(saved.as_str(), Some(&*second));
    assert_eq!(there(&project.account).0.len(), 2);

    let listed = project.cleanup_aws(&["--dry-run"]).ok();
    for key_name in [&first, &second] {
        let shown = [format!("IAM role {key_name}"), format!("instance profile {key_name}")];
        assert!(shown.iter().all(|shown| listed.stdout.contains(shown)), "{}", listed.stdout);
    }
    project.cleanup_aws(&["--yes"]).ok();
    assert_eq!(there(&project.account), (vec![], vec![]));
    assert!(project.value("worker-defaults.iam-instance-profile").is_none());
    assert!(project.world().key_pairs.is_empty());
}

#[test]
fn a_profile_without_a_key_pair_is_not_forgotten() {
    let project = Project::new();
    project.setup_aws(&[FLAG]).ok();
    let first = project.key_name();
    project.account.ec2("delete_key_pair", json!({ "KeyName": first }));
    project.setup_aws(&[]).ok().prints(&[&first, "retired"]);
    project.cleanup_aws(&["--yes"]).ok();
    assert_eq!(there(&project.account), (vec![], vec![]));

    // All of it gone by hand: the file names a profile that is not there.
    project.setup_aws(&[FLAG]).ok();
    let third = project.key_name();
    project.account.ec2("delete_key_pair", json!({ "KeyName": third }));
    let both = json!({ "InstanceProfileName": third, "RoleName": third });
    project.account.iam("remove_role_from_instance_profile", both);
    project.account.iam("delete_instance_profile", json!({ "InstanceProfileName": third }));
    project.account.iam("delete_role", json!({ "RoleName": third }));
    project.setup_aws(&[]).ok().says(&["is gone", "worker-defaults.iam-instance-profile"]);
    assert!(project.value("provisioner.retired").is_none());
}

#[test]
fn somebodys_own_role_of_the_same_name_is_kept() {
    let project = Project::with_key_pair_by_hand("mine");
    project.account.make_profile("mine", &[("team", "ci")]);
    project.set("worker-defaults.iam-instance-profile", "mine");
    project
        .cleanup_aws(&["--yes"])
        .ok()
        .prints(&["kept IAM role `mine`", "kept instance profile `mine`"]);
    assert_eq!(there(&project.account), (vec!["mine".to_owned()], vec!["mine".to_owned()]));
    let kept = project.value("worker-defaults.iam-instance-profile").unwrap();
    assert_eq!(kept.as_str(), Some("mine"));
}

#[test]
fn the_profile_of_another_region_is_kept() {
    let project = Project::new();
    project.setup_aws(&["--region", "eu-west-1", "--config", "other.toml", FLAG]).ok();
    let (roles, _) = there(&project.account);
    project.cleanup_aws(&["--yes", "--key-name", &roles[0]]).ok().prints(&["another region"]);
    assert_eq!(there(&project.account), (roles.clone(), roles));
    project.cleanup_aws(&["--yes", "--region", "eu-west-1", "--config", "other.toml"]).ok();
    assert_eq!(there(&project.account), (vec![], vec![]));
}

#[test]
fn policies_on_the_role_are_named_and_nothing_of_it_is_deleted() {
    let project = Project::new();
    project.setup_aws(&[FLAG]).ok();
    let key_name = project.key_name();
    let before = project.config();
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sqs:*","Resource":"*"}]}"#;
    let inline = json!({ "RoleName": key_name, "PolicyName": "queue", "PolicyDocument": policy });
    project.account.iam("put_role_policy", inline);
    let made = json!({ "PolicyName": "more", "PolicyDocument": policy });
    let arn = project.account.iam("create_policy", made)["Policy"]["Arn"].clone();
    let attach = json!({ "RoleName": key_name, "PolicyArn": arn });
    project.account.iam("attach_role_policy", attach.clone());

    project.cleanup_aws(&["--dry-run"]).ok().prints(&["queue", arn.as_str().unwrap()]);
    project.cleanup_aws(&["--yes"]).code(4).says(&[
        &format!("aws iam delete-role-policy --role-name {key_name} --policy-name queue"),
        &format!("aws iam detach-role-policy --role-name {key_name} --policy-arn"),
    ]);
    assert_eq!(there(&project.account), (vec![key_name.clone()], vec![key_name.clone()]));
    assert_eq!(project.config(), before);

    let inline = json!({ "RoleName": key_name, "PolicyName": "queue" });
    project.account.iam("delete_role_policy", inline);
    project.account.iam("detach_role_policy", attach);
    project.cleanup_aws(&["--yes"]).ok();
    assert_eq!(there(&project.account), (vec![], vec![]));
    assert!(project.value("worker-defaults.iam-instance-profile").is_none());
}

#[test]
fn whoever_never_made_one_needs_no_permission_for_iam() {
    let project = Project::new();
    deny(&project.account, &IAM_CALLS);
    let done = project.setup_aws(&["--output", "json"]).ok();
    let done = done.says(&["AccessDenied", "create-service-linked-role"]).json();
    assert_eq!(done["spot_role"], "unknown");
    assert_eq!(done["iam_instance_profile"], Value::Null);
    assert!(done["warnings"][0]["hint"].as_str().unwrap().contains("spot.amazonaws.com"));
    project.cleanup_aws(&["--yes"]).ok().prints(&["note:", "AccessDenied"]);
    assert!(project.value("provisioner.key-name").is_none());
}

#[test]
fn a_profile_that_iam_does_not_let_go_is_left() {
    let project = Project::new();
    project.setup_aws(&[FLAG]).ok();
    let key_name = project.key_name();
    let before = project.config();
    for denied in [&["GetInstanceProfile"][..], &["DeleteInstanceProfile"], &["DeleteRole"]] {
        deny(&project.account, denied);
        let done = project.cleanup_aws(&["--yes"]).fails();
        done.says(&["AccessDenied", &format!("IAM role and instance profile `{key_name}`")]);
        assert_eq!(there(&project.account).0, std::slice::from_ref(&key_name), "{denied:?}");
        assert_eq!(project.config(), before, "{denied:?}");
        project.account.clear_faults();
    }
    // The profile went the last time; the file still names it.
    assert_eq!(there(&project.account).1, Vec::<String>::new());
    project.cleanup_aws(&["--yes"]).ok();
    assert_eq!(there(&project.account), (vec![], vec![]));
    assert!(project.value("worker-defaults.iam-instance-profile").is_none());
}

#[test]
fn a_conflict_that_passes_is_waited_out() {
    let project = Project::new();
    project.setup_aws(&[FLAG]).ok();
    for action in ["DeleteInstanceProfile", "DeleteRole"] {
        project.account.fault(&json!({
            "action": action, "code": "DeleteConflict", "status": 409, "times": 1,
            "message": "Cannot delete entity, must remove roles from instance profile first.",
        }));
    }
    project.cleanup_aws(&["--yes"]).ok();
    assert_eq!(there(&project.account), (vec![], vec![]));
}

#[test]
fn the_spot_role_is_made_once() {
    let project = Project::new();
    let first = project.setup_aws(&["--output", "json"]).ok().json();
    assert_eq!(first["spot_role"], "made");
    assert!(has_spot_role(&project.account));
    let second = project.setup_aws(&["--force", "--output", "json"]).ok().json();
    assert_eq!(second["spot_role"], "exists");
    assert_eq!(project.account.calls_of("CreateServiceLinkedRole").len(), 1);
    // The attempt to create it reveals that it exists, even without the permission to read.
    deny(&project.account, &["GetRole"]);
    let third = project.setup_aws(&["--force", "--output", "json"]).ok().json();
    assert_eq!(third["spot_role"], "exists");
    assert_eq!(third["warnings"], json!([]));
    assert_eq!(project.account.calls_of("CreateServiceLinkedRole").len(), 2);
}

#[test]
fn a_stand_in_may_say_otherwise_that_the_spot_role_is_there() {
    let project = Project::new();
    let not_found = json!({
        "action": "GetRole", "code": "NoSuchEntity", "status": 404, "times": null,
        "message": "Role AWSServiceRoleForEC2Spot not found",
    });
    let taken = json!({
        "action": "CreateServiceLinkedRole", "code": "EntityAlreadyExists", "status": 409,
        "message": "Role with name AWSServiceRoleForspot.amazonaws.com already exists.", "times": null,
    });
    project.account.fault(&not_found);
    project.account.fault(&taken);
    let report = project.setup_aws(&["--output", "json"]).ok().json();
    assert_eq!((&report["spot_role"], &report["warnings"]), (&json!("exists"), &json!([])));
}
