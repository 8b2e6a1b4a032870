//! `kill -9` and lost answers: every launch happens once, and nothing is forgotten.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::{Answer, Project, get};

/// Returns the launching calls so far with all of their parameters.
fn launches(project: &Project) -> Vec<BTreeMap<String, String>> {
    project.account.calls_of("RequestSpotInstances").into_iter().map(|call| call.params).collect()
}

/// A project with three pending tasks whose requests stay open.
fn three_wanted() -> Project {
    let project = Project::set_up();
    project.account.rules(&json!({ "spot": "held" }));
    project.queue.pending(&[("linux", 3)]);
    project
}

/// Starts a daemon and kills it while its first launching call is under way.
#[track_caller]
fn killed_in_the_call(project: &Project, after: &str) {
    // Dropped in the end, so that a call that was not applied never will be.
    project.account.fault(&json!({
        "action": "RequestSpotInstances", "after": after, "hang_ms": 60_000, "drop": true,
    }));
    let mut daemon = project.daemon();
    daemon.until("the call is under way", || {
        let made = project.world().spot_requests.len() == 3;
        launches(project).len() == 1 && (made || after == "before")
    });
    daemon.kill();
    project.account.clear_faults();
}

/// Runs rounds until the answer to everything is known.
#[track_caller]
fn settle(project: &Project) {
    for _ in 0..3 {
        project.round();
    }
    project.round().ok();
}

/// Three requests were ever made, by calls that are the same to the byte.
#[track_caller]
fn bought_once(project: &Project) {
    let calls = launches(project);
    assert!(calls.iter().all(|call| call == &calls[0]), "{calls:#?}");
    assert_eq!(project.world().spot_requests.len(), 3);
    assert_eq!(project.live_and_open(), (0, 3));
}

#[test]
fn killed_before_the_call_arrived() {
    let project = three_wanted();
    killed_in_the_call(&project, "before");
    assert!(project.world().spot_requests.is_empty());
    settle(&project);
    assert_eq!(launches(&project).len(), 2);
    bought_once(&project);
}

#[test]
fn killed_before_the_answer_arrived() {
    let project = three_wanted();
    killed_in_the_call(&project, "applied");
    settle(&project);
    bought_once(&project);
}

#[test]
fn killed_after_the_answer() {
    let project = three_wanted();
    let mut daemon = project.daemon();
    daemon.until("the answer is sent", || {
        project.account.calls_of("RequestSpotInstances").iter().any(|call| call.status == Some(200))
    });
    daemon.kill();
    settle(&project);
    bought_once(&project);
}

#[test]
fn killed_after_the_answer_while_describe_lags() {
    let project = three_wanted();
    project.account.rules(&json!({ "lag_looks": 6 }));
    project.round();
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 2);
    daemon.kill();
    project.round();
    assert_eq!(launches(&project).len(), 1, "remembered, though not seen yet");
    for _ in 0..8 {
        project.round();
    }
    bought_once(&project);
}

#[test]
fn an_answer_that_is_lost() {
    for fault in [
        json!({ "after": "applied", "drop": true }),
        json!({ "after": "applied", "code": "InternalError", "status": 500 }),
        json!({ "after": "applied", "code": "ServiceUnavailable", "status": 503 }),
        json!({ "after": "applied", "body": "<html>not what was asked" }),
        json!({ "after": "before", "drop": true }),
        json!({ "after": "before", "code": "InternalError", "status": 500 }),
    ] {
        let project = three_wanted();
        let mut fault = fault;
        fault["action"] = json!("RequestSpotInstances");
        project.account.fault(&fault);
        project.round();
        settle(&project);
        bought_once(&project);
    }
}

#[test]
fn a_mismatch_means_that_the_first_call_was_accepted() {
    let project = three_wanted();
    project.account.fault(&json!({
        "action": "RequestSpotInstances", "after": "applied", "code": "IdempotentParameterMismatch",
    }));
    project.round();
    settle(&project);
    assert_eq!(project.world().spot_requests.len(), 3);
    assert_eq!(project.live_and_open(), (0, 3));
}

#[test]
fn tasks_that_went_away_meanwhile() {
    for after in ["before", "applied"] {
        let project = three_wanted();
        killed_in_the_call(&project, after);
        project.queue.pending(&[]);
        settle(&project);
        assert!(project.world().spot_requests.len() <= 3);
        assert_eq!(project.live_and_open(), (0, 0), "{after}");
    }
}

#[test]
fn a_queue_that_went_away_meanwhile() {
    let project = three_wanted();
    killed_in_the_call(&project, "applied");
    project.queue.answer_pending(Answer::Close);
    project.round().code(1);
    project.queue.pending(&[("linux", 3)]);
    settle(&project);
    bought_once(&project);
}

#[test]
fn a_configuration_changed_meanwhile() {
    let project = three_wanted();
    killed_in_the_call(&project, "applied");
    project.set("worker-types.linux.instance-types", vec!["c5.large"]);
    project.set("worker-types.linux.user-data", "#!/bin/sh");
    settle(&project);
    bought_once(&project);
    project.queue.pending(&[("linux", 4)]);
    project.round().ok();
    assert_eq!(launches(&project).last().unwrap()["LaunchSpecification.InstanceType"], "c5.large");
    assert_eq!(project.world().spot_requests.len(), 4);
}

#[test]
fn a_worker_type_removed_meanwhile() {
    let project = three_wanted();
    killed_in_the_call(&project, "applied");
    project.add_worker_type("other");
    project.unset("worker-types.linux");
    settle(&project);
    assert_eq!(project.world().spot_requests.len(), 3);
    assert_eq!(project.live_and_open(), (0, 0));
}

#[test]
fn cleanup_settles_what_is_unanswered() {
    for after in ["before", "applied"] {
        let project = three_wanted();
        let key_name = project.key_name();
        killed_in_the_call(&project, after);
        project.cleanup_aws(&["--yes"]).ok();
        let world = project.world();
        assert!(world.open(&key_name).is_empty() && world.live(&key_name).is_empty(), "{after}");
        assert!(!world.has_key_pair(&key_name));
    }
}

#[test]
fn a_token_is_used_for_one_purchase_only() {
    let project = Project::set_up();
    for wanted in 1..=4 {
        project.queue.pending(&[("linux", wanted)]);
        project.account.rules(&json!({ "spot": "held" }));
        project.round().ok();
    }
    let mut tokens: Vec<_> =
        launches(&project).iter().map(|call| call["ClientToken"].clone()).collect();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 4);
}

/// Returns all files of a directory with their contents.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn a_lost_ledger_holds_launches_back() {
    let project = three_wanted();
    fs::remove_dir_all(project.ledger_dir()).unwrap();
    project.round().code(4).says(&["ledger"]);
    assert!(project.world().spot_requests.is_empty());
    project.round().code(4);
    assert!(project.world().spot_requests.is_empty(), "the hold outlives the process");
    project.provisionerd(&["run", "--once", "--assume-clean"]).ok();
    assert_eq!(project.live_and_open(), (0, 3));
    project.round().ok();
    bought_once(&project);
}

#[test]
fn a_lost_ledger_is_told_without_a_task_too() {
    let project = Project::set_up();
    project.round().ok();
    fs::remove_dir_all(project.ledger_dir()).unwrap();
    project.provisionerd(&["run", "--once", "--dry-run"]).code(4).says(&["ledger was lost"]);
    project.round().code(4).says(&["ledger is lost"]);
    project.round().code(4).says(&["ledger was lost", "--assume-clean"]);
    project.provisionerd(&["run", "--once", "--assume-clean"]).ok();
    project.round().ok();
    assert!(project.world().spot_requests.is_empty());
}

#[test]
fn a_dry_run_may_assume_that_nothing_is_in_flight() {
    let project = three_wanted();
    fs::remove_dir_all(project.ledger_dir()).unwrap();
    let dry = ["run", "--once", "--dry-run", "--assume-clean", "--output", "json"];
    let planned = project.provisionerd(&dry).ok().json();
    assert_eq!(planned["actions"][0]["kind"], "request");
    assert_eq!(planned["actions"][0]["count"], 3);
    assert!(!project.ledger_dir().exists(), "nothing is written");
    assert!(project.account.calls_of("RequestSpotInstances").is_empty());
    project.provisionerd(&dry[..3]).code(4);
}

#[test]
fn a_lost_ledger_holds_no_longer_than_the_window() {
    let project = three_wanted();
    project.set("provisioner.visibility-window", "2s");
    fs::remove_dir_all(project.ledger_dir()).unwrap();
    let mut daemon = project.daemon();
    daemon.until("the requests are made after all", || project.live_and_open() == (0, 3));
    daemon.stop();
    bought_once(&project);
}

#[test]
fn a_damaged_ledger_is_kept_aside() {
    let project = three_wanted();
    project.round().ok();
    let dir = project.ledger_dir();
    let damaged: Vec<_> =
        files(&dir).into_iter().map(|(name, _)| name).filter(|n| !n.contains("lock")).collect();
    for name in &damaged {
        fs::write(dir.join(name), "{ damaged").unwrap();
    }
    project.queue.pending(&[("linux", 5)]);
    project.round().code(4).says(&["ledger"]);
    assert_eq!(project.world().spot_requests.len(), 3, "nothing is launched");
    project.provisionerd(&["run", "--once", "--assume-clean"]).ok();
    let aside = |(name, text): &(String, Vec<u8>)| text == b"{ damaged" && !damaged.contains(name);
    assert!(files(&dir).iter().any(aside), "{:?}", files(&dir));
    assert_eq!(project.world().spot_requests.len(), 5);
}

#[test]
fn a_ledger_of_a_newer_version_ends_with_2_and_is_not_lost() {
    let project = three_wanted();
    let ledger = project.ledger_dir().join("ledger.json");
    let newer = "{\"version\":3,\"book\":[]}";
    fs::write(&ledger, newer).unwrap();
    for args in [&["run", "--once"][..], &["run", "--once", "--assume-clean"], &["plan"]] {
        project.provisionerd(args).code(2).says(&["version 3", "ledger.json", "later"]);
    }
    assert_eq!(fs::read_to_string(&ledger).unwrap(), newer);
    assert!(launches(&project).is_empty());
}

#[test]
fn a_daemon_beside_another_one_says_so_in_its_log_in_status_and_at_readyz() {
    let (project, port) = Project::listening();
    project.set("provisioner.visibility-window", "3s");
    project.set("worker-types.linux.max-instances", 1);
    let mut daemon = project.daemon();
    daemon.until_it_says("started");
    // Another host has a state directory of its own, and here a configuration under which it always launches.
    project.set("worker-types.linux.max-instances", 1000);
    let elsewhere = tempfile::tempdir().unwrap();
    project.set("provisioner.state-dir", elsewhere.path().to_str().unwrap());
    let mut wanted = 0;
    daemon.until("it is seen at /readyz", || {
        wanted += 2;
        project.queue.pending(&[("linux", wanted)]);
        project.provisionerd(&["run", "--once", "--assume-clean"]);
        // The daemon may not listen yet.
        get(port, "/readyz")
            .is_ok_and(|answer| answer.status == 200 && answer.body.contains("another daemon"))
    });
    let status = get(port, "/v1/status").expect("an answer").body;
    assert!(status.contains("other-daemon"), "{status}");
    let said = daemon.said();
    assert!(said.contains("other-daemon") && said.contains("--assume-alone"), "{said}");
    daemon.stop();
}

#[test]
fn a_ledger_that_cannot_be_written_stops_launches() {
    let project = three_wanted();
    let dir = project.ledger_dir();
    let parent = dir.parent().unwrap().to_owned();
    fs::remove_dir_all(&parent).unwrap();
    fs::write(&parent, "a file where the directory should be").unwrap();
    project.provisionerd(&["run", "--once", "--assume-clean"]).fails();
    assert!(project.world().spot_requests.is_empty());
}
