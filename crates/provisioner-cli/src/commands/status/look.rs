//! Where a status comes from.

use provisioner::status::{self, AskError, ProblemScope, ProblemSeen, Status, StatusSource};

use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

#[cfg(feature = "aws")]
use super::direct::Direct;

/// Asks a daemon, or looks for itself.
pub(super) enum Looker {
    Daemon {
        url: String,
    },
    #[cfg(feature = "aws")]
    Direct(Box<Direct>),
}

/// Why there is no status.
pub(super) enum NotSeen {
    /// It may be there the next time.
    Now(Failure, Box<ProblemSeen>),
    /// It will not.
    Ever(Failure),
}

impl Looker {
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

    pub(super) async fn look(&mut self) -> Result<Status, NotSeen> {
        match self {
            Self::Daemon { url } => status::ask(url).await.map_err(|error| NotSeen::of(&error)),
            #[cfg(feature = "aws")]
            Self::Direct(direct) => Box::pin(direct.look()).await.map_err(NotSeen::Ever),
        }
    }

    pub(super) fn source(&self) -> StatusSource {
        match self {
            Self::Daemon { .. } => StatusSource::Daemon,
            #[cfg(feature = "aws")]
            Self::Direct(_) => StatusSource::Direct,
        }
    }

    /// Where it looks, in a few words.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Daemon { url } => url.clone(),
            #[cfg(feature = "aws")]
            Self::Direct(direct) => direct.place(),
        }
    }
}

impl NotSeen {
    fn of(error: &AskError) -> Self {
        let failure = |status| Failure::from_error(status, error).with_hint(error.hint());
        if matches!(error, AskError::Address { .. } | AskError::NoTls { .. }) {
            return Self::Ever(failure(ExitStatus::USAGE));
        }
        let failure = failure(ExitStatus::FAILED);
        let seen = ProblemSeen::own(ProblemScope::Observation, error.code(), &failure.to_string());
        Self::Now(failure, Box::new(seen.with_fix(Some(error.hint().to_owned()))))
    }

    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Now(failure, _) | Self::Ever(failure) => failure,
        }
    }
}
