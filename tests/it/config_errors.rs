//! Configuration that is wrong: exit 2, the file and the place and the fix, and no call to AWS.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::harness::Project;

/// Asserts that every program that would use it refuses this configuration.
#[track_caller]
fn is_refused(project: &Project, words: &[&str]) {
    let before = project.account.calls().len();
    for args in [&["run", "--once"][..], &["plan"], &["validate"]] {
        project.provisionerd(args).code(2).says(words);
    }
    assert_eq!(project.account.calls().len(), before, "AWS was called");
    assert!(project.queue.requests().is_empty(), "the queue was called");
}

/// A project with a key-name, though not in AWS: nothing here may get so far.
fn offline() -> Project {
    let project = Project::new();
    project.set("provisioner.key-name", "provisioner-test-offline");
    project.set("aws.account-id", project.account.number.as_str());
    project
}

#[test]
fn broken_toml() {
    let project = offline();
    project.write_config(&format!("{}\n[worker-types.linux\n", project.config()));
    let line = project.config().lines().count();
    is_refused(&project, &["provisioner.toml", &line.to_string()]);
}

#[test]
fn unknown_keys_with_the_nearest_known() {
    let project = offline();
    for (key, nearest) in [
        ("worker-types.linux.max-instnces", "max-instances"),
        ("provisioner.intervall", "interval"),
        ("queue.prot", "port"),
        ("limits.max-usd-per-huor", "max-usd-per-hour"),
    ] {
        let before = project.config();
        project.set(key, 7);
        is_refused(&project, &["provisioner.toml", key.rsplit('.').next().unwrap(), nearest]);
        project.write_config(&before);
    }
    project.set("worker-type.linux.image-id", "ami-1");
    is_refused(&project, &["worker-type", "worker-types"]);
}

#[test]
fn wrong_types_and_values() {
    let project = offline();
    let cases: [(&str, toml::Value); 9] = [
        ("worker-types.linux.max-instances", "many".into()),
        ("worker-types.linux.max-instances", (-1).into()),
        ("worker-types.linux.instance-types", "m5.large".into()),
        ("worker-types.linux.max-price", (-0.1).into()),
        ("provisioner.interval", "soon".into()),
        ("provisioner.strays", "shoot".into()),
        ("queue.port", 70_000.into()),
        ("queue.running", "perhaps".into()),
        ("worker-types.linux.launch", "rocket".into()),
    ];
    for (key, value) in cases {
        let before = project.config();
        project.set(key, value);
        is_refused(&project, &[key.rsplit('.').next().unwrap()]);
        project.write_config(&before);
    }
}

#[test]
fn contradictions() {
    let project = offline();
    project.set("worker-types.linux.min-instances", 30);
    is_refused(&project, &["min-instances", "max-instances", "linux"]);
}

#[test]
fn a_worker_type_without_an_image() {
    let project = offline();
    project.unset("worker-types.linux.image-id");
    is_refused(&project, &["linux", "image-id"]);
}

#[test]
fn a_worker_type_without_instance_types() {
    let project = offline();
    project.set("worker-types.linux.instance-types", toml::Value::Array(Vec::new()));
    is_refused(&project, &["linux", "instance-types"]);
}

#[test]
fn a_worker_type_with_an_impossible_name() {
    let project = offline();
    let linux = project.value("worker-types.linux").unwrap();
    project.set("worker-types.Big_Linux", linux);
    is_refused(&project, &["Big_Linux"]);
}

#[test]
fn two_worker_types_with_the_same_alias() {
    let project = offline();
    project.add_worker_type("other");
    for name in ["linux", "other"] {
        project.set(&format!("worker-types.{name}.aliases"), vec!["same"]);
    }
    is_refused(&project, &["same"]);
}

#[test]
fn an_absent_key_name() {
    let project = Project::new();
    for args in [&["run", "--once"][..], &["run"], &["plan"]] {
        project.provisionerd(args).code(2).says(&["key-name", "setup-aws"]);
    }
    assert!(project.account.calls().is_empty());
}

#[test]
fn user_data_that_is_too_long() {
    let project = offline();
    project.set("worker-types.linux.user-data", "x".repeat(16_385));
    is_refused(&project, &["user-data"]);
}

#[test]
fn a_template_with_an_unknown_name() {
    let project = offline();
    project.set("worker-types.linux.user-data", "key ${{ key_nmae }}");
    project.set("worker-types.linux.user-data-template", true);
    is_refused(&project, &["key_nmae"]);
}

#[test]
fn a_launch_specification_with_something_else() {
    let project = offline();
    project.set("worker-types.linux.launch-specification.KeyName", "other");
    is_refused(&project, &["KeyName"]);
}

#[test]
fn missing_files() {
    let project = offline();
    project.set("worker-types.linux.user-data-file", "nowhere.sh");
    is_refused(&project, &["nowhere.sh"]);
    project
        .provisionerd(&["run", "--once", "--config", "absent.toml"])
        .code(2)
        .says(&["absent.toml"]);
    // This also holds with a given key-name, because a missing file cannot be the one to edit.
    for more in [&[][..], &["--key-name", "mine", "--region", "us-west-2"]] {
        let args = [&["--yes", "--config", "absent.toml"], more].concat();
        project.cleanup_aws(&args).code(2).says(&["absent.toml: cannot be read"]);
    }
    assert!(project.account.calls().is_empty());
}

#[test]
fn usage_errors() {
    let project = offline();
    for program in ["setup-aws", "cleanup-aws", "provisionerd"] {
        project.run(program, &["--no-such-flag"]).code(2);
        assert!(project.run(program, &["--help"]).ok().stdout.contains("--config"));
        let version = project.run(program, &["--version"]).ok().stdout;
        assert_eq!(version, format!("{program} {}\n", provisioner_cli::VERSION));
    }
    project.provisionerd(&["runn"]).code(2).says(&["run"]);
    project.provisionerd(&[]).code(2);
    assert!(project.account.calls().is_empty());
}

#[test]
fn a_good_configuration_is_called_good_offline() {
    let project = offline();
    project.provisionerd(&["validate"]).ok();
    assert!(project.account.calls().is_empty());
}

#[test]
fn a_worker_type_that_can_never_launch_is_an_error_and_other_limits_are_doubted() {
    let project = offline();
    let verdict = |code| project.provisionerd(&["validate", "--output", "json"]).code(code).json();
    let said = |verdict: &Value, key: &str| {
        let found = verdict[key].as_array().unwrap().iter();
        found.map(|one| one["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    project.set("limits.max-usd-per-day", 5.0);
    project.set("limits.max-instances", 3);
    project.set("worker-types.linux.min-instances", 2);
    assert_eq!(said(&verdict(0), "warnings"), Vec::<String>::new());
    project.add_worker_type("other");
    project.unset("worker-types.other.max-price");
    let verdict = verdict(2);
    let [price] = said(&verdict, "problems").try_into().unwrap();
    assert!(price.contains("`other`") && price.contains("limits.max-usd-per-day"), "{price}");
    let [minimum] = said(&verdict, "warnings").try_into().unwrap();
    assert!(minimum.contains("is 4,") && minimum.contains("is 3"), "{minimum}");
}

#[test]
fn the_environment_wins_over_the_file_and_the_command_line_over_both() {
    let project = offline();
    let mut command = project
        .command("provisionerd", &["config", "--output", "json", "--region", "eu-central-1"]);
    command
        .env("PROVISIONER__WORKER_TYPES__LINUX__MAX_INSTANCES", "7")
        .env("PROVISIONER__AWS__REGION", "eu-west-1")
        .env("PROVISIONER__QUEUE__VERSION", "9");
    let shown = Project::finish(&mut command).ok();
    shown.json();
    for word in ["eu-central-1", "PROVISIONER__QUEUE__VERSION", "provisioner.toml"] {
        assert!(shown.stdout.contains(word), "{word} in\n{}", shown.stdout);
    }
    let mut command = project.command("provisionerd", &["validate"]);
    command.env("PROVISIONER__WORKER_TYPES__LINUX__MAX_INSTNCES", "7");
    Project::finish(&mut command).code(2).says(&["PROVISIONER__WORKER_TYPES__LINUX__MAX_INSTNCES"]);
}

#[test]
fn the_users_own_file_comes_after_the_local_one() {
    let project = offline();
    let dir = project.xdg_config().join("provisioner");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("provisioner.toml"), "[queue]\nversion = \"7.7.7\"\nport = 1\n").unwrap();
    let shown = project.provisionerd(&["config", "--output", "json"]).ok().stdout;
    assert!(shown.contains("7.7.7"), "{shown}");
    assert!(shown.contains(&project.queue.port().to_string()), "{shown}");
    let told = project
        .provisionerd(&["config", "--config", "provisioner.toml", "--output", "json"])
        .ok()
        .stdout;
    assert!(!told.contains("7.7.7"), "--config replaces the three files: {told}");
}

#[test]
fn a_local_file_that_others_may_write_is_not_trusted() {
    let project = offline();
    fs::set_permissions(project.config_path(), fs::Permissions::from_mode(0o666)).unwrap();
    let said = project.provisionerd(&["run", "--once"]).code(2);
    assert!(said.stderr.contains("provisioner.toml"), "{}", said.stderr);
    assert!(project.account.calls().is_empty());
}

#[test]
fn the_effective_configuration_hides_secrets() {
    let project = offline();
    project.write("token", "s3cret-token");
    project.set("queue.token-file", "token");
    project.set("queue.url", "https://user:hunter2@queue.example.com/v1");
    let shown = project.provisionerd(&["config"]);
    for hidden in ["s3cret-token", "hunter2"] {
        assert!(!shown.stdout.contains(hidden) && !shown.stderr.contains(hidden), "{shown:?}");
    }
}
