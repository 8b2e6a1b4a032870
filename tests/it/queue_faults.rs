//! A queue that is down, slow or wrong: demand is unknown, and nothing is done on account of it.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Answer, Project, free_port, task};

/// A project with two open requests and one machine over... nothing: all of it wanted.
fn working() -> Project {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    project.account.rules(&json!({ "spot": "held" }));
    project.queue.pending(&[("linux", 3)]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (1, 2));
    // The first machine has been tagged by now, so later changes are because of demand.
    project.round().ok();
    project
}

/// Asserts that a round with this answer fails, says so and changes nothing.
#[track_caller]
fn is_no_demand(project: &Project, answer: Answer) -> String {
    let before = project.account.changes().len();
    let what = format!("{answer:?}");
    project.queue.answer_pending(answer);
    let said = project.round().code(1);
    assert_eq!(project.account.changes().len(), before, "{what:.100}");
    assert_eq!(project.live_and_open(), (1, 2), "{what:.100}");
    said.stderr
}

#[test]
fn errors_are_no_demand() {
    let project = working();
    for status in [500, 503, 404, 204, 401] {
        let said = is_no_demand(&project, Answer::Status(status, "broken".to_owned()));
        assert!(said.contains(&status.to_string()), "{said}");
    }
    is_no_demand(&project, Answer::Close);
}

#[test]
fn garbage_is_no_demand() {
    let project = working();
    for text in [
        "",
        "hello",
        "{}",
        r#"{"tasks": []}"#,
        "null",
        "[1, 2",
        "[{\"taskId\": }]",
        "[] []",
        "[]x",
        "\u{1}",
    ] {
        is_no_demand(&project, Answer::Text(text.to_owned()));
    }
}

#[test]
fn half_an_array_is_no_demand() {
    let project = working();
    is_no_demand(&project, Answer::CutOff(vec![task("a", "linux"), task("b", "linux")]));
}

#[test]
fn slowness_has_an_end() {
    let project = working();
    project.set("queue.timeout", "300ms");
    is_no_demand(&project, Answer::Hang);
    is_no_demand(&project, Answer::Slow(Duration::from_secs(3), vec![task("a", "linux")]));
    is_no_demand(&project, Answer::Endless);
    project.set("queue.timeout", "5s");
    project
        .queue
        .answer_pending(Answer::Slow(Duration::from_millis(500), vec![task("a", "linux")]));
    project.round().ok();
}

#[test]
fn nobody_listens() {
    let project = working();
    let before = project.account.changes().len();
    let port = free_port();
    project.set("queue.port", i64::from(port));
    project.round().code(1).says(&[&port.to_string()]);
    assert_eq!(project.account.changes().len(), before);
}

#[test]
fn no_maximum_is_enforced_by_killing_while_demand_is_unknown() {
    let project = working();
    project.set("worker-types.linux.max-instances", 1);
    is_no_demand(&project, Answer::Status(500, String::new()));
}

#[test]
fn a_daemon_sits_it_out() {
    let project = working();
    project.queue.answer_pending(Answer::Status(500, String::new()));
    let before = project.account.changes().len();
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 3);
    assert_eq!(project.account.changes().len(), before);
    project.queue.pending(&[("linux", 1)]);
    daemon.until("the surplus is cancelled", || project.live_and_open() == (1, 0));
    daemon.stop().says(&["500"]);
}

#[test]
fn it_gives_up_when_told_to() {
    let project = Project::set_up();
    project.set("provisioner.max-failed-rounds", 2);
    project.set("provisioner.interval", "100ms");
    project.queue.answer_pending(Answer::Status(500, String::new()));
    project.daemon().wait().code(1);
    assert_eq!(project.queue.rounds(), 2);
}

#[test]
fn elements_of_the_wrong_kind_are_skipped_and_counted() {
    let project = Project::set_up();
    project.account.rules(&json!({ "spot": "held" }));
    project.queue.answer_pending(Answer::Tasks(vec![
        task("a", "linux"),
        json!(5),
        json!(null),
        json!([]),
        json!({ "taskId": "b", "workerType": 7 }),
        json!({ "taskId": "c" }),
        json!({ "workerType": "linux" }),
        json!({ "taskId": "d", "workerType": "linux", "unknown": { "deep": [[[{}]]] } }),
    ]));
    let said = project.round().ok();
    assert_eq!(project.live_and_open(), (0, 3));
    said.says(&[
        "3 elements are skipped",
        "2 tasks are skipped for want of a text at `/workerType`",
    ]);
}

#[test]
fn fields_of_another_type_than_expected_cost_no_task() {
    let project = Project::set_up();
    project.account.rules(&json!({ "spot": "held" }));
    let taskcluster = json!({
        "taskId": 7, "workerType": "linux", "priority": "lowest", "created": 1_767_225_600_000_u64,
    });
    project.queue.answer_pending(Answer::Tasks(vec![taskcluster]));
    let said = project.round().ok();
    assert_eq!(project.live_and_open(), (0, 1));
    said.says(&["`priority` cannot be read in 1 task", "in task `7`, for example"]);
}

#[test]
fn tasks_none_of_which_can_be_read_fail_the_round_with_field_value_and_example() {
    let project = Project::set_up();
    project.queue.answer_pending(Answer::Tasks(vec![
        json!({ "taskId": "a", "workerType": 3 }),
        json!({ "taskId": "b", "workerType": null }),
    ]));
    for command in [&["run", "--once"][..], &["plan"], &["status"]] {
        let said = project.provisionerd(command).code(1);
        let all =
            said.stderr.clone() + &said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            all.contains(
                "not one of 2 tasks can be used: no text at `/workerType` (`3` in task `a`"
            ),
            "{all}"
        );
    }
}

#[test]
fn a_task_forges_no_line_and_moves_no_cursor() {
    let project = Project::set_up();
    let evil = "x\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J\u{202e}";
    project.queue.answer_pending(Answer::Tasks(vec![task("a", evil), json!({ "taskId": evil })]));
    for command in [&["run", "--once", "--log-format", "text"][..], &["plan"], &["status"]] {
        let said = project.provisionerd(command).ok();
        let all = said.stderr + &said.stdout;
        assert!(!all.contains(['\u{1b}', '\u{202e}']), "{all:?}");
        assert!(!all.lines().any(|line| line.contains("ERROR") && !line.contains("x\\n")), "{all}");
    }
}

#[test]
fn hundred_thousand_tasks_are_counted() {
    let project = Project::set_up();
    project.account.rules(&json!({ "spot": "held" }));
    project.set("queue.timeout", "60s");
    let one =
        format!("{},", json!({ "taskId": "x", "workerType": "linux", "payload": "y".repeat(100) }));
    let mut text = one.repeat(100_000);
    text.pop();
    project.queue.answer_pending(Answer::Text(format!("[{text}]")));
    project.round();
    assert_eq!(project.live_and_open(), (0, 20), "the maximum");
}

#[test]
fn the_queue_is_asked_as_agreed() {
    let project = Project::set_up();
    project.round().ok();
    assert_eq!(
        project.queue.requests()[..2],
        ["/0.1.0/jobs?state=PENDING", "/0.1.0/jobs?state=RUNNING"]
    );
    let asked = project.queue.requests().len();
    let url = format!("http://127.0.0.1:{}/deep/v1", project.queue.port());
    project.set("queue.url", url);
    for key in ["host", "port", "version"] {
        project.unset(&format!("queue.{key}"));
    }
    project.set("queue.running", false);
    project.round().ok();
    assert_eq!(project.queue.requests()[asked..], ["/deep/v1/jobs?state=PENDING"]);
}

#[test]
fn a_queue_without_running_is_fine_at_first() {
    for status in [404, 400] {
        let project = Project::set_up();
        project.queue.answer_running(Answer::Status(status, String::new()));
        project.queue.pending(&[("linux", 1)]);
        project.round().ok();
        assert_eq!(project.live_and_open().0, 1);
    }
    let project = Project::set_up();
    project.set("queue.running", true);
    project.queue.pending(&[("linux", 1)]);
    project.round().code(1).says(&["RUNNING"]);
    assert_eq!(project.live_and_open().0, 0);
}

#[test]
fn running_that_fails_later_makes_demand_unknown() {
    let project = working();
    project.queue.running(&[]);
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 2);
    project.queue.answer_running(Answer::Status(404, String::new()));
    daemon.rounds(&project.queue, 2);
    let before = project.account.changes().len();
    project.queue.pending(&[]);
    daemon.rounds(&project.queue, 3);
    assert_eq!(project.account.changes().len(), before);
    project.queue.running(&[]);
    daemon.until("it knows again", || project.live_and_open() == (1, 0));
    daemon.stop();
}

#[test]
fn a_queue_that_ignores_the_state_is_seen_through() {
    let project = working();
    let tasks = vec![task("a", "linux"), task("b", "linux"), task("c", "linux")];
    project.queue.answer_pending(Answer::Tasks(tasks.clone()));
    project.queue.answer_running(Answer::Tasks(tasks));
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 4);
    assert_eq!(project.live_and_open(), (1, 2), "the tasks were not counted twice");
    let said = daemon.stop();
    assert_eq!(
        said.stderr.lines().filter(|line| line.contains("RUNNING")).count(),
        1,
        "{}",
        said.stderr
    );
}

#[test]
fn the_token_goes_to_the_queue_and_no_further() {
    let project = Project::set_up();
    project.write("token", "s3cret-token\n");
    project.set("queue.token-file", "token");
    project.round().ok();
    let sent = project.queue.headers();
    assert!(sent.iter().all(|h| h["authorization"] == "Bearer s3cret-token"), "{sent:?}");

    let other = crate::harness::FakeQueue::start();
    let to = format!("http://127.0.0.1:{}/0.1.0/jobs?state=PENDING", other.port());
    project.queue.answer_pending(Answer::Redirect(to));
    let said = project.provisionerd(&["run", "--once", "-vv"]);
    assert!(!said.stderr.contains("s3cret"), "{}", said.stderr);
    assert!(other.headers().iter().all(|h| !h.contains_key("authorization")));

    project.set("queue.host", "queue.example.com");
    project.round().code(2).says(&["token-file"]);
}
