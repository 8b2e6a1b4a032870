//! Where the configuration files are, and which one `setup-aws` and `cleanup-aws` edit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::origin::Warning;
use super::trust;

/// The name of the file in every directory.
pub(crate) const FILE_NAME: &str = "provisioner.toml";

/// The machine's file.
pub const SYSTEM_FILE: &str = "/etc/provisioner/provisioner.toml";

/// Returns the local configuration file, which `setup-aws` writes: the one named with `--config`, or
/// `./provisioner.toml`. It need not exist.
pub fn local_file(explicit: Option<&Path>, current_dir: &Path) -> PathBuf {
    current_dir.join(explicit.unwrap_or(Path::new(FILE_NAME)))
}

/// Returns a warning if `./provisioner.toml` exists but would be skipped when the configuration is read, so
/// that nothing is saved where it would be ignored.
pub fn skipped_local_file(current_dir: &Path) -> Option<Warning> {
    trust::open(&current_dir.join(FILE_NAME)).ok()?.err()
}

/// Returns the user's file: in `$XDG_CONFIG_HOME`, else in `$HOME/.config`, or if neither is set, where
/// `directories` locates it.
pub(crate) fn user_file(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    // The XDG specification demands that relative paths are ignored.
    let absolute =
        |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let dir = absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|base| base.join("provisioner"))
        .or_else(|| {
            let dirs = directories::ProjectDirs::from("", "", "provisioner")?;
            Some(dirs.config_dir().to_owned())
        })?;
    Some(dir.join(FILE_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_file_is_the_named_one_or_the_one_here() {
        let here = Path::new("/here");
        assert_eq!(local_file(None, here), Path::new("/here/provisioner.toml"));
        assert_eq!(local_file(Some(Path::new("x.toml")), here), Path::new("/here/x.toml"));
        assert_eq!(local_file(Some(Path::new("/x.toml")), here), Path::new("/x.toml"));
    }

    #[test]
    fn the_users_file_follows_xdg() {
        let file = |pairs: &[(&str, &str)]| {
            user_file(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        let both = [("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(file(&both).unwrap(), Path::new("/x/provisioner/provisioner.toml"));
        let relative = [("XDG_CONFIG_HOME", "x"), ("HOME", "/h")];
        assert_eq!(file(&relative).unwrap(), Path::new("/h/.config/provisioner/provisioner.toml"));
    }
}
