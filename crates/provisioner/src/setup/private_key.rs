//! The private key file that `setup-aws` writes and `cleanup-aws` removes.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::domain::ids::KeyName;
use crate::files::NewFile;

/// Returns `<key-name>.pem` beside the configuration file.
pub(crate) fn path(config_file: &Path, key_name: &KeyName) -> PathBuf {
    config_file.with_file_name(format!("{key_name}.pem"))
}

/// Writes a new file that only its owner can read. Never overwrites a file.
pub(crate) fn write(path: &Path, pem: &str) -> io::Result<()> {
    let mut new = NewFile::create(path.to_owned(), 0o600)?;
    new.file.write_all(pem.as_bytes())?;
    new.keep()
}

/// Removes the file. Returns whether there was one.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_for_its_owner_only_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&dir.path().join("provisioner.toml"), &KeyName::from("k"));
        assert_eq!(path, dir.path().join("k.pem"));
        write(&path, "one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(write(&path, "two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
    }
}
