//! Why nothing was touched.

use crate::aws;
use crate::config::edit::EditError;
use crate::state_dir::StateDirError;

/// Why nothing was touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CleanupError {
    /// A key-name lives in another region than the one in force.
    #[error("`{key_name}` is in region {saved}, but {in_force} is in force")]
    WrongRegion {
        /// The key-name.
        key_name: String,
        /// Where it lives.
        saved: String,
        /// What the command line, environment or profile says.
        in_force: String,
    },
    /// A key-name lives in another account.
    #[error("`{key_name}` is in account {saved}, but the credentials are of {in_force}")]
    WrongAccount {
        /// The key-name.
        key_name: String,
        /// Where it lives.
        saved: String,
        /// Whose credentials they are.
        in_force: String,
    },
    /// The configuration file cannot be read or written.
    #[error(transparent)]
    Config(#[from] EditError),
    /// The ledger cannot be used: another process has it, or the disk refuses.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// AWS could not be looked at.
    #[error("failed to see what there is in AWS")]
    Look(#[from] aws::Error),
}

impl CleanupError {
    /// Whether usage, configuration, account or region are to blame (exit code 2), rather than
    /// something that failed (exit code 1).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::WrongRegion { .. } | Self::WrongAccount { .. } | Self::Config(_) => true,
            Self::State(_) | Self::Look(_) => false,
        }
    }

    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::WrongRegion { .. } => Some("leave out --region".to_owned()),
            Self::WrongAccount { .. } => {
                Some("choose the account's profile with --profile".to_owned())
            }
            Self::Config(_) => None,
            Self::State(error) => error.hint(),
            Self::Look(error) => error.hint().map(str::to_owned),
        }
    }
}
