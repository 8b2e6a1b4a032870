//! The types that a key can have: how each is read from TOML or raw text, and how it is shown.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::key::KeyKind;
use super::tree::NodeValue;
use crate::domain::duration;
use crate::domain::money::{Usd, UsdPerHour};

/// Why a value was rejected, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) message: String,
    pub(super) hint: String,
}

impl Rejection {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    /// Names the expected and the actual kind of value, but not the value, which may be a secret.
    pub(super) fn kind(wanted: &str, found: &NodeValue) -> Self {
        Self::new(format!("expected {wanted}, found {}", found.kind()), "")
    }
}

/// Refuses white space around a name or an id: to EC2 it is another name.
pub(super) fn tight(text: &str) -> Result<&str, Rejection> {
    let inside = text.trim();
    if inside == text {
        return Ok(text);
    }
    Err(Rejection::new(
        format!("`{text}` has white space around it"),
        format!("write \"{inside}\""),
    ))
}

/// A type that a key can have.
pub(super) trait Setting: Sized {
    /// Returns its kind, as shown to users.
    fn kind() -> KeyKind;

    /// Reads a value.
    fn read(value: &NodeValue) -> Result<Self, Rejection>;

    /// Returns the value as the configuration spells it.
    fn show(&self) -> Json;
}

impl Setting for String {
    fn kind() -> KeyKind {
        KeyKind::Text
    }

    fn read(value: &NodeValue) -> Result<Self, Rejection> {
        match value {
            NodeValue::String(text) | NodeValue::Raw(text) => Ok(text.clone()),
            _ => Err(Rejection {
                hint: "put it in quotes".to_owned(),
                ..Rejection::kind("a string", value)
            }),
        }
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Setting for bool {
    fn kind() -> KeyKind {
        KeyKind::Boolean
    }

    fn read(value: &NodeValue) -> Result<Self, Rejection> {
        match value {
            NodeValue::Boolean(boolean) => Ok(*boolean),
            NodeValue::Raw(text) => {
                text.trim().parse().map_err(|_| Rejection::new("expected true or false", ""))
            }
            _ => Err(Rejection::kind("true or false", value)),
        }
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

fn integer(value: &NodeValue) -> Result<i128, Rejection> {
    match value {
        NodeValue::Integer(integer) => Ok(*integer),
        NodeValue::Raw(text) => text
            .trim()
            .parse()
            .map_err(|_| Rejection::new(format!("`{text}` is not a whole number"), "")),
        _ => Err(Rejection::kind("a whole number", value)),
    }
}

macro_rules! integer_setting {
    ($($target:ty),*) => {$(
        impl Setting for $target {
            fn kind() -> KeyKind {
                KeyKind::WholeNumber
            }

            fn read(value: &NodeValue) -> Result<Self, Rejection> {
                let integer = integer(value)?;
                Self::try_from(integer).map_err(|_| {
                    let range = format!("{} to {}", Self::MIN, Self::MAX);
                    Rejection::new(format!("{integer} is out of range"), range)
                })
            }

            fn show(&self) -> Json {
                json!(self)
            }
        }
    )*};
}

integer_setting!(u16, u32, u64, i32);

fn dollars(value: &NodeValue) -> Result<f64, Rejection> {
    match value {
        NodeValue::Float(float) => Ok(*float),
        #[expect(clippy::cast_precision_loss, reason = "the range is checked afterwards")]
        NodeValue::Integer(integer) => Ok(*integer as f64),
        NodeValue::Raw(text) => text
            .trim()
            .parse()
            .map_err(|_| Rejection::new(format!("`{text}` is not a number"), "USD, such as 0.10")),
        _ => Err(Rejection {
            hint: "USD as a number, such as 0.10".to_owned(),
            ..Rejection::kind("a number", value)
        }),
    }
}

impl Setting for UsdPerHour {
    fn kind() -> KeyKind {
        KeyKind::UsdPerHour
    }

    fn read(value: &NodeValue) -> Result<Self, Rejection> {
        Self::from_dollars(dollars(value)?).map_err(|error| Rejection::new(error.to_string(), ""))
    }

    fn show(&self) -> Json {
        json!(self.dollars())
    }
}

impl Setting for Usd {
    fn kind() -> KeyKind {
        KeyKind::Usd
    }

    fn read(value: &NodeValue) -> Result<Self, Rejection> {
        Self::from_dollars(dollars(value)?).map_err(|error| Rejection::new(error.to_string(), ""))
    }

    fn show(&self) -> Json {
        json!(self.dollars())
    }
}

impl Setting for Duration {
    fn kind() -> KeyKind {
        KeyKind::Duration
    }

    fn read(value: &NodeValue) -> Result<Self, Rejection> {
        const HINT: &str = "a number and a unit, such as \"45s\", \"15m\", \"1h30m\", or \"7d\"";
        let (NodeValue::String(text) | NodeValue::Raw(text)) = value else {
            return Err(Rejection {
                hint: HINT.to_owned(),
                ..Rejection::kind("a duration", value)
            });
        };
        duration::parse(text).map_err(|error| Rejection::new(error.to_string(), HINT))
    }

    fn show(&self) -> Json {
        json!(duration::format(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw<T: Setting>(text: &str) -> Result<T, String> {
        T::read(&NodeValue::Raw(text.to_owned())).map_err(|rejection| rejection.message)
    }

    #[test]
    fn raw_text_is_read_as_the_type_wanted() {
        assert_eq!(raw::<String>("12"), Ok("12".to_owned()));
        assert_eq!(raw::<u16>("12"), Ok(12));
        assert_eq!(raw::<bool>("true"), Ok(true));
        assert_eq!(raw::<Duration>("1m"), Ok(Duration::from_mins(1)));
        assert_eq!(raw::<UsdPerHour>("0.1"), Ok(UsdPerHour::from_micros(100_000)));
        assert_eq!(raw::<u16>("a"), Err("`a` is not a whole number".to_owned()));
        assert_eq!(raw::<bool>("yes"), Err("expected true or false".to_owned()));
    }

    #[test]
    fn toml_values_are_not_bent() {
        assert!(String::read(&NodeValue::Integer(1)).is_err());
        assert!(u64::read(&NodeValue::Float(1.0)).is_err());
        assert!(u64::read(&NodeValue::String("1".to_owned())).is_err());
        assert!(bool::read(&NodeValue::String("true".to_owned())).is_err());
        assert!(Duration::read(&NodeValue::Integer(10)).is_err());
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert!(u16::read(&NodeValue::Integer(65_536)).is_err());
        assert!(u64::read(&NodeValue::Integer(-1)).is_err());
        assert!(i32::read(&NodeValue::Integer(i128::MAX)).is_err());
        assert!(Usd::read(&NodeValue::Float(-0.01)).is_err());
        assert!(Usd::read(&NodeValue::Float(f64::NAN)).is_err());
        assert_eq!(
            Usd::read(&NodeValue::Integer(2)),
            Usd::from_dollars(2.0).map_err(|_| unreachable!())
        );
    }
}
