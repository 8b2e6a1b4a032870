//! Reads named elements out of XML while it arrives, chunk by chunk, and forwards the rest.
//!
//! It knows the part of XML that EC2 writes. If it cannot read a document, it forwards it without its end,
//! so that [`TruncationGuard`](crate::aws::truncation_guard::TruncationGuard) refuses it: half of a
//! listing would pass for a smaller world.

use std::borrow::Cow;

use jiff::Timestamp;
use memchr::{memchr, memchr2};

/// An element that is read.
#[derive(Debug)]
pub(crate) struct Element<T: 'static> {
    name: &'static str,
    read: Read<T>,
}

#[derive(Debug)]
enum Read<T: 'static> {
    /// Its children. Text between them is ignored.
    Children(&'static [Element<T>]),
    /// Its children, and the function is called at its end.
    Part(&'static [Element<T>], fn(&mut T)),
    /// Its children, which make one item of the listing.
    Item(&'static [Element<T>]),
    /// Its text.
    Text(fn(&mut T, &str)),
    /// Its text, parsed as a time.
    Time(fn(&mut T, Timestamp)),
    /// Nothing: it is left in the document for the SDK's own parser.
    Onward,
}

/// Returns an element whose `children` are read.
pub(super) const fn within<T>(name: &'static str, children: &'static [Element<T>]) -> Element<T> {
    Element { name, read: Read::Children(children) }
}

/// Returns an element whose `children` are read, after which `end` is called.
pub(super) const fn part<T>(
    name: &'static str,
    children: &'static [Element<T>],
    end: fn(&mut T),
) -> Element<T> {
    Element { name, read: Read::Part(children, end) }
}

/// Returns an element that is an item of the listing.
pub(super) const fn item<T>(name: &'static str, children: &'static [Element<T>]) -> Element<T> {
    Element { name, read: Read::Item(children) }
}

/// Returns an element with text.
pub(super) const fn text<T>(name: &'static str, set: fn(&mut T, &str)) -> Element<T> {
    Element { name, read: Read::Text(set) }
}

/// Returns an element with a time. A time that cannot be parsed makes the document unreadable.
pub(super) const fn time<T>(name: &'static str, set: fn(&mut T, Timestamp)) -> Element<T> {
    Element { name, read: Read::Time(set) }
}

/// Returns an element that is left in the document.
pub(super) const fn onward<T>(name: &'static str) -> Element<T> {
    Element { name, read: Read::Onward }
}

/// The state of reading one document.
#[derive(Debug)]
pub(super) struct Reader<T: 'static> {
    root: &'static Element<T>,
    /// The open elements that are read, the innermost last.
    path: Vec<&'static Element<T>>,
    within: Within,
    /// The beginning of a tag whose end has not arrived yet.
    tag: Vec<u8>,
    /// The text of the innermost element so far.
    text: Vec<u8>,
    item: T,
}

/// How the content of the innermost element is treated.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Within {
    /// Some of its children are read.
    Read,
    /// Its text is read.
    Text,
    /// It is forwarded. The number counts the open elements, including this one.
    Onward(usize),
    /// It is left out. The number counts the open elements, including this one.
    LeftOut(usize),
    /// The document cannot be read. Nothing more is read or forwarded.
    Lost,
}

impl<T: Default> Reader<T> {
    pub(super) fn new(root: &'static Element<T>) -> Self {
        Self {
            root,
            path: Vec::new(),
            within: Within::Read,
            tag: Vec::new(),
            text: Vec::new(),
            item: T::default(),
        }
    }

    /// Takes the next bytes. Adds the completed items, and returns the bytes to forward.
    pub(super) fn feed(&mut self, chunk: &[u8], items: &mut Vec<T>) -> Vec<u8> {
        let mut onward = Vec::new();
        let mut rest = chunk;
        // Taken out so that a tag within one chunk can be read without copying it.
        let mut begun = std::mem::take(&mut self.tag);
        loop {
            if begun.is_empty() {
                let text = &rest[..memchr(b'<', rest).unwrap_or(rest.len())];
                match self.within {
                    Within::Text => self.text.extend_from_slice(text),
                    Within::Onward(_) => onward.extend_from_slice(text),
                    Within::Read | Within::LeftOut(_) | Within::Lost => {}
                }
                rest = &rest[text.len()..];
            }
            if rest.is_empty() {
                break;
            }
            let Some(end) = memchr(b'>', rest) else {
                begun.extend_from_slice(rest);
                break;
            };
            let (some, after) = rest.split_at(end + 1);
            rest = after;
            if begun.is_empty() && is_complete(some) {
                self.tag(some, items, &mut onward);
                continue;
            }
            begun.extend_from_slice(some);
            if is_complete(&begun) {
                self.tag(&begun, items, &mut onward);
                begun.clear();
            }
        }
        self.tag = begun;
        onward
    }

    /// Takes one tag, from `<` to `>`.
    fn tag(&mut self, tag: &[u8], items: &mut Vec<T>, onward: &mut Vec<u8>) {
        let inner = &tag[1..tag.len() - 1];
        let ends = inner.starts_with(b"/");
        let empty = inner.ends_with(b"/");
        // Comments, the XML declaration and the like.
        let is_no_element = inner.starts_with(b"!") || inner.starts_with(b"?");
        match &mut self.within {
            Within::Lost => {}
            Within::Onward(depth) | Within::LeftOut(depth) => {
                if is_no_element {
                } else if ends {
                    *depth -= 1;
                } else {
                    *depth += usize::from(!empty);
                }
                let is_over = *depth == 0;
                if matches!(self.within, Within::Onward(_)) {
                    onward.extend_from_slice(tag);
                }
                if is_over {
                    self.within = Within::Read;
                }
            }
            // Character data, which EC2 does not write here.
            Within::Text if inner.starts_with(b"![") => self.within = Within::Lost,
            _ if is_no_element => {}
            Within::Read | Within::Text if ends => self.end(&inner[1..], items, onward),
            Within::Text => self.within = Within::Lost,
            Within::Read => self.start(name(inner), empty, tag, items, onward),
        }
    }

    fn start(
        &mut self,
        name: &[u8],
        empty: bool,
        tag: &[u8],
        items: &mut Vec<T>,
        onward: &mut Vec<u8>,
    ) {
        let here = match self.path.last().map(|open| &open.read) {
            None => std::slice::from_ref(self.root),
            Some(Read::Children(children) | Read::Part(children, _) | Read::Item(children)) => {
                *children
            }
            Some(Read::Text(_) | Read::Time(_) | Read::Onward) => &[],
        };
        let Some(element) = here.iter().find(|element| element.name.as_bytes() == name) else {
            if !empty {
                self.within = Within::LeftOut(1);
            }
            return;
        };
        if self.path.is_empty() || matches!(element.read, Read::Onward) {
            onward.extend_from_slice(tag);
        }
        match element.read {
            Read::Onward if empty => {}
            Read::Onward => self.within = Within::Onward(1),
            Read::Text(_) | Read::Time(_) => {
                self.text.clear();
                self.within = Within::Text;
                self.path.push(element);
            }
            Read::Children(_) | Read::Part(..) => self.path.push(element),
            Read::Item(_) => {
                self.item = T::default();
                self.path.push(element);
            }
        }
        if empty && !matches!(element.read, Read::Onward) {
            // An empty root's tag is also its end, and was forwarded already.
            self.end(name, items, &mut Vec::new());
        }
    }

    fn end(&mut self, tag: &[u8], items: &mut Vec<T>, onward: &mut Vec<u8>) {
        let Some(open) = self.path.pop().filter(|open| open.name.as_bytes() == name(tag)) else {
            self.within = Within::Lost;
            return;
        };
        if self.path.is_empty() {
            onward.extend_from_slice(b"</");
            onward.extend_from_slice(tag);
            onward.extend_from_slice(b">");
        }
        self.within = Within::Read;
        match open.read {
            Read::Children(_) | Read::Onward => {}
            Read::Part(_, end) => end(&mut self.item),
            Read::Item(_) => items.push(std::mem::take(&mut self.item)),
            Read::Text(set) => match decode(&self.text) {
                Some(text) => set(&mut self.item, &text),
                None => self.within = Within::Lost,
            },
            Read::Time(set) => match decode(&self.text).and_then(|text| text.parse().ok()) {
                Some(time) => set(&mut self.item, time),
                None => self.within = Within::Lost,
            },
        }
    }
}

/// Returns whether a tag ends at its last `>`, since comments and character data may contain others.
fn is_complete(tag: &[u8]) -> bool {
    if tag.starts_with(b"<!--") {
        tag.len() >= b"<!---->".len() && tag.ends_with(b"-->")
    } else {
        !tag.starts_with(b"<![CDATA[") || tag.ends_with(b"]]>")
    }
}

/// Returns the name at the beginning of a tag.
fn name(tag: &[u8]) -> &[u8] {
    let end = tag.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'/');
    &tag[..end.unwrap_or(tag.len())]
}

/// Replaces references by their characters ("Extensible Markup Language (XML) 1.0", 4.1 and 4.6). Returns
/// `None` if one is unknown, or if the text is not UTF-8.
fn decode(text: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(text).ok()?;
    if memchr2(b'&', b'\r', text.as_bytes()).is_none() {
        return Some(Cow::Borrowed(text));
    }
    // All line ends are read as one character (2.11).
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut parts = text.split('&');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (reference, after) = part.split_once(';')?;
        decoded.push(match reference {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            other => {
                let digits = other.strip_prefix('#')?;
                let code = match digits.strip_prefix('x') {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => digits.parse(),
                };
                char::from_u32(code.ok()?)?
            }
        });
        decoded.push_str(after);
    }
    Some(Cow::Owned(decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Thing {
        id: String,
        zone: Option<String>,
        made: Option<Timestamp>,
        words: Vec<String>,
        word: String,
    }

    const LIST: Element<Thing> = within(
        "R",
        &[
            within(
                "set",
                &[item(
                    "item",
                    &[
                        text("id", |thing, text| text.clone_into(&mut thing.id)),
                        time("made", |thing, time| thing.made = Some(time)),
                        within(
                            "at",
                            &[text("zone", |thing, text| thing.zone = Some(text.to_owned()))],
                        ),
                        within(
                            "words",
                            &[part(
                                "item",
                                &[text("word", |thing, text| text.clone_into(&mut thing.word))],
                                |thing| thing.words.push(std::mem::take(&mut thing.word)),
                            )],
                        ),
                    ],
                )],
            ),
            onward("next"),
        ],
    );

    /// Returns the things in `text` and the forwarded rest, which must not depend on the chunks.
    fn read(text: &str) -> (Vec<Thing>, String) {
        let read = |size: usize| {
            let mut reader = Reader::new(&LIST);
            let mut things = Vec::new();
            let chunks = text.as_bytes().chunks(size);
            let onward: Vec<u8> =
                chunks.flat_map(|chunk| reader.feed(chunk, &mut things)).collect();
            (things, String::from_utf8(onward).unwrap())
        };
        let expected = read(text.len().max(1));
        for size in 1..text.len() {
            assert_eq!(read(size), expected, "in chunks of {size}");
        }
        expected
    }

    fn thing(id: &str) -> Thing {
        Thing { id: id.to_owned(), ..Thing::default() }
    }

    #[test]
    fn items_are_read_and_only_the_rest_is_forwarded() {
        let text = "<?xml version=\"1.0\"?>\n<R xmlns=\"http://x/\">\n  <requestId>r</requestId>\n  <set>\n    \
                    <item>\n      <id>1</id><huge><id>no</id><set><item/></set></huge>\n      \
                    <at><zone>a</zone><id>no</id></at><empty/><made>2026-11-23T12:00:00.000Z</made><words><item><word>b</word></item>\
                    <item/></words></item>\n    <item><id/><at/><id >2</id ></item>\n  <item/></set>\n  \
                    <next> t<x/>\n</next>\n</R>\n";
        let (things, onward) = read(text);
        let words = vec!["b".to_owned(), String::new()];
        let made = Some("2026-11-23T12:00:00Z".parse().unwrap());
        let first = Thing { made, zone: Some("a".to_owned()), words, ..thing("1") };
        assert_eq!(things, [first, thing("2"), thing("")]);
        assert_eq!(onward, "<R xmlns=\"http://x/\"><next> t<x/>\n</next></R>");
    }

    #[test]
    fn an_empty_document_is_complete() {
        assert_eq!(read("<R/>"), (Vec::new(), "<R/>".to_owned()));
        assert_eq!(read("<R><set/><next/></R>"), (Vec::new(), "<R><next/></R>".to_owned()));
        assert_eq!(read("<other/>"), (Vec::new(), String::new()));
    }

    #[test]
    fn references_are_replaced() {
        for (written, meant) in [
            (" a &lt;b&gt; &amp;amp; ", " a <b> &amp; "),
            ("&quot;&apos;&#252;&#xfc;\r\n\r", "\"'üü\n\n"),
        ] {
            let (things, _) = read(&format!("<R><set><item><id>{written}</id></item></set></R>"));
            assert_eq!(things, [thing(meant)]);
        }
    }

    #[test]
    fn markup_in_comments_and_character_data_is_ignored() {
        let text = "<R><!-- </R> --><set><item><x><![CDATA[</x></item>]]></x><id><!-->-->1<!-- <b> --></id>\
                    </item></set></R>";
        assert_eq!(read(text), (vec![thing("1")], "<R></R>".to_owned()));
    }

    #[test]
    fn a_truncated_or_broken_document_is_forwarded_without_its_end() {
        let complete = "<R><set><item><id>1</id><x>2</x></item></set></R>";
        assert!(read(complete).1.ends_with("</R>"));
        for end in 0..complete.len() {
            assert!(!read(&complete[..end]).1.ends_with("</R>"), "{}", &complete[..end]);
        }
        let in_id = |text: &str| format!("<R><set><item><id>{text}</id></item></set></R>");
        for broken in [
            "<R><set><item><id>1</id></set></R>",
            "<R></set></R>",
            "</R>",
            "<other><set/></other></R>",
            "<R><set><x a=\">\"/></set></R>",
            "<R><set><x></set></R>",
            "<R><set><item><made/></item></set></R>",
            "<R><set><item><made>soon</made></item></set></R>",
            &in_id("<b>1</b>"),
            &in_id("<![CDATA[1]]>"),
            &in_id("&nbsp;"),
            &in_id("a & b"),
            &in_id("&#xd800;"),
        ] {
            assert!(!read(broken).1.ends_with("</R>"), "{broken}");
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_broken() {
        let mut reader = Reader::new(&LIST);
        let mut things = Vec::new();
        let onward = reader.feed(b"<R><set><item><id>\xff</id></item></set></R>", &mut things);
        assert_eq!((things.len(), onward.as_slice()), (0, &b"<R>"[..]));
    }
}
