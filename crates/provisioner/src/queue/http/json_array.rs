//! Finds the elements of a top-level JSON array in chunks of any size.
//!
//! At most one element is held, and no element over the limit. The content of an element is not parsed:
//! only strings and the depth of brackets are followed, without recursion. The reader of an element
//! checks its syntax; oversized elements are not checked.

use std::error::Error;

use memchr::memchr2;

/// Why a response cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// It is something other than an array, or empty.
    #[error("the answer is not a JSON array")]
    NotAnArray,
    /// It is not JSON.
    #[error("invalid JSON at byte {at}")]
    Syntax {
        /// Bytes before the error.
        at: u64,
        /// The error there.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Its array was not closed.
    #[error("the answer was cut off after {at} bytes")]
    CutOff {
        /// Bytes received.
        at: u64,
    },
}

impl ResponseError {
    pub(super) fn syntax(at: u64, what: String) -> Self {
        Self::Syntax { at, source: what.into() }
    }
}

/// One element of the array.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RawElement<'a> {
    /// An element within the limit.
    Complete {
        /// The bytes from its first to its last.
        text: &'a [u8],
        /// Bytes of the response before it.
        at: u64,
    },
    /// An element longer than the limit.
    Oversized,
}

/// The state of the search between two chunks.
#[derive(Debug)]
pub(super) struct ArraySplitter {
    position: Position,
    limit: usize,
    /// Bytes of the response before the current chunk.
    consumed: u64,
    /// Bytes of the response before the current element.
    began: u64,
    /// The part of the current element that earlier chunks contained.
    held: Vec<u8>,
    oversized: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// At the very start, after this many bytes of a byte order mark.
    Mark(usize),
    /// Before `[`.
    Before,
    /// After `[`.
    First,
    /// After `,`.
    Next,
    /// In an element.
    Inside(ElementShape),
    /// After an element.
    Between,
    /// After `]`.
    After,
}

/// How the end of an element is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ElementShape {
    /// A number or a literal ends before the first byte that cannot belong to it.
    Bare,
    /// A string, array or object ends with its last quote or bracket.
    Delimited(BracketScan),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BracketScan {
    depth: usize,
    string: StringState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StringState {
    Outside,
    Inside,
    Escaped,
}

/// RFC 8259, section 8.1, allows parsers to ignore it.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Whether a byte outside of strings starts a string or changes the depth.
const STRUCTURAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut bytes: &[u8] = b"\"{}[]";
    while let [byte, rest @ ..] = bytes {
        table[*byte as usize] = true;
        bytes = rest;
    }
    table
};

impl ArraySplitter {
    /// Starts before the first byte of a response; elements over `limit` bytes are not held.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            position: Position::Mark(0),
            limit,
            consumed: 0,
            began: 0,
            held: Vec::new(),
            oversized: false,
        }
    }

    /// Takes in the next bytes of the response and passes each element that ends in them to `sink`.
    pub(super) fn feed(
        &mut self,
        chunk: &[u8],
        mut sink: impl FnMut(RawElement<'_>) -> Result<(), ResponseError>,
    ) -> Result<(), ResponseError> {
        let mut at = 0;
        while let Some(&byte) = chunk.get(at) {
            let here = self.consumed + at as u64;
            match &mut self.position {
                Position::Inside(shape) => {
                    let rest = &chunk[at..];
                    if let Some(len) = shape.end(rest) {
                        self.complete(&rest[..len], &mut sink)?;
                        self.position = Position::Between;
                        at += len;
                    } else {
                        self.hold(rest);
                        at = chunk.len();
                    }
                    continue;
                }
                Position::Mark(seen) => {
                    if BYTE_ORDER_MARK.get(*seen) == Some(&byte) {
                        *seen += 1;
                        at += 1;
                        if *seen == BYTE_ORDER_MARK.len() {
                            self.position = Position::Before;
                        }
                    } else if *seen == 0 {
                        self.position = Position::Before;
                    } else {
                        return Err(ResponseError::NotAnArray);
                    }
                    continue;
                }
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => {}
                Position::Before if byte == b'[' => self.position = Position::First,
                Position::Before => return Err(ResponseError::NotAnArray),
                Position::First if byte == b']' => self.position = Position::After,
                Position::First | Position::Next => {
                    let shape = ElementShape::of(byte).ok_or_else(|| {
                        ResponseError::syntax(here, "expected a value".to_owned())
                    })?;
                    self.position = Position::Inside(shape);
                    self.began = here;
                    // The search for the element's end begins with its first byte.
                    continue;
                }
                Position::Between if byte == b',' => self.position = Position::Next,
                Position::Between if byte == b']' => self.position = Position::After,
                Position::Between => {
                    return Err(ResponseError::syntax(here, "expected `,` or `]`".to_owned()));
                }
                Position::After => {
                    return Err(ResponseError::syntax(here, "expected nothing more".to_owned()));
                }
            }
            at += 1;
        }
        self.consumed += chunk.len() as u64;
        Ok(())
    }

    /// Checks that the array was closed.
    pub(super) fn finish(&self) -> Result<(), ResponseError> {
        match self.position {
            Position::After => Ok(()),
            Position::Mark(_) | Position::Before => Err(ResponseError::NotAnArray),
            Position::First | Position::Next | Position::Inside(_) | Position::Between => {
                Err(ResponseError::CutOff { at: self.consumed })
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
        sink: &mut impl FnMut(RawElement<'_>) -> Result<(), ResponseError>,
    ) -> Result<(), ResponseError> {
        let at = self.began;
        if !self.oversized && self.held.is_empty() && last.len() <= self.limit {
            return sink(RawElement::Complete { text: last, at });
        }
        self.hold(last);
        let result = if self.oversized {
            sink(RawElement::Oversized)
        } else {
            sink(RawElement::Complete { text: &self.held, at })
        };
        self.oversized = false;
        self.held.clear();
        result
    }
}

impl ElementShape {
    fn of(first: u8) -> Option<Self> {
        match first {
            b'"' | b'{' | b'[' => {
                Some(Self::Delimited(BracketScan { depth: 0, string: StringState::Outside }))
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => Some(Self::Bare),
            _ => None,
        }
    }

    /// Returns how many of `bytes` belong to the element if it ends in them.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Bare => bytes
                .iter()
                .position(|byte| !matches!(byte, b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')),
            Self::Delimited(scan) => scan.end(bytes),
        }
    }
}

impl BracketScan {
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            match self.string {
                StringState::Escaped => {
                    // The first byte after a backslash is the only one that could end the string.
                    bytes.get(at)?;
                    at += 1;
                    self.string = StringState::Inside;
                }
                StringState::Inside => {
                    let found = at + memchr2(b'"', b'\\', &bytes[at..])?;
                    at = found + 1;
                    if bytes[found] == b'\\' {
                        self.string = StringState::Escaped;
                    } else {
                        self.string = StringState::Outside;
                        if self.depth == 0 {
                            return Some(at);
                        }
                    }
                }
                StringState::Outside => {
                    let found =
                        at + bytes[at..].iter().position(|byte| STRUCTURAL[usize::from(*byte)])?;
                    at = found + 1;
                    match bytes[found] {
                        b'"' => self.string = StringState::Inside,
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

/// Returns the number of bytes before the error. `serde_json` counts lines, and bytes within the line.
pub(super) fn position(text: &str, error: &serde_json::Error) -> u64 {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let before: usize = lines.map(str::len).sum();
    (before + error.column().saturating_sub(1)) as u64
}
