//! Versioned JSON files that are replaced whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::StateDirError;

/// `{"version": VERSION, FIELD: …}` in a file of a name.
pub(super) struct Format {
    pub(super) name: &'static str,
    pub(super) version: u64,
    pub(super) field: &'static str,
}

/// What a file holds.
pub(super) enum Content<T> {
    Whole(T),
    Absent,
    /// Not JSON, cut off, of another version or of another shape; with the reason.
    Damaged(String),
}

/// Reads a file.
///
/// # Errors
/// A file that is there and cannot be read: that is neither absent nor damaged.
pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    format: &Format,
) -> Result<Content<T>, StateDirError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Absent),
        Err(source) => return Err(StateDirError::io("read", path, source)),
    };
    Ok(match parse(&bytes, format) {
        Ok(value) => Content::Whole(value),
        Err(why) => Content::Damaged(why),
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8], format: &Format) -> Result<T, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    // The version first: the rest of another version's file may have any shape. And not by way of JSON
    // values, which take ten times the memory of what they are turned into.
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let field = |name: &str| fields.get(name).ok_or_else(|| format!("it has no `{name}`"));
    let version: u64 =
        serde_json::from_str(field("version")?.get()).map_err(|error| error.to_string())?;
    if version != format.version {
        return Err(format!("it has version {version}, this program knows {}", format.version));
    }
    serde_json::from_str(field(format.field)?.get()).map_err(|error| error.to_string())
}

/// Replaces a file: temporary file, sync, rename, sync of the directory. The caller holds the lock.
pub(super) fn replace<T: Serialize>(
    path: &Path,
    format: &Format,
    value: &T,
) -> Result<(), StateDirError> {
    let temporary = path.with_file_name(format!("{}.new", format.name));
    let written = write_synced(&temporary, &Versioned { format, value }).and_then(|()| {
        fs::rename(&temporary, path).map_err(|source| StateDirError::io("replace", path, source))
    });
    if let Err(error) = written {
        // Of no use, and on a full disk in the way. If it stays, the next write removes it.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    path.parent().map_or(Ok(()), sync_directory)
}

struct Versioned<'a, T> {
    format: &'a Format,
    value: &'a T,
}

impl<T: Serialize> Serialize for Versioned<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("version", &self.format.version)?;
        map.serialize_entry(self.format.field, self.value)?;
        map.end()
    }
}

fn write_synced(path: &Path, value: &impl Serialize) -> Result<(), StateDirError> {
    let failed = |source| StateDirError::io("write", path, source);
    // A rest of a crashed write may have other permissions; a link would lead elsewhere.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = BufWriter::new(file.map_err(failed)?);
    serde_json::to_writer(&mut file, value).map_err(|source| {
        if source.is_io() {
            failed(source.into())
        } else {
            StateDirError::Encode { path: path.to_owned(), source }
        }
    })?;
    file.write_all(b"\n").map_err(failed)?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

/// Makes renames and new entries in a directory survive a power cut.
pub(super) fn sync_directory(path: &Path) -> Result<(), StateDirError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| StateDirError::io("sync the directory", path, source))
}

/// Renames a file to `<name>.damaged-<now>`, or to a further name if that is taken; returns the name.
pub(super) fn keep_aside(path: &Path, now: Timestamp) -> Result<PathBuf, StateDirError> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut n = 1;
    let aside = loop {
        let suffix = if n == 1 { String::new() } else { format!("-{n}") };
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{stamp}{suffix}"));
        let candidate = PathBuf::from(name);
        if candidate.symlink_metadata().is_err() {
            break candidate;
        }
        n += 1;
    };
    fs::rename(path, &aside)
        .map_err(|source| StateDirError::io("keep aside the damaged", path, source))?;
    path.parent().map_or(Ok(()), sync_directory)?;
    Ok(aside)
}
