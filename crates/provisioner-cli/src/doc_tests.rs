//! Tests that hold the documentation and the examples to the programs.
//!
//! They read the documents when they run, not when they are compiled, so that a changed document is checked
//! without a build.

mod commands;
mod configuration;
mod container;
mod exit_codes;
mod iam;
mod links;
pub(crate) mod monitoring;
mod operations;
mod unit;

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the root of the project.
fn root() -> &'static Path {
    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    Path::new(ROOT)
}

/// Returns the text of a file of the project.
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the paths of the documents in the root and of everything in `docs/`.
fn documents() -> Vec<PathBuf> {
    let listed = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut files = listed
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect::<Vec<_>>();
    let in_root = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "RELEASE.md",
    ];
    files.extend(in_root.map(|name| root().join(name)));
    files
}

/// Returns the values that lines of `KEY=value` (a unit's directives, or `ENV`) give to a key, also those
/// that are commented out, because users may enable them.
fn assigned<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let line = line.trim_start_matches(['#', ' ']);
        line.strip_prefix(key)?.strip_prefix('=').map(str::trim)
    })
}

/// Whether a variable `PROVISIONER__…` is a key of the configuration.
fn is_a_key(variable: &str) -> bool {
    let mut keys = provisioner::internal::config::keys().into_iter();
    keys.any(|key| key.variable().is_some_and(|known| known == variable))
}
