//! What a policy allows beyond what is needed, and why.

use std::collections::BTreeSet;

use serde::Serialize;

use super::For;
use super::document::Document;
use super::scope::{Ids, Names, Scope};
use crate::domain::launch::TAG_KEY_NAME;

/// Something to know about a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about.
    pub kind: Breadth,
    /// What it is.
    pub text: String,
    /// Why it is so, or what to do.
    pub hint: String,
}

/// What a warning is about: stable names for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Breadth {
    /// Instances that are not ours can be terminated.
    Terminate,
    /// Launches that are not ours can be asked for.
    Launch,
    /// What is not ours can be seen.
    Look,
    /// Key pairs of other deployments can be deleted.
    Undo,
    /// Something under the key-name cannot be cancelled.
    Cancel,
    /// The configuration does not say which images, subnets or groups by their ids.
    Names,
    /// The role behind an instance profile is not known.
    WorkerRole,
    /// The region is not known.
    Region,
    /// The account is not known.
    Account,
    /// It is too large, or nearly so.
    Size,
}

/// From here on a policy is close to the limit.
const NEARLY: usize = Document::MANAGED_LIMIT / 10 * 9;

pub(super) fn all(scope: &Scope, document: &Document) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |kind, text: String, hint: String| warnings.push(Warning { kind, text, hint });
    let regions = scope.regions();
    let there = if regions.is_empty() { "every region".to_owned() } else { regions.join(", ") };

    if scope.program != For::Setup {
        warn(
            Breadth::Terminate,
            format!(
                "instances in {there} that have no tag `{TAG_KEY_NAME}` can be terminated, whoever \
                 launched them"
            ),
            "EC2 has no condition on an instance's key pair, and an instance of ours has no tags until a \
             later round; those tagged with another key-name are safe"
                .to_owned(),
        );
        warn(
            Breadth::Launch,
            "spot requests of any instance type and number, and some without a key pair, can be made"
                .to_owned(),
            "EC2 has no conditions on these for RequestSpotInstances; each request must carry our tags, \
             and the account's spot quota bounds them"
                .to_owned(),
        );
        if scope.ends_strays {
            warn(
                Breadth::Cancel,
                "spot requests that somebody else made with the key pair, without our tags, cannot be \
                 cancelled"
                    .to_owned(),
                "EC2 has no condition on a request's key pair: allowing it would allow to cancel anybody's; \
                 cancel them by hand"
                    .to_owned(),
            );
        }
    }
    if let Names::Pattern(pattern) = &scope.names {
        let what = if scope.worker_profile {
            "key pairs, roles and instance profiles"
        } else {
            "key pairs"
        };
        warn(
            Breadth::Undo,
            format!("{what} named like `{pattern}` can be deleted, those of other deployments too"),
            "to undo a set-up that failed; its key-name is not known before it is made: give deployments \
             a --prefix each"
                .to_owned(),
        );
    }
    warn(
        Breadth::Look,
        format!("everything that EC2's Describe calls show in {there} can be seen"),
        "these calls have no resources to narrow them to".to_owned(),
    );
    launches(scope, &mut warn);
    if regions.is_empty() {
        warn(
            Breadth::Region,
            "no region is known: it holds in every region".to_owned(),
            "give --region, or set `aws.region`".to_owned(),
        );
    }
    if scope.places.iter().any(|place| place.account == "*") {
        warn(
            Breadth::Account,
            "no account is known: the ARNs have `*` for it".to_owned(),
            "it holds only in the account it is attached in; `setup-aws` saves `aws.account-id`"
                .to_owned(),
        );
    }
    let (size, limit) = (document.size(), Document::MANAGED_LIMIT);
    if size > limit {
        warn(
            Breadth::Size,
            format!("it has {size} characters, and a managed policy may have {limit}"),
            "embed it in a role with `aws iam put-role-policy`, which takes 10240".to_owned(),
        );
    } else if size > NEARLY {
        warn(
            Breadth::Size,
            format!("it has {size} of the {limit} characters of a managed policy"),
            "with more worker types, all images, subnets and security groups will be allowed"
                .to_owned(),
        );
    }
    warnings
}

/// What a launch may name.
fn launches(scope: &Scope, warn: &mut impl FnMut(Breadth, String, String)) {
    if scope.program == For::Setup {
        return;
    }
    let launch = &scope.launch;
    let all: Vec<&str> = [
        (&launch.images, "image"),
        (&launch.snapshots, "snapshot"),
        (&launch.subnets, "subnet"),
        (&launch.security_groups, "security group"),
    ]
    .into_iter()
    .filter_map(|(ids, what)| (*ids == Ids::All).then_some(what))
    .collect();
    if !all.is_empty() {
        let why = if launch.shortened {
            "one by one they would make it too large for a managed policy"
        } else {
            "EC2 knows them by id, and the configuration names them otherwise or not at all; give \
             `image-id` as ami-…, `subnets`, and `security-groups` as sg-… in every worker type to list \
             them"
        };
        let text = format!("launches can use any {}", all.join(", any "));
        warn(Breadth::Names, text, why.to_owned());
    }
    if !launch.guessed.is_empty() {
        let quoted = |names: &BTreeSet<String>| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        warn(
            Breadth::WorkerRole,
            format!(
                "the role behind the instance profile {} is taken to have the same name",
                quoted(&launch.guessed)
            ),
            "if it has another, or a path, give --worker-role with what `aws iam get-instance-profile` \
             says"
                .to_owned(),
        );
    }
}
