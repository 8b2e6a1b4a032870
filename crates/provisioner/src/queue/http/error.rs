//! Why a queue behind HTTP could not be read.

use std::path::PathBuf;
use std::time::Duration;

use super::json_array::ResponseError;
use crate::domain::demand::Skipped;
use crate::domain::plural;
use crate::queue::source::{DemandError, DemandErrorKind};

/// The error of a library below.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a queue behind HTTP could not be read.
///
/// URLs in it carry no user name, password or token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The HTTP client cannot be made.
    #[error("failed to set up the HTTP client for the queue")]
    Client(#[source] Source),
    /// The queue's address is not a URL.
    #[error("failed to read the queue's address `{url}` as an http or https URL")]
    Address { url: String },
    /// No response at all.
    #[error("failed to reach the queue at {url}")]
    Unreachable { url: String, source: Source },
    /// The complete response did not arrive within `queue.timeout`.
    #[error("failed to read {url}: too slow, the answer was not complete after {timeout:?}")]
    TooSlow { url: String, timeout: Duration },
    /// A status other than 200.
    #[error("failed to read {url}: the queue answered with status {status}")]
    Status { url: String, status: u16 },
    /// A redirect that is not followed. `to` carries no query; `reason` names the rule.
    #[error("failed to read {url}: redirect to {to} refused: {reason}")]
    Redirect { url: String, to: String, reason: &'static str },
    /// There are tasks, and not one of them can be used.
    #[error("failed to read {url}: {}", none_read(skipped))]
    NoneRead { url: String, skipped: Skipped },
    /// The response is something other than a JSON array.
    #[error("failed to read {url}: the answer is not a JSON array")]
    NotAnArray { url: String },
    /// The response breaks the rules of JSON after `at` bytes.
    #[error("failed to read {url}: invalid JSON at byte {at}")]
    Syntax { url: String, at: u64, source: Source },
    /// The response ended early, after `at` bytes. There is a source if the connection broke.
    #[error("failed to read {url}: the answer was cut off after {at} bytes")]
    CutOff { url: String, at: u64, source: Option<Source> },
    /// The response is longer than `limit` bytes.
    #[error("failed to read {url}: the answer is over {limit} bytes")]
    TooLarge { url: String, limit: u64 },
    /// `queue.token-file` cannot be read.
    #[error("failed to read the queue's token file {}", path.display())]
    TokenFile { path: PathBuf, source: std::io::Error },
    /// `queue.token-file` holds nothing that can be sent.
    #[error("failed to use the queue's token file {}: {reason}", path.display())]
    Token { path: PathBuf, reason: &'static str },
    /// The token would cross a network unencrypted.
    #[error("failed to ask {url}: a token is sent only over https or to loopback")]
    TokenInTheClear { url: String },
}

fn none_read(skipped: &Skipped) -> String {
    let tasks = plural::count(skipped.malformed + skipped.oversized, "task");
    let mut parts: Vec<_> = skipped
        .malformed_fields
        .iter()
        .map(|(name, field)| match name.as_str() {
            "" => format!("{} that is no object ({field})", plural::count(field.count, "element")),
            name => format!("no text at `{name}` ({field})"),
        })
        .collect();
    if skipped.oversized > 0 {
        parts.push("over 1 MiB".to_owned());
    }
    format!("not one of {tasks} can be used: {}", parts.join(", "))
}

impl Error {
    /// Adds to `error` which URL was read.
    pub(super) fn response(url: &str, error: ResponseError) -> Self {
        let url = url.to_owned();
        match error {
            ResponseError::NotAnArray => Self::NotAnArray { url },
            ResponseError::Syntax { at, source } => Self::Syntax { url, at, source },
            ResponseError::CutOff { at } => Self::CutOff { url, at, source: None },
        }
    }
}

impl From<Error> for DemandError {
    fn from(error: Error) -> Self {
        let (kind, code) = match error {
            Error::Client(_) => (DemandErrorKind::Setup, "client"),
            Error::Address { .. } => (DemandErrorKind::Setup, "address"),
            Error::TokenFile { .. } => (DemandErrorKind::Setup, "token-file"),
            Error::Token { .. } => (DemandErrorKind::Setup, "token"),
            Error::TokenInTheClear { .. } => (DemandErrorKind::Setup, "token-in-the-clear"),
            Error::Unreachable { .. } => (DemandErrorKind::Unreachable, "unreachable"),
            Error::NoneRead { .. } => (DemandErrorKind::BadResponse, "no-tasks-read"),
            Error::TooSlow { .. } => (DemandErrorKind::TimedOut, "too-slow"),
            Error::Status { .. } => (DemandErrorKind::Refused, "status"),
            Error::Redirect { .. } => (DemandErrorKind::Refused, "redirect"),
            Error::NotAnArray { .. } => (DemandErrorKind::BadResponse, "not-an-array"),
            Error::Syntax { .. } => (DemandErrorKind::BadResponse, "syntax"),
            Error::CutOff { .. } => (DemandErrorKind::BadResponse, "cut-off"),
            Error::TooLarge { .. } => (DemandErrorKind::BadResponse, "too-large"),
        };
        Self::new(kind, error).with_code(code)
    }
}
