//! Where demand comes from: the trait that embedders implement for their own queue.
//!
//! [`Queue`](crate::queue::Queue) is the source that the programs use.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;

use crate::domain::demand::Demand;
use crate::domain::ids::InstanceId;

/// A task queue, as far as the provisioner needs one.
///
/// ```
/// use std::collections::BTreeSet;
///
/// use provisioner::{
///     Demand, DemandError, DemandErrorKind, DemandSource, InstanceId, WorkerTypeName,
/// };
///
/// /// A file that holds the number of pending tasks.
/// struct CountFile(std::path::PathBuf);
///
/// impl DemandSource for CountFile {
///     async fn demand(&mut self, _: &BTreeSet<InstanceId>) -> Result<Demand, DemandError> {
///         let text = std::fs::read_to_string(&self.0)
///             .map_err(|error| DemandError::new(DemandErrorKind::Unreachable, error))?;
///         let count = text
///             .trim()
///             .parse()
///             .map_err(|_| DemandError::new(DemandErrorKind::BadResponse, "not a number"))?;
///         let mut demand = Demand::default();
///         demand.pending.entry(WorkerTypeName::parse("linux").unwrap()).or_default().count = count;
///         Ok(demand)
///     }
/// }
/// ```
pub trait DemandSource: Send {
    /// Reads the queue's current demand.
    ///
    /// `owned` holds the instances that are known to be ours. For running tasks on other machines, a
    /// source need not report the machine.
    ///
    /// # Errors
    ///
    /// An error means that this round's demand is *unknown*: nothing is launched or ended on account of
    /// it. Half of a response must be an error, never a smaller demand.
    fn demand(
        &mut self,
        owned: &BTreeSet<InstanceId>,
    ) -> impl Future<Output = Result<Demand, DemandError>> + Send;
}

/// Why the demand is unknown.
///
/// Like [`std::io::Error`], it has a kind and wraps any other error, whose message and sources it shows
/// as its own. Logs and `status` print them, so they must hold no password or token. A message reads
/// well after "error: ", as in "failed to read the task table".
#[derive(Debug)]
pub struct DemandError {
    kind: DemandErrorKind,
    code: &'static str,
    error: Box<dyn Error + Send + Sync>,
}

/// What sort of failure a [`DemandError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DemandErrorKind {
    /// The queue was not asked, because its address, a credential or the client is unusable.
    Setup,
    /// The queue did not answer at all.
    Unreachable,
    /// The complete response did not arrive in time.
    TimedOut,
    /// The queue answered, but refused to report its tasks.
    Refused,
    /// The queue's response is incomplete, or could not be understood.
    BadResponse,
    /// Any other failure.
    Other,
}

impl DemandError {
    /// Makes an error from another one, or from a message.
    pub fn new(kind: DemandErrorKind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, code: kind.code(), error: error.into() }
    }

    /// Makes an error of [`DemandErrorKind::Other`].
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(DemandErrorKind::Other, error)
    }

    /// Sets a more precise [`Self::code`] than the kind's own.
    #[must_use]
    pub fn with_code(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    /// Returns the sort of failure.
    pub fn kind(&self) -> DemandErrorKind {
        self.kind
    }

    /// Returns a stable name, used as a label of metrics.
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl fmt::Display for DemandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for DemandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl DemandErrorKind {
    fn code(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "too-slow",
            Self::Refused => "refused",
            Self::BadResponse => "bad-response",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_one_it_wraps() {
        let wrapped = u8::try_from(256_u16).unwrap_err();
        let error = DemandError::new(DemandErrorKind::BadResponse, wrapped);
        assert_eq!(error.to_string(), wrapped.to_string());
        assert!(error.source().is_none());
        assert_eq!((error.kind(), error.code()), (DemandErrorKind::BadResponse, "bad-response"));
        assert_eq!(error.with_code("range").code(), "range");

        let error = DemandError::other("out of paper");
        assert_eq!((&*error.to_string(), error.code()), ("out of paper", "other"));
    }
}
