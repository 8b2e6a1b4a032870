//! Workers ask the daemon over HTTP whether to stop, with the URL and token of their user data.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::harness::{Daemon, Project, Response, free_port, get, mode, post_bearer};

const TEMPLATE: &str = "#!/bin/sh\nurl=${{ stop_url }}\ntoken=${{ stop_token }}\n";

/// A project whose idle machines may go at once, and where workers ask.
fn asking() -> (Project, u16, u16) {
    let (project, port) = Project::listening();
    let workers = free_port();
    project.set("server.worker-listen", format!("127.0.0.1:{workers}"));
    project.set("server.worker-url", format!("http://127.0.0.1:{workers}/"));
    project.set("worker-types.linux.user-data", TEMPLATE);
    project.set("worker-types.linux.user-data-template", true);
    project.set("worker-types.linux.policy", "adaptive:wait-cost=0");
    (project, port, workers)
}

/// A worker, as it finds itself on its machine.
struct Worker {
    instance: String,
    address: Ipv4Addr,
    port: u16,
    token: String,
}

impl Worker {
    fn on(project: &Project, instance: &str, port: u16) -> Self {
        let world = project.world();
        let machine = world.instance(instance);
        let user_data = machine.user_data.clone().expect("user data");
        let after = |key: &str| {
            let line = user_data.lines().find_map(|line| line.strip_prefix(key));
            line.expect("what the template names").to_owned()
        };
        assert_eq!(after("url="), format!("http://127.0.0.1:{port}/v1/workers"));
        let token = after("token=");
        assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Self { instance: instance.to_owned(), address: machine.address, port, token }
    }

    fn all(project: &Project, port: u16) -> Vec<Self> {
        let world = project.world();
        let key_name = project.key_name();
        world.live(&key_name).iter().map(|instance| Self::on(project, &instance.id, port)).collect()
    }

    fn path(&self) -> String {
        format!("/v1/workers/{}/should-stop", self.instance)
    }

    fn post(&self, token: &str, body: &str) -> Response {
        post_bearer(self.address, self.port, &self.path(), token, body).expect("an answer")
    }

    /// Whether it is told to stop; `false` also if the machine is not known yet.
    fn says(&self, what: &Value) -> bool {
        let answer = self.post(&self.token, &what.to_string());
        if answer.status == 404 {
            return false;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        let told: Value = serde_json::from_str(&answer.body).expect("JSON");
        let stop = told["stop"].as_bool();
        let lease = told["lease_seconds"].as_u64();
        assert_eq!(lease.expect("a lease") > 0, stop.expect("an answer"), "{told}");
        stop.unwrap_or_default()
    }

    fn is_idle(&self) -> bool {
        self.says(&json!({ "idle": true }))
    }

    fn stops(&self) -> bool {
        self.says(&json!({ "stopping": true }))
    }
}

fn with_machines(project: &Project, n: usize) -> Daemon {
    project.queue.running(&[]);
    project.queue.pending(&[("linux", n)]);
    let mut daemon = project.daemon();
    daemon.until("the machines are there", || project.live_and_open().0 == n);
    daemon
}

#[test]
fn a_machine_ends_when_its_worker_asked_was_told_to_and_said_so() {
    let (project, port, workers) = asking();
    let mut daemon = with_machines(&project, 2);
    let [one, other] = &Worker::all(&project, workers)[..] else { panic!("two machines") };
    assert_eq!(one.token, other.token, "one launch, one token");

    // While tasks wait, no worker is told to stop.
    daemon.until("the daemon knows them", || one.post(&one.token, "{\"idle\":true}").status == 200);
    daemon.rounds(&project.queue, 2);
    assert!(!one.is_idle() && !other.is_idle());
    assert!(!one.stops(), "nor may they without having been told");

    project.queue.pending(&[]);
    daemon.until("it is told to stop", || one.is_idle());
    daemon.rounds(&project.queue, 2);
    assert_eq!(project.live_and_open().0, 2, "it has not said that it does");
    assert!(one.stops());
    daemon.until("the machine is ended", || project.live_and_open().0 == 1);
    let ended = project.account.calls_of("TerminateInstances");
    assert!(ended.iter().all(|call| call.param("InstanceId.1") == one.instance), "{ended:?}");

    // The other one works on, though nothing needs it, until it is asked.
    daemon.rounds(&project.queue, 3);
    assert_eq!(project.live_and_open().0, 1);
    daemon.until("the other one is told to stop", || other.is_idle());
    // Then it is seen with a task after all.
    project.queue.running(&[("linux", Some(&other.instance))]);
    daemon.rounds(&project.queue, 2);
    assert!(!other.stops(), "it is needed");
    daemon.rounds(&project.queue, 2);
    assert_eq!(project.live_and_open().0, 1);

    let metrics = get(port, "/metrics").expect("metrics").body;
    for line in [
        "provisioner_worker_asks_total{outcome=\"stopping\"} 1",
        "provisioner_worker_promises_ended_total{why=\"withdrawn\"} 1",
        "provisioner_actions_total{kind=\"terminate\",outcome=\"done\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let said = daemon.said();
    assert!(said.contains("worker-agreed") || said.contains("are stopping"), "{said}");
    assert!(!said.contains(&one.token), "a secret in the log");
    daemon.stop();
}

#[test]
fn only_a_machines_own_token_counts_and_nothing_is_told_to_others() {
    let (project, port, workers) = asking();
    project.add_worker_type("windows");
    project.queue.running(&[]);
    project.queue.pending(&[("linux", 1), ("windows", 1)]);
    let mut daemon = project.daemon();
    daemon.until("two machines", || project.live_and_open().0 == 2);
    let [one, other] = &Worker::all(&project, workers)[..] else { panic!("two machines") };
    assert_ne!(one.token, other.token, "two launches, two tokens");
    let idle = "{\"idle\":true}";
    daemon.until("the daemon knows them", || {
        [one, other].iter().all(|worker| worker.post(&worker.token, idle).status == 200)
    });
    for token in [&other.token, "", "0", &one.token[1..]] {
        assert_eq!(one.post(token, idle).status, 401, "{token}");
    }
    let unknown =
        Worker { instance: "i-0123456789abcdef0".to_owned(), token: one.token.clone(), ..*one };
    assert_eq!(unknown.post(&one.token, idle).status, 404);
    for body in ["", "idle", "{}", "{\"idle\":\"yes\"}", "{\"idle\":true,\"stopping\":true}"] {
        assert_eq!(one.post(&one.token, body).status, 400, "{body}");
    }
    assert_eq!(one.post(&one.token, &format!("{idle}{}", " ".repeat(2000))).status, 413);
    assert_eq!(get(workers, &one.path()).unwrap().status, 405);
    for path in ["/metrics", "/v1/status", "/healthz"] {
        assert_eq!(get(workers, path).unwrap().status, 404, "{path} is the operator's");
    }
    assert_eq!(post_bearer(one.address, port, &one.path(), &one.token, idle).unwrap().status, 404);

    let secret = project.ledger_dir().join("stop-secret.json");
    assert_eq!(mode(&secret), 0o600);
    for args in [&["config"][..], &["plan"], &["plan", "--output", "json"]] {
        let shown = project.provisionerd(args).ok();
        for token in [&one.token, &other.token] {
            assert!(!shown.stdout.contains(token.as_str()), "{args:?}");
        }
    }

    // Another process believes the same tokens.
    daemon.kill();
    let mut daemon = project.daemon();
    daemon.until("it knows them", || {
        let answer = post_bearer(one.address, workers, &one.path(), &one.token, idle);
        answer.is_ok_and(|answer| answer.status == 200)
    });
    assert_eq!(one.post(&other.token, idle).status, 401);
    daemon.stop();
}

#[test]
fn the_token_of_a_launch_ends_no_busy_sibling() {
    let (project, port, workers) = asking();
    let mut daemon = with_machines(&project, 2);
    let [thief, busy] = &Worker::all(&project, workers)[..] else { panic!("two machines") };
    project.queue.pending(&[]);
    let as_busy = |body: &str| {
        post_bearer(thief.address, workers, &busy.path(), &thief.token, body).expect("an answer")
    };
    daemon
        .until("the daemon knows it", || busy.post(&busy.token, "{\"idle\":false}").status == 200);
    for body in ["{\"idle\":true}", "{\"stopping\":true}"] {
        assert_eq!(as_busy(body).status, 403, "{body}");
    }
    daemon.rounds(&project.queue, 3);
    assert_eq!(project.live_and_open().0, 2);
    let metrics = get(port, "/metrics").expect("metrics").body;
    let line = "provisioner_worker_asks_total{outcome=\"wrong-address\"} 2";
    assert!(metrics.contains(line), "{metrics}");
    let said = daemon.said();
    assert!(said.contains(&format!("{} from {}", busy.instance, thief.address)), "{said}");
    daemon.stop();
}

#[test]
fn the_minimum_stays_and_so_do_all_while_the_queue_is_silent() {
    let (project, _, workers) = asking();
    project.set("worker-types.linux.min-instances", 1);
    let mut daemon = with_machines(&project, 2);
    let workers = Worker::all(&project, workers);
    project.queue.answer_pending(crate::harness::Answer::Status(500, String::new()));
    for _ in 0..2 {
        daemon.rounds(&project.queue, 1);
        assert!(!workers.iter().any(Worker::is_idle));
    }
    project.queue.pending(&[]);
    daemon.until("one may go", || workers.iter().any(Worker::is_idle));
    for _ in 0..3 {
        daemon.rounds(&project.queue, 1);
        assert_eq!(
            workers.iter().filter(|worker| worker.is_idle()).count(),
            1,
            "the other is the minimum"
        );
    }
    assert_eq!(workers.iter().filter(|worker| worker.stops()).count(), 1);
    daemon.until("it is ended", || project.live_and_open().0 == 1);
    daemon.stop();
}

#[test]
fn a_template_that_nobody_would_answer_is_an_error() {
    let project = Project::set_up();
    project.set("worker-types.linux.user-data", TEMPLATE);
    project.set("worker-types.linux.user-data-template", true);
    project.provisionerd(&["validate"]).code(2).says(&["stop_url", "server.worker-listen"]);
    project.set("server.worker-listen", "0.0.0.0:3001");
    project.provisionerd(&["validate"]).code(2).says(&["stop_url", "server.worker-url"]);
    project.set("server.worker-url", "http://provisioner.internal:3001");
    project.provisionerd(&["validate"]).ok();
    project.set("server.worker-listen", "");
    project.provisionerd(&["validate"]).code(2).says(&["worker-url", "worker-listen"]);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    project.set("server.worker-listen", taken.local_addr().unwrap().to_string());
    project.provisionerd(&["run"]).code(1).says(&["failed to listen", "server.worker-listen"]);
}
