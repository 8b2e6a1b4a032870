//! The daemon reports its state: metrics, readiness, the service manager, log lines.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Project, get, get_metrics, task};

#[path = "../support/openmetrics.rs"]
mod openmetrics;

use openmetrics::{Family, Sample};

fn scrape(port: u16) -> Option<Vec<Family>> {
    let answer = get_metrics(port).ok()?;
    assert_eq!(answer.status, 200, "{answer:?}");
    let parsed = openmetrics::parse(&answer.body);
    Some(parsed.unwrap_or_else(|error| panic!("{error}\n{}", answer.body)))
}

/// The value of the one series with this name and these labels.
fn value(port: u16, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let families = scrape(port)?;
    let is_it = |sample: &&Sample| {
        sample.name == name
            && sample.labels.len() == labels.len()
            && labels.iter().all(|(label, value)| sample.labels[*label] == *value)
    };
    families.iter().flat_map(|family| &family.samples).find(is_it).map(|sample| sample.value)
}

/// Whether a series has this integer value.
fn is(port: u16, name: &str, labels: &[(&str, &str)], expected: u32) -> bool {
    value(port, name, labels).is_some_and(|value| value.total_cmp(&expected.into()).is_eq())
}

fn ready(port: u16) -> Option<(u16, Value)> {
    let answer = get(port, "/readyz").ok()?;
    Some((answer.status, serde_json::from_str(&answer.body).expect("JSON")))
}

#[test]
fn numbers_match_what_ec2_shows() {
    let (project, port) = Project::listening();
    project.add_worker_type("windows");
    project.queue.pending(&[("linux", 3), ("windows", 2)]);
    let mut daemon = project.daemon();
    daemon.until("machines", || project.live_and_open().0 == 5);
    let linux = [("worker_type", "linux"), ("state", "booting")];
    daemon.until("linux boots", || is(port, "provisioner_instances", &linux, 3));
    let windows = [("worker_type", "windows"), ("state", "booting")];
    assert!(is(port, "provisioner_instances", &windows, 2));
    assert!(is(port, "provisioner_pending_tasks", &[("worker_type", "linux")], 3));
    assert!(is(port, "provisioner_desired_instances", &[("worker_type", "linux")], 3));
    assert!(is(port, "provisioner_max_instances", &[("worker_type", "linux")], 20));
    let requested = [("kind", "request"), ("outcome", "done")];
    assert!(is(port, "provisioner_actions_total", &requested, 5));
    let asked = value(
        port,
        "provisioner_aws_requests_total",
        &[("operation", "RequestSpotInstances"), ("outcome", "ok")],
    );
    #[expect(clippy::cast_precision_loss, reason = "two calls")]
    let seen = project.account.calls_of("RequestSpotInstances").len() as f64;
    assert_eq!(asked, Some(seen));

    let machine = project.world().live(&project.key_name())[0].id.clone();
    project.queue.pending(&[]);
    project.queue.running(&[("linux", Some(&machine))]);
    let busy = |name| [("worker_type", name), ("state", "busy")];
    daemon.until("one is busy", || {
        is(port, "provisioner_instances", &busy("linux"), 1)
            || is(port, "provisioner_instances", &busy("windows"), 1)
    });
    assert!(is(port, "provisioner_pending_tasks", &[("worker_type", "linux")], 0));

    for family in scrape(port).unwrap() {
        for Sample { labels, .. } in family.samples {
            for (label, value) in labels {
                let id = ["i-", "sir-", "ami-"].iter().any(|prefix| value.starts_with(prefix));
                assert!(!id, "{}: {label}={value}", family.name);
                let known = ["linux", "windows", "_other"].contains(&value.as_str());
                assert!(label != "worker_type" || known, "{}: {value}", family.name);
            }
        }
    }
    daemon.stop();
}

#[test]
fn every_attempt_at_aws_is_counted_by_its_outcome() {
    let (project, port) = Project::listening();
    project.account.fault(&json!({
        "action": "RequestSpotInstances", "code": "InsufficientInstanceCapacity", "status": 400,
        "times": null,
    }));
    project.account.fault(&json!({
        "action": "DescribeInstances", "code": "RequestLimitExceeded", "status": 503, "times": 1,
    }));
    project.queue.pending(&[("linux", 1)]);
    let mut daemon = project.daemon();
    let labels = |operation, outcome| [("operation", operation), ("outcome", outcome)];
    let name = "provisioner_aws_requests_total";
    daemon.until("the refusal is counted", || {
        value(port, name, &labels("RequestSpotInstances", "no-capacity")).is_some()
    });
    assert!(is(port, name, &labels("DescribeInstances", "throttled"), 1), "the SDK repeated it");
    assert_eq!(value(port, name, &labels("RequestSpotInstances", "ok")), None);
    let refused = [("kind", "request"), ("outcome", "refused")];
    daemon.until("the round is told", || {
        value(port, "provisioner_actions_total", &refused).is_some_and(|count| count >= 1.0)
    });
    let notes = [("kind", "cooling-down")];
    daemon.until("the note is counted", || is(port, "provisioner_notes", &notes, 1));
    let waited = [("worker_type", "linux")];
    let name = "provisioner_task_waiting_while_allowed_seconds_total";
    daemon.until("waiting is counted, for capacity is allowed", || {
        value(port, name, &waited).is_some_and(|seconds| seconds > 0.5)
    });
    daemon.stop();
}

#[test]
fn tasks_at_the_maximum_wait_with_reason() {
    let (project, port) = Project::listening();
    project.set("worker-types.linux.max-instances", 1);
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    let machine = project.world().live(&project.key_name())[0].id.clone();
    project.queue.running(&[("linux", Some(&machine))]);
    project.queue.pending(&[("linux", 5)]);
    let mut daemon = project.daemon();
    let labels = [("worker_type", "linux")];
    daemon.until("it is seen", || is(port, "provisioner_notes", &[("kind", "at-maximum")], 1));
    daemon.rounds(&project.queue, 3);
    let name = "provisioner_task_waiting_while_allowed_seconds_total";
    assert!(is(port, name, &labels, 0));
    daemon.stop();
}

#[test]
fn waiting_times_come_from_the_queue() {
    let (project, port) = Project::listening();
    let started = |id: &str, at: &str| {
        let mut task = task(id, "linux");
        task["started"] = json!(at);
        task
    };
    let old = started("old", "2026-11-01T12:01:00Z");
    project.queue.answer_running(Answer::Tasks(vec![old.clone()]));
    let mut daemon = project.daemon();
    let count = |expected| {
        is(port, "provisioner_task_wait_seconds_count", &[("worker_type", "linux")], expected)
    };
    daemon.rounds(&project.queue, 2);
    assert!(count(0), "what ran before is history");
    let new = started("new", "2026-11-01T12:01:40Z");
    project.queue.answer_running(Answer::Tasks(vec![old, new]));
    daemon.until("it is counted", || count(1));
    daemon.rounds(&project.queue, 2);
    assert!(count(1), "and only once");
    assert!(is(port, "provisioner_task_wait_seconds_sum", &[("worker_type", "linux")], 100));
    daemon.stop();
}

#[test]
fn a_removed_worker_type_vanishes_with_a_reload() {
    let (project, port) = Project::listening();
    project.add_worker_type("windows");
    let mut daemon = project.daemon();
    let pending = [("worker_type", "windows")];
    daemon.until("windows is told", || is(port, "provisioner_pending_tasks", &pending, 0));
    project.unset("worker-types.windows");
    daemon.signal("HUP");
    daemon.until("it vanishes", || {
        get(port, "/metrics").is_ok_and(|answer| !answer.body.contains("windows"))
    });
    daemon.stop();
}

#[test]
fn it_is_ready_while_ec2_and_the_queue_can_be_read() {
    let (project, port) = Project::listening();
    project.set("provisioner.interval", "200ms");
    let unreadable = json!({
        "action": "DescribeInstances", "code": "UnauthorizedOperation", "status": 403, "times": null,
    });
    project.account.fault(&unreadable);
    let mut daemon = project.daemon();
    let not_ready = |word: &str| {
        ready(port).is_some_and(|(status, body)| {
            status == 503 && body["reason"].as_str().is_some_and(|reason| reason.contains(word))
        })
    };
    daemon.until("it says why not", || not_ready("UnauthorizedOperation"));
    assert_eq!(get(port, "/healthz").unwrap().status, 200, "the loop turns");
    assert_eq!(value(port, "provisioner_last_success_timestamp_seconds", &[]), None);
    project.account.clear_faults();
    daemon.until("it is ready", || ready(port).is_some_and(|(status, _)| status == 200));
    assert_eq!(ready(port).unwrap().1["reason"], Value::Null);
    project.account.fault(&unreadable);
    daemon.until("no longer", || not_ready("UnauthorizedOperation"));
    assert!(value(port, "provisioner_failed_rounds", &[]).unwrap() >= 1.0);
    assert!(value(port, "provisioner_last_success_timestamp_seconds", &[]).is_some());
    project.account.clear_faults();
    daemon.until("it is ready again", || ready(port).is_some_and(|(status, _)| status == 200));
    project.queue.answer_pending(Answer::Status(500, String::new()));
    daemon.until("the queue counts too", || not_ready("500"));
    assert!(value(port, "provisioner_queue_reads_total", &[("outcome", "status")]).is_some());
    daemon.stop();
}

/// Returns the next notification to the service manager.
fn hear(socket: &UnixDatagram) -> String {
    let mut message = [0; 4096];
    let length = socket.recv(&mut message).expect("a message within its time");
    String::from_utf8(message[..length].to_vec()).expect("text")
}

#[test]
fn a_service_manager_is_told() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 2)]);
    let path = project.work().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
    let mut command = project.command("provisionerd", &["run"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let mut daemon = project.spawn(&mut command);
    let mut heard = Vec::new();
    let mut until = |what: &str, daemon: &mut crate::harness::Daemon| {
        daemon.until(what, || {
            let message = hear(&socket);
            heard.push(message);
            heard.last().is_some_and(|message| message.contains(what))
        });
        heard.clone()
    };
    let before = until("READY=1", &mut daemon);
    let ready = before.last().unwrap();
    assert!(ready.contains("\nSTATUS=1 type, 2 pending, "), "{before:?}");
    until("WATCHDOG=1", &mut daemon);
    until("2 booting", &mut daemon);
    project.account.fault(&json!({
        "action": "DescribeInstances", "code": "UnauthorizedOperation", "status": 403, "times": null,
    }));
    until("rounds failed in a row", &mut daemon);
    daemon.signal("TERM");
    // Other notifications may come first. If this one does not come, the socket times out.
    while !heard.last().is_some_and(|message| message.contains("STOPPING=1")) {
        heard.push(hear(&socket));
    }
    daemon.wait().ok();
    let ready = heard.iter().filter(|message| message.contains("READY=1"));
    assert_eq!(ready.count(), 1, "{heard:?}");
}

#[test]
fn a_service_manager_is_told_of_a_reload_whatever_comes_of_it() {
    let project = Project::set_up();
    let path = project.work().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
    let mut command = project.command("provisionerd", &["run"]);
    let daemon = project.spawn(command.env("NOTIFY_SOCKET", &path));
    let until = |what: &str| while !hear(&socket).contains(what) {};
    until("READY=1");
    project.set("provisioner.interval", "20s");
    daemon.signal("HUP");
    until("RELOADING=1\nMONOTONIC_USEC=");
    until("READY=1");
    project.set("provisioner.interval", "soon");
    daemon.signal("HUP");
    until("RELOADING=1");
    until("READY=1");
    daemon.stop().says(&["configuration reloaded", "the old one stays in force"]);
}

#[test]
fn a_socket_that_is_gone_is_told_of_once_and_does_no_harm() {
    let project = Project::set_up();
    let mut command = project.command("provisionerd", &["run"]);
    command.env("NOTIFY_SOCKET", project.work().join("nobody"));
    let mut daemon = project.spawn(&mut command);
    daemon.rounds(&project.queue, 1);
    project.queue.pending(&[("linux", 1)]);
    daemon.until("it works", || project.live_and_open().0 == 1);
    daemon.rounds(&project.queue, 2);
    let said = daemon.stop().says(&["service manager"]);
    let lines = said.stderr.lines().filter(|line| line.contains("service manager")).count();
    assert_eq!(lines, 1, "{}", said.stderr);
}

#[test]
fn log_lines_are_for_machines_and_for_people() {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 2)]);
    project.account.fault(&json!({
        "action": "RequestSpotInstances", "code": "InsufficientInstanceCapacity", "status": 400,
        "times": 1,
    }));
    let mut command = project.command("provisionerd", &["run", "--log-format", "json"]);
    let mut daemon = project.spawn(&mut command);
    daemon.until("machines", || project.live_and_open().0 == 2);
    daemon.rounds(&project.queue, 2);
    project.account.fault(&json!({
        "action": "DescribeInstances", "code": "UnauthorizedOperation", "status": 403, "times": null,
    }));
    daemon.until_it_says("UnauthorizedOperation");
    daemon.rounds(&project.queue, 1);
    let said = daemon.stop();
    let lines: Vec<Value> = said
        .stderr
        .lines()
        .map(|line| {
            let value: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(keys(line).len(), value.as_object().unwrap().len(), "a key twice: {line}");
            for key in ["timestamp", "level", "message", "target"] {
                assert!(value[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {line}");
            }
            value
        })
        .collect();
    let with = |field: &str, text: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line[field] == text).collect()
    };
    let requests = with("action.kind", "request");
    let refused = requests.iter().find(|line| line["outcome"] == "refused").unwrap();
    assert_eq!(refused["level"], "WARN");
    assert_eq!(refused["error.code"], "InsufficientInstanceCapacity");
    assert_eq!(refused["error.kind"], "no-capacity");
    assert_eq!(refused["aws.operation"], "RequestSpotInstances");
    assert!(refused["aws.request_id"].as_str().is_some_and(|id| !id.is_empty()), "{refused}");
    let done = requests.iter().find(|line| line["outcome"] == "done").unwrap();
    assert_eq!(done["level"], "INFO");
    assert_eq!(done["worker_type"], "linux");
    assert_eq!(done["action.reason"], "pending-tasks");
    assert_eq!(done["instance.type"], "m5.large");
    assert_eq!(done["zone"], "us-west-2a");
    assert!(done["reconcile.iteration"].as_u64().is_some_and(|round| round >= 1), "{done}");
    let ids: BTreeSet<_> = done["spot_request.id"].as_str().unwrap().split(' ').collect();
    assert_eq!(ids.len(), 2, "{done}");
    assert_eq!(done.get("error.code"), None);
    let rounds: Vec<_> = lines.iter().filter(|line| line["duration_ms"].is_u64()).collect();
    assert!(!rounds.is_empty());
    assert!(rounds.iter().all(|line| line["actions"].as_u64() != Some(0)), "{rounds:#?}");
    let failures = with("level", "ERROR");
    assert_eq!(failures.len(), 1, "once: {failures:#?}");
    assert_eq!(failures[0]["error.code"], "UnauthorizedOperation");
    assert_eq!(failures[0]["aws.operation"], "DescribeInstances");
    assert!(failures[0]["aws.request_id"].as_str().is_some_and(|id| !id.is_empty()));

    // The same as text: one line each, which say it without their fields.
    project.account.clear_faults();
    project.queue.pending(&[("linux", 3)]);
    let said = project.provisionerd(&["run", "--once", "--log-format", "text"]).ok();
    let line = said.stderr.lines().find(|line| line.contains("request 1 (m5.large")).unwrap();
    assert!(line.contains("INFO") && !line.contains("action.count"), "{line}");
    assert!(
        line.contains("1 task waits, none on the way") || line.contains("tasks wait"),
        "{line}"
    );
}

/// The keys of a flat JSON object, repeated ones too, which a parser hides.
fn keys(line: &str) -> Vec<String> {
    struct Keys(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Keys;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Keys, A::Error> {
                    let mut keys = Vec::new();
                    while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                        keys.push(key);
                    }
                    Ok(Keys(keys))
                }
            }
            de.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Keys>(line).expect("an object").0
}
