//! The configuration: read in layers, merged with the origin of every value, and checked as a whole.
//!
//! [`load`] returns either [`Settings`] in which nothing is left to check, or all problems at once, each with
//! its file, line and key. It works in three steps:
//!
//! 1. `layers` reads each source into a tree (`tree`) whose nodes know where they were written. The
//!    sources are, from the lowest to the highest: the machine's file, the user's file,
//!    `./provisioner.toml` (unless somebody else could change it, see `trust`), environment variables of
//!    the form `PROVISIONER__SECTION__KEY`, and the command line. An explicitly named file replaces the three
//!    files.
//! 2. The trees are laid over each other. Tables merge key by key, and everything else is replaced. A few
//!    keys are alternatives of each other, such as `queue.url` and `queue.host`: setting one in a layer
//!    removes the other from the layers below. `[worker-defaults]` is laid beneath each worker type in the
//!    same way, once all layers are merged.
//! 3. `read` turns the tree into settings, one function per section. It asks a `section` for each key with
//!    its type, default and meaning. By this the section learns which keys exist; it reports unknown ones
//!    with the nearest known key, and records every value in force with its origin ([`Entry`]). No other
//!    list of keys exists: [`keys`], from which the documentation is made, runs the same functions on an
//!    empty tree.
//!
//! Values from files have a TOML type, and values from the environment and the command line are text that is
//! parsed once the type of its key is known. A relative path starts at the file in which it is written; in
//! the environment and on the command line, at the current directory. An empty optional text counts as
//! absent, so that a higher layer can take back what a lower one sets.
//!
//! Two things are deliberately absent: access to the process's environment and arguments, which the programs
//! pass in, and the AWS SDK's own region and profile.

mod diff;
pub(crate) mod edit;
mod key;
mod layers;
pub(crate) mod lookup;
mod origin;
mod read;
mod section;
mod setting;
mod tree;
mod trust;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use diff::diff;
pub use key::{Key, KeyKind};
pub use origin::{ConfigError, ConfigProblem, Entry, Origin, Warning};

use crate::settings::Settings;
use section::Reader;
use tree::{NodeValue, Table};

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `--config` or `PROVISIONER_CONFIG`: a file that must exist and is read instead of the three files.
    pub explicit_file: Option<PathBuf>,
    /// The environment. Variables without the prefix are ignored, except those that determine where the
    /// user's file is.
    pub environment: BTreeMap<String, String>,
    /// The current directory, as an absolute path.
    pub current_dir: PathBuf,
    /// The overrides on the command line.
    pub overrides: Vec<Override>,
    /// The machine's file: [`lookup::SYSTEM_FILE`], except in tests.
    pub system_file: PathBuf,
}

/// A key set on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The key, dotted as in TOML (`aws.region`).
    pub key: String,
    /// The text as given, which is parsed as the key requires.
    pub value: String,
    /// The flag, for messages (`--region`).
    pub flag: String,
}

impl Sources {
    /// Starts with the three files as seen from `current_dir`, without environment and overrides.
    pub fn new(current_dir: impl Into<PathBuf>) -> Self {
        Self {
            explicit_file: None,
            environment: BTreeMap::new(),
            current_dir: current_dir.into(),
            overrides: Vec::new(),
            system_file: PathBuf::from(lookup::SYSTEM_FILE),
        }
    }
}

/// A configuration without problems.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The settings in force.
    pub settings: Settings,
    /// The files that were read, lowest first.
    pub files_read: Vec<PathBuf>,
    /// Warnings for the user, such as about a file that was skipped.
    pub warnings: Vec<Warning>,
    /// Every value in force, including defaults, sorted by key. Secrets are left out.
    pub entries: Vec<Entry>,
}

/// Reads and checks the configuration.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let layers::Layers { files, environment, overrides, files_read, warnings, problems } =
        layers::gather(sources);
    // Reading a partial tree would report false problems.
    if !problems.is_empty() {
        return Err(ConfigError::new(problems, warnings));
    }
    let mut tree = Table::new();
    for file in files {
        tree::overlay(&mut tree, file);
    }
    let saved_region = string_at(&tree, "aws", "region");
    tree::overlay(&mut tree, environment);
    tree::overlay(&mut tree, overrides);
    check(&sources.current_dir, tree, saved_region, files_read, warnings)
}

/// Reads and checks a configuration that is the text of one file, without other sources. This is for programs
/// that do not store it in files. Relative paths in it start at `dir`.
pub fn parse(text: &str, dir: &Path) -> Result<Loaded, ConfigError> {
    let name = Arc::from(dir.join(lookup::FILE_NAME));
    let tree =
        tree::parse_file(&name, text).map_err(|problems| ConfigError::new(problems, Vec::new()))?;
    let saved_region = string_at(&tree, "aws", "region");
    check(dir, tree, saved_region, Vec::new(), Vec::new())
}

/// Returns all keys, section by section. Those of `[worker-defaults]` are left out, because they are the keys
/// of a worker type.
pub fn keys() -> Vec<Key> {
    let reader = Reader::describing();
    // The missing keys of an empty table are not problems here: they mark the required keys.
    read::settings(&reader, Table::new(), None);
    let mut keys = reader.keys();
    keys.retain(|key| !key.path.starts_with("worker-defaults."));
    keys
}

fn check(
    current_dir: &Path,
    tree: Table,
    saved_region: Option<String>,
    files_read: Vec<PathBuf>,
    warnings: Vec<Warning>,
) -> Result<Loaded, ConfigError> {
    let reader = Reader::new(current_dir);
    let settings = read::settings(&reader, tree, saved_region);
    let (entries, problems) = reader.finish();
    if !problems.is_empty() {
        return Err(ConfigError::new(problems, warnings));
    }
    Ok(Loaded { settings, files_read, warnings, entries })
}

fn string_at(tree: &Table, section: &str, key: &str) -> Option<String> {
    let NodeValue::Table(table) = &tree.get(section)?.value else { return None };
    match &table.get(key)?.value {
        NodeValue::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
