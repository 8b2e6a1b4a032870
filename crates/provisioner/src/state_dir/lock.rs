//! The exclusive lock: one process per deployment.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use super::StateDirError;
use crate::files;

/// A lock that is held. The lock file stays when the lock is released: if it were removed, two processes
/// could hold locks on two files of the same name.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough while a child process that is just being started still has it. If this
        // fails, the kernel releases the lock with the last descriptor.
        let _ = self.file.unlock();
    }
}

/// The process that holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Its process id; `None` if it has not written it yet.
    pub pid: Option<u32>,
}

/// Returns who holds the lock of this file, if anybody does. Creates nothing.
///
/// Looking takes a shared lock for a moment; [`Lock::take`] tries again for longer than that.
pub(super) fn holder(path: &Path) -> Result<Option<LockHolder>, StateDirError> {
    let mut file = match files::open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateDirError::io("open the lock file", path, source)),
    };
    match file.try_lock_shared() {
        Ok(()) => {
            let _ = file.unlock(); // closing the file does it too
            Ok(None)
        }
        Err(TryLockError::WouldBlock) => Ok(Some(LockHolder { pid: read_holder(&mut file) })),
        Err(TryLockError::Error(source)) => {
            Err(StateDirError::io("read the lock of", path, source))
        }
    }
}

/// Takes the lock, and waits for those that only look whether it is held, which takes microseconds. `Err` holds
/// the file that another process has locked.
fn lock_past_onlookers(path: &Path) -> io::Result<Result<File, File>> {
    const TRIES: u32 = 500;
    const PAUSE: Duration = Duration::from_millis(1);
    let mut tried = files::lock(path)?;
    for _ in 1..TRIES {
        let Err(file) = &tried else { break };
        // A holder shares its lock with nobody, and onlookers share theirs with everybody.
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => file.unlock()?,
        }
        std::thread::sleep(PAUSE);
        tried = files::lock(path)?;
    }
    Ok(tried)
}

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Self, StateDirError> {
        let locked = lock_past_onlookers(path)
            .map_err(|source| StateDirError::io("open and lock", path, source))?;
        let mut file = locked.map_err(|mut file| StateDirError::Locked {
            path: path.to_owned(),
            holder: read_holder(&mut file),
        })?;
        write_holder(&mut file)
            .map_err(|source| StateDirError::io("write the process id into", path, source))?;
        Ok(Self { file })
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// Returns the holder's process id; `None` if the holder has taken the lock but not written its id yet.
fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
