//! The errors of `setup-aws`.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::KeyNameInUse;
use crate::aws;
use crate::config::edit::EditError;
use crate::domain::ids::InvalidName;
use crate::domain::plural;
use crate::state_dir::StateDirError;

/// Why no key-name was made. The configuration file is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Config(#[from] EditError),
    /// The file is for another region.
    #[error("the configuration file is for region {saved}, but {in_force} is in force")]
    WrongRegion {
        /// The value in the file.
        saved: String,
        /// The region of the command line, environment or profile.
        in_force: String,
    },
    /// The file is for another account.
    #[error("the configuration file is for account {saved}, but the credentials are of {in_force}")]
    WrongAccount {
        /// The value in the file.
        saved: String,
        /// The account of the credentials.
        in_force: String,
    },
    /// The prefix does not make a valid key-name.
    #[error(transparent)]
    Prefix(#[from] InvalidName),
    /// The public key cannot be used.
    #[error("cannot import `{}`: {reason}", path.display())]
    PublicKey {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The file names an instance profile that is not ours.
    #[error(
        "the configuration file already has an instance profile: worker-defaults.iam-instance-profile is \
         `{profile}`"
    )]
    OwnProfile {
        /// The value in the file.
        profile: String,
    },
    /// A file exists where the private key would be written.
    #[error("`{}` exists and is not overwritten", path.display())]
    PrivateKeyExists {
        /// The file.
        path: PathBuf,
    },
    /// The state directory cannot be located or used.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// Another run works on the same file.
    #[error("another setup-aws is running for this file: it has `{}` locked", path.display())]
    Running {
        /// The note of the other run.
        path: PathBuf,
    },
    /// What is about to be made could not be noted down.
    #[error("failed to read or write `{}`", path.display())]
    Note {
        /// The note.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The key-name in the file is still in use.
    #[error("{0}")]
    InUse(KeyNameInUse),
    /// A call that reads from AWS failed. Nothing was made.
    #[error("failed to see what there is in AWS")]
    Observe(#[source] aws::Error),
    /// A step failed. What was made before it is undone, except for what is listed.
    #[error("failed to {attempt}; {}", undone(left))]
    Failed {
        /// The step.
        attempt: &'static str,
        /// The cause.
        #[source]
        source: SetupCause,
        /// What could not be undone.
        left: Vec<String>,
    },
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum SetupCause {
    /// A call to AWS failed.
    #[error(transparent)]
    Aws(aws::Error),
    /// The private key file could not be written.
    #[error("cannot write `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The state directory could not be made.
    #[error(transparent)]
    State(StateDirError),
    /// The configuration file could not be written.
    #[error(transparent)]
    Config(EditError),
}

fn undone(left: &[String]) -> String {
    if left.is_empty() {
        "what had been made is undone".to_owned()
    } else {
        format!("this could not be undone: {}", left.join(", "))
    }
}

impl fmt::Display for KeyNameInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key_name, region, key_pair, n_spot_requests, n_instances } = self;
        let mut found = Vec::new();
        if *key_pair {
            found.push("its key pair".to_owned());
        }
        if *n_spot_requests > 0 {
            found.push(plural::count(*n_spot_requests, "spot request"));
        }
        if *n_instances > 0 {
            found.push(plural::count(*n_instances, "instance"));
        }
        write!(f, "`{key_name}` is still there in {region}: {}", found.join(", "))
    }
}

impl SetupError {
    /// Returns whether usage, configuration, account or region is the cause (exit code 2), rather than a
    /// failure (exit code 1).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Config(_)
            | Self::WrongRegion { .. }
            | Self::WrongAccount { .. }
            | Self::Prefix(_)
            | Self::OwnProfile { .. }
            | Self::PublicKey { .. } => true,
            Self::PrivateKeyExists { .. }
            | Self::State(_)
            | Self::Running { .. }
            | Self::Note { .. }
            | Self::InUse(_)
            | Self::Observe(_)
            | Self::Failed { .. } => false,
        }
    }

    /// Returns what the user can do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::InUse(_) => {
                "run `cleanup-aws` first, or keep it for a later `cleanup-aws` with --force"
            }
            Self::WrongRegion { .. } => "leave out --region, or name another file with --config",
            Self::WrongAccount { .. } => {
                "choose the account's profile with --profile, or name another file with --config"
            }
            Self::Prefix(_) => "a shorter --prefix of allowed characters leaves room for the uuid",
            Self::OwnProfile { .. } => {
                "leave out --with-worker-profile to go on using it, or remove that key from the file"
            }
            Self::PrivateKeyExists { .. } => "run it again: every run makes another name",
            Self::Observe(error) | Self::Failed { source: SetupCause::Aws(error), .. } => {
                error.hint()?
            }
            Self::State(error) | Self::Failed { source: SetupCause::State(error), .. } => {
                return error.hint();
            }
            Self::Running { .. } => {
                "wait until it has ended, and run this again if you need another name"
            }
            Self::Config(_)
            | Self::Note { .. }
            | Self::PublicKey { .. }
            | Self::Failed { source: SetupCause::File { .. } | SetupCause::Config(_), .. } => {
                return None;
            }
        };
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::KeyName;

    #[test]
    fn what_is_left_is_named() {
        let error = SetupError::Failed {
            attempt: "save the key-name",
            source: SetupCause::File { path: "x.pem".into(), source: io::ErrorKind::Other.into() },
            left: vec!["key pair `k` in us-west-2 (why)".to_owned()],
        };
        assert_eq!(
            error.to_string(),
            "failed to save the key-name; this could not be undone: key pair `k` in us-west-2 (why)"
        );
    }

    #[test]
    fn a_key_name_in_use_says_what_there_is() {
        let in_use = KeyNameInUse {
            key_name: KeyName::from("k"),
            region: "us-west-2".to_owned(),
            key_pair: true,
            n_spot_requests: 0,
            n_instances: 3,
        };
        assert_eq!(
            in_use.to_string(),
            "`k` is still there in us-west-2: its key pair, 3 instances"
        );
    }
}
