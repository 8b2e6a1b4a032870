//! Fetching the status from a running daemon over HTTP, without a configuration or AWS.

use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::{Status, VERSION};
use crate::domain::proxy;
use crate::queue::http::address;

/// The path under which the daemon serves the status.
pub const ROUTE: &str = "/v1/status";

/// The timeout for the complete answer. It is generous: the daemon need not compute anything for it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes. A thousand worker types take about 400 kB.
const MAX_BYTES: usize = 16 << 20;

/// Why a daemon's status could not be fetched. The URLs contain no user name and password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The address is not an http or https URL.
    #[error("failed to read the daemon's address `{url}` as an http or https URL")]
    Address {
        /// As given.
        url: String,
    },
    /// The address is an https URL, and this build has no TLS.
    #[error("failed to ask {url}: this build has no TLS")]
    NoTls {
        /// The URL.
        url: String,
    },
    /// There was no answer, or it was not complete.
    #[error("failed to ask the daemon at {url}")]
    Unreachable {
        /// The URL.
        url: String,
        /// The error of the HTTP client.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The complete answer did not arrive in time.
    #[error("failed to ask the daemon at {url}: the answer was not complete after {}s", TIMEOUT.as_secs())]
    TooSlow {
        /// The URL.
        url: String,
    },
    /// The HTTP status of the answer was not 200.
    #[error("failed to ask the daemon at {url}: it answered with status {status}")]
    Refused {
        /// The URL.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is too long.
    #[error("failed to read the answer of {url}: it is over {MAX_BYTES} bytes")]
    TooLarge {
        /// The URL.
        url: String,
    },
    /// The answer is not a status.
    #[error("failed to read the answer of {url}: it is not the status of a `provisionerd`")]
    NoStatus {
        /// The URL.
        url: String,
        /// Why it cannot be read.
        #[source]
        source: serde_json::Error,
    },
    /// The answer has a shape that this program does not know.
    #[error(
        "failed to read the answer of {url}: it has version {version}, and this program reads version {VERSION}"
    )]
    Version {
        /// The URL.
        url: String,
        /// The version of the answer.
        version: u64,
    },
}

impl AskError {
    /// Returns what the user can do about it.
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

    /// Returns a stable name for the error.
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

/// Fetches the status of the daemon that listens at `url` (`http://127.0.0.1:3000`).
pub async fn ask(url: &str) -> Result<Status, AskError> {
    let url = route_under(url)?;
    let shown = address::shown(&url);
    match tokio::time::timeout(TIMEOUT, fetch(url, &shown)).await {
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

/// Removes what may be a password from a text that is not a URL.
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
    if address::is_loopback(&url) || proxy::is_off(std::env::vars_os()) {
        // A proxy from the environment would connect to its own loopback interface.
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
        if body.len() > MAX_BYTES {
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
    // The version is read first, because a document of another version may have any shape.
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
