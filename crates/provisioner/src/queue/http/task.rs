//! Reads one task: the few fields that are used.
//!
//! The visitors are written by hand because most of a task is payload that need not be kept, and because
//! the path to the worker type is configured.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

/// The fields that are used. Text borrows from the response where it has no escapes.
#[derive(Debug, PartialEq)]
pub(super) struct Task<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) worker_type: Cow<'a, str>,
    pub(super) created: Option<Timestamp>,
    pub(super) provisioner_id: Option<Cow<'a, str>>,
    pub(super) worker_id: Option<Cow<'a, str>>,
    pub(super) started: Option<Timestamp>,
}

impl<'a> Task<'a> {
    /// Reads one element of the response, with the worker type at `pointer`.
    pub(super) fn read(text: &'a str, pointer: &[String]) -> serde_json::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let task = TaskSeed { pointer }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(task)
    }
}

struct TaskSeed<'p> {
    pointer: &'p [String],
}

impl<'de> DeserializeSeed<'de> for TaskSeed<'_> {
    type Value = Task<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, de: D) -> Result<Self::Value, D::Error> {
        de.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TaskSeed<'_> {
    type Value = Task<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a task")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut worker_type = None;
        let mut id = None;
        let mut created = None;
        let mut provisioner_id = None;
        let mut worker_id = None;
        let mut started = None;
        // Of a repeated key the last value counts, as in every common parser.
        while let Some(Key { field, on_path }) = map.next_key_seed(KeySeed(self.pointer))? {
            if on_path {
                // The configured path has precedence over the field's own meaning. If the path is the field
                // itself, both are read from the same text.
                worker_type = map.next_value_seed(TextAt(&self.pointer[1..]))?;
                if self.pointer.len() > 1 {
                    continue;
                }
                let text: Option<Cow<'de, str>> = worker_type.clone();
                match field {
                    Field::TaskId => id = text,
                    Field::ProvisionerId => provisioner_id = text,
                    Field::WorkerId => worker_id = text,
                    Field::Created => created = timestamp(text.as_deref())?,
                    Field::Started => started = timestamp(text.as_deref())?,
                    Field::Number | Field::Other => {}
                }
                continue;
            }
            match field {
                Field::TaskId => id = map.next_value_seed(TextAt(&[]))?,
                Field::ProvisionerId => provisioner_id = map.next_value_seed(TextAt(&[]))?,
                Field::WorkerId => worker_id = map.next_value_seed(TextAt(&[]))?,
                Field::Created => {
                    created = timestamp(map.next_value_seed(TextAt(&[]))?.as_deref())?;
                }
                Field::Started => {
                    started = timestamp(map.next_value_seed(TextAt(&[]))?.as_deref())?;
                }
                Field::Number => {
                    map.next_value::<Option<f64>>()?;
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let worker_type = worker_type.ok_or_else(|| A::Error::custom("no worker type"))?;
        Ok(Task { id, worker_type, created, provisioner_id, worker_id, started })
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
    /// `expectedDuration` and `priority`. No policy uses them yet, but their type is checked.
    Number,
    Other,
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
            "expectedDuration" | "priority" => Field::Number,
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

fn timestamp<E: Error>(text: Option<&str>) -> Result<Option<Timestamp>, E> {
    text.map(|text| rfc3339(text).ok_or_else(|| E::custom("not an RFC 3339 time"))).transpose()
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
