//! The least-privilege IAM policy of each program, for one configuration.
//!
//! `table` lists the actions that each program needs, on which resources and under which conditions;
//! [`policy`] fills in what the configuration names. If EC2 allows no narrower policy, a
//! [warning](IamPolicy::warnings) says so and why. No call to AWS is made.
//!
//! The tests of the programs hold the table against the calls in the source, both ways, and run all three
//! programs under nothing but these policies.
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

use document::PolicyDocument;
pub use table::statement_ids;
pub use warning::{PolicyWarning, PolicyWarningKind};

use crate::domain::ids::KeyName;
use crate::settings::Settings;
use scope::PolicyScope;

/// The program that a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyProgram {
    /// `provisionerd`: `run`, and the commands that read what it reads (`plan`, `status`,
    /// `validate --aws`).
    Run,
    /// `setup-aws`.
    Setup,
    /// `cleanup-aws`.
    Cleanup,
}

/// The input of [`policy`].
#[derive(Clone, Copy, Debug)]
pub struct PolicyRequest<'a> {
    /// The program.
    pub program: PolicyProgram,
    /// The configuration.
    pub settings: &'a Settings,
    /// The region in force, if it is known.
    pub region: Option<&'a str>,
    /// For [`PolicyProgram::Setup`]: the prefix of key-names.
    pub prefix: &'a str,
    /// For [`PolicyProgram::Setup`]: whether a worker profile is made, too.
    pub worker_profile: bool,
    /// For [`PolicyProgram::Cleanup`]: further key-names, which the configuration does not contain.
    pub key_names: &'a [KeyName],
    /// The roles behind the configured instance profiles, by name or ARN. If there are none, each role is
    /// assumed to have the name of its profile.
    pub worker_roles: &'a [String],
}

/// A policy with its warnings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IamPolicy {
    /// The program that it is for.
    #[serde(rename = "for")]
    pub program: PolicyProgram,
    /// The document that IAM takes.
    pub policy: PolicyDocument,
    /// What it allows beyond what is needed and why, and other doubts.
    pub warnings: Vec<PolicyWarning>,
}

/// The configuration has no key-name, by which our resources in AWS are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has no key-name")]
pub struct NoKeyName;

/// Makes the policy.
///
/// It lists the images, subnets and security groups of the configuration one by one. If that is too large
/// for a managed policy, it allows all of them, and a warning says so.
///
/// # Errors
/// Fails without a key-name, except for [`PolicyProgram::Setup`].
pub fn policy(request: &PolicyRequest<'_>) -> Result<IamPolicy, NoKeyName> {
    let mut scope = PolicyScope::new(request)?;
    let mut document = table::document(&scope);
    if document.size() > PolicyDocument::MANAGED_LIMIT && scope.launch.lists_ids() {
        scope.launch.allow_all();
        document = table::document(&scope);
    }
    let warnings = warning::all(&scope, &document);
    Ok(IamPolicy { program: request.program, policy: document, warnings })
}
