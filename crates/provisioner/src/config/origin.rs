//! Where a value came from, and what can be said about it: entries, warnings, problems.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::key::Kind;

/// Where a value came from. Orders as the layers are read, then by place in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A configuration file.
    File {
        /// Relative to the current directory where it lies beneath it.
        path: Arc<Path>,
        /// From 1; `None` is the file as a whole.
        line: Option<usize>,
        /// From 1, in characters; only for broken TOML, where the key does not say the place.
        column: Option<usize>,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The command line.
    Flag {
        /// As the user writes it (`--region`).
        flag: String,
    },
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => {
                write!(f, "{}", path.display())?;
                for number in [line, column].into_iter().flatten() {
                    write!(f, ":{number}")?;
                }
                Ok(())
            }
            Self::Environment { variable } => f.write_str(variable),
            Self::Flag { flag } => f.write_str(flag),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One value in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Dotted, from the top.
    pub key: String,
    /// What the key takes.
    pub kind: Kind,
    /// As the configuration spells it (durations `"15m"`); null is unset. Secrets are left out.
    pub value: serde_json::Value,
    /// Where it came from.
    pub origin: Origin,
}

/// Something the user should know that does not stop the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What is the matter, naming the file.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, hint } = self;
        write!(f, "{message} ({hint})")
    }
}

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// The key as written, dotted; empty if it is about no key.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// The fix; may be empty.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, message, hint } = self;
        write!(f, "{origin}: ")?;
        if !key.is_empty() {
            write!(f, "{key}: ")?;
        }
        // Messages quote values, and one problem is one line.
        for c in message.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        if hint.is_empty() { Ok(()) } else { write!(f, " ({hint})") }
    }
}

/// Everything wrong with the configuration, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(problems))]
pub struct ConfigError {
    /// In order of place; never empty.
    pub problems: Vec<Problem>,
    /// Such as a file that was skipped: it may be why something is missing.
    pub warnings: Vec<Warning>,
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

impl ConfigError {
    /// Sorts the problems, each once: a mistake in `[worker-defaults]` is found per worker type.
    pub(super) fn new(mut problems: Vec<Problem>, warnings: Vec<Warning>) -> Self {
        problems.sort();
        problems.dedup();
        Self { problems, warnings }
    }
}
