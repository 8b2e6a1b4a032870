//! Inserts single keys into TOML text and removes them. Every other byte stays.
//!
//! `toml_edit::DocumentMut` does not serve for this. It rewrites the complete document, and on the way drops
//! carriage returns, adds a missing last line end and regroups dotted keys; and with a key it removes the
//! comments above and behind it. So only its parser is used, to locate what is to be changed.
//!
//! Each function returns `None` for a layout that it does not support. The caller checks the result by
//! parsing it.

use std::ops::Range;

use toml_edit::{Array, ArrayOfTables, Document, InlineTable, Item, Table, TableLike, Value};

use crate::settings::RetiredKeyName;

/// TOML text. If it is broken, nothing is edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text(String);

/// Returns the item at `section.key`.
pub(super) fn find<'a>(root: &'a dyn TableLike, section: &str, key: &str) -> Option<&'a Item> {
    root.get(section)?.as_table_like()?.get(key)
}

/// Returns the tables of an array, which may be written inline or with headers.
pub(super) fn tables(item: &Item) -> Option<Vec<&dyn TableLike>> {
    if let Some(tables) = item.as_array_of_tables() {
        return Some(tables.iter().map(|table| table as &dyn TableLike).collect());
    }
    let table = |value: &'_ Value| value.is_inline_table();
    let array = item.as_array().filter(|array| array.iter().all(table))?;
    Some(array.iter().filter_map(Value::as_inline_table).map(|t| t as &dyn TableLike).collect())
}

impl Text {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Sets `section.key` to a string.
    pub(super) fn set(&mut self, section: &str, key: &str, value: &str) -> Option<()> {
        let document = self.parse()?;
        let value = literal(value);
        match find(document.as_table(), section, key) {
            Some(Item::Value(old)) => self.0.replace_range(old.span()?, &value),
            Some(_) => return None,
            None => self.insert(&document, section, &format!("{key} = {value}"))?,
        }
        Some(())
    }

    /// Removes `section.key` if it is present. The table stays.
    pub(super) fn remove(&mut self, section: &str, key: &str) -> Option<()> {
        let document = self.parse()?;
        let Some(item) = find(document.as_table(), section, key) else { return Some(()) };
        let table = document.get(section)?;
        match (table, item) {
            (Item::Value(Value::InlineTable(table)), _) => self.cut_from_inline(table, key),
            (_, Item::ArrayOfTables(tables)) => self.cut_tables(tables),
            (Item::Table(table), Item::Value(value)) => {
                let (key, _) = table.get_key_value(key)?;
                self.cut_line(key.span()?.start..value.span()?.end);
                Some(())
            }
            _ => None,
        }
    }

    /// Appends an entry to `provisioner.retired`.
    pub(super) fn append_retired(&mut self, retired: &RetiredKeyName) -> Option<()> {
        let document = self.parse()?;
        let pairs = retired_pairs(retired);
        let entry = format!("{{ {} }}", pairs.join(", "));
        match find(document.as_table(), "provisioner", "retired") {
            None => self.insert(&document, "provisioner", &format!("retired = [{entry}]")),
            Some(Item::Value(Value::Array(array))) => self.append_to_array(array, &entry),
            Some(Item::ArrayOfTables(tables)) => {
                let last = tables.iter().last()?;
                let end = body_end(last).or(Some(last.span()?.end))?;
                let lines = ["", "[[provisioner.retired]]"].map(str::to_owned);
                let lines = lines.into_iter().chain(pairs).collect::<Vec<_>>();
                self.insert_after_line(end, &lines.join(self.newline()));
                Some(())
            }
            Some(_) => None,
        }
    }

    fn parse(&self) -> Option<Document<String>> {
        Document::parse(self.0.clone()).ok()
    }

    /// Returns the line end in use, so that new lines get the same.
    fn newline(&self) -> &'static str {
        match self.0.find('\n') {
            Some(at) if self.0[..at].ends_with('\r') => "\r\n",
            _ => "\n",
        }
    }

    /// Inserts an assignment into a section, which is created if it does not exist.
    fn insert(
        &mut self,
        document: &Document<String>,
        section: &str,
        assignment: &str,
    ) -> Option<()> {
        match document.get(section) {
            None => self.append_section(section, assignment),
            Some(Item::Table(table)) if table.is_dotted() => {
                self.insert_after_line(body_end(table)?, &format!("{section}.{assignment}"));
            }
            Some(Item::Table(table)) if table.is_implicit() => {
                self.append_section(section, assignment);
            }
            Some(Item::Table(table)) => {
                let end = body_end(table).or(Some(table.span()?.end))?;
                self.insert_after_line(end, assignment);
            }
            Some(Item::Value(Value::InlineTable(table))) => match inline_end(table) {
                Some(end) => self.0.insert_str(end, &format!(", {assignment}")),
                None => self.0.replace_range(table.span()?, &format!("{{ {assignment} }}")),
            },
            Some(_) => return None,
        }
        Some(())
    }

    fn append_section(&mut self, section: &str, assignment: &str) {
        let newline = self.newline();
        if !self.0.is_empty() {
            if !self.0.ends_with('\n') {
                self.0.push_str(newline);
            }
            self.0.push_str(newline);
        }
        for part in ["[", section, "]", newline, assignment, newline] {
            self.0.push_str(part);
        }
    }

    /// Inserts lines after the line that contains `offset`. If the file did not end with a line end, it still
    /// does not.
    fn insert_after_line(&mut self, offset: usize, lines: &str) {
        let newline = self.newline();
        match self.0[offset..].find('\n') {
            Some(to_end) => {
                self.0.insert_str(offset + to_end + 1, &format!("{lines}{newline}"));
            }
            None => self.0.extend([newline, lines]),
        }
    }

    fn append_to_array(&mut self, array: &Array, entry: &str) -> Option<()> {
        match array.iter().last() {
            Some(last) => self.0.insert_str(last.span()?.end, &format!(", {entry}")),
            None => self.0.replace_range(array.span()?, &format!("[{entry}]")),
        }
        Some(())
    }

    /// Removes an assignment with its line. A comment behind it stays on a line of its own.
    fn cut_line(&mut self, assignment: Range<usize>) {
        let text = &self.0;
        let start = text[..assignment.start].rfind('\n').map_or(0, |at| at + 1);
        // A byte order mark is not part of the line.
        let start =
            if start == 0 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { start };
        let rest = &text[assignment.end..];
        let (line, has_end) = match rest.find('\n') {
            Some(len) => (&rest[..len], true),
            None => (rest, false),
        };
        if let Some(comment) = line.find('#') {
            self.0.replace_range(start..assignment.end + comment, "");
        } else if has_end {
            self.0.replace_range(start..=assignment.end + line.len(), "");
        } else {
            // The line end in front of the last line has to go, too.
            let before = &text[..start];
            let before = before.strip_suffix('\n').unwrap_or(before);
            let start = before.strip_suffix('\r').unwrap_or(before).len();
            self.0.truncate(start);
        }
    }

    fn cut_tables(&mut self, tables: &ArrayOfTables) -> Option<()> {
        let mut ranges = Vec::new();
        for table in tables {
            ranges.push(table.span()?);
            for (name, item) in table {
                let (key, _) = table.get_key_value(name)?;
                ranges.push(key.span()?.start..item.as_value()?.span()?.end);
            }
        }
        ranges.sort_by_key(|range| range.start);
        // They are removed from the end, so that the offsets of the others stay valid.
        for range in ranges.into_iter().rev() {
            self.cut_line(range);
        }
        Some(())
    }

    fn cut_from_inline(&mut self, table: &InlineTable, key: &str) -> Option<()> {
        let mut ranges = Vec::new();
        for (name, value) in table {
            let (key, _) = table.get_key_value(name)?;
            ranges.push((key.span()?.start..value_end(value)?, name));
        }
        ranges.sort_by_key(|(range, _)| range.start);
        let at = ranges.iter().position(|(_, name)| *name == key)?;
        let this = ranges[at].0.clone();
        let cut = if let Some((previous, _)) = at.checked_sub(1).and_then(|at| ranges.get(at)) {
            previous.end..this.end
        } else if let Some((next, _)) = ranges.get(at + 1) {
            this.start..next.start
        } else {
            let all = table.span()?;
            all.start + 1..all.end - 1
        };
        self.0.replace_range(cut, "");
        Some(())
    }
}

/// Writes a TOML string.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

fn retired_pairs(retired: &RetiredKeyName) -> Vec<String> {
    let RetiredKeyName { key_name, region, account_id } = retired;
    let mut pairs = vec![
        format!("key-name = {}", literal(key_name.as_str())),
        format!("region = {}", literal(region)),
    ];
    pairs.extend(account_id.as_ref().map(|id| format!("account-id = {}", literal(id))));
    pairs
}

/// Returns where the last assignment of a table ends, not counting subtables with headers of their own.
fn body_end(table: &Table) -> Option<usize> {
    let end = |item: &Item| match item {
        Item::Value(value) => value_end(value),
        Item::Table(table) if table.is_dotted() => body_end(table),
        Item::Table(_) | Item::ArrayOfTables(_) | Item::None => None,
    };
    table.iter().filter_map(|(_, item)| end(item)).max()
}

fn inline_end(table: &InlineTable) -> Option<usize> {
    table.iter().filter_map(|(_, value)| value_end(value)).max()
}

/// Returns where a value ends. A dotted key makes a table whose span is only that of the key.
fn value_end(value: &Value) -> Option<usize> {
    match value {
        Value::InlineTable(table) if table.is_dotted() => inline_end(table),
        _ => Some(value.span()?.end),
    }
}
