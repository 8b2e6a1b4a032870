//! One response of the queue, read while it arrives.

use serde::de::IgnoredAny;

use super::json_array::{ArraySplitter, RawElement, ResponseError, position};
use super::task::{NoWorkerType, Task};

/// One element of a response, as far as it could be read.
#[derive(Debug, PartialEq)]
pub(super) enum ResponseElement<'a> {
    /// A task, and its text.
    Task(Task<'a>, &'a str),
    /// An object without a worker type, and its text.
    NoWorkerType(NoWorkerType<'a>, &'a str),
    /// JSON that is no object.
    NoObject(&'a str),
    /// An element over [`MAX_ELEMENT`], which was not read.
    Oversized,
}

/// Takes in the elements of a response, one by one.
pub(super) trait TaskSink {
    fn accept(&mut self, element: ResponseElement<'_>);
}

/// A response on its way into a [`TaskSink`].
#[derive(Debug)]
pub(super) struct TaskResponse<'p, T> {
    splitter: ArraySplitter,
    pointer: &'p [String],
    sink: T,
}

/// The longest element that is held and read, in bytes. A task takes a few hundred.
pub(super) const MAX_ELEMENT: usize = 1 << 20;

impl<'p, T: TaskSink> TaskResponse<'p, T> {
    pub(super) fn new(pointer: &'p [String], sink: T) -> Self {
        Self { splitter: ArraySplitter::new(MAX_ELEMENT), pointer, sink }
    }

    pub(super) fn feed(&mut self, chunk: &[u8]) -> Result<(), ResponseError> {
        let Self { splitter, pointer, sink } = self;
        splitter.feed(chunk, |element| {
            let element = match element {
                RawElement::Complete { text, at } => read(text, at, pointer)?,
                RawElement::Oversized => ResponseElement::Oversized,
            };
            sink.accept(element);
            Ok(())
        })
    }

    pub(super) fn finish(self) -> Result<T, ResponseError> {
        self.splitter.finish()?;
        Ok(self.sink)
    }
}

/// Reads the element `text`, which starts at byte `at` of the response.
fn read<'a>(
    text: &'a [u8],
    at: u64,
    pointer: &[String],
) -> Result<ResponseElement<'a>, ResponseError> {
    // Checked here because serde_json does not validate strings that it skips.
    let text = std::str::from_utf8(text).map_err(|error| ResponseError::Syntax {
        at: at + error.valid_up_to() as u64,
        source: error.into(),
    })?;
    match Task::read(text, pointer) {
        Ok(Ok(task)) => return Ok(ResponseElement::Task(task, text)),
        Ok(Err(task)) => return Ok(ResponseElement::NoWorkerType(task, text)),
        Err(_) => {}
    }
    // Is it not an object, or not JSON? Skipping a value checks nothing but the grammar.
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(IgnoredAny) => Ok(ResponseElement::NoObject(text)),
        Err(error) if error.is_eof() => Err(ResponseError::syntax(
            at + text.len() as u64,
            "the value is not complete".to_owned(),
        )),
        Err(error) => {
            let at = at + position(text, &error);
            // The rest of the message is the position within the element.
            let message = error.to_string();
            let what = message.split(" at line ").next().unwrap_or_default();
            Err(ResponseError::syntax(at, what.to_owned()))
        }
    }
}
