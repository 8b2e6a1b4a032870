//! The daemon as a process: rounds in time, signals, the lock, the small server, credentials.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Account, Answer, Project, always, eventually, get, post, task};

#[test]
fn rounds_come_at_once_and_then_in_intervals() {
    let project = Project::set_up();
    project.set("provisioner.interval", "700ms");
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 1);
    let start = Instant::now();
    daemon.rounds(&project.queue, 3);
    assert!(start.elapsed() > Duration::from_millis(1_400), "{:?}", start.elapsed());
    daemon.stop();
}

#[test]
fn a_wake_up_makes_the_next_round_come_sooner() {
    let (project, port) = Project::listening();
    project.set("provisioner.interval", "1h");
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 1);
    daemon.until("it listens", || get(port, "/healthz").is_ok());
    project.queue.pending(&[("linux", 1)]);
    let woken = post(port, "/wake", "").unwrap();
    assert!((200..300).contains(&woken.status), "{woken:?}");
    daemon.until("the task gets its machine", || project.live_and_open().0 == 1);
    daemon.stop();
}

#[test]
fn many_wake_ups_keep_to_the_least_interval() {
    let (project, port) = Project::listening();
    project.set("provisioner.interval", "1h");
    project.set("provisioner.min-interval", "500ms");
    let mut daemon = project.daemon();
    daemon.until("it listens", || get(port, "/healthz").is_ok());
    let start = Instant::now();
    let before = project.queue.rounds();
    while start.elapsed() < Duration::from_millis(1_200) {
        post(port, "/wake", "").unwrap();
    }
    daemon.rounds(&project.queue, 0);
    let rounds = project.queue.rounds() - before;
    assert!((1..=4).contains(&rounds), "{rounds} rounds in {:?}", start.elapsed());
    daemon.stop();
}

#[test]
fn what_ran_is_recorded_and_can_be_simulated() {
    let project = Project::set_up();
    project.set("provisioner.interval", "100ms");
    let now = jiff::Timestamp::now();
    let run = |id: &str| {
        let mut task = task(id, "linux");
        task["created"] = json!(now.to_string());
        task["started"] = json!(now.to_string());
        task
    };
    project.queue.answer_running(Answer::Tasks(vec![run("a"), run("b"), run("c")]));
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 2);
    project.queue.answer_running(Answer::Tasks(vec![run("c")]));
    let file = project.ledger_dir().join("load/linux.csv");
    let recorded = || std::fs::read_to_string(&file).unwrap_or_default();
    daemon.until("the tasks that ended are recorded", || recorded().lines().count() == 3);
    daemon.rounds(&project.queue, 2);
    daemon.stop();
    assert_eq!(recorded().lines().count(), 3, "once");
    let args = ["simulate", "--load", "recorded", "--seeds", "1"];
    let simulated = project.provisionerd(&args).ok();
    simulated.prints(&["recorded of linux: 2 tasks", "As recorded: 2 tasks; they waited 0 s"]);
    project.cleanup_aws(&["--yes"]).ok();
    assert!(!file.exists());
}

#[test]
fn health_is_shown() {
    let (project, port) = Project::listening();
    let mut daemon = project.daemon();
    daemon
        .until("it is healthy", || get(port, "/healthz").is_ok_and(|answer| answer.status == 200));
    daemon.stop();
    assert!(get(port, "/healthz").is_err());
}

#[test]
fn two_rounds_never_run_at_once() {
    let (project, port) = Project::listening();
    project.set("provisioner.interval", "50ms");
    project.set("provisioner.min-interval", "10ms");
    project.account.rules(&json!({ "spot": "held" }));
    project.queue.answer_pending(Answer::Slow(Duration::from_millis(400), Vec::new()));
    let mut daemon = project.daemon();
    daemon.until("it listens", || get(port, "/healthz").is_ok());
    let start = Instant::now();
    let before = project.queue.rounds();
    while start.elapsed() < Duration::from_millis(1_500) {
        drop(post(port, "/wake", ""));
        std::thread::sleep(Duration::from_millis(20));
    }
    let rounds = project.queue.rounds() - before;
    assert!(rounds <= 4, "{rounds} rounds of 400 ms in {:?}", start.elapsed());
    daemon.stop();
}

#[test]
fn a_second_process_is_refused_with_the_firsts_pid() {
    let project = Project::set_up();
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 1);
    let pid = daemon.pid().to_string();
    project.daemon().wait().code(1).says(&[&pid]);
    project.round().code(1).says(&[&pid]);
    project.provisionerd(&["plan"]).ok();
    daemon.kill();
    project.round().ok();
}

#[test]
fn a_signal_ends_it_and_leaves_the_machines() {
    for signal in ["TERM", "INT"] {
        let project = Project::set_up();
        project.queue.pending(&[("linux", 2)]);
        let mut daemon = project.daemon();
        daemon.until("machines", || project.live_and_open().0 == 2);
        let start = Instant::now();
        daemon.signal(signal);
        daemon.wait().ok();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(project.live_and_open().0, 2);
        assert!(project.account.calls_of("TerminateInstances").is_empty());
    }
}

#[test]
fn a_signal_in_the_middle_of_an_action_lets_it_finish() {
    let project = Project::set_up();
    project.account.rules(&json!({ "spot": "held" }));
    project.add_worker_type("windows");
    project.queue.pending(&[("linux", 2), ("windows", 2)]);
    project.account.fault(&json!({ "action": "RequestSpotInstances", "hang_ms": 60_000 }));
    let mut daemon = project.daemon();
    daemon.until("the first call is under way", || {
        project.account.calls_of("RequestSpotInstances").len() == 1
    });
    daemon.signal("TERM");
    // Nothing visible shows that the signal has arrived; this is long enough for it.
    std::thread::sleep(Duration::from_millis(300));
    project.account.clear_faults();
    daemon.wait().ok();
    let calls = project.account.calls_of("RequestSpotInstances");
    assert_eq!(calls.len(), 1, "the action in flight finished, and no new one started");
    assert_eq!(calls[0].status, Some(200));
    project.round().ok();
    assert_eq!(project.live_and_open(), (0, 4), "and it was written down");
    assert_eq!(project.world().spot_requests.len(), 4);
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 1)]);
    project
        .account
        .fault(&json!({ "action": "RequestSpotInstances", "hang_ms": 60_000, "drop": true }));
    let mut daemon = project.daemon();
    daemon.until("the call is under way", || {
        project.account.calls_of("RequestSpotInstances").len() == 1
    });
    daemon.signal("INT");
    std::thread::sleep(Duration::from_millis(300));
    daemon.signal("INT");
    let start = Instant::now();
    daemon.wait().code(130);
    assert!(start.elapsed() < Duration::from_secs(2));
    project.account.clear_faults();
}

#[test]
fn a_signal_while_the_queue_hangs() {
    let project = Project::set_up();
    project.set("queue.timeout", "60s");
    project.queue.answer_pending(Answer::Hang);
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 1);
    daemon.stop();
}

#[test]
fn wrong_credentials_are_named_and_waited_for() {
    let project = Project::set_up();
    let mut command = project.command("provisionerd", &["run", "--once"]);
    command.env("AWS_ACCESS_KEY_ID", "AKIANOBODYKNOWSTHIS0");
    Project::finish(&mut command).code(1).says(&["credentials"]);
    let mut command = project.command("provisionerd", &["run", "--once"]);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        command.env_remove(name);
    }
    Project::finish(&mut command).fails().says(&["credentials"]);
}

#[test]
fn the_wrong_account_or_region_changes_nothing() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 1)]);
    let before = project.account.changes().len();
    let stranger = Account::new();
    let mut command = project.command("provisionerd", &["run", "--once"]);
    command.envs(stranger.env());
    Project::finish(&mut command).code(2).says(&[&stranger.number, &project.account.number]);
    for command in [&["run", "--once"][..], &["run"], &["plan"]] {
        let mut args = command.to_vec();
        args.extend(["--region", "eu-west-1"]);
        project.provisionerd(&args).code(2).says(&["eu-west-1", "us-west-2"]);
    }
    assert_eq!(project.account.changes().len(), before);
    assert!(stranger.changes().is_empty());
}

#[test]
fn aws_refusing_everything_fails_a_round_and_not_the_daemon() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 1)]);
    project.account.fault(&json!({
        "action": "*", "code": "UnauthorizedOperation", "status": 403, "times": null,
        "message": "You are not authorized to perform this operation.",
    }));
    project.round().code(1).says(&["UnauthorizedOperation"]);
    project.account.clear_faults();
    let mut daemon = project.daemon();
    daemon.until("a machine", || project.live_and_open().0 == 1);
    project.account.fault(&json!({
        "action": "*", "code": "UnauthorizedOperation", "status": 403, "times": null,
    }));
    daemon.until_it_says("UnauthorizedOperation");
    daemon.rounds(&project.queue, 1);
    project.account.clear_faults();
    project.queue.pending(&[("linux", 3)]);
    daemon.until("it recovers", || project.live_and_open().0 == 3);
    daemon.stop();
}

#[test]
fn a_daemon_waits_for_aws_and_says_so_once() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 1)]);
    let asked = || project.account.calls_of("GetCallerIdentity").len();
    let before = asked();
    project.account.fault(&json!({
        "action": "*", "code": "InternalFailure", "status": 500, "times": null,
    }));
    let mut daemon = project.daemon();
    daemon.until("three tries", || asked() >= before + 3);
    project.account.clear_faults();
    daemon.until("a machine", || project.live_and_open().0 == 1);
    let said = daemon.stop().stderr;
    assert_eq!(said.matches("trying again until AWS answers").count(), 1, "{said}");
}

#[test]
fn launches_refused_but_looks_allowed() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 1)]);
    project.account.fault(&json!({
        "action": "RequestSpotInstances", "code": "UnauthorizedOperation", "status": 403, "times": null,
    }));
    project.round().code(4).says(&["UnauthorizedOperation", "linux"]);
}

#[test]
fn throttling_is_backed_off_from() {
    let project = Project::set_up();
    project.account.rules(&json!({ "throttle": {
        "DescribeInstances": [2.0, 1.0], "DescribeSpotInstanceRequests": [2.0, 1.0],
        "RequestSpotInstances": [0.5, 1.0],
    } }));
    project.add_worker_type("windows");
    project.queue.pending(&[("linux", 2), ("windows", 2)]);
    let mut daemon = project.daemon();
    daemon.until("all tasks get machines", || project.live_and_open().0 == 4);
    daemon.stop();
}

/// Runs the daemon until each of so many worker types has a machine. Five of them get new tasks all the time.
/// Returns the worker types in the order in which they were granted, and how many calls were throttled.
#[expect(clippy::print_stdout, reason = "the seconds are for BENCHMARKS.md")]
fn burst(types: usize, per_second: f64, at_once: f64) -> (Vec<String>, usize) {
    let project = Project::set_up();
    project.set("provisioner.interval", "1s");
    let names: Vec<_> = (0..types).map(|n| format!("type-{n:02}")).collect();
    for name in &names {
        project.add_worker_type(name);
    }
    project
        .account
        .rules(&json!({ "throttle": { "RequestSpotInstances": [per_second, at_once] } }));
    let wait_for = |repeated: usize| {
        let tasks = |n| if n < 5 { repeated } else { 1 };
        let pending = names.iter().enumerate().map(|(n, name)| (name.as_str(), tasks(n)));
        project.queue.pending(&pending.collect::<Vec<_>>());
    };
    wait_for(1);
    let mut daemon = project.daemon();
    let mut repeated = 1;
    let begun = Instant::now();
    let granted = || -> Vec<String> {
        let calls = project.account.calls_of("RequestSpotInstances").into_iter();
        calls.filter(|call| call.status == Some(200)).map(|call| call.worker_type()).collect()
    };
    daemon.until("each worker type is served", || {
        repeated += 1;
        wait_for(repeated);
        let granted = granted();
        names.iter().all(|name| granted.contains(name))
    });
    let took = begun.elapsed().as_secs_f64();
    daemon.stop();
    let calls = project.account.calls_of("RequestSpotInstances");
    let throttled = calls.iter().filter(|call| call.error.is_some()).count();
    println!(
        "{types} worker types, {at_once} at once, {per_second} a second: {took:.1} s, {} calls, \
         {throttled} throttled",
        calls.len()
    );
    (granted(), throttled)
}

#[test]
fn in_a_burst_no_worker_type_comes_twice_before_each_has_come_once() {
    for (types, per_second, at_once) in [(12, 2.0, 5.0), (60, 5.0, 10.0)] {
        let (order, throttled) = burst(types, per_second, at_once);
        let first: BTreeSet<_> = order.iter().take(types).collect();
        assert_eq!(first.len(), types, "{order:?}");
        assert!(throttled < types / 2, "{throttled} calls were throttled");
    }
}

#[test]
fn calls_that_hang_have_an_end() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 1)]);
    project
        .account
        .fault(&json!({ "action": "DescribeInstances", "hang_ms": 600_000, "drop": true }));
    let mut daemon = project.daemon();
    let start = Instant::now();
    eventually("it goes on", Duration::from_secs(100), || project.live_and_open().0 == 1);
    assert!(start.elapsed() < Duration::from_secs(90));
    project.account.clear_faults();
    daemon.rounds(&project.queue, 1);
    daemon.stop();
}

#[test]
fn a_quiet_daemon_makes_few_calls() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 3)]);
    for _ in 0..3 {
        project.round().ok();
    }
    project.queue.running(&[]);
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 2);
    let before = project.account.calls().len();
    daemon.rounds(&project.queue, 4);
    let calls = project.account.calls().split_off(before);
    assert!(
        calls.len() <= 5 * 3,
        "{:?}",
        calls.iter().map(|call| &call.action).collect::<Vec<_>>()
    );
    assert!(project.account.changes().iter().all(|call| call.error.is_none()));
    daemon.stop();
}

#[test]
fn each_action_is_one_structured_line() {
    let project = Project::set_up();
    project.account.rules(&json!({ "spot": "held" }));
    project.queue.pending(&[("linux", 3)]);
    let said = project.provisionerd(&["run", "--once", "--log-format", "json"]).ok();
    let lines: Vec<Value> = said
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let about =
        |line: &&Value| line.to_string().contains("linux") && line.to_string().contains("request");
    assert!(lines.iter().any(|line| about(&line)), "{lines:#?}");
    assert_eq!(said.stdout, "");
}

#[test]
fn secrets_are_not_logged() {
    let project = Project::set_up();
    project.set("worker-types.linux.user-data", "password=hunter2");
    project.queue.pending(&[("linux", 1)]);
    let said = project.provisionerd(&["run", "--once", "-vvv"]);
    let secret = project
        .account
        .env()
        .into_iter()
        .find(|(name, _)| *name == "AWS_SECRET_ACCESS_KEY")
        .unwrap()
        .1;
    for hidden in ["hunter2", "aHVudGVyMg", "cGFzc3dvcmQ9aHVudGVyMg", &secret] {
        assert!(!said.stderr.contains(hidden), "{hidden} in\n{}", said.stderr);
    }
}

#[test]
fn a_daemon_without_worker_types_does_nothing() {
    let project = Project::set_up();
    let before = project.account.changes().len();
    project.unset("worker-types.linux");
    project.queue.pending(&[("linux", 3)]);
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 2);
    always("no change", Duration::from_millis(300), || project.account.changes().len() == before);
    daemon.stop();
}
