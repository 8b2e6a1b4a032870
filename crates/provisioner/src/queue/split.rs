//! Finds the elements of a top-level JSON array in chunks of any size.
//!
//! At most one element is held, and none over the limit. What an element says is not looked at: only
//! strings and the depth of brackets are followed, without recursion. The element's reader has the last
//! word on its syntax, except inside oversized elements, which nobody reads.

use memchr::memchr2;

use super::answer::Flaw;

/// One element of the array.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Element<'a> {
    /// Its text.
    Whole {
        /// From its first byte to its last.
        text: &'a [u8],
        /// Bytes of the answer before it.
        at: u64,
    },
    /// Longer than the limit.
    Oversized,
}

/// The state between two chunks.
#[derive(Debug)]
pub(super) struct Splitter {
    place: Place,
    limit: usize,
    /// Bytes of the answer before the current chunk.
    consumed: u64,
    /// Where the current element began.
    began: u64,
    /// What earlier chunks held of the current element.
    held: Vec<u8>,
    oversized: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before anything: this many bytes of a byte order mark were seen.
    Mark(usize),
    /// Before `[`.
    Before,
    /// After `[`.
    First,
    /// After `,`.
    Next,
    /// In an element.
    Inside(Shape),
    /// After an element.
    Between,
    /// After `]`.
    After,
}

/// What tells the end of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A number or a literal: what follows it.
    Bare,
    /// A string, array or object: its last quote or bracket.
    Delimited(Scan),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scan {
    depth: usize,
    string: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    Escaped,
}

/// RFC 8259 lets parsers ignore it.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

const STRUCTURAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut bytes: &[u8] = b"\"{}[]";
    while let [byte, rest @ ..] = bytes {
        table[*byte as usize] = true;
        bytes = rest;
    }
    table
};

impl Splitter {
    /// Starts before the first byte of an answer; elements over `limit` bytes are not held.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            place: Place::Mark(0),
            limit,
            consumed: 0,
            began: 0,
            held: Vec::new(),
            oversized: false,
        }
    }

    /// Takes the next bytes of the answer and gives each element that ends in them to `sink`.
    pub(super) fn feed(
        &mut self,
        chunk: &[u8],
        mut sink: impl FnMut(Element<'_>) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        let mut at = 0;
        while let Some(&byte) = chunk.get(at) {
            let here = self.consumed + at as u64;
            match &mut self.place {
                Place::Inside(shape) => {
                    let rest = &chunk[at..];
                    if let Some(len) = shape.end(rest) {
                        self.complete(&rest[..len], &mut sink)?;
                        self.place = Place::Between;
                        at += len;
                    } else {
                        self.hold(rest);
                        at = chunk.len();
                    }
                    continue;
                }
                Place::Mark(seen) => {
                    if BYTE_ORDER_MARK.get(*seen) == Some(&byte) {
                        *seen += 1;
                        at += 1;
                        if *seen == BYTE_ORDER_MARK.len() {
                            self.place = Place::Before;
                        }
                    } else if *seen == 0 {
                        self.place = Place::Before;
                    } else {
                        return Err(Flaw::NotAnArray);
                    }
                    continue;
                }
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => {}
                Place::Before if byte == b'[' => self.place = Place::First,
                Place::Before => return Err(Flaw::NotAnArray),
                Place::First if byte == b']' => self.place = Place::After,
                Place::First | Place::Next => {
                    let shape = Shape::of(byte)
                        .ok_or_else(|| Flaw::syntax(here, "expected a value".to_owned()))?;
                    self.place = Place::Inside(shape);
                    self.began = here;
                    // The shape's end is looked for from the first byte on.
                    continue;
                }
                Place::Between if byte == b',' => self.place = Place::Next,
                Place::Between if byte == b']' => self.place = Place::After,
                Place::Between => {
                    return Err(Flaw::syntax(here, "expected `,` or `]`".to_owned()));
                }
                Place::After => {
                    return Err(Flaw::syntax(here, "expected nothing more".to_owned()));
                }
            }
            at += 1;
        }
        self.consumed += chunk.len() as u64;
        Ok(())
    }

    /// Checks that the array was closed.
    pub(super) fn finish(&self) -> Result<(), Flaw> {
        match self.place {
            Place::After => Ok(()),
            Place::Mark(_) | Place::Before => Err(Flaw::NotAnArray),
            Place::First | Place::Next | Place::Inside(_) | Place::Between => {
                Err(Flaw::CutOff { at: self.consumed })
            }
        }
    }

    fn hold(&mut self, part: &[u8]) {
        if self.oversized || self.held.len() + part.len() > self.limit {
            self.oversized = true;
            self.held.clear();
        } else {
            self.held.extend_from_slice(part);
        }
    }

    fn complete(
        &mut self,
        last: &[u8],
        sink: &mut impl FnMut(Element<'_>) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        let at = self.began;
        if !self.oversized && self.held.is_empty() && last.len() <= self.limit {
            return sink(Element::Whole { text: last, at });
        }
        self.hold(last);
        let result = if self.oversized {
            sink(Element::Oversized)
        } else {
            sink(Element::Whole { text: &self.held, at })
        };
        self.oversized = false;
        self.held.clear();
        result
    }
}

impl Shape {
    fn of(first: u8) -> Option<Self> {
        match first {
            b'"' | b'{' | b'[' => Some(Self::Delimited(Scan { depth: 0, string: Text::Outside })),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => Some(Self::Bare),
            _ => None,
        }
    }

    /// Returns how many of `bytes` belong to the element, if it ends in them.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Bare => bytes
                .iter()
                .position(|byte| !matches!(byte, b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')),
            Self::Delimited(scan) => scan.end(bytes),
        }
    }
}

impl Scan {
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            match self.string {
                Text::Escaped => {
                    // Whatever is escaped, its first byte is all that could end a string.
                    bytes.get(at)?;
                    at += 1;
                    self.string = Text::Inside;
                }
                Text::Inside => {
                    let found = at + memchr2(b'"', b'\\', &bytes[at..])?;
                    at = found + 1;
                    if bytes[found] == b'\\' {
                        self.string = Text::Escaped;
                    } else {
                        self.string = Text::Outside;
                        if self.depth == 0 {
                            return Some(at);
                        }
                    }
                }
                Text::Outside => {
                    let found =
                        at + bytes[at..].iter().position(|byte| STRUCTURAL[usize::from(*byte)])?;
                    at = found + 1;
                    match bytes[found] {
                        b'"' => self.string = Text::Inside,
                        b'{' | b'[' => self.depth += 1,
                        _ => {
                            self.depth -= 1;
                            if self.depth == 0 {
                                return Some(at);
                            }
                        }
                    }
                }
            }
        }
    }
}
