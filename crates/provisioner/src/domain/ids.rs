//! Names and identifiers as types of their own, so that no two can be mixed up.
//!
//! They carry text as EC2, the queue or the configuration spelled it. [`KeyName`] and [`WorkerTypeName`]
//! have rules, which are checked once, in `parse`.
//!
//! Tens of thousands of them exist at a time. EC2's ids are short enough to be stored inline, without an
//! allocation; a copy of a longer name refers to the same allocation.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Long texts that many resources carry (a key-name, a client token), each stored once.
#[cfg(feature = "aws")]
#[derive(Debug, Default)]
pub(crate) struct SharedTexts(std::collections::BTreeSet<SmolStr>);

#[cfg(feature = "aws")]
impl SharedTexts {
    /// Replaces the allocation of `name` by that of an equal name, if one was shared before.
    pub(crate) fn share(&mut self, name: &mut impl Name) {
        let text = name.text();
        if !text.is_heap_allocated() {
            return;
        }
        match self.0.get(text) {
            Some(known) => *text = known.clone(),
            None => {
                self.0.insert(text.clone());
            }
        }
    }
}

/// Implemented by every identifier of this module.
#[cfg(feature = "aws")]
pub(crate) trait Name {
    fn text(&mut self) -> &mut SmolStr;
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(SmolStr);

        impl $name {
            /// Wraps `text` as it is.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(SmolStr::new(text))
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        #[cfg(feature = "aws")]
        impl Name for $name {
            fn text(&mut self) -> &mut SmolStr {
                &mut self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

text_id! {
    /// The EC2 key pair name that marks everything this deployment owns.
    KeyName
}
text_id! {
    /// The name of a worker type, `[a-z0-9-]+`, as in `[worker-types.NAME]`.
    WorkerTypeName
}
text_id! {
    /// An EC2 instance id (`i-…`).
    InstanceId
}
text_id! {
    /// A spot instance request id (`sir-…`).
    SpotRequestId
}
text_id! {
    /// An EC2 instance type (`c7g.large`).
    InstanceType
}
text_id! {
    /// An availability zone by name (`us-west-2a`).
    Zone
}
text_id! {
    /// A VPC subnet id (`subnet-…`).
    SubnetId
}

text_id! {
    /// The id of an EBS volume (`vol-…`).
    VolumeId
}
text_id! {
    /// The client token of one launching call: at most 64 ASCII characters, and the intent's name.
    ClientToken
}
text_id! {
    /// The status code of a spot instance request, or EC2's message about it.
    StatusText
}

/// A name that breaks the rules of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}: {rule}")]
pub struct InvalidName {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

impl KeyName {
    /// The longest key-name. EC2 allows 255; an IAM role of the same name may have 64
    /// (IAM User Guide, "IAM and AWS STS quotas").
    pub const MAX_LEN: usize = 64;
    /// The prefix of the key-names that `setup-aws` makes, unless the user chooses another.
    pub const DEFAULT_PREFIX: &str = "provisioner-test-";

    /// Checks that `text` can name both an EC2 key pair and an IAM role.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.chars().all(allowed) {
            return Err(InvalidName {
                kind: "key-name",
                text: text.to_owned(),
                rule: "1 to 64 characters of A-Z a-z 0-9 + = , . @ _ -",
            });
        }
        Ok(Self::new(text))
    }
}

impl WorkerTypeName {
    /// Checks that `text` is `[a-z0-9-]+`, at most 128 characters (it becomes a tag value).
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > 128 || !text.chars().all(allowed) {
            return Err(InvalidName {
                kind: "worker-type name",
                text: text.to_owned(),
                rule: "1 to 128 characters of a-z 0-9 -",
            });
        }
        Ok(Self::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_names_are_checked() {
        assert!(KeyName::parse("provisioner-test-0b9e1f9e-4c1e-4f0e-8a2e-6f6f3b1f7d11").is_ok());
        for bad in ["", "a b", "a/b", "ü", &"x".repeat(65)] {
            assert!(KeyName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn worker_type_names_are_checked() {
        assert!(WorkerTypeName::parse("linux-large-2").is_ok());
        for bad in ["", "Linux", "a_b", "a.b"] {
            assert!(WorkerTypeName::parse(bad).is_err(), "{bad}");
        }
    }
}
