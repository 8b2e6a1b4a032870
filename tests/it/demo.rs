//! The demonstration, looked at from outside while it runs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Daemon, Project, SOON, eventually, get, post};

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

#[test]
fn all_our_programs_work_in_it_with_the_configuration_that_it_prints() {
    let project = Project::new();
    let (demo, endpoint) = start_at(&project, "1");
    let said = demo.said();
    let (_, rest) = said.split_once("<<'END'\n").expect("a configuration");
    let (printed, _) = rest.split_once("END\n").expect("its end");
    // Indented for reading.
    let printed: Vec<_> = printed.lines().map(str::trim_start).collect();
    std::fs::remove_file(project.config_path()).unwrap();
    let run = |program: &str, args: &[&str]| {
        let mut command = project.command(program, args);
        Project::finish(command.env("AWS_ENDPOINT_URL", &endpoint).env("AWS_REGION", "us-west-2"))
    };
    run("setup-aws", &["--with-worker-profile"]).ok();
    project.write_config(&format!("{}\n{}\n", project.config(), printed.join("\n")));
    run("provisionerd", &["validate"]).ok();
    run("provisionerd", &["validate", "--aws"]).ok();
    let port = endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let added = post(port, "/0.1.0/jobs", r#"{"workerType":"linux","count":2}"#).unwrap();
    assert_eq!((added.status, &*added.body), (200, "2 added; 2 of linux wait\n"));
    assert_eq!(get(port, "/0.1.0/jobs").unwrap().status, 400, "of which state?");
    run("provisionerd", &["plan"]).ok().prints(&["2 tasks wait"]);
    run("provisionerd", &["run", "--once"]).ok();
    let machines = || {
        let status = run("provisionerd", &["status", "-o", "json"]).ok().json();
        let linux = status["worker_types"][0].clone();
        let count = |key: &str| linux[key].as_u64().unwrap();
        count("booting") + count("busy") + count("idle")
    };
    eventually("both requests are fulfilled", Duration::from_secs(100), || machines() == 2);
    run("cleanup-aws", &["--yes"]).ok();
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
