//! One answer of the queue, read while it arrives.

use std::error::Error;

use serde::de::IgnoredAny;

use super::split::{Element, Splitter};
use super::task::Task;

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// Something else than an array, or nothing.
    #[error("the answer is not a JSON array")]
    NotAnArray,
    /// Not JSON.
    #[error("invalid JSON at byte {at}")]
    Syntax {
        /// Bytes before the error.
        at: u64,
        /// What is wrong there.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The array was not closed.
    #[error("the answer was cut off after {at} bytes")]
    CutOff {
        /// Bytes received.
        at: u64,
    },
}

impl Flaw {
    pub(super) fn syntax(at: u64, what: String) -> Self {
        Self::Syntax { at, source: what.into() }
    }
}

/// One element, as far as it could be read.
#[derive(Debug, PartialEq)]
pub(super) enum Seen<'a> {
    /// A task, and its text.
    Task(Task<'a>, &'a str),
    /// JSON, but no task.
    Malformed(&'a str),
    /// Too long to look at.
    Oversized,
}

/// What takes the elements.
pub(super) trait Tally {
    fn count(&mut self, seen: Seen<'_>);
}

/// An answer on its way into a [`Tally`].
#[derive(Debug)]
pub(super) struct Answer<'p, T> {
    splitter: Splitter,
    pointer: &'p [String],
    tally: T,
}

/// The longest element that is held and read.
pub(super) const MAX_ELEMENT: usize = 1 << 20;

impl<'p, T: Tally> Answer<'p, T> {
    pub(super) fn new(pointer: &'p [String], tally: T) -> Self {
        Self { splitter: Splitter::new(MAX_ELEMENT), pointer, tally }
    }

    pub(super) fn feed(&mut self, chunk: &[u8]) -> Result<(), Flaw> {
        let Self { splitter, pointer, tally } = self;
        splitter.feed(chunk, |element| {
            let seen = match element {
                Element::Whole { text, at } => read(text, at, pointer)?,
                Element::Oversized => Seen::Oversized,
            };
            tally.count(seen);
            Ok(())
        })
    }

    pub(super) fn finish(self) -> Result<T, Flaw> {
        self.splitter.finish()?;
        Ok(self.tally)
    }
}

/// Reads the element `text` that starts at byte `at` of the answer.
fn read<'a>(text: &'a [u8], at: u64, pointer: &[String]) -> Result<Seen<'a>, Flaw> {
    // Here and not in serde_json: it does not look inside strings that it skips.
    let text = std::str::from_utf8(text).map_err(|error| Flaw::Syntax {
        at: at + error.valid_up_to() as u64,
        source: error.into(),
    })?;
    if let Ok(task) = Task::read(text, pointer) {
        return Ok(Seen::Task(task, text));
    }
    // No task, or no JSON? serde_json's own classes do not tell: lone surrogates, numbers out of range and
    // too deep a way to the worker type are "syntax" to it. Skipping minds the grammar alone.
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(IgnoredAny) => Ok(Seen::Malformed(text)),
        Err(error) if error.is_eof() => {
            Err(Flaw::syntax(at + text.len() as u64, "the value is not complete".to_owned()))
        }
        Err(error) => {
            let at = at + position(text, &error);
            // The rest of the message is the place within the element.
            let message = error.to_string();
            let what = message.split(" at line ").next().unwrap_or_default();
            Err(Flaw::syntax(at, what.to_owned()))
        }
    }
}

/// Bytes of `text` before the error: `serde_json` counts lines, and bytes within the line.
fn position(text: &str, error: &serde_json::Error) -> u64 {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let before: usize = lines.map(str::len).sum();
    (before + error.column().saturating_sub(1)) as u64
}
