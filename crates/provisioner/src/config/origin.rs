//! The origin of a value, and what refers to it: entries, warnings and problems.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::key::KeyKind;

/// The origin of a value. Origins are ordered as the layers are read, then by position in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A configuration file.
    File {
        /// The path, relative to the current directory if the file is beneath it.
        path: Arc<Path>,
        /// The line, from 1; `None` means the file as a whole.
        line: Option<usize>,
        /// The column, from 1 and in characters. It is set only for broken TOML, where there is no key.
        column: Option<usize>,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The command line.
    Flag {
        /// The flag as the user writes it (`--region`).
        flag: String,
    },
    /// The key is not set.
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
    /// The dotted key.
    pub key: String,
    /// The kind of value that the key takes.
    pub kind: KeyKind,
    /// The value as the configuration spells it (durations `"15m"`), or null if it is unset. Secrets are
    /// left out.
    pub value: serde_json::Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// Something the user should know that does not stop the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What is wrong, with the name of the file.
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
pub struct ConfigProblem {
    /// Where the problem is.
    pub origin: Origin,
    /// The dotted key as written; empty if the problem is not about a key.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// How to fix it; may be empty.
    pub hint: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, message, hint } = self;
        write!(f, "{origin}: ")?;
        if !key.is_empty() {
            write!(f, "{key}: ")?;
        }
        // Messages quote values, but a problem has to stay on one line.
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
    /// The problems, ordered by origin; never empty.
    pub problems: Vec<ConfigProblem>,
    /// The warnings. A file that was skipped may be the reason for a missing key.
    pub warnings: Vec<Warning>,
}

fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ConfigProblem::to_string).collect::<Vec<_>>().join("\n")
}

impl ConfigError {
    /// Sorts the problems and removes duplicates: a mistake in `[worker-defaults]` is found once per worker
    /// type.
    pub(super) fn new(mut problems: Vec<ConfigProblem>, warnings: Vec<Warning>) -> Self {
        problems.sort();
        problems.dedup();
        Self { problems, warnings }
    }
}
