//! The facts that `validate --aws` gathers from AWS.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::ids::{InstanceType, SubnetId, WorkerTypeName, Zone};
use crate::domain::launch::{Pool, ResolvedPlacement};
use crate::domain::money::UsdPerHour;
use crate::domain::observed::{KeyPair, KeyPairType};
use crate::domain::refusal::Refusal;

/// The result of a look-up, or why it is not known.
pub(crate) type Fact<T> = Result<T, Refusal>;

/// Everything that was looked up in one account and region.
#[derive(Clone, Debug, PartialEq)]
pub struct PreflightFacts {
    /// The region.
    pub region: String,
    /// Whether the key pair exists, and whether it is ours.
    pub key_pair: Fact<KeyPair>,
    /// The type of the key pair; `None` if it is not known.
    pub key_type: Option<KeyPairType>,
    /// Whether everything under the key-name could be listed, as every round does.
    pub listing: Fact<()>,
    /// The zones of the region that the account may use.
    pub zones: Fact<BTreeSet<Zone>>,
    /// The default VPC, if there is one; `None` outside if no worker type needs it.
    pub default_vpc: Option<Fact<Option<String>>>,
    /// Whether the default subnets could be read, where launches without `subnets` go.
    pub default_subnets: Fact<()>,
    /// The account's defaults for the instance metadata service.
    pub metadata_defaults: Fact<MetadataDefaults>,
    /// Which images the account allows.
    pub allowed_images: Fact<AllowedImages>,
    /// What the account's burstable machines do with surplus credits, `standard` or `unlimited`, by instance
    /// family. Empty where nothing depends on it.
    pub credits: BTreeMap<String, Fact<String>>,
    /// The configured images by id. A missing one does not exist, or may not be used.
    pub images: Fact<BTreeMap<String, ImageFacts>>,
    /// The configured instance types. A missing one does not exist in this region.
    pub instance_types: Fact<BTreeMap<InstanceType, InstanceTypeFacts>>,
    /// The zones in which the instance types are offered.
    pub offerings: Fact<BTreeMap<InstanceType, BTreeSet<Zone>>>,
    /// The spot prices for the instance types with a `max-price`, by what EC2 calls the operating system. A
    /// pool without a price in EC2 is missing.
    pub prices: BTreeMap<String, Fact<BTreeMap<Pool, UsdPerHour>>>,
    /// Whether the service-linked role `AWSServiceRoleForEC2Spot` exists.
    pub spot_role: Fact<bool>,
    /// The dry runs of calls that concern no worker type.
    pub calls: Vec<DryRun>,
    /// The facts about each worker type.
    pub worker_types: BTreeMap<WorkerTypeName, WorkerTypeFacts>,
}

/// The facts about one worker type.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerTypeFacts {
    /// The image id behind `image-id`.
    pub image_id: Fact<String>,
    /// The subnets by id. A missing one does not exist.
    pub subnets: Fact<BTreeMap<SubnetId, SubnetFacts>>,
    /// The placements in which it may launch; an error if subnets and zones exclude all of them.
    pub placements: Fact<Vec<ResolvedPlacement>>,
    /// The security groups as configured, in order. A name of no group, or of several, is an error; an id
    /// that does not exist is `None`.
    pub groups: Vec<(String, Fact<Option<SecurityGroupFacts>>)>,
    /// The instance profile; `None` inside if it does not exist, `None` outside if the
    /// worker type has no profile.
    pub profile: Option<Fact<Option<InstanceProfileFacts>>>,
    /// The problem with the user data, if there is one.
    pub user_data: Result<(), String>,
    /// The dry runs of its launches. Empty if something that they need is not known.
    pub launches: Vec<(LaunchSite, DryRunAnswer)>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetFacts {
    /// Its zone.
    pub zone: Zone,
    /// Its VPC.
    pub vpc: String,
    /// The number of free IPv4 addresses; `None` if EC2 does not report it.
    pub free_addresses: Option<u32>,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroupFacts {
    /// `sg-…`.
    pub id: String,
    /// Its VPC; `None` if it was found by its name, and so in the right VPC.
    pub vpc: Option<String>,
}

/// An image. `None` means that EC2 did not report a property.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// `available`, `pending`, `deregistered`, ….
    pub state: Option<String>,
    /// `x86_64`, `arm64`, ….
    pub architecture: Option<String>,
    /// `hvm` or `paravirtual`.
    pub virtualization_type: Option<String>,
    /// Whether it has drivers for the Elastic Network Adapter.
    pub ena: Option<bool>,
    /// The time from which it is deprecated.
    pub deprecated: Option<Timestamp>,
    /// The devices whose volumes outlive their instance, unless its launch says otherwise.
    pub lasting_devices: Vec<String>,
    /// What EC2 bills as: `Linux/UNIX`, `Windows`, `Red Hat Enterprise Linux`, ….
    pub platform: Option<String>,
    /// Whether its machines take metadata requests with a session token only, unless the account says
    /// otherwise (`ImdsSupport` is `v2.0`).
    pub requires_tokens: bool,
    /// Whether the account's settings allow it.
    pub allowed: Option<bool>,
}

impl ImageFacts {
    /// The platform without licence costs (Amazon EC2 API Reference, `Instance`, `platformDetails`).
    pub const LINUX: &str = "Linux/UNIX";

    /// Returns what EC2 bills as. An unknown image counts as plain Linux, the most common.
    pub(super) fn platform(&self) -> &str {
        self.platform.as_deref().unwrap_or(Self::LINUX)
    }

    pub(super) fn is_windows(&self) -> bool {
        self.platform().starts_with("Windows")
    }
}

/// The account's defaults for the instance metadata service. `None` means that the account has no preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataDefaults {
    /// Whether launches are refused that do not require session tokens.
    pub tokens_enforced: bool,
    /// Whether session tokens are required.
    pub tokens_required: Option<bool>,
    /// The number of hops that the answer with a session token may take.
    pub hop_limit: Option<u8>,
    /// Whether machines have the service at all.
    pub has_endpoint: Option<bool>,
}

/// Which images the account allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedImages {
    /// All that it may use.
    All,
    /// All, but others are marked.
    Audited,
    /// Only those that its criteria name.
    Listed,
}

/// An instance type. An empty list means that EC2 did not report a property.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceTypeFacts {
    /// `x86_64`, `arm64`, ….
    pub architectures: Vec<String>,
    /// `hvm`, `paravirtual`.
    pub virtualization_types: Vec<String>,
    /// `on-demand`, `spot`, ….
    pub usage_classes: Vec<String>,
    /// Whether it works with the Elastic Network Adapter only.
    pub ena_required: bool,
    /// The number of vCPUs, the unit of spot quotas.
    pub vcpus: Option<u32>,
}

/// An instance profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceProfileFacts {
    /// Whether it contains a role, without which instances get no credentials.
    pub has_role: bool,
}

/// An instance type in a placement, for which a launch is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchSite {
    /// The instance type.
    pub instance_type: InstanceType,
    /// The zone or subnet.
    pub placement: ResolvedPlacement,
}

/// A call that was made with `DryRun`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRun {
    /// `TerminateInstances`, ….
    pub operation: &'static str,
    /// The kind of id that it named.
    pub target: DryRunTarget,
    /// The answer.
    pub answer: DryRunAnswer,
}

/// The kind of id that a dry run named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRunTarget {
    /// Something of ours that exists.
    Ours,
    /// An id that does not exist, because we have no such resource. Permissions by tag do not apply to it,
    /// and EC2 does not document whether it checks the id or the permission first.
    NothingThere,
}

/// The answer to a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DryRunAnswer {
    /// EC2 would carry out the call.
    Allowed,
    /// EC2 would refuse the call, or the result is unknown.
    Refused(Refusal),
    /// The call was carried out, so the endpoint does not support dry runs.
    Done,
}

impl From<Fact<()>> for DryRunAnswer {
    /// Reads the result of a call with `DryRun`, which EC2 always answers with an error.
    fn from(result: Fact<()>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(refusal) if refusal.would_have_succeeded() => Self::Allowed,
            Err(refusal) => Self::Refused(refusal),
        }
    }
}
