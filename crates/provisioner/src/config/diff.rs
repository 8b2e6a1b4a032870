//! The differences between two configurations.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Entry;

/// A key whose value differs. Entries leave out secrets, so there are no secrets in here.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Dotted, as in TOML.
    pub key: String,
    /// The value before; `None` if the key was absent.
    pub before: Option<Json>,
    /// The value now; `None` if the key is absent.
    pub now: Option<Json>,
}

/// Returns the differences, sorted by key. The origin of values does not matter.
pub fn diff(before: &[Entry], now: &[Entry]) -> Vec<Change> {
    let by_key = |entries: &'_ [Entry]| -> BTreeMap<String, Json> {
        entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    };
    let mut before = by_key(before);
    let mut changes = Vec::new();
    for (key, value) in by_key(now) {
        let old = before.remove(&key);
        if old.as_ref() != Some(&value) {
            changes.push(Change { key, before: old, now: Some(value) });
        }
    }
    let gone = |(key, value)| Change { key, before: Some(value), now: None };
    changes.extend(before.into_iter().map(gone));
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, before, now } = self;
        match (before, now) {
            (None | Some(Json::Null), Some(now)) => write!(f, "{key} = {now}"),
            (Some(before), None | Some(Json::Null)) => write!(f, "{key} = {before} is gone"),
            (Some(before), Some(now)) => write!(f, "{key} = {now}, was {before}"),
            (None, None) => f.write_str(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn entries(text: &str) -> Vec<Entry> {
        config::parse(text, Path::new("/")).unwrap().entries
    }

    #[test]
    fn changes_are_described_by_key() {
        let linux =
            "[worker-types.linux]\nimage-id = \"ami-0\"\ninstance-types = [\"c7g.large\"]\n";
        let before = entries(&format!("{linux}max-instances = 10\nmax-price = 0.1"));
        let now = entries(&format!("[limits]\nmax-instances = 5\n{linux}max-instances = 20"));
        let described =
            |before, now| diff(before, now).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            described(&before, &now),
            [
                "limits.max-instances = 5, was 0",
                "worker-types.linux.max-instances = 20, was 10",
                "worker-types.linux.max-price = 0.1 is gone",
            ]
        );
        assert!(diff(&now, &now).is_empty());
        assert!(diff(&now, &[]).iter().all(|change| change.now.is_none()));
    }
}
