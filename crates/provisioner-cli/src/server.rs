//! The daemon's HTTP server: it takes wake-ups, and answers with health, readiness, status and metrics.
//!
//! A wake-up carries no data, because the next round observes everything anyway.
//!
//! Health, readiness and metrics are answered whoever asks, and however busy the rest is: probes know neither
//! names nor secrets. What else there is checks its callers ([`callers`]) and has a bounded number of requests
//! at the same time, which leaves seats ([`connections`]) for the probes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use provisioner::internal::settings;
use provisioner::internal::status::{self, Status, StatusPicture, StatusSource};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::callers;
use crate::connections::{self, Rules};
use crate::descriptors;
use crate::exit::Failure;
use crate::health::Health;
use crate::metrics::{Metrics, TextFormat};

/// The largest body, in bytes, that is accepted. No request needs a body, but web hooks send one.
const MAX_BODY: usize = 64 * 1024;

/// How long a client may take to send the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The most requests at the same time beside those for health, readiness and metrics. Others are told to
/// come again.
const AT_ONCE: usize = 32;

/// The parts of the daemon that the server uses.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    /// Starts the next round.
    pub(crate) wake: Arc<Notify>,
    /// The state of the loop.
    pub(crate) health: watch::Receiver<Health>,
    /// The findings of the last rounds.
    pub(crate) picture: watch::Receiver<StatusPicture>,
    /// The measurements.
    pub(crate) metrics: Arc<Metrics>,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// Starts the server, if one is configured. It ends when `shutdown` is cancelled.
///
/// # Errors
/// Fails if the address is taken or not ours: health checks would ask another program.
pub(crate) async fn start(
    settings: &settings::Server,
    links: Links,
    shutdown: CancellationToken,
) -> Result<Option<Server>, Failure> {
    let Some(listen) = settings.listen else { return Ok(None) };
    let failed = |error: std::io::Error| {
        Failure::failed(format!("failed to listen on `{listen}`"))
            .caused_by(&error)
            .with_hint("set `server.listen` to a free address, or to \"\" to run no server")
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, "listening on http://{address}");
    let rules = Rules { seats: descriptors::seats(), keep_alive: true };
    let router = router(links, settings.hosts.clone());
    let task = tokio::spawn(connections::serve(listener, router, rules, shutdown));
    Ok(Some(Server { address, task }))
}

impl Server {
    /// Returns the address on which it listens.
    #[cfg(test)]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has ended, at most two seconds after its token was cancelled.
    pub(crate) async fn ended(self) {
        let Self { address, task } = self;
        match task.await {
            Ok(()) => tracing::debug!(%address, "no longer listening on http://{address}"),
            Err(error) => tracing::error!(error = %error, "the server failed: {error}"),
        }
    }
}

fn router(links: Links, hosts: Vec<String>) -> Router {
    let guard = Guard { hosts: hosts.into(), requests: Arc::new(Semaphore::new(AT_ONCE)) };
    Router::new()
        .route("/wake", post(wake))
        .route(status::ROUTE, get(status))
        // Only the routes above are guarded.
        .route_layer(from_fn_with_state(guard, guarded))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found\n") })
        .method_not_allowed_fallback(|| async {
            (StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n")
        })
        .with_state(links)
}

/// Protects the routes that are not for probes.
#[derive(Clone, Debug)]
struct Guard {
    /// `server.hosts`.
    hosts: Arc<[String]>,
    requests: Arc<Semaphore>,
}

async fn guarded(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let mut allowed = callers::check_host(headers, &guard.hosts);
    if !request.method().is_safe() {
        allowed = allowed.and_then(|()| callers::check_origin(headers, &guard.hosts));
    }
    if let Err(refused) = allowed {
        tracing::debug!("a request for {} was refused: {refused}", request.uri().path());
        return (StatusCode::FORBIDDEN, format!("{refused}\n")).into_response();
    }
    let Ok(_permit) = guard.requests.try_acquire() else {
        let again = [(RETRY_AFTER, "1")];
        return (StatusCode::SERVICE_UNAVAILABLE, again, "too many requests at once\n")
            .into_response();
    };
    next.run(request).await
}

/// Wakes the loop. Wake-ups coalesce, because [`Notify`] keeps one permit. The body is read and discarded, so
/// that the connection can be used again.
async fn wake(State(links): State<Links>, body: Body) -> StatusCode {
    match timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY)).await {
        Ok(Ok(_)) => {
            links.wake.notify_one();
            StatusCode::ACCEPTED
        }
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE,
        Err(_) => StatusCode::REQUEST_TIMEOUT,
    }
}

#[derive(Serialize)]
struct Healthz {
    status: &'static str,
    /// The version of the program.
    version: &'static str,
    last_round: Option<Timestamp>,
    last_success: Option<Timestamp>,
    failed_rounds: u32,
}

async fn healthz(State(links): State<Links>) -> (StatusCode, Json<Healthz>) {
    let health = links.health.borrow().clone();
    let (code, status) = if health.is_stalled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stalled")
    } else {
        (StatusCode::OK, "ok")
    };
    let Health { last_round, last_success, failed_rounds, .. } = health;
    let version = env!("CARGO_PKG_VERSION");
    (code, Json(Healthz { status, version, last_round, last_success, failed_rounds }))
}

#[derive(Serialize)]
struct Readyz {
    status: &'static str,
    /// Why it is not ready, or holds back its launches.
    reason: Option<String>,
    last_success: Option<Timestamp>,
    failed_rounds: u32,
}

async fn readyz(State(links): State<Links>) -> (StatusCode, Json<Readyz>) {
    let health = links.health.borrow().clone();
    let reason = health.not_ready();
    let (code, status) = match reason {
        None => (StatusCode::OK, "ready"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "not-ready"),
    };
    // An old configuration that works is no reason to send traffic elsewhere.
    let old_configuration = || {
        let why = health.reload_failure.as_ref()?;
        Some(format!("the configuration was not reloaded, and the old one stays in force: {why}"))
    };
    // Beside another daemon it works as it should, and a restart would not help.
    let reason = reason.or_else(|| health.other_daemon.clone()).or_else(old_configuration);
    let Health { last_success, failed_rounds, .. } = health;
    (code, Json(Readyz { status, reason, last_success, failed_rounds }))
}

async fn status(State(links): State<Links>) -> Json<Status> {
    // Ages grow and prices become old between rounds, so each answer is made afresh.
    Json(links.picture.borrow().status(StatusSource::Daemon, Timestamp::now()))
}

async fn metrics(State(links): State<Links>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = TextFormat::accepted(accept);
    match links.metrics.render(format) {
        Ok(text) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be encoded: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use provisioner::internal::aws::CallCounter;
    use provisioner::internal::config;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    struct Running {
        server: Server,
        wake: Arc<Notify>,
        health: watch::Sender<Health>,
        shutdown: CancellationToken,
    }

    fn listen(address: &str) -> settings::Server {
        settings::Server {
            listen: Some(address.parse().unwrap()),
            hosts: Vec::new(),
            workers: None,
        }
    }

    fn links() -> (Links, watch::Sender<Health>) {
        let (sender, health) = watch::channel(Health::starting(INTERVAL));
        let settings = config::parse("", Path::new("/")).unwrap().settings;
        let metrics = Arc::new(Metrics::new(CallCounter::default(), None, &settings));
        let (_, picture) = watch::channel(StatusPicture::new(["linux"]));
        (Links { wake: Arc::default(), health, picture, metrics }, sender)
    }

    async fn running() -> Running {
        let (links, health) = links();
        let shutdown = CancellationToken::new();
        let wake = Arc::clone(&links.wake);
        let server = start(&listen("127.0.0.1:0"), links, shutdown.clone()).await.unwrap().unwrap();
        Running { server, wake, health, shutdown }
    }

    impl Running {
        async fn ask(&self, head: &str, body: &[u8]) -> String {
            let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
            let length = body.len();
            let request = format!(
                "{head} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            // The server may answer and close the connection before it has read everything.
            let _ = stream.write_all(body).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).unwrap()
        }
    }

    fn woken(wake: &Notify) -> bool {
        let mut waiting = std::pin::pin!(wake.notified());
        waiting.as_mut().enable()
    }

    #[tokio::test]
    async fn wake_ups_coalesce() {
        let running = running().await;
        assert!(!woken(&running.wake));
        for body in [&b""[..], b"{\"taskId\":\"1\"}", &vec![b'x'; MAX_BODY]] {
            let answer = running.ask("POST /wake", body).await;
            assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        }
        assert!(woken(&running.wake));
        assert!(!woken(&running.wake), "three wake-ups are one");
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let running = running().await;
        for (head, body, code) in [
            ("GET /wake", &b""[..], "405"),
            ("POST /healthz", b"", "405"),
            ("POST /readyz", b"", "405"),
            ("POST /metrics", b"", "405"),
            ("POST /v1/status", b"", "405"),
            ("GET /", b"", "404"),
            ("POST /wake/up", b"", "404"),
            ("POST /wake", &vec![b'x'; MAX_BODY + 1], "413"),
        ] {
            let answer = running.ask(head, body).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{head}: {answer}");
        }
        assert!(!woken(&running.wake));
    }

    #[tokio::test]
    async fn health_is_ok_until_the_loop_stalls() {
        let running = running().await;
        let answer = running.ask("GET /healthz", b"").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("\"status\":\"ok\"") && answer.contains("\"last_round\":null"));

        let turned = Instant::now().checked_sub(Duration::from_secs(61)).unwrap();
        let last_round = Some("2026-01-02T03:04:05Z".parse().unwrap());
        let stalled = Health { turned, last_round, failed_rounds: 2, ..Health::starting(INTERVAL) };
        running.health.send_replace(stalled);
        let answer = running.ask("GET /healthz", b"").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["status"], "stalled");
        assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(body["last_round"], "2026-01-02T03:04:05Z");
        assert_eq!(body["last_success"], serde_json::Value::Null);
        assert_eq!(body["failed_rounds"], 2);
    }

    #[tokio::test]
    async fn it_is_ready_after_a_round_that_succeeded() {
        let running = running().await;
        let answer = running.ask("GET /readyz", b"").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["status"], "not-ready");
        assert!(body["reason"].as_str().unwrap().contains("no round"), "{body}");

        let now = Instant::now();
        let last_success = Some("2026-01-02T03:04:05Z".parse().unwrap());
        running.health.send_replace(Health {
            succeeded: Some(now),
            last_success,
            ..Health::starting(INTERVAL)
        });
        let answer = running.ask("GET /readyz", b"").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("\"status\":\"ready\",\"reason\":null"), "{answer}");

        running.health.send_modify(|health| {
            health.reload_failure = Some("line 3: no".to_owned());
        });
        let answer = running.ask("GET /readyz", b"").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("\"status\":\"ready\",\"reason\":\"the configuration was not"));
    }

    #[tokio::test]
    async fn before_the_first_round_nothing_is_known_and_nothing_is_zero() {
        let running = running().await;
        let answer = running.ask("GET /v1/status", b"").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["version"], &body["source"]), (&1.into(), &"daemon".into()));
        assert_eq!(body["worker_types"][0]["name"], "linux");
        let unknown =
            [&body["worker_types"][0], &body["other"], &body].map(|row| &row["usd_per_hour"]);
        assert!(unknown.iter().all(|cost| cost.is_null()), "{body}");
        assert!(body["worker_types"][0]["busy"].is_null() && body["last_round"].is_null());
    }

    #[tokio::test]
    async fn metrics_have_their_content_type() {
        let running = running().await;
        let answer = running.ask("GET /metrics", b"").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
        // The version of HTTP follows what is given here.
        let accepting =
            "GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text;q=0.5\r\nx: ";
        let answer = running.ask(accepting, b"").await;
        assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn an_open_connection_does_not_delay_the_end() {
        let running = running().await;
        let mut idle = TcpStream::connect(running.server.address()).await.unwrap();
        idle.write_all(b"POST /wake HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n")
            .await
            .unwrap();
        running.ask("GET /healthz", b"").await;
        running.shutdown.cancel();
        timeout(Duration::from_secs(2), running.server.ended()).await.unwrap();
    }

    #[tokio::test]
    async fn a_taken_address_is_an_error_at_the_default_too() {
        let running = running().await;
        let mut settings = listen(&running.server.address().to_string());
        let failure = start(&settings, links().0, CancellationToken::new()).await.unwrap_err();
        assert_eq!(failure.status().code(), 1);
        settings.listen = None;
        assert!(start(&settings, links().0, CancellationToken::new()).await.unwrap().is_none());
    }
}
