//! Versioned JSON files that are replaced completely or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::StateDirError;
use crate::files::{self, NewFile};

/// A kind of file: its name, and its content `{"version": VERSION, FIELD: …}`.
pub(super) struct Format {
    pub(super) name: &'static str,
    pub(super) version: u64,
    pub(super) field: &'static str,
    /// Whether it is synced to the disk before a write counts as done.
    pub(super) survives_power_cut: bool,
}

/// The longest file that is read, in bytes: twenty times the soft state of 20,000 machines.
const MOST: u64 = 256 << 20;

/// What a file holds.
pub(super) enum Content<T> {
    Complete(T),
    Absent,
    /// It is not JSON, cut off, or of another version or shape; with the reason.
    Damaged(String),
}

/// Reads a file.
///
/// # Errors
/// If the file exists and cannot be read: then it counts neither as absent nor as damaged.
pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    format: &Format,
) -> Result<Content<T>, StateDirError> {
    let bytes = match files::open_regular(path).and_then(|file| files::read_up_to(file, MOST)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Absent),
        Err(source) => return Err(StateDirError::io("read", path, source)),
    };
    Ok(match parse(&bytes, format) {
        Ok(value) => Content::Complete(value),
        Err(why) => Content::Damaged(why),
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8], format: &Format) -> Result<T, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    // The version comes first, because a file of another version may have any shape. The rest is not
    // parsed into JSON values, which take ten times the memory of the types that they become.
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

/// Replaces a file, by way of a temporary one beside it. The caller holds the lock.
pub(super) fn replace<T: Serialize>(
    path: &Path,
    format: &Format,
    value: &T,
) -> Result<(), StateDirError> {
    let temporary = path.with_file_name(format!("{}.new", format.name));
    let written = write(&temporary, &Versioned { format, value })?;
    let replaced = if format.survives_power_cut {
        written.replace(path)
    } else {
        written.replace_unsynced(path)
    };
    replaced.map_err(|source| StateDirError::io("replace", path, source))
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

fn write(path: &Path, value: &impl Serialize) -> Result<NewFile, StateDirError> {
    let failed = |source| StateDirError::io("write", path, source);
    // What a crashed write left behind may have other permissions, and a link would lead elsewhere.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let new = NewFile::create(path.to_owned(), 0o600).map_err(failed)?;
    let mut out = BufWriter::new(&new.file);
    serde_json::to_writer(&mut out, value).map_err(|source| {
        if source.is_io() {
            failed(source.into())
        } else {
            StateDirError::Encode { path: path.to_owned(), source }
        }
    })?;
    out.write_all(b"\n").and_then(|()| out.flush()).map_err(failed)?;
    drop(out);
    Ok(new)
}

/// Makes renames and new entries in a directory survive a power cut.
pub(super) fn sync_directory(path: &Path) -> Result<(), StateDirError> {
    files::sync_directory(path)
        .map_err(|source| StateDirError::io("sync the directory", path, source))
}

/// Renames a file to `<name>.damaged-<now>`, or to a numbered name if that is taken, and returns the
/// new path.
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
