//! What happens outside must not stop the loop: a log that nobody reads, connections that do nothing, a queue that
//! hangs up.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Project, eventually, get, post};

/// As long as a loaded machine may take.
const LIMIT: Duration = Duration::from_mins(1);

#[test]
fn a_log_that_nobody_reads_stops_neither_rounds_nor_signals() {
    let (project, port) = Project::listening();
    // Every round writes some kilobytes; a pipe holds 64.
    let mut command = project.command("provisionerd", &["run", "-vvv"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
    let rounds = project.queue.rounds();
    let lost = || {
        let metrics = get(port, "/metrics").map(|answer| answer.body).unwrap_or_default();
        metrics.lines().any(|line| {
            let count = line.strip_prefix("provisioner_log_lines_lost_total ");
            count.is_some_and(|count| count != "0")
        })
    };
    // The pipe and the queue of lines fill up soon if the waking does not stop.
    eventually("lines are lost", 3 * LIMIT, || {
        let _ = post(port, "/wake", "");
        lost()
    });
    let then = project.queue.rounds();
    assert!(then > rounds);
    eventually("rounds go on", LIMIT, || project.queue.rounds() > then + 2);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let code = child.wait().expect("ends").code();
    assert_eq!(code, Some(0), "the first signal ends it");
    // What the pipe held is whole.
    let mut first = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with('{'), "{first}");
}

#[test]
fn a_thousand_idle_connections_stop_neither_launches_nor_health_nor_reload() {
    let (project, port) = Project::listening();
    let daemon = project.command("provisionerd", &["run"]);
    // Fewer descriptors than connections, and soft and hard limit alike.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 256; exec \"$@\"", "sh"]).arg(daemon.get_program());
    command.args(daemon.get_args()).env_clear();
    command.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(project.work());
    let mut daemon = project.spawn(&mut command);
    daemon.rounds(&project.queue, 1);
    let idle: Vec<_> =
        (0..1000).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("connects")).collect();
    project.queue.pending(&[("linux", 1)]);
    daemon.until("it launches", || project.live_and_open() != (0, 0));
    assert_eq!(get(port, "/healthz").expect("answers").status, 200);
    assert_eq!(post(port, "/wake", "").expect("answers").status, 202);
    project.set("limits.max-instances", 7);
    daemon.signal("HUP");
    daemon.until_it_says("configuration reloaded");
    // Most of them were shown the door.
    let closed = idle.into_iter().filter(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        matches!(stream.read(&mut [0]), Ok(0))
    });
    assert!(closed.count() > 800);
    daemon.stop().code(0);
}

#[test]
fn a_taken_port_ends_run_with_1() {
    let (project, port) = Project::listening();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    project.provisionerd(&["run"]).code(1).says(&["server.listen", &port.to_string()]);
}

#[test]
fn other_sites_cannot_wake_it() {
    let (project, port) = Project::listening();
    let mut daemon = project.daemon();
    daemon.rounds(&project.queue, 1);
    let ask = |head: &str| {
        use std::io::Write as _;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let post = "POST /wake HTTP/1.1\r\ncontent-length: 0\r\n";
    assert_eq!(ask(&format!("{post}host: evil.example")), "403");
    assert_eq!(ask(&format!("{post}host: 127.0.0.1\r\norigin: https://evil.example")), "403");
    assert_eq!(ask(&format!("{post}host: 127.0.0.1\r\nsec-fetch-site: cross-site")), "403");
    assert_eq!(ask(&format!("{post}host: 127.0.0.1:{port}")), "202");
    assert_eq!(ask("GET /v1/status HTTP/1.1\r\nhost: evil.example"), "403");
    for probe in ["/healthz", "/metrics"] {
        assert_eq!(ask(&format!("GET {probe} HTTP/1.1\r\nhost: evil.example")), "200");
    }
    daemon.stop().code(0);
}
