//! Writing files so that a crash or a power cut leaves either the old content or the new one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// A file that did not exist before, and that is removed again unless it is finished.
#[derive(Debug)]
pub(crate) struct NewFile {
    pub(crate) file: File,
    path: PathBuf,
    finished: bool,
}

impl NewFile {
    /// Creates a file with `mode`, less the umask. An existing one is neither overwritten nor followed.
    pub(crate) fn create(path: PathBuf, mode: u32) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        Ok(Self { file, path, finished: false })
    }

    /// Syncs the content and leaves the file where it is.
    #[cfg(feature = "aws")]
    pub(crate) fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        self.finished = true;
        sync_directory(directory(&self.path))
    }

    /// Syncs the content and puts the file in the place of `target`, which has to be on the same file
    /// system.
    pub(crate) fn replace(self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        self.replace_unsynced(target)?;
        sync_directory(directory(target))
    }

    /// Does the same without syncing, for content that need not survive a power cut: after one, `target`
    /// may be damaged.
    pub(crate) fn replace_unsynced(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished {
            // Incomplete content is of no use, and on a full disk it is in the way. If it cannot be
            // removed, nothing better can be done here.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens a file for reading that others may have tried to replace: it must be a regular file, is not followed
/// if it is a link, and does not block if it is a pipe.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    regular(OpenOptions::new().read(true), path)
}

/// Opens a file with `options` under the same conditions.
pub(crate) fn regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    // The bits of flags are the same in both types.
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// Reads an opened file to its end, which must come before `most` bytes.
pub(crate) fn read_up_to(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let message = format!("it is longer than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Opens and locks the file at `path`, without waiting; it is created if it is missing. `Err` holds the file that
/// another process has locked.
pub(crate) fn lock(path: &Path) -> io::Result<Result<File, File>> {
    loop {
        let mut options = OpenOptions::new();
        // The content is the holder's.
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = regular(&mut options, path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(file)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Between opening and locking, the holder may have removed the file, and another process may have
        // locked a new one of this name.
        let locked = file.metadata()?;
        match path.symlink_metadata() {
            Ok(there) if (there.dev(), there.ino()) == (locked.dev(), locked.ino()) => {
                return Ok(Ok(file));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Returns the directory that a file is in.
pub(crate) fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Makes renames and new entries in a directory survive a power cut.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
