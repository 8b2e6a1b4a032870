//! The source of a status: a running daemon, or AWS and the queue themselves.

use provisioner::internal::status::{
    self, AskError, ProblemScope, ProblemSeen, Status, StatusSource,
};

use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

#[cfg(feature = "aws")]
use super::direct::Direct;

/// Reads the status from a daemon, or directly.
pub(super) enum StatusProbe {
    Daemon {
        url: String,
    },
    #[cfg(feature = "aws")]
    Direct(Box<Direct>),
}

/// Why there is no status.
pub(super) enum NotRead {
    /// The next attempt may succeed.
    Temporary(Failure, Box<ProblemSeen>),
    /// No later attempt can succeed.
    Permanent(Failure),
}

impl StatusProbe {
    pub(super) fn new(url: Option<String>, context: &Context) -> Result<Self, Failure> {
        match url {
            Some(url) => Ok(Self::Daemon { url }),
            None => Self::direct(context),
        }
    }

    #[cfg(feature = "aws")]
    fn direct(context: &Context) -> Result<Self, Failure> {
        Ok(Self::Direct(Box::new(Direct::new(context)?)))
    }

    #[cfg(not(feature = "aws"))]
    fn direct(_: &Context) -> Result<Self, Failure> {
        Err(super::super::needs_aws("`provisionerd status` without `--url`"))
    }

    pub(super) async fn read(&mut self) -> Result<Status, NotRead> {
        match self {
            Self::Daemon { url } => status::ask(url).await.map_err(|error| NotRead::of(&error)),
            #[cfg(feature = "aws")]
            Self::Direct(direct) => Box::pin(direct.read()).await.map_err(NotRead::Permanent),
        }
    }

    pub(super) fn source(&self) -> StatusSource {
        match self {
            Self::Daemon { .. } => StatusSource::Daemon,
            #[cfg(feature = "aws")]
            Self::Direct(_) => StatusSource::Direct,
        }
    }

    /// Returns the address or key-name whose status is read.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Daemon { url } => url.clone(),
            #[cfg(feature = "aws")]
            Self::Direct(direct) => direct.place(),
        }
    }
}

impl NotRead {
    fn of(error: &AskError) -> Self {
        let failure = |status| Failure::from_error(status, error).with_hint(error.hint());
        if matches!(error, AskError::Address { .. } | AskError::NoTls { .. }) {
            return Self::Permanent(failure(ExitStatus::USAGE));
        }
        let failure = failure(ExitStatus::FAILED);
        let seen = ProblemSeen::own(ProblemScope::Observation, error.code(), &failure.to_string());
        Self::Temporary(failure, Box::new(seen.with_fix(Some(error.hint().to_owned()))))
    }

    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Temporary(failure, _) | Self::Permanent(failure) => failure,
        }
    }
}
