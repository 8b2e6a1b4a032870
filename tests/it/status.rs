//! `provisionerd status`: from AWS and the queue, from a daemon, once and again and again.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Answer, Project, free_port, get, post, task};

/// A project with a round behind it, after which two machines of `linux` boot.
fn two_boot() -> Project {
    let project = Project::set_up();
    project.queue.pending(&[("linux", 2)]);
    project.round().ok();
    assert_eq!(project.live_and_open(), (2, 0));
    project
}

#[track_caller]
fn direct(project: &Project) -> Value {
    project.provisionerd(&["status", "--output", "json"]).ok().json()
}

/// Returns the status where EC2 or the queue cannot be read, and the exit code says so.
#[track_caller]
fn direct_in_part(project: &Project) -> Value {
    project.provisionerd(&["status", "--output", "json"]).code(1).json()
}

/// Returns the status of the daemon on this port, once it answers.
fn told(port: u16) -> Value {
    let answer = get(port, "/v1/status").map(|answer| serde_json::from_str(&answer.body));
    answer.ok().and_then(Result::ok).unwrap_or_default()
}

fn errors<'a>(status: &'a Value, code: &str) -> Vec<&'a Value> {
    let errors = status["errors"].as_array().into_iter().flatten();
    errors.filter(|error| error["code"] == code).collect()
}

/// The program without a configuration, credentials, or a home.
fn asked_from_nowhere(dir: &std::path::Path, url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_provisionerd"));
    command.env_clear().current_dir(dir).args(["status", "--url", url]).args(args);
    command
}

/// An HTTP server that answers whatever it is asked with this, as often as it is asked.
fn answering(body: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 1024];
            drop(stream.read(&mut asked));
            let length = body.len();
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length";
            drop(write!(stream, "{head}: {length}\r\n\r\n{body}"));
        }
    });
    port
}

#[test]
fn tasks_machines_and_what_they_cost() {
    let project = two_boot();
    project.add_worker_type("windows");
    let machine = project.world().live(&project.key_name())[0].id.clone();
    project.queue.pending(&[("linux", 5)]);
    project.queue.running(&[("linux", Some(&machine))]);
    let before = project.account.changes().len();
    let status = direct(&project);
    let linux = &status["worker_types"][0];
    let counts = ["pending", "running", "open_requests", "booting", "busy", "idle", "stopping"];
    assert_eq!(linux["name"], "linux");
    assert_eq!(counts.map(|key| linux[key].as_u64().unwrap()), [5, 1, 0, 1, 1, 0, 0], "{linux}");
    assert_eq!(linux["wanted"], 6);
    assert!(linux["oldest_pending_seconds"].as_u64().unwrap() > 0);
    assert_eq!(linux["usd_per_hour"], 0.02, "a cent each, though ten may be paid");
    assert_eq!(status["worker_types"][1]["usd_per_hour"], 0.0);
    assert_eq!(
        (&status["usd_per_hour"], &status["unknown_price_machines"]),
        (&0.02.into(), &0.into())
    );
    assert_eq!((&status["source"], &status["demand_known"]), (&"direct".into(), &true.into()));
    assert_eq!(status["last_round"]["outcome"], "done");
    assert_eq!(status["last_round"]["actions"]["done"], 1);
    assert_eq!(status["last_round"]["trigger"], "start");
    assert_eq!(status["errors"], json!([]));

    let plan = project.provisionerd(&["plan", "--output", "json"]).ok().json();
    for (key, value) in plan["worker_types"][0].as_object().unwrap() {
        assert_eq!(&linux[key], value, "{key} is told as `plan` tells it");
    }
    let text = project.provisionerd(&["status"]).ok().prints(&[
        "worker type pending oldest wanted open booting busy idle stopping",
        "total",
        "cost per hour: 0.0200 usd",
        "1 action done",
        "daemon is running",
    ]);
    assert!(!text.stdout.contains("Next round"), "{}", text.stdout);
    assert!(!text.stdout.contains('\u{1b}'), "not coloured: {}", text.stdout);
    let coloured = project.provisionerd(&["status", "--color", "always"]).ok();
    assert!(coloured.stdout.contains("\u{1b}[1m"), "{}", coloured.stdout);
    assert_eq!(project.account.changes().len(), before, "nothing is changed");
}

#[test]
fn a_machine_that_its_request_alone_knows_for_spot_has_a_price() {
    let project = two_boot();
    project.account.rules(&json!({ "anonymous_requests": true }));
    let status = direct(&project);
    assert_eq!(status["worker_types"][0]["usd_per_hour"], 0.02, "{status}");
    assert_eq!(
        (&status["usd_per_hour"], &status["unknown_price_machines"]),
        (&0.02.into(), &0.into())
    );
}

#[test]
fn nothing_is_wider_than_a_terminal() {
    let project = Project::set_up();
    let names = ["gecko-t-linux-large", "gecko-3-b-linux", "mobile-1-decision"];
    for number in 1..=4 {
        for name in names {
            project.add_worker_type(&format!("{name}-{number}"));
        }
    }
    project.account.fault(&json!({
        "action": "RequestSpotInstances", "code": "UnauthorizedOperation", "status": 403,
        "message": format!("You are not authorized. Encoded: {}", "x".repeat(1000)), "times": null,
    }));
    project.queue.pending(&[("gecko-t-linux-large-1", 1200), ("linux", 7)]);
    project.round().fails();
    let status = project.provisionerd(&["status"]).ok().prints(&["iam-policy", "fix:"]);
    for line in status.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}\n{}", status.stdout);
    }
    let rows = status.stdout.lines().skip(1).take_while(|line| !line.is_empty());
    let columns: Vec<_> = rows.map(|row| row.split_whitespace().count()).collect();
    assert_eq!(columns, [10; 14], "thirteen worker types and the total: {}", status.stdout);
    for name in ["gecko-t-linux-large-1", "mobile-1-decision-4"] {
        assert!(status.stdout.contains(name), "{}", status.stdout);
    }
}

#[test]
fn a_price_that_ec2_does_not_name_is_unknown() {
    let project = two_boot();
    project.account.rules(&json!({ "spot_prices": { "*/*": null } }));
    let status = direct(&project);
    for whose in [&status, &status["worker_types"][0]] {
        assert_eq!(whose["usd_per_hour"], Value::Null);
        assert_eq!(whose["unknown_price_machines"], 2);
    }
    assert_eq!(status["errors"], json!([]), "it was asked and answered");
    project
        .provisionerd(&["status"])
        .ok()
        .prints(&["cost per hour: unknown: 2 machines of unknown price", "0 unknown\n"]);
}

#[test]
fn prices_that_may_not_be_asked_for_are_an_error_with_its_fix() {
    let project = two_boot();
    project.account.fault(&json!({
        "action": "DescribeSpotPriceHistory", "code": "UnauthorizedOperation", "status": 403,
        "times": null,
    }));
    let status = direct(&project);
    assert_eq!(status["usd_per_hour"], Value::Null);
    assert_eq!(status["worker_types"][0]["booting"], 2, "the rest is known");
    let [error] = errors(&status, "UnauthorizedOperation")[..] else { panic!("{status}") };
    assert_eq!(error["operation"], "DescribeSpotPriceHistory");
    assert_eq!(error["request_id"], "req-injected");
    assert!(error["fix"].as_str().unwrap().contains("iam-policy"), "{error}");
}

#[test]
fn what_can_be_told_is_told() {
    let project = two_boot();
    project.queue.answer_pending(Answer::Status(500, String::new()));
    let status = direct_in_part(&project);
    let linux = &status["worker_types"][0];
    for key in ["pending", "oldest_pending", "oldest_pending_seconds", "running", "wanted"] {
        assert_eq!(linux[key], Value::Null, "{key}: {linux}");
    }
    assert_eq!((&linux["booting"], &linux["usd_per_hour"]), (&2.into(), &0.02.into()));
    assert_eq!(errors(&status, "demand-unknown").len(), 1, "{status}");
    let text = project.provisionerd(&["status"]).code(1);
    text.prints(&["?", "the queue could not be read", "fix:", "daemon is running"]);
    assert!(!project.provisionerd(&["status"]).stdout.contains("Next round"));
    let plan = project.provisionerd(&["plan", "--output", "json"]).code(1).json();
    assert_eq!(plan["worker_types"][0]["pending"], Value::Null, "{plan}");
    let plan = project.provisionerd(&["plan"]).code(1).prints(&["? is unknown"]);
    assert!(!plan.stdout.contains("Nothing to do"), "{}", plan.stdout);

    project.queue.pending(&[("linux", 3)]);
    project.account.fault(&json!({
        "action": "DescribeInstances", "code": "UnauthorizedOperation", "status": 403, "times": null,
    }));
    let status = direct_in_part(&project);
    let linux = &status["worker_types"][0];
    assert_eq!((&linux["pending"], &linux["booting"]), (&3.into(), &Value::Null));
    assert_eq!((&linux["usd_per_hour"], &status["observed"]), (&Value::Null, &Value::Null));
    let [error] = errors(&status, "UnauthorizedOperation")[..] else { panic!("{status}") };
    assert_eq!(error["operation"], "DescribeInstances");
    assert_eq!(status["last_round"]["outcome"], "done", "it was, then");

    project.queue.answer_pending(Answer::Close);
    let nothing = project.provisionerd(&["status", "--output", "json"]).code(1);
    let nothing = nothing.says(&["neither EC2 nor the queue"]).json();
    assert_eq!(nothing["worker_types"][0]["pending"], Value::Null);
    assert_eq!(nothing["errors"].as_array().unwrap().len(), 2, "{nothing}");
    assert_eq!(nothing["last_round"]["outcome"], "done");
}

#[test]
fn without_credentials_the_queue_and_the_last_round_are_known() {
    let mut project = two_boot();
    project.account.forge_keys();
    let status = direct_in_part(&project);
    assert_eq!(status["worker_types"][0]["pending"], 2);
    assert_eq!(status["worker_types"][0]["busy"], Value::Null);
    assert_eq!(status["last_round"]["outcome"], "done", "{status}");
    let [error] = errors(&status, "not-connected")[..] else { panic!("{status}") };
    assert!(error["message"].as_str().unwrap().contains("InvalidClientTokenId"), "{error}");
    assert!(error["fix"].is_string(), "{error}");
}

#[test]
fn a_record_that_cannot_be_read_harms_nobody() {
    let project = Project::set_up();
    std::fs::create_dir(project.ledger_dir().join("last-round.json")).unwrap();
    project.queue.pending(&[("linux", 1)]);
    project.round().ok();
    let status = direct(&project);
    assert_eq!(status["worker_types"][0]["booting"], 1);
    assert_eq!(status["last_round"], Value::Null);
    let [error] = errors(&status, "state-unreadable")[..] else { panic!("{status}") };
    assert!(error["message"].as_str().unwrap().contains("last-round.json"), "{error}");
    assert!(error["fix"].as_str().unwrap().contains("readable"), "{error}");
}

#[test]
fn another_account_is_refused() {
    let project = Project::set_up();
    project.set("aws.account-id", "000000000001");
    let refused = project.provisionerd(&["status"]).code(2);
    assert_eq!(refused.says(&["000000000001"]).stdout, "");
    project.unset("provisioner.key-name");
    project.provisionerd(&["status"]).code(2).says(&["setup-aws"]);
}

#[test]
fn a_daemon_tells_the_same_without_configuration_or_aws() {
    let (project, port) = Project::listening();
    project.queue.pending(&[("linux", 2)]);
    project.set("provisioner.interval", "500ms");
    let mut daemon = project.daemon();
    daemon.until("two boot", || told(port)["worker_types"][0]["booting"] == 2);
    daemon.until("the price is known", || told(port)["usd_per_hour"] == 0.02);
    let url = format!("http://127.0.0.1:{port}");
    let nowhere = tempfile::tempdir().unwrap();
    let ask = |args| Project::finish(&mut asked_from_nowhere(nowhere.path(), &url, args));
    let asked = ask(&["--output", "json"]).ok().json();
    let looked = direct(&project);
    let keys = |status: &Value| status.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&asked), keys(&looked));
    assert_eq!(asked["source"], "daemon");
    for key in ["pending", "wanted", "booting", "usd_per_hour"] {
        assert_eq!(asked["worker_types"][0][key], looked["worker_types"][0][key], "{key}");
    }
    assert!(asked["last_round"]["iteration"].as_u64().unwrap() >= 1);
    ask(&[]).ok().prints(&["linux", "cost per hour: 0.0200 usd", "next round:", "(round "]);

    project.set("provisioner.interval", "1h");
    daemon.signal("HUP");
    daemon.until("a reload is told", || told(port)["last_round"]["trigger"] == "reload");
    post(port, "/wake", "").unwrap();
    daemon.until("a wake-up is told", || told(port)["last_round"]["trigger"] == "wake-up");
    daemon.stop();
    ask(&[]).code(1).says(&["failed to ask the daemon", "is the daemon running"]);
}

#[test]
fn an_error_is_told_until_it_has_ended_and_then_as_ended() {
    let (project, port) = Project::listening();
    project.account.fault(&json!({
        "action": "RequestSpotInstances", "code": "InsufficientInstanceCapacity", "status": 400,
        "times": null,
    }));
    project.queue.pending(&[("linux", 1)]);
    let mut daemon = project.daemon();
    let code = "InsufficientInstanceCapacity";
    let only =
        |status: &Value| errors(status, code).first().map_or(Value::Null, |error| (*error).clone());
    daemon.until("it is told", || only(&told(port)).is_object());
    let error = only(&told(port));
    assert_eq!(error["worker_type"], "linux");
    assert_eq!(error["operation"], "RequestSpotInstances");
    assert_eq!(error["request_id"], "req-injected");
    assert!(error["fix"].as_str().unwrap().contains("instance-types"), "{error}");
    daemon.rounds(&project.queue, 3);
    let later = told(port);
    assert_eq!(only(&later)["since"], error["since"], "{later}");
    assert_eq!(only(&later)["ended"], Value::Null, "it waits for its turn: {later}");
    assert_eq!(errors(&later, "cooling-down").len(), 1, "{later}");

    // The status without the daemon has it too.
    assert_eq!(only(&direct(&project))["since"], error["since"]);
    project.account.clear_faults();
    project.queue.pending(&[]);
    daemon.until("it has ended", || only(&told(port))["ended"].is_string());
    let told = told(port);
    assert_eq!(only(&told)["since"], error["since"], "{told}");
    assert!(errors(&told, code).len() == 1, "{told}");
    daemon.stop();
    let status = project.provisionerd(&["status"]).ok();
    status.prints(&["ended:", code, "ended "]);
}

#[test]
fn a_failed_round_leaves_what_was_seen_and_says_since_when() {
    let (project, port) = Project::listening();
    project.queue.pending(&[("linux", 1)]);
    let mut daemon = project.daemon();
    daemon.until("one boots", || told(port)["worker_types"][0]["booting"] == 1);
    project.account.fault(&json!({
        "action": "DescribeInstances", "code": "UnauthorizedOperation", "status": 403, "times": null,
    }));
    daemon.until("a round fails", || told(port)["last_round"]["outcome"] == "failed");
    let status = told(port);
    assert_eq!(status["worker_types"][0]["booting"], 1, "{status}");
    assert!(status["observed"].as_str() < status["last_round"]["time"].as_str(), "{status}");
    let url = format!("http://127.0.0.1:{port}");
    let text = project.provisionerd(&["status", "--url", &url]).ok();
    text.prints(&["as of:", "failed after", "UnauthorizedOperation", "fix: "]);
    daemon.stop();
}

/// The last document that a watch has printed.
fn last(printed: &str) -> Value {
    let whole = printed.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .next_back()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .unwrap_or_default()
}

#[test]
fn a_watch_goes_on_until_it_is_interrupted() {
    let project = two_boot();
    let args = ["status", "--watch", "--interval", "1s", "--output", "json"];
    let mut watch = project.spawn(&mut project.command("provisionerd", &args));
    let pending = |count| move |printed: &str| last(printed)["worker_types"][0]["pending"] == count;
    watch.until_it_prints("two pend", pending(2));
    project.queue.pending(&[("linux", 7)]);
    watch.until_it_prints("seven pend", pending(7));
    project.queue.answer_pending(Answer::Close);
    project.account.fault(&json!({
        "action": "DescribeInstances", "code": "UnauthorizedOperation", "status": 403, "times": null,
    }));
    watch.until_it_prints("nothing is known", |printed| {
        last(printed)["errors"].as_array().is_some_and(|errors| errors.len() == 2)
    });
    project.account.clear_faults();
    project.queue.answer_pending(Answer::Tasks(vec![task("t", "linux")]));
    watch.until_it_prints("one pends", pending(1));
    let prices = project.account.calls_of("DescribeSpotPriceHistory").len();
    assert_eq!(prices, 1, "prices are used for minutes");
    watch.signal("INT");
    let watched = watch.wait().ok();
    for line in watched.stdout.lines() {
        let one: Value = serde_json::from_str(line).expect("one object per line");
        assert_eq!(one["version"], 1, "{line}");
    }
}

#[test]
fn a_watch_waits_for_a_daemon() {
    let (project, port) = Project::listening();
    let url = format!("http://127.0.0.1:{port}");
    let args = ["status", "--url", &url, "--watch", "--interval", "1s"];
    let mut watch = project.spawn(&mut project.command("provisionerd", &args));
    watch.until_it_prints("it says why", |printed| printed.contains("(unreachable)"));
    let daemon = project.daemon();
    watch.until_it_prints("it tells", |printed| printed.contains("Cost per hour: 0 USD"));
    watch.signal("TERM");
    let watched = watch.wait().ok();
    assert!(!watched.stdout.contains('\u{1b}'), "nothing is redrawn: {}", watched.stdout);
    daemon.stop();
}

#[test]
fn a_watch_ends_with_its_reader() {
    let project = Project::set_up();
    let ours = project.command("provisionerd", &[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" status --watch --interval 1s | head -n 1"]).arg(ours.get_program());
    shell.current_dir(project.work()).env_clear();
    shell.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Project::finish(&mut shell).ok();
}

#[test]
fn an_answer_of_something_else_is_no_status() {
    let nowhere = tempfile::tempdir().unwrap();
    let ask = |url: &str| Project::finish(&mut asked_from_nowhere(nowhere.path(), url, &[]));
    let at = |port: u16| format!("http://127.0.0.1:{port}");
    let newer = answering(r#"{"version":2,"worker_types":{}}"#);
    ask(&at(newer)).code(1).says(&["version 2", "reads version 1", "hint:"]);
    ask(&at(answering("<html>"))).code(1).says(&["not the status of a `provisionerd`"]);
    ask(&at(answering(r#"{"version":1}"#))).code(1).says(&["not the status", "missing field"]);
    let project = Project::new();
    ask(&at(project.queue.port())).code(1).says(&["status 404"]);
    ask(&at(free_port())).code(1).says(&["failed to ask the daemon"]);
    for bad in ["127.0.0.1:3000", "ftp://127.0.0.1/", "http://me:secret@x:port/"] {
        let refused = ask(bad).code(2).says(&["http://127.0.0.1:3000"]);
        assert!(!refused.stderr.contains("secret"), "{}", refused.stderr);
    }
}
