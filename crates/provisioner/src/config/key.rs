//! The keys of the configuration, as the reader describes each when it asks for it.

use std::fmt;

use serde_json::Value as Json;

/// A key of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The dotted path. `NAME` stands for the name of a worker type, `[]` for each element of an array.
    pub path: String,
    /// The kind of value that it takes.
    pub kind: KeyKind,
    /// The default as the configuration spells it (durations `"15m"`); `None` if there is none.
    pub default: Option<Json>,
    /// Whether its table is refused without it.
    pub required: bool,
    /// What it means, in a sentence without a full stop.
    pub meaning: &'static str,
}

impl Key {
    /// Returns the environment variable that sets the key; the value of a table is written as TOML. Returns
    /// `None` for sections, for elements of arrays, and for keys with capitals, because the name of a
    /// variable does not distinguish them. These can be set as part of their table.
    pub fn variable(&self) -> Option<String> {
        let name = self.path.replace(".NAME.", ".name.");
        let settable =
            name.contains('.') && !name.contains("[]") && !name.chars().any(char::is_uppercase);
        let variable = || format!("PROVISIONER__{}", name.replace('.', "__").replace('-', "_"));
        settable.then(|| variable().to_uppercase())
    }
}

/// The kind of value that a key takes, with its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A text, possibly with rules of its own.
    Text,
    /// A path. A relative one starts at the file in which it is written.
    Path,
    /// True or false.
    Boolean,
    /// An integer.
    WholeNumber,
    /// A duration, such as `"15m"`.
    Duration,
    /// A price in USD per instance-hour, or per hour.
    UsdPerHour,
    /// An amount in USD.
    Usd,
    /// One of these values, as TOML spells them.
    OneOf(Vec<String>),
    /// An array of texts.
    Texts,
    /// A table, or one with free keys.
    Table,
    /// An array of tables.
    Tables,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Path => "path",
            Self::Boolean => "true or false",
            Self::WholeNumber => "whole number",
            Self::Duration => "duration",
            Self::UsdPerHour => "USD per hour",
            Self::Usd => "USD",
            Self::OneOf(words) => return f.write_str(&words.join(" or ")),
            Self::Texts => "array of texts",
            Self::Table => "table",
            Self::Tables => "array of tables",
        })
    }
}
