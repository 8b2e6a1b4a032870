//! Leaves elements out of XML while it arrives, chunk by chunk.
//!
//! It knows as much of XML as is needed to find where elements begin and end. What it cannot make sense
//! of it lets go no further: an answer without its end is refused
//! ([`WholeAnswers`](crate::aws::whole::WholeAnswers)), and half of one would pass for a smaller world.

use memchr::memchr;

/// An element that is kept.
#[derive(Debug)]
pub(super) struct Element {
    name: &'static str,
    /// The children that are kept, of an element that holds nothing but elements. `None`: all that is in it.
    children: Option<&'static [Element]>,
}

/// An element of which these children are kept. Text between them is there for the eye only.
pub(super) const fn only(name: &'static str, children: &'static [Element]) -> Element {
    Element { name, children: Some(children) }
}

/// An element with all that is in it.
pub(super) const fn whole(name: &'static str) -> Element {
    Element { name, children: None }
}

/// A document on its way through.
#[derive(Debug)]
pub(super) struct Filter {
    root: &'static Element,
    /// The elements that are open and kept in part, the innermost last.
    path: Vec<&'static Element>,
    /// What becomes of what is in the innermost one.
    within: Within,
    /// The beginning of a tag whose end has not arrived.
    tag: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Within {
    /// Elements that may be kept.
    Part,
    /// An element that is kept whole; so many are open, it included.
    Whole(usize),
    /// An element that is left out; so many are open, it included.
    LeftOut(usize),
    /// This is not XML as we know it. Nothing more goes through.
    Lost,
}

impl Filter {
    pub(super) fn new(root: &'static Element) -> Self {
        Self { root, path: Vec::new(), within: Within::Part, tag: Vec::new() }
    }

    /// Takes the next bytes, and returns what is kept of those that are complete.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut kept = Vec::with_capacity(chunk.len() / 4);
        let mut rest = chunk;
        // Taken out, so that a whole tag can be read from where it stands.
        let mut begun = std::mem::take(&mut self.tag);
        loop {
            if begun.is_empty() {
                let text = &rest[..memchr(b'<', rest).unwrap_or(rest.len())];
                if matches!(self.within, Within::Whole(_)) {
                    kept.extend_from_slice(text);
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
                self.tag(some, &mut kept);
                continue;
            }
            begun.extend_from_slice(some);
            if is_complete(&begun) {
                self.tag(&begun, &mut kept);
                begun.clear();
            }
        }
        self.tag = begun;
        kept
    }

    /// Takes one tag, from `<` to `>`.
    fn tag(&mut self, tag: &[u8], kept: &mut Vec<u8>) {
        let inner = &tag[1..tag.len() - 1];
        // Comments, the XML declaration and the like. Character data within an element that is left
        // out goes with it.
        if inner.starts_with(b"!") || inner.starts_with(b"?") {
            if matches!(self.within, Within::Whole(_)) || self.path.is_empty() {
                kept.extend_from_slice(tag);
            }
            return;
        }
        let ends = inner.starts_with(b"/");
        let empty = inner.ends_with(b"/");
        match &mut self.within {
            Within::Lost => {}
            Within::Whole(depth) | Within::LeftOut(depth) => {
                *depth = if ends { *depth - 1 } else { *depth + usize::from(!empty) };
                let depth = *depth;
                if matches!(self.within, Within::Whole(_)) {
                    kept.extend_from_slice(tag);
                }
                if depth == 0 {
                    self.within = Within::Part;
                }
            }
            Within::Part if ends => match self.path.pop() {
                Some(open) if open.name.as_bytes() == name(&inner[1..]) => {
                    kept.extend_from_slice(tag);
                }
                _ => self.within = Within::Lost,
            },
            Within::Part => {
                let here = self.path.last().map_or(std::slice::from_ref(self.root), |open| {
                    open.children.unwrap_or_default()
                });
                let name = name(inner);
                let known = here.iter().find(|element| element.name.as_bytes() == name);
                if known.is_some() {
                    kept.extend_from_slice(tag);
                }
                match known {
                    _ if empty => {}
                    None => self.within = Within::LeftOut(1),
                    Some(Element { children: None, .. }) => self.within = Within::Whole(1),
                    Some(element) => self.path.push(element),
                }
            }
        }
    }
}

/// Whether a tag that ends with `>` ends there: comments and character data may hold one.
fn is_complete(tag: &[u8]) -> bool {
    if tag.starts_with(b"<!--") {
        tag.len() >= b"<!---->".len() && tag.ends_with(b"-->")
    } else {
        !tag.starts_with(b"<![CDATA[") || tag.ends_with(b"]]>")
    }
}

/// The name at the beginning of a tag.
fn name(tag: &[u8]) -> &[u8] {
    let end = tag.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'/');
    &tag[..end.unwrap_or(tag.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: Element = only(
        "R",
        &[
            only(
                "set",
                &[only("item", &[whole("id"), whole("tags"), only("at", &[whole("zone")])])],
            ),
            whole("next"),
        ],
    );

    /// What is kept of `text`, however it is cut into chunks.
    fn kept(text: &str) -> String {
        let whole = Filter::new(&LIST).feed(text.as_bytes());
        for size in 1..=text.len() {
            let mut filter = Filter::new(&LIST);
            let chunks: Vec<u8> =
                text.as_bytes().chunks(size).flat_map(|chunk| filter.feed(chunk)).collect();
            assert_eq!(chunks, whole, "in chunks of {size}");
        }
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn what_is_not_named_is_left_out_with_all_that_is_in_it() {
        let text = "<?xml version=\"1.0\"?>\n<R xmlns=\"http://x/\">\n  <requestId>r</requestId>\n  <set>\n    \
                    <item>\n      <id>1</id><huge><id>no</id><set><item/></set></huge>\n      \
                    <at><zone>a</zone><id>no</id></at><empty/><at/></item>\n    <item><id/></item>\n  \
                    </set>\n  <next>t</next>\n</R>\n";
        assert_eq!(
            kept(text),
            "<?xml version=\"1.0\"?><R xmlns=\"http://x/\"><set><item><id>1</id>\
             <at><zone>a</zone></at><at/></item><item><id/></item></set><next>t</next></R>"
        );
    }

    #[test]
    fn what_is_kept_whole_is_kept_to_the_letter() {
        let tags = "<tags>\n <item><key> a &lt; b </key><value/></item><!-- > <b> --><![CDATA[<x>]]>\n</tags>";
        assert_eq!(kept(&format!("<R><set><item>{tags}</item></set></R>")).find(tags), Some(14));
    }

    #[test]
    fn markup_in_comments_and_character_data_is_none() {
        let text =
            "<R><!-- </R> --><set><item><x><![CDATA[</x></item>]]></x><id>1</id></item></set></R>";
        assert_eq!(kept(text), "<R><set><item><id>1</id></item></set></R>");
    }

    #[test]
    fn an_answer_that_is_cut_off_or_broken_never_gets_its_end() {
        let whole = "<R><set><item><id>1</id><x>2</x></item></set></R>";
        assert!(kept(whole).ends_with("</R>"));
        for end in 0..whole.len() {
            assert!(!kept(&whole[..end]).ends_with("</R>"), "{}", &whole[..end]);
        }
        for broken in [
            "<R><set><item><id>1</id></set></R>",
            "<R></set></R>",
            "</R>",
            "<other><set/></other></R>",
            "<R><set><x a=\">\"/></set></R>",
            "<R><set><x></set></R>",
        ] {
            assert!(!kept(broken).ends_with("</R>"), "{broken}");
        }
    }
}
