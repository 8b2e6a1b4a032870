//! The warnings of a policy: what it allows beyond what is needed, and why.

use std::collections::BTreeSet;

use serde::{Serialize, Serializer};

use super::PolicyProgram;
use super::document::PolicyDocument;
use super::scope::{KeyNames, PolicyScope, ResourceIds};
use crate::domain::launch::TAG_KEY_NAME;

/// Something that the owner of the account should know about a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyWarning {
    /// The subject.
    pub kind: PolicyWarningKind,
    /// What is the case.
    pub text: String,
    /// Why that is so, or what to do about it.
    pub hint: String,
}

/// The subject of a warning: a stable name for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PolicyWarningKind {
    /// Instances that are not ours can be terminated.
    Terminate,
    /// Launches that are not ours can be requested.
    Launch,
    /// Resources that are not ours can be read.
    Look,
    /// Key pairs of other deployments can be deleted.
    Undo,
    /// Instances and volumes that are not ours can be tagged as ours.
    Tags,
    /// The permissions of the workers can be had by launching a worker.
    WorkerRights,
    /// The ARNs of subnets and security groups name no account.
    Shared,
    /// Some spot requests under the key-name cannot be cancelled.
    Cancel,
    /// The configuration does not list images, subnets or groups by their ids.
    Names,
    /// The role behind an instance profile is not known.
    WorkerRole,
    /// The region is not known.
    Region,
    /// The account is not known.
    Account,
    /// The policy is too large, or nearly so.
    Size,
}

impl PolicyWarningKind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Terminate,
        Self::Launch,
        Self::Look,
        Self::Undo,
        Self::Tags,
        Self::WorkerRights,
        Self::Shared,
        Self::Cancel,
        Self::Names,
        Self::WorkerRole,
        Self::Region,
        Self::Account,
        Self::Size,
    ];

    /// Returns the name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::Launch => "launch",
            Self::Look => "look",
            Self::Undo => "undo",
            Self::Tags => "tags",
            Self::WorkerRights => "worker-rights",
            Self::Shared => "shared",
            Self::Cancel => "cancel",
            Self::Names => "names",
            Self::WorkerRole => "worker-role",
            Self::Region => "region",
            Self::Account => "account",
            Self::Size => "size",
        }
    }
}

impl Serialize for PolicyWarningKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The number of characters from which a policy counts as close to the limit. Our own choice: nine tenths.
const NEARLY_FULL: usize = PolicyDocument::MANAGED_LIMIT / 10 * 9;

/// Returns all warnings about a policy.
pub(super) fn all(scope: &PolicyScope, document: &PolicyDocument) -> Vec<PolicyWarning> {
    let mut warnings = Vec::new();
    let mut warn =
        |kind, text: String, hint: String| warnings.push(PolicyWarning { kind, text, hint });
    let regions = scope.regions();
    let there = if regions.is_empty() { "every region".to_owned() } else { regions.join(", ") };

    if scope.program != PolicyProgram::Setup {
        machines(scope, &there, &mut warn);
    }
    if let KeyNames::Pattern(pattern) = &scope.names {
        let what = if scope.worker_profile {
            "key pairs, roles and instance profiles"
        } else {
            "key pairs"
        };
        warn(
            PolicyWarningKind::Undo,
            format!("{what} named like `{pattern}` can be deleted, those of other deployments too"),
            "to undo a set-up that failed; its key-name is not known before it is made: give deployments \
             a --prefix each"
                .to_owned(),
        );
    }
    warn(
        PolicyWarningKind::Look,
        format!("everything that EC2's Describe calls show in {there} can be seen"),
        "these calls have no resources to narrow them to".to_owned(),
    );
    launches(scope, &mut warn);
    if regions.is_empty() {
        warn(
            PolicyWarningKind::Region,
            "no region is known: it holds in every region".to_owned(),
            "give --region, or set `aws.region`".to_owned(),
        );
    }
    if scope.places.iter().any(|place| place.account == "*") {
        warn(
            PolicyWarningKind::Account,
            "no account is known: the ARNs have `*` for it".to_owned(),
            "it holds only in the account it is attached in; `setup-aws` saves `aws.account-id`"
                .to_owned(),
        );
    }
    let size = document.size();
    let limit = PolicyDocument::MANAGED_LIMIT;
    if size > limit {
        warn(
            PolicyWarningKind::Size,
            format!("it has {size} characters, and a managed policy may have {limit}"),
            "embed it in a role with `aws iam put-role-policy`, which takes 10240".to_owned(),
        );
    } else if size > NEARLY_FULL {
        warn(
            PolicyWarningKind::Size,
            format!("it has {size} of the {limit} characters of a managed policy"),
            "with more worker types, all images, subnets and security groups will be allowed"
                .to_owned(),
        );
    }
    warnings
}

/// Adds the warnings about what can be done to instances and spot requests.
fn machines(
    scope: &PolicyScope,
    there: &str,
    warn: &mut impl FnMut(PolicyWarningKind, String, String),
) {
    warn(
        PolicyWarningKind::Terminate,
        format!(
            "instances in {there} that have no tag `{TAG_KEY_NAME}` can be terminated, whoever \
             launched them"
        ),
        "EC2 has no condition on an instance's key pair, and an instance of ours has no tags until a \
         later round; those tagged with another key-name are safe"
            .to_owned(),
    );
    warn(
        PolicyWarningKind::Launch,
        "spot requests of any instance type and number, and some without a key pair, can be made"
            .to_owned(),
        "EC2 has no conditions on these for RequestSpotInstances; each request must carry our tags, \
         and the account's spot quota bounds them"
            .to_owned(),
    );
    if scope.program == PolicyProgram::Run {
        warn(
            PolicyWarningKind::Tags,
            format!(
                "instances and volumes in {there} that have no tag `{TAG_KEY_NAME}` can be tagged and \
                 renamed as ours, whoever made them"
            ),
            "an instance of ours has no tags until a later round, and EC2 has no condition on its key \
             pair; those with another key-name can be neither tagged nor renamed"
                .to_owned(),
        );
    }
    if scope.ends_strays {
        warn(
            PolicyWarningKind::Cancel,
            "spot requests that somebody else made with the key pair, without our tags, cannot be \
             cancelled"
                .to_owned(),
            "EC2 has no condition on a request's key pair: allowing it would allow to cancel anybody's; \
             cancel them by hand"
                .to_owned(),
        );
    }
}

/// Adds the warnings about what a launch can use.
fn launches(scope: &PolicyScope, warn: &mut impl FnMut(PolicyWarningKind, String, String)) {
    if scope.program == PolicyProgram::Setup {
        return;
    }
    let launch = &scope.launch;
    if !launch.roles.is_empty() {
        let roles: Vec<String> = launch.roles.iter().map(|role| format!("`{role}`")).collect();
        warn(
            PolicyWarningKind::WorkerRights,
            format!(
                "whoever holds these credentials has the permissions of the workers, too: by launching a \
                 machine with the role {}",
                roles.join(", ")
            ),
            "a machine runs what its user data says. Every task has these permissions as well: give the \
             role no more than that, and nothing that changes IAM or launches"
                .to_owned(),
        );
    }
    if launch.subnets.is_list() || launch.security_groups.is_list() {
        warn(
            PolicyWarningKind::Shared,
            "the ARNs of subnets and security groups have `*` for the account".to_owned(),
            "they may be shared by another account (AWS RAM), whose number is then in their ARN, and no call \
             to AWS is made to see whose they are; their ids are unique among accounts"
                .to_owned(),
        );
    }
    let all: Vec<&str> = [
        (&launch.images, "image"),
        (&launch.snapshots, "snapshot"),
        (&launch.subnets, "subnet"),
        (&launch.security_groups, "security group"),
    ]
    .into_iter()
    .filter_map(|(ids, what)| (*ids == ResourceIds::All).then_some(what))
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
        warn(PolicyWarningKind::Names, text, why.to_owned());
    }
    if !launch.guessed.is_empty() {
        let quoted = |names: &BTreeSet<String>| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        warn(
            PolicyWarningKind::WorkerRole,
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
