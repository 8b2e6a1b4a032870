//! The state directory: what one deployment remembers on disk, under an exclusive lock.
//!
//! Each deployment, which is an account, a region and a key-name, has a directory of its own,
//! `<state-dir>/<account>-<region>-<key-name>/`. Its files differ in what their loss would cost, and are
//! treated accordingly:
//!
//! | file | content | if it is lost or damaged |
//! |---|---|---|
//! | `lock` | the process id of the holder | nothing: the kernel holds the lock, not the content |
//! | `ledger.json` | launches that are not visible in EC2 yet, and what was spent | the daemon pauses launches; a damaged file is kept aside and never overwritten |
//! | `memory.json` | soft state, such as refusals and cool-downs, and a copy of what was spent | a few needless attempts |
//! | `stop-secret.json` | the key of the workers' stop tokens | running workers stop only by their idle timeout |
//! | `last-round.json` | the last round, for `status` | `status` shows no last round |
//! | `last-reload.json` | the process that reloads at SIGHUP, and how its last reload ended | `provisionerd reload` refuses to signal |
//! | `load/` | tasks and how long they ran, for `simulate` | a shorter load |
//!
//! The JSON files carry a version and are replaced completely or not at all (`file`). The first three of
//! them are synced before a write counts as done: a call to EC2 is made only once its intent would survive
//! a power cut. The rest is written often and not worth waiting for the disk; `load/` is only appended to,
//! and bounded in size (`recorded`).
//!
//! Writing requires the lock and therefore has a type of its own, [`LockedStateDir`]. A [`StateDir`] can
//! only be read from: it creates and moves nothing, so that `plan` and `--dry-run` leave no trace.
//!
//! The directory must belong to the user of the program, and its files must be regular files: links are not
//! followed, and no file is read beyond a fixed size.
//!
//! Everything in here blocks. The files are small; async code may use `spawn_blocking`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::demand::FinishedTask;
use crate::domain::error_chain::error_chain;
use crate::domain::ids::{KeyName, WorkerTypeName};
use crate::domain::ledger::Ledger;
use crate::domain::stop_secret::StopSecret;
use crate::status::{ReloadRecord, RoundRecord};

mod error;
mod file;
mod lock;
mod recorded;
mod spare_descriptors;
#[cfg(test)]
mod tests;

pub use error::StateDirError;
use file::{Content, Format};
use lock::Lock;
pub use lock::LockHolder;
pub use recorded::RecordedLoad;
use spare_descriptors::SpareDescriptors;

/// The ledger's file. Version 2 has a digest, the ledger's id and what was spent.
const LEDGER: Format = Format {
    name: "ledger.json",
    version: 2,
    oldest: 1,
    field: "ledger",
    survives_power_cut: true,
    money_hangs_on_it: true,
};
/// The soft state's file.
const MEMORY: Format = Format {
    name: "memory.json",
    version: 1,
    oldest: 1,
    field: "memory",
    survives_power_cut: true,
    money_hangs_on_it: false,
};
/// The file of the last round. It is written in every round, and only for display.
const RECORD: Format = Format {
    name: "last-round.json",
    version: 1,
    oldest: 1,
    field: "record",
    survives_power_cut: false,
    money_hangs_on_it: false,
};
/// The file of the last reload.
const RELOAD: Format = Format {
    name: "last-reload.json",
    version: 1,
    oldest: 1,
    field: "reload",
    survives_power_cut: false,
    money_hangs_on_it: false,
};
/// The file of the secret from which the workers' stop tokens are made.
const STOP_SECRET: Format = Format {
    name: "stop-secret.json",
    version: 1,
    oldest: 1,
    field: "secret",
    survives_power_cut: true,
    money_hangs_on_it: false,
};

/// The lock's file.
const LOCK: &str = "lock";

/// The location of a deployment's state. Having one locks and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
}

/// A state directory that exists and that only this process may write to, until this value is dropped.
#[derive(Debug)]
pub struct LockedStateDir {
    dir: StateDir,
    /// The kernel releases it when the process ends, even after `kill -9`.
    _lock: Lock,
    spare: SpareDescriptors,
}

/// What is known about the ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum LedgerState {
    /// It was read completely. An empty ledger is normal.
    Known(Ledger),
    /// It was absent or damaged, so there may be calls in flight that are not recorded anywhere.
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
        // Only the XDG platforms have a separate state directory.
        Some(dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).to_owned())
    }

    /// Returns the directory of one deployment under `configured` (`provisioner.state-dir`), or under
    /// [`StateDir::default_root`] if that is `None`. Does not access the disk.
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
            // The parts become one file name, so a slash would lead elsewhere.
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

    /// Creates the directory if it is missing, and takes its lock without waiting for it.
    ///
    /// # Errors
    /// Returns [`StateDirError::Locked`] with the holder's process id if another process has the lock.
    pub fn lock(&self) -> Result<LockedStateDir, StateDirError> {
        self.create()?;
        let lock = Lock::take(&self.path.join(LOCK))?;
        let spare = SpareDescriptors::of(&self.path);
        Ok(LockedStateDir { dir: self.clone(), _lock: lock, spare })
    }

    /// Writes an empty ledger unless there is one already, for `setup-aws`. Returns whether there was one.
    /// Holds the lock while writing.
    pub fn create_empty(&self) -> Result<bool, StateDirError> {
        let locked = self.lock()?;
        let path = self.path.join(LEDGER.name);
        // A dangling link counts as existing: it was hardly made to be replaced.
        if path.symlink_metadata().is_ok() {
            return Ok(true);
        }
        locked.write_ledger(&Ledger::default())?;
        Ok(false)
    }

    /// Reads the ledger without the lock, for display only: a daemon may be writing a newer one. A damaged
    /// file stays where it is.
    pub fn peek_ledger(&self) -> Result<LedgerState, StateDirError> {
        let path = self.path.join(LEDGER.name);
        Ok(match read_consistent(&path)? {
            Content::Complete(ledger) => LedgerState::Known(ledger),
            Content::Absent => absent(&path),
            Content::Damaged(why) => {
                LedgerState::Lost { why: format!("`{}` is damaged: {why}", path.display()) }
            }
        })
    }

    /// Reads the soft state. Returns `None` if it is absent or, with a warning, unreadable or damaged.
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

    /// Reads the record of the last round. Returns `None` if there is none of this version.
    pub fn read_record(&self) -> Result<Option<RoundRecord>, StateDirError> {
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

    /// Returns who holds the lock, if anybody does.
    pub fn holder(&self) -> Result<Option<LockHolder>, StateDirError> {
        lock::holder(&self.path.join(LOCK))
    }

    /// Reads the record of reloads. Returns `None` if there is none of this version.
    pub fn read_reload(&self) -> Result<Option<ReloadRecord>, StateDirError> {
        match file::read(&self.path.join(RELOAD.name), &RELOAD)? {
            Content::Complete(record) => Ok(Some(record)),
            Content::Absent | Content::Damaged(_) => Ok(None),
        }
    }

    /// Returns the state directories of all deployments under `configured` (`provisioner.state-dir`), or
    /// under [`StateDir::default_root`] if that is `None`.
    pub fn all_under(configured: Option<&Path>) -> Result<Vec<Self>, StateDirError> {
        let root = match configured {
            Some(root) => root.to_owned(),
            None => Self::default_root().ok_or(StateDirError::NoHome)?,
        };
        let entries = match fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StateDirError::io("list", &root, source)),
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        Ok(paths.into_iter().filter(|path| path.is_dir()).map(|path| Self { path }).collect())
    }

    /// Reads the recorded load of one worker type, which is empty if nothing was recorded.
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
            // The directory's own entry must survive a power cut as well as the ledger in it.
            if let Some(parent) = self.path.parent() {
                file::sync_directory(parent)?;
            }
        }
        let permissions = |source| StateDirError::io("restrict access to", &self.path, source);
        // Not of the target of a link: whoever made that could lead the files elsewhere later.
        let metadata = fs::symlink_metadata(&self.path).map_err(permissions)?;
        let user = rustix::process::geteuid();
        if !metadata.is_dir() {
            let why = "it is not a directory".to_owned();
            return Err(StateDirError::NotOurs { path: self.path.clone(), why });
        }
        // `cleanup-aws` may run as root on the directory of the daemon's user.
        if metadata.uid() != user.as_raw() && !user.is_root() {
            let why = format!("it belongs to user {}", metadata.uid());
            return Err(StateDirError::NotOurs { path: self.path.clone(), why });
        }
        let mode = metadata.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700))
                .map_err(permissions)?;
        }
        Ok(())
    }
}

impl LockedStateDir {
    /// Returns the directory for reading.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// Reads the ledger. A damaged file is kept aside as `ledger.json.damaged-<now>` and counts as lost.
    ///
    /// # Errors
    /// If the file exists and cannot be read, or cannot be kept aside: then the ledger is neither known nor
    /// lost.
    pub fn read_ledger(&self, now: Timestamp) -> Result<LedgerState, StateDirError> {
        let path = self.dir.path.join(LEDGER.name);
        Ok(match read_consistent(&path)? {
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

    /// Replaces the ledger. If this succeeds, the new one is synced to the disk; if it fails, the old one is
    /// still there.
    pub fn write_ledger(&self, ledger: &Ledger) -> Result<(), StateDirError> {
        let path = self.dir.path.join(LEDGER.name);
        match file::replace(&path, &LEDGER, ledger) {
            Err(StateDirError::Io { source, .. }) if spare_descriptors::are_lacking(&source) => {
                self.spare.lend(|| file::replace(&path, &LEDGER, ledger))
            }
            written => written,
        }
    }

    /// Returns the secret from which the workers' stop tokens are made, and creates it if there is none. It is
    /// readable only for its owner, like all files here. A damaged one is replaced: the tokens of machines
    /// launched with it are no longer valid, so that these stop only after `idle-timeout`.
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

    /// Removes the ledger, the soft state, the last round, the secret, the recorded load and the directory,
    /// for `cleanup-aws`. Other files, such as a damaged ledger kept aside, stay, and so does the directory
    /// then.
    pub fn forget(&self) -> Result<(), StateDirError> {
        for name in [LEDGER.name, MEMORY.name, RECORD.name, RELOAD.name, STOP_SECRET.name, LOCK] {
            let path = self.dir.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StateDirError::io("remove", &path, error));
                }
                _ => {}
            }
        }
        recorded::remove(&self.dir.path)?;
        // If this fails, the directory is gone already, or contains files that are not ours.
        let _ = fs::remove_dir(&self.dir.path);
        Ok(())
    }

    /// Replaces the soft state.
    pub fn write_memory<T: Serialize>(&self, memory: &T) -> Result<(), StateDirError> {
        file::replace(&self.dir.path.join(MEMORY.name), &MEMORY, memory)
    }

    /// Appends tasks that ended to the recorded load, whose size is bounded. They are not synced.
    pub fn record_load(
        &self,
        tasks: &BTreeMap<WorkerTypeName, Vec<FinishedTask>>,
    ) -> Result<(), StateDirError> {
        recorded::append(&self.dir.path, tasks)
    }

    /// Replaces the record of reloads.
    pub fn write_reload(&self, record: &ReloadRecord) -> Result<(), StateDirError> {
        file::replace(&self.dir.path.join(RELOAD.name), &RELOAD, record)
    }

    /// Replaces the record of the last round.
    pub fn write_record(&self, record: &RoundRecord) -> Result<(), StateDirError> {
        file::replace(&self.dir.path.join(RECORD.name), &RECORD, record)
    }
}

/// Reads the ledger. One whose parts contradict each other counts as damaged.
fn read_consistent(path: &Path) -> Result<Content<Ledger>, StateDirError> {
    Ok(match file::read::<Ledger>(path, &LEDGER)? {
        Content::Complete(ledger) => match ledger.contradiction() {
            Some(why) => Content::Damaged(why),
            None => Content::Complete(ledger),
        },
        other => other,
    })
}

fn absent(path: &Path) -> LedgerState {
    LedgerState::Lost { why: format!("`{}` does not exist", path.display()) }
}
