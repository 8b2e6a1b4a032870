//! The actions that the programs need, on which resources and under which conditions.

use std::collections::BTreeMap;

use super::PolicyProgram;
use super::document::{PolicyDocument, PolicyStatement, PolicyValues};
use super::scope::{KeyNames, PolicyScope};
use crate::domain::launch::{SPOT_ROLE, TAG_KEY_NAME, TAG_REGION};

/// A statement before a configuration fills it in. Without resources it is left out.
struct Grant {
    sid: &'static str,
    /// The actions, each with the programs that need it.
    actions: &'static [(&'static str, &'static [PolicyProgram])],
    on: &'static [PolicyResource],
    /// The conditions, all of which must hold.
    when: &'static [PolicyCondition],
}

/// The resources of an action.
#[derive(Clone, Copy)]
enum PolicyResource {
    /// Everything, for actions that cannot be limited to resources.
    Everything,
    Images,
    Snapshots,
    Subnets,
    SecurityGroups,
    NetworkInterfaces,
    /// The key pairs that are called like the key-names.
    KeyPairs,
    SpotRequests,
    Instances,
    /// The volumes of instances, which are tagged with them.
    Volumes,
    Fleets,
    LaunchTemplates,
    /// The parameters that name images.
    Parameters,
    /// The instance profiles of the configuration.
    WorkerProfiles,
    /// The roles behind those.
    WorkerRoles,
    /// The instance profiles named after the key-names.
    OwnProfiles,
    /// The roles named after the key-names.
    OwnRoles,
    /// The instance profile that is to be made.
    NewProfile,
    /// The role that is to be made.
    NewRole,
    /// AWS's own role, for spot requests.
    SpotRole,
    /// The same role without its path, as IAM writes it while the role does not exist.
    SpotRoleIfAny,
}

/// A condition.
#[derive(Clone, Copy)]
enum PolicyCondition {
    /// The region is one of ours, for actions whose resources do not contain it.
    InRegion,
    /// The call tags with our key-name.
    TaggingAsOurs,
    /// The call uses only the tag keys of a launch.
    OnlyKeysOfLaunches,
    /// The call uses only the tag keys of `setup-aws`.
    OnlyKeysOfSetup,
    /// The resource is tagged with our key-name.
    Ours,
    /// The resource is tagged with our key-name, or has no such tag.
    NotSomebodyElses,
    /// The tags come with one of these calls, which makes the resource.
    MadeBy(&'static [&'static str]),
    /// The role is passed to EC2 and to no other service.
    PassedToEc2,
    /// The service-linked role is the one for spot requests.
    ForSpot,
}

const RUN: &[PolicyProgram] = &[PolicyProgram::Run];
const SETUP: &[PolicyProgram] = &[PolicyProgram::Setup];
const CLEANUP: &[PolicyProgram] = &[PolicyProgram::Cleanup];
const RUN_SETUP: &[PolicyProgram] = &[PolicyProgram::Run, PolicyProgram::Setup];
const SETUP_CLEANUP: &[PolicyProgram] = &[PolicyProgram::Setup, PolicyProgram::Cleanup];
const RUN_CLEANUP: &[PolicyProgram] = &[PolicyProgram::Run, PolicyProgram::Cleanup];
const ALL: &[PolicyProgram] = &[PolicyProgram::Run, PolicyProgram::Setup, PolicyProgram::Cleanup];

const TABLE: &[Grant] = &[
    Grant {
        sid: "Look",
        actions: &[
            ("ec2:DescribeInstances", ALL),
            ("ec2:DescribeKeyPairs", ALL),
            ("ec2:DescribeSpotInstanceRequests", ALL),
            // For the names of groups, and for the account if STS cannot be reached.
            ("ec2:DescribeSecurityGroups", ALL),
            ("ec2:DescribeSubnets", RUN),
            ("ec2:DescribeVpcs", RUN),
            // A daemon that may not make these two launches without what they tell.
            ("ec2:DescribeImages", RUN),
            ("ec2:DescribeInstanceTypeOfferings", RUN),
            ("ec2:DescribeSpotPriceHistory", RUN),
            ("ec2:DescribeFleets", CLEANUP),
            ("ec2:DescribeLaunchTemplates", CLEANUP),
            ("ec2:DescribeVolumes", CLEANUP),
        ],
        on: &[PolicyResource::Everything],
        when: &[PolicyCondition::InRegion],
    },
    // `validate --aws` needs these; a daemon runs without them, and learns the same from refusals.
    Grant {
        sid: "LookForValidate",
        actions: &[
            ("ec2:DescribeAvailabilityZones", RUN),
            ("ec2:DescribeInstanceTypes", RUN),
            ("ec2:GetAllowedImagesSettings", RUN),
            ("ec2:GetDefaultCreditSpecification", RUN),
            ("ec2:GetInstanceMetadataDefaults", RUN),
        ],
        on: &[PolicyResource::Everything],
        when: &[PolicyCondition::InRegion],
    },
    Grant {
        sid: "LookAtWorkerProfiles",
        actions: &[("iam:GetInstanceProfile", RUN)],
        on: &[PolicyResource::WorkerProfiles],
        when: &[],
    },
    Grant {
        sid: "LookAtSpotRole",
        actions: &[("iam:GetRole", RUN_SETUP)],
        on: &[PolicyResource::SpotRole, PolicyResource::SpotRoleIfAny],
        when: &[],
    },
    // `setup-aws` checks the earlier key-name, and `cleanup-aws` all of them.
    Grant {
        sid: "LookAtOwnProfile",
        actions: &[("iam:GetInstanceProfile", SETUP_CLEANUP)],
        on: &[PolicyResource::OwnProfiles],
        when: &[],
    },
    Grant {
        sid: "LookAtOwnRole",
        actions: &[
            ("iam:GetRole", SETUP_CLEANUP),
            ("iam:ListAttachedRolePolicies", SETUP_CLEANUP),
            ("iam:ListRolePolicies", SETUP_CLEANUP),
        ],
        on: &[PolicyResource::OwnRoles],
        when: &[],
    },
    // AWS allows it without a permission, unless another policy denies it.
    Grant {
        sid: "SayWhoIAm",
        actions: &[("sts:GetCallerIdentity", ALL)],
        on: &[PolicyResource::Everything],
        when: &[],
    },
    Grant {
        sid: "ReadImageParameters",
        actions: &[("ssm:GetParameter", RUN)],
        on: &[PolicyResource::Parameters],
        when: &[],
    },
    // `cleanup-aws` settles unanswered launching calls by repeating them.
    Grant {
        sid: "LaunchWith",
        actions: &[("ec2:RequestSpotInstances", RUN_CLEANUP)],
        on: &[
            PolicyResource::Images,
            PolicyResource::Snapshots,
            PolicyResource::KeyPairs,
            PolicyResource::SecurityGroups,
            PolicyResource::Subnets,
            PolicyResource::NetworkInterfaces,
        ],
        when: &[],
    },
    // A statement of its own: EC2 knows the tags of the call only for the request that it makes.
    Grant {
        sid: "LaunchTagged",
        actions: &[("ec2:RequestSpotInstances", RUN_CLEANUP)],
        on: &[PolicyResource::SpotRequests],
        when: &[PolicyCondition::TaggingAsOurs, PolicyCondition::OnlyKeysOfLaunches],
    },
    Grant {
        sid: "TagLaunches",
        actions: &[("ec2:CreateTags", RUN_CLEANUP)],
        on: &[PolicyResource::SpotRequests],
        when: &[
            PolicyCondition::MadeBy(&["RequestSpotInstances"]),
            PolicyCondition::TaggingAsOurs,
            PolicyCondition::OnlyKeysOfLaunches,
        ],
    },
    Grant {
        sid: "PassWorkerRole",
        actions: &[("iam:PassRole", RUN_CLEANUP)],
        on: &[PolicyResource::WorkerRoles],
        when: &[PolicyCondition::PassedToEc2],
    },
    Grant {
        sid: "TagInstances",
        actions: &[("ec2:CreateTags", RUN)],
        // An instance of ours has no tags before this call, so one without is not somebody else's for sure.
        on: &[PolicyResource::Instances, PolicyResource::Volumes],
        when: &[
            PolicyCondition::TaggingAsOurs,
            PolicyCondition::OnlyKeysOfLaunches,
            PolicyCondition::NotSomebodyElses,
        ],
    },
    Grant {
        sid: "Cancel",
        actions: &[("ec2:CancelSpotInstanceRequests", RUN_CLEANUP)],
        on: &[PolicyResource::SpotRequests],
        when: &[PolicyCondition::Ours],
    },
    // Not `Ours`: our instances are tagged in a later round than the one that requested them, and strays
    // under the key-name are never tagged.
    Grant {
        sid: "Terminate",
        actions: &[("ec2:TerminateInstances", RUN_CLEANUP)],
        on: &[PolicyResource::Instances],
        when: &[PolicyCondition::NotSomebodyElses],
    },
    Grant {
        sid: "MakeKeyPair",
        actions: &[("ec2:CreateKeyPair", SETUP), ("ec2:ImportKeyPair", SETUP)],
        on: &[PolicyResource::KeyPairs],
        when: &[PolicyCondition::TaggingAsOurs, PolicyCondition::OnlyKeysOfSetup],
    },
    Grant {
        sid: "TagKeyPair",
        actions: &[("ec2:CreateTags", SETUP)],
        on: &[PolicyResource::KeyPairs],
        when: &[
            PolicyCondition::MadeBy(&["CreateKeyPair", "ImportKeyPair"]),
            PolicyCondition::TaggingAsOurs,
            PolicyCondition::OnlyKeysOfSetup,
        ],
    },
    // Not `Ours`: after a lost answer the key pair may not exist, and then it has no tags.
    Grant {
        sid: "UndoKeyPair",
        actions: &[("ec2:DeleteKeyPair", SETUP)],
        on: &[PolicyResource::KeyPairs],
        when: &[PolicyCondition::NotSomebodyElses],
    },
    Grant {
        sid: "MakeSpotRole",
        actions: &[("iam:CreateServiceLinkedRole", SETUP)],
        on: &[PolicyResource::SpotRole],
        when: &[PolicyCondition::ForSpot],
    },
    Grant {
        sid: "MakeRole",
        actions: &[("iam:CreateRole", SETUP), ("iam:TagRole", SETUP)],
        on: &[PolicyResource::NewRole],
        when: &[PolicyCondition::TaggingAsOurs, PolicyCondition::OnlyKeysOfSetup],
    },
    Grant {
        sid: "MakeProfile",
        actions: &[("iam:CreateInstanceProfile", SETUP), ("iam:TagInstanceProfile", SETUP)],
        on: &[PolicyResource::NewProfile],
        when: &[PolicyCondition::TaggingAsOurs, PolicyCondition::OnlyKeysOfSetup],
    },
    // Putting a role into a profile counts as passing it.
    Grant {
        sid: "PassNewRole",
        actions: &[("iam:PassRole", SETUP)],
        on: &[PolicyResource::NewRole],
        when: &[PolicyCondition::PassedToEc2],
    },
    // Not `Ours`: IAM may not show the new profile yet.
    Grant {
        sid: "FillOrUndoProfile",
        actions: &[
            ("iam:AddRoleToInstanceProfile", SETUP),
            ("iam:RemoveRoleFromInstanceProfile", SETUP),
            ("iam:DeleteInstanceProfile", SETUP),
        ],
        on: &[PolicyResource::NewProfile],
        when: &[PolicyCondition::NotSomebodyElses],
    },
    Grant {
        sid: "UndoRole",
        actions: &[("iam:DeleteRole", SETUP)],
        on: &[PolicyResource::NewRole],
        when: &[PolicyCondition::NotSomebodyElses],
    },
    Grant {
        sid: "DeleteKeyPair",
        actions: &[("ec2:DeleteKeyPair", CLEANUP)],
        on: &[PolicyResource::KeyPairs],
        when: &[PolicyCondition::Ours],
    },
    Grant {
        sid: "DeleteFleets",
        actions: &[("ec2:DeleteFleets", CLEANUP)],
        on: &[PolicyResource::Fleets],
        when: &[PolicyCondition::Ours],
    },
    Grant {
        sid: "DeleteLaunchTemplates",
        actions: &[("ec2:DeleteLaunchTemplate", CLEANUP)],
        on: &[PolicyResource::LaunchTemplates],
        when: &[PolicyCondition::Ours],
    },
    Grant {
        sid: "DeleteVolumes",
        actions: &[("ec2:DeleteVolume", CLEANUP)],
        on: &[PolicyResource::Volumes],
        when: &[PolicyCondition::Ours],
    },
    Grant {
        sid: "DeleteProfile",
        actions: &[
            ("iam:RemoveRoleFromInstanceProfile", CLEANUP),
            ("iam:DeleteInstanceProfile", CLEANUP),
        ],
        on: &[PolicyResource::OwnProfiles],
        when: &[PolicyCondition::Ours],
    },
    Grant {
        sid: "DeleteRole",
        actions: &[("iam:DeleteRole", CLEANUP)],
        on: &[PolicyResource::OwnRoles],
        when: &[PolicyCondition::Ours],
    },
];

/// The path of the service-linked role for spot requests (EC2 User Guide, "Service-linked role for Spot
/// Instance requests").
const SPOT_ROLE_PATH: &str = "aws-service-role/spot.amazonaws.com/";

/// Returns the ids of all statements that a policy can have.
pub fn statement_ids() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|grant| grant.sid)
}

/// Returns the statements that a program needs in this scope.
pub(super) fn document(scope: &PolicyScope) -> PolicyDocument {
    let statement = TABLE.iter().filter_map(|grant| {
        let needed = grant.actions.iter().filter(|(_, by)| by.contains(&scope.program));
        let action: PolicyValues = needed.map(|(action, _)| *action).collect();
        let resource: PolicyValues = grant.on.iter().flat_map(|on| on.arns(scope)).collect();
        if action.0.is_empty() || resource.0.is_empty() {
            return None;
        }
        let mut condition: BTreeMap<String, BTreeMap<String, PolicyValues>> = BTreeMap::new();
        for when in grant.when {
            let (operator, key, values) = when.condition(scope);
            if !values.0.is_empty() {
                condition.entry(operator).or_default().insert(key, values);
            }
        }
        Some(PolicyStatement { sid: grant.sid, effect: "Allow", action, resource, condition })
    });
    PolicyDocument::new(statement.collect())
}

impl PolicyResource {
    /// Returns the ARNs, none if the configuration names no such resource.
    fn arns(self, scope: &PolicyScope) -> Vec<String> {
        let launch = &scope.launch;
        match self {
            Self::Everything => vec!["*".to_owned()],
            Self::Images => scope.ec2("image", &launch.images.patterns()),
            Self::Snapshots => scope.ec2("snapshot", &launch.snapshots.patterns()),
            Self::Subnets => scope.ec2("subnet", &launch.subnets.patterns()),
            Self::SecurityGroups => scope.ec2("security-group", &launch.security_groups.patterns()),
            Self::NetworkInterfaces if launch.interfaces => scope.ec2("network-interface", &["*"]),
            Self::NetworkInterfaces => Vec::new(),
            Self::KeyPairs => scope.key_pairs(),
            Self::SpotRequests => scope.ec2("spot-instances-request", &["*"]),
            Self::Instances => scope.ec2("instance", &["*"]),
            Self::Volumes => scope.ec2("volume", &["*"]),
            Self::Fleets => scope.ec2("fleet", &["*"]),
            Self::LaunchTemplates => scope.ec2("launch-template", &["*"]),
            Self::Parameters => scope.parameters(),
            Self::WorkerProfiles => scope.iam("instance-profile", &launch.profiles),
            Self::WorkerRoles => scope.iam("role", &launch.roles),
            Self::OwnProfiles => scope.own_iam("instance-profile"),
            Self::OwnRoles => scope.own_iam("role"),
            Self::NewProfile => scope.new_iam("instance-profile"),
            Self::NewRole => scope.new_iam("role"),
            Self::SpotRole => scope.iam("role", [&format!("{SPOT_ROLE_PATH}{SPOT_ROLE}")]),
            Self::SpotRoleIfAny => scope.iam("role", [&SPOT_ROLE.to_owned()]),
        }
    }
}

impl PolicyCondition {
    /// Returns the operator, the key and the values. Without values there is no condition.
    fn condition(self, scope: &PolicyScope) -> (String, String, PolicyValues) {
        // Only a pattern may contain wildcards.
        let (operator, names) = match &scope.names {
            KeyNames::Known(names) => ("StringEquals", names.iter().collect()),
            KeyNames::Pattern(pattern) => ("StringLike", vec![pattern]),
        };
        let names = || names.iter().copied().collect::<PolicyValues>();
        let (operator, key, values) = match self {
            Self::InRegion => (
                "StringEquals".to_owned(),
                "ec2:Region".to_owned(),
                scope.regions().into_iter().collect(),
            ),
            Self::TaggingAsOurs => {
                (operator.to_owned(), format!("aws:RequestTag/{TAG_KEY_NAME}"), names())
            }
            Self::OnlyKeysOfLaunches => (
                "ForAllValues:StringEquals".to_owned(),
                "aws:TagKeys".to_owned(),
                scope.launch.tag_keys.iter().collect(),
            ),
            Self::OnlyKeysOfSetup => (
                "ForAllValues:StringEquals".to_owned(),
                "aws:TagKeys".to_owned(),
                [TAG_KEY_NAME, TAG_REGION].into_iter().collect(),
            ),
            Self::Ours => (operator.to_owned(), format!("aws:ResourceTag/{TAG_KEY_NAME}"), names()),
            Self::NotSomebodyElses => {
                (format!("{operator}IfExists"), format!("aws:ResourceTag/{TAG_KEY_NAME}"), names())
            }
            Self::MadeBy(calls) => (
                "StringEquals".to_owned(),
                "ec2:CreateAction".to_owned(),
                calls.iter().copied().collect(),
            ),
            Self::ForSpot => (
                "StringEquals".to_owned(),
                "iam:AWSServiceName".to_owned(),
                ["spot.amazonaws.com"].into_iter().collect(),
            ),
            Self::PassedToEc2 => {
                let china = (scope.partition == "aws-cn").then_some("ec2.amazonaws.com.cn");
                (
                    "StringEquals".to_owned(),
                    "iam:PassedToService".to_owned(),
                    ["ec2.amazonaws.com"].into_iter().chain(china).collect(),
                )
            }
        };
        (operator, key, values)
    }
}
