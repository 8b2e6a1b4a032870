//! Things under the key-name that are not, or not clearly, of our making.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Project, SOON, eventually};

/// Tags as the product sets them, for the worker type `name`.
fn our_tags(project: &Project, name: &str) -> serde_json::Value {
    json!({
        "provisioner:key-name": project.key_name(), "provisioner:worker-type": name,
        "provisioner:intent": "old", "Name": name,
    })
}

#[test]
fn a_foreign_machine_under_our_key_pair_is_ended() {
    let project = Project::set_up();
    let stray = project.account.ec2("run_instances", json!({
        "ImageId": crate::harness::IMAGE, "MinCount": 1, "MaxCount": 1, "KeyName": project.key_name(),
    }));
    let stray = stray["Instances"][0]["InstanceId"].as_str().unwrap();
    project.round().ok().says(&[stray]);
    assert!(!project.world().instance(stray).is_live());
}

#[test]
fn strays_can_be_kept() {
    let project = Project::set_up();
    project.set("provisioner.strays", "keep");
    let stray = project.account.add_instances(&json!({ "key_name": project.key_name() })).remove(0);
    project.round().says(&[&stray]);
    assert!(project.world().instance(&stray).is_live());
    assert!(project.account.calls_of("TerminateInstances").is_empty());
}

#[test]
fn under_a_key_pair_made_by_hand_they_are_kept() {
    let project = Project::with_key_pair_by_hand("mine");
    let stray = project.account.add_instances(&json!({ "key_name": "mine" })).remove(0);
    project.provisionerd(&["run", "--once", "--assume-clean"]).says(&[&stray]);
    assert!(project.world().instance(&stray).is_live());

    project.set("provisioner.adopt-key-name", true);
    project.round();
    assert!(!project.world().instance(&stray).is_live());
}

#[test]
fn a_machine_whose_request_is_not_seen_is_left_alone() {
    let project = Project::set_up();
    let unresolved = project
        .account
        .add_instances(&json!({
            "key_name": project.key_name(), "spot_request_id": "sir-0123456789abcdef0", "lifecycle": "spot",
        }))
        .remove(0);
    for _ in 0..3 {
        project.round();
    }
    assert!(project.world().instance(&unresolved).is_live());
    assert!(
        project
            .account
            .calls_of("DescribeSpotInstanceRequests")
            .iter()
            .any(|call| { call.params.values().any(|value| value == "sir-0123456789abcdef0") }),
        "its request is looked up by id"
    );
}

#[test]
fn others_machines_with_tags_like_ours_are_not_ours() {
    let project = Project::set_up();
    let other = project
        .account
        .add_instances(&json!({ "key_name": "other", "tags": our_tags(&project, "linux") }))
        .remove(0);
    let none =
        project.account.add_instances(&json!({ "tags": our_tags(&project, "linux") })).remove(0);
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    let world = project.world();
    assert!(world.instance(&other).is_live() && world.instance(&none).is_live());
    assert_eq!(project.live_and_open().0, 1);
}

#[test]
fn requests_of_a_removed_worker_type_are_cancelled() {
    let project = Project::set_up();
    project.account.rules(&json!({ "spot": "held" }));
    project.add_worker_type("old");
    project.queue.pending(&[("old", 2), ("linux", 1)]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 3));
    project.unset("worker-types.old");
    project.round().ok();
    let world = project.world();
    let key_name = project.key_name();
    let open = world.open(&key_name);
    assert_eq!(open.iter().map(|r| r.worker_type()).collect::<Vec<_>>(), [Some("linux")]);
}

#[test]
fn machines_of_a_removed_worker_type_end_when_idle() {
    let project = Project::set_up();
    project.add_worker_type("old");
    project.queue.pending(&[("old", 2)]);
    project.round().ok();
    project.round().ok();
    let ids: Vec<_> = project.world().instances.into_iter().map(|i| i.id).collect();
    project.unset("worker-types.old");
    project.queue.pending(&[]);
    project.queue.running(&[("old", Some(&ids[0]))]);
    let mut daemon = project.daemon();
    // A machine is idle once it has been without a task for a minute.
    let limit = Duration::from_mins(1) + SOON;
    eventually("the idle one is ended", limit, || !project.world().instance(&ids[1]).is_live());
    daemon.rounds(&project.queue, 2);
    assert!(project.world().instance(&ids[0]).is_live(), "the busy one is left");
    daemon.stop();
}

#[test]
fn machines_of_a_removed_worker_type_stay_while_it_is_unknown_who_is_busy() {
    let project = Project::set_up();
    project.add_worker_type("old");
    project.queue.pending(&[("old", 1)]);
    project.round().ok();
    project.round().ok();
    project.unset("worker-types.old");
    project.queue.pending(&[]);
    project.queue.running(&[("old", None)]);
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 4);
    daemon.stop();
    assert_eq!(project.live_and_open().0, 1);
}

#[test]
fn machines_started_by_hand_with_our_tags_count() {
    let project = Project::set_up();
    project.account.rules(&json!({ "spot": "held" }));
    project.account.add_instances(&json!({
        "key_name": project.key_name(), "count": 2, "tags": our_tags(&project, "linux"),
    }));
    project.queue.pending(&[("linux", 3)]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (2, 1));
}
