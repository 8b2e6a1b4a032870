//! Single rounds: the requests to EC2 for given tasks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{Account, Answer, Project, task};

/// The calls that launch, so far.
fn launches(account: &Account) -> Vec<BTreeMap<String, String>> {
    account.calls_of("RequestSpotInstances").into_iter().map(|call| call.params).collect()
}

/// A project whose spot requests stay open.
fn held() -> Project {
    let project = Project::set_up();
    project.account.rules(&json!({ "spot": "held" }));
    project
}

/// Seconds since the epoch of a time as the stand-in writes it.
fn seconds(stamp: &str) -> i64 {
    let with_zone: toml::value::Datetime = stamp.parse().expect("RFC 3339");
    let date = with_zone.date.unwrap();
    let time = with_zone.time.unwrap();
    let year = i64::from(date.year);
    let month = i64::from(date.month);
    // Days from civil, for dates after 1970.
    let shifted = if month <= 2 { year - 1 } else { year };
    let day_of_year =
        (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(date.day) - 1;
    let days = 365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 719_468;
    days * 86_400
        + i64::from(time.hour) * 3_600
        + i64::from(time.minute) * 60
        + i64::from(time.second.unwrap_or(0))
}

#[test]
fn pending_tasks_become_one_call_for_spot_requests() {
    let project = held();
    project.set("worker-types.linux.user-data", "#!/bin/sh\necho hello");
    project.set("worker-types.linux.tags.team", "ci");
    project.set("worker-types.linux.security-groups", vec!["default"]);
    project.queue.pending(&[("linux", 3)]);
    project.round().ok();

    let key_name = project.key_name();
    let calls = launches(&project.account);
    assert_eq!(calls.len(), 1, "{calls:#?}");
    assert_eq!(calls[0]["InstanceCount"], "3");
    let token = &calls[0]["ClientToken"];
    assert!(!token.is_empty() && token.len() <= 64 && token.is_ascii());

    let world = project.world();
    let requests = world.open(&key_name);
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!(request.kind, "one-time");
        assert_eq!(request.instance_type, "m5.large");
        assert_eq!(request.zone, "us-west-2a");
        assert_eq!(request.price.as_deref(), Some("0.100000"));
        assert_eq!(request.client_token.as_ref(), Some(token));
        let valid =
            seconds(request.valid_until.as_deref().unwrap()) - seconds(&request.create_time);
        assert!((715..=725).contains(&valid), "request-timeout + 2 min, not {valid} s");
        let tag = |name: &str| request.tags.get(name).map(String::as_str);
        assert_eq!(tag("provisioner:key-name"), Some(&*key_name));
        assert_eq!(tag("provisioner:worker-type"), Some("linux"));
        assert_eq!(tag("Name"), Some("linux"));
        assert_eq!(tag("team"), Some("ci"));
        assert!(tag("provisioner:intent").is_some_and(|intent| !intent.is_empty()));
    }
    project.account.to_requests(&json!({ "do": "fulfil", "key_name": key_name }));
    assert_eq!(project.world().instances[0].user_data.as_deref(), Some("#!/bin/sh\necho hello"));
}

#[test]
fn what_is_open_or_booting_or_free_is_not_asked_for_again() {
    let project = held();
    project.queue.pending(&[("linux", 3)]);
    project.round().ok();
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 3));
    project.account.rules(&json!({ "pending_looks": 2 }));
    project.account.to_requests(&json!({ "do": "fulfil", "key_name": project.key_name() }));
    for _ in 0..4 {
        project.round().ok();
        assert_eq!(project.live_and_open(), (3, 0));
    }
    assert_eq!(launches(&project.account).len(), 1);
}

#[test]
fn requests_follow_the_tasks_up_and_down() {
    let project = held();
    for (pending, calls) in [(2, 1), (5, 2), (5, 2)] {
        project.queue.pending(&[("linux", pending)]);
        project.round().ok();
        assert_eq!(project.live_and_open(), (0, pending));
        assert_eq!(launches(&project.account).len(), calls);
    }
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 1), "cancelled in the same round");
    assert_eq!(project.account.calls_of("CancelSpotInstanceRequests").len(), 1, "in one call");
    project.queue.pending(&[]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 0));
    assert!(project.account.calls_of("TerminateInstances").is_empty());
}

#[test]
fn a_scale_up_by_many_is_one_mutating_call() {
    let project = held();
    project.set("worker-types.linux.max-instances", 500);
    project.queue.pending(&[("linux", 150)]);
    let before = project.account.changes().len();
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 150));
    assert_eq!(project.account.changes().len(), before + 1);
}

#[test]
fn nothing_to_do_changes_nothing() {
    let project = Project::set_up();
    let before = project.account.changes().len();
    let said = project.round().ok();
    assert_eq!(said.stdout, "", "data only on stdout");
    assert_eq!(project.account.changes().len(), before);
}

#[test]
fn busy_machines_are_not_free() {
    for known in [true, false] {
        let project = Project::set_up();
        project.queue.pending(&[("linux", 3)]);
        project.round().ok();
        let ids: Vec<_> = project.world().instances.into_iter().map(|i| i.id).collect();
        let running: Vec<_> = ids.iter().map(|id| ("linux", known.then_some(&**id))).collect();
        project.queue.running(&running);
        project.queue.pending(&[("linux", 2)]);
        project.round().ok();
        assert_eq!(project.live_and_open().0, 5, "workerId known: {known}");
    }
}

#[test]
fn free_machines_are_kept_for_lack_of_tasks() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 2)]);
    project.round().ok();
    project.queue.pending(&[]);
    for answer in [Answer::Tasks(Vec::new()), Answer::Status(404, String::new())] {
        project.queue.answer_running(answer);
        let mut daemon = project.daemon();
        daemon.rounds(&project.queue, 3);
        daemon.stop();
    }
    assert_eq!(project.live_and_open().0, 2, "machines end themselves");
}

#[test]
fn minimum_and_maximum_hold() {
    let project = held();
    project.set("worker-types.linux.min-instances", 2);
    project.set("worker-types.linux.max-instances", 3);
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 2));
    project.queue.pending(&[("linux", 10)]);
    project.round();
    assert_eq!(project.live_and_open(), (0, 3));
    project.queue.pending(&[]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 2), "not below the minimum");
}

#[test]
fn several_tasks_fit_on_a_machine() {
    let project = held();
    project.set("worker-types.linux.tasks-per-instance", 4);
    project.queue.pending(&[("linux", 9)]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 3));
}

#[test]
fn worker_types_are_apart() {
    let project = held();
    project.add_worker_type("windows");
    project.set("worker-types.windows.instance-types", vec!["c5.large"]);
    project.set("worker-types.windows.aliases", vec!["ami-7eaecc4e", "Win Old"]);
    project.queue.answer_pending(Answer::Tasks(vec![
        task("a", "linux"),
        task("b", "windows"),
        task("c", "ami-7eaecc4e"),
        task("d", "Win Old"),
        task("e", "solaris"),
        task("f", "solaris"),
        task("g", "plan9"),
    ]));
    let said = project.round().ok();
    let world = project.world();
    let of =
        |name: &str| world.spot_requests.iter().filter(|r| r.worker_type() == Some(name)).count();
    assert_eq!((of("linux"), of("windows"), world.spot_requests.len()), (1, 3, 4));
    let said = said.says(&["solaris", "plan9"]);
    assert_eq!(
        said.stderr.lines().filter(|line| line.contains("solaris")).count(),
        1,
        "once per name"
    );
}

#[test]
fn one_broken_worker_type_does_not_stop_the_others() {
    let project = held();
    project.add_worker_type("broken");
    project.set("worker-types.broken.image-id", "ami-0123456789abcdef0");
    project.add_worker_type("zzz");
    project.queue.pending(&[("broken", 2), ("linux", 2), ("zzz", 2)]);
    project.round().code(4).says(&["InvalidAMIID.NotFound", "broken"]);
    assert_eq!(project.live_and_open(), (0, 4));
}

#[test]
fn the_worker_type_is_where_the_pointer_says() {
    let project = held();
    project.set("queue.worker-type-pointer", "/worker/type");
    let deep = json!({ "taskId": "a", "workerType": "other", "worker": { "type": "linux" } });
    project.queue.answer_pending(Answer::Tasks(vec![deep, task("b", "linux")]));
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 1));
}

#[test]
fn tasks_of_other_provisioners_do_not_count() {
    let project = held();
    project.set("provisioner.provisioner-id", "ours");
    let with = |id: Option<&str>| {
        let mut task = task(&format!("task-{id:?}"), "linux");
        task["provisionerId"] = id.into();
        if id.is_none() {
            task.as_object_mut().unwrap().remove("provisionerId");
        }
        task
    };
    project.queue.answer_pending(Answer::Tasks(vec![
        with(Some("ours")),
        with(Some("theirs")),
        with(None),
    ]));
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 2));
}

#[test]
fn machines_are_tagged_in_a_later_round() {
    let project = Project::set_up();
    project.set("worker-types.linux.tags.team", "ci");
    project.queue.pending(&[("linux", 2)]);
    project.round().ok();
    project.round().ok();
    project.round().ok();
    let world = project.world();
    let key_name = project.key_name();
    for machine in world.live(&key_name) {
        assert_eq!(machine.worker_type(), Some("linux"));
        assert_eq!(machine.tags.get("provisioner:key-name"), Some(&key_name));
        assert_eq!(machine.tags.get("Name").map(String::as_str), Some("linux"));
        assert_eq!(machine.tags.get("team").map(String::as_str), Some("ci"));
    }
    assert_eq!(world.live(&key_name).len(), 2);
    assert_eq!(project.account.calls_of("CreateTags").len(), 1, "once, in bulk");
}

#[test]
fn other_owners_are_not_touched_and_do_not_count() {
    let project = held();
    let instances = project.account.add_instances(&json!({
        "key_name": "theirs", "count": 3,
        "tags": { "provisioner:key-name": "theirs", "provisioner:worker-type": "linux", "Name": "linux" },
    }));
    let requests = project.account.add_requests(&json!({ "key_name": "theirs", "count": 3 }));
    project.queue.pending(&[("linux", 2)]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 2));
    project.queue.pending(&[]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 0));
    let world = project.world();
    assert!(instances.iter().all(|id| world.instance(id).is_live()));
    assert!(instances.iter().all(|id| world.instance(id).tags.len() == 3));
    assert!(requests.iter().all(|id| world.request(id).state == "open"));
}

#[test]
fn every_page_is_read() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 5)]);
    project.round().ok();
    project.account.rules(&json!({ "spot": "held" }));
    project.queue.pending(&[("linux", 12)]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (5, 7));
    project.account.rules(&json!({ "page_size": 2 }));
    project.round().ok();
    assert_eq!(project.live_and_open(), (5, 7));
    project.queue.pending(&[]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (5, 0));
}

#[test]
fn a_page_that_fails_is_no_observation() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 5)]);
    project.round().ok();
    project.account.rules(&json!({ "page_size": 2 }));
    project.queue.pending(&[("linux", 10)]);
    let before = project.account.changes().len();
    project.account.fault(&json!({
        "action": "DescribeInstances", "skip": 1, "code": "UnauthorizedOperation", "status": 403, "times": null,
    }));
    project.round().code(1).says(&["UnauthorizedOperation"]);
    assert_eq!(project.account.changes().len(), before);
}

#[test]
fn looks_are_narrow_and_in_large_pages() {
    let project = held();
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    let calls = project.account.calls();
    for action in ["DescribeInstances", "DescribeSpotInstanceRequests"] {
        let look = calls.iter().rfind(|call| call.action == action).expect(action);
        let filters: BTreeSet<_> = look.params.values().map(String::as_str).collect();
        assert!(filters.contains(&*project.key_name()), "{look:?}");
        assert_eq!(look.param("MaxResults"), "1000", "{look:?}");
        assert_eq!(look.region, "us-west-2");
    }
}

#[test]
fn a_bulk_call_is_repeated_without_the_id_that_failed_it() {
    let project = held();
    project.queue.pending(&[("linux", 4)]);
    project.round().ok();
    let victim = project.world().spot_requests[1].id.clone();
    project.account.fault(&json!({
        "action": "CancelSpotInstanceRequests", "code": "InvalidSpotInstanceRequestID.NotFound",
        "message": format!("The spot instance request ID '{victim}' does not exist"),
    }));
    project.queue.pending(&[]);
    project.round();
    assert_eq!(project.live_and_open(), (0, 1));
    assert_eq!(project.world().open(&project.key_name())[0].id, victim);
}

#[test]
fn over_the_maximum_booting_machines_go_before_others() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 2)]);
    project.round().ok();
    let old: Vec<_> = project.world().instances.into_iter().map(|i| i.id).collect();
    project.account.to_instances(&json!({ "do": "age", "age_s": 600, "ids": old }));
    project.account.rules(&json!({ "pending_looks": 100 }));
    project.queue.pending(&[("linux", 4)]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (4, 0));
    project.set("worker-types.linux.max-instances", 2);
    project.round();
    let world = project.world();
    let key_name = project.key_name();
    assert_eq!(
        world.live(&key_name).iter().map(|i| &i.id).collect::<Vec<_>>(),
        old.iter().collect::<Vec<_>>()
    );
    assert_eq!(project.account.calls_of("TerminateInstances").len(), 1, "in one call");
}

#[test]
fn over_the_maximum_requests_go_first_and_then_the_youngest() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 3)]);
    project.round().ok();
    let ids: Vec<_> = project.world().instances.into_iter().map(|i| i.id).collect();
    for (id, age) in ids.iter().zip([600, 400, 500]) {
        project.account.to_instances(&json!({ "do": "age", "age_s": age, "ids": [id] }));
    }
    project.account.rules(&json!({ "spot": "held" }));
    project.queue.pending(&[("linux", 5)]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (3, 2));
    project.set("worker-types.linux.max-instances", 3);
    project.round();
    assert_eq!(project.live_and_open(), (3, 0));
    project.set("worker-types.linux.max-instances", 2);
    project.round();
    let world = project.world();
    assert_eq!(
        ids.iter().map(|id| world.instance(id).is_live()).collect::<Vec<_>>(),
        [true, false, true]
    );
}

#[test]
fn stopped_machines_are_ended() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 2)]);
    project.round().ok();
    let stopped = project
        .account
        .to_instances(&json!({ "do": "stop", "key_name": project.key_name(), "limit": 1 }))
        .remove(0);
    project.round().ok();
    project.round().ok();
    assert!(!project.world().instance(&stopped).is_live());
    assert_eq!(project.live_and_open().0, 2, "and replaced");
}

#[test]
fn shutting_down_machines_count_to_the_maximum_but_serve_nobody() {
    let project = Project::set_up();
    project.set("worker-types.linux.max-instances", 2);
    project.queue.pending(&[("linux", 2)]);
    project.round().ok();
    project.account.rules(&json!({ "shutting_down_looks": 100, "spot": "held" }));
    project
        .account
        .to_instances(&json!({ "do": "terminate", "key_name": project.key_name(), "limit": 1 }));
    project.round();
    assert_eq!(project.live_and_open(), (1, 0));
    project.set("worker-types.linux.max-instances", 3);
    project.round();
    assert_eq!(project.live_and_open(), (1, 1));
}

#[test]
fn very_old_machines_are_ended_busy_or_not() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 2)]);
    project.round().ok();
    let ids: Vec<_> = project.world().instances.into_iter().map(|i| i.id).collect();
    project.queue.pending(&[]);
    project.queue.running(&[("linux", Some(&ids[0])), ("linux", Some(&ids[1]))]);
    project.account.to_instances(&json!({ "do": "age", "age_s": 49 * 3600, "ids": [ids[0]] }));
    project.account.to_instances(&json!({ "do": "age", "age_s": 25 * 3600, "ids": [ids[1]] }));
    project.round().ok();
    let world = project.world();
    assert!(!world.instance(&ids[0]).is_live(), "twice max-lifetime");
    assert!(world.instance(&ids[1]).is_live(), "busy, and not yet twice max-lifetime");
}

#[test]
fn without_capacity_the_next_pool_is_used_in_the_same_round() {
    let project = Project::set_up();
    project.set("worker-types.linux.instance-types", vec!["m5.large", "m5a.large"]);
    project.account.rules(&json!({ "capacity": { "*/m5.large": 0 }, "no_capacity": "refuse" }));
    project.queue.pending(&[("linux", 3)]);
    project.round();
    let world = project.world();
    assert_eq!(world.live(&project.key_name()).len(), 3);
    assert!(world.instances.iter().all(|i| i.kind == "m5a.large"));
    let tried: Vec<_> = launches(&project.account)
        .iter()
        .map(|call| (call["LaunchSpecification.InstanceType"].clone(), call["ClientToken"].clone()))
        .collect();
    assert_eq!(tried.iter().map(|(kind, _)| kind).collect::<Vec<_>>(), ["m5.large", "m5a.large"]);
    assert_ne!(tried[0].1, tried[1].1, "a refusal closes its intent");
}

#[test]
fn without_capacity_the_next_zone_is_used() {
    let project = Project::set_up();
    project.set("worker-types.linux.availability-zones", vec!["us-west-2a", "us-west-2b"]);
    project.account.rules(&json!({ "capacity": { "us-west-2a/*": 0 }, "no_capacity": "refuse" }));
    project.queue.pending(&[("linux", 2)]);
    project.round();
    let world = project.world();
    assert_eq!(world.live(&project.key_name()).len(), 2);
    assert!(world.instances.iter().all(|i| i.zone == "us-west-2b"));
}

#[test]
fn each_pool_is_tried_once_a_round() {
    let project = Project::set_up();
    project.set("worker-types.linux.instance-types", vec!["m5.large", "m5a.large"]);
    project.account.rules(&json!({ "capacity": { "*": 0 }, "no_capacity": "refuse" }));
    project.queue.pending(&[("linux", 3)]);
    project.round().code(4).says(&["InsufficientInstanceCapacity"]);
    assert_eq!(launches(&project.account).len(), 2);
}

#[test]
fn the_only_pool_is_tried_again() {
    let project = Project::set_up();
    project.account.fault(&json!({
        "action": "RequestSpotInstances", "code": "InsufficientInstanceCapacity", "status": 500,
    }));
    project.queue.pending(&[("linux", 1)]);
    let mut daemon = project.daemon();
    daemon.until("the task gets its machine", || project.live_and_open().0 == 1);
    daemon.stop();
    let tokens: BTreeSet<_> =
        launches(&project.account).iter().map(|c| c["ClientToken"].clone()).collect();
    assert_eq!(tokens.len(), 2, "one refused, one granted, no repeats by the SDK");
}

#[test]
fn unfilled_requests_move_to_another_pool() {
    let project = Project::set_up();
    project.set("worker-types.linux.instance-types", vec!["m5.large", "m5a.large"]);
    project.account.rules(&json!({ "capacity": { "*/m5.large": 0 }, "held_age_s": 60 }));
    project.queue.pending(&[("linux", 2)]);
    let mut daemon = project.daemon();
    daemon
        .until("both tasks get a machine of the other type", || project.live_and_open() == (2, 0));
    daemon.rounds(&project.queue, 2);
    daemon.stop();
    let world = project.world();
    assert!(world.instances.iter().all(|i| i.kind == "m5a.large"));
    assert_eq!(world.spot_requests.len(), 4);
}

#[test]
fn a_request_out_of_time_is_replaced_after_it_is_seen_cancelled() {
    let project = held();
    project.queue.pending(&[("linux", 2)]);
    project.round().ok();
    let old: Vec<_> = project.world().spot_requests.into_iter().map(|r| r.id).collect();
    project.account.to_requests(&json!({ "do": "age", "age_s": 660, "ids": old }));
    let mut daemon = project.daemon();
    daemon.until("they are replaced", || {
        let world = project.world();
        let open = world.open(&project.key_name());
        assert!(open.len() <= 2, "never more than asked for");
        open.len() == 2 && open.iter().all(|r| !old.contains(&r.id))
    });
    daemon.stop();
    let actions: Vec<_> = project.account.calls().into_iter().map(|call| call.action).collect();
    let cancelled =
        actions.iter().position(|a| a == "CancelSpotInstanceRequests").expect("a cancel");
    let replaced = actions.iter().rposition(|a| a == "RequestSpotInstances").expect("a request");
    let looked =
        actions[cancelled..replaced].iter().filter(|a| *a == "DescribeSpotInstanceRequests");
    assert!(looked.count() >= 1, "{actions:?}");
}

#[test]
fn requests_that_fail_stop_their_worker_type_only() {
    let project = Project::set_up();
    project.set("provisioner.interval", "100ms");
    project.add_worker_type("doomed");
    project.set("worker-types.doomed.instance-types", vec!["c5.large"]);
    project.account.rules(&json!({ "doomed": { "*/c5.large": "bad-parameters" } }));
    project.queue.pending(&[("doomed", 1), ("linux", 1)]);
    let mut daemon = project.daemon();
    daemon.until_it_says("bad-parameters");
    daemon.rounds(&project.queue, 15);
    daemon.stop();
    let world = project.world();
    assert_eq!(world.live(&project.key_name()).len(), 1);
    let failed = world.spot_requests.iter().filter(|r| r.state == "failed").count();
    assert!((1..=4).contains(&failed), "{failed} failed launches");
}

#[test]
fn a_quota_error_halves_the_count_and_then_waits() {
    let project = Project::set_up();
    project.set("provisioner.interval", "100ms");
    project.account.fault(&json!({
        "action": "RequestSpotInstances", "code": "MaxSpotInstanceCountExceeded", "times": null,
    }));
    project.queue.pending(&[("linux", 8)]);
    let mut daemon = project.daemon();
    daemon.until("it has tried with one", || {
        launches(&project.account).iter().any(|c| c["InstanceCount"] == "1")
    });
    daemon.rounds(&project.queue, 8);
    daemon.stop();
    let counts: Vec<_> =
        launches(&project.account).iter().map(|c| c["InstanceCount"].clone()).collect();
    assert_eq!(counts[..4], ["8", "4", "2", "1"]);
    assert!(counts.len() <= 5, "the breaker is open: {counts:?}");
}

#[test]
fn a_dry_run_and_a_plan_change_nothing() {
    let project = held();
    project.queue.pending(&[("linux", 3)]);
    project.queue.running(&[]);
    let before = project.account.changes().len();
    project.provisionerd(&["run", "--once", "--dry-run"]).ok();
    project.provisionerd(&["plan"]).ok().prints(&["linux", "3"]);
    project.provisionerd(&["plan", "--exit-code"]).code(3);
    let plan = project.provisionerd(&["plan", "--output", "json"]).ok().json();
    assert_eq!(project.account.changes().len(), before);

    let action = &plan["actions"][0];
    assert_eq!(
        (&action["kind"], &action["worker_type"], &action["count"]),
        (&json!("request"), &json!("linux"), &json!(3))
    );
    assert!(action["reason"]["kind"].is_string() && action["reason"]["text"].is_string());
    let linux = &plan["worker_types"][0];
    assert_eq!(
        (&linux["name"], &linux["pending"], &linux["wanted"]),
        (&json!("linux"), &json!(3), &json!(3))
    );
    for count in ["running", "open_requests", "booting", "idle", "busy", "stopping"] {
        assert_eq!(linux[count], 0, "{count}");
    }
    assert!(plan["notes"].is_array() && plan["time"].as_str().unwrap().ends_with('Z'));

    project.round().ok();
    project.provisionerd(&["plan", "--exit-code"]).ok();
    let plan = project.provisionerd(&["plan", "--output", "json"]).ok().json();
    assert_eq!(plan["actions"], json!([]));
    assert_eq!(plan["worker_types"][0]["open_requests"], 3);
}

#[test]
fn a_plan_says_why_it_does_not() {
    let project = held();
    project.set("worker-types.linux.max-instances", 1);
    project.queue.pending(&[("linux", 5)]);
    let plan = project.provisionerd(&["plan", "--output", "json"]).ok().json();
    let notes = plan["notes"].as_array().unwrap();
    let is_maximum = |note: &Value| note["kind"] == "at-maximum" && note["worker_type"] == "linux";
    assert!(notes.iter().any(is_maximum), "{plan:#}");
}

#[test]
fn a_plan_can_be_made_from_a_saved_observation() {
    let project = held();
    project.queue.pending(&[("linux", 2)]);
    project.provisionerd(&["plan", "--save-snapshot", "seen.json"]).ok();
    let saved = std::fs::read_to_string(project.work().join("seen.json")).unwrap();
    assert!(!saved.contains("AWS_") && !saved.to_lowercase().contains("secret"));
    let calls = project.account.calls().len();
    project.queue.answer_pending(Answer::Close);
    let plan =
        project.provisionerd(&["plan", "--snapshot", "seen.json", "--output", "json"]).ok().json();
    assert_eq!(plan["actions"][0]["count"], 2);
    assert_eq!(project.account.calls().len(), calls);
}

#[test]
fn profiles_and_subnets_reach_the_machine() {
    let project = Project::set_up();
    let account = &project.account;
    account.make_profile("worker", &[]);
    let filter = json!({ "Filters": [{ "Name": "availability-zone", "Values": ["us-west-2b"] }] });
    let subnets = account.ec2("describe_subnets", filter);
    let subnet = subnets["Subnets"][0]["SubnetId"].as_str().unwrap().to_owned();
    let groups = account.ec2("describe_security_groups", json!({ "GroupNames": ["default"] }));
    let group = groups["SecurityGroups"][0]["GroupId"].as_str().unwrap().to_owned();
    project.set("worker-types.linux.iam-instance-profile", "worker");
    project.set("worker-types.linux.subnets", vec![subnet.clone()]);
    project.set("worker-types.linux.security-groups", vec![group.clone()]);
    project.unset("worker-types.linux.availability-zones");
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    let world = project.world();
    assert_eq!(world.spot_requests[0].subnet_id, Some(subnet));
    let machine = &world.instances[0];
    assert_eq!(machine.zone, "us-west-2b");
    assert_eq!(machine.security_groups, [group]);
    assert!(machine.profile_arn.as_deref().unwrap().ends_with("/worker"));
}

#[test]
fn without_a_price_none_is_named() {
    let project = held();
    project.unset("worker-types.linux.max-price");
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    assert!(!launches(&project.account)[0].contains_key("SpotPrice"));
}

#[test]
fn values_unknown_to_this_release_are_no_end() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 2)]);
    project.round().ok();
    let key_name = project.key_name();
    project.account.to_instances(
        &json!({ "do": "state", "state": "levitating", "key_name": key_name, "limit": 1 }),
    );
    project.account.rules(&json!({ "spot": "held" }));
    let odd = project.account.add_requests(&json!({ "key_name": key_name }));
    project.account.to_requests(
        &json!({ "do": "state", "state": "pondering", "code": "undecided", "ids": odd }),
    );
    project.add_worker_type("windows");
    project.queue.pending(&[("linux", 2), ("windows", 1)]);
    project.round();
    let world = project.world();
    let windows = world.spot_requests.iter().filter(|r| r.worker_type() == Some("windows")).count();
    assert_eq!(windows, 1, "the others go on");
}

/// The figures of `BENCHMARKS.md`: the number of calls of a large scale-up and of a steady round.
#[test]
fn a_scale_up_by_500_is_one_call_and_a_steady_round_only_looks() {
    let project = Project::set_up();
    project.set("worker-types.linux.max-instances", 1000);
    project.account.rules(&json!({ "spot": "held", "page_size": 100 }));
    project.queue.pending(&[("linux", 500)]);
    let before = project.account.changes().len();
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 500));
    assert_eq!(project.account.changes().len(), before + 1, "one call that changes something");

    let before = project.account.calls().len();
    project.round().ok();
    let mut calls: Vec<_> =
        project.account.calls().into_iter().skip(before).map(|call| call.action).collect();
    calls.sort();
    let pages = calls.iter().filter(|call| *call == "DescribeSpotInstanceRequests").count();
    assert_eq!(pages, 5, "{calls:?}");
    calls.dedup();
    assert_eq!(
        calls,
        [
            // What each process looks up once, and the daemon every ten minutes.
            "DescribeImages",
            "DescribeInstanceTypeOfferings",
            "DescribeInstances",
            "DescribeKeyPairs",
            "DescribeSpotInstanceRequests",
            "DescribeSubnets",
            "GetCallerIdentity"
        ]
    );
}
