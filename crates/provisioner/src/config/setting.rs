//! The plain types a key can have: how each is read from TOML or raw text, and shown.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::key::Kind;
use super::tree::Value;
use crate::domain::duration;
use crate::domain::money::{Usd, UsdPerHour};

/// Why a value was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) hint: String,
}

impl Refusal {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    /// Says what was wanted and what kind of value was there; not the value, which may be secret.
    pub(super) fn kind(wanted: &str, found: &Value) -> Self {
        Self::new(format!("expected {wanted}, found {}", found.kind()), "")
    }
}

/// A type a key can have.
pub(super) trait Setting: Sized {
    /// What it is called to users.
    fn kind() -> Kind;

    /// Reads it.
    fn read(value: &Value) -> Result<Self, Refusal>;

    /// Shows it as the configuration would spell it.
    fn show(&self) -> Json;
}

impl Setting for String {
    fn kind() -> Kind {
        Kind::Text
    }

    fn read(value: &Value) -> Result<Self, Refusal> {
        match value {
            Value::String(text) | Value::Raw(text) => Ok(text.clone()),
            _ => Err(Refusal {
                hint: "put it in quotes".to_owned(),
                ..Refusal::kind("a string", value)
            }),
        }
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Setting for bool {
    fn kind() -> Kind {
        Kind::Boolean
    }

    fn read(value: &Value) -> Result<Self, Refusal> {
        match value {
            Value::Boolean(boolean) => Ok(*boolean),
            Value::Raw(text) => {
                text.trim().parse().map_err(|_| Refusal::new("expected true or false", ""))
            }
            _ => Err(Refusal::kind("true or false", value)),
        }
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

fn integer(value: &Value) -> Result<i128, Refusal> {
    match value {
        Value::Integer(integer) => Ok(*integer),
        Value::Raw(text) => text
            .trim()
            .parse()
            .map_err(|_| Refusal::new(format!("`{text}` is not a whole number"), "")),
        _ => Err(Refusal::kind("a whole number", value)),
    }
}

macro_rules! integer_setting {
    ($($target:ty),*) => {$(
        impl Setting for $target {
            fn kind() -> Kind {
                Kind::WholeNumber
            }

            fn read(value: &Value) -> Result<Self, Refusal> {
                let integer = integer(value)?;
                Self::try_from(integer).map_err(|_| {
                    let range = format!("{} to {}", Self::MIN, Self::MAX);
                    Refusal::new(format!("{integer} is out of range"), range)
                })
            }

            fn show(&self) -> Json {
                json!(self)
            }
        }
    )*};
}

integer_setting!(u16, u32, u64, i32);

fn dollars(value: &Value) -> Result<f64, Refusal> {
    match value {
        Value::Float(float) => Ok(*float),
        #[expect(clippy::cast_precision_loss, reason = "the range is checked afterwards")]
        Value::Integer(integer) => Ok(*integer as f64),
        Value::Raw(text) => text
            .trim()
            .parse()
            .map_err(|_| Refusal::new(format!("`{text}` is not a number"), "USD, such as 0.10")),
        _ => Err(Refusal {
            hint: "USD as a number, such as 0.10".to_owned(),
            ..Refusal::kind("a number", value)
        }),
    }
}

impl Setting for UsdPerHour {
    fn kind() -> Kind {
        Kind::UsdPerHour
    }

    fn read(value: &Value) -> Result<Self, Refusal> {
        Self::from_dollars(dollars(value)?).map_err(|error| Refusal::new(error.to_string(), ""))
    }

    fn show(&self) -> Json {
        json!(self.dollars())
    }
}

impl Setting for Usd {
    fn kind() -> Kind {
        Kind::Usd
    }

    fn read(value: &Value) -> Result<Self, Refusal> {
        Self::from_dollars(dollars(value)?).map_err(|error| Refusal::new(error.to_string(), ""))
    }

    fn show(&self) -> Json {
        json!(self.dollars())
    }
}

impl Setting for Duration {
    fn kind() -> Kind {
        Kind::Duration
    }

    fn read(value: &Value) -> Result<Self, Refusal> {
        const HINT: &str = "a number and a unit, such as \"45s\", \"15m\", \"1h30m\", or \"7d\"";
        let (Value::String(text) | Value::Raw(text)) = value else {
            return Err(Refusal { hint: HINT.to_owned(), ..Refusal::kind("a duration", value) });
        };
        duration::parse(text).map_err(|error| Refusal::new(error.to_string(), HINT))
    }

    fn show(&self) -> Json {
        json!(duration::format(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw<T: Setting>(text: &str) -> Result<T, String> {
        T::read(&Value::Raw(text.to_owned())).map_err(|refusal| refusal.message)
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
        assert!(String::read(&Value::Integer(1)).is_err());
        assert!(u64::read(&Value::Float(1.0)).is_err());
        assert!(u64::read(&Value::String("1".to_owned())).is_err());
        assert!(bool::read(&Value::String("true".to_owned())).is_err());
        assert!(Duration::read(&Value::Integer(10)).is_err());
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert!(u16::read(&Value::Integer(65_536)).is_err());
        assert!(u64::read(&Value::Integer(-1)).is_err());
        assert!(i32::read(&Value::Integer(i128::MAX)).is_err());
        assert!(Usd::read(&Value::Float(-0.01)).is_err());
        assert!(Usd::read(&Value::Float(f64::NAN)).is_err());
        assert_eq!(
            Usd::read(&Value::Integer(2)),
            Usd::from_dollars(2.0).map_err(|_| unreachable!())
        );
    }
}
