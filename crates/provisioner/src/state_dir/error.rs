//! Errors of the state directory, and what the user can do about them.

use std::io;
use std::path::{Path, PathBuf};

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateDirError {
    /// There is no default, because neither `$XDG_STATE_HOME` nor a home directory is known.
    #[error("no state directory is known: there is neither `$XDG_STATE_HOME` nor a home directory")]
    NoHome,
    /// An account, region or key-name cannot be part of a file name.
    #[error("`{part}` cannot be part of the state directory's name")]
    BadName {
        /// The part.
        part: String,
    },
    /// Another process has the lock.
    #[error("{} has the state directory locked: `{}`", holder_name(*.holder), .path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The holder's process id, if it has written it already.
        holder: Option<u32>,
    },
    /// Somebody else could change what is in the directory.
    #[error("the state directory `{}` cannot be trusted: {why}", .path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A file on which money hangs was written by a newer version of the program.
    #[error("`{}` has version {version}, and this program knows versions up to {known}", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
        /// The newest version that is known.
        known: u64,
    },
    /// The operating system reported an error.
    #[error("failed to {attempt} `{}`", .path.display())]
    Io {
        /// The attempted operation, as in "failed to …".
        attempt: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The state cannot be encoded as JSON.
    #[error("failed to encode the content of `{}`", .path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
}

fn holder_name(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl StateDirError {
    pub(super) fn io(attempt: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { attempt, path: path.to_owned(), source }
    }

    /// Returns what the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome => Some("set `provisioner.state-dir` in the configuration".to_owned()),
            Self::BadName { .. } | Self::Encode { .. } => None,
            Self::NotOurs { path, .. } => Some(format!(
                "take `{}` over with `chown -R`, or set `provisioner.state-dir`",
                path.display()
            )),
            Self::Newer { .. } => Some(
                "run the release that wrote it, or a later one; without its content launches may be \
                 made twice"
                    .to_owned(),
            ),
            Self::Locked { holder, .. } => Some(match holder {
                Some(pid) => format!(
                    "one `provisionerd run` or `cleanup-aws` works per key-name; wait for process {pid}, or end it"
                ),
                None => "one `provisionerd run` or `cleanup-aws` works per key-name; wait for the other, or end it".to_owned(),
            }),
            Self::Io { path, source, .. } => Some(match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    format!("free some space where `{}` is", path.display())
                }
                io::ErrorKind::Unsupported => {
                    "set `provisioner.state-dir` to a directory on a file system with locks".to_owned()
                }
                _ => format!(
                    "make `{}` readable and writable for this user, or set `provisioner.state-dir`",
                    path.display()
                ),
            }),
        }
    }
}
