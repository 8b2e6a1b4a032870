//! The listener where idle workers ask whether to stop: `POST /v1/workers/INSTANCE-ID/should-stop`.
//!
//! It is separate from the daemon's HTTP server because it faces other machines: it shows nothing of the
//! daemon, has seats of its own ([`connections`]), and every connection is one small request. The engine
//! decides the answers (`StopConsent`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use jiff::Timestamp;
use provisioner::internal::daemon::StopListener;
use provisioner::internal::domain::ids::InstanceId;
use provisioner::internal::engine::{StopAnswer, StopAskError, WorkerReport};
use provisioner::internal::settings::{Server, WorkerServer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::connections::{self, Rules};
use crate::descriptors;
use crate::exit::Failure;

/// The largest body, in bytes, that is accepted; a question has 20 bytes.
const MAX_BODY: usize = 1024;

/// How long a worker may take to send the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The parts of the daemon that the handlers use.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    /// Decides the answers.
    pub(crate) stop_listener: StopListener,
    /// Wakes the daemon, so that a stopping machine is terminated (and stops costing) soon.
    pub(crate) wake: Arc<Notify>,
}

/// Starts to listen, until `shutdown` is cancelled.
///
/// # Errors
/// Fails if the address is taken or not ours.
pub(crate) async fn start(
    settings: &WorkerServer,
    links: Links,
    shutdown: CancellationToken,
) -> Result<SocketAddr, Failure> {
    let listen = settings.listen;
    let failed = |error: std::io::Error| {
        Failure::failed(format!("failed to listen on `{listen}` for workers"))
            .caused_by(&error)
            .with_hint("set `server.worker-listen` to a free address, or to \"\" to not listen")
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, "workers may ask on http://{address}{} whether to stop", Server::WORKERS);
    let rules = Rules { seats: descriptors::seats(), keep_alive: false };
    tokio::spawn(connections::serve(listener, router(links), rules, shutdown));
    Ok(address)
}

fn router(links: Links) -> Router {
    Router::new()
        .route(&format!("{}/{{instance}}/should-stop", Server::WORKERS), post(should_stop))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "not found") })
        .method_not_allowed_fallback(|| async {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
        })
        .with_state(links)
}

/// The message of a worker, which has exactly one of the two fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Says {
    idle: Option<bool>,
    stopping: Option<bool>,
}

impl Says {
    fn word(&self) -> Option<WorkerReport> {
        match (self.idle, self.stopping) {
            (Some(true), None) => Some(WorkerReport::Idle),
            (None, Some(true)) => Some(WorkerReport::Stopping),
            (Some(false), None) | (None, Some(false)) => Some(WorkerReport::Busy),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }
}

#[derive(Debug, Serialize)]
struct Told {
    stop: bool,
    /// How long a "yes" is valid, rounded down; 0 for "no".
    lease_seconds: u64,
}

async fn should_stop(
    State(links): State<Links>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(instance): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(token) = bearer(&headers) else { return unauthorized() };
    let body = match timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, "over 1 KiB, or cut off"),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "too slow"),
    };
    let word = serde_json::from_slice::<Says>(&body).ok().and_then(|says| says.word());
    let Some(word) = word else {
        let message = "say {\"idle\":true}, {\"idle\":false} or {\"stopping\":true}";
        return refuse(StatusCode::BAD_REQUEST, message);
    };
    let instance = InstanceId::new(instance);
    let from = peer.ip().to_canonical();
    match links.stop_listener.hear(&instance, token, from, word, Timestamp::now()) {
        Ok(answer) => {
            log(&instance, word, answer);
            if (word, answer != StopAnswer::Stay) == (WorkerReport::Stopping, true) {
                links.wake.notify_one();
            }
            let (stop, lease) = match answer {
                StopAnswer::Stay => (false, Duration::ZERO),
                StopAnswer::Stop(lease) => (true, lease),
            };
            Json(Told { stop, lease_seconds: lease.as_secs() }).into_response()
        }
        Err(StopAskError::WrongToken) => {
            tracing::debug!(%instance, "{instance} sent a token that does not belong to its launch");
            unauthorized()
        }
        Err(StopAskError::WrongAddress) => {
            tracing::warn!(
                %instance, %from,
                "a worker asked as {instance} from {from}, which EC2 does not name for that instance, and \
                 was not believed"
            );
            let error = "EC2 names other addresses for this instance than the one that asks";
            refuse(StatusCode::FORBIDDEN, error)
        }
        Err(StopAskError::NoSuchInstance) => refuse(StatusCode::NOT_FOUND, "no such instance"),
    }
}

fn log(instance: &InstanceId, word: WorkerReport, answer: StopAnswer) {
    match (word, answer) {
        (WorkerReport::Idle, StopAnswer::Stop(_)) => {
            tracing::info!(%instance, "{instance} is idle and may stop");
        }
        (WorkerReport::Stopping, StopAnswer::Stop(_)) => {
            tracing::info!(%instance, "{instance} is stopping");
        }
        (WorkerReport::Stopping, StopAnswer::Stay) => tracing::info!(
            %instance,
            "{instance} wanted to stop, but is needed again or reported too late: it is told to stay"
        ),
        (WorkerReport::Idle, StopAnswer::Stay) => {
            tracing::debug!(%instance, "{instance} is idle and stays");
        }
        (WorkerReport::Busy, _) => tracing::debug!(%instance, "{instance} is busy"),
    }
}

/// Returns the token of `Authorization: Bearer TOKEN` (RFC 6750; the scheme's case does not matter).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[derive(Debug, Serialize)]
struct Refused {
    error: &'static str,
}

fn refuse(code: StatusCode, error: &'static str) -> Response {
    (code, Json(Refused { error })).into_response()
}

fn unauthorized() -> Response {
    let error = "the bearer token must be this machine's `stop_token`";
    ([(WWW_AUTHENTICATE, "Bearer")], refuse(StatusCode::UNAUTHORIZED, error)).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    struct Running {
        address: SocketAddr,
        wake: Arc<Notify>,
        shutdown: CancellationToken,
    }

    async fn running() -> Running {
        let links = Links { stop_listener: StopListener::default(), wake: Arc::default() };
        let wake = Arc::clone(&links.wake);
        let shutdown = CancellationToken::new();
        let settings = WorkerServer { listen: "127.0.0.1:0".parse().unwrap(), stop_url: None };
        let address = start(&settings, links, shutdown.clone()).await.unwrap();
        Running { address, wake, shutdown }
    }

    impl Running {
        async fn ask(&self, head: &str, headers: &str, body: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let length = body.len();
            let request =
                format!("{head} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{headers}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            // The server may answer and close the connection before it has read everything.
            let _ = stream.write_all(body.as_bytes()).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).unwrap()
        }
    }

    #[tokio::test]
    async fn other_requests_are_refused() {
        let running = running().await;
        let ask = "POST /v1/workers/i-1/should-stop";
        let token = "authorization: Bearer x\r\n";
        let long = format!("{{\"idle\":true{}}}", " ".repeat(MAX_BODY));
        for (head, headers, body, code) in [
            (ask, token, "{\"idle\":true}", "404"),
            (ask, "", "{\"idle\":true}", "401"),
            (ask, "authorization: Basic x\r\n", "{\"idle\":true}", "401"),
            (ask, "authorization: Bearer\r\n", "{\"idle\":true}", "401"),
            (ask, token, "", "400"),
            (ask, token, "{}", "400"),
            (ask, token, "{\"idle\":1}", "400"),
            (ask, token, "{\"idle\":true,\"stopping\":true}", "400"),
            (ask, token, "{\"idel\":true}", "400"),
            (ask, token, &long, "413"),
            ("GET /v1/workers/i-1/should-stop", token, "", "405"),
            ("POST /v1/workers/i-1", token, "", "404"),
            ("POST /wake", token, "", "404"),
            ("GET /v1/status", token, "", "404"),
        ] {
            let answer = running.ask(head, headers, body).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{head} {body}: {answer}");
            assert!(answer.contains("{\"error\":"), "{answer}");
        }
        let mut waiting = std::pin::pin!(running.wake.notified());
        assert!(!waiting.as_mut().enable());
        running.shutdown.cancel();
    }

    #[test]
    fn a_worker_says_one_thing() {
        let word =
            |text: &str| serde_json::from_str::<Says>(text).ok().and_then(|says| says.word());
        assert_eq!(word("{\"idle\":true}"), Some(WorkerReport::Idle));
        assert_eq!(word("{\"idle\":false}"), Some(WorkerReport::Busy));
        assert_eq!(word("{\"stopping\":true}"), Some(WorkerReport::Stopping));
        assert_eq!(word("{\"stopping\":false}"), Some(WorkerReport::Busy));
        assert_eq!(word("{\"idle\":null}"), None);
        assert_eq!(word("[]"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_closed() {
        let running = running().await;
        let mut silent = TcpStream::connect(running.address).await.unwrap();
        silent
            .write_all(b"POST /v1/workers/i-1/should-stop HTTP/1.1\r\nhost: x\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        // Paused time advances when there is nothing else to do.
        assert_eq!(silent.read_to_end(&mut answer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_taken_address_is_an_error() {
        let running = running().await;
        let settings = WorkerServer { listen: running.address, stop_url: None };
        let links = Links { stop_listener: StopListener::default(), wake: Arc::default() };
        let failure = start(&settings, links, CancellationToken::new()).await.unwrap_err();
        assert_eq!(failure.status().code(), 1);
    }
}
