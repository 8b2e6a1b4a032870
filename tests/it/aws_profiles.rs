//! A named profile is binding: its credentials are used whatever the environment holds, or the program fails.

use std::process::Command;

use serde_json::json;

use crate::harness::{Account, Project, REGION};

/// The programs of `project`, with its account's keys in the environment and a file with the profile
/// `other` for those of another account.
struct Two {
    project: Project,
    other: Account,
}

impl Two {
    fn new() -> Self {
        let project = Project::new();
        let other = Account::new();
        let env = other.env();
        let value = |name: &str| {
            let (_, value) = env.iter().find(|(variable, _)| *variable == name).unwrap();
            value.clone()
        };
        let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
            .map(|name| format!("{} = {}\n", name.to_lowercase(), value(name)));
        project.write("credentials", &format!("[other]\n{}", keys.concat()));
        Self { project, other }
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.project.command(program, args);
        command.env("AWS_SHARED_CREDENTIALS_FILE", self.project.work().join("credentials"));
        command
    }
}

#[test]
fn a_named_profile_wins_over_keys_in_the_environment() {
    let two = Two::new();
    let Two { project, other } = &two;
    Project::finish(&mut two.command("setup-aws", &["--profile", "other"])).ok();
    let key_name = project.key_name();
    let account = project.value("aws.account-id").unwrap();
    assert_eq!(account.as_str(), Some(&*other.number));
    assert!(other.world().has_key_pair(&key_name));
    assert!(project.account.calls().is_empty(), "the account of the environment was called");

    project.set("aws.profile", "other");
    Project::finish(&mut two.command("provisionerd", &["run", "--once"])).ok();
    Project::finish(&mut two.command("provisionerd", &["status"])).ok();
    project.unset("aws.profile");

    // `AWS_PROFILE` is weaker than keys beside it, as everywhere.
    let mut command = two.command("cleanup-aws", &["--yes"]);
    command.env("AWS_PROFILE", "other");
    Project::finish(&mut command).code(2).says(&[&project.account.number, &other.number]);

    let mut command = two.command("cleanup-aws", &["--yes"]);
    command.env("PROVISIONER__AWS__PROFILE", "other");
    Project::finish(&mut command).ok();
    assert!(!other.world().has_key_pair(&key_name));
    assert!(project.account.changes().is_empty());
}

#[test]
fn a_profile_may_take_its_credentials_from_a_process_or_a_role() {
    let two = Two::new();
    let Two { project, other } = &two;
    let [_, id, secret, token] = two_keys(project);
    let process = project.write(
        "credentials.json",
        &format!(
            r#"{{"Version": 1, "AccessKeyId": "{id}", "SecretAccessKey": "{secret}", "SessionToken": "{token}"}}"#
        ),
    );
    let config = project.write(
        "config",
        &format!(
            "[profile process]\ncredential_process = cat {}\n\n[profile role]\nrole_arn = \
             arn:aws:iam::{}:role/worker\nsource_profile = other\n\n[profile lost]\nrole_arn = \
             arn:aws:iam::{}:role/worker\nsource_profile = nowhere\n",
            process.display(),
            other.number,
            other.number,
        ),
    );
    let setup = |profile: &str| {
        let mut command = two.command("setup-aws", &["--dry-run", "--profile", profile]);
        command.env("AWS_CONFIG_FILE", &config).env("AWS_REGION", REGION);
        // The environment must not help out.
        command.env("AWS_ACCESS_KEY_ID", "AKIANOBODYKNOWSTHIS0");
        Project::finish(&mut command)
    };
    setup("process").ok();
    // The stand-in does not know the keys it gives out for a role.
    setup("role").code(1);
    assert_eq!(other.calls_of("AssumeRole").len(), 1);
    setup("lost").code(1).says(&["lost", "nowhere"]);
}

/// The header of the credentials file, and its three values.
fn two_keys(project: &Project) -> [String; 4] {
    let text = std::fs::read_to_string(project.work().join("credentials")).unwrap();
    let values = text.lines().map(|line| line.split(" = ").last().unwrap().to_owned());
    values.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn an_unknown_profile_is_refused_before_anything_is_called() {
    let two = Two::new();
    let Two { project, .. } = &two;
    project.setup_aws(&[]).ok();
    let before = project.config();
    let calls = project.account.calls().len();
    let credentials = project.work().join("credentials").display().to_string();
    let words = |origin: &str| {
        [
            origin.to_owned(),
            "`othr`".to_owned(),
            "/dev/null".to_owned(),
            credentials.clone(),
            "did you mean `other`".to_owned(),
        ]
    };
    let refused = |command: &mut Command, origin: &str| {
        let words = words(origin);
        Project::finish(command).code(2).says(&words.each_ref().map(String::as_str));
    };
    for (program, args) in [
        ("cleanup-aws", &["--yes"][..]),
        ("setup-aws", &["--force"]),
        ("provisionerd", &["run", "--once"]),
        ("provisionerd", &["plan"]),
        ("provisionerd", &["status"]),
        ("provisionerd", &["validate"]),
    ] {
        let args: Vec<_> = args.iter().chain(&["--profile", "othr"]).copied().collect();
        refused(&mut two.command(program, &args), "--profile");
    }
    let mut command = two.command("cleanup-aws", &["--yes"]);
    refused(command.env("PROVISIONER__AWS__PROFILE", "othr"), "PROVISIONER__AWS__PROFILE");
    project.set("aws.profile", "othr");
    refused(&mut two.command("cleanup-aws", &["--yes"]), "provisioner.toml:");
    project.write_config(&before);
    assert_eq!(project.account.calls().len(), calls);
    assert!(project.world().has_key_pair(&project.key_name()));
}

#[test]
fn the_region_of_a_profile_is_told_with_its_origin_and_without_credentials() {
    let project = Project::new();
    project.unset("aws.region");
    let config =
        project.write("config", "[default]\nregion = eu-west-3\n[profile b]\nregion = eu-west-1\n");
    let told = |args: &[&str], environment: &[(&str, &str)]| {
        let args: Vec<_> = ["config", "--output", "json"].iter().chain(args).copied().collect();
        let mut command = project.command("provisionerd", &args);
        for variable in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
            command.env_remove(variable);
        }
        command.env("AWS_CONFIG_FILE", &config).envs(environment.iter().copied());
        let shown = Project::finish(&mut command).ok().json();
        let values = shown["values"].as_array().unwrap();
        let row = values.iter().find(|row| row["key"] == "aws.region").unwrap();
        (row["value"].as_str().unwrap().to_owned(), row["origin"].clone())
    };
    let of = |profile: &str, line: usize| json!({ "kind": "aws-profile", "profile": profile, "path": config, "line": line });
    assert_eq!(told(&["--profile", "b"], &[]), ("eu-west-1".to_owned(), of("b", 4)));
    assert_eq!(told(&[], &[("AWS_PROFILE", "b")]), ("eu-west-1".to_owned(), of("b", 4)));
    assert_eq!(told(&[], &[]), ("eu-west-3".to_owned(), of("default", 2)));
    let variable = json!({ "kind": "environment", "variable": "AWS_REGION" });
    let with = told(&["--profile", "b"], &[("AWS_REGION", "us-east-2")]);
    assert_eq!(with, ("us-east-2".to_owned(), variable));
    assert!(project.account.calls().is_empty());
}
