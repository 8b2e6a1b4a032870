//! What a configuration adds to a policy. The tests of the programs show that the policies suffice and allow
//! no more.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::config;

const KEY: &str = "provisioner-test-1";

/// Returns a configuration with a key-name, a region and an account.
fn settings(more: &str) -> Settings {
    let text = format!(
        "[provisioner]\nkey-name = '{KEY}'\n{more}\n[aws]\nregion = 'us-west-2'\n\
         account-id = '123456789012'\n"
    );
    config::parse(&text, Path::new("/")).unwrap().settings
}

/// Returns a configuration with a worker type with these keys.
fn linux(more: &str) -> Settings {
    settings(&worker_type("linux", "ami-1", more))
}

fn worker_type(name: &str, image: &str, more: &str) -> String {
    format!(
        "[worker-types.{name}]\nimage-id = '{image}'\ninstance-types = ['m5.large']\n\
         max-instances = 1\n{more}\n"
    )
}

fn request(program: PolicyProgram, settings: &Settings) -> PolicyRequest<'_> {
    PolicyRequest {
        program,
        settings,
        region: settings.aws.region.as_deref(),
        prefix: KeyName::DEFAULT_PREFIX,
        worker_profile: false,
        key_names: &[],
        worker_roles: &[],
    }
}

fn made(program: PolicyProgram, settings: &Settings) -> IamPolicy {
    policy(&request(program, settings)).unwrap()
}

/// Returns a statement, if the policy has it.
fn find(policy: &IamPolicy, sid: &str) -> Option<Value> {
    let found = policy.policy.statement.iter().find(|statement| statement.sid == sid);
    found.map(|statement| serde_json::to_value(statement).unwrap())
}

fn statement(policy: &IamPolicy, sid: &str) -> Value {
    find(policy, sid).unwrap_or_else(|| panic!("no {sid} in {}", policy.policy.to_text()))
}

fn kinds(policy: &IamPolicy) -> Vec<PolicyWarningKind> {
    policy.warnings.iter().map(|warning| warning.kind).collect()
}

#[test]
fn a_launch_names_what_the_configuration_names() {
    let settings = linux(
        "subnets = ['subnet-1', 'subnet-2']\nsecurity-groups = ['sg-1']\n\
         iam-instance-profile = 'worker'\ntags = { team = 'ci' }\n",
    );
    let run = made(PolicyProgram::Run, &settings);
    let ours = |rest: &str| format!("arn:aws:ec2:us-west-2:123456789012:{rest}");
    assert_eq!(
        statement(&run, "LaunchWith")["Resource"],
        json!([
            "arn:aws:ec2:us-west-2::image/ami-1",
            ours(&format!("key-pair/{KEY}")),
            // They may be shared by another account, whose number is in their ARN.
            "arn:aws:ec2:us-west-2:*:security-group/sg-1",
            "arn:aws:ec2:us-west-2:*:subnet/subnet-1",
            "arn:aws:ec2:us-west-2:*:subnet/subnet-2",
        ])
    );
    let tagged = statement(&run, "LaunchTagged");
    assert_eq!(tagged["Resource"], ours("spot-instances-request/*"));
    assert_eq!(
        tagged["Condition"],
        json!({
            "StringEquals": { "aws:RequestTag/provisioner:key-name": KEY },
            "ForAllValues:StringEquals": { "aws:TagKeys": [
                "Name", "provisioner:intent", "provisioner:key-name", "provisioner:worker-type", "team",
            ] },
        })
    );
    assert_eq!(
        statement(&run, "PassWorkerRole"),
        json!({
            "Sid": "PassWorkerRole", "Effect": "Allow", "Action": "iam:PassRole",
            "Resource": "arn:aws:iam::123456789012:role/worker",
            "Condition": { "StringEquals": { "iam:PassedToService": "ec2.amazonaws.com" } },
        })
    );
    assert!(!kinds(&run).contains(&PolicyWarningKind::Names), "{:#?}", run.warnings);
    for kind in
        [PolicyWarningKind::Shared, PolicyWarningKind::WorkerRights, PolicyWarningKind::Tags]
    {
        assert!(kinds(&run).contains(&kind), "{kind:?}: {:#?}", run.warnings);
    }
    assert!(find(&run, "ReadImageParameters").is_none());
}

#[test]
fn resources_without_ids_are_any_with_a_warning() {
    let more = worker_type("other", "ssm:/ours/image:3", "security-groups = ['workers']\n");
    let more =
        worker_type("linux", "ami-1", "subnets = ['subnet-1']\nsecurity-groups = ['sg-1']\n")
            + &more
            + &worker_type("public", "ssm:/aws/service/x", "");
    let run = made(PolicyProgram::Run, &settings(&more));
    let with = statement(&run, "LaunchWith")["Resource"].to_string();
    for any in ["::image/*", ":subnet/*", ":security-group/*"] {
        assert!(with.contains(any), "{with}");
    }
    assert!(!with.contains("network-interface") && !with.contains("snapshot"), "{with}");
    assert_eq!(
        statement(&run, "ReadImageParameters")["Resource"],
        json!([
            "arn:aws:ssm:us-west-2:*:parameter/aws/service/x",
            "arn:aws:ssm:us-west-2:123456789012:parameter/ours/image",
        ])
    );
    let names =
        run.warnings.iter().find(|warning| warning.kind == PolicyWarningKind::Names).unwrap();
    assert_eq!(names.text, "launches can use any image, any subnet, any security group");
}

#[test]
fn interfaces_and_snapshots_are_launched_with_where_configured() {
    let run = made(
        PolicyProgram::Run,
        &linux(
            "[worker-types.linux.launch-specification]\n\
             NetworkInterfaces = [{ SubnetId = 'subnet-1', Groups = ['sg-1'] }]\n\
             BlockDeviceMappings = [{ DeviceName = '/dev/sdb', Ebs = { SnapshotId = 'snap-1' } }]\n",
        ),
    );
    assert_eq!(
        statement(&run, "LaunchWith")["Resource"],
        json!([
            "arn:aws:ec2:us-west-2::image/ami-1",
            "arn:aws:ec2:us-west-2::snapshot/snap-1",
            format!("arn:aws:ec2:us-west-2:123456789012:key-pair/{KEY}"),
            "arn:aws:ec2:us-west-2:*:security-group/sg-1",
            "arn:aws:ec2:us-west-2:*:subnet/subnet-1",
            "arn:aws:ec2:us-west-2:123456789012:network-interface/*",
        ])
    );
}

#[test]
fn the_role_is_that_behind_the_profile() {
    let roles = |profile: &str, given: &[&str]| {
        let settings = linux(&format!("iam-instance-profile = '{profile}'\n"));
        let worker_roles: Vec<String> = given.iter().map(|role| (*role).to_owned()).collect();
        let request =
            PolicyRequest { worker_roles: &worker_roles, ..request(PolicyProgram::Run, &settings) };
        let made = policy(&request).unwrap();
        let guessed = kinds(&made).contains(&PolicyWarningKind::WorkerRole);
        (statement(&made, "PassWorkerRole")["Resource"].clone(), guessed)
    };
    let role = |name: &str| json!(format!("arn:aws:iam::123456789012:role/{name}"));
    assert_eq!(roles(KEY, &[]), (role(KEY), false), "made by setup-aws");
    assert_eq!(roles(KEY, &["other"]), (role(KEY), false));
    assert_eq!(roles("worker", &[]), (role("worker"), true));
    assert_eq!(roles("worker", &["other"]), (role("other"), false));
    let arn = "arn:aws:iam::123456789012:instance-profile/path/worker";
    assert_eq!(roles(arn, &[]), (role("worker"), true));
    assert_eq!(roles(arn, &["arn:aws:iam::123456789012:role/a/b"]), (role("a/b"), false));
}

#[test]
fn without_a_profile_no_role_is_passed() {
    let run = made(PolicyProgram::Run, &linux(""));
    assert!(find(&run, "PassWorkerRole").is_none());
    assert!(find(&run, "LookAtWorkerProfiles").is_none());
    assert!(!kinds(&run).contains(&PolicyWarningKind::WorkerRights));
}

#[test]
fn foreign_resources_are_excluded_by_their_tags() {
    let run = made(PolicyProgram::Run, &linux(""));
    let tag = json!({ "aws:ResourceTag/provisioner:key-name": KEY });
    assert_eq!(statement(&run, "Cancel")["Condition"], json!({ "StringEquals": tag }));
    assert_eq!(statement(&run, "Terminate")["Condition"], json!({ "StringEqualsIfExists": tag }));
    assert_eq!(statement(&run, "TagInstances")["Condition"]["StringEqualsIfExists"], tag);
    let kept = made(PolicyProgram::Run, &settings("strays = 'keep'\n"));
    assert!(kinds(&run).contains(&PolicyWarningKind::Cancel));
    assert!(!kinds(&kept).contains(&PolicyWarningKind::Cancel));
    assert!(kinds(&kept).starts_with(&[PolicyWarningKind::Terminate, PolicyWarningKind::Launch]));
}

#[test]
fn setup_makes_names_of_one_form() {
    let settings = settings("");
    let pattern = "team-????????-????-4???-????-????????????";
    let request = PolicyRequest { prefix: "team-", ..request(PolicyProgram::Setup, &settings) };
    let setup = policy(&request).unwrap();
    let key_pair = format!("arn:aws:ec2:us-west-2:123456789012:key-pair/{pattern}");
    let make = statement(&setup, "MakeKeyPair");
    assert_eq!(make["Resource"], key_pair);
    assert_eq!(
        make["Condition"]["StringLike"],
        json!({ "aws:RequestTag/provisioner:key-name": pattern })
    );
    assert!(find(&setup, "MakeRole").is_none());
    // Only the earlier key-name is read.
    let earlier = format!("arn:aws:iam::123456789012:role/{KEY}");
    assert_eq!(statement(&setup, "LookAtOwnRole")["Resource"], earlier);

    let setup = policy(&PolicyRequest { worker_profile: true, ..request }).unwrap();
    let role = format!("arn:aws:iam::123456789012:role/{pattern}");
    assert_eq!(statement(&setup, "MakeRole")["Resource"], role);
    assert_eq!(statement(&setup, "PassNewRole")["Resource"], role);
    assert_eq!(statement(&setup, "LookAtOwnRole")["Resource"], json!([earlier, role]));
    assert_eq!(
        statement(&setup, "MakeSpotRole")["Condition"],
        json!({ "StringEquals": { "iam:AWSServiceName": "spot.amazonaws.com" } })
    );
}

#[test]
fn cleanup_covers_what_was_retired_and_what_is_named() {
    let settings = settings(
        "retired = [{ key-name = 'old', region = 'eu-west-1', account-id = '123456789012' }]\n",
    );
    let key_names = [KeyName::from("mine")];
    let cleanup =
        PolicyRequest { key_names: &key_names, ..request(PolicyProgram::Cleanup, &settings) };
    let cleanup = policy(&cleanup).unwrap();
    let delete = statement(&cleanup, "DeleteKeyPair");
    assert_eq!(
        delete["Resource"],
        json!([
            "arn:aws:ec2:eu-west-1:123456789012:key-pair/old",
            "arn:aws:ec2:us-west-2:123456789012:key-pair/mine",
            format!("arn:aws:ec2:us-west-2:123456789012:key-pair/{KEY}"),
        ])
    );
    assert_eq!(
        delete["Condition"]["StringEquals"]["aws:ResourceTag/provisioner:key-name"],
        json!(["mine", "old", KEY])
    );
    assert_eq!(
        statement(&cleanup, "Look")["Condition"]["StringEquals"]["ec2:Region"],
        json!(["eu-west-1", "us-west-2"])
    );
    assert_eq!(
        statement(&cleanup, "DeleteRole")["Resource"],
        json!([
            "arn:aws:iam::123456789012:role/mine",
            "arn:aws:iam::123456789012:role/old",
            format!("arn:aws:iam::123456789012:role/{KEY}"),
        ])
    );
    let run = made(PolicyProgram::Run, &settings);
    assert!(!run.policy.to_text().contains("old"), "the daemon has no business there");
}

#[test]
fn without_a_key_name_there_is_only_a_set_up() {
    let settings = config::parse("", Path::new("/")).unwrap().settings;
    assert_eq!(policy(&request(PolicyProgram::Run, &settings)), Err(NoKeyName));
    assert_eq!(policy(&request(PolicyProgram::Cleanup, &settings)), Err(NoKeyName));
    let setup = policy(&request(PolicyProgram::Setup, &settings)).unwrap();
    let expected = [
        PolicyWarningKind::Undo,
        PolicyWarningKind::Look,
        PolicyWarningKind::Region,
        PolicyWarningKind::Account,
    ];
    assert_eq!(kinds(&setup), expected);
    assert_eq!(statement(&setup, "Look").get("Condition"), None);
    let key_names = [KeyName::from("mine")];
    let cleanup =
        PolicyRequest { key_names: &key_names, ..request(PolicyProgram::Cleanup, &settings) };
    assert!(policy(&cleanup).is_ok());
}

#[test]
fn other_partitions_have_arns_of_their_own() {
    let settings = settings("");
    for (region, partition) in [
        ("us-west-2", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eusc-de-east-1", "aws-eusc"),
    ] {
        let request =
            PolicyRequest { region: Some(region), ..request(PolicyProgram::Run, &settings) };
        let run = policy(&request).unwrap();
        let resource = format!("arn:{partition}:ec2:{region}:123456789012:instance/*");
        assert_eq!(statement(&run, "Terminate")["Resource"], resource);
    }
    let china = linux("iam-instance-profile = 'worker'\n");
    let request =
        PolicyRequest { region: Some("cn-north-1"), ..request(PolicyProgram::Run, &china) };
    let passed = statement(&policy(&request).unwrap(), "PassWorkerRole");
    assert_eq!(
        passed["Condition"]["StringEquals"]["iam:PassedToService"],
        json!(["ec2.amazonaws.com", "ec2.amazonaws.com.cn"])
    );
}

#[test]
fn a_configuration_cannot_smuggle_in_wildcards() {
    let run = made(
        PolicyProgram::Run,
        &linux("iam-instance-profile = 'a*'\ntags = { 'b?${x}' = 'y' }\n"),
    );
    let passed = statement(&run, "PassWorkerRole");
    assert_eq!(passed["Resource"], "arn:aws:iam::123456789012:role/a${*}");
    let text = run.policy.to_text();
    assert!(text.contains("b${?}${$}{x}"), "{text}");
}

#[test]
fn a_policy_that_gets_too_large_allows_all_instead() {
    let subnets = |n: usize| {
        let ids: Vec<String> = (0..n).map(|i| format!("'subnet-{i:017}'")).collect();
        linux(&format!("subnets = [{}]\nsecurity-groups = ['sg-1']\n", ids.join(", ")))
    };
    let run = made(PolicyProgram::Run, &subnets(10));
    assert!(run.policy.size() <= PolicyDocument::MANAGED_LIMIT);
    assert!(!kinds(&run).contains(&PolicyWarningKind::Size));

    // Close to the limit there is a warning.
    let near = (11..).map(|n| made(PolicyProgram::Run, &subnets(n)));
    let near = near.take(200).find(|run| kinds(run).contains(&PolicyWarningKind::Size)).unwrap();
    assert!(statement(&near, "LaunchWith")["Resource"].to_string().contains("subnet-"));

    let run = made(PolicyProgram::Run, &subnets(200));
    assert!(run.policy.size() < PolicyDocument::MANAGED_LIMIT);
    assert!(statement(&run, "LaunchWith")["Resource"].to_string().contains(":subnet/*"));
    let names =
        run.warnings.iter().find(|warning| warning.kind == PolicyWarningKind::Names).unwrap();
    assert!(names.hint.contains("too large"), "{names:?}");

    // A policy that cannot be shortened has a warning.
    let tags: Vec<String> = (0..40).map(|i| format!("'{i:0>60}' = 'x'")).collect();
    let run = made(PolicyProgram::Run, &linux(&format!("tags = {{ {} }}\n", tags.join(", "))));
    let size = run.warnings.iter().find(|warning| warning.kind == PolicyWarningKind::Size).unwrap();
    assert!(size.hint.contains("put-role-policy"), "{size:?}");
}

#[test]
fn only_characters_that_iam_counts_are_counted() {
    let document = made(PolicyProgram::Run, &linux("")).policy;
    assert_eq!(document.size(), serde_json::to_string(&document).unwrap().len());
    assert!(document.to_text().len() > document.size());
}

#[test]
fn statements_have_names_that_iam_takes_and_each_once() {
    for program in [PolicyProgram::Run, PolicyProgram::Setup, PolicyProgram::Cleanup] {
        let settings = linux("iam-instance-profile = 'worker'\n");
        let request = PolicyRequest { worker_profile: true, ..request(program, &settings) };
        let document = policy(&request).unwrap().policy;
        let mut sids: Vec<&str> =
            document.statement.iter().map(|statement| statement.sid).collect();
        let n = sids.len();
        assert!(sids.iter().all(|sid| sid.chars().all(|c| c.is_ascii_alphanumeric())));
        sids.sort_unstable();
        sids.dedup();
        assert_eq!(sids.len(), n);
        assert!(document.statement.iter().all(|statement| statement.effect == "Allow"));
    }
}
