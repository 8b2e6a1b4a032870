//! The one list of what the simulated EC2 answers otherwise than moto, and who is right.

/// On which side an element is that the other has not, or that its type differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Moto,
    Sim,
    Type,
}

/// Who answers as EC2 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// The element is there in EC2, and nothing that the simulation is for depends on it.
    Moto,
    /// moto lacks it, or has it otherwise.
    Sim,
}

/// A difference.
#[derive(Debug)]
pub(super) struct Difference {
    /// The action, with ` refused` where it is one; `*` for all.
    pub(super) call: &'static str,
    /// The element; with `*` at its end, everything below.
    pub(super) path: &'static str,
    pub(super) side: Side,
    pub(super) right: Right,
    /// The page of the Amazon EC2 API Reference, or of another AWS document, that says so.
    pub(super) page: &'static str,
}

impl Difference {
    /// Whether it is this one.
    pub(super) fn is(&self, call: &str, path: &str, side: Side) -> bool {
        let below = self.path.strip_suffix('*').is_some_and(|above| path.starts_with(above));
        self.call == call && self.side == side && (below || self.path == path)
    }
}

/// What only moto has, and EC2 too.
const fn left_out(call: &'static str, path: &'static str, page: &'static str) -> Difference {
    Difference { call, path, side: Side::Moto, right: Right::Moto, page }
}

/// What moto has not, and EC2 has.
const fn not_in_moto(call: &'static str, path: &'static str, page: &'static str) -> Difference {
    Difference { call, path, side: Side::Sim, right: Right::Sim, page }
}

pub(super) const DIFFERENCES: &[Difference] = &[
    // Every example in the reference has the slash at the end.
    not_in_moto("*", "@xmlns http://ec2.amazonaws.com/doc/2016-11-15/", "API_DescribeInstances"),
    not_in_moto("CreateTags", "return", "API_CreateTags"),
    // A simulated instance has no network and no disks.
    left_out("DescribeInstances", INSTANCE_DISKS, "API_Instance"),
    left_out(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/ipAddress",
        "API_Instance",
    ),
    left_out(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/metadataOptions",
        "API_Instance",
    ),
    left_out(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/networkInterfaceSet",
        "API_Instance",
    ),
    left_out(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/privateIpAddress",
        "API_Instance",
    ),
    left_out(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/sourceDestCheck",
        "API_Instance",
    ),
    left_out(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/sriovNetSupport",
        "API_Instance",
    ),
    left_out(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/stateReason",
        "API_Instance",
    ),
    not_in_moto(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/dnsName",
        "API_Instance",
    ),
    not_in_moto(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/platformDetails",
        "API_Instance",
    ),
    not_in_moto("DescribeSpotInstanceRequests", INTERRUPTION, "API_SpotInstanceRequest"),
    not_in_moto("DescribeSpotInstanceRequests", MONITORING, "API_LaunchSpecification"),
    not_in_moto("RequestSpotInstances", INTERRUPTION, "API_SpotInstanceRequest"),
    not_in_moto("RequestSpotInstances", MONITORING, "API_LaunchSpecification"),
    left_out("DescribeKeyPairs", "keySet/item/createTime", "API_KeyPairInfo"),
    // The surroundings have what launches depend on, and no more.
    left_out("DescribeImages", "imagesSet/item/*", "API_Image"),
    not_in_moto("DescribeImages", "imagesSet/item/enaSupport", "API_Image"),
    left_out("DescribeInstanceTypes", "instanceTypeSet/item/*", "API_InstanceTypeInfo"),
    left_out("DescribeSecurityGroups", "securityGroupInfo/item/*", "API_SecurityGroup"),
    left_out("DescribeSubnets", "subnetSet/item/*", "API_Subnet"),
    left_out("DescribeVpcs", "vpcSet/item/*", "API_Vpc"),
];

const INSTANCE_DISKS: &str = "reservationSet/item/instancesSet/item/blockDeviceMapping/item";
const INTERRUPTION: &str = "spotInstanceRequestSet/item/instanceInterruptionBehavior";
const MONITORING: &str = "spotInstanceRequestSet/item/launchSpecification/monitoring";
