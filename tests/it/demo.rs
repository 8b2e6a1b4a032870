//! The demonstration, looked at from outside while it runs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Daemon, Finished, Project, SOON, eventually, free_port, get, post};
use crate::readme::{README, blocks};

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

/// How long a machine may take in the demonstration at the speed of the machine's clock: a round, an open request,
/// and the start of the instance.
const A_STARTUP: Duration = Duration::from_secs(100);

/// A user's terminal beside the served demonstration: an empty directory, the variables that the demonstration
/// prints, and our programs on the path.
struct Terminal<'a> {
    project: &'a Project,
    variables: Vec<(String, String)>,
    /// The port of `server.listen`, instead of 3000, which another program may use.
    port: u16,
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
        let port = free_port();
        variables.push(("PROVISIONER__SERVER__LISTEN".to_owned(), format!("127.0.0.1:{port}")));
        Terminal { project, variables, port }
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.project.command(program, args);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A line that is about to be typed.
    fn shell(&self, line: &str) -> Command {
        // What the test harness sets for `provisionerd` holds for `sh` too.
        let like = self.command("provisionerd", &[]);
        let mut shell = Command::new("sh");
        shell.args(["-euc", line]).current_dir(self.project.work()).env_clear();
        shell.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell
    }

    /// Types a line, and waits for its end.
    #[track_caller]
    fn sh(&self, line: &str) -> Finished {
        Project::finish(&mut self.shell(line))
    }

    /// Types a line that lasts until Ctrl-C.
    fn start(&self, line: &str) -> Daemon {
        // Without `exec`, the signal would end the shell instead of the program.
        self.project.spawn(&mut self.shell(&format!("exec {line}")))
    }

    /// Waits until there are so many machines of `linux`.
    #[track_caller]
    fn until_machines(&self, wanted: u64) {
        eventually(&format!("{wanted} machines"), A_STARTUP, || {
            let status = self.sh("provisionerd status -o json").ok().json();
            let count = |key: &str| status["worker_types"][0][key].as_u64().unwrap();
            count("booting") + count("busy") + count("idle") == wanted
        });
    }

    /// Types `provisionerd run`, then beside it what the text of the README names for a running daemon, then Ctrl-C.
    fn run_the_daemon(&self, queue: u16) {
        let mut daemon = self.start("provisionerd run");
        daemon.until("it is healthy", || {
            get(self.port, "/healthz").is_ok_and(|health| health.status == 200)
        });
        add(queue, 1);
        for line in [
            "curl -X POST http://127.0.0.1:3000/wake",
            "provisionerd reload",
            "provisionerd config",
            "provisionerd plan",
            "--url http://127.0.0.1:3000",
            "--watch",
        ] {
            assert!(README.contains(&format!("`{line}`")), "the README no longer names {line}");
        }
        assert_eq!(post(self.port, "/wake", "").unwrap().status, 202);
        self.sh("provisionerd reload").ok();
        self.sh("provisionerd config").ok().prints(&["worker-types.linux.max-price"]);
        self.sh("provisionerd plan").ok();
        self.until_machines(3);
        self.sh(&format!("provisionerd status --url http://127.0.0.1:{}", self.port)).ok();
        let mut watch = self.start("provisionerd status --watch");
        watch.until_it_prints("it is repeated", |text| text.matches("Next round:").count() > 1);
        watch.signal("INT");
        watch.wait().ok();
        daemon.still_runs();
        daemon.signal("INT");
        daemon.wait().ok();
    }
}

/// Adds tasks, as the command that the demonstration prints does with `curl`.
#[track_caller]
fn add(queue: u16, count: u32) {
    let task = json!({ "workerType": "linux", "count": count, "seconds": 600 });
    let added = post(queue, "/0.1.0/jobs", &task.to_string()).unwrap();
    let is_added = added.body.starts_with(&format!("{count} added; "));
    assert!(added.status == 200 && is_added, "{}", added.body);
}

/// Returns the part of `provisioner.toml` that the demonstration prints.
fn printed_configuration(said: &str) -> String {
    let (_, rest) = said.split_once("<<'END'\n").expect("a configuration");
    let (printed, _) = rest.split_once("END\n").expect("its end");
    printed.to_owned()
}

/// All lines of the README that are to be typed, in their order and as they stand there.
#[test]
fn the_commands_of_the_readme_can_be_walked_in_it() {
    let project = Project::new();
    let (demo, endpoint) = start_at(&project, "1");
    let said = demo.said();
    let terminal = Terminal::beside(&project, &said);
    let aws = Command::new("aws").arg("--version").output();
    let has_aws = aws.is_ok_and(|output| output.status.success());
    let queue = endpoint.rsplit(':').next().unwrap().parse().unwrap();
    assert_eq!(get(queue, "/0.1.0/jobs").unwrap().status, 400, "of which state?");

    let mut typed = Vec::new();
    for block in blocks("sh") {
        let block = block.replace("\\\n", " ");
        let (variables, lines): (Vec<_>, Vec<_>) =
            block.lines().partition(|line| line.starts_with("KEY="));
        for line in lines {
            let line = line.split(" #").next().unwrap_or_default().trim();
            typed.push(line.to_owned());
            match line.split_whitespace().next().unwrap_or_default() {
                // They build, and other tests and `.ci/run` run them.
                "cargo" => assert!(
                    [
                        "cargo run --no-default-features -- demo",
                        "cargo test --workspace",
                        "cargo install --path .",
                    ]
                    .contains(&line),
                    "{line}"
                ),
                "aws" if !has_aws => eprintln!("skipped: {line}: the AWS CLI is not installed"),
                "provisionerd" if line == "provisionerd run" => terminal.run_the_daemon(queue),
                "aws" | "setup-aws" | "cleanup-aws" | "provisionerd" => {
                    terminal.sh(&[&variables.join("\n"), "\n", line].concat()).ok();
                }
                _ => panic!("the README has a line that this test does not know: {line}"),
            }
            if line.starts_with("setup-aws") {
                // Step 2, with the image and the queue of the demonstration.
                project.write_config(&(project.config() + &printed_configuration(&said)));
                add(queue, 2);
                terminal.sh("provisionerd plan").ok().prints(&["2 tasks wait"]);
            } else if line == "provisionerd run --once" {
                terminal.until_machines(2);
            }
        }
    }
    for wanted in ["provisionerd validate --aws", "provisionerd run", "cleanup-aws --yes"] {
        assert!(typed.iter().any(|line| line == wanted), "{typed:?}");
    }
    assert!(project.value("provisioner.key-name").is_none(), "{}", project.config());
    assert_eq!(project.files(), ["provisioner.toml"]);
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
