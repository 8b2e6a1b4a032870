//! The least-privilege IAM policy of each program, for one configuration.
//!
//! `table` says which actions each program needs, on what and under which conditions; [`policy`] fills
//! in what the configuration names. Where EC2 allows no narrower policy, [`Policy::warnings`] says so
//! and why. Nobody in AWS is asked.
//!
//! The table is held against the calls in the source, both ways, by the tests of the programs, which
//! also live a whole life under nothing but these policies.
//!
//! Sources: Service Authorization Reference, "Actions, resources, and condition keys" for Amazon EC2,
//! AWS Identity and Access Management, AWS Systems Manager and AWS Security Token Service.

mod document;
mod scope;
mod table;
#[cfg(test)]
mod tests;
mod warning;

use serde::Serialize;

pub use document::{Document, Statement, Values};
pub use warning::{Breadth, Warning};

use crate::domain::ids::KeyName;
use crate::settings::Settings;
use scope::Scope;

/// Whose policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum For {
    /// `provisionerd`: `run`, and what looks as it does (`plan`, `status`, `validate --aws`).
    Run,
    /// `setup-aws`.
    Setup,
    /// `cleanup-aws`.
    Cleanup,
}

/// What a policy is made for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The program.
    pub program: For,
    /// The configuration.
    pub settings: &'a Settings,
    /// The region in force, if it is known.
    pub region: Option<&'a str>,
    /// [`For::Setup`]: what key-names start with.
    pub prefix: &'a str,
    /// [`For::Setup`]: a worker profile is made too.
    pub worker_profile: bool,
    /// [`For::Cleanup`]: key-names that the configuration does not hold.
    pub key_names: &'a [KeyName],
    /// The roles behind the configured instance profiles, by name or ARN. Empty: each is taken to be
    /// named like its profile.
    pub worker_roles: &'a [String],
}

/// A policy, and what to know about it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Policy {
    /// Whose it is.
    #[serde(rename = "for")]
    pub program: For,
    /// The document, as IAM takes it.
    pub policy: Document,
    /// What it allows beyond what is needed, and why; and other doubts.
    pub warnings: Vec<Warning>,
}

/// The configuration has no key-name, without which nothing in AWS is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has no key-name")]
pub struct NoKeyName;

/// Makes the policy.
///
/// It names the images, subnets and security groups of the configuration one by one, unless it would
/// get too large for a managed policy; then it allows all of them, and warns.
///
/// # Errors
/// Only [`For::Setup`] works without a key-name.
pub fn policy(request: &Request<'_>) -> Result<Policy, NoKeyName> {
    let mut scope = Scope::new(request)?;
    let mut document = table::document(&scope);
    if document.size() > Document::MANAGED_LIMIT && scope.launch.lists_ids() {
        scope.launch.allow_all();
        document = table::document(&scope);
    }
    let warnings = warning::all(&scope, &document);
    Ok(Policy { program: request.program, policy: document, warnings })
}
