//! Whether a file in the current directory can be trusted to configure a program that spends money. The
//! directory may belong to anybody (`/tmp`, a checkout).

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::origin::Warning;

/// Why a file is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distrust {
    /// The file belongs to somebody else.
    ForeignOwner {
        /// The owner's user id.
        uid: u32,
    },
    /// The group or others may write to the file.
    WritableByOthers {
        /// The permission bits.
        mode: u32,
    },
}

/// Checks the file at `path`, and the symlink if the path is one.
pub(super) fn check(path: &Path) -> io::Result<Result<(), Distrust>> {
    let user = rustix::process::geteuid().as_raw();
    let link = path.symlink_metadata()?;
    if link.is_symlink()
        && let Err(distrust) = check_owner(link.uid(), user)
    {
        return Ok(Err(distrust));
    }
    Ok(check_metadata(&path.metadata()?, user))
}

fn check_metadata(metadata: &Metadata, user: u32) -> Result<(), Distrust> {
    check_owner(metadata.uid(), user)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 == 0 { Ok(()) } else { Err(Distrust::WritableByOthers { mode }) }
}

fn check_owner(owner: u32, user: u32) -> Result<(), Distrust> {
    if owner == user || owner == 0 { Ok(()) } else { Err(Distrust::ForeignOwner { uid: owner }) }
}

/// Returns a warning if `./provisioner.toml` exists but is not to be trusted.
pub(super) fn distrust_warning(file: &Path) -> Option<Warning> {
    // A file that cannot be checked cannot be read either, and reading it reports the error.
    let distrust = check(file).ok()?.err()?;
    let (why, hint) = match distrust {
        Distrust::ForeignOwner { uid } => (
            format!("it belongs to user {uid}, who could change it"),
            format!("take it over with `chown`, or name it: `--config {}`", file.display()),
        ),
        Distrust::WritableByOthers { mode } => (
            format!("group or others may write to it (mode {mode:04o})"),
            format!("`chmod go-w {}`", file.display()),
        ),
    };
    Some(Warning { message: format!("skipped {}: {why}", file.display()), hint })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn permission_bits_decide() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "").unwrap();
        for (mode, trusted) in
            [(0o600, true), (0o644, true), (0o664, false), (0o646, false), (0o777, false)]
        {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(check(&file).unwrap().is_ok(), trusted, "{mode:o}");
        }
    }

    #[test]
    fn only_the_user_and_root_are_trusted_owners() {
        assert_eq!(check_owner(1000, 1000), Ok(()));
        assert_eq!(check_owner(0, 1000), Ok(()));
        assert_eq!(check_owner(1001, 1000), Err(Distrust::ForeignOwner { uid: 1001 }));
        assert_eq!(check_owner(1000, 0), Err(Distrust::ForeignOwner { uid: 1000 }));
    }

    #[test]
    fn a_symlink_is_judged_by_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        let link = dir.path().join("l");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(check(&link).unwrap(), Err(Distrust::WritableByOthers { mode: 0o666 }));
    }
}
