//! The queue's HTTP: one request, one answer, one clock.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Response, StatusCode, Url};

use super::answer::{Answer, Flaw, Tally};
use super::{address, token};
use crate::queue::source::DemandError;
use crate::settings::Queue;

/// The longest answer that is read. 100,000 tasks take some 60 MB.
const MAX_ANSWER: u64 = 256 << 20;

/// Redirects followed when no token is at stake.
const MAX_REDIRECTS: usize = 3;

/// Where and how to ask.
pub(super) struct Endpoint {
    client: Client,
    base: Url,
    timeout: Duration,
    token_file: Option<PathBuf>,
    pub(super) max_answer: u64,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A derived one would print the password of a URL.
        f.debug_struct("Endpoint")
            .field("base", &address::shown(&self.base))
            .field("timeout", &self.timeout)
            .field("token_file", &self.token_file)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(super) fn new(queue: &Queue) -> Result<Self, DemandError> {
        let mut base = address::parse(&queue.base_url)?;
        let redirects = if queue.token_file.is_some() {
            // reqwest would make an Authorization of its own from a user name, beside ours.
            base = address::without_user(base);
            Policy::none()
        } else {
            Policy::custom(redirect)
        };
        let accept = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let mut client = Client::builder()
            .user_agent(concat!("provisionerd/", env!("CARGO_PKG_VERSION")))
            .default_headers(accept)
            .redirect(redirects);
        if address::is_loopback(&base) {
            // A proxy from the environment is not loopback, and would see the token.
            client = client.no_proxy();
        }
        Ok(Self {
            client: client.build().map_err(|error| DemandError::Client(error.into()))?,
            base,
            timeout: queue.timeout,
            token_file: queue.token_file.clone(),
            max_answer: MAX_ANSWER,
        })
    }

    /// Reads the tasks in `state` into `tally`.
    pub(super) async fn read<T: Tally>(
        &self,
        state: &str,
        pointer: &[String],
        tally: T,
    ) -> Result<T, DemandError> {
        let url = address::jobs(&self.base, state);
        let shown = address::shown(&url);
        let exchange = self.exchange(url, &shown, Answer::new(pointer, tally));
        // One clock for the connection, the head and the body: a queue that trickles is not waited for.
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(DemandError::TooSlow { url: shown, timeout: self.timeout }),
        }
    }

    async fn exchange<T: Tally>(
        &self,
        url: Url,
        shown: &str,
        answer: Answer<'_, T>,
    ) -> Result<T, DemandError> {
        let mut request = self.client.get(url.clone());
        if let Some(file) = &self.token_file {
            request = request.header(AUTHORIZATION, token::authorization(file, &url).await?);
        }
        let response = request.send().await.map_err(|error| DemandError::Unreachable {
            url: shown.to_owned(),
            source: error.without_url().into(),
        })?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(shown, &response));
        }
        self.body(shown, response, answer).await
    }

    async fn body<T: Tally>(
        &self,
        shown: &str,
        mut response: Response,
        mut answer: Answer<'_, T>,
    ) -> Result<T, DemandError> {
        let limit = self.max_answer;
        let too_large = || DemandError::TooLarge { url: shown.to_owned(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut received = 0;
        loop {
            let chunk = response.chunk().await.map_err(|error| DemandError::CutOff {
                url: shown.to_owned(),
                at: received,
                source: Some(error.without_url().into()),
            })?;
            let Some(chunk) = chunk else { break };
            received += chunk.len() as u64;
            if received > limit {
                return Err(too_large());
            }
            answer.feed(&chunk).map_err(|flaw| flawed(shown, flaw))?;
        }
        answer.finish().map_err(|flaw| flawed(shown, flaw))
    }

    fn refusal(&self, shown: &str, response: &Response) -> DemandError {
        let url = shown.to_owned();
        let status = response.status();
        let target = response
            .headers()
            .get(LOCATION)
            .filter(|_| status.is_redirection())
            .and_then(|location| location.to_str().ok())
            .and_then(|location| response.url().join(location).ok());
        let Some(mut target) = target else {
            return DemandError::Status { url, status: status.as_u16() };
        };
        target.set_query(None);
        target.set_fragment(None);
        let reason = if self.token_file.is_some() {
            "none is followed with a token"
        } else if is_same_place(&target, &self.base) {
            "there were too many"
        } else {
            "it leads to another scheme or host"
        };
        DemandError::Redirect { url, to: address::shown(&target), reason }
    }
}

/// Follows a few redirects within one place; at any other, the redirect itself is the answer.
fn redirect(attempt: Attempt<'_>) -> Action {
    // The first of the previous URLs is what was asked.
    let follow = attempt.previous().len() <= MAX_REDIRECTS
        && attempt.previous().first().is_some_and(|asked| is_same_place(attempt.url(), asked));
    if follow { attempt.follow() } else { attempt.stop() }
}

fn is_same_place(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host_str() == b.host_str()
}

fn flawed(shown: &str, flaw: Flaw) -> DemandError {
    let url = shown.to_owned();
    match flaw {
        Flaw::NotAnArray => DemandError::NotAnArray { url },
        Flaw::Syntax { at, source } => DemandError::Syntax { url, at, source },
        Flaw::CutOff { at } => DemandError::CutOff { url, at, source: None },
    }
}
