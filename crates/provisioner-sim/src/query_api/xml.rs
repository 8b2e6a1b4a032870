//! EC2's XML.

use std::fmt::Display;
use std::sync::Arc;

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
    /// An element with elements, whose name depends on the call.
    Named(String, Vec<Node>),
    /// A record of a listing, as [`record`] has written it.
    Record(Arc<str>),
}

/// How deep the records of a listing are in an answer: below the outermost element and the set.
const RECORD_DEPTH: usize = 2;

/// EC2 indents each level of its answers by so many blanks.
const INDENT: usize = 4;

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

/// Writes a record of a listing.
pub(super) fn record(inside: Vec<Node>) -> String {
    let mut out = String::new();
    write(&tree("item", inside), Some(RECORD_DEPTH), &mut out);
    out
}

/// Writes a complete document on one line with the root element `outermost`, as EC2 writes its refusals.
pub(super) fn document(outermost: &str, namespace: Option<&str>, inside: &[Node]) -> String {
    whole(outermost, namespace, inside, None)
}

/// Writes a complete document with the root element `outermost` in `namespace`, indented as EC2 indents what
/// it shows. The blanks are a good third of its answers.
pub(super) fn indented(outermost: &str, namespace: &str, inside: &[Node]) -> String {
    whole(outermost, Some(namespace), inside, Some(0))
}

/// Writes a document, indented from `depth` on or not at all.
fn whole(
    outermost: &str,
    namespace: Option<&str>,
    inside: &[Node],
    depth: Option<usize>,
) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
    out.push_str(outermost);
    if let Some(namespace) = namespace {
        out.push_str(" xmlns=\"");
        out.push_str(namespace);
        out.push('"');
    }
    out.push('>');
    for node in inside {
        write(node, depth.map(|depth| depth + 1), &mut out);
    }
    begin_line(depth, &mut out);
    close(outermost, &mut out);
    out
}

fn write(node: &Node, depth: Option<usize>, out: &mut String) {
    let (name, empty) = match node {
        Node::Text(name, value) => (*name, value.is_empty()),
        Node::Tree(name, inside) => (*name, inside.is_empty()),
        Node::Named(name, inside) => (name.as_str(), inside.is_empty()),
        Node::Record(written) => return out.push_str(written),
    };
    begin_line(depth, out);
    out.push('<');
    out.push_str(name);
    if empty {
        return out.push_str("/>");
    }
    out.push('>');
    match node {
        Node::Text(_, value) => out.push_str(&partial_escape(value.as_str())),
        Node::Tree(_, inside) | Node::Named(_, inside) => {
            for node in inside {
                write(node, depth.map(|depth| depth + 1), out);
            }
            begin_line(depth, out);
        }
        Node::Record(_) => {}
    }
    close(name, out);
}

fn begin_line(depth: Option<usize>, out: &mut String) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', INDENT * depth));
    }
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
    #[test]
    fn records_are_indented_as_if_they_were_written_with_the_listing() {
        let inside = || vec![text("id", "a"), set("tagSet", [vec![text("key", "k")]])];
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<XResponse xmlns=\"http://x/\">
    <allSet>
        <item>
            <id>a</id>
            <tagSet>
                <item>
                    <key>k</key>
                </item>
            </tagSet>
        </item>
    </allSet>
</XResponse>";
        for listed in
            [set("allSet", [inside()]), tree("allSet", [Node::Record(record(inside()).into())])]
        {
            assert_eq!(indented("XResponse", "http://x/", &[listed]), expected);
        }
    }
}
