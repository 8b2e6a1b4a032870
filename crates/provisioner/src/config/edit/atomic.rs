//! Replaces the configuration file completely or not at all.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::files::{self, NewFile};

/// The mode of a new file, less the umask. It holds no secrets.
const NEW_FILE_MODE: u32 = 0o644;
/// How many symlinks in a row are followed: as many as Linux does (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// A file to be replaced, symlinks followed.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    original: Option<Original>,
}

#[derive(Debug)]
struct Original {
    text: String,
    metadata: Metadata,
}

impl Target {
    /// Reads the file, if there is one.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = follow(path)?;
        let original = read(&path)?;
        Ok(Self { path, original })
    }

    /// Returns whether the file existed when it was opened.
    pub(super) fn exists(&self) -> bool {
        self.original.is_some()
    }

    /// Returns the text as it was when the file was opened.
    pub(super) fn text(&self) -> &str {
        self.original.as_ref().map_or("", |original| &original.text)
    }

    /// Returns whether the file still has the text it was opened with.
    pub(super) fn is_as_opened(&self) -> io::Result<bool> {
        let now = read(&self.path)?.map(|original| original.text);
        Ok(now.as_deref() == self.original.as_ref().map(|original| original.text.as_str()))
    }

    /// Performs all steps of [`Self::replace`] but the replacing itself.
    pub(super) fn ensure_writable(&self) -> io::Result<()> {
        if self.exists() {
            // The directory alone would let us replace a file that is meant to be read-only.
            OpenOptions::new().append(true).open(&self.path)?;
        }
        let scratch = scratch(&self.path)?;
        self.take_over_owner_and_mode(&scratch.file)
    }

    /// Replaces the text.
    pub(super) fn replace(&mut self, text: &str) -> io::Result<()> {
        let mut scratch = scratch(&self.path)?;
        scratch.file.write_all(text.as_bytes())?;
        self.take_over_owner_and_mode(&scratch.file)?;
        scratch.replace(&self.path)?;
        self.original = read(&self.path)?;
        Ok(())
    }

    fn take_over_owner_and_mode(&self, file: &File) -> io::Result<()> {
        let Some(Original { text: _, metadata: old }) = &self.original else { return Ok(()) };
        // Until the owner is changed, only we may read it.
        let new = file.metadata()?;
        let mut mode = old.mode() & 0o7777;
        if old.uid() != new.uid() {
            fchown(file, Some(old.uid()), None)?;
        }
        // If we are not in the file's group, our own group must not get the permissions meant for it.
        if old.gid() != new.gid() && fchown(file, None, Some(old.gid())).is_err() {
            mode &= !0o070;
        }
        file.set_permissions(Permissions::from_mode(mode))
    }
}

fn read(path: &Path) -> io::Result<Option<Original>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Original { text, metadata: fs::metadata(path)? })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Follows symlinks one by one, because `canonicalize` refuses one whose target does not exist yet.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = files::directory(&path).join(target),
            // It is not a link, or it does not exist.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "too many symbolic links"))
}

/// Creates a temporary file beside another one: a rename works only within one file system.
fn scratch(beside: &Path) -> io::Result<NewFile> {
    if beside.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    let name = beside.file_name().unwrap_or_default().to_string_lossy();
    let path = files::directory(beside).join(format!(".{name}.{}.tmp", Uuid::new_v4()));
    // An existing file's mode is set once the owner is right.
    let mode = if beside.exists() { 0o600 } else { NEW_FILE_MODE };
    NewFile::create(path, mode)
}
