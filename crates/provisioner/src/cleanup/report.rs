//! The report of a clean-up.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::config::{Entry, Loaded};
use crate::domain::ids::KeyName;
use crate::domain::shown::shown;

/// The report of a clean-up: what was removed, and what is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CleanupReport {
    /// The version of this format; 1.
    pub version: u32,
    /// How it ended.
    pub outcome: CleanupOutcome,
    /// The report on each key-name.
    pub key_names: Vec<TargetReport>,
    /// The configuration file, if the key-names were removed from it.
    pub removed_from: Option<PathBuf>,
    /// Why they could not be removed from it, if so.
    pub config_problem: Option<String>,
    /// The keys that still name removed key-names, since only one file is edited.
    pub still_named: Vec<StillNamed>,
}

/// A key of the configuration that names a removed key-name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StillNamed {
    /// The dotted key.
    pub key: String,
    /// The file and line, or the environment variable.
    pub place: String,
}

/// How a clean-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CleanupOutcome {
    /// Nothing is left (exit code 0).
    Done,
    /// Something was removed, and something is left (exit code 4).
    Partly,
    /// Nothing was removed, and something is left (exit code 1).
    Failed,
}

/// The report on one key-name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetReport {
    /// The key-name.
    pub key_name: KeyName,
    /// Its region.
    pub region: String,
    /// The number of unanswered launching calls whose result is now known.
    pub settled_intents: usize,
    /// The spot requests that were cancelled.
    pub cancelled: Vec<String>,
    /// The instances that were terminated.
    pub terminated: Vec<String>,
    /// What else was deleted, for people.
    pub deleted: Vec<String>,
    /// What was kept because it is not ours, for people.
    pub kept: Vec<String>,
    /// What could not be checked and need not be, for people.
    pub notes: Vec<String>,
    /// What is left.
    pub left: Vec<Leftover>,
    /// Whether no instance profile of this name exists, or exists any more.
    #[serde(skip)]
    pub profile_is_gone: bool,
}

/// Something that is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// The resource, with its id.
    pub what: String,
    /// The reason.
    pub why: String,
}

impl TargetReport {
    pub(super) fn new(key_name: KeyName, region: String) -> Self {
        Self {
            key_name,
            region,
            settled_intents: 0,
            cancelled: Vec::new(),
            terminated: Vec::new(),
            deleted: Vec::new(),
            kept: Vec::new(),
            notes: Vec::new(),
            left: Vec::new(),
            profile_is_gone: false,
        }
    }

    pub(super) fn leave(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.left.push(Leftover { what: what.into(), why: why.into() });
    }

    /// Returns whether nothing is left.
    pub fn is_clean(&self) -> bool {
        self.left.is_empty()
    }

    fn did_something(&self) -> bool {
        self.settled_intents > 0
            || !self.cancelled.is_empty()
            || !self.terminated.is_empty()
            || !self.deleted.is_empty()
    }
}

impl CleanupReport {
    pub(super) fn new(
        key_names: Vec<TargetReport>,
        removed_from: Option<PathBuf>,
        config_problem: Option<String>,
    ) -> Self {
        let clean = config_problem.is_none() && key_names.iter().all(TargetReport::is_clean);
        let outcome = if clean {
            CleanupOutcome::Done
        } else if key_names.iter().any(TargetReport::did_something) {
            CleanupOutcome::Partly
        } else {
            CleanupOutcome::Failed
        };
        let still_named = Vec::new();
        Self { version: 1, outcome, key_names, removed_from, config_problem, still_named }
    }

    /// Notes where `loaded`, the present configuration, still names removed key-names.
    pub fn note_still_named(&mut self, loaded: &Loaded) {
        if self.outcome != CleanupOutcome::Done {
            return;
        }
        let names = |entry: &&Entry| {
            let is_key_name = entry.key == "provisioner.key-name"
                || entry.key.starts_with("provisioner.retired[")
                    && entry.key.ends_with("].key-name");
            is_key_name
                && self.key_names.iter().any(|target| entry.value == target.key_name.as_str())
        };
        let still_named =
            |entry: &Entry| StillNamed { key: entry.key.clone(), place: entry.origin.to_string() };
        self.still_named = loaded.entries.iter().filter(names).map(still_named).collect();
    }
}

impl fmt::Display for CleanupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in &self.key_names {
            write_target(f, report)?;
        }
        if let Some(file) = &self.removed_from {
            writeln!(f, "Removed from {}: the key-name and what belongs to it.", file.display())?;
        }
        for StillNamed { key, place } in &self.still_named {
            writeln!(f, "Still in {place}: {key}. Take it out there, and what belongs to it.")?;
        }
        if let Some(problem) = &self.config_problem {
            writeln!(f, "The configuration file still names what is gone: {problem}")?;
        }
        if self.outcome != CleanupOutcome::Done {
            writeln!(f, "The configuration is unchanged; it is safe to run this again.")?;
        }
        Ok(())
    }
}

fn write_target(f: &mut fmt::Formatter<'_>, report: &TargetReport) -> fmt::Result {
    let TargetReport {
        key_name,
        region,
        settled_intents,
        cancelled,
        terminated,
        deleted,
        kept,
        notes,
        left,
        profile_is_gone: _,
    } = report;
    writeln!(f, "{key_name} in {region}:")?;
    for (verb, n, what) in [
        ("settled", *settled_intents, "unanswered launching call"),
        ("cancelled", cancelled.len(), "spot request"),
        ("terminated", terminated.len(), "instance"),
    ] {
        if n > 0 {
            writeln!(f, "  {verb} {n} {what}{}", if n == 1 { "" } else { "s" })?;
        }
    }
    for what in deleted {
        writeln!(f, "  deleted {}", shown(what))?;
    }
    for what in kept {
        writeln!(f, "  kept {}", shown(what))?;
    }
    for note in notes {
        writeln!(f, "  note: {}", shown(note))?;
    }
    for Leftover { what, why } in left {
        writeln!(f, "  left: {}: {}", shown(what), shown(why))?;
    }
    if left.is_empty() {
        writeln!(f, "  nothing is left")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> TargetReport {
        TargetReport::new(KeyName::from("k"), "us-west-2".to_owned())
    }

    #[test]
    fn the_outcome_is_done_partly_or_failed() {
        let outcome = |targets| CleanupReport::new(targets, None, None).outcome;
        assert_eq!(outcome(vec![]), CleanupOutcome::Done);
        assert_eq!(outcome(vec![target()]), CleanupOutcome::Done);

        let mut left = target();
        left.leave("instance i-1", "protected");
        assert_eq!(outcome(vec![left.clone()]), CleanupOutcome::Failed);
        left.terminated.push("i-2".to_owned());
        assert_eq!(outcome(vec![target(), left]), CleanupOutcome::Partly);
    }

    #[test]
    fn what_is_left_is_reported_with_its_reason() {
        let mut left = target();
        left.cancelled.push("sir-1".to_owned());
        left.leave("instance i-1", "it is protected from termination");
        assert_eq!(
            CleanupReport::new(vec![left], None, None).to_string(),
            "k in us-west-2:\n  cancelled 1 spot request\n  left: instance i-1: it is protected from \
             termination\nThe configuration is unchanged; it is safe to run this again.\n"
        );
    }
}
