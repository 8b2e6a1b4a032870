//! The policy document that IAM takes (IAM User Guide, "IAM JSON policy element reference").

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// A policy document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyDocument {
    /// The version of the policy language.
    pub version: &'static str,
    /// The statements. All of them allow something; IAM denies everything else.
    pub statement: Vec<PolicyStatement>,
}

/// A statement of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyStatement {
    /// Its id.
    pub sid: &'static str,
    /// `Allow`.
    pub effect: &'static str,
    /// The actions.
    pub action: PolicyValues,
    /// The resources.
    pub resource: PolicyValues,
    /// The conditions by operator and key. All of them must hold.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub condition: BTreeMap<String, BTreeMap<String, PolicyValues>>,
}

/// Values, one of which must match. A single value is written without brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyValues(pub Vec<String>);

impl Serialize for PolicyValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<T: Into<String>> FromIterator<T> for PolicyValues {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(values.into_iter().map(Into::into).collect())
    }
}

impl PolicyDocument {
    /// The number of characters that a managed policy may have (IAM User Guide, "IAM and AWS STS quotas").
    pub const MANAGED_LIMIT: usize = 6144;

    pub(super) fn new(statement: Vec<PolicyStatement>) -> Self {
        Self { version: "2012-10-17", statement }
    }

    /// Returns the document as text.
    pub fn to_text(&self) -> String {
        // Serialising strings and maps with string keys cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Returns the number of characters that IAM counts: all but white space.
    pub fn size(&self) -> usize {
        self.to_text().chars().filter(|c| !c.is_whitespace()).count()
    }
}
