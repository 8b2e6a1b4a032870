//! EC2's XML.

use std::fmt::Display;

use jiff::Timestamp;
use provisioner::internal::domain::money::UsdPerHour;
use quick_xml::escape::partial_escape;

/// An element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// An element with text.
    Text(&'static str, String),
    /// An element with elements.
    Tree(&'static str, Vec<Node>),
}

/// `<name>value</name>`.
pub(super) fn text(name: &'static str, value: impl Display) -> Node {
    Node::Text(name, value.to_string())
}

/// Writes a time in whole seconds, as EC2 does.
pub(super) fn time(name: &'static str, at: Timestamp) -> Node {
    text(name, at.strftime("%Y-%m-%dT%H:%M:%S.000Z"))
}

/// Writes a price with six decimals, as EC2 does.
pub(super) fn price(name: &'static str, price: UsdPerHour) -> Node {
    let micros = price.micros();
    text(name, format_args!("{}.{:06}", micros / 1_000_000, micros % 1_000_000))
}

/// `<name>…</name>`.
pub(super) fn tree(name: &'static str, inside: impl IntoIterator<Item = Node>) -> Node {
    Node::Tree(name, inside.into_iter().collect())
}

/// `<name><item>…</item>…</name>`.
pub(super) fn set(name: &'static str, items: impl IntoIterator<Item = Vec<Node>>) -> Node {
    tree(name, items.into_iter().map(|inside| tree("item", inside)))
}

/// `<name><item>text</item>…</name>`.
pub(super) fn texts<T: Display>(name: &'static str, items: impl IntoIterator<Item = T>) -> Node {
    tree(name, items.into_iter().map(|item| text("item", item)))
}

/// Writes a complete document with the root element `outermost` in `namespace`.
pub(super) fn document(outermost: &str, namespace: Option<&str>, inside: &[Node]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
    out.push_str(outermost);
    if let Some(namespace) = namespace {
        out.push_str(" xmlns=\"");
        out.push_str(namespace);
        out.push('"');
    }
    out.push('>');
    for node in inside {
        write(node, &mut out);
    }
    close(outermost, &mut out);
    out
}

fn write(node: &Node, out: &mut String) {
    let (name, empty) = match node {
        Node::Text(name, value) => (*name, value.is_empty()),
        Node::Tree(name, inside) => (*name, inside.is_empty()),
    };
    out.push('<');
    out.push_str(name);
    if empty {
        return out.push_str("/>");
    }
    out.push('>');
    match node {
        Node::Text(_, value) => out.push_str(&partial_escape(value.as_str())),
        Node::Tree(_, inside) => inside.iter().for_each(|node| write(node, out)),
    }
    close(name, out);
}

fn close(name: &str, out: &mut String) {
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_nest_and_texts_are_escaped() {
        let inside = [
            text("code", 16),
            text("reason", ""),
            set("tagSet", [vec![text("key", "<a & b>")], vec![]]),
            set("noneSet", []),
            texts("zones", ["a", "b"]),
            time("launchTime", "2026-11-23T08:00:00.9Z".parse().unwrap()),
        ];
        assert_eq!(
            document("XResponse", Some("http://x/"), &inside),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<XResponse xmlns=\"http://x/\"><code>16</code>\
             <reason/><tagSet><item><key>&lt;a &amp; b&gt;</key></item><item/></tagSet><noneSet/>\
             <zones><item>a</item><item>b</item></zones>\
             <launchTime>2026-11-23T08:00:00.000Z</launchTime></XResponse>"
        );
    }
}
