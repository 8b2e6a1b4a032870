//! The note of a run of `setup-aws` about what it is making, which outlives a run that is killed.
//!
//! Between the first call and the saved configuration, a key pair (and perhaps a role) exists that no file
//! names. The note beside the configuration file names it until then. It is locked by the run, so that two runs
//! for one file cannot overwrite each other's key-names, and a note without a lock is from a run that was
//! killed: the next one retires its key-name, which `cleanup-aws` then covers.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::SetupError;
use crate::domain::ids::KeyName;
use crate::files;
use crate::settings::RetiredKeyName;

/// The longest note that is read, in bytes; one key-name takes about 80.
const MOST: u64 = 64 * 1024;

/// The note of this run, which holds its lock.
#[derive(Debug)]
pub(super) struct SetupNote {
    file: File,
    path: PathBuf,
    /// What runs before this one left behind.
    earlier: Vec<RetiredKeyName>,
}

impl SetupNote {
    /// Takes the note of `config_file`, which is made if there is none.
    pub(super) fn take(config_file: &Path) -> Result<Self, SetupError> {
        let name = config_file.file_name().unwrap_or_default().to_string_lossy();
        let path = files::directory(config_file).join(format!(".{name}.setup"));
        let failed = |source| SetupError::Note { path: path.clone(), source };
        let Ok(file) = files::lock(&path).map_err(failed)? else {
            return Err(SetupError::Running { path });
        };
        let mut text = String::new();
        (&file).take(MOST).read_to_string(&mut text).map_err(failed)?;
        let earlier = text.lines().filter_map(read).collect();
        Ok(Self { file, path, earlier })
    }

    /// Returns what runs before this one left behind, but for the key-name that was saved after all.
    pub(super) fn earlier(&self, saved: Option<&KeyName>) -> Vec<RetiredKeyName> {
        self.earlier.iter().filter(|left| Some(&left.key_name) != saved).cloned().collect()
    }

    /// Notes down what is about to be made. It is synced before it returns.
    pub(super) fn write(&mut self, making: &RetiredKeyName) -> Result<(), SetupError> {
        let mut all = self.earlier.clone();
        all.push(making.clone());
        self.replace(&all).map_err(|source| SetupError::Note { path: self.path.clone(), source })
    }

    /// Ends the note once the configuration file names everything.
    pub(super) fn done(self) -> io::Result<()> {
        // The lock is held until the file is gone; another run then sees that it locked a file without a name.
        fs::remove_file(&self.path)
    }

    /// Ends the note of a run that failed. What it could not undo is still named; what earlier runs left behind
    /// is, too, because the configuration file was not changed.
    pub(super) fn failed(mut self, making: Option<&RetiredKeyName>) -> io::Result<()> {
        let mut all = std::mem::take(&mut self.earlier);
        all.extend(making.cloned());
        if all.is_empty() { self.done() } else { self.replace(&all) }
    }

    fn replace(&mut self, all: &[RetiredKeyName]) -> io::Result<()> {
        let text: String = all.iter().map(line).collect();
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        files::sync_directory(files::directory(&self.path))
    }
}

fn line(making: &RetiredKeyName) -> String {
    let RetiredKeyName { key_name, region, account_id } = making;
    format!("{key_name} {region} {}\n", account_id.as_deref().unwrap_or_default())
}

fn read(line: &str) -> Option<RetiredKeyName> {
    let mut words = line.split_whitespace();
    let key_name = KeyName::parse(words.next()?).ok()?;
    let region = words.next()?.to_owned();
    Some(RetiredKeyName { key_name, region, account_id: words.next().map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn making(name: &str) -> RetiredKeyName {
        RetiredKeyName {
            key_name: KeyName::from(name),
            region: "us-west-2".to_owned(),
            account_id: Some("123456789012".to_owned()),
        }
    }

    #[test]
    fn two_runs_at_once_are_one_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("provisioner.toml");
        let first = SetupNote::take(&config).unwrap();
        assert!(matches!(SetupNote::take(&config), Err(SetupError::Running { .. })));
        first.done().unwrap();
        SetupNote::take(&config).unwrap().done().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing stays");
    }

    #[test]
    fn a_killed_run_is_known_to_the_next_ones_until_one_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("provisioner.toml");
        let mut killed = SetupNote::take(&config).unwrap();
        killed.write(&making("a")).unwrap();
        drop(killed);
        let mut failed = SetupNote::take(&config).unwrap();
        assert_eq!(failed.earlier(None), [making("a")]);
        failed.write(&making("b")).unwrap();
        failed.failed(None).unwrap();
        let done = SetupNote::take(&config).unwrap();
        assert_eq!(done.earlier(None), [making("a")]);
        assert_eq!(done.earlier(Some(&KeyName::from("a"))), [], "it was saved after all");
        done.done().unwrap();
        assert_eq!(SetupNote::take(&config).unwrap().earlier(None), []);
    }
}
