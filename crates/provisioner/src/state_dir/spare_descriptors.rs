//! Descriptors that are kept for the ledger.
//!
//! Without the ledger nothing is launched, so that a lack of descriptors, for whatever reason, must not reach it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::StateDirError;

/// The file that is written, and its directory, which is synced.
const NEEDED: usize = 2;

/// Open descriptors of a directory, which are closed when others are needed.
#[derive(Debug)]
pub(super) struct SpareDescriptors {
    directory: PathBuf,
    held: Mutex<Vec<File>>,
}

impl SpareDescriptors {
    pub(super) fn of(directory: &Path) -> Self {
        let spare = Self { directory: directory.to_owned(), held: Mutex::default() };
        spare.take_back(&mut spare.held.lock().unwrap_or_else(PoisonError::into_inner));
        spare
    }

    /// Runs `write` with the descriptors free.
    pub(super) fn lend(
        &self,
        write: impl FnOnce() -> Result<(), StateDirError>,
    ) -> Result<(), StateDirError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clear();
        let written = write();
        self.take_back(&mut held);
        written
    }

    fn take_back(&self, held: &mut Vec<File>) {
        // Where even this fails, there are none to keep now; the next use tries again.
        held.extend((held.len()..NEEDED).map_while(|_| File::open(&self.directory).ok()));
    }
}

/// Whether an error says that the process, or the system, has no descriptors left.
pub(super) fn are_lacking(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
