//! SIGHUP: the configuration is read again while the daemon runs.

use crate::harness::{Daemon, Project, get};

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
fn a_reload_that_fails_is_shown_everywhere_until_one_succeeds() {
    let (project, port) = Project::listening();
    project.queue.pending(&[]);
    project.provisionerd(&["reload"]).code(1).says(&["no daemon that reloads was found"]);
    let mut daemon = project.daemon();
    daemon.until("it is ready", || get(port, "/readyz").is_ok_and(|ready| ready.status == 200));
    let good = project.config();
    let metric = || {
        let text = get(port, "/metrics").unwrap().body;
        let name = "provisioner_config_last_reload_successful ";
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.to_owned())).unwrap()
    };
    assert_eq!(metric(), "1");

    for (bad, says) in [
        (good.replace("[provisioner]", "[provisioner]\nmax-instanses = 9\n"), "max-instanses"),
        ("this is no toml".to_owned(), "provisioner.toml"),
    ] {
        project.write_config(&bad);
        let failed = project.command("provisionerd", &["reload"]);
        // A configuration that cannot be read names no state directory.
        let failed = Project::finish(
            { failed }.env("PROVISIONER__PROVISIONER__STATE_DIR", project.state_dir()),
        );
        failed.code(1).says(&["the old one stays in force", says]);
        assert_eq!(metric(), "0");
        let ready = get(port, "/readyz").unwrap();
        assert_eq!(ready.status, 200, "it works with the old one: {ready:?}");
        assert!(ready.body.contains("the old one stays in force"), "{ready:?}");
        project.write_config(&good);
        let url = format!("http://127.0.0.1:{port}");
        for from in [&["status"][..], &["status", "--url", &url]] {
            project.provisionerd(from).ok().prints(&["last reload:", "failed", says]);
        }
    }

    project.provisionerd(&["reload"]).ok();
    assert_eq!(metric(), "1");
    let status = project.provisionerd(&["status"]).ok();
    assert!(!status.stdout.contains("Last reload"), "{}", status.stdout);
    daemon.stop();
    project.provisionerd(&["reload"]).code(1).says(&["no daemon that reloads was found"]);
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
