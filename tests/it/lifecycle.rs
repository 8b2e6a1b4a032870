//! Whole lives, from `setup-aws` to `cleanup-aws`, looked at through boto3.

use serde_json::{Value, json};

use crate::harness::{Account, Project};

/// The machines that boto3 sees under a key-name, by state.
fn seen(account: &Account, key_name: &str, states: &[&str]) -> Vec<String> {
    let answer = account.ec2(
        "describe_instances",
        json!({ "Filters": [
            { "Name": "key-name", "Values": [key_name] },
            { "Name": "instance-state-name", "Values": states },
        ] }),
    );
    let reservations = answer["Reservations"].as_array().unwrap();
    let machines = reservations.iter().flat_map(|r| r["Instances"].as_array().unwrap());
    machines.map(|i| i["InstanceId"].as_str().unwrap().to_owned()).collect()
}

/// The states of the spot requests that boto3 sees under a key-name.
fn request_states(account: &Account, key_name: &str) -> Vec<String> {
    let answer = account.ec2(
        "describe_spot_instance_requests",
        json!({ "Filters": [{ "Name": "launch.key-name", "Values": [key_name] }] }),
    );
    let requests = answer["SpotInstanceRequests"].as_array().unwrap();
    requests.iter().map(|r| r["State"].as_str().unwrap().to_owned()).collect()
}

const LIVE: &[&str] = &["pending", "running", "stopping", "stopped", "shutting-down"];

#[test]
fn from_setup_to_cleanup() {
    let project = Project::new();
    let account = &project.account;
    let before = project.config();
    let theirs = account.add_instances(&json!({ "key_name": "theirs", "count": 2 }));
    account.rules(&json!({ "spot": { "after": 2 }, "pending_looks": 2, "shutting_down_looks": 1, "page_size": 5 }));
    project.add_worker_type("windows");
    let configured = project.config();

    project.setup_aws(&[]).ok();
    let key_name = project.key_name();
    assert_ne!(project.config(), before);
    project.provisionerd(&["validate"]).ok();
    project.provisionerd(&["plan"]).ok();

    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 1);
    project.queue.pending(&[("linux", 6), ("windows", 2)]);
    daemon.until("eight machines", || seen(account, &key_name, &["running"]).len() == 8);

    // All work; two more tasks wait.
    let machines = project.world().instances;
    let busy: Vec<_> = machines.iter().filter(|i| i.key_name.as_ref() == Some(&key_name)).collect();
    let running: Vec<_> =
        busy.iter().map(|i| (i.worker_type().unwrap_or("linux"), Some(&*i.id))).collect();
    project.queue.running(&running);
    project.queue.pending(&[("linux", 2)]);
    daemon.until("ten machines", || seen(account, &key_name, LIVE).len() == 10);

    // The tasks end, and so do some machines, by themselves and by EC2's will.
    project.queue.running(&[]);
    project.queue.pending(&[]);
    account.to_instances(&json!({ "do": "terminate", "ids": [busy[0].id] }));
    account.to_instances(&json!({ "do": "interrupt", "ids": [busy[1].id] }));
    daemon.rounds(&project.queue, 3);
    assert_eq!(
        seen(account, &key_name, &["pending", "running"]).len(),
        8,
        "the others end themselves"
    );

    // A burst that is over before EC2 grants it.
    account.rules(&json!({ "spot": "held" }));
    project.queue.pending(&[("windows", 12)]);
    daemon
        .until("open requests", || request_states(account, &key_name).contains(&"open".to_owned()));
    project.queue.pending(&[]);
    daemon.until("they are cancelled", || {
        !request_states(account, &key_name).contains(&"open".to_owned())
    });
    daemon.stop();
    assert_eq!(
        seen(account, &key_name, &["pending", "running"]).len(),
        8,
        "ending the daemon ends no machine"
    );

    project.cleanup_aws(&["--yes"]).ok();
    assert_eq!(seen(account, &key_name, LIVE), [""; 0]);
    assert!(request_states(account, &key_name).iter().all(|s| s == "closed" || s == "cancelled"));
    let pairs = account.ec2("describe_key_pairs", json!({}));
    assert_eq!(pairs["KeyPairs"], json!([]));
    assert_eq!(seen(account, "theirs", &["running"]), theirs);
    let left: Value =
        serde_json::to_value(project.config().parse::<toml::Table>().unwrap()).unwrap();
    let mut expected = serde_json::to_value(configured.parse::<toml::Table>().unwrap()).unwrap();
    expected["aws"]["region"] = json!("us-west-2");
    assert_eq!(left, expected, "the file is as it was");
    assert_eq!(project.files(), ["provisioner.toml"]);
}

#[test]
fn a_second_life_after_the_first() {
    let project = Project::set_up();
    let first = project.key_name();
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    project.cleanup_aws(&["--yes"]).ok();
    project.setup_aws(&[]).ok();
    assert_ne!(project.key_name(), first);
    project.round().ok();
    assert_eq!(project.live_and_open().0, 1);
}

#[test]
fn two_deployments_in_one_account_do_not_meddle() {
    let one = Project::set_up();
    let mut two = Project::new();
    two.account = one.account.clone();
    two.setup_aws(&[]).ok();
    one.queue.pending(&[("linux", 2)]);
    two.queue.pending(&[("linux", 3)]);
    for _ in 0..3 {
        one.round().ok();
        two.round().ok();
    }
    assert_eq!((one.live_and_open().0, two.live_and_open().0), (2, 3));
    one.cleanup_aws(&["--yes"]).ok();
    assert_eq!(two.live_and_open().0, 3);
    assert!(two.world().has_key_pair(&two.key_name()));
}

#[test]
fn the_default_state_directory_is_the_users() {
    let project = Project::new();
    project.unset("provisioner.state-dir");
    project.setup_aws(&[]).ok();
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    let name = format!("{}-us-west-2-{}", project.account.number, project.key_name());
    assert!(find(&project.state_dir(), &name), "no {name} under $XDG_STATE_HOME");
}

/// Whether a directory of this name is anywhere under `dir`.
fn find(dir: &std::path::Path, name: &str) -> bool {
    std::fs::read_dir(dir).unwrap().flatten().any(|entry| {
        entry.path().is_dir() && (entry.file_name() == name || find(&entry.path(), name))
    })
}
