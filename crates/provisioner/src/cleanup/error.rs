//! The errors of `cleanup-aws`.

use crate::aws;
use crate::config::edit::EditError;
use crate::state_dir::StateDirError;

/// Why nothing was touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CleanupError {
    /// The key-name is in another region than the one in force.
    #[error("`{key_name}` is in region {saved}, but {in_force} is in force")]
    WrongRegion {
        /// The key-name.
        key_name: String,
        /// Where the configuration says that it is.
        saved: String,
        /// The region of the command line, environment or profile.
        in_force: String,
    },
    /// The key-name is in another account.
    #[error("`{key_name}` is in account {saved}, but the credentials are of {in_force}")]
    WrongAccount {
        /// The key-name.
        key_name: String,
        /// Where the configuration says that it is.
        saved: String,
        /// The account of the credentials.
        in_force: String,
    },
    /// The configuration file cannot be read or written.
    #[error(transparent)]
    Config(#[from] EditError),
    /// The ledger cannot be used, because another process holds it or the disk fails.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// A call that reads from AWS failed.
    #[error("failed to see what there is in AWS")]
    Observe(#[from] aws::Error),
}

impl CleanupError {
    /// Returns whether usage, configuration, account or region is the cause (exit code 2), rather than a
    /// failure (exit code 1).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::WrongRegion { .. } | Self::WrongAccount { .. } | Self::Config(_) => true,
            Self::State(error) => matches!(error, StateDirError::Newer { .. }),
            Self::Observe(_) => false,
        }
    }

    /// Returns what the user can do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::WrongRegion { .. } => Some("leave out --region".to_owned()),
            Self::WrongAccount { .. } => {
                Some("choose the account's profile with --profile".to_owned())
            }
            Self::Config(_) => None,
            Self::State(error) => error.hint(),
            Self::Observe(error) => error.hint().map(str::to_owned),
        }
    }
}
