//! Tables in tables: one, one per name, arrays of them, and those with free keys.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{Recording, Section, elements};
use crate::config::key::Kind;
use crate::config::setting::{Refusal, Setting as _};
use crate::config::tree::{self, Node, Table, Value};

impl Section<'_> {
    /// Reads a table; absent is empty.
    pub(in crate::config) fn section<R>(
        &self,
        name: &str,
        meaning: &'static str,
        read: impl FnOnce(&Section<'_>) -> R,
    ) -> R {
        self.section_recording(name, self.recording, meaning, read)
    }

    /// Reads a table of which only some keys are to be noted.
    pub(in crate::config) fn section_recording<R>(
        &self,
        name: &str,
        recording: Recording,
        meaning: &'static str,
        read: impl FnOnce(&Section<'_>) -> R,
    ) -> R {
        self.describe(name, &Kind::Table, &Json::Null, meaning);
        let absent = Node {
            key: tree::join(&self.written, name),
            origin: self.origin.clone(),
            value: Value::Table(Table::new()),
        };
        let node = self.node(name).cloned().map_or(absent, tree::expand_inline_table);
        let table = self.take_table(&node);
        Section::new(self.reader, tree::join(&self.path, name), &node, table, recording).run(read)
    }

    /// Reads a table if it is there. Only what is set in it becomes an entry.
    pub(in crate::config) fn optional_section<R>(
        &self,
        name: &str,
        meaning: &'static str,
        read: impl FnOnce(&Section<'_>) -> R,
    ) -> Option<R> {
        if self.node(name).is_none() && !self.is_describing() {
            return None;
        }
        Some(self.section_recording(name, Recording::WhatIsSet, meaning, read))
    }

    /// Reads every table in this one. `defaults` is laid beneath each.
    pub(in crate::config) fn children(
        &self,
        defaults: &Table,
        meaning: &'static str,
        mut read: impl FnMut(&str, &Section<'_>),
    ) {
        if self.is_describing() {
            self.describe("NAME", &Kind::Table, &Json::Null, meaning);
            Section::empty(self.reader, tree::join(&self.path, "NAME"))
                .run(|section| read("NAME", section));
        }
        for (name, node) in &self.table {
            self.known.borrow_mut().insert(name.clone());
            let node = tree::expand_inline_table(node.clone());
            let mut table = defaults.clone();
            tree::overlay_worker_type(&mut table, self.take_table(&node));
            let path = tree::join(&self.path, name);
            Section::new(self.reader, path, &node, table, self.recording)
                .run(|section| read(name, section));
        }
    }

    /// Reads an array of tables; absent is empty. Only what is set in them becomes an entry.
    pub(in crate::config) fn tables<R>(
        &self,
        name: &str,
        meaning: &'static str,
        read: impl Fn(&Section<'_>) -> R,
    ) -> Vec<R> {
        self.describe(name, &Kind::Tables, &json!([]), meaning);
        if self.is_describing() {
            let path = format!("{}[]", tree::join(&self.path, name));
            return vec![Section::empty(self.reader, path).run(&read)];
        }
        let Some(node) = self.node(name) else { return Vec::new() };
        let elements = match elements(node) {
            Ok(elements) => elements,
            Err(Refusal { message: _, hint: _ }) => {
                let refusal = Refusal::kind("an array of tables", &node.value);
                self.problem(name, refusal.message, refusal.hint);
                return Vec::new();
            }
        };
        let path = tree::join(&self.path, name);
        let section = |(index, node): (usize, &Node)| {
            let table = self.take_table(node);
            let path = format!("{path}[{index}]");
            Section::new(self.reader, path, node, table, Recording::WhatIsSet).run(&read)
        };
        elements.iter().enumerate().map(section).collect()
    }

    /// Reads a table with free keys, such as tags. Each pair has to pass a check.
    pub(in crate::config) fn free_texts(
        &self,
        check: impl Fn(&str, &str) -> Result<(), Refusal>,
    ) -> BTreeMap<String, String> {
        let mut pairs = BTreeMap::new();
        for (name, node) in &self.table {
            self.known.borrow_mut().insert(name.clone());
            match String::read(&node.value).and_then(|text| check(name, &text).map(|()| text)) {
                Ok(text) => {
                    self.record(name, Kind::Text, json!(text));
                    pairs.insert(name.clone(), text);
                }
                Err(refusal) => self.refuse_node(node, refusal),
            }
        }
        pairs
    }

    fn take_table(&self, node: &Node) -> Table {
        match &node.value {
            Value::Table(table) => table.clone(),
            other => {
                self.refuse_node(node, Refusal::kind("a table", other));
                Table::new()
            }
        }
    }
}
