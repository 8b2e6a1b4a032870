//! The configuration as a tree in which every node knows its origin, and the merging of layers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeArray, DeTable, DeValue};

use super::origin::{ConfigProblem, Origin};

/// The nodes of a table by name.
pub(super) type Table = BTreeMap<String, Node>;

/// A value with its origin.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// The key as it was written: that of a value from `[worker-defaults]` begins with that.
    pub(super) key: String,
    /// Where it was written.
    pub(super) origin: Origin,
    /// The value.
    pub(super) value: NodeValue,
}

/// A TOML value, or text whose type only the reader knows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NodeValue {
    Table(Table),
    Array(Vec<Node>),
    String(String),
    /// Wide enough for every TOML integer and every target type.
    Integer(i128),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    /// Text from the environment or the command line.
    Raw(String),
}

impl NodeValue {
    /// Returns the kind of the value with its article, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::Array(_) => "an array",
            Self::String(_) | Self::Raw(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime(_) => "a date",
        }
    }
}

/// Appends a segment to a dotted key, quoted if necessary.
pub(super) fn join(path: &str, name: &str) -> String {
    let key = toml_edit::Key::new(name);
    let segment = key.display_repr();
    if path.is_empty() { segment.into_owned() } else { format!("{path}.{segment}") }
}

/// Parses the text of a file. `shown` is its name in messages.
pub(super) fn parse_file(shown: &Arc<Path>, text: &str) -> Result<Table, Vec<ConfigProblem>> {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax_problem(shown, &lines, error)).collect());
    }
    let origin = |span: Range<usize>| Origin::File {
        path: Arc::clone(shown),
        line: Some(lines.line(span.start)),
        column: None,
    };
    Ok(convert_table(table.into_inner(), "", &origin))
}

fn syntax_problem(shown: &Arc<Path>, lines: &Lines<'_>, error: &toml::de::Error) -> ConfigProblem {
    let place = error.span().map(|span| lines.place(span.start));
    ConfigProblem {
        origin: Origin::File {
            path: Arc::clone(shown),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
        },
        key: String::new(),
        message: format!("broken TOML: {}", error.message().replace('\n', ", ")),
        hint: String::new(),
    }
}

/// Parses a text that is one TOML value, such as `["a", "b"]`.
pub(super) fn parse_value(text: &str, key: &str, origin: &Origin) -> Option<NodeValue> {
    let value = DeValue::parse(text).ok()?;
    Some(convert(value.into_inner(), key, &|_| origin.clone()))
}

/// Turns raw text that is an inline table into a table, and returns other nodes as they are.
pub(super) fn expand_inline_table(node: Node) -> Node {
    match &node.value {
        NodeValue::Raw(text) if text.trim_start().starts_with('{') => {
            match parse_value(text, &node.key, &node.origin) {
                Some(value) => Node { value, ..node },
                None => node,
            }
        }
        _ => node,
    }
}

type Locate<'a> = &'a dyn Fn(Range<usize>) -> Origin;

fn convert_table(table: DeTable<'_>, path: &str, locate: Locate<'_>) -> Table {
    let node = |(key, value): (toml::Spanned<_>, toml::Spanned<_>)| {
        let origin = locate(key.span());
        let name = String::from(key.into_inner());
        let key = join(path, &name);
        let value = convert(value.into_inner(), &key, locate);
        (name, Node { key, origin, value })
    };
    table.into_iter().map(node).collect()
}

fn convert_array(array: DeArray<'_>, key: &str, locate: Locate<'_>) -> Vec<Node> {
    let node = |(index, element): (usize, toml::Spanned<_>)| {
        let origin = locate(element.span());
        let key = format!("{key}[{index}]");
        let value = convert(element.into_inner(), &key, locate);
        Node { key, origin, value }
    };
    array.into_iter().enumerate().map(node).collect()
}

fn convert(value: DeValue<'_>, key: &str, locate: Locate<'_>) -> NodeValue {
    match value {
        DeValue::String(text) => NodeValue::String(text.into_owned()),
        DeValue::Integer(integer) => NodeValue::Integer(
            // An integer that does not fit here is out of every range, and will be reported as such.
            i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX),
        ),
        DeValue::Float(float) => NodeValue::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => NodeValue::Boolean(boolean),
        DeValue::Datetime(datetime) => NodeValue::Datetime(datetime.to_string()),
        DeValue::Array(array) => NodeValue::Array(convert_array(array, key, locate)),
        DeValue::Table(table) => NodeValue::Table(convert_table(table, key, locate)),
    }
}

/// Keys that are alternatives of each other: setting one in a higher layer removes the other from a lower
/// one. If both are set in one layer, the reader refuses them.
const ALTERNATIVES: [(&[&str], &[&str]); 2] =
    [(&["url"], &["host", "port", "version"]), (&["user-data"], &["user-data-file"])];

/// Lays `over` on top of `base`: tables merge, and everything else is replaced.
pub(super) fn overlay(base: &mut Table, over: Table) {
    overlay_at(base, over, &mut Vec::new());
}

/// Lays a worker type on top of the worker defaults.
pub(super) fn overlay_worker_type(base: &mut Table, over: Table) {
    overlay_at(base, over, &mut vec!["worker-defaults".to_owned()]);
}

fn overlay_at(base: &mut Table, over: Table, path: &mut Vec<String>) {
    drop_alternatives(base, &over, path);
    for (name, node) in over {
        let Some(under) = base.get_mut(&name) else {
            base.insert(name, node);
            continue;
        };
        path.push(name);
        overlay_node(under, node, path);
        path.pop();
    }
}

fn overlay_node(under: &mut Node, over: Node, path: &mut Vec<String>) {
    let NodeValue::Table(table) = &mut under.value else {
        *under = over;
        return;
    };
    let over = expand_inline_table(over);
    let NodeValue::Table(over_table) = over.value else {
        *under = over;
        return;
    };
    overlay_at(table, over_table, path);
    // The origin of a table tells where a missing key can be added, which is a file and not a variable.
    if matches!(over.origin, Origin::File { .. }) {
        (under.key, under.origin) = (over.key, over.origin);
    }
}

fn drop_alternatives(base: &mut Table, over: &Table, path: &[String]) {
    let path = path.iter().map(String::as_str).collect::<Vec<_>>();
    let [queue, user_data] = ALTERNATIVES;
    let (one, other) = match path.as_slice() {
        ["queue"] => queue,
        ["worker-defaults"] | ["worker-types", _] => user_data,
        _ => return,
    };
    let names_any = |names: &[&str]| names.iter().any(|name| over.contains_key(*name));
    for (chosen, displaced) in [(one, other), (other, one)] {
        if names_any(chosen) && !names_any(displaced) {
            base.retain(|name, _| !displaced.contains(&name.as_str()));
        }
    }
}

/// Translates byte offsets to line and column numbers.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let before = self.text.get(self.starts[line - 1]..offset).unwrap_or_default();
        (line, 1 + before.chars().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, text: &str) -> Table {
        parse_file(&Arc::from(Path::new(name)), text).unwrap()
    }

    fn at<'a>(table: &'a Table, path: &str) -> &'a Node {
        let mut names = path.split('/');
        let mut node = &table[names.next().unwrap()];
        for name in names {
            let NodeValue::Table(table) = &node.value else { panic!("{path}") };
            node = &table[name];
        }
        node
    }

    #[test]
    fn every_node_knows_its_line_and_key() {
        let tree = parse("f.toml", "a = 1\n\n[b.\"c d\"]\nx = [\n 'p',\n 'q',\n]\ny.z = 0x1_0\n");
        let list = at(&tree, "b/c d/x");
        assert_eq!(
            (list.key.as_str(), list.origin.to_string().as_str()),
            ("b.\"c d\".x", "f.toml:4")
        );
        let NodeValue::Array(elements) = &list.value else { panic!() };
        assert_eq!(elements[1].key, "b.\"c d\".x[1]");
        assert_eq!(elements[1].origin.to_string(), "f.toml:6");
        assert_eq!(at(&tree, "b").origin.to_string(), "f.toml:3");
        assert_eq!(at(&tree, "b/c d/y/z").value, NodeValue::Integer(16));
    }

    #[test]
    fn broken_toml_is_reported_with_line_and_column() {
        let mut problems =
            parse_file(&Arc::from(Path::new("f.toml")), "a = 1\nb = é\"x\n[c\n").unwrap_err();
        problems.sort();
        assert!(problems[0].to_string().starts_with("f.toml:2:"), "{}", problems[0]);
        let twice = parse_file(&Arc::from(Path::new("f.toml")), "a = 1\na = 2\n").unwrap_err();
        assert_eq!(twice[0].to_string(), "f.toml:2:1: broken TOML: duplicate key");
    }

    #[test]
    fn tables_merge_and_the_rest_is_replaced() {
        let mut base = parse("low", "[t]\nkept = 1\nlist = [1, 2]\nsub = { a = 1, b = 1 }\n");
        overlay(&mut base, parse("high", "\n\n\n[t]\nlist = [3]\nsub = { b = 2 }\nnew = 4\n"));
        let value = |path| (&at(&base, path).value, at(&base, path).origin.to_string());
        assert_eq!(value("t/kept"), (&NodeValue::Integer(1), "low:2".to_owned()));
        assert_eq!(value("t/sub/a"), (&NodeValue::Integer(1), "low:4".to_owned()));
        assert_eq!(value("t/sub/b"), (&NodeValue::Integer(2), "high:6".to_owned()));
        assert_eq!(value("t/new"), (&NodeValue::Integer(4), "high:7".to_owned()));
        let NodeValue::Array(list) = &at(&base, "t/list").value else { panic!() };
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn a_higher_layer_displaces_the_alternative() {
        let mut base = parse("low", "[queue]\nhost = 'a'\nport = 1\n[other]\nhost = 'a'\n");
        overlay(&mut base, parse("high", "[queue]\nurl = 'http://b'\n[other]\nurl = 'x'\n"));
        let NodeValue::Table(queue) = &base["queue"].value else { panic!() };
        assert_eq!(queue.keys().collect::<Vec<_>>(), ["url"]);
        let NodeValue::Table(other) = &base["other"].value else { panic!() };
        assert_eq!(other.len(), 2);
    }
}
