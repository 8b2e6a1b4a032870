use std::collections::BTreeSet;
use std::error::Error as _;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::filter;
use crate::domain::demand::{Demand, Running};
use crate::domain::ids::{InstanceId, WorkerTypeName};
use crate::queue::http::{Error, HttpQueue};
use crate::queue::source::{DemandErrorKind, DemandSource};
use crate::settings::{AskRunning, QueueSettings};

/// How the server answers one request.
enum Reply {
    /// Sends this and closes.
    Send(String),
    /// Sends this and keeps the connection open.
    Hang(String),
}

fn status(line: &str, headers: &str) -> Reply {
    Reply::Send(format!(
        "HTTP/1.1 {line}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
    ))
}

fn ok(body: &str) -> Reply {
    let length = body.len();
    Reply::Send(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

struct Server {
    url: String,
    /// The heads of all requests.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers each request by its path and query.
    async fn start(mut reply: impl FnMut(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut hanging = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                log.lock().unwrap().push(head);
                match reply(&target) {
                    Reply::Send(bytes) => {
                        // The client may have closed the connection on a response that it refuses.
                        let _ = stream.write_all(bytes.as_bytes()).await;
                    }
                    Reply::Hang(bytes) => {
                        let _ = stream.write_all(bytes.as_bytes()).await;
                        hanging.push(stream);
                    }
                }
            }
        });
        Self { url, seen }
    }

    /// Answers PENDING with `pending` and RUNNING with `running`.
    async fn with(
        mut pending: impl FnMut() -> Reply + Send + 'static,
        mut running: impl FnMut() -> Reply + Send + 'static,
    ) -> Self {
        Self::start(move |target| match target {
            "/v1/jobs?state=PENDING" => pending(),
            "/v1/jobs?state=RUNNING" => running(),
            other => panic!("asked for {other}"),
        })
        .await
    }

    fn asked(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

/// Answers for one state, one per round.
fn rounds(bodies: &'static [&'static str]) -> impl FnMut() -> Reply + Send {
    let mut bodies = bodies.iter().copied();
    move || ok(bodies.next().expect("no further round"))
}

fn settings(url: &str, running: AskRunning) -> QueueSettings {
    QueueSettings {
        base_url: url.to_owned(),
        running,
        worker_type_pointer: vec!["workerType".to_owned()],
        timeout: Duration::from_secs(20),
        token_file: None,
    }
}

fn queue(url: &str, running: AskRunning) -> HttpQueue {
    HttpQueue::new(&settings(url, running), filter()).unwrap()
}

async fn demand(queue: &mut HttpQueue) -> Result<Demand, Error> {
    queue.read(&BTreeSet::new()).await
}

/// Reads PENDING alone, from a server that answers with `reply`.
async fn error_of(reply: impl FnMut() -> Reply + Send + 'static) -> Error {
    let server = Server::with(reply, || panic!("asked for RUNNING")).await;
    let error = demand(&mut queue(&server.url, AskRunning::Auto)).await.unwrap_err();
    assert!(error.to_string().contains(&format!("{}/jobs?state=PENDING", server.url)), "{error}");
    error
}

const LINUX: &str = r#"[{"taskId":"a","workerType":"linux"},{"taskId":"b","workerType":"linux"}]"#;
const CLAIMED: &str = r#"[{"taskId":"c","workerType":"linux","workerId":"i-1"}]"#;

fn counted(linux: u64) -> Running {
    let tasks = (linux > 0).then(|| (WorkerTypeName::from("linux"), linux));
    Running::Counted { tasks: tasks.into_iter().collect() }
}

fn by_instance(instances: &[&str]) -> Running {
    let tasks = (!instances.is_empty())
        .then(|| (WorkerTypeName::from("linux"), instances.len() as u64))
        .into_iter()
        .collect();
    let instances = instances.iter().map(|&id| (InstanceId::from(id), 1)).collect();
    Running::ByInstance { tasks, instances }
}

#[tokio::test]
async fn reads_pending_and_then_running() {
    let server = Server::with(|| ok(LINUX), || ok(CLAIMED)).await;
    let mut queue = queue(&server.url, AskRunning::Auto);
    let demand = demand(&mut queue).await.unwrap();
    assert_eq!(demand.pending["linux"].count, 2);
    assert_eq!(demand.running, by_instance(&["i-1"]));
    assert!(!demand.skipped.running_ignored);
    assert_eq!(
        server.asked(),
        ["GET /v1/jobs?state=PENDING HTTP/1.1", "GET /v1/jobs?state=RUNNING HTTP/1.1"]
    );
    let head = server.seen.lock().unwrap()[0].to_lowercase();
    assert!(head.contains(&format!("user-agent: provisionerd/{}\r\n", env!("CARGO_PKG_VERSION"))));
    assert!(head.contains("accept: application/json\r\n"));
    assert!(!head.contains("authorization"));
}

#[tokio::test]
async fn running_may_be_left_out() {
    let server = Server::with(|| ok(LINUX), || panic!("asked for RUNNING")).await;
    let demand = demand(&mut queue(&server.url, AskRunning::Never)).await.unwrap();
    assert_eq!(demand.running, Running::Unknown);
}

#[tokio::test]
async fn a_queue_without_running_is_asked_again_in_each_round() {
    for line in [
        "404 Not Found",
        "400 Bad Request",
        "405 Method Not Allowed",
        "410 Gone",
        "422 Unprocessable Content",
        "501 Not Implemented",
    ] {
        let server = Server::with(|| ok(LINUX), move || status(line, "")).await;
        let mut queue = queue(&server.url, AskRunning::Auto);
        for _ in 0..2 {
            let demand = demand(&mut queue).await.unwrap();
            assert_eq!(demand.running, Running::Unknown);
            assert_eq!(demand.pending["linux"].count, 2);
        }
        assert_eq!(server.asked().len(), 4);
    }
}

#[tokio::test]
async fn a_refusal_of_this_client_does_not_mean_that_there_is_no_running() {
    for line in [
        "401 Unauthorized",
        "403 Forbidden",
        "408 Request Timeout",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "503 Service Unavailable",
    ] {
        let server = Server::with(|| ok(LINUX), move || status(line, "")).await;
        let error = demand(&mut queue(&server.url, AskRunning::Auto)).await.unwrap_err();
        assert!(matches!(error, Error::Status { .. }), "{line}: {error}");
    }
}

#[tokio::test]
async fn running_once_answered_must_be_answered() {
    let mut replies = vec![status("404 Not Found", ""), ok(CLAIMED)];
    let running = move || replies.pop().expect("no further round");
    let server = Server::with(|| ok(LINUX), running).await;
    let mut queue = queue(&server.url, AskRunning::Auto);
    assert!(demand(&mut queue).await.is_ok());
    let error = demand(&mut queue).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 404, .. }), "{error}");
}

#[tokio::test]
async fn other_failures_of_running_are_errors_and_decide_nothing() {
    let mut replies =
        vec![status("404 Not Found", ""), ok("nonsense"), status("500 Internal Server Error", "")];
    let running = move || replies.pop().expect("no further round");
    let server = Server::with(|| ok(LINUX), running).await;
    let mut queue = queue(&server.url, AskRunning::Auto);
    assert!(matches!(demand(&mut queue).await, Err(Error::Status { status: 500, .. })));
    assert!(matches!(demand(&mut queue).await, Err(Error::NotAnArray { .. })));
    assert_eq!(demand(&mut queue).await.unwrap().running, Running::Unknown);
}

#[tokio::test]
async fn running_demanded_must_be_answered_at_once() {
    let server = Server::with(|| ok(LINUX), || status("404 Not Found", "")).await;
    let error = demand(&mut queue(&server.url, AskRunning::Always)).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 404, .. }), "{error}");
}

#[tokio::test]
async fn a_queue_that_ignores_state_is_detected() {
    // From then on, its empty responses are not read as idle machines.
    let server = Server::with(rounds(&[LINUX, "[]", "[]"]), rounds(&[LINUX, "[]", "[]"])).await;
    let mut queue = queue(&server.url, AskRunning::Auto);
    for count in [2, 0, 0] {
        let demand = demand(&mut queue).await.unwrap();
        assert_eq!(demand.pending.get("linux").map_or(0, |tasks| tasks.count), count);
        assert_eq!(demand.running, Running::Unknown);
        assert!(demand.skipped.running_ignored);
    }
}

#[tokio::test]
async fn tasks_without_ids_are_compared_by_their_text() {
    const ANONYMOUS: &str = r#"[{"workerType":"linux","n":1},{"workerType":"linux","n":2}]"#;
    const REORDERED: &str = r#"[{"workerType":"linux","n":2},{"workerType":"linux","n":1}]"#;
    let server = Server::with(|| ok(ANONYMOUS), || ok(REORDERED)).await;
    let demand = demand(&mut queue(&server.url, AskRunning::Always)).await.unwrap();
    assert!(demand.skipped.running_ignored);
}

#[tokio::test]
async fn a_task_that_starts_between_the_reads_is_no_proof() {
    for running in [
        r#"[{"taskId":"a","workerType":"linux","workerId":"i-1"}]"#,
        r#"[{"taskId":"a","workerType":"linux","started":"2026-01-01T00:00:00Z"}]"#,
    ] {
        let pending = || ok(r#"[{"taskId":"a","workerType":"linux"}]"#);
        let server = Server::with(pending, move || ok(running)).await;
        let demand = demand(&mut queue(&server.url, AskRunning::Auto)).await.unwrap();
        assert!(!demand.skipped.running_ignored);
        assert_eq!(demand.running.tasks(&WorkerTypeName::from("linux")), Some(1));
    }
}

#[tokio::test]
async fn nothing_running_means_that_every_machine_is_idle() {
    let server = Server::with(rounds(&["[]", LINUX, "[]"]), rounds(&["[]", "[]", "[]"])).await;
    let mut auto = queue(&server.url, AskRunning::Auto);
    assert_eq!(demand(&mut auto).await.unwrap().running, by_instance(&[]));
    assert_eq!(demand(&mut auto).await.unwrap().running, by_instance(&[]));
    assert_eq!(demand(&mut auto).await.unwrap().running, by_instance(&[]));

    let server = Server::with(|| ok("[]"), || ok("[]")).await;
    let mut always = queue(&server.url, AskRunning::Always);
    assert_eq!(demand(&mut always).await.unwrap().running, by_instance(&[]));
}

#[tokio::test]
async fn malformed_elements_of_both_responses_are_counted() {
    let pending = || ok(r#"[1,{"workerType":"linux"}]"#);
    let server =
        Server::with(pending, || ok(r#"[2,{"workerType":"linux","workerId":"i-1"}]"#)).await;
    let demand = demand(&mut queue(&server.url, AskRunning::Auto)).await.unwrap();
    assert_eq!(demand.skipped.malformed, 2);
    assert_eq!(demand.running, counted(1));
}

#[tokio::test]
async fn tasks_none_of_which_can_be_read_are_an_error_and_not_an_empty_queue() {
    let error =
        error_of(|| ok(r#"[{"taskId":"a","type":"linux"},{"taskId":"b","type":"linux"},1]"#)).await;
    let text = error.to_string();
    assert!(
        text.ends_with(
            "/v1/jobs?state=PENDING: not one of 3 tasks can be used: 1 element that is no object (`1`, \
             for example), no text at `/workerType` (missing in task `a`, for example)"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn only_200_is_an_answer() {
    for (line, expected) in [
        ("404 Not Found", 404),
        ("500 Internal Server Error", 500),
        ("204 No Content", 204),
        ("301 Moved Permanently", 301),
    ] {
        let error = error_of(move || status(line, "")).await;
        assert!(matches!(error, Error::Status { status, .. } if status == expected), "{error}");
    }
}

#[tokio::test]
async fn anything_but_a_json_array_is_an_error() {
    assert!(matches!(error_of(|| ok("")).await, Error::NotAnArray { .. }));
    assert!(matches!(error_of(|| ok("<html>")).await, Error::NotAnArray { .. }));
    assert!(matches!(error_of(|| ok("[1 2]")).await, Error::Syntax { at: 3, .. }));
    let cut = error_of(|| ok("[1,2")).await;
    assert!(matches!(cut, Error::CutOff { at: 4, source: None, .. }), "{cut}");
}

#[tokio::test]
async fn a_broken_connection_is_an_error() {
    let reply = || Reply::Send("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[1,2]".to_owned());
    let error = error_of(reply).await;
    assert!(matches!(error, Error::CutOff { at: 5, source: Some(_), .. }), "{error}");
    let reply = || {
        Reply::Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n".to_owned())
    };
    let error = error_of(reply).await;
    assert!(matches!(error, Error::CutOff { at: 3, source: Some(_), .. }), "{error}");
    let error = error_of(|| Reply::Send(String::new())).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

/// Serves several requests per connection, and after two of them closes it without a word.
async fn closing_without_a_word() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answered in 0.. {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                if answered == 2 || !head.ends_with(b"\r\n\r\n") {
                    break;
                }
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    url
}

#[tokio::test]
async fn a_queue_that_closes_its_connections_without_a_word_costs_no_round() {
    let mut queue = queue(&closing_without_a_word().await, AskRunning::Always);
    for round in 0..20 {
        let read = demand(&mut queue).await;
        assert!(read.is_ok(), "round {round}: {read:?}");
    }
}

#[tokio::test]
async fn a_slow_answer_is_an_error() {
    for start in ["", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[1,"] {
        let server =
            Server::with(move || Reply::Hang(start.to_owned()), || panic!("asked for RUNNING"))
                .await;
        let mut settings = settings(&server.url, AskRunning::Auto);
        settings.timeout = Duration::from_millis(200);
        let mut queue = HttpQueue::new(&settings, filter()).unwrap();
        let error = demand(&mut queue).await.unwrap_err();
        assert!(matches!(error, Error::TooSlow { .. }), "{error}");
        assert!(error.to_string().contains("200ms"), "{error}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let error = demand(&mut queue(&url, AskRunning::Auto)).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.source().is_some());
}

#[tokio::test]
async fn a_long_answer_is_refused() {
    const LONG: &str = r#"[{"workerType":"linux"}]"#;
    let chunked = || {
        let length = LONG.len();
        Reply::Send(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{LONG}\r\n0\r\n\r\n"
        ))
    };
    let announced = Server::with(|| ok(LONG), || panic!("asked for RUNNING")).await;
    let unannounced = Server::with(chunked, || panic!("asked for RUNNING")).await;
    for server in [announced, unannounced] {
        let mut queue = queue(&server.url, AskRunning::Never);
        queue.endpoint.max_response = LONG.len() as u64;
        assert_eq!(demand(&mut queue).await.unwrap().pending["linux"].count, 1);
        queue.endpoint.max_response -= 1;
        let error = demand(&mut queue).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 23, .. }), "{error}");
    }
}

/// Redirects `/v1/jobs` this many times within the server.
async fn redirecting(times: usize) -> Server {
    Server::start(move |target| {
        let at = target.strip_prefix("/to/").map_or(0, |number| number.parse().unwrap());
        if at == times {
            ok(LINUX)
        } else {
            status("302 Found", &format!("Location: /to/{}\r\n", at + 1))
        }
    })
    .await
}

#[tokio::test]
async fn a_few_redirects_are_followed_within_the_server() {
    let server = redirecting(3).await;
    let found = demand(&mut queue(&server.url, AskRunning::Never)).await.unwrap();
    assert_eq!(found.pending["linux"].count, 2);
    let server = redirecting(4).await;
    let error = demand(&mut queue(&server.url, AskRunning::Never)).await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert!(error.to_string().contains("too many"), "{error}");
}

#[tokio::test]
async fn redirects_do_not_leave_scheme_host_and_port() {
    for location in [
        "http://example.com/v1/jobs?secret=1",
        "https://127.0.0.1/",
        "//127.0.0.2/",
        "http://127.0.0.1:1/v1/jobs",
    ] {
        let error =
            error_of(move || status("302 Found", &format!("Location: {location}\r\n"))).await;
        assert!(matches!(error, Error::Redirect { .. }), "{error}");
        assert!(error.to_string().contains("another scheme, host or port"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

struct TokenFile {
    dir: tempfile::TempDir,
}

impl TokenFile {
    fn new(token: &str) -> Self {
        let file = Self { dir: tempfile::tempdir().unwrap() };
        file.write(token);
        file
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    fn write(&self, token: &str) {
        std::fs::File::create(self.path()).unwrap().write_all(token.as_bytes()).unwrap();
    }

    fn queue(&self, url: &str) -> HttpQueue {
        let mut settings = settings(url, AskRunning::Never);
        settings.token_file = Some(self.path());
        HttpQueue::new(&settings, filter()).unwrap()
    }
}

#[tokio::test]
async fn the_token_is_read_for_each_request() {
    let server = Server::with(|| ok("[]"), || ok("[]")).await;
    let file = TokenFile::new("first-secret\n");
    // A user name in the URL does not add a second Authorization.
    let mut queue = file.queue(&server.url.replace("http://", "http://me:password@"));
    demand(&mut queue).await.unwrap();
    file.write("  second-secret ");
    demand(&mut queue).await.unwrap();
    let authorizations: Vec<Vec<String>> = {
        let seen = server.seen.lock().unwrap();
        seen.iter()
            .map(|head| {
                let lines =
                    head.lines().filter(|line| line.to_lowercase().contains("authorization"));
                lines.map(|line| line.split_once(": ").unwrap().1.to_owned()).collect()
            })
            .collect()
    };
    assert_eq!(authorizations, [["Bearer first-secret"], ["Bearer second-secret"]]);
    let debug = format!("{queue:?}");
    assert!(!debug.contains("secret") && !debug.contains("password"), "{debug}");
}

#[tokio::test]
async fn an_unusable_token_file_is_an_error_that_names_it() {
    let server = Server::start(|_| panic!("asked")).await;
    let file = TokenFile::new("");
    for token in ["", " \n", "two-secret words", "a-secret\nand more", "geheim-secret-ü"] {
        file.write(token);
        let error = demand(&mut file.queue(&server.url)).await.unwrap_err();
        assert!(matches!(error, Error::Token { .. }), "{error}");
        let message = format!("{error} {error:?}");
        assert!(message.contains(&*file.path().to_string_lossy()), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
    std::fs::remove_file(file.path()).unwrap();
    let error = demand(&mut file.queue(&server.url)).await.unwrap_err();
    assert!(matches!(error, Error::TokenFile { .. }), "{error}");
    assert!(error.to_string().contains(&*file.path().to_string_lossy()), "{error}");
}

#[tokio::test]
async fn the_token_is_not_sent_unencrypted() {
    let file = TokenFile::new("secret");
    for url in ["http://queue.example.com/v1", "http://192.0.2.1:8314/v1"] {
        let error = demand(&mut file.queue(url)).await.unwrap_err();
        assert!(matches!(error, Error::TokenInTheClear { .. }), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn no_redirect_is_followed_with_a_token() {
    let server = redirecting(1).await;
    let file = TokenFile::new("secret");
    let error = demand(&mut file.queue(&server.url)).await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert!(error.to_string().contains("with a token"), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn an_address_that_is_not_http_is_refused() {
    for url in ["", "localhost:8314", "ftp://localhost/"] {
        let result = HttpQueue::new(&settings(url, AskRunning::Auto), filter());
        assert!(matches!(result, Err(Error::Address { .. })), "{url}");
    }
}

#[tokio::test]
async fn the_source_reports_errors_with_their_kind_and_cause() {
    let server = Server::with(|| ok("[tru]"), || panic!("asked for RUNNING")).await;
    let mut queue = queue(&server.url, AskRunning::Auto);
    let inner = demand(&mut queue).await.unwrap_err();
    let error = DemandSource::demand(&mut queue, &BTreeSet::new()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (DemandErrorKind::BadResponse, "syntax"));
    assert_eq!(error.to_string(), inner.to_string());
    let cause = |error: &dyn std::error::Error| error.source().map(ToString::to_string);
    assert!(cause(&error).is_some());
    assert_eq!(cause(&error), cause(&inner));
}
