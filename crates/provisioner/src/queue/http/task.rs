//! Reads one task: the few fields that are used.
//!
//! The visitors are written by hand because most of a task is payload that need not be kept, and because
//! the path to the worker type is configured.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

/// The fields that are used. Text borrows from the response where it has no escapes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Task<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) worker_type: Cow<'a, str>,
    pub(super) created: Option<Timestamp>,
    pub(super) provisioner_id: Option<Cow<'a, str>>,
    pub(super) worker_id: Option<Cow<'a, str>>,
    pub(super) started: Option<Timestamp>,
    /// The optional fields that are of another type than expected, with their values as they were written.
    /// They count as absent.
    pub(super) unread: Vec<(&'static str, &'a str)>,
}

/// An object without the text that names its worker type.
#[derive(Debug, PartialEq)]
pub(super) struct NoWorkerType<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    /// The value at the first segment of the path, as it was written; `None` if there is none.
    pub(super) found: Option<&'a str>,
}

impl<'a> Task<'a> {
    /// Reads one element of the response, with the worker type at `pointer`. An error means that the element
    /// is no object, or is not JSON.
    pub(super) fn read(
        text: &'a str,
        pointer: &[String],
    ) -> serde_json::Result<Result<Self, NoWorkerType<'a>>> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let task = TaskSeed { pointer }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(task)
    }

    /// Takes the value of an optional field. Of a repeated one the last value counts, as in every common
    /// parser.
    fn take(&mut self, field: Field, value: &'a str) {
        let read = match field {
            Field::TaskId => set(&mut self.id, identifier(value)),
            Field::ProvisionerId => set(&mut self.provisioner_id, text_at(value, &[])),
            Field::WorkerId => set(&mut self.worker_id, text_at(value, &[])),
            Field::Created => set(&mut self.created, time(value)),
            Field::Started => set(&mut self.started, time(value)),
            // No policy uses them yet, but a queue's author wants to know.
            Field::ExpectedDuration | Field::Priority => number(value).is_some(),
            Field::Other => true,
        };
        // Null is another way to be absent.
        if !read && value != "null" {
            self.unread.push((field.as_str(), value));
        }
    }
}

/// Sets `field` to what was read, and returns whether there is anything.
fn set<T>(field: &mut Option<T>, read: Option<T>) -> bool {
    *field = read;
    field.is_some()
}

/// Reads the text at `path` below a value.
fn text_at<'a>(value: &'a str, path: &[String]) -> Option<Cow<'a, str>> {
    TextAt(path).deserialize(&mut serde_json::Deserializer::from_str(value)).ok().flatten()
}

/// Reads a text or a number, which many queues have as the identifiers of tasks.
fn identifier(value: &str) -> Option<Cow<'_, str>> {
    number(value).map(|_| Cow::Borrowed(value)).or_else(|| text_at(value, &[]))
}

fn number(value: &str) -> Option<f64> {
    serde_json::from_str(value).ok()
}

/// Reads RFC 3339, or a number of seconds or milliseconds since 1970.
fn time(value: &str) -> Option<Timestamp> {
    match number(value) {
        Some(since_1970) => epoch(since_1970),
        None => rfc3339(&text_at(value, &[])?),
    }
}

/// From this number on, a time is in milliseconds: as seconds it would lie after the year 5000, and as
/// milliseconds before it, it would lie before 1974.
const MILLISECONDS_FROM: f64 = 1e11;

/// Above this number it is neither: microseconds or nanoseconds.
const NEITHER_FROM: f64 = 1e14;

fn epoch(since_1970: f64) -> Option<Timestamp> {
    if !(0.0..NEITHER_FROM).contains(&since_1970) {
        return None;
    }
    let seconds = if since_1970 < MILLISECONDS_FROM { since_1970 } else { since_1970 / 1_000.0 };
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    Timestamp::UNIX_EPOCH.checked_add(since).ok()
}

struct TaskSeed<'p> {
    pointer: &'p [String],
}

impl<'de> DeserializeSeed<'de> for TaskSeed<'_> {
    type Value = Result<Task<'de>, NoWorkerType<'de>>;

    fn deserialize<D: serde::Deserializer<'de>>(self, de: D) -> Result<Self::Value, D::Error> {
        de.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TaskSeed<'_> {
    type Value = Result<Task<'de>, NoWorkerType<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a task")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut task = Task::default();
        let mut worker_type = None;
        let mut found = None;
        while let Some(Key { field, on_path }) = map.next_key_seed(KeySeed(self.pointer))? {
            if !on_path && matches!(field, Field::Other) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<&RawValue>()?.get();
            if on_path {
                worker_type = text_at(value, &self.pointer[1..]);
                found = Some(value);
                // The configured path has precedence over the field's own meaning. If the path is the field
                // itself, both are read from the same text.
                if self.pointer.len() > 1 {
                    continue;
                }
            }
            task.take(field, value);
        }
        Ok(match worker_type {
            Some(worker_type) => Ok(Task { worker_type, ..task }),
            None => Err(NoWorkerType { id: task.id, found }),
        })
    }
}

struct Key {
    field: Field,
    /// Whether it is the first segment of the path to the worker type.
    on_path: bool,
}

#[derive(Clone, Copy)]
enum Field {
    TaskId,
    ProvisionerId,
    WorkerId,
    Created,
    Started,
    ExpectedDuration,
    Priority,
    Other,
}

impl Field {
    fn as_str(self) -> &'static str {
        match self {
            Self::TaskId => "taskId",
            Self::ProvisionerId => "provisionerId",
            Self::WorkerId => "workerId",
            Self::Created => "created",
            Self::Started => "started",
            Self::ExpectedDuration => "expectedDuration",
            Self::Priority => "priority",
            Self::Other => "",
        }
    }
}

struct KeySeed<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: serde::Deserializer<'de>>(self, de: D) -> Result<Key, D::Error> {
        de.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
        let field = match key {
            "taskId" => Field::TaskId,
            "provisionerId" => Field::ProvisionerId,
            "workerId" => Field::WorkerId,
            "created" => Field::Created,
            "started" => Field::Started,
            "expectedDuration" => Field::ExpectedDuration,
            "priority" => Field::Priority,
            _ => Field::Other,
        };
        let on_path = self.0.first().is_some_and(|segment| segment == key);
        Ok(Key { field, on_path })
    }
}

/// Reads the text at a JSON pointer below a value. Returns `None` if it is missing or null.
struct TextAt<'p>(&'p [String]);

impl TextAt<'_> {
    fn scalar<T, E: Error>(&self, found: Unexpected<'_>) -> Result<Option<T>, E> {
        // A scalar before the end of the path means that the text is missing.
        if self.0.is_empty() { Err(E::invalid_type(found, self)) } else { Ok(None) }
    }
}

impl<'de> DeserializeSeed<'de> for TextAt<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: serde::Deserializer<'de>>(self, de: D) -> Result<Self::Value, D::Error> {
        de.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextAt<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(self.0.is_empty().then_some(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.is_empty().then(|| Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.scalar(Unexpected::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.scalar(Unexpected::Signed(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.scalar(Unexpected::Unsigned(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.scalar(Unexpected::Float(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((segment, rest)) = self.0.split_first() else {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        };
        let mut found = None;
        while let Some(matches) = map.next_key_seed(KeyEquals(segment))? {
            if matches {
                found = map.next_value_seed(TextAt(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let Some((segment, rest)) = self.0.split_first() else {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        };
        let mut found = None;
        if let Some(index) = array_index(segment) {
            for _ in 0..index {
                if seq.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(None);
                }
            }
            found = seq.next_element_seed(TextAt(rest))?.flatten();
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

/// Parses an array index, which is digits without a leading zero (RFC 6901, section 4).
fn array_index(segment: &str) -> Option<usize> {
    let plain = segment == "0" || !segment.starts_with('0');
    (plain && segment.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| segment.parse().ok())
        .flatten()
}

/// Reads whether a key is this one.
struct KeyEquals<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for KeyEquals<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, de: D) -> Result<bool, D::Error> {
        de.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeyEquals<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// Parses `YYYY-MM-DDThh:mm:ss[.fraction](Z|±hh:mm)`. jiff alone would accept more: dates without
/// separators or seconds, and zone names in brackets.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let separated = bytes.len() >= 20
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ')
        && bytes[13] == b':'
        && bytes[16] == b':';
    let zoned = matches!(bytes, [.., b'Z' | b'z'] | [.., b'+' | b'-', _, _, b':', _, _]);
    if separated && zoned { text.parse().ok() } else { None }
}
