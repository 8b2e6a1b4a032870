//! The state directory: what one deployment remembers on disk, under an exclusive lock.
//!
//! `<state-dir>/<account>-<region>-<key-name>/` holds `lock`, `ledger.json` (what was asked of EC2 and
//! is not yet seen; never guessed, never overwritten when damaged), `memory.json` (soft state that
//! may be lost at no more than a few needless attempts), `last-round.json` (what is told of the last
//! round; nothing depends on it), `load/` (which tasks came and how long they ran, for `simulate`) and,
//! where workers may ask to stop, `stop-secret.json` (what their tokens are made with).
//! Writing needs the lock, and so has a type of its own, [`LockedStateDir`]; a [`StateDir`] alone only
//! reads: it makes no directory and moves nothing, so that `plan` and `--dry-run` leave no trace.
//!
//! Everything in here blocks. Files are small; callers in async code may use `spawn_blocking`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::demand::FinishedTask;
use crate::domain::error_chain::error_chain;
use crate::domain::ids::{KeyName, WorkerTypeName};
use crate::domain::ledger::Ledger;
use crate::domain::stop_secret::StopSecret;
use crate::status::Record;

mod error;
mod file;
mod lock;
mod recorded;
#[cfg(test)]
mod tests;

pub use error::StateDirError;
use file::{Content, Format};
use lock::Lock;
pub use recorded::RecordedLoad;

/// The ledger's file.
const LEDGER: Format =
    Format { name: "ledger.json", version: 1, field: "ledger", survives_power_cut: true };
/// The soft state's file.
const MEMORY: Format =
    Format { name: "memory.json", version: 1, field: "memory", survives_power_cut: true };
/// The file of what is told of the last round.
/// Written in every round, and only to be looked at: not worth waiting for the disk.
const RECORD: Format =
    Format { name: "last-round.json", version: 1, field: "record", survives_power_cut: false };

/// The file of what workers' tokens are made with.
const STOP_SECRET: Format =
    Format { name: "stop-secret.json", version: 1, field: "secret", survives_power_cut: true };

/// The lock's file.
const LOCK: &str = "lock";

/// Where one deployment's state lives. Holding it locks and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
}

/// A state directory that exists and that this process alone may write to, until it is dropped.
#[derive(Debug)]
pub struct LockedStateDir {
    dir: StateDir,
    /// Released by the kernel when the file is closed, be it by `kill -9`.
    _lock: Lock,
}

/// What is known of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum LedgerState {
    /// It was there and whole. Empty is normal.
    Known(Ledger),
    /// It was absent or damaged: there may be calls in flight that nobody remembers.
    Lost {
        /// Why, with the path.
        why: String,
    },
}

impl StateDir {
    /// Returns the user's state directory for this program: `$XDG_STATE_HOME/provisioner`, else
    /// `~/.local/state/provisioner`. `None` without a home directory.
    pub fn default_root() -> Option<PathBuf> {
        let dirs = directories::ProjectDirs::from("", "", "provisioner")?;
        // Only the XDG platforms know a state directory of their own.
        Some(dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).to_owned())
    }

    /// Names the directory of one deployment under `configured` (`provisioner.state-dir`), or under
    /// [`StateDir::default_root`] if that is `None`. Touches no disk.
    pub fn locate(
        configured: Option<&Path>,
        account: &str,
        region: &str,
        key_name: &KeyName,
    ) -> Result<Self, StateDirError> {
        let root = match configured {
            Some(root) => root.to_owned(),
            None => Self::default_root().ok_or(StateDirError::NoHome)?,
        };
        for part in [account, region, key_name.as_str()] {
            // The parts become one file name: a slash would lead somewhere else.
            if part.is_empty() || part.contains(['/', '\\', '\0']) {
                return Err(StateDirError::BadName { part: part.to_owned() });
            }
        }
        Ok(Self { path: root.join(format!("{account}-{region}-{key_name}")) })
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory if it is missing and takes its lock, without waiting.
    ///
    /// # Errors
    /// [`StateDirError::Locked`] with the holder's process id if another process has it.
    pub fn lock(&self) -> Result<LockedStateDir, StateDirError> {
        self.create()?;
        let lock = Lock::take(&self.path.join(LOCK))?;
        Ok(LockedStateDir { dir: self.clone(), _lock: lock })
    }

    /// Writes an empty ledger where none is, for `setup-aws`. Returns whether there was one already,
    /// which is left as it is. Takes the lock for the moment of writing.
    pub fn create_empty(&self) -> Result<bool, StateDirError> {
        let locked = self.lock()?;
        let path = self.path.join(LEDGER.name);
        // A dangling link counts as existing: whoever made it did not mean it to be replaced.
        if path.symlink_metadata().is_ok() {
            return Ok(true);
        }
        locked.write_ledger(&Ledger::default())?;
        Ok(false)
    }

    /// Reads the ledger without the lock: for looking only, a daemon may be writing a newer one.
    /// A damaged file stays where it is.
    pub fn peek_ledger(&self) -> Result<LedgerState, StateDirError> {
        let path = self.path.join(LEDGER.name);
        Ok(match file::read(&path, &LEDGER)? {
            Content::Complete(ledger) => LedgerState::Known(ledger),
            Content::Absent => absent(&path),
            Content::Damaged(why) => {
                LedgerState::Lost { why: format!("`{}` is damaged: {why}", path.display()) }
            }
        })
    }

    /// Reads the soft state. Absent, unreadable or damaged is `None`; the latter two with a warning.
    pub fn read_memory<T: DeserializeOwned>(&self) -> Option<T> {
        let path = self.path.join(MEMORY.name);
        let problem = match file::read(&path, &MEMORY) {
            Ok(Content::Complete(memory)) => return Some(memory),
            Ok(Content::Absent) => {
                tracing::debug!("nothing is remembered yet in `{}`", path.display());
                return None;
            }
            Ok(Content::Damaged(why)) => why,
            Err(error) => error_chain(&error),
        };
        tracing::warn!(
            error = problem,
            "what was learned is lost and will be learned again: `{}` cannot be used: {problem}",
            path.display()
        );
        None
    }

    /// Reads what is told of the last round. `None` if there is nothing, or nothing of this version.
    pub fn read_record(&self) -> Result<Option<Record>, StateDirError> {
        let path = self.path.join(RECORD.name);
        Ok(match file::read(&path, &RECORD)? {
            Content::Complete(record) => Some(record),
            Content::Absent => None,
            Content::Damaged(why) => {
                tracing::debug!("`{}` is of no use: {why}", path.display());
                None
            }
        })
    }

    /// Reads the recorded load of one worker type. Nothing recorded is an empty load.
    pub fn read_load(&self, name: &WorkerTypeName) -> Result<RecordedLoad, StateDirError> {
        recorded::read(&self.path, name)
    }

    fn create(&self) -> Result<(), StateDirError> {
        if !self.path.is_dir() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.path)
                .map_err(|source| StateDirError::io("create the directory", &self.path, source))?;
            // The directory's own entry must survive a power cut as well as the ledger in it does.
            if let Some(parent) = self.path.parent() {
                file::sync_directory(parent)?;
            }
        }
        let permissions = |source| StateDirError::io("restrict access to", &self.path, source);
        let mode = fs::metadata(&self.path).map_err(permissions)?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700))
                .map_err(permissions)?;
        }
        Ok(())
    }
}

impl LockedStateDir {
    /// Returns the directory, to read from.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// Reads the ledger. A damaged file is kept aside as `ledger.json.damaged-<now>` and counts as
    /// lost.
    ///
    /// # Errors
    /// A file that is there and cannot be read, or cannot be kept aside, is neither known nor lost.
    pub fn read_ledger(&self, now: Timestamp) -> Result<LedgerState, StateDirError> {
        let path = self.dir.path.join(LEDGER.name);
        Ok(match file::read(&path, &LEDGER)? {
            Content::Complete(ledger) => LedgerState::Known(ledger),
            Content::Absent => absent(&path),
            Content::Damaged(why) => {
                let aside = file::keep_aside(&path, now)?;
                LedgerState::Lost {
                    why: format!(
                        "`{}` is damaged ({why}) and was kept as `{}`",
                        path.display(),
                        aside.display()
                    ),
                }
            }
        })
    }

    /// Replaces the ledger. When this returns, the new one is on disk, synced; when it fails, the old
    /// one still is.
    pub fn write_ledger(&self, ledger: &Ledger) -> Result<(), StateDirError> {
        file::replace(&self.dir.path.join(LEDGER.name), &LEDGER, ledger)
    }

    /// Returns what workers' tokens are made with, and makes it where there is none. It is readable for
    /// its owner alone, as everything here is. A damaged one is replaced: machines that were launched
    /// with it are no longer believed, and end themselves after `idle-timeout`.
    pub fn stop_secret(&self) -> Result<StopSecret, StateDirError> {
        let path = self.dir.path.join(STOP_SECRET.name);
        match file::read(&path, &STOP_SECRET)? {
            Content::Complete(secret) => return Ok(secret),
            Content::Absent => {}
            Content::Damaged(why) => tracing::warn!(
                error = why,
                "workers launched before now are not believed when they ask to stop: `{}` is damaged: {why}",
                path.display()
            ),
        }
        let secret = StopSecret::generate()
            .map_err(|error| StateDirError::io("make a secret for", &path, error.into()))?;
        file::replace(&path, &STOP_SECRET, &secret)?;
        Ok(secret)
    }

    /// Removes the ledger, the soft state, the last round, the secret, the recorded load and the
    /// directory, for `cleanup-aws`. What is not ours in there (a damaged ledger kept aside) stays, and
    /// the directory with it.
    pub fn forget(&self) -> Result<(), StateDirError> {
        for name in [LEDGER.name, MEMORY.name, RECORD.name, STOP_SECRET.name, LOCK] {
            let path = self.dir.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StateDirError::io("remove", &path, error));
                }
                _ => {}
            }
        }
        recorded::remove(&self.dir.path)?;
        // Not empty, or gone already: either way nothing of ours is in it.
        drop(fs::remove_dir(&self.dir.path));
        Ok(())
    }

    /// Replaces the soft state.
    pub fn write_memory<T: Serialize>(&self, memory: &T) -> Result<(), StateDirError> {
        file::replace(&self.dir.path.join(MEMORY.name), &MEMORY, memory)
    }

    /// Adds tasks that ended to the recorded load, of bounded size. Not worth waiting for the disk.
    pub fn record_load(
        &self,
        tasks: &BTreeMap<WorkerTypeName, Vec<FinishedTask>>,
    ) -> Result<(), StateDirError> {
        recorded::append(&self.dir.path, tasks)
    }

    /// Replaces what is told of the last round.
    pub fn write_record(&self, record: &Record) -> Result<(), StateDirError> {
        file::replace(&self.dir.path.join(RECORD.name), &RECORD, record)
    }
}

fn absent(path: &Path) -> LedgerState {
    LedgerState::Lost { why: format!("`{}` does not exist", path.display()) }
}
