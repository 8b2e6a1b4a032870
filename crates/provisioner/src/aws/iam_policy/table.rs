//! Which actions the programs need, on what, and under which conditions.

use std::collections::BTreeMap;

use super::For;
use super::document::{Document, Statement, Values};
use super::scope::{Names, Scope};
use crate::domain::launch::{SPOT_ROLE, TAG_KEY_NAME, TAG_REGION};

/// One statement, as far as a configuration has something to fill it with.
struct Grant {
    sid: &'static str,
    /// The actions, each with the programs that need it.
    actions: &'static [(&'static str, &'static [For])],
    on: &'static [On],
    /// All must hold.
    when: &'static [When],
}

/// What an action is on.
#[derive(Clone, Copy)]
enum On {
    /// Everything: the action knows no resources.
    Everything,
    Images,
    Snapshots,
    Subnets,
    SecurityGroups,
    NetworkInterfaces,
    /// Those of the key-names, by their names.
    KeyPairs,
    SpotRequests,
    Instances,
    Fleets,
    LaunchTemplates,
    /// Those that name images.
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
    /// The same by a name that may be of nothing: what is not there has no path.
    SpotRoleIfAny,
}

/// A condition.
#[derive(Clone, Copy)]
enum When {
    /// In a region of ours, for actions whose resources do not say.
    InRegion,
    /// The call tags with our key-name.
    TaggingAsOurs,
    /// The call's tags have no other keys than those a launch has.
    OnlyKeysOfLaunches,
    /// The call's tags have no other keys than those of what `setup-aws` makes.
    OnlyKeysOfSetup,
    /// It carries our key-name as its tag.
    Ours,
    /// It carries our key-name as its tag, or none.
    NotSomebodyElses,
    /// The tags come with the call that makes the resource.
    MadeBy(&'static [&'static str]),
    /// The role goes to EC2, and nowhere else.
    PassedToEc2,
    /// The service-linked role is that for spot requests.
    ForSpot,
}

const RUN: &[For] = &[For::Run];
const SETUP: &[For] = &[For::Setup];
const CLEANUP: &[For] = &[For::Cleanup];
const RUN_SETUP: &[For] = &[For::Run, For::Setup];
const SETUP_CLEANUP: &[For] = &[For::Setup, For::Cleanup];
const RUN_CLEANUP: &[For] = &[For::Run, For::Cleanup];
const ALL: &[For] = &[For::Run, For::Setup, For::Cleanup];

const TABLE: &[Grant] = &[
    Grant {
        sid: "Look",
        actions: &[
            ("ec2:DescribeInstances", ALL),
            ("ec2:DescribeKeyPairs", ALL),
            ("ec2:DescribeSpotInstanceRequests", ALL),
            // Names of groups; and the account, where STS cannot be reached.
            ("ec2:DescribeSecurityGroups", ALL),
            ("ec2:DescribeSubnets", RUN),
            ("ec2:DescribeVpcs", RUN),
            ("ec2:DescribeSpotPriceHistory", RUN),
            ("ec2:DescribeFleets", CLEANUP),
            ("ec2:DescribeLaunchTemplates", CLEANUP),
            ("ec2:DescribeVolumes", CLEANUP),
        ],
        on: &[On::Everything],
        when: &[When::InRegion],
    },
    // Apart from what a round needs: a daemon alone does without it.
    Grant {
        sid: "LookForValidate",
        actions: &[
            ("ec2:DescribeAvailabilityZones", RUN),
            ("ec2:DescribeImages", RUN),
            ("ec2:DescribeInstanceTypeOfferings", RUN),
            ("ec2:DescribeInstanceTypes", RUN),
        ],
        on: &[On::Everything],
        when: &[When::InRegion],
    },
    Grant {
        sid: "LookAtWorkerProfiles",
        actions: &[("iam:GetInstanceProfile", RUN)],
        on: &[On::WorkerProfiles],
        when: &[],
    },
    Grant {
        sid: "LookAtSpotRole",
        actions: &[("iam:GetRole", RUN_SETUP)],
        on: &[On::SpotRole, On::SpotRoleIfAny],
        when: &[],
    },
    // What `setup-aws` finds under an earlier key-name, and `cleanup-aws` under all of them.
    Grant {
        sid: "LookAtOwnProfile",
        actions: &[("iam:GetInstanceProfile", SETUP_CLEANUP)],
        on: &[On::OwnProfiles],
        when: &[],
    },
    Grant {
        sid: "LookAtOwnRole",
        actions: &[
            ("iam:GetRole", SETUP_CLEANUP),
            ("iam:ListAttachedRolePolicies", SETUP_CLEANUP),
            ("iam:ListRolePolicies", SETUP_CLEANUP),
        ],
        on: &[On::OwnRoles],
        when: &[],
    },
    // Allowed without a permission, unless something denies it.
    Grant {
        sid: "SayWhoIAm",
        actions: &[("sts:GetCallerIdentity", ALL)],
        on: &[On::Everything],
        when: &[],
    },
    Grant {
        sid: "ReadImageParameters",
        actions: &[("ssm:GetParameter", RUN)],
        on: &[On::Parameters],
        when: &[],
    },
    // `cleanup-aws` settles unanswered launching calls by repeating them.
    Grant {
        sid: "LaunchWith",
        actions: &[("ec2:RequestSpotInstances", RUN_CLEANUP)],
        on: &[
            On::Images,
            On::Snapshots,
            On::KeyPairs,
            On::SecurityGroups,
            On::Subnets,
            On::NetworkInterfaces,
        ],
        when: &[],
    },
    // Apart: the tags of the call are known for the request that it makes, and for nothing else.
    Grant {
        sid: "LaunchTagged",
        actions: &[("ec2:RequestSpotInstances", RUN_CLEANUP)],
        on: &[On::SpotRequests],
        when: &[When::TaggingAsOurs, When::OnlyKeysOfLaunches],
    },
    Grant {
        sid: "TagLaunches",
        actions: &[("ec2:CreateTags", RUN_CLEANUP)],
        on: &[On::SpotRequests],
        when: &[
            When::MadeBy(&["RequestSpotInstances"]),
            When::TaggingAsOurs,
            When::OnlyKeysOfLaunches,
        ],
    },
    Grant {
        sid: "PassWorkerRole",
        actions: &[("iam:PassRole", RUN_CLEANUP)],
        on: &[On::WorkerRoles],
        when: &[When::PassedToEc2],
    },
    Grant {
        sid: "TagInstances",
        actions: &[("ec2:CreateTags", RUN)],
        on: &[On::Instances],
        when: &[When::TaggingAsOurs, When::OnlyKeysOfLaunches, When::NotSomebodyElses],
    },
    Grant {
        sid: "Cancel",
        actions: &[("ec2:CancelSpotInstanceRequests", RUN_CLEANUP)],
        on: &[On::SpotRequests],
        when: &[When::Ours],
    },
    // Not `Ours`: an instance of ours has no tags until a later round than that which requested it,
    // and strays under the key-name have none ever.
    Grant {
        sid: "Terminate",
        actions: &[("ec2:TerminateInstances", RUN_CLEANUP)],
        on: &[On::Instances],
        when: &[When::NotSomebodyElses],
    },
    Grant {
        sid: "MakeKeyPair",
        actions: &[("ec2:CreateKeyPair", SETUP), ("ec2:ImportKeyPair", SETUP)],
        on: &[On::KeyPairs],
        when: &[When::TaggingAsOurs, When::OnlyKeysOfSetup],
    },
    Grant {
        sid: "TagKeyPair",
        actions: &[("ec2:CreateTags", SETUP)],
        on: &[On::KeyPairs],
        when: &[
            When::MadeBy(&["CreateKeyPair", "ImportKeyPair"]),
            When::TaggingAsOurs,
            When::OnlyKeysOfSetup,
        ],
    },
    // Not `Ours`: after a lost answer the key pair may not be there, and then has no tags.
    Grant {
        sid: "UndoKeyPair",
        actions: &[("ec2:DeleteKeyPair", SETUP)],
        on: &[On::KeyPairs],
        when: &[When::NotSomebodyElses],
    },
    Grant {
        sid: "MakeSpotRole",
        actions: &[("iam:CreateServiceLinkedRole", SETUP)],
        on: &[On::SpotRole],
        when: &[When::ForSpot],
    },
    Grant {
        sid: "MakeRole",
        actions: &[("iam:CreateRole", SETUP), ("iam:TagRole", SETUP)],
        on: &[On::NewRole],
        when: &[When::TaggingAsOurs, When::OnlyKeysOfSetup],
    },
    Grant {
        sid: "MakeProfile",
        actions: &[("iam:CreateInstanceProfile", SETUP), ("iam:TagInstanceProfile", SETUP)],
        on: &[On::NewProfile],
        when: &[When::TaggingAsOurs, When::OnlyKeysOfSetup],
    },
    // Putting a role into a profile is passing it on.
    Grant {
        sid: "PassNewRole",
        actions: &[("iam:PassRole", SETUP)],
        on: &[On::NewRole],
        when: &[When::PassedToEc2],
    },
    // Not `Ours`: IAM may not show yet what was just made.
    Grant {
        sid: "FillOrUndoProfile",
        actions: &[
            ("iam:AddRoleToInstanceProfile", SETUP),
            ("iam:RemoveRoleFromInstanceProfile", SETUP),
            ("iam:DeleteInstanceProfile", SETUP),
        ],
        on: &[On::NewProfile],
        when: &[When::NotSomebodyElses],
    },
    Grant {
        sid: "UndoRole",
        actions: &[("iam:DeleteRole", SETUP)],
        on: &[On::NewRole],
        when: &[When::NotSomebodyElses],
    },
    Grant {
        sid: "DeleteKeyPair",
        actions: &[("ec2:DeleteKeyPair", CLEANUP)],
        on: &[On::KeyPairs],
        when: &[When::Ours],
    },
    Grant {
        sid: "DeleteFleets",
        actions: &[("ec2:DeleteFleets", CLEANUP)],
        on: &[On::Fleets],
        when: &[When::Ours],
    },
    Grant {
        sid: "DeleteLaunchTemplates",
        actions: &[("ec2:DeleteLaunchTemplate", CLEANUP)],
        on: &[On::LaunchTemplates],
        when: &[When::Ours],
    },
    Grant {
        sid: "DeleteProfile",
        actions: &[
            ("iam:RemoveRoleFromInstanceProfile", CLEANUP),
            ("iam:DeleteInstanceProfile", CLEANUP),
        ],
        on: &[On::OwnProfiles],
        when: &[When::Ours],
    },
    Grant {
        sid: "DeleteRole",
        actions: &[("iam:DeleteRole", CLEANUP)],
        on: &[On::OwnRoles],
        when: &[When::Ours],
    },
];

/// Where the service-linked role for spot requests is (EC2 User Guide, "Service-linked role for Spot
/// Instance requests").
const SPOT_ROLE_PATH: &str = "aws-service-role/spot.amazonaws.com/";

/// The statements that a program needs in this scope.
pub(super) fn document(scope: &Scope) -> Document {
    let statement = TABLE.iter().filter_map(|grant| {
        let needed = grant.actions.iter().filter(|(_, by)| by.contains(&scope.program));
        let action: Values = needed.map(|(action, _)| *action).collect();
        let resource: Values = grant.on.iter().flat_map(|on| on.arns(scope)).collect();
        if action.0.is_empty() || resource.0.is_empty() {
            return None;
        }
        let mut condition: BTreeMap<String, BTreeMap<String, Values>> = BTreeMap::new();
        for when in grant.when {
            let (operator, key, values) = when.condition(scope);
            if !values.0.is_empty() {
                condition.entry(operator).or_default().insert(key, values);
            }
        }
        Some(Statement { sid: grant.sid, effect: "Allow", action, resource, condition })
    });
    Document::new(statement.collect())
}

impl On {
    /// Empty where the configuration has none.
    fn arns(self, scope: &Scope) -> Vec<String> {
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

impl When {
    /// Operator, key and values. Without values there is no condition.
    fn condition(self, scope: &Scope) -> (String, String, Values) {
        // Only a pattern may have wildcards.
        let (operator, names) = match &scope.names {
            Names::Known(names) => ("StringEquals", names.iter().collect()),
            Names::Pattern(pattern) => ("StringLike", vec![pattern]),
        };
        let names = || names.iter().copied().collect::<Values>();
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
