//! `setup-aws`: a key pair in EC2, a key-name in the configuration file, or nothing at all.

use std::fs;

use serde_json::json;

use crate::harness::{Account, IMAGE, Project, REGION, mode};

/// A public key in the format of OpenSSH, without a private key.
pub(crate) const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG6g4HZE534B5JfXBXaADSyW+qee06XXOc0qfDpU7U4p tests\n";

#[test]
fn makes_a_key_pair_and_saves_its_name() {
    let project = Project::new();
    project.setup_aws(&[]).ok();

    let key_name = project.key_name();
    let id = key_name.strip_prefix("provisioner-test-").expect("the default prefix");
    assert_eq!(uuid::Uuid::parse_str(id).expect("a UUID").get_version_num(), 4);
    assert!(key_name.len() <= 64);
    assert_eq!(project.value("aws.region").unwrap().as_str(), Some(REGION));
    assert_eq!(project.value("aws.account-id").unwrap().as_str(), Some(&*project.account.number));

    let pairs = project.account.ec2("describe_key_pairs", json!({ "KeyNames": [key_name] }));
    let pair = &pairs["KeyPairs"][0];
    assert_eq!(pair["KeyType"], "ed25519");
    assert_eq!(pair["Tags"], json!([{ "Key": "provisioner:key-name", "Value": key_name }]));

    let pem = format!("{key_name}.pem");
    assert_eq!(project.files(), {
        let mut files = vec![pem.clone(), "provisioner.toml".to_owned()];
        files.sort();
        files
    });
    assert_eq!(mode(&project.work().join(&pem)), 0o600);
    assert!(fs::read_to_string(project.work().join(&pem)).unwrap().contains("PRIVATE KEY"));
    assert!(project.ledger_dir().is_dir(), "an empty ledger");
}

#[test]
fn makes_an_rsa_key_pair_for_windows() {
    let project = Project::new();
    project.setup_aws(&["--key-type", "rsa"]).ok();
    let key_name = project.key_name();
    let pairs = project.account.ec2("describe_key_pairs", json!({ "KeyNames": [key_name] }));
    assert_eq!(pairs["KeyPairs"][0]["KeyType"], "rsa");
    let pem = project.work().join(format!("{key_name}.pem"));
    assert!(fs::read_to_string(pem).unwrap().contains("RSA PRIVATE KEY"));

    project.write("id.pub", PUBLIC_KEY);
    let both = ["--public-key", "id.pub", "--key-type", "rsa"];
    project.setup_aws(&both).code(2).says(&["--key-type"]);
}

#[test]
fn leaves_everything_else_in_the_file_as_it_was() {
    let project = Project::new();
    let before = format!(
        "# top\n\n[worker-types.z]   # odd spacing\nimage-id   = \"{IMAGE}\"\n\
         instance-types = [ \"m5.large\",  ]\n\n# aws comes last\n[aws]\n# the region\nregion = '{REGION}'  # here\n"
    );
    project.write_config(&before);
    project.setup_aws(&[]).ok();
    let after = project.config();
    let mut rest = after.lines();
    for line in before.lines() {
        assert!(rest.any(|other| other == line), "{line:?} is gone or moved in\n{after}");
    }
}

#[test]
fn makes_the_file_if_there_is_none() {
    let project = Project::new();
    fs::remove_file(project.config_path()).unwrap();
    project.setup_aws(&["--region", "eu-west-1"]).ok();
    assert_eq!(project.value("aws.region").unwrap().as_str(), Some("eu-west-1"));
    assert!(project.account.world_in("eu-west-1").has_key_pair(&project.key_name()));
    assert!(project.world().key_pairs.is_empty());
}

#[test]
fn works_on_the_file_it_is_told() {
    let project = Project::new();
    let elsewhere = project.write("other.toml", &project.config());
    let before = project.config();
    project.setup_aws(&["--config", elsewhere.to_str().unwrap()]).ok();
    assert_eq!(project.config(), before);
    assert!(fs::read_to_string(elsewhere).unwrap().contains("key-name"));
}

#[test]
fn without_a_region_nothing_is_made() {
    let project = Project::new();
    project.unset("aws.region");
    let before = project.config();
    project.setup_aws(&[]).code(2).says(&["region"]);
    assert_eq!(project.config(), before);
    assert!(project.account.changes().is_empty());
}

#[test]
fn imports_a_public_key() {
    let project = Project::new();
    project.write("id.pub", PUBLIC_KEY);
    project.setup_aws(&["--public-key", "id.pub"]).ok();
    let key_name = project.key_name();
    let world = project.world();
    assert_eq!(world.key_pairs.len(), 1);
    assert_eq!(world.key_pairs[0].tags["provisioner:key-name"], key_name);
    assert_eq!(project.files(), ["id.pub", "provisioner.toml"]);
    assert_eq!(project.account.calls_of("ImportKeyPair").len(), 1);
}

#[test]
fn a_bad_public_key_changes_nothing() {
    let project = Project::new();
    let before = project.config();
    project.write("id.pub", "hello\n");
    project.setup_aws(&["--public-key", "id.pub"]).fails();
    project.setup_aws(&["--public-key", "missing.pub"]).fails().says(&["missing.pub"]);
    assert_eq!(project.config(), before);
    assert!(project.world().key_pairs.is_empty());
}

#[test]
fn the_prefix_can_be_chosen_within_limits() {
    let project = Project::new();
    for bad in ["a b", "a/b", &"x".repeat(29)] {
        project.setup_aws(&["--prefix", bad]).code(2);
    }
    assert!(project.account.changes().is_empty());
    project.setup_aws(&["--prefix", "team+ci="]).ok();
    assert!(project.key_name().starts_with("team+ci="));
}

#[test]
fn a_dry_run_changes_nothing() {
    let project = Project::new();
    let before = project.config();
    project.setup_aws(&["--dry-run"]).ok();
    assert_eq!(project.config(), before);
    assert_eq!(project.files(), ["provisioner.toml"]);
    assert!(project.account.changes().is_empty());
}

#[test]
fn says_what_it_did_as_json() {
    let project = Project::new();
    let said = project.setup_aws(&["--output", "json"]).ok();
    said.json();
    assert!(said.stdout.contains(&project.key_name()));
}

#[test]
fn refuses_to_forget_a_key_pair() {
    let project = Project::set_up();
    let before = project.config();
    let key_name = project.key_name();
    let calls = project.account.changes().len();
    project.setup_aws(&[]).code(1).says(&["cleanup-aws", &key_name]);
    assert_eq!(project.config(), before);
    assert_eq!(project.account.changes().len(), calls);
}

#[test]
fn refuses_while_a_machine_or_a_request_is_left() {
    let project = Project::set_up();
    let key_name = project.key_name();
    let machine = project.account.add_instances(&json!({ "key_name": key_name })).remove(0);
    project.account.ec2("delete_key_pair", json!({ "KeyName": key_name }));
    project.setup_aws(&[]).code(1).says(&["cleanup-aws", &key_name]);

    project.account.to_instances(&json!({ "do": "terminate", "ids": [machine] }));
    project.account.rules(&json!({ "spot": "held" }));
    let request = project.account.add_requests(&json!({ "key_name": key_name })).remove(0);
    project.setup_aws(&[]).code(1).says(&["cleanup-aws", &key_name]);
    assert_eq!(project.key_name(), key_name);

    project.account.to_requests(&json!({ "do": "close", "ids": [request] }));
    project.setup_aws(&[]).ok();
    assert_ne!(project.key_name(), key_name, "nothing was left, so it is replaced");
    assert!(project.value("provisioner.retired").is_none());
}

#[test]
fn force_keeps_the_old_name_for_cleanup() {
    let project = Project::set_up();
    let first = project.key_name();
    project.setup_aws(&["--force"]).ok();
    let second = project.key_name();
    assert_ne!(first, second);
    project.setup_aws(&["--force"]).ok();
    let retired = project.value("provisioner.retired").unwrap();
    let retired: Vec<_> = retired.as_array().unwrap().iter().collect();
    assert_eq!(retired.len(), 2);
    for (entry, key_name) in retired.iter().zip([&first, &second]) {
        assert_eq!(entry["key-name"].as_str(), Some(&**key_name));
        assert_eq!(entry["region"].as_str(), Some(REGION));
        assert_eq!(entry["account-id"].as_str(), Some(&*project.account.number));
        assert!(project.world().has_key_pair(key_name));
    }
}

#[test]
fn looks_for_the_old_name_in_its_own_region() {
    let project = Project::new();
    fs::remove_file(project.config_path()).unwrap();
    project.setup_aws(&["--region", "eu-west-1"]).ok();
    let key_name = project.key_name();
    project.setup_aws(&["--region", REGION]).fails();
    assert_eq!(project.key_name(), key_name);
    assert!(project.account.world_in("eu-west-1").has_key_pair(&key_name));
    assert!(project.world().key_pairs.is_empty());
}

#[test]
fn another_account_is_refused() {
    let project = Project::set_up();
    let before = project.config();
    let stranger = Account::new();
    let mut command = project.command("setup-aws", &[]);
    command.envs(stranger.env());
    Project::finish(&mut command).code(2).says(&[&project.account.number, &stranger.number]);
    assert_eq!(project.config(), before);
    assert!(stranger.changes().is_empty());
}

#[test]
fn refusals_change_nothing_and_show_the_code() {
    let project = Project::new();
    let before = project.config();
    for action in ["CreateKeyPair", "ImportKeyPair"] {
        project.account.fault(&json!({
            "action": action, "code": "UnauthorizedOperation", "status": 403, "times": null,
            "message": "You are not authorized to perform this operation.",
        }));
    }
    project.setup_aws(&[]).code(1).says(&["UnauthorizedOperation"]);
    assert_eq!(project.config(), before);
    assert_eq!(project.files(), ["provisioner.toml"]);
    assert!(project.world().key_pairs.is_empty());
}

#[test]
fn wrong_credentials_are_named() {
    let project = Project::new();
    let mut command = project.command("setup-aws", &[]);
    command.env("AWS_ACCESS_KEY_ID", "AKIANOBODYKNOWSTHIS0");
    Project::finish(&mut command).code(1).says(&["credentials"]);
    let mut command = project.command("setup-aws", &[]);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        command.env_remove(name);
    }
    Project::finish(&mut command).fails().says(&["credentials"]);
    assert_eq!(project.files(), ["provisioner.toml"]);
}

#[test]
fn a_lost_answer_leaves_nothing_unnamed() {
    let project = Project::new();
    let before = project.config();
    project.account.fault(&json!({ "action": "CreateKeyPair", "after": "applied", "drop": true }));
    let done = project.setup_aws(&[]);
    let pairs = project.world().key_pairs;
    if project.config() == before {
        let done = done.fails();
        assert!(
            pairs.iter().all(|pair| done.stderr.contains(&pair.name)),
            "{pairs:?}\n{}",
            done.stderr
        );
    } else {
        let key_name = project.key_name();
        done.ok();
        assert_eq!(pairs.iter().map(|pair| &pair.name).collect::<Vec<_>>(), [&key_name]);
        assert!(project.work().join(format!("{key_name}.pem")).exists());
    }
}

#[test]
fn a_set_up_that_was_killed_is_named_by_the_next_and_a_second_at_once_is_refused() {
    let project = Project::new();
    // The key pair is made, and the answer does not come.
    project.account.fault(
        &json!({ "action": "CreateKeyPair", "after": "applied", "hang_ms": 60_000, "drop": true }),
    );
    let mut killed = project.spawn(&mut project.command("setup-aws", &[]));
    killed.until("the key pair is made", || !project.world().key_pairs.is_empty());
    let left = project.world().key_pairs[0].name.clone();
    project.setup_aws(&[]).code(1).says(&["another setup-aws"]);
    killed.kill();
    project.setup_aws(&[]).ok().says(&["was killed", &left, "cleanup-aws"]);
    assert_ne!(project.key_name(), left);
    assert!(project.config().contains(&left), "it is retired");
    assert!(!project.files().iter().any(|name| {
        std::path::Path::new(name).extension().is_some_and(|extension| extension == "setup")
    }));
    project.cleanup_aws(&["--yes"]).ok();
    assert!(project.world().key_pairs.is_empty());
}

#[test]
fn a_file_that_cannot_be_written_leaves_no_key_pair() {
    let project = Project::new();
    project.setup_aws(&["--config", "nowhere/provisioner.toml", "--region", REGION]).fails();
    fs::remove_file(project.config_path()).unwrap();
    fs::create_dir(project.config_path()).unwrap();
    project.setup_aws(&["--region", REGION]).fails();
    assert!(project.world().key_pairs.is_empty());
    assert_eq!(project.files(), ["provisioner.toml"]);
}

#[test]
fn a_broken_file_is_left_alone() {
    let project = Project::new();
    project.write_config("[provisioner\n");
    project.setup_aws(&["--region", REGION]).code(2).says(&["provisioner.toml"]);
    assert_eq!(project.config(), "[provisioner\n");
    assert!(project.account.changes().is_empty());
}
