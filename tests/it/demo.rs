//! The demonstration, looked at from outside while it runs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Daemon, Finished, Project, SOON, eventually, get, post};
use crate::readme::blocks_of_section;

/// Starts it with a door, in fast motion; returns the endpoint.
fn start(project: &Project) -> (Daemon, String) {
    start_at(project, "60")
}

fn start_at(project: &Project, speed: &str) -> (Daemon, String) {
    let args = ["demo", "--speed", speed, "--for", "24h", "--serve-ec2", "0"];
    let mut demo = project.spawn(&mut project.command("provisionerd", &args));
    demo.until_it_says("describe-instances");
    let said = demo.said();
    let (_, rest) = said.split_once("--endpoint-url ").expect("a line to type");
    let endpoint = rest.split_whitespace().next().expect("an endpoint").to_owned();
    // Nothing beside it that is copied along.
    assert!(said.lines().any(|line| line.trim() == endpoint), "{said}");
    (demo, endpoint)
}

#[test]
fn boto3_and_our_programs_see_and_touch_the_running_demonstration() {
    let project = Project::new();
    let (demo, endpoint) = start(&project);
    let ask = |service: &str, call: &str, with: Value| {
        let answer = project.account.boto3_at(&endpoint, service, call, with);
        answer.unwrap_or_else(|error| panic!("{call}: {error:?}"))
    };
    let in_state = |state: &str| -> Vec<String> {
        let filter = json!([{ "Name": "instance-state-name", "Values": [state] }]);
        let seen = ask("ec2", "describe_instances", json!({ "Filters": filter }));
        let reservations = seen["Reservations"].as_array().expect("reservations").clone();
        let instances = reservations
            .iter()
            .flat_map(|reservation| reservation["Instances"].as_array().unwrap());
        instances.map(|instance| instance["InstanceId"].as_str().unwrap().to_owned()).collect()
    };
    eventually("an instance runs", SOON, || !in_state("running").is_empty());
    let id = in_state("running").remove(0);
    assert!(id.starts_with("i-sim"), "none that AWS issues: {id}");
    ask("ec2", "terminate_instances", json!({ "InstanceIds": [id] }));
    eventually("it is terminated", SOON, || in_state("terminated").contains(&id));

    let requests = ask("ec2", "describe_spot_instance_requests", json!({}));
    assert!(requests["SpotInstanceRequests"].as_array().is_some_and(|list| list.len() > 1));
    assert_eq!(ask("sts", "get_caller_identity", json!({}))["Account"], "000000000000");
    let wrong = json!({ "InstanceIds": ["i-0123456789abcdef0"] });
    let error = project.account.boto3_at(&endpoint, "ec2", "terminate_instances", wrong);
    assert_eq!(error.unwrap_err().code, "InvalidInstanceID.NotFound");

    project.set("provisioner.key-name", "provisioner-test-sim");
    project.set("aws.account-id", "000000000000");
    let mut cleanup = project.command("cleanup-aws", &["--dry-run"]);
    let listed = Project::finish(cleanup.env("AWS_ENDPOINT_URL", &endpoint)).ok();
    assert!(
        listed.stdout.contains("i-sim") && listed.stdout.contains("sir-sim"),
        "{}",
        listed.stdout
    );
    demo.stop();
}

#[test]
fn a_key_name_is_made_and_removed_again_in_the_demonstration() {
    let project = Project::new();
    let (demo, endpoint) = start(&project);
    let run = |program: &str, args: &[&str]| {
        let mut command = project.command(program, args);
        Project::finish(command.env("AWS_ENDPOINT_URL", &endpoint).env("AWS_REGION", "us-west-2"))
            .ok()
    };
    run("setup-aws", &[]);
    let key_name = project.key_name();
    assert_eq!(project.value("aws.account-id").unwrap().as_str(), Some("000000000000"));
    let pairs = || {
        let pairs = project.account.boto3_at(&endpoint, "ec2", "describe_key_pairs", json!({}));
        pairs.unwrap_or_else(|error| panic!("{error:?}"))["KeyPairs"].to_string()
    };
    assert!(pairs().contains(&key_name));
    run("cleanup-aws", &["--yes"]);
    assert!(!pairs().contains(&key_name));
    assert!(project.value("provisioner.key-name").is_none(), "{}", project.config());
    demo.stop();
}

#[test]
fn its_worker_types_are_such_as_aws_could_launch() {
    let project = Project::new();
    let (demo, endpoint) = start(&project);
    project.set("provisioner.key-name", "provisioner-test-sim");
    project.set("aws.account-id", "000000000000");
    project.add_worker_type("gpu");
    for (name, image, types) in [
        ("linux", "ami-1", ["c7g.large", "m7g.large"]),
        ("gpu", "ami-gpu", ["g5.xlarge", "g4dn.xlarge"]),
    ] {
        project.set(&format!("worker-types.{name}.image-id"), image);
        let types = types.map(toml::Value::from).to_vec();
        project.set(&format!("worker-types.{name}.instance-types"), types);
        project.set(&format!("worker-types.{name}.max-price"), 0.9);
    }
    let mut validate = project.command("provisionerd", &["validate", "--aws", "--output", "json"]);
    let verdict = Project::finish(validate.env("AWS_ENDPOINT_URL", &endpoint)).json();
    let findings = verdict["findings"].as_array().expect("findings").iter();
    let wrong: Vec<_> = findings.filter(|finding| !finding["worker_type"].is_null()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for kind in ["image", "instance-type", "price", "launch"] {
        let checked = verdict["checked"].as_array().expect("what was checked").iter();
        let of_types: Vec<_> = checked
            .filter(|checked| checked["kind"] == kind)
            .map(|checked| &checked["worker_type"])
            .collect();
        assert!(["gpu", "linux"].iter().all(|name| of_types.contains(&&Value::from(*name))));
    }
    demo.stop();
}

#[test]
fn a_port_that_is_taken_is_said_with_a_way_out() {
    let project = Project::new();
    let (_demo, endpoint) = start(&project);
    let port = endpoint.rsplit(':').next().unwrap();
    project.provisionerd(&["demo", "--serve-ec2", port]).code(1).says(&[port, "--serve-ec2 0"]);
}

/// A user's terminal beside the served demonstration: an empty directory, the variables that the demonstration
/// prints, and our programs on the path.
struct Terminal<'a> {
    project: &'a Project,
    variables: Vec<(String, String)>,
}

impl Terminal<'_> {
    fn beside<'a>(project: &'a Project, said: &str) -> Terminal<'a> {
        std::fs::remove_file(project.config_path()).unwrap();
        let exports = said.lines().filter_map(|line| line.trim().strip_prefix("export "));
        let variables = exports.flat_map(str::split_whitespace).map(|assigned| {
            let (name, value) = assigned.split_once('=').expect("NAME=value");
            (name.to_owned(), value.to_owned())
        });
        let mut variables: Vec<_> = variables.collect();
        assert_eq!(variables.len(), 5, "{said}");
        let programs = Path::new(env!("CARGO_BIN_EXE_provisionerd")).parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        variables.push(("PATH".to_owned(), format!("{}:{path}", programs.display())));
        Terminal { project, variables }
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.project.command(program, args);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Types a line.
    fn sh(&self, line: &str) -> Finished {
        // What the test harness sets for `provisionerd` holds for `sh` too.
        let like = self.command("provisionerd", &[]);
        let mut shell = Command::new("sh");
        shell.args(["-euc", line]).current_dir(self.project.work()).env_clear();
        shell.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Project::finish(&mut shell)
    }

    /// How many machines of `linux` there are.
    fn machines(&self) -> u64 {
        let mut status = self.command("provisionerd", &["status", "-o", "json"]);
        let status = Project::finish(&mut status).ok().json();
        let count = |key: &str| status["worker_types"][0][key].as_u64().unwrap();
        count("booting") + count("busy") + count("idle")
    }
}

/// The section "With real AWS", typed line by line, as the README has it.
#[test]
fn the_commands_of_the_readme_can_be_walked_in_it() {
    let project = Project::new();
    let (demo, endpoint) = start_at(&project, "1");
    let said = demo.said();
    let terminal = Terminal::beside(&project, &said);
    let has_aws = Command::new("aws").arg("--version").output().is_ok();
    let (_, rest) = said.split_once("<<'END'\n").expect("a configuration");
    let (printed, _) = rest.split_once("END\n").expect("its end");
    // Indented for reading.
    let printed: Vec<_> = printed.lines().map(str::trim_start).collect();
    let port = endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let add = |count: u32| {
        let task = json!({ "workerType": "linux", "count": count, "seconds": 600 });
        let added = post(port, "/0.1.0/jobs", &task.to_string()).unwrap();
        let is_added = added.body.starts_with(&format!("{count} added; "));
        assert!(added.status == 200 && is_added, "{}", added.body);
    };
    assert_eq!(get(port, "/0.1.0/jobs").unwrap().status, 400, "of which state?");

    let mut typed = Vec::new();
    for block in blocks_of_section("With real AWS", "sh") {
        let block = block.replace("\\\n", " ");
        let (variables, lines): (Vec<_>, Vec<_>) =
            block.lines().partition(|line| line.starts_with("KEY="));
        for line in lines {
            let line = line.split(" #").next().unwrap_or_default().trim();
            typed.push(line.to_owned());
            match line.split_whitespace().next().unwrap_or_default() {
                "cargo" => assert!(line.starts_with("cargo install"), "{line}"),
                "aws" if !has_aws => eprintln!("skipped: {line}: the AWS CLI is not installed"),
                "aws" | "setup-aws" | "cleanup-aws" | "provisionerd" => {
                    if line == "provisionerd run" {
                        let mut run = terminal.command("provisionerd", &["run"]);
                        let mut daemon = project.spawn(&mut run);
                        add(1);
                        daemon.until("the third machine is there", || terminal.machines() == 3);
                        daemon.signal("INT");
                        daemon.wait().ok();
                        continue;
                    }
                    terminal.sh(&[&variables.join("\n"), "\n", line].concat()).ok();
                }
                _ => panic!("the README has a line that this test does not know: {line}"),
            }
            if line.starts_with("setup-aws") {
                // Step 2, with the image and the queue of the demonstration.
                project.write_config(&format!("{}\n{}\n", project.config(), printed.join("\n")));
                add(2);
                terminal.sh("provisionerd plan").ok().prints(&["2 tasks wait"]);
            } else if line == "provisionerd run --once" {
                let limit = Duration::from_secs(100);
                eventually("both are there", limit, || terminal.machines() == 2);
            }
        }
    }
    for wanted in ["provisionerd validate --aws", "provisionerd iam-policy", "cleanup-aws --yes"] {
        assert!(typed.iter().any(|line| line == wanted), "{typed:?}");
    }
    assert!(project.value("provisioner.key-name").is_none(), "{}", project.config());
    demo.stop();
}

/// What "With real AWS" mentions in its text, and what needs IAM and SSM.
#[test]
fn a_worker_profile_and_an_image_parameter_work_in_it() {
    let project = Project::new();
    let (demo, _) = start_at(&project, "1");
    let terminal = Terminal::beside(&project, &demo.said());
    terminal.sh("setup-aws --with-worker-profile").ok();
    let parameter = "ssm:/aws/service/ami-amazon-linux-latest/al2023-arm64";
    project.set("worker-types.linux.image-id", parameter);
    project.set("worker-types.linux.instance-types", vec![toml::Value::from("c7g.large")]);
    project.set("worker-types.linux.max-price", 0.08);
    project.set("worker-types.linux.max-instances", 2);
    terminal.sh("provisionerd validate --aws").ok();
    terminal.sh("cleanup-aws --yes").ok();
    assert!(project.value("provisioner.key-name").is_none(), "{}", project.config());
    demo.stop();
}

#[test]
fn what_it_does_not_have_is_refused_as_by_ec2() {
    let project = Project::new();
    let (demo, endpoint) = start(&project);
    let launch = |image: &str, instance_type: &str| {
        let specification = json!({ "ImageId": image, "InstanceType": instance_type });
        let with = json!({ "InstanceCount": 1, "LaunchSpecification": specification });
        let answer = project.account.boto3_at(&endpoint, "ec2", "request_spot_instances", with);
        answer.map_err(|error| error.code)
    };
    assert_eq!(launch("ami-none", "c7g.large").unwrap_err(), "InvalidAMIID.NotFound");
    assert_eq!(launch("ami-1", "x9.large").unwrap_err(), "InvalidParameterValue");
    launch("ami-1", "c7g.large").unwrap();
    let parameter = json!({ "Name": "/aws/service/ami-amazon-linux-latest/al2023-arm64" });
    let parameter = project.account.boto3_at(&endpoint, "ssm", "get_parameter", parameter).unwrap();
    assert_eq!(parameter["Parameter"]["Value"], "ami-1");
    demo.stop();
}
