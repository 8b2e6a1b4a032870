//! The queue's HTTP: one request, one response, one timeout for both.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Response, StatusCode, Url};

use super::error::Error;
use super::response::{TaskResponse, TaskSink};
use super::{address, token};
use crate::domain::proxy;
use crate::settings::QueueSettings;

/// The longest response that is read, in bytes. 100,000 tasks take some 60 MB.
const MAX_RESPONSE: u64 = 256 << 20;

/// Redirects that are followed. With a token, no redirect is.
const MAX_REDIRECTS: usize = 3;

/// Where and how the queue is asked.
pub(super) struct Endpoint {
    client: Client,
    base: Url,
    timeout: Duration,
    token_file: Option<PathBuf>,
    pub(super) max_response: u64,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A derived implementation would print the password of a URL.
        f.debug_struct("Endpoint")
            .field("base", &address::shown(&self.base))
            .field("timeout", &self.timeout)
            .field("token_file", &self.token_file)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(super) fn new(queue: &QueueSettings) -> Result<Self, Error> {
        let mut base = address::parse(&queue.base_url)?;
        let redirects = if queue.token_file.is_some() {
            // reqwest would add a second Authorization header, made from the user name.
            base = address::without_user(base);
            Policy::none()
        } else {
            Policy::custom(redirect)
        };
        let accept = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let mut client = Client::builder()
            .user_agent(concat!("provisionerd/", env!("CARGO_PKG_VERSION")))
            .default_headers(accept)
            // Each request has a connection of its own. A kept one may have been closed by the queue, or by
            // a balancer before it, without a word, which the next request would find out by its failure.
            // Two connections per round cost less than a lost round.
            .pool_max_idle_per_host(0)
            .redirect(redirects);
        if address::is_loopback(&base) || proxy::is_off(std::env::vars_os()) {
            // A proxy from the environment would take the token off this machine.
            client = client.no_proxy();
        }
        Ok(Self {
            client: client.build().map_err(|error| Error::Client(error.into()))?,
            base,
            timeout: queue.timeout,
            token_file: queue.token_file.clone(),
            max_response: MAX_RESPONSE,
        })
    }

    /// Returns the address at which the tasks in `state` are, without user name and password.
    pub(super) fn shown(&self, state: &str) -> String {
        address::shown(&address::jobs(&self.base, state))
    }

    /// Reads the tasks in `state` into `sink`.
    pub(super) async fn read<T: TaskSink>(
        &self,
        state: &str,
        pointer: &[String],
        sink: T,
    ) -> Result<T, Error> {
        let url = address::jobs(&self.base, state);
        let shown = address::shown(&url);
        let exchange = self.exchange(url, &shown, TaskResponse::new(pointer, sink));
        // One timeout for the connection, the head and the body, so that a response that trickles ends.
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Error::TooSlow { url: shown, timeout: self.timeout }),
        }
    }

    async fn exchange<T: TaskSink>(
        &self,
        url: Url,
        shown: &str,
        tasks: TaskResponse<'_, T>,
    ) -> Result<T, Error> {
        let mut request = self.client.get(url.clone());
        if let Some(file) = &self.token_file {
            request = request.header(AUTHORIZATION, token::authorization(file, &url).await?);
        }
        let response = request.send().await.map_err(|error| Error::Unreachable {
            url: shown.to_owned(),
            source: error.without_url().into(),
        })?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(shown, &response));
        }
        self.body(shown, response, tasks).await
    }

    async fn body<T: TaskSink>(
        &self,
        shown: &str,
        mut response: Response,
        mut tasks: TaskResponse<'_, T>,
    ) -> Result<T, Error> {
        let limit = self.max_response;
        let too_large = || Error::TooLarge { url: shown.to_owned(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut received = 0;
        loop {
            let chunk = response.chunk().await.map_err(|error| Error::CutOff {
                url: shown.to_owned(),
                at: received,
                source: Some(error.without_url().into()),
            })?;
            let Some(chunk) = chunk else { break };
            received += chunk.len() as u64;
            if received > limit {
                return Err(too_large());
            }
            tasks.feed(&chunk).map_err(|error| Error::response(shown, error))?;
        }
        tasks.finish().map_err(|error| Error::response(shown, error))
    }

    fn refusal(&self, shown: &str, response: &Response) -> Error {
        let url = shown.to_owned();
        let status = response.status();
        let target = response
            .headers()
            .get(LOCATION)
            .filter(|_| status.is_redirection())
            .and_then(|location| location.to_str().ok())
            .and_then(|location| response.url().join(location).ok());
        let Some(mut target) = target else {
            return Error::Status { url, status: status.as_u16() };
        };
        target.set_query(None);
        target.set_fragment(None);
        let reason = if self.token_file.is_some() {
            "redirects are not followed with a token"
        } else if is_same_server(&target, &self.base) {
            "there were too many"
        } else {
            "it leads to another scheme, host or port"
        };
        Error::Redirect { url, to: address::shown(&target), reason }
    }
}

/// Follows a few redirects within one server. Any other redirect becomes the response.
fn redirect(attempt: Attempt<'_>) -> Action {
    // The first of the previous URLs is the one that was requested.
    let follow = attempt.previous().len() <= MAX_REDIRECTS
        && attempt.previous().first().is_some_and(|asked| is_same_server(attempt.url(), asked));
    if follow { attempt.follow() } else { attempt.stop() }
}

/// Whether both have the scheme, host and port in common: behind another port may be another's service.
fn is_same_server(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}
