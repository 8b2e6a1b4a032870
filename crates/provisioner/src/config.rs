//! The configuration: read in layers, merged with the origin of every value, checked as a whole.
//!
//! Highest wins: command line, environment (`PROVISIONER__SECTION__KEY`), `./provisioner.toml`, the
//! user's file, the machine's file, defaults. [`load`] returns either [`Settings`] in which nothing is
//! left to check, or everything that is wrong at once.
//!
//! Relative paths in a file are relative to that file; in the environment or on the command line,
//! to the current directory.
//!
//! Deliberately not here: the process's environment and arguments (the programs pass them in), and
//! the AWS SDK's own region and profile.

mod diff;
pub mod edit;
mod key;
mod layers;
pub mod lookup;
mod origin;
mod read;
mod section;
mod setting;
mod tree;
mod trust;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use diff::{Change, diff};
pub use key::{Key, Kind};
pub use origin::{ConfigError, Entry, Origin, Problem, Warning};

use crate::settings::Settings;
use section::Reader;
use tree::{Table, Value};

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `--config` or `PROVISIONER_CONFIG`: read instead of the three files; must exist.
    pub explicit_file: Option<PathBuf>,
    /// The environment. Variables without the prefix are ignored, but for those that say where the
    /// user's file is.
    pub environment: BTreeMap<String, String>,
    /// Absolute.
    pub current_dir: PathBuf,
    /// What the command line overrides.
    pub overrides: Vec<Override>,
    /// The machine's file; [`lookup::SYSTEM_FILE`] but in tests.
    pub system_file: PathBuf,
}

/// A key set on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Dotted, as in TOML (`aws.region`).
    pub key: String,
    /// As given; read as what the key takes.
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
    /// What is in force.
    pub settings: Settings,
    /// The files, lowest first.
    pub files_read: Vec<PathBuf>,
    /// What to tell the user, such as a file that was skipped.
    pub warnings: Vec<Warning>,
    /// Every value in force, defaults included, sorted by key; secrets left out.
    pub entries: Vec<Entry>,
}

/// Reads and checks the configuration.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let layers::Layers { files, environment, overrides, files_read, warnings, problems } =
        layers::gather(sources);
    // Half a tree would raise problems that are none.
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

/// Reads and checks a configuration that is the text of one file, and looks nowhere else: for those who
/// keep it somewhere else than in files. Relative paths in it are relative to `dir`.
pub fn parse(text: &str, dir: &Path) -> Result<Loaded, ConfigError> {
    let name = Arc::from(dir.join(lookup::FILE_NAME));
    let tree =
        tree::parse_file(&name, text).map_err(|problems| ConfigError::new(problems, Vec::new()))?;
    let saved_region = string_at(&tree, "aws", "region");
    check(dir, tree, saved_region, Vec::new(), Vec::new())
}

/// Returns every key there is, section by section, as the reader knows it. The keys of
/// `[worker-defaults]` are those of a worker type and told only there.
pub fn keys() -> Vec<Key> {
    let reader = Reader::describing();
    // What an empty table lacks is known already: it is what makes a key required.
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
    let Value::Table(table) = &tree.get(section)?.value else { return None };
    match &table.get(key)?.value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
