//! Whether a file in the current directory can be trusted to configure a program that spends money. The
//! directory may belong to anybody (`/tmp`, a checkout).

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

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
    /// It is a directory, a pipe or a device.
    NoFile,
}

/// Opens the file at `path` if it can be trusted, and returns a warning if it cannot. The file is checked after it
/// was opened, because it could be replaced between a check of its name and the opening.
pub(super) fn open(path: &Path) -> io::Result<Result<File, Warning>> {
    Ok(check(path)?.map_err(|distrust| warning(path, distrust)))
}

fn check(path: &Path) -> io::Result<Result<File, Distrust>> {
    let user = rustix::process::geteuid().as_raw();
    // Opening a pipe would wait for a writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let before = check_link(path, user)?;
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        // A file of somebody else is skipped whether or not it can be read.
        Err(error) => {
            let distrust = before.and(check_metadata(&path.metadata()?, user)).err();
            return distrust.map_or(Err(error), |distrust| Ok(Err(distrust)));
        }
    };
    let trusted = before
        // A link of somebody else may have taken the place of the first one.
        .and(check_link(path, user)?)
        .and(check_metadata(&file.metadata()?, user));
    Ok(trusted.map(|()| file))
}

/// Checks whose link `path` is, if it is one.
fn check_link(path: &Path, user: u32) -> io::Result<Result<(), Distrust>> {
    let link = path.symlink_metadata()?;
    Ok(if link.is_symlink() { check_owner(link.uid(), user) } else { Ok(()) })
}

fn check_metadata(metadata: &Metadata, user: u32) -> Result<(), Distrust> {
    if !metadata.is_file() {
        return Err(Distrust::NoFile);
    }
    check_owner(metadata.uid(), user)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 == 0 { Ok(()) } else { Err(Distrust::WritableByOthers { mode }) }
}

fn check_owner(owner: u32, user: u32) -> Result<(), Distrust> {
    if owner == user || owner == 0 { Ok(()) } else { Err(Distrust::ForeignOwner { uid: owner }) }
}

/// Returns a warning that `./provisioner.toml` exists but is not to be trusted.
fn warning(file: &Path, distrust: Distrust) -> Warning {
    let (why, hint) = match distrust {
        Distrust::ForeignOwner { uid } => (
            format!("it belongs to user {uid}, who could change it"),
            format!("take it over with `chown`, or name it: `--config {}`", file.display()),
        ),
        Distrust::WritableByOthers { mode } => (
            format!("group or others may write to it (mode {mode:04o})"),
            format!("`chmod go-w {}`", file.display()),
        ),
        Distrust::NoFile => (
            "it is not a regular file".to_owned(),
            format!("name it, if it is meant: `--config {}`", file.display()),
        ),
    };
    Warning { message: format!("skipped {}: {why}", file.display()), hint }
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
        let distrust = check(&link).unwrap().unwrap_err();
        assert_eq!(distrust, Distrust::WritableByOthers { mode: 0o666 });
    }
}
