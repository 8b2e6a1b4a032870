//! What AWS said, in our words.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::ids::{InstanceType, SubnetId, WorkerTypeName, Zone};
use crate::domain::launch::{Pool, ResolvedPlacement};
use crate::domain::money::UsdPerHour;
use crate::domain::observed::KeyPair;
use crate::domain::refusal::Refusal;

/// What was looked up, or why it is not known.
pub type Looked<T> = Result<T, Refusal>;

/// All that was looked up in one account and region.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The region.
    pub region: String,
    /// Whose key pair the key-name names.
    pub key_pair: Looked<KeyPair>,
    /// Whether everything under the key-name could be listed, which every round does.
    pub listing: Looked<()>,
    /// The zones of the region that the account may use.
    pub zones: Looked<BTreeSet<Zone>>,
    /// The default VPC, if there is one; `None` where no worker type needs it.
    pub default_vpc: Option<Looked<Option<String>>>,
    /// The images named, by id. One that is not in it does not exist, or may not be used.
    pub images: Looked<BTreeMap<String, Image>>,
    /// The instance types named. One that is not in it does not exist in this region.
    pub instance_types: Looked<BTreeMap<InstanceType, InstanceTypeFacts>>,
    /// Where the instance types are offered.
    pub offerings: Looked<BTreeMap<InstanceType, BTreeSet<Zone>>>,
    /// The spot prices of plain Linux, of instance types that a `max-price` is set for. A pool that EC2
    /// names no price for is not in it.
    pub prices: Looked<BTreeMap<Pool, UsdPerHour>>,
    /// Whether the service-linked role `AWSServiceRoleForEC2Spot` exists.
    pub spot_role: Looked<bool>,
    /// The dry runs of calls that concern no worker type.
    pub calls: Vec<DryRun>,
    /// What was looked up for each worker type.
    pub worker_types: BTreeMap<WorkerTypeName, WorkerTypeFacts>,
}

/// What was looked up for one worker type.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerTypeFacts {
    /// The image id behind `image-id`.
    pub image_id: Looked<String>,
    /// The subnets by id. One that is not in it does not exist.
    pub subnets: Looked<BTreeMap<SubnetId, Subnet>>,
    /// Where it may launch; an error if subnets and zones leave nothing.
    pub placements: Looked<Vec<ResolvedPlacement>>,
    /// The security groups as configured, in order. A name that means no group, or several, is an
    /// error; an id that does not exist is `None`.
    pub groups: Vec<(String, Looked<Option<Group>>)>,
    /// The instance profile; `None` inside if it does not exist, outside if none is configured.
    pub profile: Option<Looked<Option<InstanceProfile>>>,
    /// What is wrong with the user data, if anything.
    pub user_data: Result<(), String>,
    /// The dry runs of its launches. Empty if what they need is not known.
    pub launches: Vec<(Place, DryRunAnswer)>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its zone.
    pub zone: Zone,
    /// Its VPC.
    pub vpc: String,
    /// IPv4 addresses left; `None` where EC2 does not say.
    pub free_addresses: Option<u32>,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `sg-…`.
    pub id: String,
    /// Its VPC; `None` where it was found by name, and so in the right one.
    pub vpc: Option<String>,
}

/// An image. `None` is what EC2 did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// `available`, `pending`, `deregistered`, ….
    pub state: Option<String>,
    /// `x86_64`, `arm64`, ….
    pub architecture: Option<String>,
    /// `hvm` or `paravirtual`.
    pub virtualization_type: Option<String>,
    /// Whether its drivers know the Elastic Network Adapter.
    pub ena: Option<bool>,
    /// When it is, or was, deprecated.
    pub deprecated: Option<Timestamp>,
}

/// An instance type. An empty list is what EC2 did not say.
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
    /// vCPUs, which spot quotas count in.
    pub vcpus: Option<u32>,
}

/// An instance profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceProfile {
    /// Whether a role is in it: instances get no credentials without.
    pub has_role: bool,
}

/// An instance type somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
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
    /// What it named.
    pub target: Target,
    /// The answer.
    pub answer: DryRunAnswer,
}

/// What a dry run named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Something of ours that exists.
    Ours,
    /// An id that nothing has: there is nothing of ours. Permissions given by tag do not apply to
    /// it, and EC2 does not document whether it looks at the id or at the permission first.
    Nobodys,
}

/// What EC2 says to a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DryRunAnswer {
    /// It would have been done.
    Allowed,
    /// It would not have been done, or nobody knows.
    Refused(Refusal),
    /// It was done: whatever answers at this endpoint knows no dry runs.
    Done,
}

impl From<Looked<()>> for DryRunAnswer {
    /// From what a call with `DryRun` came to: EC2 answers all of them with errors.
    fn from(looked: Looked<()>) -> Self {
        match looked {
            Ok(()) => Self::Done,
            Err(refusal) if refusal.would_have_succeeded() => Self::Allowed,
            Err(refusal) => Self::Refused(refusal),
        }
    }
}
