//! The exclusive lock: one process per deployment.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

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

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Self, StateDirError> {
        let locked =
            files::lock(path).map_err(|source| StateDirError::io("open and lock", path, source))?;
        let mut file = locked.map_err(|mut file| StateDirError::Locked {
            path: path.to_owned(),
            holder: read_holder(&mut file),
        })?;
        write_holder(&mut file)
            .map_err(|source| StateDirError::io("write the process id into", path, source))?;
        Ok(Self { file })
    }
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
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
