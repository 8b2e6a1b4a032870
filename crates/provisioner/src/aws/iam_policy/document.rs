//! The policy document, as IAM takes it (IAM User Guide, "IAM JSON policy element reference").

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// A policy document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Document {
    /// Of the policy language.
    pub version: &'static str,
    /// What is allowed. Nothing is denied: what no statement allows is denied anyway.
    pub statement: Vec<Statement>,
}

/// Something allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    /// Its name.
    pub sid: &'static str,
    /// `Allow`.
    pub effect: &'static str,
    /// The actions.
    pub action: Values,
    /// On what.
    pub resource: Values,
    /// All of them must hold: operator, then key, then values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub condition: BTreeMap<String, BTreeMap<String, Values>>,
}

/// Values of which one must match. One alone is written without brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(pub Vec<String>);

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<T: Into<String>> FromIterator<T> for Values {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(values.into_iter().map(Into::into).collect())
    }
}

impl Document {
    /// The characters that a managed policy may have (IAM User Guide, "IAM and AWS STS quotas").
    pub const MANAGED_LIMIT: usize = 6144;

    pub(super) fn new(statement: Vec<Statement>) -> Self {
        Self { version: "2012-10-17", statement }
    }

    /// The document as text, for people to read and IAM to take.
    pub fn to_text(&self) -> String {
        // Strings and maps with text for keys can always be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// How many characters IAM counts: all but white space.
    pub fn size(&self) -> usize {
        self.to_text().chars().filter(|c| !c.is_whitespace()).count()
    }
}
