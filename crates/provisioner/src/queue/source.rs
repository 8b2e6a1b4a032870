//! Where demand comes from: the one thing embedders bring themselves.
//!
//! [`HttpQueue`](crate::queue::HttpQueue) is the source the programs use.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::demand::Demand;
use crate::domain::ids::InstanceId;

/// A task queue, as far as the provisioner needs one.
///
/// ```
/// use std::collections::BTreeSet;
///
/// use provisioner::domain::demand::Demand;
/// use provisioner::domain::ids::{InstanceId, WorkerTypeName};
/// use provisioner::queue::source::{DemandError, DemandSource};
///
/// struct Constant(u64);
///
/// impl DemandSource for Constant {
///     async fn demand(&mut self, _: &BTreeSet<InstanceId>) -> Result<Demand, DemandError> {
///         let mut demand = Demand::default();
///         demand.pending.entry(WorkerTypeName::parse("linux").unwrap()).or_default().count = self.0;
///         Ok(demand)
///     }
/// }
/// ```
pub trait DemandSource: Send {
    /// Reads what the queue wants now.
    ///
    /// `owned` are the instances known as ours: of running tasks on other machines a source need not
    /// keep the machine's id.
    ///
    /// # Errors
    ///
    /// An error means that this round's demand is *unknown*: nothing is launched or ended on account of
    /// it. Half of an answer must be an error, never a smaller demand.
    fn demand(
        &mut self,
        owned: &BTreeSet<InstanceId>,
    ) -> impl Future<Output = Result<Demand, DemandError>> + Send;
}

/// What a library below said.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why the demand is unknown.
///
/// URLs in here carry no user name, password or token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemandError {
    /// The HTTP client cannot be made.
    #[error("failed to set up the HTTP client for the queue")]
    Client(#[source] Source),
    /// The queue's address is no URL.
    #[error("failed to read the queue's address `{url}` as an http or https URL")]
    Address {
        /// As configured.
        url: String,
    },
    /// No answer at all.
    #[error("failed to reach the queue at {url}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What the HTTP client said.
        #[source]
        source: Source,
    },
    /// The whole answer did not arrive in time.
    #[error("failed to read {url}: too slow, the answer was not complete after {timeout:?}")]
    TooSlow {
        /// What was asked.
        url: String,
        /// `queue.timeout`.
        timeout: Duration,
    },
    /// An answer other than 200.
    #[error("failed to read {url}: the queue answered with status {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// A redirect that is not followed.
    #[error("failed to read {url}: redirect to {to} refused, {reason}")]
    Redirect {
        /// What was asked.
        url: String,
        /// Where it led, without query.
        to: String,
        /// The rule.
        reason: &'static str,
    },
    /// The answer is something else than a JSON array.
    #[error("failed to read {url}: the answer is not a JSON array")]
    NotAnArray {
        /// What was asked.
        url: String,
    },
    /// The answer breaks the rules of JSON.
    #[error("failed to read {url}: invalid JSON at byte {at}")]
    Syntax {
        /// What was asked.
        url: String,
        /// Bytes before the error.
        at: u64,
        /// What is wrong there.
        #[source]
        source: Source,
    },
    /// The answer ended early.
    #[error("failed to read {url}: the answer was cut off after {at} bytes")]
    CutOff {
        /// What was asked.
        url: String,
        /// Bytes received.
        at: u64,
        /// What the HTTP client said, if the connection broke.
        #[source]
        source: Option<Source>,
    },
    /// The answer is longer than is read.
    #[error("failed to read {url}: the answer is over {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// How much is read.
        limit: u64,
    },
    /// The token file cannot be read.
    #[error("failed to read the queue's token file {}", path.display())]
    TokenFile {
        /// `queue.token-file`.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The token file holds nothing that can be sent.
    #[error("failed to use the queue's token file {}: {reason}", path.display())]
    Token {
        /// `queue.token-file`.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The token would travel in the clear.
    #[error("failed to ask {url}: a token is sent only over https or to loopback")]
    TokenInTheClear {
        /// What was to be asked.
        url: String,
    },
    /// Anything else, in an embedder's own words: a fragment that reads well after "error: ".
    #[error("{0}")]
    Other(String),
}

impl DemandError {
    /// A stable name for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Client(_) => "client",
            Self::Address { .. } => "address",
            Self::Unreachable { .. } => "unreachable",
            Self::TooSlow { .. } => "too-slow",
            Self::Status { .. } => "status",
            Self::Redirect { .. } => "redirect",
            Self::NotAnArray { .. } => "not-an-array",
            Self::Syntax { .. } => "syntax",
            Self::CutOff { .. } => "cut-off",
            Self::TooLarge { .. } => "too-large",
            Self::TokenFile { .. } => "token-file",
            Self::Token { .. } => "token",
            Self::TokenInTheClear { .. } => "token-in-the-clear",
            Self::Other(_) => "other",
        }
    }
}
