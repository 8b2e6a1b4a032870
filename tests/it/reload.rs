//! SIGHUP: the configuration is read again while the daemon runs.

use crate::harness::{Daemon, Project};

fn held_at_one() -> (Project, Daemon) {
    let project = Project::set_up();
    project.account.rules(&serde_json::json!({ "spot": "held" }));
    project.set("worker-types.linux.max-instances", 1);
    project.queue.pending(&[("linux", 3)]);
    let mut daemon = project.daemon();
    daemon.until("one request", || open(&project) == 1);
    (project, daemon)
}

fn open(project: &Project) -> usize {
    project.live_and_open().1
}

#[test]
fn another_maximum_and_another_worker_type_are_taken_up() {
    let (project, mut daemon) = held_at_one();
    project.set("worker-types.linux.max-instances", 2);
    project.add_worker_type("windows");
    project.queue.pending(&[("linux", 3), ("windows", 1)]);
    daemon.signal("HUP");
    daemon.until_it_says("worker-types.linux.max-instances = 2, was 1");
    daemon.until("three requests", || open(&project) == 3);
    let said = daemon.stop().stderr;
    assert!(!said.contains("lost"), "the ledger is the same: {said}");
    assert_eq!(open(&project), 3);
}

#[test]
fn a_worker_type_that_is_taken_out_is_retired() {
    let (project, mut daemon) = held_at_one();
    project.add_worker_type("windows");
    project.unset("worker-types.linux");
    daemon.signal("HUP");
    daemon.until("no request", || open(&project) == 0);
    daemon.stop();
}

#[test]
fn a_configuration_that_is_not_good_changes_nothing() {
    let (project, mut daemon) = held_at_one();
    let good = project.config();
    for (bad, says) in [
        (good.replace("max-instances = 1", "max-instances = -1"), "out of range"),
        (good.replace("max-instances = 1", "max-instanses = 9"), "max-instances"),
        ("this is no toml".to_owned(), "provisioner.toml"),
        (good.replace("provisioner-test-", "another-"), "provisioner.key-name"),
    ] {
        project.write_config(&bad);
        daemon.signal("HUP");
        daemon.until_it_says(says);
        daemon.rounds(&project.queue, 2);
        project.write_config(&good);
        assert_eq!(open(&project), 1);
    }
    std::fs::remove_file(project.config_path()).unwrap();
    daemon.signal("HUP");
    daemon.until_it_says("no longer exists");
    daemon.rounds(&project.queue, 2);
    project.write_config(&good);
    assert_eq!(open(&project), 1);
    project.write_config(&good.replace("max-instances = 1", "max-instances = 2"));
    daemon.signal("HUP");
    daemon.until("two requests", || open(&project) == 2);
    let said = daemon.stop().stderr;
    assert_eq!(said.matches("the old one stays in force").count(), 5, "{said}");
}

#[test]
fn another_queue_is_asked() {
    let (project, mut daemon) = held_at_one();
    let other = Project::new();
    other.queue.pending(&[]);
    project.set("queue.port", i64::from(other.queue.port()));
    daemon.signal("HUP");
    daemon.until("no request", || open(&project) == 0);
    daemon.stop();
}
