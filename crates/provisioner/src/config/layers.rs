//! Reading the layers, each into a tree: files, environment, command line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lookup;
use super::origin::{ConfigProblem, Origin, Warning};
use super::tree::{self, Node, NodeValue, Table};
use super::trust;
use super::{Override, Sources};

/// The layers before they are merged.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// The trees of the files, lowest first.
    pub(super) files: Vec<Table>,
    /// The tree of the environment.
    pub(super) environment: Table,
    /// The tree of the command line.
    pub(super) overrides: Table,
    /// The paths of the files, lowest first.
    pub(super) files_read: Vec<PathBuf>,
    pub(super) warnings: Vec<Warning>,
    pub(super) problems: Vec<ConfigProblem>,
}

/// Reads all layers.
pub(super) fn gather(sources: &Sources) -> Layers {
    let Sources { explicit_file, environment, current_dir, overrides, system_file } = sources;
    let mut layers = Layers::default();
    if let Some(file) = explicit_file {
        layers.read_file(current_dir, file, Missing::Refused);
    } else {
        layers.read_file(current_dir, system_file, Missing::Fine);
        if let Some(file) = lookup::user_file(environment) {
            layers.read_file(current_dir, &file, Missing::Fine);
        }
        layers.read_local_file(current_dir);
    }
    layers.read_environment(environment);
    layers.read_overrides(overrides);
    layers
}

/// What a missing file means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Fine,
    Refused,
}

/// Returns the path of a file for messages: relative to the current directory if it is beneath it.
fn shown(current_dir: &Path, file: &Path) -> Arc<Path> {
    Arc::from(file.strip_prefix(current_dir).unwrap_or(file))
}

impl Layers {
    fn read_local_file(&mut self, current_dir: &Path) {
        let file = current_dir.join(lookup::FILE_NAME);
        // What was checked is what is read: the file is opened once.
        match trust::open(&file) {
            Ok(Ok(open)) => self.take_file(current_dir, &file, Missing::Fine, read_all(open)),
            Ok(Err(warning)) => self.warnings.push(warning),
            Err(error) => self.take_file(current_dir, &file, Missing::Fine, Err(error)),
        }
    }

    fn read_file(&mut self, current_dir: &Path, file: &Path, missing: Missing) {
        let read = std::fs::read(current_dir.join(file));
        self.take_file(current_dir, file, missing, read);
    }

    fn take_file(
        &mut self,
        current_dir: &Path,
        file: &Path,
        missing: Missing,
        read: io::Result<Vec<u8>>,
    ) {
        let name = shown(current_dir, file);
        let path = current_dir.join(file);
        let text = match read {
            Ok(bytes) => String::from_utf8(bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())),
            Err(error) if missing == Missing::Fine && is_absent(&error) => return,
            Err(error) => Err(error),
        };
        let parsed = match text {
            Ok(text) => tree::parse_file(&name, &text),
            Err(error) => Err(vec![unreadable(&name, &error)]),
        };
        match parsed {
            Ok(table) => {
                self.files.push(table);
                self.files_read.push(path);
            }
            Err(problems) => self.problems.extend(problems),
        }
    }

    fn read_environment(&mut self, environment: &BTreeMap<String, String>) {
        for (variable, value) in environment {
            let Some(name) = variable.strip_prefix("PROVISIONER__") else { continue };
            let segments = name
                .split("__")
                .map(|segment| segment.to_lowercase().replace('_', "-"))
                .collect::<Vec<_>>();
            let origin = Origin::Environment { variable: variable.clone() };
            if let Err(problem) = insert(&mut self.environment, &segments, value, &origin) {
                self.problems.push(problem);
            }
        }
    }

    fn read_overrides(&mut self, overrides: &[Override]) {
        for Override { key, value, flag } in overrides {
            let origin = Origin::Flag { flag: flag.clone() };
            // A key may be dotted and have quoted segments, as in TOML.
            let segments = match toml_edit::Key::parse(key) {
                Ok(keys) => keys.iter().map(|key| key.get().to_owned()).collect(),
                Err(_) => vec![key.clone()],
            };
            if let Err(problem) = insert(&mut self.overrides, &segments, value, &origin) {
                self.problems.push(problem);
            }
        }
    }
}

fn read_all(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(name: &Arc<Path>, error: &io::Error) -> ConfigProblem {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "check the path given with --config or PROVISIONER_CONFIG",
        io::ErrorKind::PermissionDenied => "make it readable for the user running this program",
        io::ErrorKind::InvalidData => "save it as UTF-8",
        _ => "",
    };
    ConfigProblem {
        origin: Origin::File { path: Arc::clone(name), line: None, column: None },
        key: String::new(),
        message: format!("cannot be read: {error}"),
        hint: hint.to_owned(),
    }
}

/// Inserts raw text at a path, replacing what was inserted there before.
fn insert(
    table: &mut Table,
    path: &[String],
    raw: &str,
    origin: &Origin,
) -> Result<(), ConfigProblem> {
    let problem = |key: &str, message: &str, hint: &str| ConfigProblem {
        origin: origin.clone(),
        key: key.to_owned(),
        message: message.to_owned(),
        hint: hint.to_owned(),
    };
    let Some((last, parents)) = path.split_last() else { return Ok(()) };
    if path.iter().any(String::is_empty) {
        let hint = "the form is PROVISIONER__SECTION__KEY";
        return Err(problem("", "a part of the key is empty", hint));
    }
    let mut table = table;
    let mut key = String::new();
    for name in parents {
        key = tree::join(&key, name);
        let node = table.entry(name.clone()).or_insert_with(|| Node {
            key: key.clone(),
            origin: origin.clone(),
            value: NodeValue::Table(Table::new()),
        });
        if let NodeValue::Raw(_) = node.value {
            *node = tree::expand_inline_table(node.clone());
        }
        let NodeValue::Table(inner) = &mut node.value else {
            let message = format!("is a table here, but a plain value in {}", node.origin);
            return Err(problem(&key, &message, "keep one of them"));
        };
        table = inner;
    }
    let key = tree::join(&key, last);
    let value = NodeValue::Raw(raw.to_owned());
    table.insert(last.clone(), Node { key, origin: origin.clone(), value });
    Ok(())
}
