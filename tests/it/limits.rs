//! `[limits]`: fences over everything, whatever is wanted.

use serde_json::json;

use crate::harness::Project;

/// A project with two worker types whose requests stay open.
fn held() -> Project {
    let project = Project::set_up();
    project.account.rules(&json!({ "spot": "held" }));
    project.add_worker_type("windows");
    project
}

#[test]
fn machines_of_all_worker_types_together() {
    let project = held();
    project.set("limits.max-instances", 3);
    project.queue.pending(&[("linux", 10), ("windows", 10)]);
    for _ in 0..3 {
        project.round();
        assert_eq!(project.live_and_open(), (0, 3));
    }
    project.account.to_requests(&json!({ "do": "fulfil", "key_name": project.key_name() }));
    project.round();
    assert_eq!(project.live_and_open(), (3, 0));
}

#[test]
fn a_minimum_does_not_go_over_the_fence() {
    let project = held();
    project.set("limits.max-instances", 2);
    project.set("worker-types.linux.min-instances", 5);
    project.round();
    assert_eq!(project.live_and_open(), (0, 2));
}

#[test]
fn dollars_per_hour() {
    let project = held();
    project.set("limits.max-usd-per-hour", 0.35);
    project.set("worker-types.windows.max-price", 0.2);
    project.queue.pending(&[("linux", 2), ("windows", 10)]);
    for _ in 0..3 {
        project.round();
    }
    let world = project.world();
    let price: f64 =
        world.spot_requests.iter().map(|r| r.price.as_ref().unwrap().parse::<f64>().unwrap()).sum();
    assert!(price <= 0.35 + 1e-9, "{price}");
    assert!(price >= 0.2, "the fence is no wall: {price}");
}

#[test]
fn dollars_per_hour_with_live_machines() {
    let project = held();
    project.account.rules(&json!({ "spot": "at-once" }));
    project.set("limits.max-usd-per-hour", 0.2);
    project.queue.pending(&[("linux", 5)]);
    for _ in 0..3 {
        project.round();
        assert!(project.live_and_open().0 <= 2);
    }
    assert_eq!(project.live_and_open().0, 2);
}

#[test]
fn dollars_per_day() {
    let project = held();
    project.set("limits.max-usd-per-day", 0.0001);
    project.queue.pending(&[("linux", 5)]);
    project.round().says(&["max-usd-per-day"]);
    assert!(project.world().spot_requests.is_empty());
}

#[test]
fn what_the_fence_withholds_is_said() {
    let project = held();
    project.set("limits.max-instances", 1);
    project.queue.pending(&[("linux", 5)]);
    let plan = project.provisionerd(&["plan", "--output", "json"]).ok().json();
    assert!(plan.to_string().contains("max-instances"), "{plan:#}");
    assert_eq!(plan["actions"][0]["count"], 1);
}

#[test]
fn lagging_looks_do_not_open_the_fence() {
    let project = held();
    project.account.rules(&json!({ "lag_looks": 4 }));
    project.set("limits.max-instances", 3);
    project.queue.pending(&[("linux", 10)]);
    for _ in 0..6 {
        project.round();
        assert!(project.world().spot_requests.len() <= 3);
    }
}
