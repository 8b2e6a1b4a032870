//! Names and aliases of worker types: each value of the pointer has to mean one worker type.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::section::Section;

/// The names and aliases in use so far.
#[derive(Debug)]
pub(super) struct Names {
    worker_types: BTreeSet<String>,
    aliases: BTreeMap<String, String>,
}

impl Names {
    /// Starts with the names of all worker types.
    pub(super) fn new(worker_types: BTreeSet<String>) -> Self {
        Self { worker_types, aliases: BTreeMap::new() }
    }

    /// Reports aliases of a worker type that already mean another one.
    pub(super) fn check_aliases(&mut self, name: &str, aliases: &[String], section: &Section<'_>) {
        let hint = "an alias means one worker type";
        for alias in aliases {
            if alias != name && self.worker_types.contains(alias) {
                let message = format!("`{alias}` is the name of another worker type");
                section.problem("aliases", message, hint);
            }
            if let Some(other) = self.aliases.insert(alias.clone(), name.to_owned()) {
                let message = if other == name {
                    format!("`{alias}` is listed twice")
                } else {
                    format!("`{alias}` is an alias of `{other}` and of `{name}`")
                };
                section.problem("aliases", message, hint);
            }
        }
    }
}
