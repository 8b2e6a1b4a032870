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
use sha2::{Digest as _, Sha256};

use super::StateDirError;
use crate::domain::stop_secret::to_hex;
use crate::files::{self, NewFile};

/// A kind of file: its name, and its content `{"version": VERSION, FIELD: …}`.
pub(super) struct Format {
    pub(super) name: &'static str,
    /// The version that is written.
    pub(super) version: u64,
    /// The oldest that is read.
    pub(super) oldest: u64,
    pub(super) field: &'static str,
    /// Whether it is synced to the disk before a write counts as done.
    pub(super) survives_power_cut: bool,
    /// Whether what is written has a digest, `"digest": …` of the field's exact text, and whether a file of a
    /// newer version is an error rather than damaged.
    pub(super) money_hangs_on_it: bool,
}

/// The longest file that is read, in bytes: twenty times the soft state of 20,000 machines.
const MOST: u64 = 256 << 20;

/// The first version of a file on which money hangs that has a digest.
const FIRST_WITH_DIGEST: u64 = 2;

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
/// If the file exists and cannot be read, or is of a newer version and money hangs on it: then it counts
/// neither as absent nor as damaged.
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
        Err(Unusable::Damaged(why)) => Content::Damaged(why),
        Err(Unusable::Newer(version)) => {
            return Err(StateDirError::Newer {
                path: path.to_owned(),
                version,
                known: format.version,
            });
        }
    })
}

/// Why the content of a file is not used.
enum Unusable {
    Damaged(String),
    Newer(u64),
}

impl From<String> for Unusable {
    fn from(why: String) -> Self {
        Self::Damaged(why)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8], format: &Format) -> Result<T, Unusable> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned().into());
    }
    // The version comes first, because a file of another version may have any shape. The rest is not
    // parsed into JSON values, which take ten times the memory of the types that they become.
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let field = |name: &str| fields.get(name).ok_or_else(|| format!("it has no `{name}`"));
    let version: u64 =
        serde_json::from_str(field("version")?.get()).map_err(|error| error.to_string())?;
    if format.money_hangs_on_it && version > format.version {
        return Err(Unusable::Newer(version));
    }
    if !(format.oldest..=format.version).contains(&version) {
        let known = format.version;
        return Err(format!("it has version {version}, this program knows {known}").into());
    }
    let text = field(format.field)?.get();
    if format.money_hangs_on_it && version >= FIRST_WITH_DIGEST {
        let digest: &str =
            serde_json::from_str(field("digest")?.get()).map_err(|error| error.to_string())?;
        if digest != digest_of(text) {
            return Err("its digest is that of another content".to_owned().into());
        }
    }
    Ok(serde_json::from_str(text).map_err(|error| error.to_string())?)
}

/// The SHA-256 digest of a text, in hexadecimal digits. It finds what a disk or a copy changed; it is no seal.
fn digest_of(text: &str) -> String {
    to_hex(&Sha256::digest(text))
}

/// Replaces a file, by way of a temporary one beside it. The caller holds the lock.
pub(super) fn replace<T: Serialize>(
    path: &Path,
    format: &Format,
    value: &T,
) -> Result<(), StateDirError> {
    let temporary = path.with_file_name(format!("{}.new", format.name));
    let encode = |source| StateDirError::Encode { path: path.to_owned(), source };
    let written = if format.money_hangs_on_it {
        let value = serde_json::value::to_raw_value(value).map_err(encode)?;
        let digest = Some(digest_of(value.get()));
        write(&temporary, &Versioned { format, value: &value, digest })?
    } else {
        write(&temporary, &Versioned { format, value, digest: None })?
    };
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
    digest: Option<String>,
}

impl<T: Serialize> Serialize for Versioned<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", &self.format.version)?;
        map.serialize_entry(self.format.field, self.value)?;
        if let Some(digest) = &self.digest {
            map.serialize_entry("digest", digest)?;
        }
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
