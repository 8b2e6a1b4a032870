//! One launching call as it goes over the wire, and as the ledger keeps it.
//!
//! A [`LaunchCall`] is complete: it can be repeated byte for byte after a crash, with the same token.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{ClientToken, InstanceType, KeyName, SubnetId, WorkerTypeName, Zone};
use crate::domain::money::UsdPerHour;
use crate::domain::user_data::Rendered;

/// The key of the tag that names the owner of a resource.
pub const TAG_KEY_NAME: &str = "provisioner:key-name";
/// The key of the tag that names the worker type.
pub const TAG_WORKER_TYPE: &str = "provisioner:worker-type";
/// The key of the tag that names the intent (its client token).
pub const TAG_INTENT: &str = "provisioner:intent";
/// The key of the tag that names the region, for resources that are global (IAM).
pub(crate) const TAG_REGION: &str = "provisioner:region";
/// The key of EC2's display name; we set it to the worker type.
pub(crate) const TAG_NAME: &str = "Name";

/// The service-linked role that spot requests need (EC2 User Guide, "Service-linked role for Spot Instance
/// requests").
pub(crate) const SPOT_ROLE: &str = "AWSServiceRoleForEC2Spot";

/// Returns the name of an instance profile that is given by name or by ARN
/// (`arn:aws:iam::ACCOUNT:instance-profile/PATH/NAME`).
pub(crate) fn profile_name(name_or_arn: &str) -> &str {
    name_or_arn.rsplit('/').next().unwrap_or(name_or_arn)
}

/// A capacity pool: EC2's capacity of one instance type in one zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pool {
    /// The instance type.
    pub instance_type: InstanceType,
    /// The zone; `None` where EC2 chooses.
    pub zone: Option<Zone>,
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => write!(f, "{} in {zone}", self.instance_type),
            None => write!(f, "{} in any zone", self.instance_type),
        }
    }
}

/// One complete `RequestSpotInstances` call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LaunchCall {
    /// The client token. EC2 answers a repeated call that has the same token with the same requests.
    pub token: ClientToken,
    /// The worker type.
    pub worker_type: WorkerTypeName,
    /// When the launch was decided.
    pub decided: Timestamp,
    /// The number of instances.
    pub count: u32,
    /// The key pair.
    pub key_name: KeyName,
    /// The image, resolved (`ami-…`).
    pub image_id: String,
    /// The instance type.
    pub instance_type: InstanceType,
    /// The zone; with `None`, EC2 chooses. With a subnet, it is the subnet's zone and kept for our own
    /// records only: the call then names the subnet alone.
    pub zone: Option<Zone>,
    /// The subnet.
    pub subnet: Option<SubnetId>,
    /// Security groups, resolved to ids.
    pub security_group_ids: Vec<String>,
    /// The instance profile, by name or by ARN.
    pub iam_instance_profile: Option<String>,
    /// User data, base64 as EC2 takes it.
    pub user_data: Option<String>,
    /// The highest price; with `None`, up to the on-demand price.
    pub max_price: Option<UsdPerHour>,
    /// When EC2 itself drops what is still open, so that a dead daemon buys nothing later.
    pub valid_until: Timestamp,
    /// All tags of the request, ours and the user's.
    pub tags: BTreeMap<String, String>,
    /// Further fields of the launch specification.
    #[serde(default)]
    pub launch_specification: LaunchSpecification,
}

/// `launch-specification`: the further fields of EC2's launch specification, spelled as EC2 does
/// (Amazon EC2 API Reference, `RequestSpotLaunchSpecification`). Anything else is an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct LaunchSpecification {
    /// Disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block_device_mappings: Vec<BlockDeviceMapping>,
    /// Dedicated throughput to EBS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ebs_optimized: Option<bool>,
    /// Detailed monitoring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
    /// Tenancy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// Network interfaces. If there are any, they carry the subnet and the security groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_interfaces: Vec<NetworkInterface>,
}

impl LaunchSpecification {
    /// Lets every volume end with its instance unless the configuration says otherwise: those that it adds,
    /// and those of the image's `lasting_devices`.
    pub(crate) fn deleting_volumes(&self, lasting_devices: &[String]) -> Self {
        let mut specification = self.clone();
        let mappings = &mut specification.block_device_mappings;
        for ebs in mappings.iter_mut().filter_map(|mapping| mapping.ebs.as_mut()) {
            ebs.delete_on_termination.get_or_insert(true);
        }
        for device in lasting_devices {
            let names = |mapping: &BlockDeviceMapping| mapping.device_name.as_ref() == Some(device);
            if !mappings.iter().any(names) {
                let ebs = Ebs { delete_on_termination: Some(true), ..Ebs::default() };
                mappings.push(BlockDeviceMapping {
                    device_name: Some(device.clone()),
                    ebs: Some(ebs),
                    ..BlockDeviceMapping::default()
                });
            }
        }
        specification
    }
}

/// `BlockDeviceMapping`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct BlockDeviceMapping {
    /// `/dev/xvda`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// `ephemeral0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_name: Option<String>,
    /// Suppresses this device of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_device: Option<String>,
    /// An EBS volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ebs: Option<Ebs>,
}

/// `EbsBlockDevice`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Ebs {
    /// Whether the volume is deleted with its instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_on_termination: Option<bool>,
    /// Whether the volume is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// Provisioned operations per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<i32>,
    /// Provisioned MiB per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<i32>,
    /// The key to encrypt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// The snapshot to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_size: Option<i32>,
    /// `gp3`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<String>,
}

/// `RunInstancesMonitoringEnabled`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Monitoring {
    /// Whether detailed monitoring is on.
    pub enabled: bool,
}

/// `SpotPlacement`, without the fields that we fill in ourselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Placement {
    /// `default` or `dedicated`.
    pub tenancy: String,
}

/// `InstanceNetworkInterfaceSpecification`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NetworkInterface {
    /// Its position among the interfaces, from 0.
    #[serde(default)]
    pub device_index: i32,
    /// Whether it gets a public IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub associate_public_ip_address: Option<bool>,
    /// Whether the interface is deleted with its instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_on_termination: Option<bool>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Security group ids; if empty, those of the worker type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The number of IPv6 addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address_count: Option<i32>,
    /// The subnet; with `None`, the one that is launched in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// `interface` or `efa`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_type: Option<String>,
}

/// What a worker type's names resolve to in AWS (image parameters, group names, subnets' zones).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ResolvedWorkerType {
    /// `ami-…`.
    pub image_id: String,
    /// Security group ids.
    pub security_group_ids: Vec<String>,
    /// User data with its templates filled in.
    #[serde(skip)]
    pub user_data: Option<Rendered>,
    /// The placements in order of preference, never empty. Every instance type is tried in each.
    pub placements: Vec<ResolvedPlacement>,
    /// The devices of the image whose volumes would outlive their instance. Launches say that they do not,
    /// unless the configuration says otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lasting_devices: Vec<String>,
}

/// A zone, a subnet (with its zone), or neither, so that EC2 chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ResolvedPlacement {
    /// The zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// The subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<SubnetId>,
    /// The free addresses of the subnet, as of the last look-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_addresses: Option<u64>,
    /// Those of the worker type's instance types that the zone does not offer.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub not_offered: BTreeSet<InstanceType>,
}

impl ResolvedPlacement {
    /// A zone or a subnet, of which nothing else is known.
    pub fn new(zone: Option<Zone>, subnet: Option<SubnetId>) -> Self {
        Self { zone, subnet, ..Self::default() }
    }
}

impl LaunchCall {
    /// Returns the capacity pool that the call asks.
    pub fn pool(&self) -> Pool {
        Pool { instance_type: self.instance_type.clone(), zone: self.zone.clone() }
    }
}
