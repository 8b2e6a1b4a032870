//! Writing files so that a crash or a power cut leaves either the old content or the new one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

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
