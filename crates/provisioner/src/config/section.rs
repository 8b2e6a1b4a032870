//! The typed reader: it walks the tree, and records every value in force and every problem.
//!
//! A key is known because it was asked for, and the caller that asks describes it. So there is no second
//! list of keys that could be incomplete: the reference is made by reading an empty tree
//! ([`Reader::describing`]). A section is read inside a closure; keys that were not asked for when it returns
//! are reported as unknown.

mod tables;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::key::{Key, KeyKind};
use super::origin::{ConfigProblem, Entry, Origin};
use super::setting::{Rejection, Setting, tight};
use super::tree::{self, Node, NodeValue, Table};
use crate::domain::suggest;

/// Collects the results of all sections.
#[derive(Debug)]
pub(super) struct Reader {
    current_dir: PathBuf,
    entries: RefCell<Vec<Entry>>,
    problems: RefCell<Vec<ConfigProblem>>,
    /// The descriptions of the keys, if these are to be collected.
    keys: Option<RefCell<Vec<Key>>>,
}

impl Reader {
    /// Starts reading. Relative paths that are not written in a file start at `current_dir`.
    pub(super) fn new(current_dir: &Path) -> Self {
        Self {
            current_dir: current_dir.to_owned(),
            entries: RefCell::default(),
            problems: RefCell::default(),
            keys: None,
        }
    }

    /// Starts collecting descriptions of the keys: every table is treated as present once, and empty.
    pub(super) fn describing() -> Self {
        Self { keys: Some(RefCell::default()), ..Self::new(Path::new("")) }
    }

    /// Returns the keys in the order in which they were asked for.
    pub(super) fn keys(self) -> Vec<Key> {
        self.keys.map(RefCell::into_inner).unwrap_or_default()
    }

    /// Returns the entries, sorted by key, and the problems.
    pub(super) fn finish(self) -> (Vec<Entry>, Vec<ConfigProblem>) {
        let Self { current_dir: _, entries, problems, keys: _ } = self;
        let mut entries = entries.into_inner();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        (entries, problems.into_inner())
    }

    /// Reads the complete tree.
    pub(super) fn root<R>(&self, table: Table, read: impl FnOnce(&Section<'_>) -> R) -> R {
        Section { table, ..Section::empty(self, String::new()) }.run(read)
    }
}

/// Which keys become entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recording {
    /// All keys, including defaults.
    All,
    /// Only keys that are set.
    WhatIsSet,
}

/// One table being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    reader: &'a Reader,
    /// The dotted path under which the values are in force.
    path: String,
    /// Where the table is written.
    origin: Origin,
    /// The key under which the table is written, which may be in `[worker-defaults]`.
    written: String,
    table: Table,
    recording: Recording,
    known: RefCell<BTreeSet<String>>,
    refused: RefCell<BTreeSet<String>>,
}

impl<'a> Section<'a> {
    fn new(
        reader: &'a Reader,
        path: String,
        node: &Node,
        table: Table,
        recording: Recording,
    ) -> Self {
        Self {
            reader,
            path,
            origin: node.origin.clone(),
            written: node.key.clone(),
            table,
            recording,
            known: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    /// Makes a section that is not written anywhere.
    fn empty(reader: &'a Reader, path: String) -> Self {
        let node = Node {
            key: String::new(),
            origin: Origin::Default,
            value: NodeValue::Table(Table::new()),
        };
        Self::new(reader, path, &node, Table::new(), Recording::All)
    }

    fn run<R>(self, read: impl FnOnce(&Self) -> R) -> R {
        let result = read(&self);
        self.report_unknown_keys();
        result
    }

    fn report_unknown_keys(&self) {
        let known = self.known.borrow();
        let words = known.iter().map(String::as_str).collect::<Vec<_>>();
        for (name, node) in self.table.iter().filter(|(name, _)| !known.contains(*name)) {
            self.refuse_node(node, Rejection::new("unknown key", suggest::hint(name, &words)));
        }
    }

    fn refuse_node(&self, node: &Node, rejection: Rejection) {
        self.report(node.origin.clone(), node.key.clone(), rejection);
    }

    fn report(&self, origin: Origin, key: String, rejection: Rejection) {
        let Rejection { message, hint } = rejection;
        self.reader.problems.borrow_mut().push(ConfigProblem { origin, key, message, hint });
    }

    fn node(&self, name: &str) -> Option<&Node> {
        self.known.borrow_mut().insert(name.to_owned());
        self.table.get(name)
    }

    /// Reports a problem about a key, or about its absence from this section.
    pub(super) fn problem(&self, name: &str, message: impl Into<String>, hint: impl Into<String>) {
        let rejection = Rejection::new(message, hint);
        match self.table.get(name) {
            Some(node) => self.refuse_node(node, rejection),
            None => self.report(self.origin.clone(), tree::join(&self.written, name), rejection),
        }
        self.refused.borrow_mut().insert(name.to_owned());
    }

    /// Reports that keys contradict each other, at the first that is set. Reports nothing if one of them was
    /// refused, because its value is then not what the user meant.
    pub(super) fn contradiction(&self, names: &[&str], message: impl Into<String>, hint: &str) {
        if names.iter().any(|name| self.refused.borrow().contains(*name)) {
            return;
        }
        let at = names.iter().find(|name| self.table.contains_key(**name)).or(names.first());
        if let Some(name) = at {
            self.problem(name, message, hint);
        }
    }

    /// Returns whether the key is set in any layer.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.node(name).is_some()
    }

    /// Returns the origin of the value of a key.
    pub(super) fn origin_of(&self, name: &str) -> Origin {
        self.table.get(name).map_or(Origin::Default, |node| node.origin.clone())
    }

    fn is_describing(&self) -> bool {
        self.reader.keys.is_some()
    }

    /// Records the description of a key, if these are to be collected.
    fn describe(&self, name: &str, kind: &KeyKind, default: &Json, meaning: &'static str) {
        let Some(keys) = &self.reader.keys else { return };
        keys.borrow_mut().push(Key {
            path: tree::join(&self.path, name),
            kind: kind.clone(),
            default: (!default.is_null()).then(|| default.clone()),
            required: false,
            meaning,
        });
    }

    /// Records the value in force.
    fn record(&self, name: &str, kind: KeyKind, value: Json) {
        let origin = self.origin_of(name);
        if self.recording == Recording::All || origin != Origin::Default {
            let key = tree::join(&self.path, name);
            self.reader.entries.borrow_mut().push(Entry { key, kind, value, origin });
        }
    }

    /// Reads a key without recording its value. A rejection is reported.
    fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&NodeValue) -> Result<T, Rejection>,
    ) -> Option<T> {
        match read(&self.node(name)?.value) {
            Ok(value) => Some(value),
            Err(Rejection { message, hint }) => {
                self.problem(name, message, hint);
                None
            }
        }
    }

    /// Reads a key that has a default.
    pub(super) fn value<T: Setting>(&self, name: &str, default: T, meaning: &'static str) -> T {
        self.describe(name, &T::kind(), &default.show(), meaning);
        let value = self.read(name, T::read).unwrap_or(default);
        self.record(name, T::kind(), value.show());
        value
    }

    /// Checks the type of a key whose value is not in force, because another key replaces it.
    pub(super) fn replaced<T: Setting>(&self, name: &str) {
        let _ = self.read(name, T::read);
    }

    /// Reads a key that may be absent.
    pub(super) fn optional<T: Setting>(&self, name: &str, meaning: &'static str) -> Option<T> {
        self.describe(name, &T::kind(), &Json::Null, meaning);
        let value = self.read(name, T::read);
        self.record(name, T::kind(), value.as_ref().map_or(Json::Null, Setting::show));
        value
    }

    /// Reads a text that has to pass a check. An empty one counts as absent, because a higher layer has no
    /// other way to take back what a lower one sets.
    pub(super) fn checked<T>(
        &self,
        name: &str,
        meaning: &'static str,
        check: impl FnOnce(&str) -> Result<T, Rejection>,
    ) -> Option<T> {
        self.checked_as(KeyKind::Text, name, meaning, check)
    }

    fn checked_as<T>(
        &self,
        kind: KeyKind,
        name: &str,
        meaning: &'static str,
        check: impl FnOnce(&str) -> Result<T, Rejection>,
    ) -> Option<T> {
        self.describe(name, &kind, &Json::Null, meaning);
        let text = self.read(name, String::read);
        self.record(name, kind, text.as_ref().map_or(Json::Null, |text| json!(text)));
        self.check(name, text, check)
    }

    /// Reads a text that has to pass a check and that has a default. Returns `None` if it is empty.
    pub(super) fn checked_or<T: ToString>(
        &self,
        name: &str,
        default: T,
        meaning: &'static str,
        check: impl FnOnce(&str) -> Result<T, Rejection>,
    ) -> Option<T> {
        let shown = json!(default.to_string());
        self.describe(name, &KeyKind::Text, &shown, meaning);
        if !self.is_set(name) {
            self.record(name, KeyKind::Text, shown);
            return Some(default);
        }
        let text = self.read(name, String::read);
        self.record(name, KeyKind::Text, text.as_ref().map_or(Json::Null, |text| json!(text)));
        self.check(name, text, check)
    }

    /// Checks a text unless it is empty. A rejection is reported.
    fn check<T>(
        &self,
        name: &str,
        text: Option<String>,
        check: impl FnOnce(&str) -> Result<T, Rejection>,
    ) -> Option<T> {
        let text = text.filter(|text| !text.is_empty())?;
        match check(&text) {
            Ok(value) => Some(value),
            Err(Rejection { message, hint }) => {
                self.problem(name, message, hint);
                None
            }
        }
    }

    /// Reads a duration that must not be zero.
    pub(super) fn positive_duration(
        &self,
        name: &str,
        default: Duration,
        meaning: &'static str,
    ) -> Duration {
        let duration = self.value(name, default, meaning);
        if duration.is_zero() {
            self.problem(name, "must be longer than 0s", "");
        }
        duration
    }

    /// Reports that a key is required, unless it is present and was refused.
    pub(super) fn required(&self, name: &str, hint: &str) {
        if let Some(keys) = &self.reader.keys {
            let path = tree::join(&self.path, name);
            keys.borrow_mut()
                .iter_mut()
                .filter(|key| key.path == path)
                .for_each(|key| key.required = true);
        }
        self.contradiction(&[name], "is required", hint);
    }

    /// Writes a value with its origin for a message.
    pub(super) fn shown<T: Setting>(&self, value: &T, name: &str) -> String {
        let text = match value.show() {
            Json::String(text) => text,
            other => other.to_string(),
        };
        match self.origin_of(name) {
            Origin::Default => format!("{text} by default"),
            origin => format!("{text}, {origin}"),
        }
    }

    /// Reads any name, without white space around it. An empty one counts as absent.
    pub(super) fn text(&self, name: &str, meaning: &'static str) -> Option<String> {
        self.checked(name, meaning, |text| tight(text).map(str::to_owned))
    }

    /// Reads a text of which only the length is recorded.
    pub(super) fn secret_text(&self, name: &str, meaning: &'static str) -> Option<String> {
        self.describe(name, &KeyKind::Text, &Json::Null, meaning);
        let text = self.read(name, String::read).filter(|text| !text.is_empty());
        let length = text.as_ref().map(|text| format!("<{} bytes>", text.len()));
        self.record(name, KeyKind::Text, json!(length));
        text
    }

    /// Reads a path. A relative one starts at the file in which it is written, and an empty one counts as
    /// absent.
    pub(super) fn path(&self, name: &str, meaning: &'static str) -> Option<PathBuf> {
        let current_dir = &self.reader.current_dir;
        let base = match self.origin_of(name) {
            Origin::File { path, line: _, column: _ } => {
                let file = current_dir.join(path);
                file.parent().unwrap_or(current_dir).to_owned()
            }
            Origin::Environment { .. } | Origin::Flag { .. } | Origin::Default => {
                current_dir.clone()
            }
        };
        self.checked_as(KeyKind::Path, name, meaning, |text| Ok(base.join(text)))
    }

    /// Reads one of a few words, of which the first is the default.
    pub(super) fn choice<T: Copy>(
        &self,
        name: &str,
        options: &[(&str, T)],
        default: T,
        meaning: &'static str,
    ) -> T {
        let words = options.iter().map(|(word, _)| *word).collect::<Vec<_>>();
        let kind = KeyKind::OneOf(words.iter().map(|word| json!(word).to_string()).collect());
        self.describe(name, &kind, &json!(words.first()), meaning);
        let chosen = self.read(name, |value| {
            let text = String::read(value)?;
            let find = options.iter().find(|(word, _)| *word == text.trim());
            find.copied().ok_or_else(|| {
                Rejection::new(format!("`{text}` is not known"), suggest::hint(&text, &words))
            })
        });
        let word = chosen.map(|(word, _)| word).or(words.first().copied());
        self.record(name, kind, json!(word));
        chosen.map_or(default, |(_, value)| value)
    }

    /// Reads an array of texts that have to pass a check. Problems name the element.
    pub(super) fn list<T>(
        &self,
        name: &str,
        meaning: &'static str,
        check: impl Fn(&str) -> Result<T, Rejection>,
    ) -> Vec<T> {
        self.describe(name, &KeyKind::Texts, &json!([]), meaning);
        let Some(node) = self.node(name) else {
            self.record(name, KeyKind::Texts, json!([]));
            return Vec::new();
        };
        let elements = match elements(node) {
            Ok(elements) => elements,
            Err(Rejection { message, hint }) => {
                self.problem(name, message, hint);
                return Vec::new();
            }
        };
        let mut texts = Vec::new();
        let mut values = Vec::new();
        for element in &elements {
            let read = String::read(&element.value).and_then(|text| {
                let value = check(&text)?;
                texts.push(text);
                Ok(value)
            });
            match read {
                Ok(value) => values.push(value),
                Err(rejection) => {
                    self.refuse_node(element, rejection);
                    self.refused.borrow_mut().insert(name.to_owned());
                }
            }
        }
        self.record(name, KeyKind::Texts, json!(texts));
        values
    }

    /// Returns the names of all keys in this table.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.table.keys().cloned().collect()
    }

    /// Reports a problem about this section as a whole.
    pub(super) fn problem_here(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.report(self.origin.clone(), self.written.clone(), Rejection::new(message, hint));
    }

    /// Returns the table as it is, to lay it beneath others.
    pub(super) fn raw_table(&self) -> &Table {
        &self.table
    }
}

/// Returns the elements of an array, or of raw text that is a TOML array or a list of words with commas.
fn elements(node: &Node) -> Result<Vec<Node>, Rejection> {
    let text = match &node.value {
        NodeValue::Array(elements) => return Ok(elements.clone()),
        NodeValue::Raw(text) => text.trim(),
        other => {
            let hint = "put it in brackets: [\"…\"]".to_owned();
            return Err(Rejection { hint, ..Rejection::kind("an array", other) });
        }
    };
    if text.starts_with('[') {
        return match tree::parse_value(text, &node.key, &node.origin) {
            Some(NodeValue::Array(elements)) => Ok(elements),
            _ => Err(Rejection::new("broken TOML array", "such as [\"a\", \"b\"], or a,b")),
        };
    }
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let element = |(index, word): (usize, &str)| Node {
        key: format!("{}[{index}]", node.key),
        origin: node.origin.clone(),
        value: NodeValue::Raw(word.to_owned()),
    };
    Ok(words.enumerate().map(element).collect())
}
