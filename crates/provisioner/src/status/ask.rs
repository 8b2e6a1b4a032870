//! Asking a running daemon, over HTTP, without a configuration or AWS.

use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::{Status, VERSION};
use crate::queue::http::address;

/// Where the daemon tells it, under the address it listens on.
pub const ROUTE: &str = "/v1/status";

/// For the whole answer. The daemon has it ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read. A thousand worker types take some 400 kB.
const MAX_ANSWER: usize = 16 << 20;

/// Why a daemon's status is not known. URLs in here carry no user name and password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The address is none.
    #[error("failed to read the daemon's address `{url}` as an http or https URL")]
    Address {
        /// As given.
        url: String,
    },
    /// An https address, and a build without TLS.
    #[error("failed to ask {url}: this build has no TLS")]
    NoTls {
        /// What was to be asked.
        url: String,
    },
    /// No answer at all, or not the whole of it.
    #[error("failed to ask the daemon at {url}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What the HTTP client said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The whole answer did not arrive in time.
    #[error("failed to ask the daemon at {url}: the answer was not complete after {}s", PATIENCE.as_secs())]
    TooSlow {
        /// What was asked.
        url: String,
    },
    /// An answer other than 200.
    #[error("failed to ask the daemon at {url}: it answered with status {status}")]
    Refused {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is longer than is read.
    #[error("failed to read the answer of {url}: it is over {MAX_ANSWER} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
    },
    /// The answer is something else than a status.
    #[error("failed to read the answer of {url}: it is no status of a `provisionerd`")]
    NoStatus {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The answer has a shape that this program does not know.
    #[error(
        "failed to read the answer of {url}: it has version {version}, and this program reads version {VERSION}"
    )]
    Version {
        /// What was asked.
        url: String,
        /// The version of the answer.
        version: u64,
    },
}

impl AskError {
    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Address { .. } => {
                "name the daemon's `server.listen`, as in http://127.0.0.1:3000"
            }
            Self::NoTls { .. } => "build with `--features tls`, or use http",
            Self::Unreachable { .. } | Self::TooSlow { .. } => {
                "is the daemon running, and is this its `server.listen`?"
            }
            Self::Refused { .. } | Self::NoStatus { .. } | Self::TooLarge { .. } => {
                "is this the `server.listen` of a `provisionerd` that knows `status`?"
            }
            Self::Version { .. } => "use the `provisionerd` that the daemon was started from",
        }
    }

    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "address",
            Self::NoTls { .. } => "no-tls",
            Self::Unreachable { .. } => "unreachable",
            Self::TooSlow { .. } => "too-slow",
            Self::Refused { .. } => "refused",
            Self::TooLarge { .. } => "too-large",
            Self::NoStatus { .. } => "no-status",
            Self::Version { .. } => "version",
        }
    }
}

/// Asks the daemon that listens at `url` (`http://127.0.0.1:3000`) how it is doing.
pub async fn ask(url: &str) -> Result<Status, AskError> {
    let url = route_under(url)?;
    let shown = address::shown(&url);
    match tokio::time::timeout(PATIENCE, fetch(url, &shown)).await {
        Ok(body) => read(&body?, shown),
        Err(_) => Err(AskError::TooSlow { url: shown }),
    }
}

fn route_under(text: &str) -> Result<Url, AskError> {
    let mut url =
        address::parse(text).map_err(|_| AskError::Address { url: redacted(text).to_owned() })?;
    if url.scheme() == "https" && !cfg!(feature = "tls") {
        return Err(AskError::NoTls { url: address::shown(&url) });
    }
    let base = url.path().trim_end_matches('/').trim_end_matches(ROUTE).to_owned();
    url.set_path(&(base + ROUTE));
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// What cannot be parsed, without what may be a password in it.
fn redacted(text: &str) -> &str {
    text.rsplit('@').next().unwrap_or_default()
}

async fn fetch(url: Url, shown: &str) -> Result<Vec<u8>, AskError> {
    let unreachable = |error: reqwest::Error| AskError::Unreachable {
        url: shown.to_owned(),
        source: error.without_url().into(),
    };
    let mut client = Client::builder()
        .user_agent(concat!("provisionerd/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none());
    if address::is_loopback(&url) {
        // A proxy from the environment would look at its own loopback.
        client = client.no_proxy();
    }
    let client = client.build().map_err(unreachable)?;
    let request = client.get(url).header(ACCEPT, HeaderValue::from_static("application/json"));
    let mut response = request.send().await.map_err(unreachable)?;
    if response.status() != StatusCode::OK {
        let status = response.status().as_u16();
        return Err(AskError::Refused { url: shown.to_owned(), status });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(AskError::TooLarge { url: shown.to_owned() });
        }
    }
    Ok(body)
}

fn read(body: &[u8], url: String) -> Result<Status, AskError> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    // The version first: the rest of another version's may have any shape.
    match serde_json::from_slice(body) {
        Err(source) => Err(AskError::NoStatus { url, source }),
        Ok(Version { version }) if version != u64::from(VERSION) => {
            Err(AskError::Version { url, version })
        }
        Ok(Version { .. }) => {
            serde_json::from_slice(body).map_err(|source| AskError::NoStatus { url, source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_is_under_what_is_given() {
        for (given, asked) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000/v1/status"),
            ("http://127.0.0.1:3000/", "http://127.0.0.1:3000/v1/status"),
            ("http://[::1]:3000/v1/status", "http://[::1]:3000/v1/status"),
            (
                "http://ci.example.com/provisioner/?x=1#y",
                "http://ci.example.com/provisioner/v1/status",
            ),
        ] {
            assert_eq!(route_under(given).unwrap().as_str(), asked);
        }
        for bad in ["127.0.0.1:3000", "localhost", "ftp://x/", "http://me:secret@x:port/"] {
            let error = route_under(bad).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
            assert!(error.hint().contains("http://"), "{error}");
        }
    }

    #[test]
    fn what_is_no_status_is_told_apart() {
        let answer = |body: &str| read(body.as_bytes(), "http://x/".to_owned()).unwrap_err();
        let error = answer("<html>");
        assert!(matches!(error, AskError::NoStatus { .. }), "{error}");
        let error = answer(r#"{"version":1}"#);
        assert!(matches!(error, AskError::NoStatus { .. }), "{error}");
        let error = answer(r#"{"version":2,"worker_types":"many"}"#);
        assert!(matches!(error, AskError::Version { version: 2, .. }), "{error}");
    }
}
