//! The keys there are: what the reader says of each as it asks for it.

use std::fmt;

use serde_json::Value as Json;

/// A key of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Dotted, from the top. `NAME` stands for the name of a worker type, `[]` for each element of an
    /// array.
    pub path: String,
    /// What it takes.
    pub kind: Kind,
    /// As the configuration spells it (durations `"15m"`). `None`: unset, or `required`.
    pub default: Option<Json>,
    /// Whether the table it stands in is refused without it.
    pub required: bool,
    /// One sentence, without its full stop.
    pub meaning: &'static str,
}

impl Key {
    /// The environment variable that sets it; a table, as TOML. `None` where there is none: for the
    /// sections, for elements of arrays, and for keys with capitals, which a variable's name cannot
    /// tell from small letters. What has none can be set as part of its table.
    pub fn variable(&self) -> Option<String> {
        let name = self.path.replace(".NAME.", ".name.");
        let settable =
            name.contains('.') && !name.contains("[]") && !name.chars().any(char::is_uppercase);
        let variable = || format!("PROVISIONER__{}", name.replace('.', "__").replace('-', "_"));
        settable.then(|| variable().to_uppercase())
    }
}

/// What a key takes, and in which unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text, or one that has to pass a check.
    Text,
    /// A path. A relative one starts at the file it stands in.
    Path,
    /// True or false.
    Boolean,
    /// An integer.
    WholeNumber,
    /// A length of time, such as `"15m"`.
    Duration,
    /// A price: USD per instance-hour, or per hour.
    UsdPerHour,
    /// USD.
    Usd,
    /// One of these, as TOML spells them.
    OneOf(Vec<String>),
    /// An array of texts.
    Texts,
    /// A table, or one with free keys.
    Table,
    /// An array of tables.
    Tables,
}

impl fmt::Display for Kind {
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
