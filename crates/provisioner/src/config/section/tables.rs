//! Reading tables within a table: single ones, one per name, arrays of tables, and tables with free keys.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{Recording, Section, elements};
use crate::config::key::KeyKind;
use crate::config::setting::{Rejection, Setting as _};
use crate::config::tree::{self, Node, NodeValue, Table};

impl Section<'_> {
    /// Reads a table. An absent one counts as empty.
    pub(in crate::config) fn section<R>(
        &self,
        name: &str,
        meaning: &'static str,
        read: impl FnOnce(&Section<'_>) -> R,
    ) -> R {
        self.section_recording(name, self.recording, meaning, read)
    }

    /// Reads a table of which only some keys become entries.
    pub(in crate::config) fn section_recording<R>(
        &self,
        name: &str,
        recording: Recording,
        meaning: &'static str,
        read: impl FnOnce(&Section<'_>) -> R,
    ) -> R {
        self.describe(name, &KeyKind::Table, &Json::Null, meaning);
        let absent = Node {
            key: tree::join(&self.written, name),
            origin: self.origin.clone(),
            value: NodeValue::Table(Table::new()),
        };
        let node = self.node(name).cloned().map_or(absent, tree::expand_inline_table);
        let table = self.take_table(&node);
        Section::new(self.reader, tree::join(&self.path, name), &node, table, recording).run(read)
    }

    /// Reads a table if it is present. Only keys that are set in it become entries.
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

    /// Reads every table in this one, with `defaults` laid beneath each.
    pub(in crate::config) fn children(
        &self,
        defaults: &Table,
        meaning: &'static str,
        mut read: impl FnMut(&str, &Section<'_>),
    ) {
        if self.is_describing() {
            self.describe("NAME", &KeyKind::Table, &Json::Null, meaning);
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

    /// Reads an array of tables. An absent one counts as empty. Only keys that are set become entries.
    pub(in crate::config) fn tables<R>(
        &self,
        name: &str,
        meaning: &'static str,
        read: impl Fn(&Section<'_>) -> R,
    ) -> Vec<R> {
        self.describe(name, &KeyKind::Tables, &json!([]), meaning);
        if self.is_describing() {
            let path = format!("{}[]", tree::join(&self.path, name));
            return vec![Section::empty(self.reader, path).run(&read)];
        }
        let Some(node) = self.node(name) else { return Vec::new() };
        let elements = match elements(node) {
            Ok(elements) => elements,
            Err(Rejection { message: _, hint: _ }) => {
                let rejection = Rejection::kind("an array of tables", &node.value);
                self.problem(name, rejection.message, rejection.hint);
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

    /// Reads a table with free keys, such as tags, whose pairs have to pass a check.
    pub(in crate::config) fn free_texts(
        &self,
        check: impl Fn(&str, &str) -> Result<(), Rejection>,
    ) -> BTreeMap<String, String> {
        let mut pairs = BTreeMap::new();
        for (name, node) in &self.table {
            self.known.borrow_mut().insert(name.clone());
            match String::read(&node.value).and_then(|text| check(name, &text).map(|()| text)) {
                Ok(text) => {
                    self.record(name, KeyKind::Text, json!(text));
                    pairs.insert(name.clone(), text);
                }
                Err(rejection) => self.refuse_node(node, rejection),
            }
        }
        pairs
    }

    fn take_table(&self, node: &Node) -> Table {
        match &node.value {
            NodeValue::Table(table) => table.clone(),
            other => {
                self.refuse_node(node, Rejection::kind("a table", other));
                Table::new()
            }
        }
    }
}
